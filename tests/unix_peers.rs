//! Who is at the other end of a Unix socket, and ends that programs make themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use blacklight::prelude::*;
use blacklight::{Error, SocketKind, pipe, socketpair};
use support::process::{kernel_is, skip};
use tools::{finish, run_until};

#[test]
fn a_server_knows_who_has_connected_and_a_client_who_serves() {
    let lp = EventLoop::new().unwrap();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, result| result.unwrap()).unwrap();
    let client = Pipe::new(&lp).unwrap();
    client.connect(server.local_name().unwrap(), |_, result| result.unwrap()).unwrap();
    let accepted = Pipe::new(&lp).unwrap();
    run_until(&lp, || server.accept_into(&accepted).is_ok());
    // SAFETY: asks for numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    for pipe in [&client, &accepted] {
        let peer = pipe.connected_credentials().unwrap();
        assert_eq!((peer.pid, peer.uid, peer.gid), (std::process::id() as i32, uid, gid));
    }
    if kernel_is(6, 5) {
        let pidfd = client.peer_pidfd().unwrap();
        let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let info = std::fs::read_to_string(info).unwrap();
        let pid = support::process::status_line(&info, "Pid");
        assert_eq!(pid, std::process::id().to_string());
    } else {
        assert_eq!(client.peer_pidfd().map(drop), Err(Error::ENOTSUP));
        skip("SO_PEERPIDFD came with Linux 6.5");
    }
    match client.peer_security() {
        Ok(label) => assert!(!label.is_empty() && label.last() != Some(&0), "{label:?}"),
        Err(error) => assert_eq!(error, Error::ENOTSUP, "no module labels"),
    }
    server.close();
    finish(&lp);
}

#[test]
fn without_a_peer_there_is_nobody() {
    let lp = EventLoop::new().unwrap();
    let not_open = Pipe::new(&lp).unwrap();
    assert_eq!(not_open.connected_credentials(), Err(Error::EBADF));
    assert_eq!(not_open.peer_pidfd().map(drop), Err(Error::EBADF));
    assert_eq!(not_open.peer_security(), Err(Error::EBADF));
    let alone = Pipe::new(&lp).unwrap();
    alone.bind("").unwrap();
    assert_eq!(alone.connected_credentials(), Err(Error::ENOTCONN));
    assert_eq!(alone.peer_security(), Err(Error::ENOTCONN));
    if kernel_is(6, 5) {
        assert_eq!(alone.peer_pidfd().map(drop), Err(Error::ENOTCONN));
    }
    let no_socket = Pipe::new(&lp).unwrap();
    no_socket.open(std::io::pipe().unwrap().0).unwrap();
    assert_eq!(no_socket.connected_credentials(), Err(Error::ENOTSOCK));
}

fn flags(fd: &OwnedFd) -> (bool, bool) {
    let number = fd.as_fd().as_raw_fd();
    // SAFETY: no pointers.
    let (fd, status) =
        unsafe { (libc::fcntl(number, libc::F_GETFD), libc::fcntl(number, libc::F_GETFL)) };
    (fd & libc::FD_CLOEXEC != 0, status & libc::O_NONBLOCK != 0)
}

#[test]
fn each_end_blocks_or_does_not_as_asked() {
    for (first, second) in [(false, false), (true, false), (false, true), (true, true)] {
        let kinds = [SocketKind::Stream, SocketKind::Datagram, SocketKind::SeqPacket];
        let pairs = kinds.map(|kind| socketpair(kind, 0, first, second).unwrap());
        let ends = pairs.into_iter().chain([pipe(first, second).unwrap()]);
        for (one, other) in ends {
            assert_eq!((flags(&one), flags(&other)), ((true, first), (true, second)));
        }
    }
    let refused = socketpair(SocketKind::Stream, 4711, true, true);
    assert_eq!(refused.map(drop), Err(Error::EPROTONOSUPPORT));
}

#[test]
fn ends_of_a_pair_become_handles() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = socketpair(SocketKind::Stream, 0, false, true).unwrap();
    let (reader, writer) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    reader.open(one).unwrap();
    writer.open(other).unwrap();
    writer.write_and_forget("hello").unwrap();
    writer.close();
    let bytes = tools::collect(&reader);
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"hello");
}
