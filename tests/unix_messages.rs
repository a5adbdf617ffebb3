//! Messages over Unix sockets: boundaries, names, descriptors, credentials, and senders that wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Result, SeqPacket, SeqPacketServer, UnixDatagram, UnixRead, UnixReadInto};
use support::process::watchdog;
use support::{Log, isolated};
use tools::{TempPath, Tokens, finish, run_until};

fn bound(lp: &EventLoop) -> (UnixDatagram, Vec<u8>) {
    watchdog();
    let socket = UnixDatagram::new(lp).unwrap();
    socket.bind("").unwrap();
    let name = socket.local_name().unwrap();
    assert_eq!(name.first(), Some(&0), "an abstract name of the kernel's choice");
    (socket, name)
}

fn text(read: &UnixRead<'_>) -> String {
    match read {
        UnixRead::Data(bytes, meta) => {
            let cut = if meta.truncated { " (cut)" } else { "" };
            format!("{}{cut}", String::from_utf8_lossy(bytes))
        }
        UnixRead::Eof => "the end".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn datagrams_arrive_whole_with_the_sender_s_name() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let path = TempPath::new();
    let sender = UnixDatagram::new(&lp).unwrap();
    sender.bind(path.bytes()).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let s = seen.clone();
    receiver
        .recv_start(move |receiver, read| {
            let UnixRead::Data(bytes, meta) = read else { panic!("{read:?}") };
            assert!(meta.credentials.is_none() && meta.descriptors.is_empty());
            s.borrow_mut().push((bytes.to_vec(), meta.from));
            if s.borrow().len() == 3 {
                receiver.close();
            }
        })
        .unwrap();
    for message in ["one", "", "three"] {
        sender.send_to(message, &to, |_, result| result.unwrap()).unwrap();
    }
    finish(&lp);
    let from = path.bytes();
    let expected = ["one", "", "three"].map(|message| (message.as_bytes().to_vec(), from.clone()));
    assert_eq!(*seen.borrow(), expected);
    assert!(path.path().exists());
    sender.close();
    assert!(!path.path().exists(), "the path goes with the handle");
    finish(&lp);
}

/// A Unix socket without a peer calls itself writable while the receiver's queue is full; the
/// sender must not spin, nor lose anything.
#[test]
fn a_sender_waits_for_a_receiver_whose_queue_is_full() {
    for with_peer in [false, true] {
        let lp = EventLoop::new().unwrap();
        let (receiver, to) = bound(&lp);
        let sender = UnixDatagram::new(&lp).unwrap();
        let name = if with_peer {
            sender.connect(&to).unwrap();
            None
        } else {
            Some(to.as_slice())
        };
        let mut sent = 0;
        while sender.try_send(b"x", name).is_ok() {
            sent += 1;
        }
        assert_eq!(sender.try_send(b"x", name), Err(Error::EAGAIN));
        let done = Rc::new(Cell::new(0));
        for _ in 0..50 {
            let done = done.clone();
            let count = move |_: &UnixDatagram, result: Result<()>| {
                result.unwrap();
                done.set(done.get() + 1);
            };
            match name {
                Some(name) => sender.send_to("x", name, count).unwrap(),
                None => sender.send("x", count).unwrap(),
            }
        }
        let before = lp.metrics().events;
        for _ in 0..20 {
            lp.run(RunMode::NoWait).unwrap();
        }
        assert_eq!((done.get(), lp.metrics().events - before), (0, 0), "it waits in peace");
        assert_eq!(sender.send_queue_count(), 50);
        let received = Rc::new(Cell::new(0));
        let r = received.clone();
        receiver.recv_start(move |_, _| r.set(r.get() + 1)).unwrap();
        run_until(&lp, || received.get() == sent + 50 && done.get() == 50);
        receiver.close();
        finish(&lp);
    }
}

#[test]
fn a_receiver_that_goes_is_told_to_those_who_wait_for_it() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let sender = UnixDatagram::new(&lp).unwrap();
    while sender.try_send(b"x", Some(&to)).is_ok() {}
    let log = Log::new();
    let l = log.clone();
    sender.send_to("x", &to, move |_, result| l.add(format!("{result:?}"))).unwrap();
    receiver.close();
    finish(&lp);
    assert_eq!(log.take(), ["Err(ECONNREFUSED)"]);
    let l = log.clone();
    sender.send_to("x", &to, move |_, result| l.add(format!("{result:?}"))).unwrap();
    sender
        .send_to("x", "/nobody/here", |_, result| assert_eq!(result, Err(Error::ENOENT)))
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Err(ECONNREFUSED)"]);
}

