//! Children that nobody waits for any more: their process was closed, or their loop dropped.
//!
//! Invariant: no child of this crate becomes a zombie that stays. A loop looks after the orphans of
//! its own closed handles while it runs; when it is done, or dropped, they go to a process-wide
//! list. A loop that is running takes that list over; if none is, a small thread waits for them
//! and ends when the list is empty.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::owned;
use super::per_process::PerProcess;
use crate::error::Error;
use crate::sys::wait::{How, Whom, wait};
use crate::sys::wake::{WakeList, Waker};
use crate::sys::{epoll, sigmask};

/// Milliseconds between looks at children without a pidfd; see `Reaping::Sigchld`.
pub(super) const LOOK_AGAIN: u64 = 100;

/// A child to be waited for, whatever it says.
#[derive(Debug, Clone)]
pub(crate) struct Orphan {
    pub(super) pid: i32,
    pub(super) pidfd: Option<Arc<OwnedFd>>,
}

impl Orphan {
    /// Waits for it without hanging; true when it is gone.
    pub(super) fn reap(&self) -> bool {
        let whom = match &self.pidfd {
            Some(pidfd) => Whom::Pidfd(pidfd.as_fd()),
            None => Whom::Pid(self.pid),
        };
        let gone = match wait(whom, How { no_hang: true, ..How::default() }) {
            Ok(None) => false,
            Ok(Some(_)) => true,
            // Somebody else has waited for it, or it was never ours to wait for.
            Err(Error::ECHILD) => true,
            // A kernel that cannot wait by pidfd (before 5.4): by number, as a zombie keeps its own.
            Err(_) => {
                let how = How { no_hang: true, ..How::default() };
                !matches!(wait(Whom::Pid(self.pid), how), Ok(None))
            }
        };
        if gone {
            owned::remove(self.pid);
        }
        gone
    }
}

#[derive(Default)]
struct State {
    list: Vec<Orphan>,
    /// Running loops that can be woken, each under a number.
    loops: Vec<(u64, Waker)>,
    next_loop: u64,
    /// The thread's wake-up, while there is one.
    thread: Option<Waker>,
}

static STATE: PerProcess<Mutex<State>> = PerProcess::new();

fn state() -> MutexGuard<'static, State> {
    STATE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether anything was ever put on the list, here or before a fork: a loop asks each time it runs.
static EVER: AtomicBool = AtomicBool::new(false);

/// Sees to it that somebody waits for these.
pub(super) fn hand_over(orphans: Vec<Orphan>) {
    let orphans: Vec<Orphan> = orphans.into_iter().filter(|orphan| !orphan.reap()).collect();
    if orphans.is_empty() {
        return;
    }
    EVER.store(true, Ordering::Release);
    let mut state = state();
    state.list.extend(orphans);
    find_somebody(&mut state);
}

fn find_somebody(state: &mut State) {
    // Before any loop: while there is a thread, the list is its own.
    if let Some(thread) = &state.thread {
        thread.wake();
        return;
    }
    if let Some((_, waker)) = state.loops.last() {
        waker.wake();
        return;
    }
    // If neither a descriptor nor a thread is to be had, the list waits for the next occasion:
    // the next orphan, or the next loop that runs.
    let Ok(list) = WakeList::new() else { return };
    let waker = list.waker();
    let builder = std::thread::Builder::new().name("blacklight-reap".into()).stack_size(64 * 1024);
    if builder.spawn(move || reap_all(&list)).is_ok() {
        state.thread = Some(waker);
    }
}

/// The thread: waits for what is on the list until it is empty.
fn reap_all(wake: &WakeList) {
    // The program's handlers run on the program's threads.
    sigmask::block_all_in_this_thread();
    loop {
        let orphans = {
            let mut state = state();
            let taken = std::mem::take(&mut state.list);
            let left: Vec<Orphan> = taken.into_iter().filter(|orphan| !orphan.reap()).collect();
            state.list = left;
            if state.list.is_empty() {
                state.thread = None;
                return;
            }
            state.list.clone()
        };
        let by_number = orphans.iter().any(|orphan| orphan.pidfd.is_none());
        let pidfds = orphans.iter().filter_map(|orphan| orphan.pidfd.as_ref());
        let fds: Vec<_> = pidfds.map(|fd| fd.as_fd()).chain([wake.fd()]).collect();
        let limit = if by_number { Some(LOOK_AGAIN) } else { None };
        if epoll::wait_for_any(&fds, limit).is_err() {
            // poll(2) fails for want of memory only; then there is nothing to do but to wait.
            std::thread::sleep(std::time::Duration::from_millis(LOOK_AGAIN));
        }
        wake.drain(&mut Default::default());
    }
}

/// A loop runs that cannot be woken: an occasion to find somebody for what is on the list.
pub(super) fn look_again() {
    if !EVER.load(Ordering::Relaxed) {
        return;
    }
    let mut state = state();
    if state.thread.is_none() && !state.list.is_empty() {
        find_somebody(&mut state);
    }
}

/// A running loop that can be woken takes over what others leave behind.
pub(super) struct Enlisted(u64);

impl Enlisted {
    pub(super) fn new(waker: Waker) -> Enlisted {
        let mut state = state();
        let number = state.next_loop;
        state.next_loop += 1;
        if !state.list.is_empty() {
            waker.wake();
        }
        state.loops.push((number, waker));
        Enlisted(number)
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let mut state = state();
        state.loops.retain(|(number, _)| *number != self.0);
        if !state.list.is_empty() {
            find_somebody(&mut state);
        }
    }
}

/// What is on the list, for a loop to look after. Empty when the thread has it in hand.
pub(super) fn take() -> Vec<Orphan> {
    // Every loop that is woken comes here; the lock would go from processor to processor.
    if !EVER.load(Ordering::Acquire) {
        return Vec::new();
    }
    let mut state = state();
    if state.thread.is_some() { Vec::new() } else { std::mem::take(&mut state.list) }
}
