//! The descriptors that every implementation is given alike: connected, not delaying, not blocking.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A listener with room for `backlog` connections; std's has room for 128.
pub(crate) fn listener(backlog: i32) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    socket.listen(backlog).expect("it listens");
    socket.set_nonblocking(true).expect("a flag");
    socket.into()
}

/// Both ends of a connection over the loopback interface.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("room");
    let (server, _) = listener.accept().expect("a connection");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("an option");
        end.set_nonblocking(true).expect("a flag");
    }
    (client, server)
}

/// A connection that leaves nothing behind: closing it resets it.
pub(crate) fn connect_briefly(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("room");
    let socket = Socket::from(client);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    socket.into()
}

pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().expect("a pair");
    for end in [&one, &other] {
        end.set_nonblocking(true).expect("a flag");
    }
    (one, other)
}

/// The reading and the writing end of a pipe that never blocks.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    use std::os::fd::FromRawFd;
    let mut ends = [0; 2];
    // SAFETY: room for the two numbers; the kernel just made both for us.
    unsafe {
        crate::poll::check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK));
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}
