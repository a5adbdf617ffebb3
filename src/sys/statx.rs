//! The facts about a file (statx(2)), and the older calls where that is missing.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::retry;
use crate::error::{Error, Result};

/// Whom to ask about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom<'a> {
    /// What a path leads to.
    Path(&'a CStr),
    /// What a path names, also if that is a symbolic link.
    Link(&'a CStr),
    /// An open file.
    Open(RawFd),
}

/// What the kernel says, in the form of the call that was used.
pub(crate) enum Facts {
    New(libc::statx),
    Old(libc::stat64),
}

/// Room for the answer of one that is not waited for; it stays where it is when this is moved.
pub(crate) struct StatRoom(Box<MaybeUninit<libc::statx>>);

impl StatRoom {
    pub(crate) fn new() -> StatRoom {
        StatRoom(Box::new(MaybeUninit::zeroed()))
    }

    #[cfg(feature = "io_uring")]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::statx {
        self.0.as_mut_ptr()
    }

    /// What has been answered, or zeros.
    pub(crate) fn facts(&self) -> &libc::statx {
        // SAFETY: zeros are a valid value, and only the kernel has written over them.
        unsafe { self.0.assume_init_ref() }
    }
}

/// What is asked for: everything that stat(2) has, and the birth time.
pub(crate) const MASK: libc::c_uint = libc::STATX_BASIC_STATS | libc::STATX_BTIME;

/// The descriptor, path and flags for statx(2).
pub(crate) fn arguments(whom: Whom<'_>) -> (libc::c_int, *const libc::c_char, libc::c_int) {
    match whom {
        Whom::Path(path) => (libc::AT_FDCWD, path.as_ptr(), 0),
        Whom::Link(path) => (libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW),
        Whom::Open(fd) => (fd, c"".as_ptr(), libc::AT_EMPTY_PATH),
    }
}

/// Whether a failed statx says that the call cannot be used here, rather than something about the
/// file: sandboxes answer `EPERM`, some file systems `EOPNOTSUPP`.
pub(crate) fn is_missing(error: Error) -> bool {
    matches!(error, Error::ENOSYS | Error::EPERM | Error::ENOTSUP | Error::EINVAL)
}

/// Asks; by statx unless that is not to be used, or not there.
pub(crate) fn stat(whom: Whom<'_>, may_use_statx: bool) -> Result<Facts> {
    static KERNEL_HAS_NONE: AtomicBool = AtomicBool::new(false);
    if may_use_statx && !KERNEL_HAS_NONE.load(Ordering::Relaxed) {
        match new(whom) {
            Err(error) if is_missing(error) => {
                // The other answers may be about this file alone.
                KERNEL_HAS_NONE.fetch_or(error == Error::ENOSYS, Ordering::Relaxed);
            }
            facts => return facts.map(Facts::New),
        }
    }
    old(whom).map(Facts::Old)
}

fn new(whom: Whom<'_>) -> Result<libc::statx> {
    let (fd, path, flags) = arguments(whom);
    let mut facts = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is NUL-terminated, `facts` has room for the answer, both outlive the call.
    retry(|| unsafe { libc::statx(fd, path, flags, MASK, facts.as_mut_ptr()) })?;
    // SAFETY: zeros are a valid value, and the kernel has written over them.
    Ok(unsafe { facts.assume_init() })
}

fn old(whom: Whom<'_>) -> Result<libc::stat64> {
    let mut facts = MaybeUninit::<libc::stat64>::zeroed();
    let to = facts.as_mut_ptr();
    retry(|| match whom {
        // SAFETY: as above; so it is in the other arms.
        Whom::Path(path) => unsafe { libc::stat64(path.as_ptr(), to) },
        // SAFETY: as above.
        Whom::Link(path) => unsafe { libc::lstat64(path.as_ptr(), to) },
        // SAFETY: as above.
        Whom::Open(fd) => unsafe { libc::fstat64(fd, to) },
    })?;
    // SAFETY: as above.
    Ok(unsafe { facts.assume_init() })
}

/// The facts about the file system that a path is on (statfs(2)).
pub(crate) fn statfs(path: &CStr) -> Result<libc::statfs64> {
    let mut facts = MaybeUninit::<libc::statfs64>::zeroed();
    // SAFETY: the path is NUL-terminated, `facts` has room for the answer, both outlive the call.
    retry(|| unsafe { libc::statfs64(path.as_ptr(), facts.as_mut_ptr()) })?;
    // SAFETY: zeros are a valid value, and the kernel has written over them.
    Ok(unsafe { facts.assume_init() })
}
