//! Control messages on Unix sockets: descriptors and credentials that travel with bytes.
//!
//! Invariants: room for everything one message can bring ([`MOST_DESCRIPTORS`] and credentials), so
//! that a truncated control message means one thing only; a descriptor that arrives is owned, and
//! close-on-exec, before anything else is looked at (unix(7), cmsg(3)).

use std::io::IoSlice;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::retry;
use crate::error::{Error, Result};

/// Descriptors in one message (`SCM_MAX_FD`, include/net/scm.h).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// The header of a control message is aligned to a word (`CMSG_ALIGN`, include/linux/socket.h).
const ALIGN: usize = size_of::<usize>();
const HEADER: usize = size_of::<libc::cmsghdr>();

const fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(ALIGN)
}

/// Bytes of control data that one message can bring.
const ROOM: usize = space(MOST_DESCRIPTORS * size_of::<RawFd>()) + space(size_of::<libc::ucred>());

/// A buffer for control data, aligned as its headers must be.
#[repr(C)]
struct Control {
    align: [libc::cmsghdr; 0],
    bytes: [u8; ROOM],
}

impl Control {
    const fn new() -> Control {
        Control { align: [], bytes: [0; ROOM] }
    }
}

/// Who sent a message, as the kernel vouches for it (`SO_PASSCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process id of the sender.
    pub pid: i32,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// What one control message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// Numbers of descriptors, as bytes.
    Rights(&'a [u8]),
    Credentials(Credentials),
    /// Something that was not asked for.
    Other,
}

/// Reads control data, message by message; ends at the first one that does not fit.
pub(crate) fn messages(mut control: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| -> Option<i32> {
            let bytes = control.get(at..at + size_of::<i32>())?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let length = control.get(..size_of::<usize>())?;
        let length = usize::from_ne_bytes(length.try_into().ok()?);
        let level = word(std::mem::offset_of!(libc::cmsghdr, cmsg_level))?;
        let kind = word(std::mem::offset_of!(libc::cmsghdr, cmsg_type))?;
        let data = control.get(HEADER..length)?;
        let message = match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => Message::Rights(data),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if data.len() >= 12 => {
                let number = |at: usize| word(HEADER + at).unwrap_or(0);
                Message::Credentials(Credentials {
                    pid: number(0),
                    uid: number(4).cast_unsigned(),
                    gid: number(8).cast_unsigned(),
                })
            }
            _ => Message::Other,
        };
        let next = length.checked_next_multiple_of(ALIGN)?;
        control = control.get(next..).unwrap_or_default();
        Some(message)
    })
}

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes, 0 at the end.
    pub(crate) bytes: usize,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) credentials: Option<Credentials>,
    /// The kernel has thrown descriptors away: this process has no room for more (`EMFILE`).
    pub(crate) truncated: bool,
}

/// recvmsg(2), without blocking: bytes and what came with them.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received> {
    let mut control = Control::new();
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr has no name, no buffers and no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.as_mut_ptr().cast();
    message.msg_controllen = ROOM as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message refers to one slice and `ROOM` bytes of control data, all of which
    // outlive the call.
    let bytes = retry(|| unsafe {
        message.msg_controllen = ROOM as _;
        libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) as libc::c_long
    })?;
    let mut received = Received {
        bytes: bytes as usize,
        descriptors: Vec::new(),
        credentials: None,
        truncated: message.msg_flags & libc::MSG_CTRUNC != 0,
    };
    let length = (message.msg_controllen as usize).min(ROOM);
    for message in messages(&control.bytes[..length]) {
        match message {
            Message::Rights(numbers) => {
                let numbers = numbers.chunks_exact(size_of::<RawFd>());
                received.descriptors.extend(numbers.filter_map(|number| {
                    let number = RawFd::from_ne_bytes(number.try_into().ok()?);
                    // SAFETY: the kernel has just put this descriptor into our table for us.
                    Some(unsafe { OwnedFd::from_raw_fd(number) })
                }));
            }
            Message::Credentials(credentials) => received.credentials = Some(credentials),
            Message::Other => {}
        }
    }
    Ok(received)
}

/// sendmsg(2), without blocking: bytes, and descriptors that travel with the first of them. An
/// error means that nothing was sent, a number that the descriptors were.
///
/// `ETOOMANYREFS` when too many descriptors of this user are in flight (unix(7)).
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    descriptors: &[OwnedFd],
) -> Result<usize> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(Error::EINVAL);
    }
    let mut control = Control::new();
    let data = std::mem::size_of_val(descriptors);
    let header = libc::cmsghdr {
        cmsg_len: (HEADER + data) as _,
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    // SAFETY: the buffer is aligned for a header and longer than one.
    unsafe { control.bytes.as_mut_ptr().cast::<libc::cmsghdr>().write(header) };
    let places = control.bytes[HEADER..].chunks_exact_mut(size_of::<RawFd>());
    for (place, descriptor) in places.zip(descriptors) {
        place.copy_from_slice(&descriptor.as_raw_fd().to_ne_bytes());
    }
    // SAFETY: an all-zero msghdr has no name, no buffers and no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len().min(libc::UIO_MAXIOV as usize);
    if !descriptors.is_empty() {
        message.msg_control = control.bytes.as_mut_ptr().cast();
        message.msg_controllen = space(data) as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: an `IoSlice` has the layout of an iovec; slices and control data outlive the call,
    // which only reads them.
    retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) as libc::c_long })
        .map(|n| n as usize)
}

/// Has the kernel add the sender's credentials to each message that is received (`SO_PASSCRED`).
pub(crate) fn pass_credentials(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let value: libc::c_int = on.into();
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PASSCRED);
    // SAFETY: the value outlives the call and is as long as it says.
    super::check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::unix_socket::pair;

    fn devices(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_takes_travel_with_one_byte() {
        let (one, other) = pair().unwrap();
        let sent = devices(MOST_DESCRIPTORS);
        assert_eq!(send(one.as_fd(), &[IoSlice::new(b"x")], &sent), Ok(1));
        let received = receive(other.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!((received.bytes, received.descriptors.len()), (1, MOST_DESCRIPTORS));
        assert!(!received.truncated);
        assert!(received.descriptors.iter().all(|fd| {
            // SAFETY: no pointers.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) == libc::FD_CLOEXEC }
        }));
    }

    #[test]
    fn one_more_is_refused() {
        let (one, _other) = pair().unwrap();
        let sent = devices(MOST_DESCRIPTORS + 1);
        assert_eq!(send(one.as_fd(), &[IoSlice::new(b"x")], &sent), Err(Error::EINVAL));
    }

    #[test]
    fn credentials_fit_beside_all_descriptors() {
        let (one, other) = pair().unwrap();
        pass_credentials(other.as_fd(), true).unwrap();
        let sent = devices(MOST_DESCRIPTORS);
        assert_eq!(send(one.as_fd(), &[IoSlice::new(b"x")], &sent), Ok(1));
        let received = receive(other.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(received.descriptors.len(), MOST_DESCRIPTORS);
        assert_eq!(received.credentials.unwrap().pid, std::process::id() as i32);
    }

    #[test]
    fn broken_control_data_ends_the_reading() {
        assert_eq!(messages(&[]).count(), 0);
        assert_eq!(messages(&[1; 7]).count(), 0);
        assert_eq!(messages(&[0xff; 64]).count(), 0);
        // A length shorter than the header it is in.
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