#[test]
fn descriptors_and_credentials_travel_with_a_datagram() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = UnixDatagram::pair(&lp).unwrap();
    other.pass_credentials(true).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut descriptors: Vec<OwnedFd> = vec![writer.into()];
    descriptors.extend((1..253).map(|_| std::fs::File::open("/dev/null").unwrap().into()));
    let too_many: Vec<OwnedFd> =
        (0..254).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
    let refused = one.send_with_descriptors("x", None, too_many, |_, _| panic!());
    assert_eq!(refused, Err(Error::EINVAL));
    one.send_with_descriptors("with", None, descriptors, |_, result| result.unwrap()).unwrap();
    one.send_with_descriptors("behind", None, [], |_, result| result.unwrap()).unwrap();
    let log = Log::new();
    let l = log.clone();
    other
        .recv_start(move |other, read| {
            let UnixRead::Data(bytes, meta) = read else { panic!("{read:?}") };
            assert_eq!(meta.credentials.unwrap().pid, std::process::id() as i32);
            l.add(format!("{} {}", String::from_utf8_lossy(bytes), meta.descriptors.len()));
            if bytes == b"behind" {
                other.close();
            }
        })
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["with 253", "behind 0"]);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "every copy of the writer is closed");
}

#[test]
fn a_message_whose_descriptors_do_not_fit_is_an_error_and_the_next_is_not() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (one, other) = UnixDatagram::pair(&lp).unwrap();
        let device = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        one.send_with_descriptors("lost", None, [device()], |_, result| result.unwrap()).unwrap();
        one.send_with_descriptors("comes", None, [], |_, result| result.unwrap()).unwrap();
        let log = Log::new();
        let l = log.clone();
        other
            .recv_start(move |other, read| {
                l.add(text(&read));
                if matches!(read, UnixRead::Data(..)) {
                    other.close();
                }
            })
            .unwrap();
        let limit = libc::rlimit { rlim_cur: 3, rlim_max: 1024 };
        // SAFETY: reads the limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        finish(&lp);
        assert_eq!(log.take(), ["Error(EMFILE)", "comes"]);
    });
}

#[test]
fn a_peer_takes_the_place_of_names() {
    let lp = EventLoop::new().unwrap();
    let (_receiver, to) = bound(&lp);
    let socket = UnixDatagram::new(&lp).unwrap();
    assert_eq!(socket.send("x", |_, _| panic!()), Err(Error::EDESTADDRREQ));
    assert_eq!(socket.connect(""), Err(Error::EINVAL));
    assert_eq!(socket.connect([b'x'; 200]), Err(Error::ENAMETOOLONG));
    assert_eq!(socket.connect("/nobody/here"), Err(Error::ENOENT));
    socket.connect(&to).unwrap();
    assert_eq!(socket.connect(&to), Err(Error::EISCONN));
    assert_eq!(socket.peer_name(), Ok(to.clone()));
    assert_eq!(socket.send_to("x", &to, |_, _| panic!()), Err(Error::EISCONN));
    assert_eq!(socket.try_send(b"x", None), Ok(1));
}

fn connected(lp: &EventLoop) -> (SeqPacket, SeqPacket) {
    watchdog();
    let server = SeqPacketServer::new(lp).unwrap();
    server.bind("").unwrap();
    let accepted = Rc::new(RefCell::new(None));
    let place = accepted.clone();
    server
        .listen(1, move |server, result| {
            result.unwrap();
            place.replace(Some(server.accept().unwrap()));
            assert!(matches!(server.accept(), Err(Error::EAGAIN)));
            server.close();
        })
        .unwrap();
    let client = SeqPacket::new(lp).unwrap();
    let log = Log::new();
    let l = log.clone();
    let name = server.local_name().unwrap();
    client.connect(&name, move |_, result| l.add(format!("{result:?}"))).unwrap();
    assert!(log.take().is_empty(), "not from inside the call");
    finish(lp);
    assert_eq!(log.take(), ["Ok(())"]);
    (client, accepted.take().unwrap())
}

