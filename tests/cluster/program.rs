//! The worker program of these tests: this very program, doing what its primary tells it.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::net::UdpSocket;
use std::rc::Rc;

use blacklight::child_process::Value;
use blacklight::child_process::cluster::{
    ClusterServer, ClusterWorker, Connection, ListenAddress, ListenKind, ServerEvent,
};
use blacklight::{Command, EventLoop, Handle, Poll, PollEvents, Read, RunMode, Stream};

/// The arguments that have this program be a worker.
pub(crate) const ARGUMENTS: [&str; 3] =
    ["--exact", "program::is_a_worker_when_a_primary_forks_it", "--nocapture"];

pub(crate) fn own_worker() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(ARGUMENTS);
    command
}

#[test]
fn is_a_worker_when_a_primary_forks_it() {
    let lp = EventLoop::new().unwrap();
    // SAFETY: nobody else touches the environment: this test runs alone where it matters.
    let Some(worker) = unsafe { ClusterWorker::from_env(&lp) }.unwrap() else { return };
    assert!(std::env::var_os("NODE_UNIQUE_ID").is_none());
    assert!(std::env::var_os("NODE_CHANNEL_FD").is_none());
    worker.on_disconnect(|_, expected| {
        if !expected {
            std::process::exit(7);
        }
    });
    let (state, of) = (Rc::new(State::default()), worker.clone());
    worker.channel().on_message(move |_, message| {
        state.obey(&of, message.value.as_str().unwrap_or_default());
    });
    lp.run(RunMode::Default).unwrap();
    std::process::exit(0);
}

#[derive(Default)]
struct State {
    servers: RefCell<Vec<ClusterServer>>,
    /// Connections that are kept instead of answered.
    kept: RefCell<Option<Vec<Connection>>>,
}

impl State {
    fn obey(self: &Rc<Self>, worker: &ClusterWorker, order: &str) {
        let (order, rest) = order.split_once(' ').unwrap_or((order, ""));
        match order {
            "tcp" => self.listen(worker, ListenAddress::tcp(rest.parse().unwrap())),
            "path" => self.listen(worker, ListenAddress::path(rest)),
            "udp" => self.listen(worker, ListenAddress::udp(rest.parse().unwrap())),
            "keep" => drop(self.kept.replace(Some(Vec::new()))),
            "refuse" => self.servers.borrow().iter().for_each(|server| server.refuse(true)),
            "accept" => self.servers.borrow().iter().for_each(|server| server.refuse(false)),
            "close" => self.servers.take().iter().for_each(ClusterServer::close),
            "leave" => worker.disconnect().unwrap(),
            "abort" => std::process::abort(),
            other => panic!("what is {other}?"),
        }
        if matches!(order, "keep" | "refuse" | "close") {
            worker.send(&Value::from(order)).unwrap();
        }
    }

    fn listen(self: &Rc<Self>, worker: &ClusterWorker, address: ListenAddress) {
        let (state, of) = (self.clone(), worker.clone());
        let server = worker.listen(address, move |_, event| match event {
            ServerEvent::Listening(address) => {
                let port = match address.kind() {
                    ListenKind::Tcp(address) | ListenKind::Udp(address) => address.port(),
                    _ => 0,
                };
                of.send(&Value::from(format!("listening at {}", port != 0))).unwrap();
            }
            ServerEvent::Connection(connection) => state.connection(&of, connection),
            ServerEvent::Datagrams(socket) => answer_datagrams(&of, socket),
            ServerEvent::Failed(error) => {
                // With the channel gone there is nobody to be told.
                let _gone = of.send(&Value::from(format!("failed {}", error.name())));
            }
            _ => {}
        });
        self.servers.borrow_mut().push(server.unwrap());
    }

    fn connection(&self, worker: &ClusterWorker, connection: Connection) {
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.push(connection);
            worker.send(&Value::from("kept")).unwrap();
            return;
        }
        let text = format!("worker {}", worker.id());
        match connection {
            Connection::Tcp(tcp) => say(&tcp, text),
            Connection::Pipe(pipe) => say(&pipe, text),
        }
    }
}

/// Answers, and closes when the client has.
fn say(stream: &impl Stream, text: String) {
    stream.write_and_forget(text).unwrap();
    stream.shutdown(|_, _| {}).unwrap();
    let reading = stream.read_start(|stream, read| {
        if !matches!(read, Read::Data(_)) {
            stream.close();
        }
    });
    reading.unwrap();
}

fn answer_datagrams(worker: &ClusterWorker, socket: UdpSocket) {
    let copy = socket.try_clone().unwrap();
    let poll = Poll::new(worker.channel().event_loop(), copy).unwrap();
    let text = format!("worker {}", worker.id());
    let polling = poll.start(PollEvents::READABLE, move |_, _| {
        let mut buffer = [0; 100];
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(text.as_bytes(), from).unwrap();
        }
    });
    polling.unwrap();
    poll.unreference();
}
