//! How a call of `spawn_sync` went: what Node's result object has.

use std::ffi::OsString;
use std::fmt;

use crate::{Command, Error, SpawnStep};

/// What became of a child: the result of [`spawn_sync`](super::spawn_sync).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SyncResult {
    /// The child's pid; 0 when there was none.
    pub pid: i32,
    /// The exit code; `None` when a signal killed the child, or there was none.
    pub status: Option<i32>,
    /// The number of the signal that killed the child. (Node has a name, which real-time signals
    /// have not: they are `''` there.)
    pub signal: Option<i32>,
    /// What the child wrote, by slot; `None` for slots that were not collected. Empty when there
    /// was no child.
    pub output: Vec<Option<Vec<u8>>>,
    /// The first thing that went wrong. A child that fails is nothing wrong.
    pub error: Option<SyncError>,
}

impl SyncResult {
    /// Whether there was no error, and the child exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.error.is_none() && self.status == Some(0)
    }

    /// What was collected from slot 1.
    #[must_use]
    pub fn stdout(&self) -> Option<&[u8]> {
        self.slot(1)
    }

    /// What was collected from slot 2.
    #[must_use]
    pub fn stderr(&self) -> Option<&[u8]> {
        self.slot(2)
    }

    fn slot(&self, number: usize) -> Option<&[u8]> {
        self.output.get(number)?.as_deref()
    }
}

/// What went wrong in a call of [`spawn_sync`](super::spawn_sync).
///
/// ```
/// use blacklight::{Command, Error, SpawnStep};
/// use blacklight::child_process::{SyncOptions, spawn_sync};
///
/// let result = spawn_sync(Command::new("true").current_dir("/no/such"), &SyncOptions::new());
/// let error = result.error.unwrap();
/// // Node blames the program; the step tells what it was.
/// assert_eq!(error.to_string(), "spawnSync true ENOENT");
/// assert_eq!((error.code, error.step), (Error::ENOENT, Some(SpawnStep::Chdir)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncError {
    /// The error itself.
    pub code: Error,
    /// The step that failed, of a child that could not be spawned.
    pub step: Option<SpawnStep>,
    /// The program.
    pub path: OsString,
    /// Its arguments, without the zeroth.
    pub spawnargs: Vec<OsString>,
}

impl SyncError {
    pub(super) fn new(command: &Command, code: Error, step: Option<SpawnStep>) -> SyncError {
        SyncError {
            code,
            step,
            path: command.get_program().to_owned(),
            spawnargs: command.get_args().map(ToOwned::to_owned).collect(),
        }
    }

    /// What Node names as the call that failed: `spawnSync` and the program.
    #[must_use]
    pub fn syscall(&self) -> String {
        format!("spawnSync {}", self.path.to_string_lossy())
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spawnSync {} {}", self.path.to_string_lossy(), self.code.name())
    }
}

impl std::error::Error for SyncError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.code)
    }
}
