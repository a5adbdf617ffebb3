//! A primary under test, clients for its servers, and what must be left over in the end: nothing.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use blacklight::child_process::Value;
use blacklight::child_process::cluster::{
    ClusterEvent, ClusterOptions, ListenAddress, ListenKind, Primary, Worker,
};
use blacklight::{Command, EventLoop, Handle, Pipe, Read, RunMode, Stream, Tcp};

use crate::support::process::{Scratch, new_loop, until};
use crate::support::{children, open_fds};

/// Whether there is a node to talk to.
pub(crate) fn has_node() -> bool {
    let found = std::process::Command::new("node").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no node here");
    }
    found
}

/// A node worker that does whatever it is sent.
pub(crate) fn node_worker(folder: &Scratch) -> Command {
    let script = "const cluster = require('cluster'), net = require('net'), http = require('http');
        const dgram = require('dgram'), id = cluster.worker.id;
        process.on('message', code => eval(code));";
    let path = folder.join("worker.js");
    std::fs::write(&path, script).unwrap();
    let mut command = Command::new("node");
    command.arg(path);
    command
}

/// A primary, and what it has told.
pub(crate) struct Bench {
    pub(crate) lp: EventLoop,
    pub(crate) primary: Primary,
    log: Rc<RefCell<Vec<String>>>,
    port: Rc<Cell<u16>>,
    before: usize,
}

impl Bench {
    pub(crate) fn new(options: ClusterOptions) -> Bench {
        // The process keeps these for all its spawns.
        blacklight::reserve_descriptors().unwrap();
        let before = open_fds().len();
        let lp = new_loop();
        let primary = Primary::new(&lp, options);
        let log: Rc<RefCell<Vec<String>>> = Rc::default();
        let port = Rc::new(Cell::new(0));
        let (lines, found) = (log.clone(), port.clone());
        primary.on_event(move |_, worker, event| {
            let what = match event {
                ClusterEvent::Online => "online".to_owned(),
                ClusterEvent::Listening(address) => {
                    found.set(port_of(&address).unwrap_or(0));
                    "listening".to_owned()
                }
                ClusterEvent::Message(message) => match message.value.as_str() {
                    Some(text) => text.to_owned(),
                    None => format!("{:?}", message.value),
                },
                ClusterEvent::Disconnected => "disconnected".to_owned(),
                ClusterEvent::Exited(exit) => exit.to_string(),
                ClusterEvent::Replaced(worker) => format!("replaced by {}", worker.id()),
                other => format!("{other:?}"),
            };
            lines.borrow_mut().push(format!("{}: {what}", worker.id()));
        });
        Bench { lp, primary, log, port, before }
    }

    /// Runs until so many lines have been logged that are this one.
    pub(crate) fn until_logged(&self, line: &str) {
        self.until(|| self.has_logged(line));
    }

    pub(crate) fn has_logged(&self, line: &str) -> bool {
        self.log.borrow().iter().any(|logged| logged == line)
    }

    /// What was logged of one worker.
    pub(crate) fn log_of(&self, worker: u32) -> Vec<String> {
        let prefix = format!("{worker}: ");
        let log = self.log.borrow();
        log.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) {
        while !done() {
            let alive = self.lp.run(RunMode::Once).unwrap();
            assert!(alive || done(), "nothing is left to wait for: {:?}", self.log.borrow());
        }
    }

    /// Forks workers, and has each do something.
    pub(crate) fn fork(&self, count: u32, what: &str) -> Vec<Worker> {
        let forked: Vec<Worker> = (0..count).map(|_| self.primary.fork().unwrap()).collect();
        for worker in &forked {
            worker.send(&Value::from(what)).unwrap();
        }
        forked
    }

    /// As [`Bench::fork`]; waits until all listen.
    pub(crate) fn serve(&self, count: u32, what: &str) -> Vec<Worker> {
        let forked = self.fork(count, what);
        forked.iter().for_each(|w| self.until_logged(&format!("{}: listening", w.id())));
        forked
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.get()))
    }

    /// What a new connection reads up to its end.
    pub(crate) fn ask(&self) -> String {
        let answer = self.begin();
        self.until(|| answer.is_done());
        answer.text()
    }

    /// A new connection.
    pub(crate) fn begin(&self) -> Answer {
        let (answer, tcp) = (Answer::default(), Tcp::new(&self.lp).unwrap());
        let reading = answer.clone();
        let request = "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        tcp.connect(self.address(), move |tcp, result| match result {
            Ok(()) => {
                tcp.write_and_forget(request).unwrap();
                reading.read(tcp);
            }
            Err(error) => {
                tcp.close();
                reading.finish(error.name());
            }
        })
        .unwrap();
        answer
    }

    pub(crate) fn ask_path(&self, path: &str) -> String {
        let (answer, pipe) = (Answer::default(), Pipe::new(&self.lp).unwrap());
        let reading = answer.clone();
        pipe.connect(path, move |pipe, result| {
            result.unwrap();
            reading.read(pipe);
        })
        .unwrap();
        self.until(|| answer.is_done());
        answer.text()
    }

    /// Sends datagrams until one is answered.
    pub(crate) fn ask_udp(&self) -> String {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address()).unwrap();
        socket.send(b"?").unwrap();
        let mut buffer = [0; 100];
        let size = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    }

    /// Disconnects all workers; no process, no descriptor and no handle is left afterwards.
    pub(crate) fn end(self) {
        let gone = Rc::new(Cell::new(false));
        let told = gone.clone();
        self.primary.disconnect(move |_| told.set(true));
        assert!(!self.lp.run(RunMode::Default).unwrap());
        assert!(gone.get(), "it was told that all are gone");
        self.check_clean();
    }

    pub(crate) fn check_clean(self) {
        let (before, log) = (self.before, self.log.clone());
        assert!(self.primary.workers().is_empty());
        drop(self);
        assert!(children().is_empty(), "{:?}", children());
        assert_eq!(open_fds().len(), before, "{:?} {log:?}", open_fds());
    }
}

/// Stops a worker, wherever it is, and waits until it has stopped.
pub(crate) fn stop(worker: &Worker) {
    worker.kill(libc::SIGSTOP).unwrap();
    let stopped = (worker.process().pid(), 'T');
    until(|| children().contains(&stopped));
}

fn port_of(address: &ListenAddress) -> Option<u16> {
    match address.kind() {
        ListenKind::Tcp(address) | ListenKind::Udp(address) => Some(address.port()),
        ListenKind::AnyTcp(port) => Some(*port),
        _ => None,
    }
}

/// What a connection has read.
#[derive(Clone, Default)]
pub(crate) struct Answer(Rc<(RefCell<Vec<u8>>, Cell<bool>)>);

impl Answer {
    fn read(&self, stream: &impl Stream) {
        let this = self.clone();
        let reading = stream.read_start(move |stream, read| match read {
            Read::Data(bytes) => this.0.0.borrow_mut().extend_from_slice(bytes),
            Read::Eof => {
                stream.close();
                this.finish("");
            }
            Read::Error(error) => {
                stream.close();
                this.finish(error.name());
            }
        });
        reading.unwrap();
    }

    fn finish(&self, text: &str) {
        self.0.0.borrow_mut().extend_from_slice(text.as_bytes());
        self.0.1.set(true);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.1.get()
    }

    /// The text, of an HTTP response its body.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0.0.borrow()).into_owned();
        text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
    }
}
