//! Pseudo-terminals: masters and their slaves (pty(7), ioctl_tty(2)).
//!
//! Invariant: a master is non-blocking and close-on-exec from its creation, and neither it nor a
//! slave opened here becomes anybody's controlling terminal by being opened.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{check, retry};
use crate::error::{Error, Result};

/// A new pseudo-terminal, unlocked: its master.
pub(crate) fn open() -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: no pointers.
    let number = retry(|| unsafe { libc::posix_openpt(flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    let master = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: no pointers; the descriptor is open.
    check(unsafe { libc::grantpt(master.as_raw_fd()) })?;
    // SAFETY: as above.
    check(unsafe { libc::unlockpt(master.as_raw_fd()) })?;
    Ok(master)
}

/// A new descriptor of the slave, blocking; it needs no path (`TIOCGPTPEER`, Linux 4.13).
pub(crate) fn slave(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is a number.
    let number = retry(|| unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The path of the slave.
pub(crate) fn name(master: BorrowedFd<'_>) -> Result<PathBuf> {
    // "/dev/pts/" and ten digits.
    let mut name = [0u8; 32];
    // SAFETY: the buffer has room for the length given.
    let error =
        unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) };
    if error != 0 {
        return Err(Error::from_errno(error));
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| Error::ENAMETOOLONG)?;
    Ok(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}
