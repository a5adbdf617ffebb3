//! Who is at the other end of a Unix socket: credentials, a pidfd, a label (unix(7)).

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::ancillary::Credentials;
use crate::sys::socket;

/// Sockets that are not Unix sockets answer as those without a peer do.
pub(crate) fn credentials(fd: BorrowedFd<'_>) -> Result<Credentials> {
    let libc::ucred { pid, uid, gid } = socket::peer_credentials(fd)?;
    if uid == u32::MAX { Err(Error::ENOTCONN) } else { Ok(Credentials { pid, uid, gid }) }
}

pub(crate) fn pidfd(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    socket::peer_pidfd(fd).map_err(|error| match error {
        Error::ENOPROTOOPT => Error::ENOTSUP,
        Error::ENODATA => Error::ENOTCONN,
        // What the kernel says of a process that has been waited for.
        Error::EINVAL => Error::ESRCH,
        other => other,
    })
}

pub(crate) fn security(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    credentials(fd)?;
    socket::peer_security(fd).map_err(|error| match error {
        Error::ENOPROTOOPT => Error::ENOTSUP,
        other => other,
    })
}
