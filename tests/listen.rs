//! Servers: announcing and accepting connections, also when descriptors run out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use blacklight::Error;
use blacklight::prelude::*;
use support::{Log, isolated, open_fds};
use tools::{TempPath, Tokens, collect, finish};

fn server(lp: &EventLoop) -> (Pipe, Vec<u8>) {
    let server = Pipe::new(lp).unwrap();
    server.bind("").unwrap();
    let name = server.local_name().unwrap();
    (server, name)
}

fn connect(lp: &EventLoop, name: &[u8]) -> Pipe {
    let client = Pipe::new(lp).unwrap();
    client.connect(name, |_, result| result.unwrap()).unwrap();
    client
}

/// How many connections of three have been announced after each of four turns.
fn announced(lp: &EventLoop, server: &Pipe, name: &[u8]) -> [u32; 4] {
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    server
        .listen(8, move |server, result| {
            result.unwrap();
            c.set(c.get() + 1);
            drop(server.accept().unwrap());
            assert!(matches!(server.accept(), Err(Error::EAGAIN)), "one at a time");
        })
        .unwrap();
    assert!(matches!(server.accept(), Err(Error::EAGAIN)));
    let _clients: Vec<Pipe> = (0..3).map(|_| connect(lp, name)).collect();
    std::array::from_fn(|_| {
        lp.run(RunMode::NoWait).unwrap();
        count.get()
    })
}

/// libuv#3696 (B35): one accept per event, so that siblings on the same socket get their share.
#[test]
fn one_connection_is_announced_per_turn_where_siblings_may_wait_for_others() {
    let lp = EventLoop::new().unwrap();
    let (lent, name) = server(&lp);
    let opened = Pipe::new(&lp).unwrap();
    opened.open(lent.duplicate_fd().unwrap()).unwrap();
    assert_eq!(announced(&lp, &opened, &name), [1, 2, 3, 3]);
    opened.close();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(announced(&lp, &lent, &name), [1, 2, 3, 3], "there is, or was, a copy");
    let (told, name) = server(&lp);
    told.fileno().unwrap();
    assert_eq!(announced(&lp, &told, &name), [1, 2, 3, 3], "there may be a copy");
}

#[test]
fn a_server_that_nobody_shares_takes_what_waits() {
    let lp = EventLoop::new().unwrap();
    let (server, name) = server(&lp);
    assert_eq!(announced(&lp, &server, &name), [3, 3, 3, 3]);
}

/// Taking one more in vain costs a system call; a server whose connections come one by one does
/// so less and less often.
#[test]
fn a_server_learns_whether_several_wait() {
    let lp = EventLoop::new().unwrap();
    let (server, name) = server(&lp);
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    server
        .listen(128, move |server, result| {
            result.unwrap();
            c.set(c.get() + 1);
            drop(server.accept().unwrap());
        })
        .unwrap();
    let mut clients = Vec::new();
    for expected in 1..=4 {
        clients.push(connect(&lp, &name));
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(count.get(), expected);
    }
    clients.extend((0..40).map(|_| connect(&lp, &name)));
    let mut steps = Vec::new();
    while count.get() < 44 {
        let before = count.get();
        lp.run(RunMode::NoWait).unwrap();
        steps.push(count.get() - before);
    }
    // It was in vain at the first and at the third; after that two chances are let go.
    assert_eq!(steps, [1, 32, 7]);
}

#[test]
fn a_connection_that_is_not_taken_holds_up_the_others_and_is_not_lost() {
    let lp = EventLoop::new().unwrap();
    let (server, name) = server(&lp);
    let log = Log::new();
    let l = log.clone();
    server.listen(8, move |_, result| l.add(format!("{result:?}"))).unwrap();
    let clients: Vec<Pipe> = (0..2).map(|_| connect(&lp, &name)).collect();
    for _ in 0..4 {
        lp.run(RunMode::NoWait).unwrap();
    }
    assert_eq!(log.take(), ["Ok(())"], "nor does the loop spin on it");
    let events = lp.metrics().events;
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(lp.metrics().events, events);
    // Taken outside the callback, into a handle that exists.
    let first = Pipe::new(&lp).unwrap();
    server.accept_into(&first).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Ok(())"]);
    assert_eq!(server.accept_into(&first), Err(Error::EBUSY), "that one is open");
    let second = server.accept().unwrap();
    for (connection, text) in [(&first, "first"), (&second, "second")] {
        connection.write_and_forget(text).unwrap();
        connection.close();
    }
    let texts: Vec<_> = clients.iter().map(collect).collect();
    server.close();
    finish(&lp);
    assert_eq!(*texts[0].borrow(), b"first");
    assert_eq!(*texts[1].borrow(), b"second");
}

