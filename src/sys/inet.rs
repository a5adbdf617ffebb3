//! Sockets of the Internet families, through the crate `socket2`, which knows the forms of their
//! addresses and options.
//!
//! Every socket made here is close-on-exec and non-blocking from its creation.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::error::{Error, Result};

/// A socket for addresses of the family that `address` has.
pub(crate) fn socket(address: &SocketAddr, kind: Type) -> Result<OwnedFd> {
    let kind = kind.nonblocking().cloexec();
    Ok(Socket::new_raw(Domain::for_address(*address), kind, None)?.into())
}

/// bind(2), with `SO_REUSEADDR` as servers need it after a restart (socket(7)).
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> Result<()> {
    let socket = SockRef::from(&fd);
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(*address)).map_err(Error::from)
}

/// `IPV6_V6ONLY` (ipv6(7)): no IPv4 clients on an IPv6 address.
pub(crate) fn only_v6(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    SockRef::from(&fd).set_only_v6(on).map_err(Error::from)
}

/// `SO_REUSEPORT`: several sockets share a port, and the kernel spreads what arrives.
pub(crate) fn reuse_port(fd: BorrowedFd<'_>) -> Result<()> {
    SockRef::from(&fd).set_reuse_port(true).map_err(Error::from)
}

/// connect(2): false while it is in progress.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &SocketAddr) -> Result<bool> {
    match SockRef::from(&fd).connect(&SockAddr::from(*address)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
        // An interrupted connect goes on by itself (connect(2)).
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The address the socket is bound to. `EINVAL` when that is no Internet address.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    SockRef::from(&fd).local_addr()?.as_socket().ok_or(Error::EINVAL)
}

/// The address of the peer; `ENOTCONN` when there is none.
pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    SockRef::from(&fd).peer_addr()?.as_socket().ok_or(Error::EINVAL)
}

/// `TCP_NODELAY` (tcp(7)).
pub(crate) fn no_delay(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(on).map_err(Error::from)
}

/// `SO_KEEPALIVE`, and with it how long a silent connection is left alone, the time between
/// probes, and how many of them fail before it is given up (tcp(7)).
pub(crate) fn keep_alive(
    fd: BorrowedFd<'_>,
    settings: Option<(Duration, Duration, u32)>,
) -> Result<()> {
    let socket = SockRef::from(&fd);
    let Some((idle, interval, probes)) = settings else {
        return socket.set_keepalive(false).map_err(Error::from);
    };
    let settings = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    socket.set_tcp_keepalive(&settings).map_err(Error::from)
}

/// `SO_LINGER` of no time: closing sends a reset and forgets what was not sent (socket(7)).
pub(crate) fn reset_on_close(fd: BorrowedFd<'_>) -> Result<()> {
    SockRef::from(&fd).set_linger(Some(Duration::ZERO)).map_err(Error::from)
}
