//! Messages and handles per second over an IPC channel: node with node, this crate with this crate,
//! and the two with each other, in one run on one machine.
//!
//! `cargo bench --all-features --bench ipc [MESSAGES]`. Each figure is the best of three runs: the
//! time from the first send to the answer to the last message. "one way" sends everything at once;
//! "round trip" waits for each message to come back; "handles" passes connections, one after the
//! other as the protocol has it.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::cell::Cell;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use blacklight::child_process::{
    Channel, ChannelOptions, ForkOptions, SendHandle, Serialization, Value, fork,
};
use blacklight::{Command, EventLoop, RunMode, Stdio};

const ROLE: &str = "BLACKLIGHT_BENCH_ROLE";

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
    if std::env::var_os(ROLE).is_some() {
        child();
        return;
    }
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(100_000);
    let has_node = std::process::Command::new("node").arg("--version").output().is_ok();
    println!(
        "{:<26}{:>12}{:>12}{:>12}{:>8}{:>8}",
        "per second", "node-node", "ours-ours", "ours-node", "ratio", "ratio"
    );
    for serialization in [Serialization::Json, Serialization::Advanced] {
        for (kind, name) in [("way", "one way"), ("trip", "round trip")] {
            for size in [64, 1024] {
                let count = if kind == "way" { count } else { count / 5 };
                let title = format!("{} {name} {size} B", serialization.name());
                line(&title, has_node, kind, serialization, count, size);
            }
        }
        let title = format!("{} handles", serialization.name());
        line(&title, has_node, "handles", serialization, 400.min(count), 0);
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
    let best = |run: &dyn Fn() -> f64| (0..3).map(|_| run()).fold(0.0, f64::max);
    let ours = best(&|| parent(&us(), kind, serialization, count, size));
    if !has_node {
        println!("{title:<26}{:>12}{ours:>12.0}", "no node");
        return;
    }
    let nodes = best(&|| node_with_node(kind, serialization, count, size));
    let mixed = best(&|| parent(&node(), kind, serialization, count, size));
    println!(
        "{title:<26}{nodes:>12.0}{ours:>12.0}{mixed:>12.0}{:>8.1}{:>8.1}",
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