#[test]
fn closing_a_server_closes_the_connection_that_waits() {
    let lp = EventLoop::new().unwrap();
    let (server, name) = server(&lp);
    server.listen(8, |server, _| server.close()).unwrap();
    let client = connect(&lp, &name);
    let bytes = collect(&client);
    finish(&lp);
    assert!(client.is_closed() && bytes.borrow().is_empty());
}

#[test]
fn listening_wants_a_bound_socket() {
    let lp = EventLoop::new().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    assert_eq!(pipe.listen(1, |_, _| panic!()), Err(Error::EINVAL), "not bound");
    let (one, _other) = Pipe::pair(&lp).unwrap();
    assert_eq!(one.listen(1, |_, _| panic!()), Err(Error::EINVAL), "connected");
    assert!(!one.is_active() && one.is_readable());
    let fifo = Pipe::new(&lp).unwrap();
    fifo.open(std::io::pipe().unwrap().0).unwrap();
    assert_eq!(fifo.listen(1, |_, _| panic!()), Err(Error::EINVAL), "a pipe");
    let (server, _) = server(&lp);
    let tokens = Tokens::new();
    let t = tokens.one();
    server.listen(1, move |_, _| t.keep()).unwrap();
    server.listen(1, |_, _| {}).unwrap();
    assert_eq!(tokens.alive(), 0, "listening again replaces the closure");
    assert!(!lp.is_alive() || server.is_active());
}

#[test]
fn a_listening_socket_of_somebody_else_is_served() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let listener = std::os::unix::net::UnixListener::bind(path.path()).unwrap();
    let server = Pipe::new(&lp).unwrap();
    server.open(listener).unwrap();
    server
        .listen(8, |server, result| {
            result.unwrap();
            server.accept().unwrap().write_and_forget("hello").unwrap();
            server.close();
        })
        .unwrap();
    let mut client = UnixStream::connect(path.path()).unwrap();
    finish(&lp);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut client, &mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(path.path().exists(), "the path is not ours to remove");
}

/// A connection that nobody can accept wakes a level-triggered loop for ever, or is never seen
/// again by one that gives up. Those that wait are turned away, and the server lives on.
#[test]
fn running_out_of_descriptors_neither_spins_nor_loses_the_listener() {
    isolated(|| out_of_descriptors(false));
}

/// The same with a socket that blocks: turning away ends when nobody waits, and does not wait for
/// somebody to turn away.
#[test]
fn running_out_of_descriptors_does_not_block_on_a_blocking_listener() {
    isolated(|| out_of_descriptors(true));
}

fn out_of_descriptors(blocking: bool) {
    let path = TempPath::new();
    let lp = EventLoop::new().unwrap();
    let server = Pipe::new(&lp).unwrap();
    if blocking {
        let listener = std::os::unix::net::UnixListener::bind(path.path()).unwrap();
        server.open(listener).unwrap();
    } else {
        server.bind(path.bytes()).unwrap();
    }
    let log = Log::new();
    let accepted: Rc<RefCell<Vec<Pipe>>> = Rc::default();
    let (l, a) = (log.clone(), accepted.clone());
    server
        .listen(64, move |server, result| {
            l.add(format!("{result:?}"));
            if result.is_ok() {
                a.borrow_mut().push(server.accept().unwrap());
            }
        })
        .unwrap();
    lp.run(RunMode::NoWait).unwrap();
    let clients: Vec<UnixStream> =
        (0..5).map(|_| UnixStream::connect(path.path()).unwrap()).collect();
    let before = open_fds();
    let highest = before.iter().map(|(number, _)| *number).max().unwrap();
    limit_descriptors(highest as u64 + 1);
    let mut fillers = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fillers.push(file);
    }
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Err(EMFILE)"]);
    for _ in 0..3 {
        lp.run(RunMode::NoWait).unwrap();
    }
    assert_eq!(log.take(), [""; 0], "nobody waits any more: the loop does not spin");
    for mut client in clients {
        client.set_nonblocking(true).unwrap();
        let read = std::io::Read::read(&mut client, &mut [0]).unwrap();
        assert_eq!(read, 0, "turned away, and told so");
    }
    assert!(server.is_active());
    drop(fillers);
    limit_descriptors(256);
    let _client = UnixStream::connect(path.path()).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Ok(())"]);
    assert_eq!(accepted.borrow().len(), 1);
}

fn limit_descriptors(number: u64) {
    let limit = libc::rlimit { rlim_cur: number, rlim_max: 1024 };
    // SAFETY: the limit outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}
