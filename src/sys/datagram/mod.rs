//! Messages with boundaries: recvmsg(2), recvmmsg(2), sendmsg(2), sendmmsg(2), and what travels
//! beside the bytes.
//!
//! Invariants: no call blocks, whatever the flags of the description; a descriptor that arrives is
//! owned, and close-on-exec, before anything else is looked at; what the kernel says beside the
//! bytes is read by [`Beside::parse`], which takes any bytes at all. `send` is the other direction.

mod send;

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

pub(crate) use send::{Joining, Outgoing, To, send, send_many};
use socket2::{SockAddr, SockAddrStorage};

use super::ancillary::{self, Credentials};
use super::control::{self, Control, space};
use super::{retry, unix_socket};
use crate::error::{Error, Result};

/// Messages in one recvmmsg or sendmmsg call. The kernel takes up to 1024 (`UIO_MAXIOV`); names and
/// control data of this many are 12 KiB.
pub(crate) const MESSAGES_PER_CALL: usize = 32;

/// Bytes of control data for a UDP datagram: an address with an interface, traffic classes, a
/// segment size, and an error with its offender.
const UDP_ROOM: usize =
    space(20) + space(12) + space(4) + space(4) + space(4) + space(16 + size_of::<SockAddrV6>());

type SockAddrV6 = libc::sockaddr_in6;

/// The name of a socket, as messages come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Inet(SocketAddr),
    /// A path, an abstract name, or nothing (unix(7)).
    Unix(Vec<u8>),
}

impl Name {
    /// The form that the kernel takes. `ENAMETOOLONG` and `EINVAL` for names that cannot be.
    pub(crate) fn to_raw(&self) -> Result<SockAddr> {
        match self {
            Name::Inet(address) => Ok(SockAddr::from(*address)),
            Name::Unix(name) => unix_socket::raw_address(name),
        }
    }

    fn from_raw(raw: &SockAddr) -> Option<Name> {
        if i32::from(raw.family()) == libc::AF_UNIX {
            return Some(Name::Unix(unix_socket::name_of_raw(raw)));
        }
        raw.as_socket().map(Name::Inet)
    }

    /// The name that the kernel has written to the beginning of the storage.
    fn of_storage(storage: &RawName, length: libc::socklen_t) -> Option<Name> {
        let written = storage.0.get(..length as usize).unwrap_or(&storage.0);
        if let Some(address) = inet_address(written) {
            return Some(Name::Inet(address));
        }
        if written.is_empty() {
            return None;
        }
        // SAFETY: as long as any address there is, and any bytes are one.
        let raw = unsafe { storage.0.as_ptr().cast::<SockAddrStorage>().read_unaligned() };
        // SAFETY: as above; the length is within it.
        Name::from_raw(&unsafe { SockAddr::new(raw, written.len() as libc::socklen_t) })
    }
}

/// Room for the kernel to write a name to.
#[repr(C, align(8))]
struct RawName([u8; size_of::<SockAddrStorage>()]);

impl RawName {
    const fn new() -> RawName {
        RawName([0; size_of::<SockAddrStorage>()])
    }
}

/// An error that the kernel has kept for the socket (`struct sock_extended_err`, ip(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) errno: i32,
    pub(crate) origin: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) info: u32,
    /// Who reported it.
    pub(crate) offender: Option<SocketAddr>,
}

/// What the kernel says beside the bytes of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside<'a> {
    /// Where it was sent to, and the interface that it came in by.
    pub(crate) to: Option<(IpAddr, u32)>,
    /// The traffic class: the two bits of ECN are the lowest.
    pub(crate) class: Option<u8>,
    /// The size of each of the datagrams that were put together.
    pub(crate) segment_size: Option<usize>,
    pub(crate) error: Option<Extended>,
    pub(crate) credentials: Option<Credentials>,
    /// Numbers of descriptors, as bytes.
    rights: &'a [u8],
}

impl Beside<'_> {
    /// Reads control data; what is unknown or too short is left out.
    pub(crate) fn parse(control: &[u8]) -> Beside<'_> {
        let mut beside = Beside::default();
        for (level, kind, data) in control::entries(control) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => beside.rights = data,
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    beside.credentials = ancillary::credentials(data);
                }
                // struct in_pktinfo: interface, the address of the route, that of the header.
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    beside.to = array::<4>(data, 8)
                        .zip(array(data, 0))
                        .map(|(ip, index)| (Ipv4Addr::from(ip).into(), u32::from_ne_bytes(index)));
                }
                // struct in6_pktinfo: address, interface.
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    beside.to = array::<16>(data, 0).zip(array(data, 16)).map(|(ip, index)| {
                        (Ipv6Addr::from(ip).to_canonical(), u32::from_ne_bytes(index))
                    });
                }
                (libc::SOL_IP, libc::IP_TOS) => beside.class = data.first().copied(),
                (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                    beside.class = array(data, 0).map(|class| i32::from_ne_bytes(class) as u8);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = array(data, 0).map(i32::from_ne_bytes);
                    beside.segment_size =
                        size.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
                }
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                    beside.error = extended(data);
                }
                _ => {}
            }
        }
        beside
    }
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn extended(data: &[u8]) -> Option<Extended> {
    let errno = i32::from_ne_bytes(array(data, 0)?);
    let [origin, kind, code, _] = array(data, 4)?;
    let info = u32::from_ne_bytes(array(data, 8)?);
    Some(Extended { errno, origin, kind, code, info, offender: inet_address(data.get(16..)?) })
}

