//! A pool as users hold it, and how it is made.
//!
//! Invariants: the threads end when the last reference to their pool goes. In a forked child a pool
//! of the parent's touches nothing: another thread may have held its lock.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::WorkClass;
use super::mailbox::Job;
use super::queue::JobId;
use super::statistics::PoolStatistics;
use super::threads::Shared;
use crate::error::{Error, Result};
use crate::sys::per_process::PerProcess;
use crate::sys::{fork_mark, time};

/// Threads of a pool unless something else is asked for (libuv's number).
const THREADS: usize = 4;

/// More threads than this are not started (libuv's `MAX_THREADPOOL_SIZE`).
const MOST_THREADS: usize = 1024;

/// Bytes of a thread's stack (libuv's figure): enough for any resolver module, and only what is
/// touched costs memory.
const STACK: usize = 8 << 20;

/// How a [`ThreadPool`] is made.
///
/// ```
/// use blacklight::work::ThreadPool;
/// use blacklight::{EventLoop, Options};
///
/// let pool = ThreadPool::builder().threads(2).build()?;
/// let options = Options { thread_pool: Some(pool), ..Options::from_env()? };
/// let lp = EventLoop::with_options(options)?;
/// # drop(lp);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `build`"]
pub struct ThreadPoolBuilder {
    pub(super) threads: usize,
    pub(super) name: String,
    pub(super) stack_size: usize,
    pub(super) reserve: bool,
}

impl Default for ThreadPoolBuilder {
    fn default() -> ThreadPoolBuilder {
        ThreadPoolBuilder {
            threads: THREADS,
            name: "blacklight-work".into(),
            stack_size: STACK,
            reserve: true,
        }
    }
}

impl ThreadPoolBuilder {
    /// How many threads there may be, 1 to 1024; what is outside is moved to the nearer end. 4
    /// unless this is called.
    pub fn threads(mut self, threads: usize) -> ThreadPoolBuilder {
        self.threads = threads.clamp(1, MOST_THREADS);
        self
    }

    /// The name of the threads, of which the kernel keeps 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> ThreadPoolBuilder {
        self.name = name.into();
        self
    }

    /// The size of the threads' stacks in bytes, 8 MiB unless this is called.
    pub fn stack_size(mut self, bytes: usize) -> ThreadPoolBuilder {
        self.stack_size = bytes;
        self
    }

    /// Whether one more thread stands in reserve for operations on files, so that these are not
    /// held up when other work has all threads. On unless this is called; off is what libuv does.
    ///
    /// The thread is started when it is first needed. It works only while something else than files
    /// holds one of the pool's threads, so that files never have more threads than the pool.
    pub fn reserve_for_files(mut self, on: bool) -> ThreadPoolBuilder {
        self.reserve = on;
        self
    }

    /// Makes the pool. Its threads are started when there is work for them.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL in it, `ENOMEM`.
    pub fn build(self) -> Result<ThreadPool> {
        if self.name.contains('\0') {
            return Err(Error::EINVAL);
        }
        let mark = fork_mark::current()?;
        Ok(ThreadPool(Arc::new(Owner(Arc::new(Shared::new(self, mark))))))
    }
}

/// A pool of threads that loops give work to; cloning gives another reference.
///
/// All loops of a process use [`ThreadPool::global`] unless their
/// [`Options`](crate::Options::thread_pool) name another one. A job waits until a thread is free;
/// jobs leave the queue in the order in which they came, but for two rules about
/// [classes](super::WorkClass) of work:
///
/// - Slow work (DNS) has at most half of the threads, rounded up, as in libuv.
/// - Files are never held up by other work: when that has all threads, one more
///   [stands in reserve](ThreadPoolBuilder::reserve_for_files). libuv has no such rule; its files
///   wait for DNS and closures (libuv#28, libuv#1528).
///
/// Signals are blocked in the threads: they are for the program's own. The threads of a pool that
/// was built end when the last reference to it is gone. In a forked child a pool of the parent's
/// takes no work; [`after_fork`](crate::LoopRef::after_fork) gives a loop one with the same
/// settings.
#[derive(Clone)]
pub struct ThreadPool(Arc<Owner>);

/// Ends the threads when it is dropped.
struct Owner(Arc<Shared>);

impl ThreadPool {
    /// Begins to describe a pool of one's own.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }

    /// The pool of the process, made at first use and never ended. Each process of a line of forks
    /// has its own.
    ///
    /// It has 4 threads, or as many as the environment's `UV_THREADPOOL_SIZE` says at first use, 1
    /// to 1024. As in libuv, what is no number counts as 1.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn global() -> Result<ThreadPool> {
        static GLOBAL: PerProcess<OnceLock<ThreadPool>> = PerProcess::new();
        let global = GLOBAL.get();
        if let Some(pool) = global.get() {
            return Ok(pool.clone());
        }
        let threads = threads_from(std::env::var("UV_THREADPOOL_SIZE").ok().as_deref());
        let pool = ThreadPool::builder().threads(threads).build()?;
        // Another thread may have been first.
        Ok(global.get_or_init(|| pool).clone())
    }

    /// How many threads it may have.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shared().settings.threads
    }

    /// What it has done so far, and what it is at. All zero in a forked child.
    #[must_use]
    pub fn statistics(&self) -> PoolStatistics {
        if !self.shared().is_ours() {
            return PoolStatistics::default();
        }
        self.shared().lock().queue.statistics()
    }

    /// A pool with the same settings for this process.
    pub(super) fn renewed(&self) -> Result<ThreadPool> {
        self.shared().settings.clone().build()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Queues a job. The error, with which the job comes back, is that of starting a thread when
    /// there is none yet.
    pub(super) fn push(
        &self,
        class: WorkClass,
        job: Job,
    ) -> std::result::Result<JobId, (Error, Job)> {
        let shared = self.shared();
        if !shared.is_ours() {
            return Err((fork_mark::STALE, job));
        }
        shared.push(class, job, time::monotonic())
    }

    /// Takes a job back; `None` when a thread has it, or has done it.
    pub(super) fn remove(&self, id: JobId) -> Option<Job> {
        let shared = self.shared();
        if shared.is_ours() { shared.lock().queue.remove(id) } else { None }
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl PartialEq for ThreadPool {
    /// Whether both are references to one pool.
    fn eq(&self, other: &ThreadPool) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ThreadPool {}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.0.is_ours() {
            return;
        }
        // What waits belongs to loops that are gone.
        drop(self.0.close());
    }
}

/// What `UV_THREADPOOL_SIZE` asks for.
fn threads_from(value: Option<&str>) -> usize {
    let Some(value) = value else { return THREADS };
    let digits = value.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match digits[..end].parse::<usize>() {
        Ok(threads) => threads.clamp(1, MOST_THREADS),
        // No digits, or more than fit a number.
        Err(_) if end == 0 => 1,
        Err(_) => MOST_THREADS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_in_the_environment_is_kept_within_libuv_s_limits() {
        let cases = [
            (None, 4),
            (Some("7"), 7),
            (Some(" 12threads"), 12),
            (Some("0"), 1),
            (Some("many"), 1),
            (Some(""), 1),
            (Some("1025"), 1024),
            (Some("99999999999999999999999"), 1024),
        ];
        for (value, threads) in cases {
            assert_eq!(threads_from(value), threads, "{value:?}");
        }
    }
}
