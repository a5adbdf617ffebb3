//! Options of UDP sockets: what arrives beside a datagram, and how datagrams are sent (ip(7),
//! ipv6(7), udp(7)).
//!
//! A facility that the kernel does not have is `ENOTSUP`, whatever errno says so.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{InterfaceIndexOrAddress, SockAddr, SockRef};

use super::check;
use super::inet::AddressFamily;
use crate::error::{Error, Result};

/// Sets an option that is one value of a C type.
fn set<T>(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value outlives the call, which only reads it, and is as long as it says.
    let done = check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    });
    match done {
        Err(Error::ENOPROTOOPT) => Err(Error::ENOTSUP),
        other => other.map(drop),
    }
}

/// Sets a flag of IPv4, and that of IPv6 too where the socket has that family: what comes from an
/// IPv4 sender to an IPv6 socket is told in the terms of IPv4.
fn set_both(
    fd: BorrowedFd<'_>,
    family: AddressFamily,
    v4: libc::c_int,
    v6: libc::c_int,
    on: bool,
) -> Result<()> {
    let value = libc::c_int::from(on);
    if family == AddressFamily::Ipv6 {
        set(fd, libc::SOL_IPV6, v6, &value)?;
    }
    set(fd, libc::SOL_IP, v4, &value)
}

/// Has each datagram say where it was sent to (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
pub(crate) fn receive_destination(
    fd: BorrowedFd<'_>,
    family: AddressFamily,
    on: bool,
) -> Result<()> {
    set_both(fd, family, libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO, on)
}

/// Has each datagram tell its traffic class (`IP_RECVTOS`, `IPV6_RECVTCLASS`).
pub(crate) fn receive_class(fd: BorrowedFd<'_>, family: AddressFamily, on: bool) -> Result<()> {
    set_both(fd, family, libc::IP_RECVTOS, libc::IPV6_RECVTCLASS, on)
}

/// Lets the kernel put datagrams of one sender together (`UDP_GRO`, Linux 5.0).
pub(crate) fn receive_segments(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    set(fd, libc::SOL_UDP, libc::UDP_GRO, &libc::c_int::from(on))
}

/// An option that is an int.
fn get(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value and its length outlive the call, which writes no more than it says.
    check(unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), level, name, value, &raw mut length)
    })
    .map(|_| value)
}

/// Whether datagrams may be sent on this socket together, for the kernel to cut.
///
/// A kernel that does not know how to (before 4.18) says nothing when it is asked to, and sends one
/// large datagram; so the option is looked for first. A socket that cuts of its own accord would
/// cut each datagram by itself, and one that keeps errors would keep one error for all of them.
pub(crate) fn may_join(fd: BorrowedFd<'_>) -> bool {
    // A socket does not have the options of the other family.
    let is_on = |level, name| get(fd, level, name).is_ok_and(|value| value != 0);
    get(fd, libc::SOL_UDP, libc::UDP_SEGMENT) == Ok(0)
        && !is_on(libc::SOL_IP, libc::IP_RECVERR)
        && !is_on(libc::SOL_IPV6, libc::IPV6_RECVERR)
}

/// Keeps errors that routers and receivers report (`IP_RECVERR`, `IPV6_RECVERR`).
pub(crate) fn keep_errors(fd: BorrowedFd<'_>, family: AddressFamily) -> Result<()> {
    match family {
        AddressFamily::Ipv4 => set(fd, libc::SOL_IP, libc::IP_RECVERR, &1),
        AddressFamily::Ipv6 => set(fd, libc::SOL_IPV6, libc::IPV6_RECVERR, &1),
    }
}

/// `SO_BROADCAST` (socket(7)).
pub(crate) fn broadcast(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    SockRef::from(&fd).set_broadcast(on).map_err(Error::from)
}

/// `IP_TTL`, `IPV6_UNICAST_HOPS`.
pub(crate) fn ttl(fd: BorrowedFd<'_>, family: AddressFamily, ttl: u32) -> Result<()> {
    let socket = SockRef::from(&fd);
    match family {
        AddressFamily::Ipv4 => socket.set_ttl_v4(ttl),
        AddressFamily::Ipv6 => socket.set_unicast_hops_v6(ttl),
    }
    .map_err(Error::from)
}

