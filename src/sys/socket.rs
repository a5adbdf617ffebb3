//! Sockets of any family: what one is, its pending error, options that all have.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::error::{Error, Result};

fn option(fd: BorrowedFd<'_>, name: libc::c_int) -> Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: room for the one int that these options are, and for its length.
    check(unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value, &raw mut length)
    })?;
    Ok(value)
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
