//! Polling: what a turn does with the kernel, and with the sources that have no descriptor each.
//!
//! Invariants: what was fetched is handed out before more is fetched, unless the loop is halted; a
//! panic leaves the rest of a batch, and of every source, to the next turn.

use std::rc::Rc;

use super::inner::LoopInner;
use super::options::Facilities;
use super::watchers::{BATCH, Target, Whom};
use crate::error::{Error, Result};
use crate::{process, signal};

/// Times that a full batch of events is followed by another in one turn (libuv's limit).
const FULL_BATCHES: u32 = 48;

pub(super) fn poll(lp: &Rc<LoopInner>, limit: Option<u64>) -> Result<()> {
    if lp.chores.has_errands() || lp.watchers.has_batch() {
        take_up(lp);
    }
    lp.watchers.flush();
    // With nothing to watch and nothing to wait for there is nothing to ask the kernel.
    if limit != Some(0) || !lp.watchers.is_empty() {
        let n = fetch(lp, limit)?;
        return hand_out(lp, n);
    }
    if lp.chores.has_errands() && !lp.is_halted() {
        finish_errands(lp);
    }
    Ok(())
}

/// Hands out the batch of `n` events just fetched, and does what they ask for beside.
#[inline]
pub(super) fn hand_out(lp: &Rc<LoopInner>, n: usize) -> Result<()> {
    dispatch(lp);
    if n == BATCH {
        fetch_the_rest(lp)?;
    }
    if lp.chores.has_errands() && !lp.is_halted() {
        finish_errands(lp);
    }
    Ok(())
}

/// Before polling: what is due without an event, and what a panic has left of the last batch.
#[inline(never)]
fn take_up(lp: &Rc<LoopInner>) {
    lp.asyncs.call_woken(lp);
    lp.works.call_done(lp);
    if lp.fs_events.has_work() {
        lp.fs_events.work(lp);
    }
    dispatch(lp);
    lp.works.flush();
    lp.children.let_go(lp);
}

/// After polling: what waits for all events of descriptors.
#[inline(never)]
fn finish_errands(lp: &LoopInner) {
    process::look_for_exits(lp);
    signal::deliver(lp);
    process::report_exits(lp);
}

/// Whether one of the sources other than hooks, timers and handles with events has something to do.
#[inline(never)]
pub(super) fn has_errand(lp: &LoopInner) -> bool {
    !lp.exits.is_empty()
        || lp.signalled.get()
        || lp.asyncs.is_woken()
        || lp.works.is_due()
        || lp.fs_events.has_work()
}

/// Whether a source must be asked again, in this turn or the next.
pub(super) fn has_errands_left(lp: &LoopInner) -> bool {
    has_errand(lp) || lp.works.has_made_ring() || lp.children.has_business()
}

/// After a full batch there may be more.
#[cold]
fn fetch_the_rest(lp: &Rc<LoopInner>) -> Result<()> {
    for _ in 1..FULL_BATCHES {
        if lp.is_halted() {
            break;
        }
        lp.children.let_go(lp);
        let n = fetch(lp, Some(0))?;
        dispatch(lp);
        if n < BATCH {
            break;
        }
    }
    Ok(())
}

/// Fetches a batch, waiting again with what is left of the time when a signal interrupts.
#[inline]
fn fetch(lp: &LoopInner, limit: Option<u64>) -> Result<usize> {
    let begun = lp.now.get();
    let fetched = if lp.options.metrics_idle_time || lp.options.block_sigprof {
        fetch_and_measure(lp, limit)
    } else {
        let fetched = lp.watchers.fetch(limit, lp.has(Facilities::EPOLL_PWAIT2), None);
        lp.update_time();
        match fetched {
            Err(Error::EINTR) => fetch_rest(lp, begun, limit, None),
            other => other,
        }
    };
    let n = fetched?;
    lp.counters.fetched(n);
    if limit == Some(0) {
        lp.counters.waiting(n);
    }
    Ok(n)
}

#[inline(never)]
fn fetch_and_measure(lp: &LoopInner, limit: Option<u64>) -> Result<usize> {
    let mask = lp.options.block_sigprof.then(crate::sys::sigmask::only_sigprof);
    let begun = crate::sys::time::monotonic();
    let mut fetched = lp.watchers.fetch(limit, lp.has(Facilities::EPOLL_PWAIT2), mask.as_ref());
    lp.update_time();
    if fetched == Err(Error::EINTR) {
        fetched = fetch_rest(lp, begun, limit, mask.as_ref());
    }
    if lp.options.metrics_idle_time && limit != Some(0) {
        lp.counters.idle(lp.now.get().saturating_sub(begun));
    }
    fetched
}

/// After an interruption: what is left of the time counts from `begun`.
#[cold]
fn fetch_rest(
    lp: &LoopInner,
    begun: u64,
    limit: Option<u64>,
    mask: Option<&libc::sigset_t>,
) -> Result<usize> {
    let deadline = limit.map(|limit| begun.saturating_add(limit));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(lp.now.get()));
        let fetched = lp.watchers.fetch(left, lp.has(Facilities::EPOLL_PWAIT2), mask);
        lp.update_time();
        if fetched != Err(Error::EINTR) {
            return fetched;
        }
    }
}

/// Hands the events of the batch to those they are for.
fn dispatch(lp: &Rc<LoopInner>) {
    while lp.watchers.has_batch()
        && !lp.is_halted()
        && let Some((whom, events)) = lp.watchers.next()
    {
        match whom {
            Whom::Handle(node) => node.io(events),
            Whom::Gone => lp.counters.stale(),
            Whom::Loop(target) => do_errand(lp, &target),
        }
    }
}

/// Does what an event asks for that is for none of the handles.
#[inline(never)]
fn do_errand(lp: &Rc<LoopInner>, target: &Target) {
    let had_others = lp.chores.has_errands();
    lp.chores.add_errand();
    match target {
        Target::Wake => {
            lp.asyncs.collect();
            process::collect_spawned(lp);
            lp.works.collect();
            lp.asyncs.call_woken(lp);
            lp.works.call_done(lp);
            // A wake-up and its callback are most often all there is.
            if !had_others && !has_errands_left(lp) {
                lp.chores.clear_errands();
            }
        }
        Target::Ring => {
            lp.works.collect_ring();
            lp.works.call_done(lp);
        }
        Target::Signals => lp.signalled.set(true),
        Target::FileWatches => lp.fs_events.work(lp),
        Target::Orphan(key) => lp.children.reap_orphan(lp, *key),
        // The watchers have told these from the others.
        Target::Handle(_) => {}
    }
}
