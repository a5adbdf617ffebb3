//! What a process handle does: watches for the end, stops and continuations of its process, and
//! reports them.
//!
//! Invariants: each process is reported exactly once, after the other descriptors of the batch,
//! whoever else waits for children in this program. Closing the handle ends the reports, not the
//! reaping.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::children;
use super::error::{SpawnError, SpawnStep};
use super::exit::Exit;
use super::handle::{Process, StopEvent};
use super::look::send;
use super::orphans::Orphan;
use super::owned;
use super::spawner::Spawned;
use crate::error::{Error, Result};
use crate::event_loop::{Facilities, LoopInner, LoopRef, Reaping, WatcherKey};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create};
use crate::stream::StreamNode;

use crate::sys::{epoll, kill, pidfd};

pub(super) type ExitCallback = Box<dyn FnOnce(&Process, Exit)>;
type StopCallback = dyn FnMut(&Process, StopEvent);
type SpawnCallback = Box<dyn FnOnce(&Process, std::result::Result<(), SpawnError>)>;

/// Our end of a pipe to a child that is being made.
pub(super) struct End {
    pub(super) node: Rc<StreamNode>,
    pub(super) fd: OwnedFd,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) fifo: bool,
}

impl End {
    /// Gives the descriptor to its pipe. If that was closed or opened meanwhile, the child sees the
    /// end of the descriptor.
    pub(super) fn attach(self) {
        let _too_late = self.node.attach(self.fd, self.readable, self.writable, self.fifo);
    }
}

/// Everything between the call of `spawn_off_loop` and its outcome.
pub(super) struct Underway {
    pub(super) ends: Vec<End>,
    pub(super) callback: SpawnCallback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Being made by the spawner thread.
    Spawning,
    Running,
    /// Waited for; the report is due.
    Ended,
    /// Reported, closed, or never made.
    Over,
}

pub(crate) struct ProcessNode {
    pub(super) base: Base,
    pub(super) state: Cell<State>,
    /// On the queue of exits.
    awaits_report: Cell<bool>,
    pub(super) pid: Cell<i32>,
    pub(super) pidfd: RefCell<Option<Arc<OwnedFd>>>,
    watcher: Cell<WatcherKey>,
    /// Whether we wait for it, or somebody else does.
    pub(super) is_child: Cell<bool>,
    exit: Cell<Exit>,
    on_exit: Cell<Option<ExitCallback>>,
    pub(super) on_stop: Slot<StopCallback>,
    pub(super) stops: RefCell<std::collections::VecDeque<StopEvent>>,
    underway: Cell<Option<Box<Underway>>>,
    /// The number of the job that the spawner thread does for it.
    ticket: Cell<u64>,
    outcome: Cell<Option<std::result::Result<(), SpawnError>>>,
    /// Signals to send when there is somebody to send them to.
    pub(super) queued_signals: RefCell<Vec<i32>>,
}

impl ProcessNode {
    pub(super) fn make(lp: &LoopRef, on_exit: ExitCallback) -> Result<Rc<ProcessNode>> {
        create(lp, |base| ProcessNode {
            base,
            state: Cell::new(State::Over),
            awaits_report: Cell::new(false),
            pid: Cell::new(0),
            pidfd: RefCell::new(None),
            watcher: Cell::new(WatcherKey::NONE),
            is_child: Cell::new(true),
            exit: Cell::new(Exit::UNKNOWN),
            on_exit: Cell::new(Some(on_exit)),
            on_stop: Slot::empty(),
            stops: RefCell::default(),
            underway: Cell::new(None),
            ticket: Cell::new(0),
            outcome: Cell::new(None),
            queued_signals: RefCell::default(),
        })
    }

    pub(super) fn lp(&self) -> &LoopInner {
        self.base.lp().inner()
    }

