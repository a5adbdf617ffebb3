//! `exec` and its kin: a child whose output is wanted and whose failure is an error, as in Node.
//!
//! On a loop, [`exec`] and [`exec_file`] call back once the child has ended and its output too. Without
//! one, [`exec_sync`] and [`exec_file_sync`] are `spawn_sync` with that notion of failure.
//! Invariant: a callback is called exactly once, from `run`, unless the loop is dropped before.
//!
//! `shell` has the command that a shell is given, `options` and `outcome` what goes in and comes
//! out, `run` what happens between, `sync` the forms without a loop.

mod options;
mod outcome;
mod run;
mod shell;
mod sync;

pub use options::ExecOptions;
pub use outcome::{ExecCause, ExecError, ExecOutcome};
pub use run::Executing;
pub use shell::Shell;
pub use sync::{ExecSyncError, exec_file_sync, exec_sync};

use crate::{Command, LoopRef, Result};

/// Runs a command line in a shell and calls `callback` when it has ended, with its output.
///
/// As [`exec_file`] in all but the shell: see there. A [`Shell`] is made of a string, with
/// `/bin/sh`; made explicitly it may have another shell, a directory, an environment and whatever
/// else a [`Command`] has.
///
/// ```
/// use blacklight::{EventLoop, RunMode};
/// use blacklight::child_process::{ExecOptions, exec};
///
/// let lp = EventLoop::new()?;
/// exec(&lp, "echo out; echo err >&2; exit 3", &ExecOptions::new(), |outcome| {
///     assert_eq!(outcome.stdout, b"out\n");
///     let error = outcome.error.unwrap();
///     assert_eq!(error.status, Some(3));
///     assert_eq!(error.to_string(), "Command failed: echo out; echo err >&2; exit 3\nerr\n");
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// As [`exec_file`].
pub fn exec(
    lp: &LoopRef,
    command: impl Into<Shell>,
    options: &ExecOptions,
    callback: impl FnOnce(ExecOutcome) + 'static,
) -> Result<Executing> {
    let shell = command.into();
    run::start(lp, shell.as_command(), shell.text(), options, Box::new(callback))
}

/// Runs a program and calls `callback` when it has ended, with its output.
///
/// Slots 0 to 2 are connected to this process, whatever the command has there; others are the
/// command's. The callback is called when the child has ended and both outputs are at their ends;
/// or when the child, having been killed for a limit that was reached, has ended, as its outputs are
/// closed then; or at once when it could not be spawned, or was [aborted](Executing::abort).
///
/// The child reads what is written to [`Executing::stdin`], and the end when that is closed, or
/// when the last [`Executing`] is dropped. (In Node a child that reads and is given nothing waits
/// for ever.) Output is bytes; decoding, and Node's `encoding`, are the caller's.
///
/// ```
/// use blacklight::{Command, EventLoop, RunMode, Stream};
/// use blacklight::child_process::{ExecOptions, exec_file};
///
/// let lp = EventLoop::new()?;
/// let executing = exec_file(&lp, &Command::new("sort"), &ExecOptions::new(), |outcome| {
///     assert_eq!(outcome.error, None);
///     assert_eq!(outcome.stdout, b"a\nb\n");
/// })?;
/// executing.stdin().write_and_forget("b\na\n")?;
/// drop(executing);
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// `EINVAL` for a kill signal that is no signal, and when the loop has been dropped. What spawning
/// says is for the callback, all of it: [`ExecCause::Spawn`]. (Node throws some of it, such as
/// `E2BIG`, so that there are two places to look.)
pub fn exec_file(
    lp: &LoopRef,
    command: &Command,
    options: &ExecOptions,
    callback: impl FnOnce(ExecOutcome) + 'static,
) -> Result<Executing> {
    run::start(lp, command, &outcome::command_line(command), options, Box::new(callback))
}
