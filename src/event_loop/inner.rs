//! The state of a loop, shared by the loop and its handles.
//!
//! Invariants: no borrow of anything in here is live while code of the user's runs, which means
//! while a closure is called or dropped. The counts say how many handles are active and referenced
//! and how many requests are in flight; they alone, with the pending and closing queues, decide
//! whether the loop is alive.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::chores::Chores;
use super::closing::Closing;
use super::halt::HaltFlag;
use super::metrics::Counters;
use super::options::{Facilities, Options};
use super::queue::{AllHandles, Queue};
use super::timers::Timers;
use super::watchers::{Target, WatcherKey, Watchers};
use crate::asynchronous::Asyncs;
use crate::error::{Error, Result};
use crate::fs_event::FsEvents;
use crate::handle::{Base, Node};
use crate::process::Children;
use crate::sys::signal::SignalPort;
use crate::sys::{fork_mark, time};
use crate::work::Requests;

/// Bytes of the buffer that every stream of a loop reads into. libuv suggests as much.
const READ_BUFFER: usize = 64 * 1024;

pub(crate) struct LoopInner {
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    pub(crate) watchers: Watchers,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) idle: Queue,
    pub(crate) prepare: Queue,
    pub(crate) check: Queue,
    /// Handles with completed requests to report.
    pub(crate) pending: Queue,
    pub(crate) closing: Closing,
    /// Processes whose exit is to be reported after the other descriptors of the batch.
    pub(crate) exits: Queue,
    /// Signal watchers that stay, and those that stop after one signal.
    pub(crate) signals: Queue,
    pub(crate) signals_once: Queue,
    pub(crate) asyncs: Asyncs,
    pub(crate) children: Children,
    pub(crate) works: Requests,
    pub(crate) fs_events: FsEvents,
    handles: AllHandles,
    port: RefCell<Option<Rc<SignalPort>>>,
    port_watcher: Cell<WatcherKey>,
    pub(crate) chores: Chores,
    /// Set when the signal pipe was readable; cleared when the watchers have been called.
    pub(crate) signalled: Cell<bool>,
    pub(crate) now: Cell<u64>,
    pub(crate) next_start: Cell<u64>,
    pub(crate) user_data: Cell<*mut c_void>,
    active: Cell<usize>,
    requests: Cell<usize>,
    pub(crate) stop: Cell<bool>,
    /// A phase was taken up where a panic had left it: the next turn must not wait.
    pub(crate) catching_up: Cell<bool>,
    pub(crate) running: Cell<bool>,
    pub(crate) halted: HaltFlag,
    dropped: Cell<bool>,
    mark: Cell<u32>,
    read_buffer: Cell<Option<Box<[u8]>>>,
}

impl LoopInner {
    pub(crate) fn new(options: Options) -> Result<Rc<LoopInner>> {
        Ok(Rc::new(LoopInner {
            options,
            counters: Counters::default(),
            watchers: Watchers::new()?,
            timers: RefCell::new(Timers::new()),
            idle: Queue::new(),
            prepare: Queue::new(),
            check: Queue::new(),
            pending: Queue::new(),
            closing: Closing::default(),
            exits: Queue::new(),
            signals: Queue::new(),
            signals_once: Queue::new(),
            asyncs: Asyncs::default(),
            children: Children::default(),
            works: Requests::default(),
            fs_events: FsEvents::default(),
            handles: AllHandles::new(),
            port: RefCell::new(None),
            port_watcher: Cell::new(WatcherKey::NONE),
            chores: Chores::default(),
            signalled: Cell::new(false),
            now: Cell::new(time::monotonic()),
            next_start: Cell::new(0),
            user_data: Cell::new(std::ptr::null_mut()),
            active: Cell::new(0),
            requests: Cell::new(0),
            stop: Cell::new(false),
            catching_up: Cell::new(false),
            running: Cell::new(false),
            halted: HaltFlag::default(),
            dropped: Cell::new(false),
            mark: Cell::new(fork_mark::current()?),
            read_buffer: Cell::new(None),
        }))
    }

    pub(crate) fn has(&self, facility: Facilities) -> bool {
        self.options.facilities.contains(facility)
    }

