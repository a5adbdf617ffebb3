//! The children of one loop: who must be looked at after SIGCHLD, and who is nobody's any more.
//!
//! Invariants: a child with a pidfd in the epoll set costs nothing until it ends. The others, and
//! those whose stops are asked for, are looked at one by one after SIGCHLD, and at most
//! [`LOOK_AGAIN`] milliseconds after the last look, because the signal may be blocked, ignored or
//! somebody else's. An orphan stays the loop's until it has been waited for or handed over.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use slab::Slab;

use super::node::ProcessNode;
use super::orphans::{self, Enlisted, LOOK_AGAIN, Orphan};
use super::reaper::ReaperNode;
use super::spawner::{OffLoop, Spawning};
use crate::error::Result;
use crate::event_loop::{LoopInner, Target, WatcherKey};
use crate::sys::epoll;

/// A look at children by number is due this many nanoseconds after the last.
const LOOK_AGAIN_NS: u64 = LOOK_AGAIN * 1_000_000;

/// A pidfd whose child has been waited for, and its watch, which comes before it.
struct Parting {
    watcher: WatcherKey,
    _pidfd: Arc<OwnedFd>,
}

#[derive(Default)]
pub(crate) struct Children {
    /// Looked at after SIGCHLD.
    by_signal: RefCell<Vec<Weak<ProcessNode>>>,
    reapers: RefCell<Vec<Weak<ReaperNode>>>,
    orphans: RefCell<Slab<(Orphan, WatcherKey)>>,
    /// How many of the orphans have no watcher.
    unwatched: Cell<usize>,
    watches_sigchld: Cell<bool>,
    /// The count of SIGCHLD at the last look, and when the next one is due.
    seen: Cell<u32>,
    next_look: Cell<u64>,
    pub(super) spawning: Spawning,
    pub(super) off_loop: RefCell<Option<OffLoop>>,
    /// The pidfd of the child that was waited for last, to be let go when there is time.
    parting: RefCell<Option<Parting>>,
    /// Handles whose children the spawner thread is making.
    pub(super) underway: RefCell<HashMap<u64, Rc<ProcessNode>>>,
}

impl Children {
    /// Takes a pidfd that is not needed any more, with its watch. To let it go takes longer than
    /// anything else at the end of a child, so that it waits until the exit has been reported and
    /// the loop is about to wait; then it may well be done while the next child starts.
    ///
    /// Only the watch ends at once where somebody else may wait on the loop's set: to them the
    /// descriptor, readable as it is, would look like work.
    pub(super) fn let_go_later(
        &self,
        lp: &LoopInner,
        watcher: &Cell<WatcherKey>,
        pidfd: Option<Arc<OwnedFd>>,
    ) {
        self.let_go(lp);
        if lp.watchers.is_shown() {
            lp.unwatch(watcher);
        }
        let watcher = watcher.replace(WatcherKey::NONE);
        *self.parting.borrow_mut() = pidfd.map(|pidfd| Parting { watcher, _pidfd: pidfd });
    }

    /// Lets go what was to be let go later; whether there was something.
    pub(crate) fn let_go(&self, lp: &LoopInner) -> bool {
        let Some(parting) = self.parting.take() else { return false };
        if !parting.watcher.is_none() {
            lp.watchers.remove(parting.watcher, lp.is_ours());
        }
        true
    }

    /// Whether a turn is to come back for something, be it not urgent.
    pub(crate) fn has_business(&self) -> bool {
        self.parting.borrow().is_some() || self.has_to_look()
    }

    /// Whether children must be looked at by number.
    pub(crate) fn has_to_look(&self) -> bool {
        self.unwatched.get() > 0
            || !self.by_signal.borrow().is_empty()
            || !self.reapers.borrow().is_empty()
    }

    /// Nanoseconds until they must be looked at again; `None` when nobody must.
    pub(crate) fn look_again_in(&self) -> Option<u64> {
        self.has_to_look().then_some(LOOK_AGAIN_NS)
    }

