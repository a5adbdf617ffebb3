//! What the loop counts while it runs. Counting costs no system call and no lock.

use std::cell::Cell;
use std::time::Duration;

use crate::process::SpawnPath;

/// What a loop has done so far (libuv's `uv_metrics_t`, and more).
///
/// ```
/// use blacklight::{EventLoop, RunMode, Timer};
///
/// let lp = EventLoop::new()?;
/// let timer = Timer::new(&lp)?;
/// timer.start(0, 0, |_| {})?;
/// lp.run(RunMode::Default)?;
/// assert_eq!(lp.metrics().callbacks, 1);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop (libuv's `loop_count`).
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Those among them that were waiting when the loop asked without being ready to sleep.
    pub events_waiting: u64,
    /// Events dropped because their watcher was gone when their turn came.
    pub stale_events: u64,
    /// Closures of the user's that were called.
    pub callbacks: u64,
    /// Time spent waiting in the kernel; zero unless [`Options::metrics_idle_time`] asks for it.
    ///
    /// [`Options::metrics_idle_time`]: crate::Options::metrics_idle_time
    pub idle_time: Duration,
    /// Children made with the parent's memory shared until exec.
    pub spawned_shared_memory: u64,
    /// Children made with vfork's suspension and memory of their own.
    pub spawned_vfork_page: u64,
    /// Children made with fork(2).
    pub spawned_fork: u64,
    /// Fallbacks taken while spawning: a facility was missing, or refused.
    pub spawn_fallbacks: u64,
    /// Children that could not be given a pidfd and are reaped after SIGCHLD.
    pub pidfd_fallbacks: u64,
    /// Requests that were given to the thread pool.
    pub requests_to_pool: u64,
    /// Requests that were given to the kernel through io_uring(7).
    pub requests_to_ring: u64,
}

/// The cells behind [`Metrics`]; what counts in every turn has one of its own.
#[derive(Default)]
pub(crate) struct Counters {
    turns: Cell<u64>,
    events: Cell<u64>,
    callbacks: Cell<u64>,
    others: Cell<Metrics>,
}

impl Counters {
    pub(crate) fn get(&self) -> Metrics {
        let (turns, events, callbacks) =
            (self.turns.get(), self.events.get(), self.callbacks.get());
        Metrics { turns, events, callbacks, ..self.others.get() }
    }

    fn update(&self, change: impl FnOnce(&mut Metrics)) {
        let mut metrics = self.others.get();
        change(&mut metrics);
        self.others.set(metrics);
    }

    pub(crate) fn turn(&self) {
        self.turns.set(self.turns.get() + 1);
    }

    pub(crate) fn fetched(&self, events: usize) {
        self.events.set(self.events.get() + events as u64);
    }

    #[inline(never)]
    pub(crate) fn waiting(&self, events: usize) {
        self.update(|m| m.events_waiting += events as u64);
    }

    #[cold]
    pub(crate) fn stale(&self) {
        self.update(|m| m.stale_events += 1);
    }

    pub(crate) fn callback(&self) {
        self.callbacks.set(self.callbacks.get() + 1);
    }

    pub(crate) fn idle(&self, nanoseconds: u64) {
        self.update(|m| m.idle_time += Duration::from_nanos(nanoseconds));
    }

    pub(crate) fn spawned(&self, path: SpawnPath, fallbacks: u32) {
        self.update(|m| {
            match path {
                SpawnPath::SharedMemory | SpawnPath::Auto => m.spawned_shared_memory += 1,
                SpawnPath::VforkPage => m.spawned_vfork_page += 1,
                SpawnPath::Fork => m.spawned_fork += 1,
            }
            m.spawn_fallbacks += u64::from(fallbacks);
        });
    }

    pub(crate) fn request(&self, to_ring: bool) {
        self.update(|m| {
            if to_ring {
                m.requests_to_ring += 1;
            } else {
                m.requests_to_pool += 1;
            }
        });
    }

    pub(crate) fn pidfd_fallback(&self) {
        self.update(|m| m.pidfd_fallbacks += 1);
    }
}
