//! The `Poll` handle: watches a descriptor that somebody else reads and writes (`uv_poll_t`).
//!
//! Invariant: the handle owns the source that it was made from, and its registration is deleted
//! before the source is dropped.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;

use bitflags::bitflags;

use crate::error::{Error, Result};
use crate::event_loop::{LoopRef, WatcherKey};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};
use crate::sys::epoll;

bitflags! {
    /// What a [`Poll`] watches for and reports, with libuv's values (`uv_poll_event`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct PollEvents: u32 {
        /// There is something to read, or the end has been reached.
        const READABLE = 1;
        /// There is room to write.
        const WRITABLE = 2;
        /// The peer has shut down its writing side, or is gone.
        const DISCONNECT = 4;
        /// There is priority data: TCP's urgent byte, an event of sysfs or a cgroup file.
        const PRIORITIZED = 8;
    }
}

impl PollEvents {
    fn to_epoll(self) -> u32 {
        let mut bits = 0;
        for (event, bit) in EPOLL_BITS {
            if self.contains(event) {
                bits |= bit;
            }
        }
        bits
    }

    fn from_epoll(bits: u32) -> PollEvents {
        let mut events = PollEvents::empty();
        for (event, bit) in EPOLL_BITS {
            events.set(event, bits & bit != 0);
        }
        events
    }
}

const EPOLL_BITS: [(PollEvents, u32); 4] = [
    (PollEvents::READABLE, epoll::IN),
    (PollEvents::WRITABLE, epoll::OUT),
    (PollEvents::DISCONNECT, epoll::RDHUP),
    (PollEvents::PRIORITIZED, epoll::PRI),
];

type Callback = dyn FnMut(&Poll, Result<PollEvents>);

pub(crate) struct PollNode {
    base: Base,
    callback: Slot<Callback>,
    wanted: Cell<PollEvents>,
    /// The batch that was being worked off when the watch last ended: events in it were fetched for
    /// the old watch, also if another has begun since.
    ended_in: Cell<Option<u64>>,
    watcher: Cell<WatcherKey>,
    source: RefCell<Option<Rc<dyn AsFd>>>,
}

impl PollNode {
    fn leave(&self) {
        self.wanted.set(PollEvents::empty());
        self.ended_in.set(Some(self.base.lp().inner().watchers.batch_number()));
        let key = self.watcher.get();
        if !key.is_none() && self.base.lp().inner().is_ours() {
            // Taking something out cannot fail; it waits for the next flush.
            let _out = self.base.lp().inner().watchers.set(key, 0);
        }
        self.base.deactivate();
    }

    fn stop_and_drop(&self) {
        self.leave();
        drop(self.callback.clear());
    }
}

impl Node for PollNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Poll
    }

    fn io(self: Rc<Self>, events: u32) {
        let batch = self.base.lp().inner().watchers.batch_number();
        if !self.base.is_active() || self.ended_in.get() == Some(batch) {
            return;
        }
        let mut bits = events;
        if events & (epoll::ERR | epoll::HUP) != 0 {
            if events & epoll::ERR != 0 && events & (epoll::IN | epoll::OUT | epoll::PRI) == 0 {
                // libuv's rule: an error alone ends the watch.
                self.leave();
                self.call(Err(Error::EBADF));
                return;
            }
            // With a hang-up, everything that was asked for happens at once, so that a reader
            // that only asked for READABLE learns of the end.
            bits |= self.wanted.get().to_epoll();
        }
        let happened = PollEvents::from_epoll(bits) & self.wanted.get();
        if !happened.is_empty() {
            self.call(Ok(happened));
        }
    }

    fn stop(&self) {
        self.leave();
        self.base.lp().inner().unwatch(&self.watcher);
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
        let source = self.source.take();
        drop(source);
    }
}