/// The address in a `sockaddr_in` or `sockaddr_in6`; `None` for another family.
fn inet_address(data: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(array(data, 0)?));
    let port = u16::from_be_bytes(array(data, 2)?);
    match family {
        libc::AF_INET => Some(SocketAddrV4::new(array::<4>(data, 4)?.into(), port).into()),
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(array(data, 4)?);
            let scope = u32::from_ne_bytes(array(data, 24)?);
            Some(SocketAddrV6::new(array::<16>(data, 8)?.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

/// One message that has come.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    pub(crate) from: Option<Name>,
    /// The message was longer than the buffer.
    pub(crate) truncated: bool,
    /// The kernel has thrown descriptors away: this process has no room for more (`EMFILE`).
    pub(crate) control_truncated: bool,
    pub(crate) to: Option<(IpAddr, u32)>,
    pub(crate) class: Option<u8>,
    pub(crate) segment_size: Option<usize>,
    pub(crate) error: Option<Extended>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Received {
    #[inline]
    fn new(bytes: usize, from: Option<Name>, flags: i32, control: &[u8]) -> Received {
        // Most sockets have not asked for anything beside the bytes.
        if control.is_empty() {
            return Received::plain(bytes, from, flags);
        }
        let beside = Beside::parse(control);
        // SAFETY: the control data is that of a message that has just come, and is read once.
        let descriptors = unsafe { ancillary::own(beside.rights) }.collect();
        Received {
            to: beside.to,
            class: beside.class,
            segment_size: beside.segment_size,
            error: beside.error,
            credentials: beside.credentials,
            descriptors,
            ..Received::plain(bytes, from, flags)
        }
    }

    #[inline]
    fn plain(bytes: usize, from: Option<Name>, flags: i32) -> Received {
        Received {
            bytes,
            from,
            truncated: flags & libc::MSG_TRUNC != 0,
            control_truncated: flags & libc::MSG_CTRUNC != 0,
            to: None,
            class: None,
            segment_size: None,
            error: None,
            credentials: None,
            descriptors: Vec::new(),
        }
    }
}

/// How messages are received. `queue` asks for the errors that the kernel has kept
/// (`MSG_ERRQUEUE`).
fn flags(queue: bool) -> libc::c_int {
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    if queue { flags | libc::MSG_ERRQUEUE } else { flags }
}

/// Receives one message. `rights` says that descriptors may come along, as on Unix sockets; their
/// numbers take much more room than what IP has to say.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    queue: bool,
    rights: bool,
) -> Result<Received> {
    if rights {
        receive_with::<{ ancillary::ROOM }>(fd, buffer, queue)
    } else {
        receive_with::<UDP_ROOM>(fd, buffer, queue)
    }
}

fn receive_with<const ROOM: usize>(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    queue: bool,
) -> Result<Received> {
    let mut control = Control::<ROOM>::new();
    let mut storage = RawName::new();
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr has no name, no buffers and no flags.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_name = storage.0.as_mut_ptr().cast();
    message.msg_control = control.room().as_mut_ptr().cast();
    // SAFETY: the message refers to a name, one slice and control data, all of which outlive the
    // call and are as long as it says.
    let bytes = retry(|| unsafe {
        message.msg_namelen = size_of::<RawName>() as _;
        message.msg_controllen = ROOM as _;
        libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags(queue)) as libc::c_long
    })?;
    let from = Name::of_storage(&storage, message.msg_namelen);
    let length = message.msg_controllen.min(ROOM);
    Ok(Received::new(bytes as usize, from, message.msg_flags, &control.room()[..length]))
}

/// What several messages are received with beside their buffer. It is kept from call to call,
/// because to clear it takes as long as to receive a message.
pub(crate) struct Headers {
    names: [RawName; MESSAGES_PER_CALL],
    controls: [Control<UDP_ROOM>; MESSAGES_PER_CALL],
    messages: [libc::mmsghdr; MESSAGES_PER_CALL],
    count: usize,
}

impl Headers {
    pub(crate) fn new() -> Headers {
        Headers {
            names: [const { RawName::new() }; MESSAGES_PER_CALL],
            controls: [const { Control::new() }; MESSAGES_PER_CALL],
            // SAFETY: an all-zero mmsghdr is empty.
            messages: unsafe { zeroed() },
            count: 0,
        }
    }

    /// Receives up to [`MESSAGES_PER_CALL`] messages into as many pieces of `buffer`, `size` bytes
    /// each, and returns how many: at least one, or an error.
    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        size: usize,
        queue: bool,
    ) -> Result<usize> {
        self.count = 0;
        // SAFETY: an all-zero iovec is empty.
        let mut slices: [libc::iovec; MESSAGES_PER_CALL] = unsafe { zeroed() };
        let mut count = 0;
        let pieces = buffer.chunks_exact_mut(size.max(1));
        for ((((message, slice), name), control), piece) in self
            .messages
            .iter_mut()
            .zip(&mut slices)
            .zip(&mut self.names)
            .zip(&mut self.controls)
            .zip(pieces)
        {
            *slice = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
            let header = &mut message.msg_hdr;
            header.msg_iov = slice;
            header.msg_iovlen = 1;
            header.msg_name = name.0.as_mut_ptr().cast();
            header.msg_namelen = size_of::<RawName>() as _;
            header.msg_control = control.room().as_mut_ptr().cast();
            header.msg_controllen = UDP_ROOM as _;
            count += 1;
        }
        if count == 0 {
            return Err(Error::EINVAL);
        }
        let (messages, null) = (self.messages.as_mut_ptr(), std::ptr::null_mut());
        // SAFETY: each of the `count` messages refers to a name, one slice and control data of its
        // own, all of which outlive the call and are as long as it says. A call that is
        // interrupted has changed nothing.
        let n = retry(|| unsafe {
            libc::recvmmsg(fd.as_raw_fd(), messages, count, flags(queue) as _, null)
        })?;
        self.count = n as usize;
        Ok(self.count)
    }

    /// What came with the message at this place.
    #[inline]
    pub(crate) fn received(&mut self, at: usize) -> Option<Received> {
        let message = self.messages[..self.count].get_mut(at)?;
        let header = &mut message.msg_hdr;
        let from = Name::of_storage(&self.names[at], header.msg_namelen);
        // Control data is read once, because it may own descriptors.
        let length = std::mem::take(&mut header.msg_controllen).min(UDP_ROOM);
        let control = &self.controls[at].room()[..length];
        Some(Received::new(message.msg_len as usize, from, header.msg_flags, control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_says_what_the_kernel_put_in() {
        let mut control = Control::<512>::new();
        let pktinfo = [7u32.to_ne_bytes(), [127, 0, 0, 9], [127, 0, 0, 1]].concat();
        assert!(control.push(libc::SOL_IP, libc::IP_PKTINFO, &pktinfo));
        assert!(control.push(libc::SOL_IP, libc::IP_TOS, &[3]));
        assert!(control.push(libc::SOL_UDP, libc::UDP_GRO, &1200i32.to_ne_bytes()));
        let mut error = [111u32.to_ne_bytes(), [2, 3, 3, 0], [0; 4], [0; 4]].concat();
        error.extend((libc::AF_INET as u16).to_ne_bytes());
        error.extend([0, 80, 10, 0, 0, 1]);
        error.extend([0; 8]);
        assert!(control.push(libc::SOL_IP, libc::IP_RECVERR, &error));
        let beside = Beside::parse(control.as_slice());
        assert_eq!(beside.to, Some(("127.0.0.1".parse().unwrap(), 7)));
        assert_eq!((beside.class, beside.segment_size), (Some(3), Some(1200)));
        let error = beside.error.unwrap();
        assert_eq!((error.errno, error.origin, error.kind, error.code), (111, 2, 3, 3));
        assert_eq!(error.offender, Some("10.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn what_is_too_short_is_left_out() {
        let kinds = [
            (libc::SOL_IP, libc::IP_PKTINFO),
            (libc::SOL_IPV6, libc::IPV6_PKTINFO),
            (libc::SOL_IPV6, libc::IPV6_TCLASS),
            (libc::SOL_UDP, libc::UDP_GRO),
            (libc::SOL_IP, libc::IP_RECVERR),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS),
        ];
        for (level, kind) in kinds {
            for length in 0..4 {
                let mut control = Control::<64>::new();
                assert!(control.push(level, kind, &[1; 4][..length]));
                assert_eq!(Beside::parse(control.as_slice()), Beside::default());
            }
        }
        // An error without an offender is an error all the same.
        let mut control = Control::<64>::new();
        assert!(control.push(libc::SOL_IPV6, libc::IPV6_RECVERR, &[0; 16]));
        assert_eq!(Beside::parse(control.as_slice()).error.unwrap().offender, None);
    }
}
