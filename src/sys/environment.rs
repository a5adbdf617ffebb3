//! Changing the environment of the process, which every thread and every C library shares.
//!
//! All access goes through the standard library, whose lock keeps its own users apart. This crate
//! has one reader that cannot take that lock: a child without an environment block of its own,
//! which follows `environ` in shared memory until its exec. Invariant: no such child is being made
//! while [`setenv`] or [`unsetenv`] runs, because the spawner [holds](hold) the lock of this file.
//! It is taken before the standard library's lock, never after.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::per_process::PerProcess;
use crate::error::{Error, Result};

static UNCHANGED: PerProcess<RwLock<()>> = PerProcess::new();

/// Keeps [`setenv`] and [`unsetenv`] waiting for as long as it lives.
pub(crate) fn hold() -> RwLockReadGuard<'static, ()> {
    UNCHANGED.get().read().unwrap_or_else(PoisonError::into_inner)
}

/// `EINVAL` for what no variable can be called: nothing, or with a `=` or NUL in it.
pub(crate) fn check_key(key: &OsStr) -> Result<()> {
    let key = key.as_bytes();
    let bad = key.is_empty() || key.iter().any(|byte| matches!(byte, b'=' | 0));
    if bad { Err(Error::EINVAL) } else { Ok(()) }
}

/// Sets a variable of this process's environment, in place of its old value (`uv_os_setenv`).
///
/// Threads may call this and everything else of [`crate::os`], the functions of [`mod@std::env`], and
/// spawn with this crate, all at the same time. Node ignores an empty key and cuts a value at its
/// first NUL; here both are errors.
///
/// # Safety
/// The standard library's rule for [`std::env::set_var`], no less: while this runs, no other thread
/// may read or write the environment but through `std::env` or this crate. What is left are C
/// functions: `getenv` and `environ` themselves, and those that consult them, such as `getaddrinfo`
/// (also inside [`std::net::ToSocketAddrs`]), `localtime` and `setlocale`. A program with
/// one thread may always call this; glibc from 2.41 on keeps a concurrent `getenv` safe by itself.
///
/// # Errors
/// `EINVAL` for a key that is empty or has a `=` or NUL in it, and for a value with a NUL.
///
/// ```
/// use blacklight::{Error, os};
///
/// // SAFETY: this program has one thread.
/// unsafe { os::setenv("COLOUR", "blue") }?;
/// assert_eq!(os::getenv("COLOUR")?, "blue");
/// // SAFETY: as above.
/// assert_eq!(unsafe { os::setenv("a=b", "") }, Err(Error::EINVAL));
/// # Ok::<(), blacklight::Error>(())
/// ```
pub unsafe fn setenv(key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Result<()> {
    let (key, value) = (key.as_ref(), value.as_ref());
    check_key(key)?;
    if value.as_bytes().contains(&0) {
        return Err(Error::EINVAL);
    }
    let _alone = UNCHANGED.get().write().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the caller keeps C code away; the standard library's lock and the one above do the
    // rest. Its panics are for what has been checked.
    unsafe { std::env::set_var(key, value) };
    Ok(())
}

/// Removes a variable from this process's environment, if it is there (`uv_os_unsetenv`).
///
/// # Safety
/// As [`setenv`].
///
/// # Errors
/// `EINVAL` for a key that is empty or has a `=` or NUL in it.
///
/// ```
/// use blacklight::{Error, os};
///
/// // SAFETY: this program has one thread.
/// unsafe { os::unsetenv("HOME") }?;
/// assert_eq!(os::getenv("HOME"), Err(Error::ENOENT));
/// # Ok::<(), blacklight::Error>(())
/// ```
pub unsafe fn unsetenv(key: impl AsRef<OsStr>) -> Result<()> {
    let key = key.as_ref();
    check_key(key)?;
    let _alone = UNCHANGED.get().write().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as in `setenv`.
    unsafe { std::env::remove_var(key) };
    Ok(())
}
