//! Groups: joining, leaving, and how datagrams to them are sent (ip(7), ipv6(7)).

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use super::{AddressFamily, Udp, UdpFlags};
use crate::error::{Error, Result};
use crate::sys::udp::{self, Interface4};

/// The interface of a group.
///
/// ```
/// use blacklight::MulticastInterface;
/// use std::net::Ipv4Addr;
///
/// assert_eq!(MulticastInterface::default(), MulticastInterface::Any);
/// assert_eq!(MulticastInterface::from(3), MulticastInterface::Index(3));
/// let address = Ipv4Addr::LOCALHOST;
/// assert_eq!(MulticastInterface::from(address), MulticastInterface::Address(address));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MulticastInterface {
    /// The one that the kernel chooses.
    #[default]
    Any,
    /// The one that has this address; for IPv4 only.
    Address(Ipv4Addr),
    /// The one of this number (the scope of IPv6 addresses).
    Index(u32),
}

impl From<Ipv4Addr> for MulticastInterface {
    fn from(address: Ipv4Addr) -> MulticastInterface {
        MulticastInterface::Address(address)
    }
}

impl From<u32> for MulticastInterface {
    fn from(index: u32) -> MulticastInterface {
        MulticastInterface::Index(index)
    }
}

impl MulticastInterface {
    fn v4(self) -> Interface4 {
        match self {
            MulticastInterface::Any => Interface4::Address(Ipv4Addr::UNSPECIFIED),
            MulticastInterface::Address(address) => Interface4::Address(address),
            MulticastInterface::Index(index) => Interface4::Index(index),
        }
    }

    fn v6(self) -> Result<u32> {
        match self {
            MulticastInterface::Any => Ok(0),
            MulticastInterface::Address(_) => Err(Error::EINVAL),
            MulticastInterface::Index(index) => Ok(index),
        }
    }
}

fn family_of(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Ipv4 } else { AddressFamily::Ipv6 }
}

impl Udp {
    /// A socket that nothing was bound to is bound as others can be too, so that all of them
    /// receive what is sent to the group (libuv's rule).
    fn with_group<R>(
        &self,
        group: IpAddr,
        with: impl FnOnce(BorrowedFd<'_>) -> Result<R>,
    ) -> Result<R> {
        self.0.usable()?;
        self.ensure_bound(family_of(group), UdpFlags::REUSE_ADDRESS)?;
        self.0.with_fd(with)
    }

    /// Joins a group (`uv_udp_set_membership`). Without a socket, one is made and bound to a free
    /// port.
    ///
    /// ```
    /// use blacklight::{EventLoop, Udp};
    /// use std::net::Ipv4Addr;
    ///
    /// let lp = EventLoop::new()?;
    /// let udp = Udp::new(&lp)?;
    /// udp.join("239.255.0.1".parse()?, Ipv4Addr::LOCALHOST)?;
    /// udp.leave("239.255.0.1".parse()?, Ipv4Addr::LOCALHOST)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing, for an address that is no group's, and for an IPv4
    /// interface of an IPv6 group; `EADDRINUSE` when it has joined, `ENODEV` without an interface
    /// for it, `ENOBUFS` for too many groups (`igmp_max_memberships`).
    pub fn join(&self, group: IpAddr, interface: impl Into<MulticastInterface>) -> Result<()> {
        self.membership(group, interface.into(), true)
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// As [`Udp::join`]; `EADDRNOTAVAIL` when it has not joined.
    pub fn leave(&self, group: IpAddr, interface: impl Into<MulticastInterface>) -> Result<()> {
        self.membership(group, interface.into(), false)
    }

    fn membership(&self, group: IpAddr, interface: MulticastInterface, join: bool) -> Result<()> {
        self.with_group(group, |fd| match group {
            IpAddr::V4(group) => udp::membership_v4(fd, group, interface.v4(), join),
            IpAddr::V6(group) => udp::membership_v6(fd, group, interface.v6()?, join),
        })
    }

    /// Joins a group for what one source sends to it (`uv_udp_set_source_membership`).
    ///
    /// # Errors
    /// As [`Udp::join`]; `EINVAL` for a source of another family than the group.
    pub fn join_source(
        &self,
        group: IpAddr,
        source: IpAddr,
        interface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        self.source_membership(group, source, interface.into(), true)
    }

    /// Leaves a group for what one source sends to it.
    ///
    /// # Errors
    /// As [`Udp::join_source`]; `EADDRNOTAVAIL` or `EINVAL` when it has not joined.
    pub fn leave_source(
        &self,
        group: IpAddr,
        source: IpAddr,
        interface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        self.source_membership(group, source, interface.into(), false)
    }

    fn source_membership(
        &self,
        group: IpAddr,
        source: IpAddr,
        interface: MulticastInterface,
        join: bool,
    ) -> Result<()> {
        if group.is_ipv4() != source.is_ipv4() {
            return Err(Error::EINVAL);
        }
        self.with_group(group, |fd| match (group, source, interface.v4()) {
            (IpAddr::V4(group), IpAddr::V4(source), Interface4::Address(address)) => {
                udp::source_membership_v4(fd, group, source, address, join)
            }
            (IpAddr::V4(_), _, Interface4::Index(index)) => {
                udp::source_membership(fd, group, source, index, join)
            }
            _ => udp::source_membership(fd, group, source, interface.v6()?, join),
        })
    }

    /// Chooses the interface that datagrams to groups leave by
    /// (`uv_udp_set_multicast_interface`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `EADDRNOTAVAIL` or `ENODEV` when there is no such
    /// interface.
    pub fn set_multicast_interface(&self, interface: impl Into<MulticastInterface>) -> Result<()> {
        let interface = interface.into();
        let family = self.family();
        self.0.with_fd(|fd| match (family, interface) {
            (AddressFamily::Ipv6, MulticastInterface::Any) => udp::multicast_interface_v6(fd, 0),
            (AddressFamily::Ipv6, MulticastInterface::Index(index)) => {
                udp::multicast_interface_v6(fd, index)
            }
            // An IPv6 socket has the option for its IPv4 receivers too.
            _ => udp::multicast_interface_v4(fd, interface.v4()),
        })
    }

    /// How far datagrams to groups go, 0 to 255 (`uv_udp_set_multicast_ttl`); 1 at first, which
    /// is this network.
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `EINVAL` over 255.
    pub fn set_multicast_ttl(&self, ttl: u32) -> Result<()> {
        if ttl > 255 {
            return Err(Error::EINVAL);
        }
        let family = self.family();
        self.0.with_fd(|fd| udp::multicast_ttl(fd, family, ttl))
    }

    /// Whether datagrams to groups come back to receivers on this machine
    /// (`uv_udp_set_multicast_loop`); so it is at first.
    ///
    /// # Errors
    /// `EBADF` when the socket is not open.
    pub fn set_multicast_loop(&self, on: bool) -> Result<()> {
        let family = self.family();
        self.0.with_fd(|fd| udp::multicast_loop(fd, family, on))
    }
}
