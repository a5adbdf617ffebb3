//! What a turn has to look at beyond timers and the events of handles.
//!
//! Most turns of a busy server have nothing of the kind, and asking a dozen queues and sources each
//! time costs more than reading from a socket does in this process. So whoever puts something in
//! says so here, and a turn asks once. Invariant: a bit may be set for nothing, but is never clear
//! while there is something; only the end of a turn clears bits, having looked at everything, and
//! a round of the pending phase its own; a wake-up, too, that has asked all sources.

use std::cell::Cell;

/// A queue of handles has, or had, somebody on it.
const QUEUED: u8 = 1;

/// Signals, wake-ups, requests, events of files, exits, children to look at.
const ERRANDS: u8 = 2;

/// The queue of those with completed requests has, or had, somebody on it. It is asked for apart
/// from the others, because a turn in which writes are completed has nothing else for them.
const PENDING: u8 = 4;

#[derive(Debug, Default)]
pub(crate) struct Chores(Cell<u8>);

impl Chores {
    /// A handle has joined a queue.
    pub(crate) fn add_queued(&self) {
        self.0.set(self.0.get() | QUEUED);
    }

    /// A handle has joined the queue of those with completed requests.
    pub(crate) fn add_pending(&self) {
        self.0.set(self.0.get() | PENDING);
    }

    /// A source other than queues, timers and events has something to do, or must be asked.
    pub(crate) fn add_errand(&self) {
        self.0.set(self.0.get() | ERRANDS);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.get() == 0
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.0.get() & (QUEUED | PENDING) != 0
    }

    pub(crate) fn has_errands(&self) -> bool {
        self.0.get() & ERRANDS != 0
    }

    /// Whether nothing can be there but completed requests.
    pub(crate) fn has_only_pending(&self) -> bool {
        self.0.get() == PENDING
    }

    /// There are no completed requests.
    pub(crate) fn clear_pending(&self) {
        self.0.set(self.0.get() & !PENDING);
    }

    /// No source has anything to do, and none must be asked.
    pub(crate) fn clear_errands(&self) {
        self.0.set(self.0.get() & !ERRANDS);
    }

    /// Everything has been looked at, and this is left.
    pub(crate) fn settle(&self, queued: bool, errands: bool) {
        self.0.set(if queued { QUEUED } else { 0 } | if errands { ERRANDS } else { 0 });
    }
}
