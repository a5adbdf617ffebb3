//! Messages and handles per second over an IPC channel: node with node, this crate with this crate,
//! and the two with each other, in one run on one machine.
//!
//! `cargo bench --all-features --bench ipc -- [MESSAGES] [WORD]...`, with words for the lines that
//! are wanted (`json`, `trip`), and `alone` for this crate's own figures without node. Each figure is
//! the best of three runs, the competitors taking turns, so that what else the machine does hits all
//! of them: the time from the first send to the answer to the last message. "one way" sends
//! everything at once; "round trip" waits for each message to come back; "handles" passes
//! connections, one after the other as the protocol has it, up to 400 of them. "floor" is what two
//! programs reach that do nothing but read and write as many bytes, back and forth.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use blacklight::child_process::{
    Channel, ChannelOptions, ForkOptions, SendHandle, Serialization, Value, fork,
};
use blacklight::{Command, EventLoop, RunMode, Stdio};

const ROLE: &str = "BLACKLIGHT_BENCH_ROLE";

/// The best of this many counts.
const RUNS: u32 = 3;

/// The child's side, for all three: counts, echoes, or takes handles, and says when it is done.
const CHILD: &str = "let left = 0, echo = false; process.on('message', (m, h) => {\
    if (m.start) { left = m.start; echo = m.echo; return; }\
    if (h) h.destroy();\
    left--;\
    if (echo) process.send(m); else if (left === 0) process.send('done'); });";

const PARENT: &str = "\
    const [kind, serialization, count, size] = process.env.BENCH.split(' ');\
    const net = require('net'), N = +count, text = 'x'.repeat(+size);\
    const child = require('child_process').spawn('node', ['-e', process.env.CHILD], \
      { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], serialization });\
    const finish = t => { console.log(N / (Number(process.hrtime.bigint() - t) / 1e9)); \
      child.disconnect(); };\
    child.send({ start: 1, echo: false });\
    child.send('warm');\
    child.once('message', () => {\
      child.send({ start: N, echo: kind === 'trip' });\
      if (kind === 'handles') {\
        const server = net.createServer({ pauseOnConnect: true }), sockets = [];\
        server.on('connection', s => { sockets.push(s); if (sockets.length < N) return;\
          const t = process.hrtime.bigint();\
          child.once('message', () => { finish(t); process.exit(); });\
          for (const s of sockets) child.send({ n: 1 }, s); });\
        server.listen(0, '127.0.0.1', () => { for (let i = 0; i < N; i++) \
          net.connect(server.address().port, '127.0.0.1').on('error', () => {}); });\
      } else if (kind === 'way') {\
        const t = process.hrtime.bigint();\
        child.once('message', () => finish(t));\
        for (let i = 0; i < N; i++) child.send({ n: i, text });\
      } else {\
        const t = process.hrtime.bigint(); let i = 0;\
        child.on('message', () => { if (++i === N) finish(t); else child.send({ n: i, text }); });\
        child.send({ n: i, text });\
      } });";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("floor") => return echo(&stdin(), usize::MAX),
        Ok(_) => return child(),
        Err(_) => {}
    }
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let (mut count, mut words, mut alone) = (100_000, Vec::new(), false);
    for arg in std::env::args().skip(1).filter(|arg| !arg.starts_with('-')) {
        match arg.parse() {
            Ok(number) => count = number,
            Err(_) if arg == "alone" => alone = true,
            Err(_) => words.push(arg),
        }
    }
    let node = std::process::Command::new("node").arg("--version").output();
    let has_node = !alone && node.is_ok();
    let is_wanted = |title: &str| words.iter().all(|word| title.contains(word.as_str()));
    println!(
        "{:<26}{:>12}{:>12}{:>12}{:>8}{:>8}{:>12}",
        "per second", "node-node", "ours-ours", "ours-node", "ratio", "ratio", "floor"
    );
    for serialization in [Serialization::Json, Serialization::Advanced] {
        for (kind, name) in [("way", "one way"), ("trip", "round trip")] {
            for size in [64, 1024] {
                let count = if kind == "way" { count } else { count / 5 };
                let title = format!("{} {name} {size} B", serialization.name());
                if !is_wanted(&title) {
                    continue;
                }
                line(&title, has_node, kind, serialization, count, size);
            }
        }
        let title = format!("{} handles", serialization.name());
        if is_wanted(&title) {
            line(&title, has_node, "handles", serialization, 400.min(count), 0);
        }
    }
}

