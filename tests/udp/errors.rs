//! Errors, where libuv has them.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Result, UdpFlags};
use socket2::Socket;

use crate::support::Log;
use crate::tools::finish;
use crate::{any4, bound};

#[test]
fn a_refused_datagram_is_told_to_a_socket_with_a_peer() {
    let lp = EventLoop::new().unwrap();
    let nobody = UdpSocket::bind(any4()).unwrap().local_addr().unwrap();
    let sender = Udp::new(&lp).unwrap();
    sender.connect(nobody).unwrap();
    let log = Log::new();
    let l = log.clone();
    sender
        .recv_start(move |sender, read| {
            l.add(format!("{read:?}"));
            assert!(sender.is_active(), "an error does not end receiving");
            sender.close();
        })
        .unwrap();
    sender.try_send(b"x", None).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Error(ECONNREFUSED)"]);
}

/// Derived from libuv's UV_UDP_LINUX_RECVERR: errors of the network are told with who reported them.
#[test]
fn kept_errors_are_told_with_their_origin() {
    for (batches, local) in [(false, "127.0.0.1:0"), (true, "127.0.0.1:0"), (false, "[::1]:0")] {
        let lp = EventLoop::new().unwrap();
        let local: SocketAddr = local.parse().unwrap();
        let nobody = UdpSocket::bind(local).unwrap().local_addr().unwrap();
        let sender = Udp::new_with(&lp, None, batches).unwrap();
        sender.bind_with(local, UdpFlags::LINUX_RECVERR).unwrap();
        let seen = Rc::new(Cell::new(0));
        let s = seen.clone();
        sender
            .recv_start(move |sender, read| {
                // The error as such may be told before what is known of it.
                let UdpRead::Queued(queued, bytes) = read else { return };
                assert_eq!(queued.error, Error::ECONNREFUSED);
                assert_eq!(queued.offender.unwrap().ip(), local.ip());
                assert_eq!(queued.destination, nobody);
                // Destination unreachable, port unreachable (RFC 792, RFC 4443).
                let expected = if local.is_ipv4() { (2, 3, 3) } else { (3, 1, 4) };
                assert_eq!((queued.origin, queued.kind, queued.code), expected);
                assert_eq!(bytes, b"to nobody");
                s.set(s.get() + 1);
                sender.close();
            })
            .unwrap();
        sender.try_send(b"to nobody", nobody).unwrap();
        finish(&lp);
        assert_eq!(seen.get(), 1, "{local}, batches: {batches}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let lp = EventLoop::new().unwrap();
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let udp = Udp::new(&lp).unwrap();
        udp.bind(local.parse().unwrap()).unwrap();
        // Derived from libuv: 1 to 255, and for groups 0 to 255.
        for (ttl, unicast, multicast) in [
            (0, Err(Error::EINVAL), Ok(())),
            (1, Ok(()), Ok(())),
            (255, Ok(()), Ok(())),
            (256, Err(Error::EINVAL), Err(Error::EINVAL)),
        ] {
            assert_eq!(udp.set_ttl(ttl), unicast, "{local} {ttl}");
            assert_eq!(udp.set_multicast_ttl(ttl), multicast, "{local} {ttl}");
        }
        udp.set_ttl(7).unwrap();
        udp.set_multicast_ttl(9).unwrap();
        let socket = Socket::from(udp.duplicate_fd().unwrap());
        let (ttl, multicast) = if local.starts_with('[') {
            (socket.unicast_hops_v6().unwrap(), socket.multicast_hops_v6().unwrap())
        } else {
            (socket.ttl_v4().unwrap(), socket.multicast_ttl_v4().unwrap())
        };
        assert_eq!((ttl, multicast), (7, 9));
        udp.set_recv_buffer_size(16 * 1024).unwrap();
        udp.set_send_buffer_size(32 * 1024).unwrap();
        // socket(7): the kernel doubles them.
        assert_eq!((udp.recv_buffer_size(), udp.send_buffer_size()), (Ok(32768), Ok(65536)));
        assert_eq!(udp.set_send_buffer_size(usize::MAX), Err(Error::EINVAL));
    }
    let (udp, to) = bound(&lp);
    assert_eq!(udp.send_vectored(vec![], to, |_, _| panic!()), Err(Error::EINVAL));
    assert_eq!(udp.try_send_vectored(&[], to), Err(Error::EINVAL));
}

#[test]
fn every_call_on_a_handle_that_is_gone_is_an_error() {
    fn to() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }
    fn group() -> std::net::IpAddr {
        "239.255.0.1".parse().unwrap()
    }
    type Call = (&'static str, fn(&Udp) -> Result<()>, Error, Error);
    // Not open (UNKNOWN: it makes a socket), and closing.
    let calls: [Call; 25] = [
        ("bind", |u| u.bind("127.0.0.1:0".parse().unwrap()), Error::UNKNOWN, Error::EINVAL),
        (
            "open",
            |u| u.open(UdpSocket::bind("127.0.0.1:0").unwrap()),
            Error::UNKNOWN,
            Error::EINVAL,
        ),
        ("connect", |u| u.connect(to()), Error::UNKNOWN, Error::EINVAL),
        ("disconnect", |u| u.disconnect(), Error::ENOTCONN, Error::ENOTCONN),
        ("send", |u| u.send("x", to(), |_, _| panic!()), Error::UNKNOWN, Error::EINVAL),
        (
            "send to peer",
            |u| u.send("x", None, |_, _| panic!()),
            Error::EDESTADDRREQ,
            Error::EINVAL,
        ),
        ("send_and_forget", |u| u.send_and_forget("x", to()), Error::UNKNOWN, Error::EINVAL),
        ("try_send", |u| u.try_send(b"x", to()).map(drop), Error::UNKNOWN, Error::EINVAL),
        ("recv_start", |u| u.recv_start(|_, _| panic!()), Error::UNKNOWN, Error::EINVAL),
        ("join", |u| u.join(group(), 0), Error::UNKNOWN, Error::EINVAL),
        ("leave", |u| u.leave(group(), 0), Error::UNKNOWN, Error::EINVAL),
        ("join_source", |u| u.join_source(group(), to().ip(), 0), Error::UNKNOWN, Error::EINVAL),
        ("set_broadcast", |u| u.set_broadcast(true), Error::EBADF, Error::EBADF),
        ("set_ttl", |u| u.set_ttl(1), Error::EBADF, Error::EBADF),
        ("set_multicast_ttl", |u| u.set_multicast_ttl(1), Error::EBADF, Error::EBADF),
        ("set_multicast_loop", |u| u.set_multicast_loop(true), Error::EBADF, Error::EBADF),
        ("set_multicast_interface", |u| u.set_multicast_interface(0), Error::EBADF, Error::EBADF),
        ("set_receive_ecn", |u| u.set_receive_ecn(true), Error::EBADF, Error::EBADF),
        ("set_receive_segments", |u| u.set_receive_segments(true), Error::EBADF, Error::EBADF),
        ("local_address", |u| u.local_address().map(drop), Error::EBADF, Error::EBADF),
        ("peer_address", |u| u.peer_address().map(drop), Error::EBADF, Error::EBADF),
        ("send_buffer_size", |u| u.send_buffer_size().map(drop), Error::EBADF, Error::EBADF),
        ("set_recv_buffer_size", |u| u.set_recv_buffer_size(1), Error::EBADF, Error::EBADF),
        ("duplicate_fd", |u| u.duplicate_fd().map(drop), Error::EBADF, Error::EBADF),
        ("take_fd", |u| u.take_fd().map(drop), Error::EBADF, Error::EBADF),
    ];
    let lp = EventLoop::new().unwrap();
    let gone = EventLoop::new().unwrap();
    let orphan = Udp::new(&gone).unwrap();
    drop(gone);
    for (name, call, not_open, closing) in calls {
        if not_open != Error::UNKNOWN {
            assert_eq!(call(&Udp::new(&lp).unwrap()), Err(not_open), "{name}, not open");
        }
        let (udp, _) = bound(&lp);
        udp.close();
        assert_eq!(call(&udp), Err(closing), "{name}, closing");
        lp.run(RunMode::NoWait).unwrap();
        assert!(udp.is_closed());
        assert_eq!(call(&udp), Err(closing), "{name}, closed");
        assert!(call(&orphan).is_err(), "{name}, of a loop that is gone");
        udp.recv_stop();
    }
    finish(&lp);
}
