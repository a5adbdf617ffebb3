//! What a UDP socket that receives has to say.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::AddressFamily;
use super::transmit::Ecn;
use crate::datagram::{Event, EventInto};
use crate::error::Error;
use crate::sys::datagram::{Extended, Name, Received};

/// What is known of a datagram beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpMeta {
    /// Who sent it.
    pub from: SocketAddr,
    /// Whether it was longer than the buffer, and its end is lost (`UV_UDP_PARTIAL`).
    pub truncated: bool,
    /// The address that it was sent to, if [`Udp::set_receive_destination`] asks for it.
    ///
    /// [`Udp::set_receive_destination`]: super::Udp::set_receive_destination
    pub to: Option<IpAddr>,
    /// The number of the interface that it came in by, as for `to`.
    pub interface: Option<u32>,
    /// Its mark, if [`Udp::set_receive_ecn`](super::Udp::set_receive_ecn) asks for it.
    pub ecn: Option<Ecn>,
    /// Several datagrams of this size, of which only the last may be shorter, were put together, if
    /// [`Udp::set_receive_segments`](super::Udp::set_receive_segments) allows it.
    pub segment_size: Option<usize>,
}

impl UdpMeta {
    #[inline]
    fn new(received: &Received) -> UdpMeta {
        UdpMeta {
            from: address(received.from.as_ref()),
            truncated: received.truncated,
            to: received.to.map(|(ip, _)| ip),
            interface: received.to.map(|(_, index)| index),
            ecn: received.class.map(Ecn::of_class),
            segment_size: received.segment_size,
        }
    }
}

/// UDP always tells an address; no address in particular stands for what cannot be.
fn address(name: Option<&Name>) -> SocketAddr {
    match name {
        Some(Name::Inet(address)) => *address,
        _ => AddressFamily::Ipv4.unspecified(),
    }
}

/// An error that the network reported for a datagram sent earlier (`IP_RECVERR`, ip(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedError {
    /// What it comes down to: `ECONNREFUSED`, `EHOSTUNREACH`, `EMSGSIZE`, …
    pub error: Error,
    /// Who reported it: the receiver or a router. It is what libuv gives its callback.
    pub offender: Option<SocketAddr>,
    /// Where the datagram was to go.
    pub destination: SocketAddr,
    /// Where it comes from: 1 this machine, 2 ICMP, 3 ICMPv6 (`ee_origin`).
    pub origin: u8,
    /// The type of the ICMP message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The size of packet that would have fitted, with `EMSGSIZE` (`ee_info`).
    pub info: u32,
}

impl QueuedError {
    #[cold]
    fn new(extended: &Extended, received: &Received) -> QueuedError {
        QueuedError {
            error: Error::from_errno(extended.errno),
            offender: extended.offender,
            destination: address(received.from.as_ref()),
            origin: extended.origin,
            kind: extended.kind,
            code: extended.code,
            info: extended.info,
        }
    }
}

/// What a UDP socket that receives has to say.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpRead<'a> {
    /// A datagram, which may be of no bytes; lent for the call.
    Data(&'a [u8], UdpMeta),
    /// Receiving failed. It goes on all the same; an error of an earlier send is told here too.
    Error(Error),
    /// An error that the network reported, with the beginning of the datagram that it is about.
    Queued(QueuedError, &'a [u8]),
}

impl<'a> UdpRead<'a> {
    #[inline]
    pub(super) fn new(event: Event<'a>) -> UdpRead<'a> {
        match event {
            Event::Message(bytes, received) => match &received.error {
                Some(extended) => UdpRead::Queued(QueuedError::new(extended, &received), bytes),
                None => UdpRead::Data(bytes, UdpMeta::new(&received)),
            },
            Event::Error(error) => UdpRead::Error(error),
            // UDP has no end.
            Event::End => UdpRead::Error(Error::EOF),
        }
    }
}

/// What a UDP socket that receives into buffers of its user's has to say; each buffer comes back
/// once.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpReadInto<'a, B> {
    /// A buffer, and how many bytes at its beginning are a datagram.
    Data(B, usize, UdpMeta),
    /// One of several datagrams in a buffer, which comes back as [`UdpReadInto::Unused`] after the
    /// last (`UV_UDP_MMSG_CHUNK`).
    Chunk(&'a mut B, Range<usize>, UdpMeta),
    /// A buffer that nothing, or nothing more, was received into (`UV_UDP_MMSG_FREE`).
    Unused(B),
    /// Receiving failed, and goes on all the same. `ENOBUFS` when the buffer has no room, `EINVAL`
    /// when there is none for a batch: less than 64 KiB.
    Error(Error, Option<B>),
    /// An error that the network reported, and how many bytes of the datagram that it is about are
    /// in the buffer.
    Queued(QueuedError, B, usize),
    /// As [`UdpReadInto::Queued`], one of several.
    QueuedChunk(QueuedError, &'a mut B, Range<usize>),
}

impl<'a, B> UdpReadInto<'a, B> {
    pub(super) fn new(event: EventInto<'a, B>) -> UdpReadInto<'a, B> {
        match event {
            EventInto::Message(buffer, length, received) => match &received.error {
                Some(extended) => {
                    UdpReadInto::Queued(QueuedError::new(extended, &received), buffer, length)
                }
                None => UdpReadInto::Data(buffer, length, UdpMeta::new(&received)),
            },
            EventInto::Piece(buffer, range, received) => match &received.error {
                Some(extended) => {
                    UdpReadInto::QueuedChunk(QueuedError::new(extended, &received), buffer, range)
                }
                None => UdpReadInto::Chunk(buffer, range, UdpMeta::new(&received)),
            },
            EventInto::Unused(buffer) => UdpReadInto::Unused(buffer),
            EventInto::Error(error, buffer) => UdpReadInto::Error(error, buffer),
            EventInto::End(buffer) => UdpReadInto::Error(Error::EOF, Some(buffer)),
        }
    }
}
