//! What the program was called with, and the title that it shows instead.
//!
//! Setting a title overwrites the arguments where the kernel keeps them (`sys::title`). Invariant:
//! they are copied before that, so that [`args`] says the same before and after.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::sys::per_process::PerProcess;
use crate::sys::title;

static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// A forked child has the title of its parent, so what is shared over a fork is right; but not a
/// lock that another thread of the parent held.
static TITLE: PerProcess<Mutex<Option<OsString>>> = PerProcess::new();

fn arguments() -> &'static [OsString] {
    ARGUMENTS.get_or_init(|| std::env::args_os().collect())
}

/// The arguments of the program from the zeroth on, as it was executed with.
///
/// Unlike [`std::env::args_os`] this is right also after [`set_title`]. Node puts the path of the
/// executable in the place of the zeroth, and a full path in that of the first.
///
/// ```
/// let args = blacklight::os::args();
/// assert!(!args.is_empty());
/// ```
#[must_use]
pub fn args() -> Vec<OsString> {
    arguments().to_vec()
}

/// The zeroth argument, which is whatever the parent liked; empty when there is none.
///
/// ```
/// assert!(!blacklight::os::argv0().is_empty());
/// ```
#[must_use]
pub fn argv0() -> OsString {
    arguments().first().cloned().unwrap_or_default()
}

/// The full path of the program that runs (`uv_exepath`), from /proc/self/exe.
///
/// It is that of the file, not of a link to it. When the file has been removed or replaced,
/// ` (deleted)` follows (proc_pid_exe(5)).
///
/// # Errors
/// `ENOENT` when there is no /proc; Node then takes [`argv0`].
///
/// ```
/// assert!(blacklight::os::exec_path()?.is_absolute());
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn exec_path() -> Result<PathBuf> {
    std::fs::read_link("/proc/self/exe").map_err(Error::from)
}

/// The title of the process (`uv_get_process_title`): what was set last, else the zeroth argument.
///
/// ```
/// assert_eq!(blacklight::os::title(), blacklight::os::argv0());
/// ```
#[must_use]
pub fn title() -> OsString {
    let title = TITLE.get().lock().unwrap_or_else(PoisonError::into_inner);
    title.clone().unwrap_or_else(argv0)
}

/// Sets the title of the process (`uv_set_process_title`), which ps(1) and top(1) show instead of
/// the command line, and returns how many bytes of it fitted.
///
/// The title overwrites the arguments, so what does not fit in their room is cut off, as in libuv;
/// the environment behind them is left alone. Its first 15 bytes become the name of the process,
/// which is that of its first thread: libuv names the thread that calls.
///
/// [`args`], [`argv0`] and [`exec_path`] stay what they were. [`std::env::args`] does not: after
/// this it tells parts of the title, and if another thread reads it at this very moment, a mixture.
/// C code that has kept `argv` sees the same.
///
/// # Errors
/// `EINVAL` for a title with a NUL (libuv ends it there), `ENOBUFS` when the program was executed
/// without arguments, and what /proc says when it is not there or may not be written.
///
/// ```
/// use blacklight::os;
///
/// let fitted = os::set_title("blue")?;
/// assert_eq!(os::title(), "blue"[..fitted]);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn set_title(new: impl AsRef<OsStr>) -> Result<usize> {
    let new = new.as_ref().as_bytes();
    if new.contains(&0) {
        return Err(Error::EINVAL);
    }
    let mut title = TITLE.get().lock().unwrap_or_else(PoisonError::into_inner);
    // The last chance to read them.
    arguments();
    let fitted = title::set(new)?;
    *title = Some(OsStr::from_bytes(&new[..fitted]).to_owned());
    Ok(fitted)
}
