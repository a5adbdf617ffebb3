//! Where children are made: on the loop's thread, or on one thread beside it.
//!
//! Invariant: a child that exists is always somebody's: the handle's that asked for it, or, if
//! that or the loop is gone when the spawn is done, an orphan's.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::error::{SpawnError, SpawnStep};
use super::look::send;
use super::orphans::{self, Orphan};
use super::owned;
use crate::error::Error;
use crate::sys::spawn::{Attributes, Child, Fallbacks, SpawnPath, Spawner, Switches};
use crate::sys::wake::Waker;
use crate::sys::{environment, sigmask};

/// A process that runs, as both ways of spawning give it.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: i32,
    pub(super) pidfd: Option<Arc<OwnedFd>>,
    pub(super) path: SpawnPath,
    pub(super) fallbacks: Fallbacks,
}

impl Spawned {
    pub(super) fn orphan(self) -> Orphan {
        Orphan { pid: self.pid, pidfd: self.pidfd }
    }

    /// Nobody wants it: it gets these signals, and somebody will wait for it.
    fn cast_off(self, signals: &[i32]) {
        for signum in signals {
            let _gone = send(self.pid, self.pidfd.as_deref(), *signum);
        }
        orphans::hand_over(vec![self.orphan()]);
    }
}

/// Makes a child and puts it on the list of our own.
fn make(
    spawner: &mut Spawner,
    attributes: &Attributes,
    switches: &Switches,
) -> Result<Spawned, SpawnError> {
    let gate = owned::spawning();
    // A child without a block of its own reads the process's environment until its exec.
    let _unchanged = attributes.envp.is_none().then(environment::hold);
    let Child { pid, pidfd, path, fallbacks } = spawner.spawn(attributes, switches)?;
    owned::add(pid);
    drop(gate);
    Ok(Spawned { pid, pidfd: pidfd.map(Arc::new), path, fallbacks })
}

/// The spawner of the loop's own thread, made at first use.
#[derive(Default)]
pub(super) struct Spawning {
    spawner: RefCell<Spawner>,
    next_ticket: Cell<u64>,
}

impl Spawning {
    pub(super) fn spawn(
        &self,
        attributes: &Attributes,
        switches: &Switches,
    ) -> Result<Spawned, SpawnError> {
        make(&mut self.spawner.borrow_mut(), attributes, switches)
    }

    pub(super) fn ticket(&self) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        ticket
    }

    /// In a forked child the mapped memory of the spawner may be the parent's too.
    pub(super) fn after_fork(&self) {
        std::mem::forget(self.spawner.take());
    }
}

struct Job {
    ticket: u64,
    attributes: Attributes,
    switches: Switches,
}

type Outcome = (u64, Result<Spawned, SpawnError>);

/// What the loop and its spawner thread share.
#[derive(Default)]
struct Shared {
    /// What has been done, until the loop takes it.
    outcomes: VecDeque<Outcome>,
    /// Jobs whose handle was closed meanwhile, with the signals that were kept for the child.
    abandoned: HashMap<u64, Vec<i32>>,
    loop_is_gone: bool,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The spawner thread of a loop: it lives as long as the loop, because the parent-death signal is
/// sent when the thread that spawned ends.
pub(super) struct OffLoop {
    jobs: Sender<Job>,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl OffLoop {
    pub(super) fn start(wake: Waker) -> Result<OffLoop, SpawnError> {
        let (jobs, theirs) = channel();
        let shared = Arc::<Mutex<Shared>>::default();
        let with_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("blacklight-spawn".into())
            .spawn(move || work(&theirs, &with_thread, &wake))
            .map_err(|error| SpawnError::new(SpawnStep::Thread, Error::from(error)))?;
        Ok(OffLoop { jobs, shared, thread: Some(thread) })
    }

    pub(super) fn submit(
        &self,
        ticket: u64,
        attributes: Attributes,
        switches: Switches,
    ) -> Result<(), SpawnError> {
        let job = Job { ticket, attributes, switches };
        // The thread ends only with this sender.
        let gone = |_| SpawnError::new(SpawnStep::Thread, Error::ESRCH);
        self.jobs.send(job).map_err(gone)
    }

    pub(super) fn next(&self) -> Option<Outcome> {
        lock(&self.shared).outcomes.pop_front()
    }

    /// Nobody waits for this outcome any more: the child gets the signals that were kept for it and
    /// is an orphan as soon as it is there. Not left to the loop, which may never run again.
    pub(super) fn abandon(&self, ticket: u64, signals: Vec<i32>) {
        let outcome = {
            let mut shared = lock(&self.shared);
            let done = shared.outcomes.iter().position(|(of, _)| *of == ticket);
            let outcome = done.and_then(|at| shared.outcomes.remove(at));
            if outcome.is_none() {
                shared.abandoned.insert(ticket, signals.clone());
            }
            outcome
        };
        if let Some((_, Ok(spawned))) = outcome {
            spawned.cast_off(&signals);
        }
    }

    /// In a forked child there is no such thread, and its lock may be held for ever.
    pub(super) fn forget(mut self) {
        std::mem::forget(self.thread.take());
        std::mem::forget(self);
    }
}

impl Drop for OffLoop {
    fn drop(&mut self) {
        let left = {
            let mut shared = lock(&self.shared);
            shared.loop_is_gone = true;
            std::mem::take(&mut shared.outcomes)
        };
        let spawned = left.into_iter().filter_map(|(_, outcome)| outcome.ok());
        orphans::hand_over(spawned.map(Spawned::orphan).collect());
        // The thread sees the sender go and ends after the job it is at; nobody waits for it.
        drop(self.thread.take());
    }
}

fn work(jobs: &Receiver<Job>, shared: &Mutex<Shared>, wake: &Waker) {
    sigmask::block_all_in_this_thread();
    let mut spawner = Spawner::new();
    while let Ok(Job { ticket, attributes, switches }) = jobs.recv() {
        let outcome = make(&mut spawner, &attributes, &switches);
        // The child's ends of its pipes are closed before the loop hears of it.
        drop(attributes);
        let mut with_loop = lock(shared);
        let signals = match with_loop.abandoned.remove(&ticket) {
            Some(signals) => signals,
            None if with_loop.loop_is_gone => Vec::new(),
            None => {
                with_loop.outcomes.push_back((ticket, outcome));
                drop(with_loop);
                wake.wake();
                continue;
            }
        };
        drop(with_loop);
        if let Ok(spawned) = outcome {
            spawned.cast_off(&signals);
        }
    }
}
