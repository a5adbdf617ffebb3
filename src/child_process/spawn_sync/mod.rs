//! `spawn_sync`: a child from its start to its end in one call, as Node's `spawnSync`.
//!
//! A call makes a loop of its own, so that nothing of another loop of the thread runs meanwhile and
//! the call works in its callbacks too. Invariant: when it returns, the child has been waited for
//! and every descriptor that the call made is closed.
//!
//! `options` says what to do, `runner` does it, `result` tells how it went.

mod options;
mod result;
mod runner;

pub use options::{SyncOptions, SyncStdio};
pub use result::{SyncError, SyncResult};

use crate::Command;

/// Runs a child to its end: writes its input, collects its output, and waits for it.
///
/// The slots of the child are those of the options: 0 to 2 are connected to the call unless
/// [`SyncOptions::stdio`] says otherwise, whatever the command has there (a `Command` inherits
/// them); slots beyond are the command's where the options say nothing. New connections are socket
/// pairs, as Node makes them: so many bytes of input fit that a child that does not read is not
/// noticed by a call that gives it little, and the numbers are those of Node's.
///
/// The call waits until the child has ended **and** the other end of every connection is closed, so
/// a process that the child has left behind with its stdout holds the call up. The timeout and
/// the limit of the output end that too: the child is sent the kill signal, the connections are
/// closed at once, and the call waits for the child alone. It returns when the child has died,
/// however long that takes: the error and the child's own exit status are both in the result.
///
/// The loop of the call is as the environment wants it ([`Options::from_env`]). It may be called
/// anywhere: beside a loop that runs on the same thread, whose callbacks wait meanwhile, on several
/// threads, with SIGCHLD blocked or handled by somebody else.
///
/// # Errors
/// They are in [`SyncResult::error`], the first one only; those of the child's connections
/// (`EPIPE`) are told only if there is no other:
///
/// - what [`Command::spawn`] says, with its step; then there was no child: its pid is 0, and it
///   has neither status nor output;
/// - `ETIMEDOUT` and `ENOBUFS`: the time or the room for output was over;
/// - `EPIPE`: the child has not read all of its input;
/// - `ECHILD`: somebody else has waited for the child, and nothing is known of its end;
/// - `EMFILE` and the like, when there is nothing to make the call's own loop of. (Node aborts.)
///
/// Arguments that Node refuses with an exception of its own, such as a program's name with a NUL
/// byte, are errors of the spawn here: `EINVAL`.
///
/// ```
/// use blacklight::Command;
/// use blacklight::child_process::{SyncOptions, spawn_sync};
///
/// let result = spawn_sync(
///     Command::new("tr").args(["a-z", "A-Z"]),
///     SyncOptions::new().input("what was said").timeout(10_000),
/// );
/// assert_eq!(result.error, None);
/// assert_eq!(result.status, Some(0));
/// assert_eq!(result.stdout(), Some(b"WHAT WAS SAID".as_slice()));
///
/// let result = spawn_sync(&Command::new("/no/such/program"), &SyncOptions::new());
/// assert_eq!(result.error.unwrap().to_string(), "spawnSync /no/such/program ENOENT");
/// ```
///
/// [`Options::from_env`]: crate::Options::from_env
#[must_use]
pub fn spawn_sync(command: &Command, options: &SyncOptions) -> SyncResult {
    match runner::run(command, options) {
        Ok(ended) => {
            let error = ended.error.map(|code| SyncError::new(command, code, None));
            SyncResult {
                pid: ended.pid,
                status: ended.exit.and_then(|exit| exit.code()),
                signal: ended.exit.and_then(|exit| exit.signal()),
                output: ended.output,
                error,
            }
        }
        Err((code, step)) => {
            SyncResult { error: Some(SyncError::new(command, code, step)), ..SyncResult::default() }
        }
    }
}
