//! What `spawn_sync` is told beside the command: input, limits, slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Stdio;

/// Bytes of output that are collected unless more are asked for: 1 MiB, as in Node.
const MAX_BUFFER: usize = 1024 * 1024;

/// What fills a slot of a child of [`spawn_sync`](super::spawn_sync).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SyncStdio {
    /// A connection to the call (Node's `'pipe'`): the child reads [`SyncOptions::input`] from slot
    /// 0, and what it writes to others is collected.
    Pipe,
    /// A connection from which the child reads these bytes, in whatever slot. (Node has this inside
    /// only.)
    Input(Arc<[u8]>),
    /// `/dev/null` in slots 0 to 2, nothing in others (Node's `'ignore'`).
    Ignore,
    /// The descriptor of that number in this process (Node's `'inherit'`).
    Inherit,
    /// Whatever a [`Command`](crate::Command) can have in a slot.
    Stdio(Stdio),
    /// What the command has in that slot already.
    AsCommand,
}

impl From<Stdio> for SyncStdio {
    fn from(stdio: Stdio) -> SyncStdio {
        SyncStdio::Stdio(stdio)
    }
}

/// How [`spawn_sync`](super::spawn_sync) runs a child; the names are Node's.
///
/// ```
/// use blacklight::Command;
/// use blacklight::child_process::{SyncOptions, SyncStdio, spawn_sync};
///
/// let mut options = SyncOptions::new();
/// options.stdio(0, SyncStdio::Ignore).stdio(3, SyncStdio::Pipe).max_buffer(100);
/// let result = spawn_sync(Command::new("sh").args(["-c", "echo three >&3"]), &options);
/// assert_eq!(result.output[3].as_deref(), Some(b"three\n".as_slice()));
/// ```
#[derive(Debug, Clone)]
pub struct SyncOptions {
    pub(super) input: Arc<[u8]>,
    pub(super) timeout: u64,
    pub(super) kill_signal: i32,
    pub(super) max_buffer: usize,
    pub(super) slots: BTreeMap<u32, SyncStdio>,
    slots_given: bool,
}

impl Default for SyncOptions {
    fn default() -> SyncOptions {
        SyncOptions::new()
    }
}

impl SyncOptions {
    /// No input, no timeout, 1 MiB of output, connections in slots 0 to 2.
    #[must_use]
    pub fn new() -> SyncOptions {
        SyncOptions {
            input: Arc::default(),
            timeout: 0,
            kill_signal: libc::SIGTERM,
            max_buffer: MAX_BUFFER,
            slots: (0..3).map(|slot| (slot, SyncStdio::Pipe)).collect(),
            slots_given: false,
        }
    }

    /// What the child reads from slot 0 before the end, if that is a [`SyncStdio::Pipe`]; it is
    /// not used otherwise.
    pub fn input(&mut self, bytes: impl AsRef<[u8]>) -> &mut SyncOptions {
        self.input = bytes.as_ref().into();
        self
    }

    /// Milliseconds until the child is sent the kill signal, counted from before it is spawned; 0
    /// for ever, as it is unless set.
    ///
    /// It also ends the wait for those who hold connections of a child that has ended; then no
    /// signal is sent, and the child's status comes with the error.
    pub fn timeout(&mut self, milliseconds: u64) -> &mut SyncOptions {
        self.timeout = milliseconds;
        self
    }

    /// The signal that ends the child when a limit is reached; SIGTERM unless set.
    ///
    /// It is sent once. If it cannot be, being no signal or not permitted, SIGKILL is tried; a
    /// signal that the child survives is not followed by another. The number 0, which is no signal,
    /// counts as one that cannot be sent. (Node refuses numbers without a name from the start, those
    /// of real-time signals among them.)
    pub fn kill_signal(&mut self, signum: i32) -> &mut SyncOptions {
        self.kill_signal = signum;
        self
    }

    /// Bytes that all collected slots together may have, 1 MiB unless set; 0 for any number.
    ///
    /// When there are more, the child is killed. The bytes that were too many are in the result,
    /// which is Node's rule for this call alone: the whole of the last read, of at most 64 KiB.
    pub fn max_buffer(&mut self, bytes: usize) -> &mut SyncOptions {
        self.max_buffer = bytes;
        self
    }

    /// Fills a slot: the descriptor that has this number in the child. There may be gaps, and the
    /// slots behind one stay where they are. (Node's move down by one for a string in the array.)
    /// One beyond 2²⁰, where no descriptor can be, is an `EBADF` error of the call.
    pub fn stdio(&mut self, slot: u32, stdio: impl Into<SyncStdio>) -> &mut SyncOptions {
        self.slots.insert(slot, stdio.into());
        self.slots_given = true;
        self
    }

    /// Whether any slot was set, which is when `exec_sync` does not show what the child complains
    /// of.
    pub(in crate::child_process) fn has_stdio(&self) -> bool {
        self.slots_given
    }
}
