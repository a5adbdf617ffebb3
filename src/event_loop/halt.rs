//! Stopping a loop for good: from any thread, and between two callbacks.
//!
//! [`LoopRef::stop`](super::LoopRef::stop) ends `run` with the turn, as `uv_stop` does, and what is
//! due in the turn is still called. A runtime that ends (`process.exit` in Node) cannot have that:
//! not one callback more may run. Invariant: whoever is about to call back asks
//! [`LoopInner::is_halted`](super::LoopInner::is_halted) first, in each loop over several callbacks,
//! and a halted loop stays so. Rejected: unwinding out of the callback, which may have frames of
//! another language above it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::wake::Waker;

/// Whether a loop is halted; shared with its [`Halter`]s.
///
/// The flag carries no data, so relaxed is enough where the loop asks between callbacks. Where it
/// is about to wait, the eventfd, which is rung after the flag is set, makes the wait return.
#[derive(Debug, Clone, Default)]
pub(crate) struct HaltFlag(Arc<AtomicBool>);

impl HaltFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Halts a loop from any thread; made by [`LoopRef::halter`](crate::LoopRef::halter).
///
/// libuv has no such thing: `uv_stop` belongs to the loop's thread and lets the turn end.
#[derive(Debug, Clone)]
pub struct Halter {
    flag: HaltFlag,
    waker: Waker,
}

impl Halter {
    pub(crate) fn new(flag: HaltFlag, waker: Waker) -> Halter {
        Halter { flag, waker }
    }

    /// Makes `run` return as soon as the callback that is running returns, or at once when the loop
    /// waits for events, and every later `run` at once.
    ///
    /// No other callback of the loop is called, not even one that is due in the same turn; to end
    /// its handles, drop the loop. A second call does nothing. This may be called from a signal
    /// handler, and also when the loop is gone.
    pub fn halt(&self) {
        self.flag.set();
        self.waker.wake();
    }

    /// Whether this or another halter of the loop, or the loop itself, has done so. For callbacks
    /// that take long.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.flag.is_set()
    }
}
