//! TCP: sockets made when they are needed, options, errors where libuv has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use blacklight::prelude::*;
use blacklight::{AddressFamily, Error, Result, TcpFlags, TcpKeepAlive};
use socket2::Socket;
use support::{Log, isolated};
use tools::{finish, run_until};

fn any4() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn any6() -> SocketAddr {
    "[::1]:0".parse().unwrap()
}

/// What the kernel says of the handle's socket.
fn socket(tcp: &Tcp) -> Socket {
    Socket::from(tcp.duplicate_fd().unwrap())
}

fn listening(lp: &EventLoop) -> (Tcp, SocketAddr) {
    let server = Tcp::new(lp).unwrap();
    server.bind(any4()).unwrap();
    server.listen(128, |_, _| {}).unwrap();
    server.unreference();
    let address = server.local_address().unwrap();
    (server, address)
}

/// Two ends of a connection, through the loop.
fn connected(lp: &EventLoop) -> (Tcp, Tcp) {
    let server = Tcp::new(lp).unwrap();
    server.bind(any4()).unwrap();
    let (accepted, connected) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(false)));
    let place = accepted.clone();
    server
        .listen(1, move |server, result| {
            result.unwrap();
            place.replace(Some(server.accept().unwrap()));
            server.close();
        })
        .unwrap();
    let client = Tcp::new(lp).unwrap();
    let done = connected.clone();
    client
        .connect(server.local_address().unwrap(), move |_, result| {
            result.unwrap();
            done.set(true);
        })
        .unwrap();
    run_until(lp, || connected.get() && server.is_closed());
    let accepted = accepted.take().unwrap();
    (client, accepted)
}

#[test]
fn a_socket_is_made_when_something_needs_one() {
    let lp = EventLoop::new().unwrap();
    let tcp = Tcp::new(&lp).unwrap();
    assert_eq!(tcp.fileno(), Err(Error::EBADF));
    assert_eq!(tcp.local_address(), Err(Error::EBADF));
    tcp.bind(any6()).unwrap();
    assert!(tcp.local_address().unwrap().is_ipv6());
    for (family, address) in [(AddressFamily::Ipv4, any4()), (AddressFamily::Ipv6, any6())] {
        let tcp = Tcp::new_of(&lp, family).unwrap();
        assert!(tcp.fileno().is_ok());
        assert_eq!(AddressFamily::of(&tcp.local_address().unwrap()), family);
        assert_eq!(tcp.peer_address(), Err(Error::ENOTCONN));
        tcp.bind(address).unwrap();
        // Derived from libuv: EAFNOSUPPORT of a bind is told as EINVAL, a second bind is EINVAL.
        assert_eq!(tcp.bind(address), Err(Error::EINVAL));
    }
    let tcp = Tcp::new_of(&lp, AddressFamily::Ipv4).unwrap();
    assert_eq!(tcp.bind(any6()), Err(Error::ENOPROTOOPT), "that is IPV6_V6ONLY, as in libuv");
    let tcp = Tcp::new_of(&lp, AddressFamily::Ipv6).unwrap();
    assert_eq!(tcp.bind(any4()), Err(Error::EINVAL));
}

/// Derived from libuv: uv_listen on a socket that nothing was bound to listens on a free port.
#[test]
fn a_server_that_was_not_bound_gets_a_port() {
    let lp = EventLoop::new().unwrap();
    let server = Tcp::new(&lp).unwrap();
    server
        .listen(1, |server, result| {
            result.unwrap();
            drop(server.accept().unwrap());
            server.close();
        })
        .unwrap();
    let port = server.local_address().unwrap().port();
    assert_ne!(port, 0);
    let client = Tcp::new(&lp).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    client
        .connect(to, |client, result| client.close_with(move |_| result.unwrap()).unwrap())
        .unwrap();
    finish(&lp);
}

