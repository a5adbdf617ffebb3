//! The phases of a turn, in the order that every user of libuv relies on.
//!
//! Timers due (before the first turn of `Default` only) → pending → idle → prepare → poll →
//! pending again → check → closing → time, timers. Invariant: whatever is being worked off is
//! taken from the loop's own state one at a time, so that a panic in the middle loses nothing.
//!
//! Most turns fetch events and hand them out, and nothing else. What they do not need is kept out of
//! line (`inline(never)`, `cold`), so that what they do need stays together in the caches.

use std::rc::Rc;

use super::inner::LoopInner;
use super::polling::{hand_out, has_errand, has_errands_left, poll};
use super::queue::Queue;
use crate::error::{Error, Result};
use crate::handle::Node;
use crate::process;

/// Rounds of the pending phase after polling: a callback that keeps completing requests gets this
/// many in one turn before the rest of the loop has its chance (libuv's limit).
const PENDING_ROUNDS: u32 = 8;

/// How long `run` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunMode {
    /// Until nothing keeps the loop alive, or it is stopped.
    Default,
    /// One turn, which waits for events if nothing else is to be done.
    Once,
    /// One turn, which does not wait.
    NoWait,
}

/// Marks the loop as running for as long as it lives.
struct Running<'a>(&'a LoopInner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(false);
    }
}

pub(super) fn run(lp: &Rc<LoopInner>, mode: RunMode) -> Result<bool> {
    lp.usable()?;
    if lp.running.replace(true) {
        return Err(Error::EBUSY);
    }
    let _running = Running(lp);
    let _taking_orphans = process::Takeover::begin(lp);
    let mut alive = lp.is_alive();
    if !alive {
        lp.update_time();
        lp.children.let_go(lp);
    }
    if mode == RunMode::Default && alive && !lp.stop.get() && !lp.is_halted() {
        lp.update_time();
        run_timers(lp);
    }
    while alive && !lp.stop.get() && !lp.is_halted() {
        turn(lp, mode)?;
        if mode == RunMode::Default {
            quiet_turns(lp)?;
        }
        alive = lp.is_alive();
        if mode != RunMode::Default {
            break;
        }
    }
    if mode == RunMode::Default {
        // The last turn may have left these to a next one.
        lp.update_time();
        lp.children.let_go(lp);
    }
    lp.stop.set(false);
    Ok(alive)
}

fn turn(lp: &Rc<LoopInner>, mode: RunMode) -> Result<()> {
    let may_wait = match mode {
        RunMode::Default => true,
        RunMode::Once => lp.pending.is_empty() && lp.idle.is_empty(),
        RunMode::NoWait => false,
    };
    if lp.chores.has_queued() {
        if !lp.pending.is_empty() {
            run_pending(lp);
        }
        walk(lp, &lp.idle);
        walk(lp, &lp.prepare);
        if lp.is_halted() {
            return Ok(());
        }
    }
    let limit = if may_wait { timeout(lp) } else { Some(0) };
    lp.catching_up.set(false);
    lp.counters.turn();
    poll(lp, limit)?;
    end_turn(lp, mode, PENDING_ROUNDS);
    Ok(())
}

/// Whether the next turn has nothing to do but wait for events and hand them out.
///
/// All that the last one fetched has been handed out: nothing else ends a turn but a halt.
#[inline]
fn is_quiet(lp: &LoopInner) -> bool {
    lp.chores.is_empty()
        && !lp.stop.get()
        && !lp.catching_up.get()
        && lp.is_busy()
        && lp.timers.borrow().is_empty()
        && !lp.watchers.has_changes()
        && !lp.is_halted()
}

/// As many turns as are quiet: [`turn`] without its questions.
#[inline]
fn quiet_turns(lp: &Rc<LoopInner>) -> Result<()> {
    if lp.options.metrics_idle_time || lp.options.block_sigprof {
        return Ok(());
    }
    while is_quiet(lp) {
        loop {
            quiet_poll(lp)?;
            if !is_quiet(lp) {
                break;
            }
        }
        let mut rounds = PENDING_ROUNDS;
        if lp.chores.has_only_pending() {
            run_pending(lp);
            rounds -= 1;
            if lp.pending.is_empty() {
                lp.chores.clear_pending();
            }
        }
        if !is_quiet(lp) {
            end_turn(lp, RunMode::Default, rounds);
        }
    }
    Ok(())
}

