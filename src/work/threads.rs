//! The threads of a pool: how they get work, sleep without it, and are woken.
//!
//! Invariants: no code of the user's runs, and none of it is dropped, under the pool's lock. A
//! thread refers to what it shares with the pool, not to the pool. A thread goes to sleep only when
//! there is nothing that it may take, and is on the list of sleepers exactly while nobody has called
//! it: so there is one call for a job, for somebody who sleeps, and after the lock has been let go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::WorkClass;
use super::mailbox::Job;
use super::pool::ThreadPoolBuilder;
use super::queue::{JobId, Queue};
use crate::error::{Error, Result};
use crate::sys::{fork_mark, sigmask, time};

/// The thread in reserve for files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserve {
    None,
    Waiting,
    Working,
}

pub(super) struct State {
    pub(super) queue: Queue,
    /// Who went to sleep last is called first: its stack and its processor's caches are warm still.
    asleep: Vec<Arc<Sleeper>>,
    reserve: Reserve,
    closing: bool,
}

/// One of the pool's threads, as who wakes it knows it.
struct Sleeper {
    thread: Thread,
    /// Works may park the thread and be unparked themselves, so that it must be said who is meant.
    called: AtomicBool,
}

impl Sleeper {
    fn of_this_thread() -> Arc<Sleeper> {
        Arc::new(Sleeper { thread: std::thread::current(), called: AtomicBool::new(false) })
    }

    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Returns when it has been called.
    fn sleep(&self) {
        while !self.called.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// What the threads and the pool share.
pub(super) struct Shared {
    pub(super) settings: ThreadPoolBuilder,
    mark: u32,
    state: Mutex<State>,
    /// Wakes the thread in reserve.
    for_reserve: Condvar,
}

impl Shared {
    pub(super) fn new(settings: ThreadPoolBuilder, mark: u32) -> Shared {
        let state = Mutex::new(State {
            queue: Queue::new(settings.threads),
            asleep: Vec::new(),
            reserve: Reserve::None,
            closing: false,
        });
        Shared { settings, mark, state, for_reserve: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_ours(&self) -> bool {
        fork_mark::is_current(self.mark)
    }

    /// Queues a job, and sees to it that a thread comes for it.
    pub(super) fn push(
        self: &Arc<Self>,
        class: WorkClass,
        job: Job,
        now: u64,
    ) -> std::result::Result<JobId, (Error, Job)> {
        let mut state = self.lock();
        let id = state.queue.push(class, job, now);
        let mut sleeper = None;
        if state.queue.wants_another(state.asleep.len()) {
            sleeper = state.asleep.pop();
            if sleeper.is_none()
                && let Err(error) = self.add_thread(&mut state)
                && let Some(job) = state.queue.remove(id)
            {
                return Err((error, job));
            }
        }
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.call();
        }
        Ok(id)
    }

    /// Nobody sleeps and somebody is wanted. The error is that of the very first thread.
    #[inline(never)]
    fn add_thread(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.queue.wants_thread() {
            match self.start(Shared::work) {
                Ok(()) => {
                    state.queue.threads += 1;
                    state.queue.free += 1;
                }
                Err(error) if state.queue.threads == 0 => return Err(error),
                // The threads that there are will have to do.
                Err(_) => {}
            }
        }
        self.call_reserve(state);
        Ok(())
    }

    /// Ends the threads, once they are at rest; what waited is returned.
    pub(super) fn close(&self) -> Vec<Job> {
        let (rest, asleep) = {
            let mut state = self.lock();
            state.closing = true;
            (state.queue.clear(), std::mem::take(&mut state.asleep))
        };
        asleep.iter().for_each(|sleeper| sleeper.call());
        self.for_reserve.notify_all();
        rest
    }

    fn call_reserve(self: &Arc<Self>, state: &mut State) {
        if !self.settings.reserve || !state.queue.wants_reserve() {
            return;
        }
        match state.reserve {
            // If it cannot be had now, the next occasion will ask again.
            Reserve::None if self.start(Shared::work_in_reserve).is_ok() => {
                state.reserve = Reserve::Waiting;
            }
            Reserve::Waiting => self.for_reserve.notify_one(),
            Reserve::None | Reserve::Working => {}
        }
    }

    fn start(self: &Arc<Self>, body: fn(&Arc<Shared>)) -> Result<()> {
        let shared = self.clone();
        let builder = std::thread::Builder::new()
            .name(self.settings.name.clone())
            .stack_size(self.settings.stack_size);
        let thread = builder.spawn(move || {
            sigmask::block_all_in_this_thread();
            body(&shared);
        });
        thread.map(drop).map_err(Error::from)
    }

    /// One of the pool's threads.
    fn work(self: &Arc<Self>) {
        let me = Sleeper::of_this_thread();
        let mut state = self.lock();
        loop {
            if let Some((class, job)) = state.queue.take(time::monotonic) {
                state.queue.free -= 1;
                if class != WorkClass::File {
                    self.call_reserve(&mut state);
                }
                drop(state);
                run(job);
                state = self.lock();
                state.queue.end(class);
                state.queue.free += 1;
            } else if state.closing {
                state.queue.threads -= 1;
                state.queue.free -= 1;
                return;
            } else {
                state.asleep.push(me.clone());
                drop(state);
                me.sleep();
                state = self.lock();
            }
        }
    }

    /// The thread in reserve.
    fn work_in_reserve(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            if let Some((class, job)) = state.queue.take_for_reserve(time::monotonic) {
                state.reserve = Reserve::Working;
                drop(state);
                run(job);
                state = self.lock();
                state.queue.end(class);
                state.reserve = Reserve::Waiting;
            } else if state.closing {
                return;
            } else {
                state = self.for_reserve.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Does a job. Closures of the user's are caught inside it; what is left is a panic in the drop of
/// something that nobody waits for any more, which must not end the thread.
fn run(job: Job) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job.run())) {
        // Its drop might panic as well.
        std::mem::forget(payload);
    }
}
