//! Sockets from elsewhere, flags, and where a socket goes.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};

use blacklight::prelude::*;
use blacklight::{AddressFamily, Error, UdpFlags};
use socket2::Socket;

use crate::support::Log;
use crate::tools::{Tokens, finish};
use crate::{any4, bound, collect};

#[test]
fn flags_of_bind_and_open_do_their_work() {
    let lp = EventLoop::new().unwrap();
    let udp = Udp::new(&lp).unwrap();
    assert_eq!(udp.bind_with(any4(), UdpFlags::IPV6_ONLY), Err(Error::EINVAL));
    let (first, address) = bound(&lp);
    assert_eq!(first.bind(any4()), Err(Error::EINVAL), "it is bound");
    assert_eq!(Udp::new(&lp).unwrap().bind(address), Err(Error::EADDRINUSE));
    for flag in [UdpFlags::REUSE_ADDRESS, UdpFlags::REUSE_PORT] {
        let (one, other) = (Udp::new(&lp).unwrap(), Udp::new(&lp).unwrap());
        one.bind_with(any4(), flag).unwrap();
        other.bind_with(one.local_address().unwrap(), flag).unwrap();
    }
    let v6 = Udp::new_with(&lp, Some(AddressFamily::Ipv6), false).unwrap();
    assert_eq!(v6.bind(any4()), Err(Error::EINVAL), "another family");
    v6.bind_with("[::]:0".parse().unwrap(), UdpFlags::IPV6_ONLY).unwrap();
    assert!(Socket::from(v6.duplicate_fd().unwrap()).only_v6().unwrap());

    // Derived from libuv: uv_udp_open sets SO_REUSEADDR, uv_udp_open_ex what it is told.
    let open = |flags: Option<UdpFlags>| {
        let udp = Udp::new(&lp).unwrap();
        let socket = UdpSocket::bind(any4()).unwrap();
        match flags {
            None => udp.open(socket).unwrap(),
            Some(flags) => udp.open_with(socket, flags).unwrap(),
        }
        let socket = Socket::from(udp.duplicate_fd().unwrap());
        (socket.reuse_address().unwrap(), socket.reuse_port().unwrap())
    };
    assert_eq!(open(None), (true, false));
    assert_eq!(open(Some(UdpFlags::empty())), (false, false));
    assert_eq!(open(Some(UdpFlags::REUSE_PORT)), (false, true));
    let bad = Udp::new(&lp).unwrap();
    let socket = UdpSocket::bind(any4()).unwrap();
    assert_eq!(bad.open_with(socket, UdpFlags::LINUX_RECVERR), Err(Error::EINVAL));
}

#[test]
fn an_open_socket_keeps_its_flags_and_its_peer() {
    let lp = EventLoop::new().unwrap();
    let (peer, to) = bound(&lp);
    let socket = UdpSocket::bind(any4()).unwrap();
    socket.connect(to).unwrap();
    let copy = socket.try_clone().unwrap();
    let udp = Udp::new(&lp).unwrap();
    udp.open(socket).unwrap();
    assert_eq!(udp.peer_address(), Ok(to));
    assert_eq!(udp.try_send(b"end", None), Ok(3));
    udp.recv_start(|_, _| panic!("nothing comes")).unwrap();
    udp.unreference();
    let log = collect(&peer);
    finish(&lp);
    assert!(log.take().is_empty());
    udp.recv_stop();
    let number = udp.fileno().unwrap();
    let taken = udp.take_fd().unwrap();
    assert_eq!((taken.as_raw_fd(), udp.fileno()), (number, Err(Error::EBADF)));
    let status = does_not_block(&copy);
    assert!(!status, "O_NONBLOCK was never set");
    // The handle can be opened anew.
    udp.open(taken).unwrap();
    assert_eq!(udp.peer_address(), Ok(to));
}

/// Whether the description does not block.
fn does_not_block(socket: &UdpSocket) -> bool {
    let path = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    i32::from_str_radix(flags, 8).unwrap() & libc::O_NONBLOCK != 0
}

#[test]
fn a_descriptor_of_the_wrong_type_is_refused() {
    let lp = EventLoop::new().unwrap();
    let udp = Udp::new(&lp).unwrap();
    let cases: [(OwnedFd, Error); 4] = [
        (std::fs::File::open("/dev/null").unwrap().into(), Error::ENOTSOCK),
        (std::io::pipe().unwrap().0.into(), Error::ENOTSOCK),
        (std::net::TcpListener::bind(any4()).unwrap().into(), Error::EINVAL),
        (std::os::unix::net::UnixDatagram::unbound().unwrap().into(), Error::EINVAL),
    ];
    for (descriptor, error) in cases {
        assert_eq!(udp.open(descriptor), Err(error));
    }
    udp.bind(any4()).unwrap();
    assert_eq!(udp.open(UdpSocket::bind(any4()).unwrap()), Err(Error::EBUSY));
}

#[test]
fn a_loop_that_is_dropped_closes_sockets_and_drops_closures() {
    let tokens = Tokens::new();
    let lp = EventLoop::new().unwrap();
    let (udp, to) = bound(&lp);
    let (one, two) = (tokens.one(), tokens.one());
    udp.recv_start(move |_, _| one.keep()).unwrap();
    udp.send("x", to, move |_, _| two.keep()).unwrap();
    let copy = UdpSocket::from(udp.duplicate_fd().unwrap());
    drop(lp);
    assert_eq!(tokens.alive(), 0);
    assert_eq!(udp.fileno(), Err(Error::EBADF));
    drop(copy);
    UdpSocket::bind(to).expect("the address is free");
}

#[test]
fn a_socket_travels_over_a_pipe_and_is_a_handle_there() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = Pipe::ipc_pair(&lp).unwrap();
    let (udp, address) = bound(&lp);
    let copy = udp.duplicate_fd().unwrap();
    one.write_with_descriptors("a socket", [copy], |one, _| one.close()).unwrap();
    udp.close();
    let log = Log::new();
    let l = log.clone();
    other
        .read_start(move |pipe, read| {
            let Read::Data(_) = read else { return pipe.close() };
            assert_eq!(pipe.pending_kind(), Some(blacklight::DescriptorKind::Udp));
            let received = Udp::new(pipe.event_loop()).unwrap();
            received.open(pipe.accept_descriptor().unwrap()).unwrap();
            let l = l.clone();
            received
                .recv_start(move |received, read| {
                    l.add(format!("{}", matches!(read, UdpRead::Data(b"there?", _))));
                    received.close();
                })
                .unwrap();
            UdpSocket::bind(any4()).unwrap().send_to(b"there?", address).unwrap();
        })
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["true"]);
}