#[test]
fn an_address_in_use_is_said_at_once_or_later() {
    let lp = EventLoop::new().unwrap();
    let (_server, address) = listening(&lp);
    let second = Tcp::new(&lp).unwrap();
    assert_eq!(second.bind(address), Err(Error::EADDRINUSE));

    let late = || {
        let tcp = Tcp::new(&lp).unwrap();
        tcp.bind_with(address, TcpFlags::DELAY_ADDRESS_IN_USE).unwrap();
        tcp
    };
    // Derived from libuv: the error is told by listen, getsockname, getpeername, and a connect's
    // callback.
    assert_eq!(late().listen(1, |_, _| panic!()), Err(Error::EADDRINUSE));
    assert_eq!(late().local_address(), Err(Error::EADDRINUSE));
    assert_eq!(late().peer_address(), Err(Error::EADDRINUSE));
    let log = Log::new();
    let l = log.clone();
    late().connect(address, move |_, result| l.add(format!("{result:?}"))).unwrap();
    assert!(log.take().is_empty());
    finish(&lp);
    assert_eq!(log.take(), ["Err(EADDRINUSE)"]);
    // A bind that works after all forgets it.
    let tcp = late();
    tcp.bind_with(any4(), TcpFlags::DELAY_ADDRESS_IN_USE).unwrap();
    tcp.listen(1, |_, _| {}).unwrap();
    tcp.close();
    finish(&lp);
}

#[test]
fn bind_flags_do_their_work() {
    let lp = EventLoop::new().unwrap();
    let tcp = Tcp::new(&lp).unwrap();
    assert_eq!(tcp.bind_with(any4(), TcpFlags::IPV6_ONLY), Err(Error::EINVAL));
    for (flags, both) in [(TcpFlags::empty(), true), (TcpFlags::IPV6_ONLY, false)] {
        let server = Tcp::new(&lp).unwrap();
        server.bind_with("[::]:0".parse().unwrap(), flags).unwrap();
        server.listen(8, |server, _| server.close()).unwrap();
        let port = server.local_address().unwrap().port();
        let client = Tcp::new(&lp).unwrap();
        let seen = Rc::new(Cell::new(None));
        let s = seen.clone();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        client
            .connect(to, move |client, result| {
                s.set(Some(result));
                client.close();
            })
            .unwrap();
        run_until(&lp, || seen.get().is_some());
        server.close();
        finish(&lp);
        assert_eq!(seen.get(), Some(if both { Ok(()) } else { Err(Error::ECONNREFUSED) }));
    }
    let (one, other) = (Tcp::new(&lp).unwrap(), Tcp::new(&lp).unwrap());
    one.bind_with(any4(), TcpFlags::REUSE_PORT).unwrap();
    one.listen(1, |_, _| {}).unwrap();
    let address = one.local_address().unwrap();
    other.bind_with(address, TcpFlags::REUSE_PORT).unwrap();
    other.listen(1, |_, _| {}).unwrap();
    one.close();
    other.close();
    finish(&lp);
}

#[test]
fn a_refused_connect_is_told_in_the_callback_and_what_is_known_at_once_by_the_call() {
    let lp = EventLoop::new().unwrap();
    // A port that was free a moment ago and that nobody listens on, as it is bound.
    let holder = Tcp::new(&lp).unwrap();
    holder.bind(any4()).unwrap();
    let nobody = holder.local_address().unwrap();
    let log = Log::new();
    let client = Tcp::new(&lp).unwrap();
    let (l, w) = (log.clone(), log.clone());
    client.connect(nobody, move |_, result| l.add(format!("connect {result:?}"))).unwrap();
    client.write("x", move |_, written| w.add(format!("write {:?}", written.result))).unwrap();
    assert_eq!(client.connect(nobody, |_, _| panic!()), Err(Error::EALREADY));
    finish(&lp);
    assert_eq!(log.take(), ["connect Err(ECONNREFUSED)", "write Err(ECANCELED)"]);

    // Nobody can connect to a group.
    let client = Tcp::new(&lp).unwrap();
    assert_eq!(
        client.connect("224.0.0.1:1".parse().unwrap(), |_, _| panic!()),
        Err(Error::ENETUNREACH)
    );
    assert!(!client.is_readable() && !client.is_writable(), "it is as before");
    assert_eq!(
        client.connect("[::1]:1".parse().unwrap(), |_, _| panic!()),
        Err(Error::EAFNOSUPPORT)
    );
    let (one, other) = connected(&lp);
    assert_eq!(one.connect(nobody, |_, _| panic!()), Err(Error::EISCONN));
    assert_eq!(one.peer_address().unwrap(), other.local_address().unwrap());
}