    /// `EINVAL` when the loop has been dropped, `ESTALE` when it came over a fork.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.dropped.get() {
            return Err(Error::EINVAL);
        }
        if self.is_ours() { Ok(()) } else { Err(fork_mark::STALE) }
    }

    /// Whether this process made the loop or has called `after_fork`; what the loop shares with
    /// the parent otherwise must not be touched.
    pub(crate) fn is_ours(&self) -> bool {
        fork_mark::is_current(self.mark.get())
    }

    /// Whether no callback may be called any more; to be asked before each.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_set()
    }

    pub(crate) fn enlist(&self, base: &Base) {
        self.handles.add(base);
    }

    pub(crate) fn forget(&self, base: &Base) {
        self.handles.remove(base);
    }

    pub(crate) fn all_handles(&self) -> Vec<Rc<dyn Node>> {
        self.handles.snapshot()
    }

    pub(crate) fn count_active(&self, more: bool) {
        let n = self.active.get();
        self.active.set(if more { n + 1 } else { n.saturating_sub(1) });
    }

    pub(crate) fn count_request(&self, more: bool) {
        let n = self.requests.get();
        self.requests.set(if more { n + 1 } else { n.saturating_sub(1) });
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.active.get() > 0 || self.requests.get() > 0
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.dropped.get() && self.is_runnable()
    }

    fn is_runnable(&self) -> bool {
        self.is_busy() || !self.pending.is_empty() || !self.closing.is_empty()
    }

    pub(crate) fn update_time(&self) {
        self.now.set(time::monotonic());
    }

    /// The handle has something to report in the pending phase. It stays there until its turn.
    pub(crate) fn enqueue_pending(&self, base: &Base) {
        // What a closing one has to report it will report in `finish_close`; of a dropped loop
        // nobody would take it off the queue again.
        if !base.queued.is_linked() && !base.is_closing() && !self.dropped.get() {
            base.hold();
            self.pending.push_back(base);
        }
    }

    /// The handle's close callback is to be called, before that of all closed earlier. The handle
    /// has left every other queue, but for the pending one.
    pub(crate) fn enqueue_closing(&self, node: Rc<dyn Node>) {
        let base = node.base();
        if base.queued.is_linked() {
            // What it had to report it will report in `finish_close`.
            self.pending.remove(base);
            base.release();
        }
        self.chores.add_queued();
        self.closing.push(node);
    }

    /// Begins to watch a descriptor for a handle; see [`Watchers::add`].
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, events: u32, base: &Base) -> Result<WatcherKey> {
        self.usable()?;
        self.watchers.add(fd, events, Target::Handle(base.weak()))
    }

    /// Ends a watch, if there is one, and leaves none in its cell.
    pub(crate) fn unwatch(&self, key: &Cell<WatcherKey>) {
        let key = key.replace(WatcherKey::NONE);
        if !key.is_none() {
            self.watchers.remove(key, self.is_ours());
        }
    }

    /// The signal port of this loop, made at first use and watched ever after.
    pub(crate) fn signal_port(&self) -> Result<Rc<SignalPort>> {
        if let Some(port) = self.signal_port_if_made() {
            return Ok(port);
        }
        let port = Rc::new(SignalPort::new()?);
        let key = self.watchers.add(port.read_end(), crate::sys::epoll::IN, Target::Signals)?;
        self.port_watcher.set(key);
        *self.port.borrow_mut() = Some(port.clone());
        Ok(port)
    }

    pub(crate) fn signal_port_if_made(&self) -> Option<Rc<SignalPort>> {
        self.port.borrow().clone()
    }

    /// Lends the read buffer out; whoever takes it puts it back with [`LoopInner::put_buffer`].
    #[inline]
    pub(crate) fn take_buffer(&self) -> Box<[u8]> {
        self.read_buffer.take().unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice())
    }

    #[inline]
    pub(crate) fn put_buffer(&self, buffer: Box<[u8]>) {
        self.read_buffer.set(Some(buffer));
    }

    /// In a forked child: everything that is shared with the parent is made anew.
    pub(crate) fn after_fork(&self) -> Result<()> {
        if self.dropped.get() {
            return Err(Error::EINVAL);
        }
        if self.running.get() {
            return Err(Error::EBUSY);
        }
        let mark = fork_mark::current()?;
        if let Some(port) = self.signal_port_if_made() {
            port.after_fork()?;
        }
        self.asyncs.after_fork()?;
        self.works.after_fork(self)?;
        self.children.after_fork(self);
        self.fs_events.after_fork(self)?;
        self.watchers.renew()?;
        self.mark.set(mark);
        self.chores.add_errand();
        self.update_time();
        self.handles.snapshot().into_iter().for_each(Node::forked);
        Ok(())
    }

    /// The loop is being dropped: every handle is closed without a callback, its descriptors are
    /// closed and its closures dropped.
    ///
    /// Dropping a closure runs code of the user's, which may use any handle of this loop. So that
    /// it cannot put one back on a queue, all of them are closed handles before the first closure
    /// is dropped: closing them does nothing any more, and starting is an error.
    pub(crate) fn discard(&self) {
        self.dropped.set(true);
        for node in self.handles.snapshot() {
            node.base().set_closed();
        }
        let hooks = [&self.idle, &self.prepare, &self.check];
        let others = [&self.pending, &self.exits, &self.signals, &self.signals_once];
        for node in self.closing.take() {
            self.handles.remove(node.base());
            node.base().discard(&node);
        }
        for queue in hooks.into_iter().chain(others) {
            while let Some(node) = queue.pop_front() {
                self.handles.remove(node.base());
                node.base().discard(&node);
            }
        }
        while let Some(node) = self.handles.first() {
            self.handles.remove(node.base());
            node.base().discard(&node);
        }
        self.works.discard(self);
        self.asyncs.discard(self);
        self.children.discard(self);
        self.unwatch(&self.port_watcher);
        drop(self.port.take());
        self.watchers.close();
    }
}