    /// The child exists: watches for its end.
    ///
    /// # Errors
    /// When the loop insists on a pidfd and there is none; the child is killed then.
    pub(super) fn begin(
        self: &Rc<Self>,
        mut spawned: Spawned,
    ) -> std::result::Result<(), SpawnError> {
        let lp = self.lp();
        if spawned.pidfd.is_none() && lp.has(Facilities::PIDFD) && lp.children.let_go(lp) {
            // There was no descriptor left for it, and now there is.
            spawned.pidfd = pidfd::open(spawned.pid).ok().map(Arc::new);
        }
        lp.counters.spawned(spawned.path, spawned.fallbacks.bits().count_ones());
        if lp.options.reaping == Reaping::Pidfd && spawned.pidfd.is_none() {
            let _gone = send(spawned.pid, None, libc::SIGKILL);
            lp.children.add_orphan(lp, spawned.orphan());
            return Err(SpawnError::new(SpawnStep::Clone, Error::ENOTSUP));
        }
        self.watch(spawned.pid, spawned.pidfd);
        Ok(())
    }

    pub(super) fn watch(self: &Rc<Self>, pid: i32, pidfd: Option<Arc<OwnedFd>>) {
        let lp = self.lp();
        self.state.set(State::Running);
        self.pid.set(pid);
        let by_signal = lp.options.reaping == Reaping::Sigchld;
        let watched = match &pidfd {
            Some(fd) if !by_signal => lp.watch(fd.as_fd(), epoll::IN, &self.base).ok(),
            _ => None,
        };
        *self.pidfd.borrow_mut() = pidfd;
        self.base.activate();
        match watched {
            Some(key) => self.watcher.set(key),
            None => {
                if !by_signal {
                    lp.counters.pidfd_fallback();
                }
                lp.children.look_after(lp, self);
            }
        }
    }

    /// The spawner thread has the child in hand.
    pub(super) fn go_underway(self: &Rc<Self>, ticket: u64, underway: Underway) {
        self.state.set(State::Spawning);
        self.ticket.set(ticket);
        self.underway.set(Some(Box::new(underway)));
        self.base.activate();
        self.base.request_started();
    }

    /// Takes the handle back that could not be sent to the spawner thread.
    pub(super) fn call_off(&self) {
        self.state.set(State::Over);
        let underway = self.underway.take();
        self.base.deactivate();
        self.base.request_ended();
        drop(underway);
    }

    /// The spawner thread is done: what it made is the handle's now, and the callback is due.
    pub(super) fn arrive(self: &Rc<Self>, outcome: std::result::Result<Spawned, SpawnError>) {
        let outcome = outcome.and_then(|spawned| self.begin(spawned));
        if outcome.is_ok() {
            for signum in self.queued_signals.take() {
                let _gone = self.send(signum);
            }
        } else {
            self.state.set(State::Over);
        }
        self.outcome.set(Some(outcome));
        self.lp().enqueue_pending(&self.base);
    }

    pub(super) fn ended(self: &Rc<Self>, exit: Exit) {
        self.state.set(State::Ended);
        self.exit.set(exit);
        let lp = self.lp();
        lp.children.look_away(self);
        let pidfd = self.pidfd.borrow_mut().take();
        lp.children.let_go_later(lp, &self.watcher, pidfd);
        if self.is_child.get() {
            owned::remove(self.pid.get());
        }
        self.enqueue();
    }

    pub(super) fn enqueue(&self) {
        if !self.base.queued.is_linked() && !self.base.is_closing() {
            self.base.hold();
            self.awaits_report.set(true);
            self.lp().exits.push_back(&self.base);
            self.lp().chores.add_errand();
        }
    }

    fn enqueue_rest(&self) {
        if self.state.get() == State::Ended || !self.stops.borrow().is_empty() {
            self.enqueue();
        }
    }

    /// Ends the watch for its end; the pidfd goes with it.
    fn release_process(&self) -> Option<Arc<OwnedFd>> {
        let lp = self.lp();
        lp.unwatch(&self.watcher);
        lp.children.look_away(self);
        self.pidfd.borrow_mut().take()
    }

    /// In a forked child: the parent's children are not ours to wait for, and the thread that was
    /// to make one is not here. A stranger that was adopted is still one.
    pub(super) fn after_fork(self: &Rc<Self>) {
        match self.state.get() {
            State::Spawning => {
                self.arrive(Err(SpawnError::new(SpawnStep::Thread, Error::ECANCELED)));
            }
            State::Running if self.is_child.get() => {
                self.state.set(State::Over);
                drop(self.release_process());
                self.base.deactivate();
            }
            State::Running | State::Ended | State::Over => {}
        }
    }

