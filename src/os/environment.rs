//! The environment of the process: reading it here, changing it in `sys::environment`.
//!
//! Reading goes through the standard library, whose lock keeps it apart from every change that does
//! the same, in this crate and elsewhere.

use std::ffi::{OsStr, OsString};

pub use crate::sys::environment::{setenv, unsetenv};

use crate::error::{Error, Result};
use crate::sys::environment::check_key;

/// The value of a variable of this process's environment (`uv_os_getenv`).
///
/// # Errors
/// `ENOENT` when there is none, `EINVAL` for a key that is empty or has a `=` or NUL in it (Node
/// finds nothing under such keys).
///
/// ```
/// use blacklight::{Error, os};
///
/// assert!(os::getenv("PATH").is_ok());
/// assert_eq!(os::getenv("NO_SUCH_VARIABLE"), Err(Error::ENOENT));
/// assert_eq!(os::getenv(""), Err(Error::EINVAL));
/// ```
pub fn getenv(key: impl AsRef<OsStr>) -> Result<OsString> {
    let key = key.as_ref();
    check_key(key)?;
    std::env::var_os(key).ok_or(Error::ENOENT)
}

/// All variables, in the order of the environment, new ones last (`uv_os_environ`).
///
/// Entries without a `=` are left out, as in libuv.
///
/// ```
/// let variables = blacklight::os::environ();
/// assert!(variables.iter().any(|(key, _)| key == "PATH"));
/// ```
#[must_use]
pub fn environ() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}
