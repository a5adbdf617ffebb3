//! The `Pipe` handle: names, connecting, pairs, and giving descriptors back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use blacklight::Error;
use blacklight::prelude::*;
use support::Log;
use tools::{TempPath, collect, finish};

/// Connects to the name, sends a text, and asserts that the server got it.
fn talk(lp: &EventLoop, server: &Pipe, name: &[u8]) {
    server
        .listen(8, |server, result| {
            result.unwrap();
            let connection = server.accept().unwrap();
            connection
                .read_start(|connection, read| match read {
                    Read::Data(bytes) => connection.write_and_forget(bytes.to_vec()).unwrap(),
                    _ => connection.close(),
                })
                .unwrap();
            server.close();
        })
        .unwrap();
    let client = Pipe::new(lp).unwrap();
    client
        .connect(name, |client, result| {
            result.unwrap();
            client.shutdown(|_, _| {}).unwrap();
        })
        .unwrap();
    // Queued while it connects.
    client.write("echo", |_, written| tools::all_written(written, 4)).unwrap();
    let bytes = collect(&client);
    finish(lp);
    assert_eq!(*bytes.borrow(), b"echo");
}

#[test]
fn a_server_is_reached_by_its_path_which_goes_with_it() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let server = Pipe::new(&lp).unwrap();
    server.bind(path.bytes()).unwrap();
    assert_eq!(server.local_name(), Ok(path.bytes()));
    assert!(path.path().exists());
    talk(&lp, &server, &path.bytes());
    assert!(!path.path().exists());
    // The same by dropping the last reference to one that does not listen.
    let server = Pipe::new(&lp).unwrap();
    server.bind(path.bytes()).unwrap();
    drop(server);
    assert!(!path.path().exists());
}

#[test]
fn a_server_is_reached_by_an_abstract_name() {
    let lp = EventLoop::new().unwrap();
    let name = format!("\0blacklight\0{}-abstract", std::process::id());
    let server = Pipe::new(&lp).unwrap();
    server.bind(&name).unwrap();
    assert_eq!(server.local_name(), Ok(name.clone().into_bytes()));
    let other = Pipe::new(&lp).unwrap();
    assert_eq!(other.bind(&name), Err(Error::EADDRINUSE));
    talk(&lp, &server, name.as_bytes());
    other.bind(&name).unwrap();
}

#[test]
fn an_empty_name_has_the_kernel_choose_one() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    one.bind("").unwrap();
    other.bind("").unwrap();
    let name = one.local_name().unwrap();
    assert_eq!((name[0], name.len()), (0, 6));
    assert_ne!(name, other.local_name().unwrap());
    talk(&lp, &one, &name);
    assert_eq!(other.connect("", |_, _| panic!()), Err(Error::EINVAL));
}

#[test]
fn names_are_never_cut() {
    let lp = EventLoop::new().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    for name in [vec![b'/'; 108], [&[0], &[b'a'; 108][..]].concat(), vec![b'x'; 100_000]] {
        assert_eq!(pipe.bind(&name), Err(Error::ENAMETOOLONG));
        assert_eq!(pipe.connect(&name, |_, _| panic!()), Err(Error::ENAMETOOLONG));
    }
    for name in ["a\0b", "/tmp/\0"] {
        assert_eq!(pipe.bind(name), Err(Error::EINVAL));
        assert_eq!(pipe.connect(name, |_, _| panic!()), Err(Error::EINVAL));
    }
    // 108 bytes of abstract name do fit.
    let mut longest = format!("\0{}", std::process::id()).into_bytes();
    longest.resize(108, b'a');
    pipe.bind(&longest).unwrap();
    assert_eq!(pipe.local_name(), Ok(longest));
}

#[test]
fn binding_reports_its_errors_at_once() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let (one, other) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    one.bind(path.bytes()).unwrap();
    assert_eq!(one.bind(path.bytes()), Err(Error::EINVAL), "it is bound");
    assert_eq!(other.bind(path.bytes()), Err(Error::EADDRINUSE));
    drop(other);
    assert!(path.path().exists(), "a failed bind removes nobody's path");
    let other = Pipe::new(&lp).unwrap();
    assert_eq!(other.bind("/nonexistent-directory/x"), Err(Error::EACCES), "libuv's translation");
    assert_eq!(other.fileno(), Err(Error::EBADF));
    other.bind("").unwrap();
}

#[test]
fn connecting_to_nothing_fails_in_the_callback() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let path = TempPath::new();
    let client = Pipe::new(&lp).unwrap();
    let connect = |client: &Pipe| {
        let l = log.clone();
        client
            .connect(path.bytes(), move |client, result| {
                l.add(format!("{result:?}"));
                assert!(result.is_ok() == client.is_writable());
            })
            .unwrap();
        assert_eq!(client.connect(path.bytes(), |_, _| panic!()), Err(Error::EALREADY));
    };
    connect(&client);
    finish(&lp);
    assert_eq!(log.take(), ["Err(ENOENT)"]);
    // Bound, but nobody listens; the same handle may try again.
    let server = Pipe::new(&lp).unwrap();
    server.bind(path.bytes()).unwrap();
    connect(&client);
    let l = log.clone();
    client.write("x", move |_, written| l.add(format!("write {:?}", written.result))).unwrap();
    let l = log.clone();
    client.shutdown(move |_, result| l.add(format!("shutdown {result:?}"))).unwrap();
    finish(&lp);
    assert_eq!(
        log.take(),
        ["Err(ECONNREFUSED)", "write Err(ECANCELED)", "shutdown Err(ECANCELED)"]
    );
    let client = Pipe::new(&lp).unwrap();
    server.listen(1, |_, _| {}).unwrap();
    server.unreference();
    connect(&client);
    finish(&lp);
    assert_eq!(log.take(), ["Ok(())"]);
    assert_eq!(client.connect(path.bytes(), |_, _| panic!()), Err(Error::EISCONN));
}

