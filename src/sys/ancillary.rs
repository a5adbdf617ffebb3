//! Control messages on Unix sockets: descriptors and credentials that travel with bytes.
//!
//! Invariants: room for everything one message can bring ([`MOST_DESCRIPTORS`] and credentials), so
//! that a truncated control message means one thing only; a descriptor that arrives is owned, and
//! close-on-exec, before anything else is looked at (unix(7), cmsg(3)).

use std::io::IoSlice;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockAddr;

use super::control::{self, Control, space};
use super::datagram::{self, Outgoing};
use super::retry;
use crate::error::{Error, Result};

/// Descriptors in one message (`SCM_MAX_FD`, include/net/scm.h).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Bytes of control data that one message can bring.
pub(crate) const ROOM: usize =
    space(MOST_DESCRIPTORS * size_of::<RawFd>()) + space(size_of::<libc::ucred>());

/// Room for it. Whoever receives often keeps it, because to clear it costs as much as to read a short
/// message.
pub(crate) type Room = Control<ROOM>;

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
pub(crate) fn messages(control: &[u8]) -> impl Iterator<Item = Message<'_>> {
    control::entries(control).map(|(level, kind, data)| match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => Message::Rights(data),
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
            credentials(data).map_or(Message::Other, Message::Credentials)
        }
        _ => Message::Other,
    })
}

/// What a message with credentials says (`struct ucred`).
pub(crate) fn credentials(data: &[u8]) -> Option<Credentials> {
    let number = |at: usize| -> Option<i32> {
        Some(i32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
    };
    let (pid, uid, gid) = (number(0)?, number(4)?, number(8)?);
    Some(Credentials { pid, uid: uid.cast_unsigned(), gid: gid.cast_unsigned() })
}

/// Takes over the descriptors that a message with rights names.
///
/// # Safety
/// The kernel has just put them into our table for us, and nobody has taken them over.
pub(crate) unsafe fn own(numbers: &[u8]) -> impl Iterator<Item = OwnedFd> {
    numbers.chunks_exact(size_of::<RawFd>()).filter_map(|number| {
        let number = RawFd::from_ne_bytes(number.try_into().ok()?);
        // SAFETY: the caller's promise.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
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

/// recvmsg(2), without blocking: bytes and what came with them, by way of `control`.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut Room,
) -> Result<Received> {
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr has no name, no buffers and no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.room().as_mut_ptr().cast();
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
    for message in messages(&control.room()[..length]) {
        match message {
            // SAFETY: that is what this message means, and it is read once.
            Message::Rights(numbers) => received.descriptors.extend(unsafe { own(numbers) }),
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
    descriptors: &[impl AsFd],
) -> Result<usize> {
    send_to(fd, slices, descriptors, None)
}

/// As [`send`], to an address.
pub(crate) fn send_to(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    descriptors: &[impl AsFd],
    to: Option<&SockAddr>,
) -> Result<usize> {
    let mut rights = [0; MOST_DESCRIPTORS * size_of::<RawFd>()];
    let data = descriptors.len().saturating_mul(size_of::<RawFd>());
    let rights = rights.get_mut(..data).ok_or(Error::EINVAL)?;
    for (place, descriptor) in rights.chunks_exact_mut(size_of::<RawFd>()).zip(descriptors) {
        place.copy_from_slice(&descriptor.as_fd().as_raw_fd().to_ne_bytes());
    }
    let mut control = Control::<ROOM>::new();
    if !descriptors.is_empty() && !control.push(libc::SOL_SOCKET, libc::SCM_RIGHTS, rights) {
        return Err(Error::EINVAL);
    }
    datagram::send(fd, &Outgoing { slices, to: to.into(), control: control.as_slice() })
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
        let received = receive(other.as_fd(), &mut [0; 8], &mut Room::new()).unwrap();
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
        let received = receive(other.as_fd(), &mut [0; 8], &mut Room::new()).unwrap();
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