#[test]
fn what_is_set_before_there_is_a_socket_holds_when_there_is_one() {
    let lp = EventLoop::new().unwrap();
    let settings =
        TcpKeepAlive { idle: Duration::from_secs(70), interval: Duration::from_secs(7), probes: 3 };
    let check = |tcp: &Tcp, how: &str| {
        let socket = socket(tcp);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap(), "{how}");
        assert_eq!(socket.tcp_keepalive_time().unwrap(), settings.idle, "{how}");
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), settings.interval, "{how}");
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), settings.probes, "{how}");
    };
    let early = || {
        let tcp = Tcp::new(&lp).unwrap();
        tcp.no_delay(true).unwrap();
        tcp.keep_alive(Some(settings)).unwrap();
        tcp
    };
    let bound = early();
    bound.bind(any4()).unwrap();
    check(&bound, "bound");
    let opened = early();
    opened.open(OwnedFd::from(std::net::TcpListener::bind(any4()).unwrap())).unwrap();
    check(&opened, "opened");
    bound.listen(1, |_, _| {}).unwrap();
    bound.unreference();
    let client = early();
    client.connect(bound.local_address().unwrap(), |_, result| result.unwrap()).unwrap();
    check(&client, "connecting");
    finish(&lp);
    let accepted = early();
    run_until(&lp, || bound.accept_into(&accepted).is_ok());
    check(&accepted, "accepted");
    accepted.no_delay(false).unwrap();
    accepted.keep_alive(None).unwrap();
    let socket = socket(&accepted);
    assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
}

/// Derived from libuv: idle, interval and count below 1 are EINVAL (uv_tcp_keepalive_ex).
#[test]
fn times_and_numbers_that_cannot_be_are_refused() {
    let lp = EventLoop::new().unwrap();
    let (open, not_open) = (Tcp::new_of(&lp, AddressFamily::Ipv4).unwrap(), Tcp::new(&lp).unwrap());
    let ok = TcpKeepAlive::after(Duration::from_secs(60));
    assert_eq!((ok.interval, ok.probes), (Duration::from_secs(1), 10), "as uv_tcp_keepalive");
    let (none, long) = (Duration::from_millis(999), Duration::from_secs(32_768));
    for tcp in [&open, &not_open] {
        assert_eq!(tcp.keep_alive(Some(ok)), Ok(()));
        for bad in [
            TcpKeepAlive { idle: none, ..ok },
            TcpKeepAlive { idle: long, ..ok },
            TcpKeepAlive { interval: none, ..ok },
            TcpKeepAlive { interval: long, ..ok },
            TcpKeepAlive { probes: 0, ..ok },
            TcpKeepAlive { probes: 128, ..ok },
        ] {
            assert_eq!(tcp.keep_alive(Some(bad)), Err(Error::EINVAL), "{bad:?}");
        }
        assert_eq!(tcp.keep_alive(None), Ok(()));
    }
}

#[test]
fn a_reset_is_what_the_peer_reads() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = connected(&lp);
    let log = Log::new();
    let (l, c) = (log.clone(), log.clone());
    other
        .read_start(move |other, read| {
            l.add(format!("{read:?}"));
            other.close();
        })
        .unwrap();
    one.close_reset_with(move |_| c.add("closed")).unwrap();
    assert_eq!(one.close_reset(), Err(Error::EINVAL), "it is closing");
    finish(&lp);
    assert_eq!(log.take(), ["Error(ECONNRESET)", "closed"]);
}

/// Derived from libuv: a reset while the socket is being shut down is EINVAL.
#[test]
fn a_reset_does_not_cut_a_shutdown_short() {
    let lp = EventLoop::new().unwrap();
    assert_eq!(Tcp::new(&lp).unwrap().close_reset(), Err(Error::EBADF));
    let (one, other) = connected(&lp);
    one.shutdown(|one, result| {
        result.unwrap();
        assert_eq!(one.close_reset(), Ok(()), "it is over");
    })
    .unwrap();
    assert_eq!(one.close_reset(), Err(Error::EINVAL));
    assert!(!one.is_closing());
    other.close();
    finish(&lp);
}

/// libuv#3696: one connection per turn is fair, and many are faster if nobody else listens.
#[test]
fn simultaneous_accepts_take_several_connections_in_a_turn() {
    let lp = EventLoop::new().unwrap();
    let (server, count) = (Tcp::new(&lp).unwrap(), Rc::new(Cell::new(0)));
    server.bind(any4()).unwrap();
    server.simultaneous_accepts(false).unwrap();
    let c = count.clone();
    server
        .listen(64, move |server, result| {
            result.unwrap();
            c.set(c.get() + 1);
            // The fifth is not taken, and holds up the others.
            if c.get() != 5 {
                drop(server.accept().unwrap());
            }
        })
        .unwrap();
    let address = server.local_address().unwrap();
    let clients: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(count.get(), 1);
    server.simultaneous_accepts(true).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(count.get(), 5);
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(count.get(), 5);
    drop(server.accept().unwrap());
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(count.get(), 37, "at most 32 a turn");
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(count.get(), 40);
    drop(clients);
    server.close();
    assert_eq!(server.simultaneous_accepts(true), Err(Error::EINVAL));
    finish(&lp);
}