#[test]
fn a_full_queue_of_connections_is_eagain() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(0, |_, _| {}).unwrap();
    let name = server.local_name().unwrap();
    let clients: Vec<Pipe> = (0..3)
        .map(|_| {
            let (client, l) = (Pipe::new(&lp).unwrap(), log.clone());
            client.connect(&name, move |_, result| l.add(format!("{result:?}"))).unwrap();
            client
        })
        .collect();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Ok(())", "Err(EAGAIN)", "Err(EAGAIN)"]);
    drop(clients);
}

#[test]
fn chmod_opens_a_path_to_everyone() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let server = Pipe::new(&lp).unwrap();
    assert_eq!(server.chmod(true, true), Err(Error::EBADF), "not open");
    server.bind(path.bytes()).unwrap();
    let mode = || std::fs::metadata(path.path()).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(path.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(server.chmod(false, false), Err(Error::EINVAL));
    server.chmod(true, false).unwrap();
    assert_eq!(mode(), 0o644);
    server.chmod(false, true).unwrap();
    assert_eq!(mode(), 0o666);
    std::fs::remove_file(path.path()).unwrap();
    assert_eq!(server.chmod(true, true), Err(Error::ENOENT));
    let unnamed = Pipe::new(&lp).unwrap();
    unnamed.bind("").unwrap();
    assert_eq!(unnamed.chmod(true, true), Err(Error::EINVAL), "an abstract name has no mode");
}

#[test]
fn both_ends_know_their_names() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let (server, client) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    assert_eq!(client.local_name(), Err(Error::EBADF));
    server.bind(path.bytes()).unwrap();
    assert_eq!(server.peer_name(), Err(Error::ENOTCONN));
    let name = path.bytes();
    let n = name.clone();
    server
        .listen(1, move |server, _| {
            let connection = server.accept().unwrap();
            assert_eq!(connection.local_name().as_ref(), Ok(&n));
            assert_eq!(connection.peer_name(), Ok(vec![]));
            server.close();
        })
        .unwrap();
    client.connect(&name, |_, result| result.unwrap()).unwrap();
    finish(&lp);
    assert_eq!((client.local_name(), client.peer_name()), (Ok(vec![]), Ok(name)));
    let (one, _other) = Pipe::pair(&lp).unwrap();
    assert_eq!((one.local_name(), one.peer_name()), (Ok(vec![]), Ok(vec![])));
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(std::io::pipe().unwrap().0).unwrap();
    assert_eq!(pipe.local_name(), Err(Error::ENOTSOCK));
}

/// libuv#2365: a handle gives its descriptor back.
#[test]
fn an_idle_stream_gives_its_descriptor_back() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.read_start(|_, _| panic!("taken")).unwrap();
    assert_eq!(pipe.take_fd().map(drop), Err(Error::EBUSY), "it reads");
    pipe.read_stop();
    pipe.write("x", |_, _| {}).unwrap();
    assert_eq!(pipe.take_fd().map(drop), Err(Error::EBUSY), "a request");
    finish(&lp);
    let number = pipe.fileno().unwrap();
    let fd: OwnedFd = pipe.take_fd().unwrap();
    assert_eq!(fd.as_raw_fd(), number);
    assert_eq!(pipe.take_fd().map(drop), Err(Error::EBADF));
    assert!(!pipe.is_readable() && !pipe.is_writable());
    // It works outside, and the handle takes another one.
    std::io::Write::write_all(&mut UnixStream::from(fd), b"y").unwrap();
    let bytes = collect(&peer);
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"xy");
    let (one, other) = UnixStream::pair().unwrap();
    pipe.open(one).unwrap();
    pipe.write_and_forget("z").unwrap();
    pipe.close();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &other, &mut text).unwrap();
    assert_eq!(text, "z");
}

#[test]
fn a_bound_descriptor_that_was_given_back_keeps_its_path() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let pipe = Pipe::new(&lp).unwrap();
    pipe.bind(path.bytes()).unwrap();
    let fd = pipe.take_fd().unwrap();
    pipe.close();
    finish(&lp);
    drop(pipe);
    assert!(path.path().exists(), "the name is the socket's, whoever has it");
    drop(fd);
}

#[test]
fn a_listener_and_a_connecting_stream_keep_their_descriptors() {
    let lp = EventLoop::new().unwrap();
    let (server, client) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    assert_eq!(server.take_fd().map(drop), Err(Error::EBUSY));
    client.connect(server.local_name().unwrap(), |_, _| {}).unwrap();
    assert_eq!(client.take_fd().map(drop), Err(Error::EBUSY));
}
