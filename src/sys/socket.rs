//! Sockets of any family: what one is, its pending error, options that all have.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::SockRef;

use super::check;
use crate::error::{Error, Result};

/// An option of `SOL_SOCKET` that is one plain value.
fn option<T: Plain>(fd: BorrowedFd<'_>, name: libc::c_int) -> Result<T> {
    let mut value = T::EMPTY;
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: room for a value of the type, of which any bytes make one, and for its length.
    check(unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value, &raw mut length)
    })?;
    Ok(value)
}

/// Types that any bytes are a value of.
trait Plain {
    const EMPTY: Self;
}

impl Plain for libc::c_int {
    const EMPTY: libc::c_int = 0;
}

impl Plain for libc::ucred {
    const EMPTY: libc::ucred = libc::ucred { pid: 0, uid: 0, gid: 0 };
}

/// The address family and the type (`SO_DOMAIN`, `SO_TYPE`; socket(7)).
pub(crate) fn family_and_type(fd: BorrowedFd<'_>) -> Result<(libc::c_int, libc::c_int)> {
    Ok((option(fd, libc::SO_DOMAIN)?, option(fd, libc::SO_TYPE)?))
}

/// The error that the socket has in store, which is taken from it (`SO_ERROR`).
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> Result<()> {
    match option(fd, libc::SO_ERROR)? {
        0 => Ok(()),
        errno => Err(Error::from_errno(errno)),
    }
}

/// Who was at the other end when the connection was made (`SO_PEERCRED`, unix(7)). A socket
/// without a peer, or of another family, has user and group -1.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<libc::ucred> {
    option(fd, libc::SO_PEERCRED)
}

/// A pidfd of the process that was at the other end (`SO_PEERPIDFD`, Linux 6.5). `ENOPROTOOPT`
/// before, `ENODATA` when there is no peer.
pub(crate) fn peer_pidfd(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let number: libc::c_int = option(fd, libc::SO_PEERPIDFD)?;
    // SAFETY: the kernel has just put this descriptor into our table for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The security label of the peer (`SO_PEERSEC`), without the NUL that some modules end it with.
/// `ENOPROTOOPT` when no security module has one.
pub(crate) fn peer_security(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut label = vec![0u8; 256];
    loop {
        let mut length = label.len() as libc::socklen_t;
        // SAFETY: room for `length` bytes, and for the length itself.
        let done = check(unsafe {
            let value = label.as_mut_ptr().cast();
            let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERSEC);
            libc::getsockopt(fd.as_raw_fd(), level, name, value, &raw mut length)
        });
        match done {
            Ok(_) => {
                label.truncate(length as usize);
                if label.last() == Some(&0) {
                    label.pop();
                }
                return Ok(label);
            }
            // The kernel has said how much room it wants; labels are at most a page (xattr(7)).
            Err(Error::ERANGE) if (label.len() + 1..=65536).contains(&(length as usize)) => {
                label.resize(length as usize, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Bytes that may wait to be sent (`SO_SNDBUF`, socket(7)).
pub(crate) fn send_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    SockRef::from(&fd).send_buffer_size().map_err(Error::from)
}

/// Bytes that may wait to be received (`SO_RCVBUF`, socket(7)).
pub(crate) fn recv_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    SockRef::from(&fd).recv_buffer_size().map_err(Error::from)
}

/// See [`send_buffer_size`]; `EINVAL` for more than an int holds.
pub(crate) fn set_send_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    i32::try_from(bytes).map_err(|_| Error::EINVAL)?;
    SockRef::from(&fd).set_send_buffer_size(bytes).map_err(Error::from)
}

/// See [`recv_buffer_size`]; `EINVAL` for more than an int holds.
pub(crate) fn set_recv_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    i32::try_from(bytes).map_err(|_| Error::EINVAL)?;
    SockRef::from(&fd).set_recv_buffer_size(bytes).map_err(Error::from)
}
