//! Nice values: how willingly a process leaves the processors to others, -20 (not at all) to 19.

use crate::error::{Error, Result};
use crate::sys::resources;

/// `UV_PRIORITY_LOW`: only when nobody else wants to run.
pub const PRIORITY_LOW: i32 = 19;
/// `UV_PRIORITY_BELOW_NORMAL`.
pub const PRIORITY_BELOW_NORMAL: i32 = 10;
/// `UV_PRIORITY_NORMAL`: what a process has when nobody says otherwise.
pub const PRIORITY_NORMAL: i32 = 0;
/// `UV_PRIORITY_ABOVE_NORMAL`.
pub const PRIORITY_ABOVE_NORMAL: i32 = -7;
/// `UV_PRIORITY_HIGH`.
pub const PRIORITY_HIGH: i32 = -14;
/// `UV_PRIORITY_HIGHEST`.
pub const PRIORITY_HIGHEST: i32 = -20;

/// The nice value of a process, 0 standing for the calling thread (`uv_os_getpriority`).
///
/// On Linux each thread has one of its own (sched(7)): the number of a process means its first
/// thread, and that of a thread that thread.
///
/// # Errors
/// `ESRCH` when there is no such process.
///
/// ```
/// use blacklight::{Error, os};
///
/// let nice = os::priority(0)?;
/// assert!((os::PRIORITY_HIGHEST..=os::PRIORITY_LOW).contains(&nice));
/// assert_eq!(os::priority(i32::MAX), Err(Error::ESRCH));
/// # Ok::<(), Error>(())
/// ```
pub fn priority(pid: i32) -> Result<i32> {
    resources::priority(pid)
}

/// Sets the nice value of a process, 0 standing for the calling thread (`uv_os_setpriority`).
///
/// Other threads of the process keep theirs, see [`priority`]; threads and children that are made
/// afterwards begin with that of the thread that makes them.
///
/// # Errors
/// `EINVAL` for a value outside of -20 to 19, `ESRCH` when there is no such process, `EPERM` when
/// it is another user's, `EACCES` for a lower value than one's limit allows (`RLIMIT_NICE`).
///
/// ```
/// use blacklight::os;
///
/// os::set_priority(0, os::PRIORITY_LOW)?;
/// assert_eq!(os::priority(0)?, 19);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn set_priority(pid: i32, nice: i32) -> Result<()> {
    if !(PRIORITY_HIGHEST..=PRIORITY_LOW).contains(&nice) {
        return Err(Error::EINVAL);
    }
    resources::set_priority(pid, nice)
}
