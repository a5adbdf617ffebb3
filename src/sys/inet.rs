//! Sockets of the Internet families, through the crate `socket2`, which knows the forms of their
//! addresses and options.
//!
//! Every socket made here is close-on-exec and non-blocking from its creation.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::interfaces;
use crate::error::{Error, Result};

/// The Internet families: which kind of address a socket is for.
///
/// ```
/// use blacklight::AddressFamily;
///
/// assert_eq!(AddressFamily::of(&"[::1]:80".parse()?), AddressFamily::Ipv6);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// `AF_INET` (ip(7)).
    Ipv4,
    /// `AF_INET6` (ipv6(7)).
    Ipv6,
}

impl AddressFamily {
    /// The family that an address is of.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> AddressFamily {
        if address.is_ipv4() { AddressFamily::Ipv4 } else { AddressFamily::Ipv6 }
    }

    /// No address in particular, and no port.
    pub(crate) fn unspecified(self) -> SocketAddr {
        match self {
            AddressFamily::Ipv4 => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into(),
            AddressFamily::Ipv6 => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into(),
        }
    }

    fn domain(self) -> Domain {
        match self {
            AddressFamily::Ipv4 => Domain::IPV4,
            AddressFamily::Ipv6 => Domain::IPV6,
        }
    }
}

/// A socket of a family.
pub(crate) fn socket(family: AddressFamily, kind: Type) -> Result<OwnedFd> {
    let kind = kind.nonblocking().cloexec();
    Ok(Socket::new_raw(family.domain(), kind, None)?.into())
}

/// bind(2). `EINVAL` for an address of another family than the socket's, as libuv has it.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> Result<()> {
    let bound = SockRef::from(&fd).bind(&SockAddr::from(*address));
    bound.map_err(|error| match Error::from(error) {
        Error::EAFNOSUPPORT => Error::EINVAL,
        other => other,
    })
}

/// `SO_REUSEADDR`: for TCP a port that old connections still have, for UDP one that others who
/// set it too are bound to (socket(7)).
pub(crate) fn reuse_address(fd: BorrowedFd<'_>) -> Result<()> {
    SockRef::from(&fd).set_reuse_address(true).map_err(Error::from)
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
///
/// A link-local address without an interface gets that of the first interface that has such an
/// address, as in libuv; the kernel would refuse it.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &SocketAddr) -> Result<bool> {
    let address = SockAddr::from(with_scope(*address));
    match SockRef::from(&fd).connect(&address) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
        // An interrupted connect goes on by itself (connect(2)).
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn with_scope(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            let scope = interfaces::entries().ok().and_then(|entries| {
                entries.iter().find_map(|entry| match entry.address {
                    interfaces::Address::Ip(std::net::IpAddr::V6(ip), scope)
                        if ip.is_unicast_link_local() =>
                    {
                        Some(scope)
                    }
                    _ => None,
                })
            });
            v6.set_scope_id(scope.unwrap_or(0));
            SocketAddr::V6(v6)
        }
        other => other,
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

/// Dissolves a datagram socket's tie to its peer (connect(2), `AF_UNSPEC`).
pub(crate) fn disconnect(fd: BorrowedFd<'_>) -> Result<()> {
    // Zeros are an address of no family, as long as the smallest.
    let nobody = [0u8; size_of::<libc::sockaddr>()];
    let length = nobody.len() as libc::socklen_t;
    // SAFETY: the address outlives the call, which only reads it, and is as long as it says.
    super::retry(|| unsafe { libc::connect(fd.as_raw_fd(), nobody.as_ptr().cast(), length) })
        .map(drop)
}