fn line(
    title: &str,
    has_node: bool,
    kind: &str,
    serialization: Serialization,
    count: u32,
    size: usize,
) {
    // What is around the text in the message.
    let size = size.saturating_sub(24);
    let (mut ours, mut nodes, mut mixed, mut least) = (0f64, 0f64, 0f64, 0f64);
    for _ in 0..RUNS {
        ours = ours.max(parent(&us(), kind, serialization, count, size));
        if kind == "trip" {
            least = least.max(floor(count, size + 24));
        }
        if has_node {
            nodes = nodes.max(node_with_node(kind, serialization, count, size));
            mixed = mixed.max(parent(&node(), kind, serialization, count, size));
        }
    }
    let least = if kind == "trip" { format!("{least:.0}") } else { String::new() };
    if !has_node {
        println!("{title:<26}{:>12}{ours:>12.0}{:>28}{least:>12}", "no node", "");
        return;
    }
    println!(
        "{title:<26}{nodes:>12.0}{ours:>12.0}{mixed:>12.0}{:>8.1}{:>8.1}{least:>12}",
        ours / nodes,
        mixed / nodes
    );
}

fn us() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, "child");
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.args(["-e", CHILD]);
    command
}

fn node_with_node(kind: &str, serialization: Serialization, count: u32, size: usize) -> f64 {
    let output = std::process::Command::new("node")
        .args(["-e", PARENT])
        .env("BENCH", format!("{kind} {} {count} {size}", serialization.name()))
        .env("CHILD", CHILD)
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

fn stdin() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap())
}

/// Sends back what comes, a number of times or until the end.
fn echo(mut socket: &UnixStream, times: usize) {
    let mut buffer = [0; 65536];
    for _ in 0..times {
        // The last answer may find nobody there any more, and leave a reset to be read.
        let n = socket.read(&mut buffer).unwrap_or(0);
        if n == 0 || socket.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn floor(count: u32, size: usize) -> f64 {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .env(ROLE, "floor")
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    (&ours).write_all(&vec![b'x'; size]).unwrap();
    echo(&ours, 1);
    let began = Instant::now();
    echo(&ours, count as usize);
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    drop(ours);
    child.wait().unwrap();
    rate
}

fn start(count: u32, echo: bool) -> Value {
    Value::object([("start", Value::from(count)), ("echo", Value::from(echo))])
}

fn parent(
    command: &Command,
    kind: &str,
    serialization: Serialization,
    count: u32,
    size: usize,
) -> f64 {
    let lp = EventLoop::new().unwrap();
    let mut command = command.clone();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let channel = ChannelOptions { serialization, ..ChannelOptions::default() };
    let options = ForkOptions { channel, ..ForkOptions::default() };
    let (_process, channel) = fork(&lp, &command, options, |_, _| {}).unwrap();
    let text = "x".repeat(size);
    let message =
        move |n: u32| Value::object([("n", Value::from(n)), ("text", Value::from(text.as_str()))]);
    let mut sockets = Vec::new();
    if kind == "handles" {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..count {
            let one = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            sockets.push((one, server.accept().unwrap().0));
        }
    }
    channel.send(&start(1, false)).unwrap();
    channel.send(&Value::from("warm")).unwrap();
    let kind = kind.to_owned();
    let rate = Rc::new(Cell::new(0.0));
    let (r, mut began, mut answers) = (rate.clone(), None, 0);
    channel.on_message(move |channel, _| {
        let Some(began) = began else {
            channel.send(&start(count, kind == "trip")).unwrap();
            began = Some(Instant::now());
            match kind.as_str() {
                "way" => (0..count).for_each(|n| {
                    channel.send(&message(n)).unwrap();
                }),
                "trip" => {
                    channel.send(&message(0)).unwrap();
                }
                _ => {
                    for (one, other) in sockets.drain(..) {
                        let with = Value::object([("n", 1)]);
                        channel.send_handle(&with, SendHandle::from(other), |_, _| {}).unwrap();
                        drop(one);
                    }
                }
            }
            return;
        };
        answers += 1;
        if kind == "trip" && answers < count {
            channel.send(&message(answers)).unwrap();
            return;
        }
        r.set(f64::from(count) / began.elapsed().as_secs_f64());
        channel.disconnect().unwrap();
    });
    lp.run(RunMode::Default).unwrap();
    rate.get()
}

fn child() {
    let lp = EventLoop::new().unwrap();
    // SAFETY: this thread is the only one.
    #[allow(unsafe_code)]
    let channel = unsafe { Channel::from_env(&lp) }.unwrap().unwrap();
    let (mut left, mut echo) = (0, false);
    channel.on_message(move |channel, message| {
        if let Some(start) = message.value.get("start").and_then(Value::as_i64) {
            (left, echo) = (start, message.value["echo"].as_bool().unwrap_or(false));
            return;
        }
        left -= 1;
        if echo {
            channel.send(&message.value).unwrap();
        } else if left == 0 {
            channel.send(&Value::from("done")).unwrap();
        }
    });
    lp.run(RunMode::Default).unwrap();
}
