//! How a child tells its parent what became of it: a slot of five words that both can see.
//!
//! Invariant: the step is written last and is never zero, so a parent that finds zero knows that no
//! error was reported, and one that finds a step finds its details too. On the fork path, where no
//! memory is shared, three of the words travel through a pipe in one write.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::Fallbacks;
use crate::error::Error;
use crate::process::{SpawnError, SpawnStep};

/// A step that failed, with the positive errno: what the child's functions return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: SpawnStep,
    pub(super) errno: c_int,
}

impl Failure {
    pub(super) fn at(step: SpawnStep) -> impl FnOnce(c_int) -> Failure {
        move |errno| Failure { step, errno }
    }
}

impl From<(SpawnStep, c_int)> for Failure {
    fn from((step, errno): (SpawnStep, c_int)) -> Failure {
        Failure { step, errno }
    }
}

impl From<Failure> for SpawnError {
    fn from(failure: Failure) -> SpawnError {
        SpawnError::new(failure.step, Error::from_errno(failure.errno))
    }
}

/// What travels through the signal pipe: code, number, errno.
pub(super) type Wire = [u32; 3];

/// The slot. Atomics, because to the compiler the child is another thread.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Status {
    started: AtomicU32,
    finished: AtomicU32,
    step: AtomicU32,
    number: AtomicU32,
    errno: AtomicI32,
    fallbacks: AtomicU32,
}

impl Status {
    /// Before a clone.
    pub(super) fn clear(&self) {
        for word in [&self.started, &self.finished, &self.step, &self.number, &self.fallbacks] {
            word.store(0, Ordering::Relaxed);
        }
        self.errno.store(0, Ordering::Relaxed);
    }

    /// The child's first act.
    pub(super) fn start(&self) {
        self.started.store(1, Ordering::Release);
    }

    pub(super) fn started(&self) -> bool {
        self.started.load(Ordering::Acquire) != 0
    }

    /// The last act of a probe's child.
    pub(super) fn finish(&self) {
        self.finished.store(1, Ordering::Release);
    }

    pub(super) fn finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) != 0
    }

    /// The child took a way round something the kernel does not have.
    pub(super) fn note(&self, fallback: Fallbacks) {
        self.fallbacks.fetch_or(fallback.bits(), Ordering::Relaxed);
    }

    pub(super) fn noted(&self) -> Fallbacks {
        Fallbacks::from_bits_truncate(self.fallbacks.load(Ordering::Relaxed))
    }

    pub(super) fn fail(&self, failure: Failure) {
        let (code, number) = failure.step.encode();
        self.number.store(number, Ordering::Relaxed);
        self.errno.store(failure.errno, Ordering::Relaxed);
        self.step.store(code, Ordering::Release);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let code = self.step.load(Ordering::Acquire);
        let step = SpawnStep::decode(code, self.number.load(Ordering::Relaxed))?;
        Some(Failure { step, errno: self.errno.load(Ordering::Relaxed) })
    }
}

pub(super) fn to_wire(failure: Failure) -> Wire {
    let (code, number) = failure.step.encode();
    [code, number, failure.errno as u32]
}

pub(super) fn from_wire([code, number, errno]: Wire) -> Option<Failure> {
    Some(Failure { step: SpawnStep::decode(code, number)?, errno: errno as c_int })
}
