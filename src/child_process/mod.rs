//! Node's `child_process` on the loop's handles.
//!
//! [`spawn_sync`] runs a child to its end and returns what it said; [`exec`] and [`exec_file`] do so
//! on a loop and call back; [`exec_sync`] and [`exec_file_sync`] make a failure of the child an
//! error. The names and rules are Node's; each item says where it differs.

mod exec;
mod spawn_sync;

pub use exec::{
    ExecCause, ExecError, ExecOptions, ExecOutcome, ExecSyncError, Executing, Shell, exec,
    exec_file, exec_file_sync, exec_sync,
};
pub use spawn_sync::{SyncError, SyncOptions, SyncResult, SyncStdio, spawn_sync};
