//! What the callback of `exec` is given: the output, and why the command counts as failed.

use std::ffi::OsString;
use std::fmt;

use crate::{Command, Error, SpawnError};

/// What became of a command: its output, whole or as far as it went, and the error if it failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExecOutcome {
    /// What the child wrote to slot 1.
    pub stdout: Vec<u8>,
    /// What the child wrote to slot 2.
    pub stderr: Vec<u8>,
    /// Why the command counts as failed; `None` when it exited with 0 and kept to the limits.
    pub error: Option<ExecError>,
}

/// Why a command counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecCause {
    /// It exited with another code than 0, or a signal killed it, perhaps ours.
    Failed,
    /// It wrote more than was asked for: to `"stdout"` or `"stderr"`
    /// (`ERR_CHILD_PROCESS_STDIO_MAXBUFFER`).
    MaxBuffer(&'static str),
    /// It was aborted (`ABORT_ERR`). It has been sent the kill signal and may be running still.
    Aborted,
    /// It could not be spawned.
    Spawn(SpawnError),
    /// It could not be killed, and is running still.
    Kill(Error),
    /// One of its outputs could not be read to the end.
    Read(Error),
}

/// The failure of a command.
///
/// It prints as Node's message: `Command failed:`, the command and what it wrote to its stderr; or
/// what else there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecError {
    /// Why.
    pub cause: ExecCause,
    /// The command line, or the program and its arguments with blanks between.
    pub cmd: OsString,
    /// Whether it was sent the kill signal for a limit it reached or for being aborted. (In Node
    /// this, `status` and `signal` are known of [`ExecCause::Failed`] alone.)
    pub killed: bool,
    /// The exit code, if it has exited. (In Node it is the `code`.)
    pub status: Option<i32>,
    /// The number of the signal that killed it, if one has.
    pub signal: Option<i32>,
    pub(super) message: String,
}

impl ExecError {
    /// Node's `code` where that is a word: `ENOENT`, `ERR_CHILD_PROCESS_STDIO_MAXBUFFER`,
    /// `ABORT_ERR`; `None` where it is the [status](ExecError::status).
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self.cause {
            ExecCause::Failed => None,
            ExecCause::MaxBuffer(_) => Some("ERR_CHILD_PROCESS_STDIO_MAXBUFFER"),
            ExecCause::Aborted => Some("ABORT_ERR"),
            ExecCause::Spawn(error) => Some(error.error().name()),
            ExecCause::Kill(error) | ExecCause::Read(error) => Some(error.name()),
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            ExecCause::Spawn(error) => Some(error),
            ExecCause::Kill(error) | ExecCause::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// The program and its arguments with blanks between: what Node calls `cmd`.
pub(super) fn command_line(command: &Command) -> OsString {
    let mut line = command.get_program().to_owned();
    for arg in command.get_args() {
        line.push(" ");
        line.push(arg);
    }
    line
}

/// Node's message for a command that failed by itself.
pub(super) fn failed(cmd: &std::ffi::OsStr, stderr: &[u8]) -> String {
    format!("Command failed: {}\n{}", cmd.to_string_lossy(), String::from_utf8_lossy(stderr))
}