    /// Has SIGCHLD wake the loop from now on. It is a help, not a need: without it the loop looks
    /// every [`LOOK_AGAIN`] milliseconds.
    fn watch_sigchld(&self, lp: &LoopInner) -> Result<()> {
        // Also when the signal cannot be watched: then the clock says when to look.
        lp.chores.add_errand();
        if !self.watches_sigchld.get() {
            lp.signal_port()?.watch(libc::SIGCHLD)?;
            self.watches_sigchld.set(true);
        }
        // What happened before the signal was watched is found by the next turn.
        self.next_look.set(0);
        Ok(())
    }

    /// Before a child is spawned that will be looked at after SIGCHLD: the signal is watched first.
    pub(super) fn prepare_for_signal(&self, lp: &LoopInner) -> Result<()> {
        self.watch_sigchld(lp)
    }

    pub(super) fn look_after(&self, lp: &LoopInner, process: &Rc<ProcessNode>) {
        let process = Rc::downgrade(process);
        let mut list = self.by_signal.borrow_mut();
        if !list.iter().any(|other| other.ptr_eq(&process)) {
            list.push(process);
        }
        // Without the signal there is still the clock.
        let _without = self.watch_sigchld(lp);
    }

    pub(super) fn look_away(&self, process: &ProcessNode) {
        self.by_signal.borrow_mut().retain(|other| !std::ptr::eq(other.as_ptr(), process));
    }

    pub(super) fn add_reaper(&self, lp: &LoopInner, reaper: &Rc<ReaperNode>) -> Result<()> {
        self.watch_sigchld(lp)?;
        self.reapers.borrow_mut().push(Rc::downgrade(reaper));
        Ok(())
    }

    pub(super) fn remove_reaper(&self, reaper: &ReaperNode) {
        self.reapers.borrow_mut().retain(|other| !std::ptr::eq(other.as_ptr(), reaper));
    }

    /// The child is to be waited for, and nobody wants to know.
    pub(super) fn add_orphan(&self, lp: &LoopInner, orphan: Orphan) {
        if orphan.reap() {
            return;
        }
        if !lp.is_ours() || lp.usable().is_err() {
            orphans::hand_over(vec![orphan]);
            return;
        }
        let mut orphans = self.orphans.borrow_mut();
        let entry = orphans.vacant_entry();
        let target = Target::Orphan(entry.key());
        let watched = orphan
            .pidfd
            .as_ref()
            .and_then(|pidfd| lp.watchers.add(pidfd.as_fd(), epoll::IN, target).ok());
        if watched.is_none() {
            self.unwatched.set(self.unwatched.get() + 1);
            let _without = self.watch_sigchld(lp);
        }
        entry.insert((orphan, watched.unwrap_or(WatcherKey::NONE)));
    }

    /// The handle of a child that is being made was closed.
    pub(super) fn abandon(&self, lp: &LoopInner, ticket: u64, signals: Vec<i32>) {
        // The caller has a reference to the handle, so that it is not dropped here.
        drop(self.underway.borrow_mut().remove(&ticket));
        // In a forked child the thread's lock may be held for ever.
        if lp.is_ours()
            && let Some(off_loop) = &*self.off_loop.borrow()
        {
            off_loop.abandon(ticket, signals);
        }
    }

    /// An orphan's pidfd is readable.
    pub(crate) fn reap_orphan(&self, lp: &LoopInner, key: usize) {
        let reaped = self.orphans.borrow().get(key).is_some_and(|(orphan, _)| orphan.reap());
        if reaped {
            self.remove_orphan(lp, key);
        }
    }

    fn remove_orphan(&self, lp: &LoopInner, key: usize) -> Option<Orphan> {
        let (orphan, watcher) = self.orphans.borrow_mut().try_remove(key)?;
        if watcher.is_none() {
            self.unwatched.set(self.unwatched.get() - 1);
        } else {
            lp.watchers.remove(watcher, lp.is_ours());
        }
        Some(orphan)
    }

