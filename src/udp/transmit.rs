//! How a datagram is to be sent: where to, from where, how marked, how cut.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

use super::AddressFamily;
use crate::datagram::SendControl;
use crate::error::{Error, Result};

/// The mark by which routers tell of congestion instead of dropping (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The sender does not know of it.
    NotEct = 0,
    /// It does, and marks its packets for the newer use of this mark (RFC 9331).
    Ect1 = 1,
    /// It does.
    Ect0 = 2,
    /// A router on the way was congested.
    Ce = 3,
}

impl Ecn {
    /// The mark in a traffic class, of which it is the lowest two bits.
    pub(super) const fn of_class(class: u8) -> Ecn {
        match class & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}

/// Where a datagram goes, and how. An address can be given instead.
///
/// ```
/// use blacklight::{Ecn, EventLoop, Transmit, Udp};
///
/// let lp = EventLoop::new()?;
/// let (one, other) = (Udp::new(&lp)?, Udp::new(&lp)?);
/// other.bind("127.0.0.1:0".parse()?)?;
/// one.try_send(b"hello", other.local_address()?)?;
/// one.try_send(b"hello", Transmit::to(other.local_address()?).ecn(Ecn::Ect0))?;
/// // Four datagrams of 500 bytes with one call.
/// one.try_send(&[0; 2000], Transmit::to(other.local_address()?).segment_size(500))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transmit {
    pub(super) to: Option<SocketAddr>,
    ecn: Option<Ecn>,
    segment_size: Option<u16>,
    source: Option<IpAddr>,
    interface: Option<u32>,
}

impl From<SocketAddr> for Transmit {
    fn from(address: SocketAddr) -> Transmit {
        Transmit::to(address)
    }
}

impl From<Option<SocketAddr>> for Transmit {
    /// To the address, or else to the peer that the socket is connected to.
    fn from(address: Option<SocketAddr>) -> Transmit {
        Transmit { to: address, ..Transmit::default() }
    }
}

impl Transmit {
    /// To an address.
    #[must_use]
    pub fn to(address: SocketAddr) -> Transmit {
        Transmit::from(Some(address))
    }

    /// To the peer that the socket is connected to.
    #[must_use]
    pub fn to_peer() -> Transmit {
        Transmit::default()
    }

    /// With this mark (`IP_TOS`, `IPV6_TCLASS`); the rest of the traffic class is 0 then.
    #[must_use]
    pub fn ecn(self, ecn: Ecn) -> Transmit {
        Transmit { ecn: Some(ecn), ..self }
    }

    /// Cut into datagrams of this many bytes, of which only the last may be shorter (generic
    /// segmentation offload: `UDP_SEGMENT`, Linux 4.18). At most 64 of them, 128 since Linux 6.9,
    /// and 65,507 bytes in all (`UDP_MAX_SEGMENTS`, include/linux/udp.h). 0 is not to cut.
    #[must_use]
    pub fn segment_size(self, bytes: u16) -> Transmit {
        Transmit { segment_size: Some(bytes).filter(|&bytes| bytes > 0), ..self }
    }

    /// From this address of ours, which the socket must be able to send from
    /// (`IP_PKTINFO`, `IPV6_PKTINFO`).
    #[must_use]
    pub fn source(self, ip: IpAddr) -> Transmit {
        Transmit { source: Some(ip), ..self }
    }

    /// Out by the interface of this number.
    #[must_use]
    pub fn interface(self, index: u32) -> Transmit {
        Transmit { interface: Some(index), ..self }
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == Transmit::from(self.to)
    }

    /// The control messages that say this to a socket of the family. `EINVAL` for a source that
    /// a socket of the family cannot have.
    pub(super) fn control(&self, family: AddressFamily) -> Result<SendControl> {
        let mut control = SendControl::new();
        let mut fits = true;
        if let Some(ecn) = self.ecn {
            let class = (ecn as i32).to_ne_bytes();
            // An IPv6 socket may send to IPv4 receivers; each family looks at its own message.
            fits &= control.push(libc::SOL_IP, libc::IP_TOS, &class);
            if family == AddressFamily::Ipv6 {
                fits &= control.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &class);
            }
        }
        if let Some(size) = self.segment_size {
            fits &= control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        if self.source.is_some() || self.interface.is_some() {
            let index = self.interface.unwrap_or(0).to_ne_bytes();
            fits &= match (family, self.source) {
                (AddressFamily::Ipv4, Some(IpAddr::V6(_))) => return Err(Error::EINVAL),
                (AddressFamily::Ipv4, source) => {
                    let source = match source {
                        Some(IpAddr::V4(ip)) => ip.octets(),
                        _ => [0; 4],
                    };
                    // struct in_pktinfo: interface, source, destination (which is not looked at).
                    let info = [index, source, [0; 4]].concat();
                    control.push(libc::SOL_IP, libc::IP_PKTINFO, &info)
                }
                (AddressFamily::Ipv6, source) => {
                    let source = match source {
                        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped().octets(),
                        Some(IpAddr::V6(ip)) => ip.octets(),
                        None => [0; 16],
                    };
                    // struct in6_pktinfo: source, interface.
                    let info = [source.as_slice(), &index].concat();
                    control.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info)
                }
            };
        }
        if fits { Ok(control) } else { Err(Error::EINVAL) }
    }

    /// What a failed send says, told so that a missing facility shows: devices that cannot cut
    /// datagrams say `EIO` (udp(7)).
    pub(super) fn explain(&self, error: Error) -> Error {
        if error == Error::EIO && self.segment_size.is_some() { Error::ENOTSUP } else { error }
    }
}

/// One datagram of [`Udp::try_send_batch`](super::Udp::try_send_batch).
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its bytes, in pieces that follow each other.
    pub slices: &'a [IoSlice<'a>],
    /// Where it goes, and how.
    pub transmit: Transmit,
}
