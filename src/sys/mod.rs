//! The only place with system calls: one file per kernel facility, each a thin typed wrapper.
//!
//! Two rules hold in all of them. A call that a signal can interrupt is repeated in one place,
//! [`retry`], so that `EINTR` never leaves this module unless a wrapper says so. A descriptor that
//! the kernel hands out is an `OwnedFd` before the next line runs, and close-on-exec from its
//! creation.

#![allow(unsafe_code)]

pub(crate) mod affinity;
pub(crate) mod ancillary;
pub(crate) mod arch;
pub(crate) mod c_path;
pub(crate) mod control;
pub(crate) mod copy;
pub(crate) mod datagram;
pub(crate) mod directory;
pub(crate) mod environment;
pub(crate) mod epoll;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod fork_mark;
#[cfg(test)]
pub(crate) mod forked;
pub(crate) mod getaddrinfo;
pub(crate) mod identity;
pub(crate) mod inet;
pub(crate) mod inotify;
pub(crate) mod interfaces;
#[cfg_attr(not(feature = "io_uring"), path = "io_uring_absent.rs")]
pub(crate) mod io_uring;
#[cfg(test)]
pub(crate) mod isolation;
pub(crate) mod kill;
pub(crate) mod per_process;
pub(crate) mod pidfd;
pub(crate) mod procfs;
pub(crate) mod pty;
pub(crate) mod random;
pub(crate) mod resources;
pub(crate) mod seat;
pub(crate) mod sigmask;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod statx;
pub(crate) mod terminal;
pub(crate) mod time;
pub(crate) mod title;
pub(crate) mod udp;
pub(crate) mod umask;
pub(crate) mod unix_socket;
pub(crate) mod wait;
pub(crate) mod wake;

use crate::error::{Error, Result};

/// The errno that the last failed libc call of this thread left behind.
#[cold]
pub(crate) fn last_error() -> Error {
    Error::from(std::io::Error::last_os_error())
}

/// The errno of this thread, for what a signal handler may call and must put back.
pub(crate) fn errno() -> libc::c_int {
    // SAFETY: the address is that of this thread's errno, for as long as it lives.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(errno: libc::c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// What a libc call returned, with -1 turned into the errno.
pub(crate) trait Returned: Copy {
    fn failed(self) -> bool;
}

impl Returned for libc::c_int {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Returned for libc::c_long {
    fn failed(self) -> bool {
        self == -1
    }
}

/// The result of a libc call that returns -1 and sets errno.
#[inline]
pub(crate) fn check<T: Returned>(returned: T) -> Result<T> {
    if returned.failed() { Err(last_error()) } else { Ok(returned) }
}

/// The one retry rule: as [`check`], with the call made again for as long as it says `EINTR`.
#[inline]
pub(crate) fn retry<T: Returned>(mut call: impl FnMut() -> T) -> Result<T> {
    loop {
        match check(call()) {
            Err(Error::EINTR) => {}
            other => return other,
        }
    }
}