#[inline]
fn quiet_poll(lp: &Rc<LoopInner>) -> Result<()> {
    lp.counters.turn();
    let n = loop {
        let fetched = lp.watchers.fetch_some();
        lp.update_time();
        match fetched {
            Ok(n) => break n,
            Err(Error::EINTR) => {}
            Err(error) => return Err(error),
        }
    };
    lp.counters.fetched(n);
    hand_out(lp, n)
}

/// What a turn does after polling.
#[inline(never)]
fn end_turn(lp: &LoopInner, mode: RunMode, rounds: u32) {
    if !lp.chores.is_empty() {
        after_polling(lp, rounds);
    }
    if mode != RunMode::Default || somebody_sees_the_time(lp) {
        lp.update_time();
        if lp.timers.borrow().first().is_some() {
            run_timers(lp);
        }
    }
}

#[inline(never)]
fn after_polling(lp: &LoopInner, rounds: u32) {
    for _ in 0..rounds {
        if lp.pending.is_empty() {
            break;
        }
        run_pending(lp);
    }
    walk(lp, &lp.check);
    if !lp.closing.is_empty() {
        run_closing(lp);
    }
    let queues = [&lp.idle, &lp.prepare, &lp.pending, &lp.check];
    let queued = !lp.closing.is_empty() || queues.into_iter().any(|queue| !queue.is_at_rest());
    let errands = lp.chores.has_errands() && has_errands_left(lp);
    lp.chores.settle(queued, errands);
}

/// Whether anything looks at the time between the end of a turn and the next one's events, after
/// which it is read in any case. Reading the clock is dear beside a turn with little to do.
fn somebody_sees_the_time(lp: &LoopInner) -> bool {
    lp.timers.borrow().first().is_some() || !lp.chores.is_empty()
}

/// Nanoseconds that polling may take; `None` for ever.
#[inline]
pub(super) fn timeout(lp: &LoopInner) -> Option<u64> {
    let at_once = lp.stop.get()
        || lp.catching_up.get()
        || !lp.is_busy()
        || lp.watchers.has_batch()
        || lp.chores.has_queued()
            && !(lp.pending.is_empty() && lp.idle.is_empty() && lp.closing.is_empty())
        || lp.chores.has_errands() && has_errand(lp);
    if at_once {
        return Some(0);
    }
    let timer = lp.timers.borrow().first().map(|due| due.saturating_sub(lp.now.get()));
    let look = if lp.chores.has_errands() { lp.children.look_again_in() } else { None };
    match (timer, look) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Calls the hooks of a phase, or those that a panic has left of the last turn's. A hook that was
/// started since is not among these; it is called in the next turn, which therefore does not wait.
#[inline]
fn walk(lp: &LoopInner, queue: &Queue) {
    if !queue.is_at_rest() {
        walk_over(lp, queue);
    }
}

fn walk_over(lp: &LoopInner, queue: &Queue) {
    if queue.begin() {
        lp.catching_up.set(true);
    }
    while !lp.is_halted()
        && let Some(node) = queue.next()
    {
        node.work();
    }
}

/// Calls those that are pending now; what they add waits for the next round.
#[inline(never)]
fn run_pending(lp: &LoopInner) {
    // The handle that is last now is the last of this round; it may leave before its turn, and
    // then the round is a little longer, which is bounded by the rounds.
    let mut rest = lp.pending.len();
    while rest > 0 && !lp.is_halted() {
        rest -= 1;
        let Some(node) = lp.pending.pop_front() else { break };
        node.base().release();
        node.work();
    }
}

/// Calls the close callbacks, last closed first; handles closed meanwhile wait for the next turn.
fn run_closing(lp: &LoopInner) {
    lp.closing.begin();
    while !lp.is_halted()
        && let Some(node) = lp.closing.next()
    {
        // If this unwinds, the handle is due still, and the next turn comes back to it.
        node.clone().finish_close();
        if lp.is_halted() {
            break;
        }
        drop(lp.closing.pop());
        closed(&node);
    }
}

fn closed(node: &Rc<dyn Node>) {
    // A panic of the callback does not make the handle any less closed.
    let base = node.base();
    base.set_closed();
    if let Some(callback) = base.take_close_callback() {
        base.lp().inner().counters.callback();
        callback(node);
    }
}

#[inline(never)]
fn run_timers(lp: &LoopInner) {
    // One that a callback starts has a later number and waits for the next turn, as in libuv.
    let (now, before) = (lp.now.get(), lp.next_start.get());
    while !lp.is_halted() {
        let due = lp.timers.borrow_mut().pop_due(now, before);
        let Some(timer) = due else { break };
        timer.fire();
    }
}
