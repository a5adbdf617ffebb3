//! sendmsg(2) and sendmmsg(2), and several datagrams as one message (`UDP_SEGMENT`, udp(7)).
//!
//! Invariant: datagrams that travel together are told and counted one by one, and are sent one by
//! one where the kernel will not cut them.

use std::cell::Cell;
use std::io::IoSlice;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

use super::MESSAGES_PER_CALL;
use crate::error::{Error, Result};
use crate::sys::control::{Control, space};
use crate::sys::{retry, udp};

/// Datagrams in one message that the kernel cuts (`UDP_MAX_SEGMENTS`, include/linux/udp.h; 128
/// since Linux 6.9), and bytes in it: an IP datagram's length has 16 bits, which are those of
/// the headers too.
const MOST_JOINED: usize = 64;
const MOST_BYTES: usize = 65_507;

/// Pieces of datagrams that are put together in one call.
const MOST_SLICES: usize = 2 * MOST_JOINED;

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    Peer,
    Inet(SocketAddr),
    Raw(&'a SockAddr),
}

impl<'a> From<Option<&'a SockAddr>> for To<'a> {
    fn from(raw: Option<&'a SockAddr>) -> To<'a> {
        raw.map_or(To::Peer, To::Raw)
    }
}

impl To<'_> {
    /// Whether both are known to be the same place.
    fn is(&self, other: &To<'_>) -> bool {
        match (self, other) {
            (To::Peer, To::Peer) => true,
            (To::Inet(one), To::Inet(other)) => one == other,
            _ => false,
        }
    }
}

/// One message to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) slices: &'a [IoSlice<'a>],
    pub(crate) to: To<'a>,
    /// Control messages, aligned as [`Control`] is.
    pub(crate) control: &'a [u8],
}

impl Outgoing<'_> {
    fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// The header of this message; an Internet address is put into `name`.
    fn header(&self, name: &mut MaybeUninit<InetName>) -> libc::msghdr {
        // SAFETY: an all-zero msghdr has no name, no buffers and no flags.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = self.slices.as_ptr().cast_mut().cast();
        header.msg_iovlen = self.slices.len();
        match self.to {
            To::Peer => {}
            To::Inet(address) => {
                let (raw, length) = InetName::new(address);
                header.msg_name = std::ptr::from_mut(name.write(raw)).cast();
                header.msg_namelen = length;
            }
            To::Raw(raw) => {
                header.msg_name = raw.as_ptr().cast_mut().cast();
                header.msg_namelen = raw.len();
            }
        }
        if !self.control.is_empty() {
            header.msg_control = self.control.as_ptr().cast_mut().cast();
            header.msg_controllen = self.control.len() as _;
        }
        header
    }
}