/// `IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`.
pub(crate) fn multicast_ttl(fd: BorrowedFd<'_>, family: AddressFamily, ttl: u32) -> Result<()> {
    let socket = SockRef::from(&fd);
    match family {
        AddressFamily::Ipv4 => socket.set_multicast_ttl_v4(ttl),
        AddressFamily::Ipv6 => socket.set_multicast_hops_v6(ttl),
    }
    .map_err(Error::from)
}

/// `IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`.
pub(crate) fn multicast_loop(fd: BorrowedFd<'_>, family: AddressFamily, on: bool) -> Result<()> {
    let socket = SockRef::from(&fd);
    match family {
        AddressFamily::Ipv4 => socket.set_multicast_loop_v4(on),
        AddressFamily::Ipv6 => socket.set_multicast_loop_v6(on),
    }
    .map_err(Error::from)
}

/// The interface of an IPv4 group: its number, or an address that it has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interface4 {
    Index(u32),
    Address(Ipv4Addr),
}

/// `IP_MULTICAST_IF`: where datagrams to groups leave.
pub(crate) fn multicast_interface_v4(fd: BorrowedFd<'_>, interface: Interface4) -> Result<()> {
    let (address, index) = match interface {
        Interface4::Index(index) => (Ipv4Addr::UNSPECIFIED, index),
        Interface4::Address(address) => (address, 0),
    };
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: u32::from(address).to_be() },
        imr_ifindex: index.cast_signed(),
    };
    set(fd, libc::SOL_IP, libc::IP_MULTICAST_IF, &request)
}

/// `IPV6_MULTICAST_IF`: where datagrams to groups leave.
pub(crate) fn multicast_interface_v6(fd: BorrowedFd<'_>, index: u32) -> Result<()> {
    SockRef::from(&fd).set_multicast_if_v6(index).map_err(Error::from)
}

/// Joins or leaves an IPv4 group.
pub(crate) fn membership_v4(
    fd: BorrowedFd<'_>,
    group: Ipv4Addr,
    interface: Interface4,
    join: bool,
) -> Result<()> {
    let socket = SockRef::from(&fd);
    let interface = match interface {
        Interface4::Index(index) => InterfaceIndexOrAddress::Index(index),
        Interface4::Address(address) => InterfaceIndexOrAddress::Address(address),
    };
    if join {
        socket.join_multicast_v4_n(&group, &interface)
    } else {
        socket.leave_multicast_v4_n(&group, &interface)
    }
    .map_err(Error::from)
}

/// Joins or leaves an IPv6 group on the interface of this number, 0 for one of the kernel's choice.
pub(crate) fn membership_v6(
    fd: BorrowedFd<'_>,
    group: Ipv6Addr,
    index: u32,
    join: bool,
) -> Result<()> {
    let socket = SockRef::from(&fd);
    if join {
        socket.join_multicast_v6(&group, index)
    } else {
        socket.leave_multicast_v6(&group, index)
    }
    .map_err(Error::from)
}

/// Joins or leaves an IPv4 group for what one source sends, by an address of the interface.
pub(crate) fn source_membership_v4(
    fd: BorrowedFd<'_>,
    group: Ipv4Addr,
    source: Ipv4Addr,
    interface: Ipv4Addr,
    join: bool,
) -> Result<()> {
    let socket = SockRef::from(&fd);
    if join {
        socket.join_ssm_v4(&source, &group, &interface)
    } else {
        socket.leave_ssm_v4(&source, &group, &interface)
    }
    .map_err(Error::from)
}

/// As [`source_membership_v4`], for either family and by the number of the interface
/// (`MCAST_JOIN_SOURCE_GROUP`).
pub(crate) fn source_membership(
    fd: BorrowedFd<'_>,
    group: IpAddr,
    source: IpAddr,
    index: u32,
    join: bool,
) -> Result<()> {
    let storage = |ip: IpAddr| {
        let raw = SockAddr::from(SocketAddr::new(ip, 0));
        // SAFETY: both are the system's storage of an address, of the same size, and any bytes
        // are one.
        unsafe { *raw.as_ptr().cast::<libc::sockaddr_storage>() }
    };
    let request = libc::group_source_req {
        gsr_interface: index,
        gsr_group: storage(group),
        gsr_source: storage(source),
    };
    let level = if group.is_ipv4() { libc::SOL_IP } else { libc::SOL_IPV6 };
    let name = if join { libc::MCAST_JOIN_SOURCE_GROUP } else { libc::MCAST_LEAVE_SOURCE_GROUP };
    set(fd, level, name, &request)
}