#[test]
fn a_callback_that_closes_the_server_ends_the_turn_s_accepting() {
    let lp = EventLoop::new().unwrap();
    let (server, count) = (Tcp::new(&lp).unwrap(), Rc::new(Cell::new(0)));
    server.bind(any4()).unwrap();
    server.simultaneous_accepts(true).unwrap();
    let c = count.clone();
    server
        .listen(8, move |server, _| {
            c.set(c.get() + 1);
            drop(server.accept());
            server.close();
        })
        .unwrap();
    let address = server.local_address().unwrap();
    let _clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    finish(&lp);
    assert_eq!(count.get(), 1);
}

#[test]
fn every_call_on_a_handle_that_is_gone_is_an_error() {
    type Call = (&'static str, Box<dyn Fn(&Tcp) -> Result<()>>, Error, Error);
    let call = |name, call: fn(&Tcp) -> Result<()>, not_open, closing| -> Call {
        (name, Box::new(call), not_open, closing)
    };
    // Not open, and closing or of a loop that is gone.
    let calls = [
        call("bind", |t| t.bind("127.0.0.1:0".parse().unwrap()), Error::UNKNOWN, Error::EINVAL),
        call("listen", |t| t.listen(1, |_, _| panic!()), Error::UNKNOWN, Error::EINVAL),
        call(
            "connect",
            |t| t.connect("127.0.0.1:1".parse().unwrap(), |_, _| panic!()),
            Error::UNKNOWN,
            Error::EINVAL,
        ),
        call("local_address", |t| t.local_address().map(drop), Error::EBADF, Error::EBADF),
        call("peer_address", |t| t.peer_address().map(drop), Error::EBADF, Error::EBADF),
        call("no_delay", |t| t.no_delay(true), Error::UNKNOWN, Error::EINVAL),
        call("keep_alive", |t| t.keep_alive(None), Error::UNKNOWN, Error::EINVAL),
        call("accepts", |t| t.simultaneous_accepts(true), Error::UNKNOWN, Error::EINVAL),
        call("close_reset", |t| t.close_reset(), Error::EBADF, Error::EINVAL),
        call(
            "open",
            |t| t.open(Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()),
            Error::UNKNOWN,
            Error::EINVAL,
        ),
        call("read_start", |t| t.read_start(|_, _| panic!()), Error::ENOTCONN, Error::EINVAL),
        call("write", |t| t.write("x", |_, _| panic!()).map(drop), Error::EBADF, Error::EBADF),
        call("try_write", |t| t.try_write(b"x").map(drop), Error::EBADF, Error::EBADF),
        call("shutdown", |t| t.shutdown(|_, _| panic!()), Error::EBADF, Error::EBADF),
        call("accept", |t| t.accept().map(drop), Error::EAGAIN, Error::EAGAIN),
        call("set_blocking", |t| t.set_blocking(true), Error::EBADF, Error::EBADF),
        call("send_buffer_size", |t| t.send_buffer_size().map(drop), Error::EBADF, Error::EBADF),
        call("recv_buffer_size", |t| t.set_recv_buffer_size(1), Error::EBADF, Error::EBADF),
        call("fileno", |t| t.fileno().map(drop), Error::EBADF, Error::EBADF),
        call("duplicate_fd", |t| t.duplicate_fd().map(drop), Error::EBADF, Error::EBADF),
        call("take_fd", |t| t.take_fd().map(drop), Error::EBADF, Error::EBADF),
    ];
    let lp = EventLoop::new().unwrap();
    let gone = EventLoop::new().unwrap();
    let orphan = Tcp::new(&gone).unwrap();
    drop(gone);
    for (name, call, not_open, closing) in calls {
        if not_open != Error::UNKNOWN {
            assert_eq!(call(&Tcp::new(&lp).unwrap()), Err(not_open), "{name}, not open");
        }
        let tcp = Tcp::new(&lp).unwrap();
        tcp.bind(any4()).unwrap();
        tcp.close();
        assert_eq!(call(&tcp), Err(closing), "{name}, closing");
        lp.run(RunMode::NoWait).unwrap();
        assert!(tcp.is_closed());
        assert_eq!(call(&tcp), Err(closing), "{name}, closed");
        let refused = call(&orphan);
        assert!(refused.is_err(), "{name}, of a loop that is gone");
    }
    finish(&lp);
}

#[test]
fn a_descriptor_of_the_wrong_type_is_refused() {
    let lp = EventLoop::new().unwrap();
    let tcp = Tcp::new(&lp).unwrap();
    assert_eq!(tcp.open(std::fs::File::open("/dev/null").unwrap()), Err(Error::ENOTSOCK));
    assert_eq!(tcp.open(std::io::pipe().unwrap().0), Err(Error::ENOTSOCK));
    tcp.bind(any4()).unwrap();
    let other = std::net::TcpListener::bind(any4()).unwrap();
    assert_eq!(tcp.open(other), Err(Error::EBUSY));
}

#[test]
fn buffer_sizes_are_the_socket_s() {
    let lp = EventLoop::new().unwrap();
    let tcp = Tcp::new_of(&lp, AddressFamily::Ipv4).unwrap();
    tcp.set_send_buffer_size(32 * 1024).unwrap();
    tcp.set_recv_buffer_size(16 * 1024).unwrap();
    // socket(7): the kernel doubles them.
    assert_eq!(tcp.send_buffer_size(), Ok(64 * 1024));
    assert_eq!(tcp.recv_buffer_size(), Ok(32 * 1024));
    assert_eq!(tcp.set_send_buffer_size(usize::MAX), Err(Error::EINVAL));
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(std::io::pipe().unwrap().0).unwrap();
    assert_eq!(pipe.send_buffer_size(), Err(Error::ENOTSOCK));
    let (one, _other) = Pipe::pair(&lp).unwrap();
    assert!(one.send_buffer_size().unwrap() > 0);
}

#[test]
fn blocking_writes_are_done_when_they_return() {
    let lp = EventLoop::new().unwrap();
    let (client, server) = connected(&lp);
    let size = 8 << 20;
    let reader = std::net::TcpStream::from(server.take_fd().unwrap());
    reader.set_nonblocking(false).unwrap();
    let reading = std::thread::spawn(move || {
        let mut reader = reader;
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap()
    });
    client.set_blocking(true).unwrap();
    let called = Rc::new(Cell::new(false));
    let c = called.clone();
    client
        .write(vec![1; size], move |client, written| {
            tools::all_written(written, size);
            c.set(true);
            client.set_blocking(false).unwrap();
            client.close();
        })
        .unwrap();
    assert_eq!((client.write_queue_size(), called.get()), (0, false));
    finish(&lp);
    assert!(called.get());
    assert_eq!(reading.join().unwrap(), size as u64);
}

/// A server and as many clients as it takes, each sending and reading back a line a few times.
#[test]
fn a_crowd_is_echoed() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let server = Tcp::new(&lp).unwrap();
        server.bind(any4()).unwrap();
        server
            .listen(128, |server, result| {
                result.unwrap();
                let client = server.accept().unwrap();
                client
                    .read_start(|client, read| match read {
                        Read::Data(bytes) => client.write_and_forget(bytes.to_vec()).unwrap(),
                        _ => client.close(),
                    })
                    .unwrap();
            })
            .unwrap();
        server.unreference();
        let address = server.local_address().unwrap();
        let echoed = Rc::new(Cell::new(0));
        for number in 0..200 {
            let client = Tcp::new(&lp).unwrap();
            let echoed = echoed.clone();
            let line = format!("line of client {number}");
            client
                .connect(address, move |client, result| {
                    result.unwrap();
                    client.write_and_forget(line.clone()).unwrap();
                    let (mut got, mut rounds) = (Vec::new(), 0);
                    client
                        .read_start(move |client, read| {
                            let Read::Data(bytes) = read else { panic!("{read:?}") };
                            got.extend_from_slice(bytes);
                            if got.len() < line.len() {
                                return;
                            }
                            assert_eq!(std::mem::take(&mut got), line.as_bytes());
                            rounds += 1;
                            echoed.set(echoed.get() + 1);
                            if rounds == 5 {
                                client.close();
                            } else {
                                client.write_and_forget(line.clone()).unwrap();
                            }
                        })
                        .unwrap();
                })
                .unwrap();
        }
        finish(&lp);
        assert_eq!(echoed.get(), 1000);
    });
}