#[test]
fn a_connection_keeps_boundaries_and_tells_its_end_from_an_empty_message() {
    let lp = EventLoop::new().unwrap();
    let (client, server) = connected(&lp);
    let log = Log::new();
    let l = log.clone();
    server
        .recv_start(move |server, read| {
            l.add(text(&read));
            if matches!(read, UnixRead::Eof) {
                assert!(!server.is_active(), "receiving has stopped");
                server.send("answer", |server, _| server.close()).unwrap();
            }
        })
        .unwrap();
    for message in ["one", "", "two"] {
        client.send(message, |_, result| result.unwrap()).unwrap();
    }
    let l = log.clone();
    client.shutdown(move |_, result| l.add(format!("shut down {result:?}"))).unwrap();
    assert_eq!(client.send("x", |_, _| panic!()), Err(Error::EPIPE));
    assert_eq!(client.shutdown(|_, _| panic!()), Err(Error::ENOTCONN));
    let l = log.clone();
    client
        .recv_start(move |client, read| {
            l.add(format!("client: {}", text(&read)));
            if matches!(read, UnixRead::Eof) {
                client.close();
            }
        })
        .unwrap();
    finish(&lp);
    let mut lines = log.take();
    let at = lines.iter().position(|line| line.starts_with("shut")).unwrap();
    assert_eq!(lines.remove(at), "shut down Ok(())");
    assert_eq!(lines, ["one", "", "two", "the end", "client: answer", "client: the end"]);
}

#[test]
fn a_connection_brings_descriptors_and_long_messages_into_supplied_buffers() {
    let lp = EventLoop::new().unwrap();
    let (client, server) = connected(&lp);
    let long = vec![5u8; 100_000];
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    client.send_with_descriptors(long.clone(), [null], |_, result| result.unwrap()).unwrap();
    client.send("cut", |client, _| client.close()).unwrap();
    let log = Log::new();
    let l = log.clone();
    let room = Cell::new(200_000);
    server
        .recv_start_into(
            move |_, _| vec![0u8; room.replace(2)],
            move |server, read| match read {
                UnixReadInto::Data(buffer, length, meta) => {
                    let same = buffer[..length] == long[..length.min(long.len())];
                    let n = meta.descriptors.len();
                    l.add(format!("{length} {same} {} {n}", meta.truncated));
                }
                UnixReadInto::Unused(_) => {}
                UnixReadInto::Eof(_) => server.close(),
                other => panic!("{other:?}"),
            },
        )
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["100000 true false 1", "2 false true 0"]);
}

#[test]
fn a_connection_that_cannot_be_made_is_told_in_the_callback() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let name = path.bytes();
    let datagrams = UnixDatagram::new(&lp).unwrap();
    datagrams.bind(&name).unwrap();
    let cases: [(&[u8], Error); 3] = [
        (b"/nobody/here", Error::ENOENT),
        (b"\0blacklight: nobody has this name", Error::ECONNREFUSED),
        (&name, Error::EPROTOTYPE),
    ];
    for (name, error) in cases {
        let client = SeqPacket::new(&lp).unwrap();
        let told = Rc::new(Cell::new(false));
        let t = told.clone();
        client
            .connect(name, move |client, result| {
                assert_eq!(result, Err(error));
                assert_eq!(client.fileno(), Err(Error::EBADF));
                t.set(true);
            })
            .unwrap();
        assert_eq!(client.send("x", |_, _| panic!()), Err(Error::ENOTCONN));
        finish(&lp);
        assert!(told.get());
    }
    let (client, server) = connected(&lp);
    assert_eq!(client.connect("/x", |_, _| panic!()), Err(Error::EISCONN));
    assert_eq!(client.connected_credentials().unwrap().pid, std::process::id() as i32);
    server.close();
    finish(&lp);
    let log = Log::new();
    let l = log.clone();
    client.send("x", move |_, result| l.add(format!("{result:?}"))).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Err(EPIPE)"]);
}

#[test]
fn closing_cancels_a_connect_and_what_is_queued() {
    let lp = EventLoop::new().unwrap();
    let (one, _other) = SeqPacket::pair(&lp).unwrap();
    let log = Log::new();
    while one.try_send(&[0; 1000]).is_ok() {}
    for _ in 0..2 {
        let l = log.clone();
        one.send(vec![0; 1000], move |_, result| l.add(format!("{result:?}"))).unwrap();
    }
    let l = log.clone();
    one.shutdown(move |_, result| l.add(format!("shutdown {result:?}"))).unwrap();
    let l = log.clone();
    one.close_with(move |_| l.add("closed")).unwrap();
    finish(&lp);
    let cancelled = "Err(ECANCELED)";
    assert_eq!(log.take(), [cancelled, cancelled, "shutdown Err(ECANCELED)", "closed"]);
    let server = SeqPacketServer::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    server.unreference();
    let client = SeqPacket::new(&lp).unwrap();
    let l = log.clone();
    let name = server.local_name().unwrap();
    client.connect(name, move |_, result| l.add(format!("{result:?}"))).unwrap();
    client.close();
    finish(&lp);
    assert_eq!(log.take(), [cancelled]);
}

