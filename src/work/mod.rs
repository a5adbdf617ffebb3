//! Work for other threads: the pool, its queue, and how results come back to a loop.
//!
//! [Files](crate::fs), [names](crate::dns), [random bytes](crate::random) and the closures of
//! [`LoopRef::queue_work`] share the pool's threads. Invariant: a request that was accepted is
//! completed exactly once on its loop's thread, with what its work came to or with `ECANCELED`, unless
//! the loop is dropped first.

mod mailbox;
mod operation;
mod pool;
mod queue;
mod request;
mod requests;
mod statistics;
mod task;
mod threads;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use operation::Operation;
pub use pool::{ThreadPool, ThreadPoolBuilder};
pub use request::{Request, RequestKind};
pub(crate) use requests::Requests;
use requests::submit;
pub use statistics::{ClassStatistics, PoolStatistics};
pub(crate) use task::Go;
use task::{Now, Work};

use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::worker::WorkerPanic;

/// What kind of work it is; each has its own rule in a [`ThreadPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkClass {
    /// Closures of [`LoopRef::queue_work`], and random bytes.
    User,
    /// Operations on files.
    File,
    /// What waits for the network: looking names up.
    Slow,
}

impl WorkClass {
    pub(crate) const ALL: [WorkClass; 3] = [WorkClass::User, WorkClass::File, WorkClass::Slow];

    pub(crate) const fn index(self) -> usize {
        match self {
            WorkClass::User => 0,
            WorkClass::File => 1,
            WorkClass::Slow => 2,
        }
    }
}

/// Why [`LoopRef::queue_work`] has no result.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkError {
    /// It was cancelled before it began (`ECANCELED`).
    Canceled,
    /// The closure panicked. The pool's thread goes on with other work.
    Panicked(WorkerPanic),
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkError::Canceled => Error::ECANCELED.fmt(f),
            WorkError::Panicked(panic) => write!(f, "work panicked: {}", panic.message()),
        }
    }
}

impl std::error::Error for WorkError {}

impl LoopRef {
    /// Has `work` done by a thread of the pool, and then calls `done` on the loop with what it
    /// returned (`uv_queue_work`).
    ///
    /// Results come in the order in which works end. A panic of `work` is a result too; libuv has
    /// no such case. The loop stays alive for it. If the loop is dropped first, `done` is dropped
    /// uncalled; work that has begun goes on, nobody waits for it, and what it returns is dropped
    /// on the pool's thread (libuv refuses to close such a loop).
    ///
    /// ```
    /// use blacklight::{EventLoop, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// lp.queue_work(
    ///     || (1..=20u64).product::<u64>(),
    ///     |product| assert_eq!(product.expect("not cancelled"), 2_432_902_008_176_640_000),
    /// )?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child, `EAGAIN` when not even
    /// one thread can be had; `EMFILE`, `ENFILE` or `ENOMEM` from eventfd(2).
    pub fn queue_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, WorkError>) + 'static,
    ) -> Result<Request> {
        self.inner().usable()?;
        let call = |work: _, go: Go| match go {
            Go::Run(_) => catch_unwind(AssertUnwindSafe(work))
                .map_err(|payload| WorkError::Panicked(WorkerPanic::new(payload))),
            Go::Fail(_) | Go::Ended(_) => Err(WorkError::Canceled),
        };
        let block = Box::new(Now::Work(Work { state: work, submission: (), call }));
        submit(self, RequestKind::Work, WorkClass::User, block, done)
    }

    /// The pool that works for this loop: that of its options, else [`ThreadPool::global`].
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child, `ENOMEM`.
    pub fn thread_pool(&self) -> Result<ThreadPool> {
        self.inner().usable()?;
        self.inner().works.pool(self.inner())
    }
}
