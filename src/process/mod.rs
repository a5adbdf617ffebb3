//! Child processes: what to spawn ([`Command`], [`Stdio`]), what runs ([`Process`]), how it ended
//! ([`Exit`]), and who waits for it.
//!
//! `launch` turns a command into a child, on the loop's thread or on the one in `spawner`; `handle`
//! watches it; `children` and `orphans` see to it that every child is waited for.

mod attributes;
mod children;
mod command;
mod error;
mod exit;
mod handle;
mod inspect;
mod launch;
mod look;
mod node;
mod orphans;
mod owned;
mod reaper;
mod spawner;
mod stdio;

pub use attributes::{Groups, Resource, UNLIMITED};
pub(crate) use children::{Children, Takeover, look_for_exits, report_exits};
pub use command::Command;
pub use error::{SpawnError, SpawnStep};
pub use exit::{Exit, ExitStatus, ResourceUsage};
pub use handle::{Process, StopEvent};
pub(crate) use node::collect_spawned;
pub use reaper::Reaper;
pub use stdio::Stdio;

pub use crate::sys::spawn::SpawnPath;

use crate::error::Result;
use crate::sys::{kill, per_process};

/// Sends a signal to a process by its number (`uv_kill`); 0 only asks whether it is there.
///
/// A number may by now be another process's: for a child, [`Process::kill`] is safe.
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM` when it is another user's, `EINVAL` when there is
/// no such signal.
///
/// ```
/// assert_eq!(blacklight::kill(std::process::id() as i32, 0), Ok(()));
/// assert_eq!(blacklight::kill(i32::MAX, 0), Err(blacklight::Error::ESRCH));
/// ```
pub fn kill(pid: i32, signum: i32) -> Result<()> {
    kill::send(pid, signum)
}

/// Makes this process the one that orphans among its descendants are given to, or stops that
/// (`PR_SET_CHILD_SUBREAPER`, prctl(2)). A [`Reaper`] then waits for them.
///
/// # Errors
/// `EINVAL` from a kernel older than 3.4.
pub fn become_subreaper(on: bool) -> Result<()> {
    kill::set_subreaper(on)
}

/// Takes the few low descriptor numbers that fast spawning wants, now, before the program opens
/// thousands of others; the first spawn does it otherwise, with whatever numbers are free by then.
///
/// # Errors
/// `EMFILE` or `ENFILE` when there are none.
///
/// ```
/// blacklight::reserve_descriptors()?;
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn reserve_descriptors() -> Result<()> {
    crate::sys::spawn::reserve_descriptors()
}