#[test]
fn handles_and_descriptors_of_the_wrong_kind_or_state_are_refused() {
    let lp = EventLoop::new().unwrap();
    let devnull = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let udp = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let stream = || OwnedFd::from(std::os::unix::net::UnixStream::pair().unwrap().0);
    let datagram = || OwnedFd::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
    let (d, s) = (UnixDatagram::new(&lp).unwrap(), SeqPacket::new(&lp).unwrap());
    for (descriptor, error) in
        [(devnull(), Error::ENOTSOCK), (udp(), Error::EINVAL), (stream(), Error::EINVAL)]
    {
        let copy = descriptor.try_clone().unwrap();
        assert_eq!((d.open(descriptor), s.open(copy)), (Err(error), Err(error)));
    }
    assert_eq!(s.open(datagram()), Err(Error::EINVAL));
    assert_eq!(d.open(datagram()), Ok(()));
    assert_eq!(d.open(datagram()), Err(Error::EBUSY));
    let alone = SeqPacketServer::new(&lp).unwrap();
    assert_eq!(alone.listen(1, |_, _| panic!()), Err(Error::EINVAL), "not bound");
    assert!(matches!(alone.accept(), Err(Error::EAGAIN)));

    // Not open.
    let (d, s) = (UnixDatagram::new(&lp).unwrap(), SeqPacket::new(&lp).unwrap());
    assert_eq!(d.recv_start(|_, _| panic!()), Err(Error::EBADF));
    assert_eq!(s.recv_start(|_, _| panic!()), Err(Error::EBADF));
    assert_eq!(d.pass_credentials(true), Err(Error::EBADF));
    assert_eq!(d.local_name(), Err(Error::EBADF));
    assert_eq!(d.send_buffer_size(), Err(Error::EBADF));
    assert_eq!(s.peer_name(), Err(Error::EBADF));
    assert_eq!(s.shutdown(|_, _| panic!()), Err(Error::EBADF));
    assert_eq!(s.send("x", |_, _| panic!()), Err(Error::ENOTCONN));
    assert_eq!(s.connected_credentials(), Err(Error::EBADF));
    assert_eq!(d.take_fd().map(drop), Err(Error::EBADF));

    // Closed, and of a loop that is gone.
    let gone = EventLoop::new().unwrap();
    let orphans = (UnixDatagram::new(&gone).unwrap(), SeqPacket::new(&gone).unwrap());
    drop(gone);
    d.close();
    s.close();
    for (d, s) in [(&d, &s), (&orphans.0, &orphans.1)] {
        assert_eq!(d.bind(""), Err(Error::EINVAL));
        assert_eq!(d.connect("x"), Err(Error::EINVAL));
        assert_eq!(d.send_to("x", "x", |_, _| panic!()), Err(Error::EINVAL));
        assert_eq!(d.try_send(b"x", Some(b"x")), Err(Error::EINVAL));
        assert_eq!(d.recv_start(|_, _| panic!()), Err(Error::EINVAL));
        assert_eq!(d.open(datagram()), Err(Error::EINVAL));
        assert_eq!(s.connect("x", |_, _| panic!()), Err(Error::EINVAL));
        assert_eq!(s.send("x", |_, _| panic!()), Err(Error::EINVAL));
        assert_eq!(s.recv_start(|_, _| panic!()), Err(Error::EINVAL));
        assert_eq!(s.shutdown(|_, _| panic!()), Err(Error::EINVAL));
    }
    finish(&lp);
}

#[test]
fn a_loop_that_is_dropped_closes_sockets_and_drops_closures() {
    let tokens = Tokens::new();
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let socket = UnixDatagram::new(&lp).unwrap();
    socket.bind(path.bytes()).unwrap();
    let (one, two, three) = (tokens.one(), tokens.one(), tokens.one());
    socket.recv_start(move |_, _| one.keep()).unwrap();
    socket.send_to("x", path.bytes(), move |_, _| two.keep()).unwrap();
    let (left, _right) = SeqPacket::pair(&lp).unwrap();
    left.shutdown(move |_, _| three.keep()).unwrap();
    drop(lp);
    assert_eq!((tokens.alive(), path.path().exists()), (0, false));
    assert_eq!((socket.fileno(), left.fileno()), (Err(Error::EBADF), Err(Error::EBADF)));
}