    pub(super) fn send(&self, signum: i32) -> Result<()> {
        let pidfd = self.pidfd.borrow().clone();
        if pidfd.is_none() && !self.is_child.get() {
            // A stranger cannot be waited for, so there is nothing to check the number with.
            return kill::send(self.pid.get(), signum);
        }
        send(self.pid.get(), pidfd.as_deref(), signum)
    }

    fn report_outcome(self: &Rc<Self>) -> bool {
        let Some(underway) = self.underway.take() else { return false };
        struct Ended<'a>(&'a ProcessNode);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.base.request_ended();
            }
        }
        let _ended = Ended(self);
        let Underway { ends, callback, .. } = *underway;
        let outcome = self.outcome.take();
        if matches!(outcome, Some(Ok(()))) {
            ends.into_iter().for_each(End::attach);
        } else {
            drop(ends);
            self.base.deactivate();
        }
        if let Some(outcome) = outcome {
            self.lp().counters.callback();
            callback(&Process(self.clone()), outcome);
        }
        true
    }
}

impl Node for ProcessNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Process
    }

    /// The pidfd is readable: the process has ended.
    fn io(self: Rc<Self>, _events: u32) {
        self.look();
    }

    fn work(self: Rc<Self>) {
        self.awaits_report.set(false);
        // Whatever a callback does, what is still to be told will be.
        let again = OnUnwind::new(|| self.enqueue_rest());
        if self.report_outcome() {
            again.passed();
            // It may have ended meanwhile, which is for after the other descriptors.
            self.enqueue_rest();
            return;
        }
        let process = Process(self.clone());
        while !self.lp().is_halted() {
            let event = self.stops.borrow_mut().pop_front();
            let Some(event) = event else { break };
            self.lp().counters.callback();
            let stopping = OnUnwind::new(|| drop(self.on_stop.clear()));
            self.on_stop.call(|callback| callback(&process, event));
            stopping.passed();
        }
        again.passed();
        if self.state.get() == State::Ended && !self.lp().is_halted() {
            self.state.set(State::Over);
            self.base.deactivate();
            drop(self.on_stop.clear());
            if let Some(callback) = self.on_exit.take() {
                self.lp().counters.callback();
                callback(&process, self.exit.get());
            }
        }
    }

    fn stop(&self) {
        let lp = self.lp();
        let state = self.state.get();
        // A loop that is being dropped has emptied its queues before.
        if self.awaits_report.replace(false) && self.base.queued.is_linked() {
            lp.exits.remove(&self.base);
            self.base.release();
        }
        let pidfd = self.release_process();
        match state {
            State::Running if self.is_child.get() => {
                lp.children.add_orphan(lp, Orphan { pid: self.pid.get(), pidfd });
                self.state.set(State::Over);
            }
            State::Spawning => {
                self.state.set(State::Over);
                lp.children.abandon(lp, self.ticket.get(), self.queued_signals.take());
            }
            State::Running | State::Ended | State::Over => self.state.set(State::Over),
        }
    }

    fn finish_close(self: Rc<Self>) {
        let canceled = SpawnError::new(SpawnStep::Thread, Error::ECANCELED);
        self.outcome.set(Some(Err(canceled)));
        self.report_outcome();
    }

    fn drop_closures(&self) {
        drop(self.on_exit.take());
        drop(self.on_stop.clear());
        if self.base.is_closed() {
            drop(self.underway.take());
        }
    }
}

/// Takes what the spawner thread has made, and queues the processes for their callbacks.
pub(crate) fn collect_spawned(lp: &LoopInner) {
    loop {
        let next = lp.children.off_loop.borrow().as_ref().and_then(super::spawner::OffLoop::next);
        let Some((ticket, outcome)) = next else { break };
        let waiting = lp.children.underway.borrow_mut().remove(&ticket);
        match waiting {
            Some(node) => node.arrive(outcome),
            None => {
                if let Ok(spawned) = outcome {
                    lp.children.add_orphan(lp, spawned.orphan());
                }
            }
        }
    }
    children::take_over(lp);
}
