//! Messages over an IPC channel, per second: this crate, node, and the two with each other.
//!
//! The program that measures is also the other side: it begins with [`play_role`]. The time counts
//! from the first send to the answer to the last message. [`Kind::OneWay`] sends everything at once,
//! [`Kind::RoundTrip`] waits for each message to come back, [`Kind::Handles`] passes connections, one
//! after the other as the protocol has it.

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

/// What is around the text in a message, in bytes.
const AROUND: usize = 24;

/// How messages go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    OneWay,
    RoundTrip,
    Handles,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::OneWay => "one way",
            Kind::RoundTrip => "round trip",
            Kind::Handles => "handles",
        }
    }

    /// The word that [`PARENT`] knows it by.
    const fn word(self) -> &'static str {
        match self {
            Kind::OneWay => "way",
            Kind::RoundTrip => "trip",
            Kind::Handles => "handles",
        }
    }
}

/// Messages to be sent, or handles, for which `size` says nothing.
#[derive(Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) kind: Kind,
    pub(crate) serialization: Serialization,
    pub(crate) count: u32,
    /// Bytes of a message.
    pub(crate) size: usize,
}

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

/// Whether this process is the other side of a measurement; if so, it has done its part.
pub(crate) fn play_role() -> bool {
    match std::env::var(ROLE).as_deref() {
        Ok("floor") => echo(&stdin(), usize::MAX),
        Ok(_) => child(),
        Err(_) => return false,
    }
    true
}

/// Whether there is a node to measure.
pub(crate) fn has_node() -> bool {
    std::process::Command::new("node").arg("--version").output().is_ok()
}

impl Messages {
    /// Messages a second from this crate to this crate.
    pub(crate) fn ours_with_ours(self) -> f64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, "child");
        self.ours_with(&command)
    }

    /// Messages a second from this crate to node.
    pub(crate) fn ours_with_node(self) -> f64 {
        let mut command = Command::new("node");
        command.args(["-e", CHILD]);
        self.ours_with(&command)
    }

    /// Messages a second from node to node.
    pub(crate) fn node_with_node(self) -> f64 {
        let (kind, serialization) = (self.kind.word(), self.serialization.name());
        let (count, size) = (self.count, self.text());
        let output = std::process::Command::new("node")
            .args(["-e", PARENT])
            .env("BENCH", format!("{kind} {serialization} {count} {size}"))
            .env("CHILD", CHILD)
            .stderr(std::process::Stdio::inherit())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    /// Round trips a second of two programs that do nothing but read and write as many bytes.
    pub(crate) fn floor(self) -> f64 {
        let (count, size) = (self.count, self.size);
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

    /// Bytes of the text in a message.
    fn text(self) -> usize {
        self.size.saturating_sub(AROUND)
    }

    fn ours_with(self, command: &Command) -> f64 {
        let Messages { kind, serialization, count, .. } = self;
        let lp = EventLoop::new().unwrap();
        let mut command = command.clone();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let channel = ChannelOptions { serialization, ..ChannelOptions::default() };
        let options = ForkOptions { channel, ..ForkOptions::default() };
        let (_process, channel) = fork(&lp, &command, options, |_, _| {}).unwrap();
        let text = "x".repeat(self.text());
        let message = move |n: u32| {
            Value::object([("n", Value::from(n)), ("text", Value::from(text.as_str()))])
        };
        let mut sockets = Vec::new();
        if kind == Kind::Handles {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            for _ in 0..count {
                let one = TcpStream::connect(server.local_addr().unwrap()).unwrap();
                sockets.push((one, server.accept().unwrap().0));
            }
        }
        channel.send(&start(1, false)).unwrap();
        channel.send(&Value::from("warm")).unwrap();
        let rate = Rc::new(Cell::new(0.0));
        let (r, mut began, mut answers) = (rate.clone(), None, 0);
        channel.on_message(move |channel, _| {
            let Some(began) = began else {
                channel.send(&start(count, kind == Kind::RoundTrip)).unwrap();
                began = Some(Instant::now());
                match kind {
                    Kind::OneWay => (0..count).for_each(|n| {
                        channel.send(&message(n)).unwrap();
                    }),
                    Kind::RoundTrip => {
                        channel.send(&message(0)).unwrap();
                    }
                    Kind::Handles => {
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
            if kind == Kind::RoundTrip && answers < count {
                channel.send(&message(answers)).unwrap();
                return;
            }
            r.set(f64::from(count) / began.elapsed().as_secs_f64());
            channel.disconnect().unwrap();
        });
        lp.run(RunMode::Default).unwrap();
        rate.get()
    }
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

fn start(count: u32, echo: bool) -> Value {
    Value::object([("start", Value::from(count)), ("echo", Value::from(echo))])
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
