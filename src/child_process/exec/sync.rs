//! `exec_sync` and `exec_file_sync`: `spawn_sync`, with a child that fails taken for an error.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;

use super::outcome::{command_line, failed};
use super::shell::Shell;
use crate::Command;
use crate::child_process::{SyncError, SyncOptions, SyncResult, spawn_sync};

/// Runs a command line in a shell and returns what it wrote to its stdout.
///
/// As [`exec_file_sync`] in all but the shell.
///
/// ```
/// use blacklight::child_process::{SyncOptions, SyncStdio, exec_sync};
///
/// assert_eq!(exec_sync("echo $((6 * 7))", &SyncOptions::new())?, b"42\n");
///
/// let quiet = SyncOptions::new().stdio(2, SyncStdio::Pipe).clone();
/// let error = exec_sync("echo no >&2; exit 1", &quiet).unwrap_err();
/// assert_eq!(error.to_string(), "Command failed: echo no >&2; exit 1\nno\n");
/// assert_eq!(error.result().status, Some(1));
/// # Ok::<(), blacklight::child_process::ExecSyncError>(())
/// ```
///
/// # Errors
/// As [`exec_file_sync`].
pub fn exec_sync(
    command: impl Into<Shell>,
    options: &SyncOptions,
) -> Result<Vec<u8>, ExecSyncError> {
    let shell = command.into();
    run(shell.as_command(), shell.text(), options)
}

/// Runs a program and returns what it wrote to its stdout.
///
/// What it wrote to its stderr is written to that of this process when it has ended, unless a slot
/// was set with [`SyncOptions::stdio`]: Node's rule. If stdout is not collected, nothing is returned.
///
/// # Errors
/// Every error of [`spawn_sync`], and the child's own: an exit code other than 0, a signal that
/// killed it. The whole result is in the error.
pub fn exec_file_sync(command: &Command, options: &SyncOptions) -> Result<Vec<u8>, ExecSyncError> {
    run(command, &command_line(command), options)
}

fn run(command: &Command, cmd: &OsStr, options: &SyncOptions) -> Result<Vec<u8>, ExecSyncError> {
    let mut result = spawn_sync(command, options);
    if !options.has_stdio()
        && let Some(stderr) = result.stderr()
    {
        // A process without a stderr does not want to hear of it.
        let _unheard = std::io::stderr().write_all(stderr);
    }
    if result.success() {
        return Ok(result.output.get_mut(1).and_then(Option::take).unwrap_or_default());
    }
    Err(ExecSyncError(Box::new((cmd.to_owned(), result))))
}

/// Why [`exec_sync`] or [`exec_file_sync`] has nothing to return.
///
/// It prints as Node's message: that of the error of the call if there is one, else `Command
/// failed:`, the command, and what it wrote to its stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSyncError(Box<(OsString, SyncResult)>);

impl ExecSyncError {
    /// The command line, or the program and its arguments with blanks between.
    #[must_use]
    pub fn cmd(&self) -> &OsStr {
        &self.0.0
    }

    /// What became of the child.
    #[must_use]
    pub fn result(&self) -> &SyncResult {
        &self.0.1
    }

    /// The result, for its output.
    #[must_use]
    pub fn into_result(self) -> SyncResult {
        self.0.1
    }

    /// The error of the call; `None` when it is the child that failed.
    #[must_use]
    pub fn sync_error(&self) -> Option<&SyncError> {
        self.result().error.as_ref()
    }
}

impl fmt::Display for ExecSyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sync_error(), self.result().stderr()) {
            (Some(error), _) => error.fmt(f),
            (None, Some(stderr)) if !stderr.is_empty() => f.write_str(&failed(self.cmd(), stderr)),
            (None, _) => write!(f, "Command failed: {}", self.cmd().to_string_lossy()),
        }
    }
}

impl std::error::Error for ExecSyncError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.sync_error().map(|error| error as _)
    }
}