    /// Looks at the children that must be looked at, if it is time to.
    fn look(&self, lp: &LoopInner) {
        if !self.has_to_look() {
            return;
        }
        let caught = lp.signal_port_if_made().map_or(0, |port| port.caught(libc::SIGCHLD));
        let now = lp.now.get();
        if caught == self.seen.get() && now < self.next_look.get() {
            return;
        }
        self.seen.set(caught);
        self.next_look.set(now.saturating_add(LOOK_AGAIN_NS));
        let unwatched: Vec<usize> = {
            let orphans = self.orphans.borrow();
            let unwatched = orphans.iter().filter(|(_, (_, watcher))| watcher.is_none());
            unwatched.map(|(key, _)| key).collect()
        };
        for key in unwatched {
            self.reap_orphan(lp, key);
        }
        // Looking runs no code of the user's; what is found is queued.
        let processes: Vec<_> = self.by_signal.borrow().iter().filter_map(Weak::upgrade).collect();
        for process in processes {
            process.look();
        }
    }

    /// Those of the reapers whose turn it is, after the loop's own children.
    fn reapers(&self) -> Vec<Rc<ReaperNode>> {
        self.reapers.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn take_orphans(&self, lp: &LoopInner) -> Vec<Orphan> {
        let keys: Vec<usize> = self.orphans.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.remove_orphan(lp, key)).collect()
    }

    /// In a forked child: the children are the parent's, and so is the thread that spawns.
    pub(crate) fn after_fork(&self, lp: &LoopInner) {
        self.let_go(lp);
        let keys: Vec<usize> = self.orphans.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            // The set is still the parent's, so nothing is told to the kernel.
            self.remove_orphan(lp, key);
        }
        self.spawning.after_fork();
        if let Some(off_loop) = self.off_loop.take() {
            off_loop.forget();
        }
        for node in lp.all_handles() {
            let node: Rc<dyn Any> = node;
            if let Ok(process) = node.downcast::<ProcessNode>() {
                process.after_fork();
            }
        }
        // Their handles are told of the end by now.
        drop(self.underway.take());
    }

    /// The loop is being dropped; its handles have been closed.
    pub(crate) fn discard(&self, lp: &LoopInner) {
        self.let_go(lp);
        let off_loop = self.off_loop.take();
        let orphans = self.take_orphans(lp);
        if lp.is_ours() {
            drop(off_loop);
            orphans::hand_over(orphans);
        } else if let Some(off_loop) = off_loop {
            off_loop.forget();
        }
        drop(self.underway.take());
    }
}

/// Finds out which children have ended, and queues their processes.
pub(crate) fn look_for_exits(lp: &LoopInner) {
    lp.children.look(lp);
}

/// Calls the exit callbacks of the processes that are queued, and lets reapers look for strangers.
pub(crate) fn report_exits(lp: &LoopInner) {
    let mut rest = lp.exits.len();
    while rest > 0 && !lp.is_halted() {
        rest -= 1;
        let Some(node) = lp.exits.pop_front() else { break };
        node.base().release();
        node.work();
    }
    for reaper in lp.children.reapers() {
        reaper.look();
    }
}

/// For as long as a loop runs: takes over the orphans of others; hands its own over at the end
/// when it may not be run again.
pub(crate) struct Takeover<'a> {
    lp: &'a LoopInner,
    enlisted: Option<Enlisted>,
}

impl Takeover<'_> {
    pub(crate) fn begin(lp: &LoopInner) -> Takeover<'_> {
        // A loop without a wake-up of its own cannot be told that there is work.
        let enlisted = lp.asyncs.list_if_made().map(|list| Enlisted::new(list.waker()));
        if enlisted.is_none() {
            orphans::look_again();
        }
        Takeover { lp, enlisted }
    }
}

impl Drop for Takeover<'_> {
    fn drop(&mut self) {
        drop(self.enlisted.take());
        let lp = self.lp;
        let over = !lp.is_alive() || lp.is_halted();
        if over && !lp.children.orphans.borrow().is_empty() {
            orphans::hand_over(lp.children.take_orphans(lp));
        }
    }
}

/// The loop was woken: perhaps for what others have left behind.
pub(crate) fn take_over(lp: &LoopInner) {
    for orphan in orphans::take() {
        lp.children.add_orphan(lp, orphan);
    }
}