/// An Internet address as the kernel takes it, in as little room as it needs.
#[repr(C)]
union InetName {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl InetName {
    fn new(address: SocketAddr) -> (InetName, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (InetName { v4: raw }, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (InetName { v6: raw }, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }
}

/// Whether the kernel cuts what is sent on a socket, and how long the datagrams may be.
///
/// It is asked when it matters for the first time. Where it refuses a length, which is longer than
/// the way to the receiver lets through in one piece, shorter ones are tried all the same; where
/// it refuses for another reason, nothing is.
#[derive(Debug, Default)]
pub(crate) struct Joining(Cell<Option<u16>>);

impl Joining {
    /// Nothing is sent together until [`Joining::reset`].
    pub(crate) fn never() -> Joining {
        Joining(Cell::new(Some(0)))
    }

    /// Another socket, or other options; `allowed` says whether it may be tried at all.
    pub(crate) fn reset(&self, allowed: bool) {
        self.0.set(if allowed { None } else { Some(0) });
    }

    /// The longest datagrams that may be sent together.
    fn longest(&self, fd: BorrowedFd<'_>) -> usize {
        let longest = self.0.get().unwrap_or_else(|| {
            let longest = if udp::may_join(fd) { (MOST_BYTES / 2) as u16 } else { 0 };
            self.0.set(Some(longest));
            longest
        });
        longest.into()
    }

    /// Datagrams of this length were refused together and not one by one.
    fn refused(&self, length: usize, error: Error) {
        match error {
            Error::EMSGSIZE => self.0.set(Some(length.saturating_sub(1) as u16)),
            // So much at once was too much for the room that there is.
            Error::ENOBUFS => {}
            _ => self.0.set(Some(0)),
        }
    }
}

/// Whether this may be about datagrams being together: a length that does not pass in one piece, no
/// checksum, a way that cannot cut (`udp_send_skb`, net/ipv4/udp.c), too much at once.
fn may_concern_joining(error: Error) -> bool {
    matches!(
        error,
        Error::EMSGSIZE
            | Error::EINVAL
            | Error::EIO
            | Error::ENOTSUP
            | Error::ENOPROTOOPT
            | Error::ENOBUFS
    )
}

/// How many messages, from the first, can be sent as one of at most `slices` pieces: they go to the
/// same place with nothing beside them, and are as long as the first; only the last may be shorter.
fn joined(messages: &[Outgoing<'_>], longest: usize, slices: usize) -> usize {
    let Some(first) = messages.first() else { return 0 };
    let length = first.len();
    if length == 0 || length > longest || !first.control.is_empty() {
        return 1;
    }
    let (mut count, mut bytes, mut pieces) = (1, length, first.slices.len());
    for message in messages[1..].iter().take(MOST_JOINED - 1) {
        let next = message.len();
        bytes += next;
        pieces += message.slices.len();
        let fits = (1..=length).contains(&next) && bytes <= MOST_BYTES && pieces <= slices;
        if !fits || !message.control.is_empty() || !message.to.is(&first.to) {
            break;
        }
        count += 1;
        if next < length {
            break;
        }
    }
    count
}

const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Sends one message, whole or not at all. `EAGAIN` when there is no room.
pub(crate) fn send(fd: BorrowedFd<'_>, message: &Outgoing<'_>) -> Result<usize> {
    let mut name = MaybeUninit::uninit();
    let header = message.header(&mut name);
    // SAFETY: an `IoSlice` has the layout of an iovec; slices, name and control data outlive the
    // call, which only reads them.
    retry(|| unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const header, SEND_FLAGS) as libc::c_long
    })
    .map(|n| n as usize)
}

/// Sends up to [`MESSAGES_PER_CALL`] of the messages, in order, and returns how many: at least
/// one, or the error of the first. Those that `joining` allows are handed over as one, and the
/// kernel cuts it.
pub(crate) fn send_many(
    fd: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
    joining: &Joining,
) -> Result<usize> {
    match messages {
        [] => return Ok(0),
        [message] => return send(fd, message).map(|_| 1),
        _ => {}
    }
    let longest = joining.longest(fd);
    match send_joined(fd, messages, longest) {
        Err(error) if may_concern_joining(error) && joined(messages, longest, MOST_SLICES) > 1 => {
            // Nothing has gone. The error may be the datagrams' own, too.
            let alone = send_joined(fd, messages, 0);
            if alone != Err(error) {
                joining.refused(messages[0].len(), error);
            }
            alone
        }
        other => other,
    }
}

fn send_joined(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>], longest: usize) -> Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_PER_CALL];
    let mut names = [const { MaybeUninit::<InetName>::uninit() }; MESSAGES_PER_CALL];
    let mut controls =
        [const { MaybeUninit::<Control<{ space(2) }>>::uninit() }; MESSAGES_PER_CALL];
    let mut slices = [const { MaybeUninit::<IoSlice<'_>>::uninit() }; MOST_SLICES];
    let mut counts = [0; MESSAGES_PER_CALL];
    let (mut free, mut left, mut calls) = (slices.as_mut_slice(), messages, 0);
    let places = headers.iter_mut().zip(&mut names).zip(&mut controls).zip(&mut counts);
    for (((place, name), control), count) in places {
        let Some(first) = left.first() else { break };
        *count = joined(left, longest, free.len());
        let (together, rest) = left.split_at(*count);
        let mut header = first.header(name);
        if *count > 1 {
            let pieces = together.iter().map(|message| message.slices.len()).sum();
            let (taken, others) = free.split_at_mut(pieces);
            let each = together.iter().flat_map(|message| message.slices);
            taken.iter_mut().zip(each).for_each(|(place, slice)| {
                place.write(*slice);
            });
            header.msg_iov = taken.as_mut_ptr().cast();
            header.msg_iovlen = pieces;
            let control = control.write(Control::new());
            let length = first.len() as u16;
            let fits = control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &length.to_ne_bytes());
            debug_assert!(fits);
            header.msg_control = control.as_slice().as_ptr().cast_mut().cast();
            header.msg_controllen = control.as_slice().len() as _;
            free = others;
        }
        place.write(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
        (left, calls) = (rest, calls + 1);
    }
    let headers = headers.as_mut_ptr().cast::<libc::mmsghdr>();
    // SAFETY: the first `calls` headers have been written; each refers to slices, a name and
    // control data that outlive the call, which writes only the lengths that were sent.
    let sent =
        retry(|| unsafe { libc::sendmmsg(fd.as_raw_fd(), headers, calls, SEND_FLAGS as _) })?;
    Ok(counts[..sent as usize].iter().sum())
}