impl PollNode {
    fn call(self: Rc<Self>, event: Result<PollEvents>) {
        self.base.lp().inner().counters.callback();
        let poll = Poll(self);
        let stopping = OnUnwind::new(|| poll.0.stop_and_drop());
        poll.0.callback.call(|callback| callback(&poll, event));
        stopping.passed();
        if !poll.0.base.is_active() {
            drop(poll.0.callback.clear());
        }
    }
}

impl Drop for PollNode {
    fn drop(&mut self) {
        self.base.lp().inner().unwatch(&self.watcher);
    }
}

/// Watches a descriptor for readiness; reading and writing is left to whoever uses it.
///
/// ```
/// use blacklight::{EventLoop, Handle, Poll, PollEvents, RunMode};
/// use std::io::Write;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let lp = EventLoop::new()?;
/// let poll = Poll::new(&lp, reader)?;
/// poll.start(PollEvents::READABLE, |poll, events| {
///     assert_eq!(events, Ok(PollEvents::READABLE));
///     poll.close();
/// })?;
/// writer.write_all(b"x")?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Poll(Rc<PollNode>);

handle!(Poll, PollNode, |_| true);

impl Poll {
    /// Makes a watcher of the source's descriptor, which must stay the same for as long as the
    /// source lives: an `OwnedFd`, a `File`, an `Rc` of a socket that others use too.
    ///
    /// The source is dropped in [`Handle::close`](crate::Handle::close), after the descriptor has
    /// left the epoll set. Its flags are not changed (libuv sets `O_NONBLOCK`).
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child. Whether the descriptor
    /// can be watched shows in [`Poll::start`].
    pub fn new(lp: &LoopRef, source: impl AsFd + 'static) -> Result<Poll> {
        create(lp, |base| PollNode {
            base,
            callback: Slot::empty(),
            wanted: Cell::new(PollEvents::empty()),
            ended_in: Cell::new(None),
            watcher: Cell::new(WatcherKey::NONE),
            source: RefCell::new(Some(Rc::new(source))),
        })
        .map(Poll)
    }

    /// Watches for `events` from now on and reports them to `callback` for as long as they last
    /// (level-triggered). A watch that is on already gets the new events and the new closure. No
    /// events at all means [`Poll::stop`].
    ///
    /// The callback gets `EBADF`, and the watch ends, when the kernel reports an error and nothing
    /// else.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing, `EEXIST` when the loop watches the same descriptor for
    /// another handle, `EPERM` for what epoll cannot watch (a regular file), `ENOMEM` or `ENOSPC`
    /// when the kernel has no room (epoll(7), `max_user_watches`).
    pub fn start(
        &self,
        events: PollEvents,
        callback: impl FnMut(&Poll, Result<PollEvents>) + 'static,
    ) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        let lp = node.base.lp().inner();
        lp.usable()?;
        if events.is_empty() {
            self.stop();
            return Ok(());
        }
        let bits = events.to_epoll();
        if node.watcher.get().is_none() {
            let Some(source) = self.source() else { return Err(Error::EBADF) };
            node.watcher.set(lp.watch(source.as_fd(), bits, &node.base)?);
        } else {
            lp.watchers.set(node.watcher.get(), bits)?;
        }
        node.wanted.set(events);
        node.base.activate();
        drop(node.callback.set(Box::new(callback)));
        Ok(())
    }

    /// Ends the watch and drops the closure. Events fetched already are not reported.
    pub fn stop(&self) {
        self.0.stop_and_drop();
    }

    /// The number of the descriptor that is watched (`uv_fileno`).
    ///
    /// # Errors
    /// `EBADF` after closing.
    pub fn fileno(&self) -> Result<RawFd> {
        self.source().map(|source| source.as_fd().as_raw_fd()).ok_or(Error::EBADF)
    }

    /// A share in the source: `as_fd` may be code of the user's, so no borrow is live around it.
    fn source(&self) -> Option<Rc<dyn AsFd>> {
        self.0.source.borrow().clone()
    }
}
