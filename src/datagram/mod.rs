//! Sockets whose messages have boundaries: the core of [`Udp`](crate::Udp),
//! [`UnixDatagram`](crate::UnixDatagram) and [`SeqPacket`](crate::SeqPacket).
//!
//! `receive` and `send` are the two directions, `report` tells of sends that are over; this file has the state and the events of the
//! descriptor. Invariants: the descriptor is watched for exactly what is wanted of it; the watch
//! ends before the descriptor is closed; the handle is active while it receives or has sends that
//! have not been reported (libuv's rule).

mod receive;
mod report;
mod send;
pub(crate) mod unix;

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use bitflags::bitflags;

pub(crate) use receive::{
    Event, EventInto, LoopBuffer, Receiver, Supplied, start as recv_start, stop as recv_stop,
};
pub(crate) use report::{connected, shutdown};
pub(crate) use send::{Request, SendCallback, SendControl, check_slices, may_try, start, try_many};

use crate::error::{Error, Result};
use crate::event_loop::{Facilities, LoopRef, WatcherKey};
use crate::handle::{Again, Base, HandleKind, Node, Slot, create};
use crate::sys::datagram::Joining;
use crate::sys::{epoll, fd};
use send::Sending;

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Flags: u8 {
        const RECEIVING = 1;
        /// There is room again is what the socket waits for.
        const WANTS_ROOM = 2;
        /// Has a peer.
        const CONNECTED = 4;
        const IPV6 = 8;
        /// Several messages are received with one call.
        const BATCHES = 16;
        /// The writing side has been shut down, or is about to be.
        const SHUT = 32;
        /// Messages come over a connection, which has an end.
        const HAS_END = 64;
    }
}

pub(crate) struct DatagramNode {
    pub(crate) base: Base,
    kind: HandleKind,
    flags: Cell<Flags>,
    watcher: Cell<WatcherKey>,
    fd: RefCell<Option<OwnedFd>>,
    receiver: Slot<dyn Receiver>,
    /// How often receiving was started, so that a batch ends with the closure it was for.
    starts: Cell<u32>,
    sending: OnceCell<Box<Sending>>,
    /// Whether several datagrams may be sent as one message.
    joining: Joining,
    /// Whether receiving goes on after a batch that was not full.
    again: Again,
    /// Bound to, and removed with the handle.
    path: Cell<Option<Box<[u8]>>>,
}

impl DatagramNode {
    pub(crate) fn make(lp: &LoopRef, kind: HandleKind) -> Result<Rc<DatagramNode>> {
        create(lp, |base| DatagramNode {
            base,
            kind,
            flags: Cell::new(Flags::empty()),
            watcher: Cell::new(WatcherKey::NONE),
            fd: RefCell::new(None),
            receiver: Slot::empty(),
            starts: Cell::new(0),
            sending: OnceCell::new(),
            joining: Joining::never(),
            again: Again::default(),
            path: Cell::new(None),
        })
    }

    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.get().contains(flag)
    }

    pub(crate) fn put(&self, flag: Flags, on: bool) {
        let mut flags = self.flags.get();
        flags.set(flag, on);
        self.flags.set(flags);
    }

    pub(crate) fn kind_of_handle(&self) -> HandleKind {
        self.kind
    }

    pub(crate) fn is_open(&self) -> bool {
        self.fd.borrow().is_some()
    }

    /// Calls `with` with the descriptor; `EBADF` when there is none. No code of the user's runs
    /// inside.
    pub(crate) fn with_fd<R>(&self, with: impl FnOnce(BorrowedFd<'_>) -> Result<R>) -> Result<R> {
        match &*self.fd.borrow() {
            Some(fd) => with(fd.as_fd()),
            None => Err(Error::EBADF),
        }
    }

    /// Whether the handle can be used: `EINVAL` when it is closing or its loop is gone, `ESTALE` in
    /// a forked child.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.base.is_closing() {
            return Err(Error::EINVAL);
        }
        self.base.lp().inner().usable()
    }

    /// Whether a new descriptor may be put in: as [`DatagramNode::usable`], and `EBUSY` when open.
    pub(crate) fn may_open(&self) -> Result<()> {
        self.usable()?;
        if self.is_open() { Err(Error::EBUSY) } else { Ok(()) }
    }

    /// Takes over a socket. Its flags stay as they are: each call says that it must not block.
    pub(crate) fn attach(&self, fd: OwnedFd) -> Result<()> {
        self.may_open()?;
        let kept = self.flags.get() & (Flags::BATCHES | Flags::HAS_END);
        self.flags.set(kept);
        self.reset_joining();
        *self.fd.borrow_mut() = Some(fd);
        Ok(())
    }

    /// Whether datagrams can be sent together is to be found out anew.
    pub(crate) fn reset_joining(&self) {
        let allowed = self.base.lp().inner().has(Facilities::UDP_SEGMENT);
        self.joining.reset(allowed && self.kind == HandleKind::Udp);
    }

    /// Remembers the path to remove when the handle is closed.
    pub(crate) fn own_path(&self, path: &[u8]) {
        self.path.set(Some(path.into()));
    }

    fn remove_path(&self) {
        if let Some(path) = self.path.take()
            // In a forked child the path is the parent's, which goes on using it.
            && self.base.lp().inner().is_ours()
        {
            use std::os::unix::ffi::OsStrExt;
            // Somebody else may have removed it, which is as well.
            let _gone = std::fs::remove_file(std::ffi::OsStr::from_bytes(&path));
        }
    }

    /// Brings the watch in line with what is wanted of the descriptor. Fails only when that means
    /// a new registration.
    fn watch(&self) -> Result<()> {
        let mut wanted = 0;
        if self.has(Flags::RECEIVING) {
            wanted |= epoll::IN;
        }
        if self.has(Flags::WANTS_ROOM) && !self.waits_for_peer() {
            wanted |= epoll::OUT;
        }
        let lp = self.base.lp().inner();
        let key = self.watcher.get();
        if !key.is_none() {
            return lp.watchers.set(key, wanted);
        }
        if wanted != 0 {
            let key = self.with_fd(|fd| lp.watch(fd, wanted, &self.base))?;
            self.watcher.set(key);
        }
        Ok(())
    }

    /// As [`DatagramNode::watch`], where less is wanted than before, which cannot fail.
    fn watch_less(&self) {
        if self.base.lp().inner().is_ours() {
            let _less = self.watch();
        }
    }

    /// Active is who receives or has sends to report. May drop the handle: the caller refers to it.
    fn update_active(&self) {
        if self.has(Flags::RECEIVING) || self.send_queue_count() > 0 {
            self.base.activate();
        } else {
            self.base.deactivate();
        }
    }

    /// Ends the watch and gives the descriptor out.
    fn detach(&self) -> Option<OwnedFd> {
        self.forget_peer_watch();
        self.base.lp().inner().unwatch(&self.watcher);
        self.fd.borrow_mut().take()
    }

    pub(crate) fn fileno(&self) -> Result<RawFd> {
        self.with_fd(|fd| Ok(fd.as_raw_fd()))
    }

    pub(crate) fn duplicate_fd(&self) -> Result<OwnedFd> {
        self.with_fd(fd::duplicate)
    }

    /// Gives the descriptor back; `EBUSY` while it is received from or sent to.
    pub(crate) fn take_fd(&self) -> Result<OwnedFd> {
        if self.has(Flags::RECEIVING) || self.has_requests() {
            return Err(Error::EBUSY);
        }
        let fd = self.detach().ok_or(Error::EBADF)?;
        self.flags.set(self.flags.get() & (Flags::BATCHES | Flags::HAS_END));
        // The path is whoever's the socket is now.
        drop(self.path.take());
        Ok(fd)
    }
}

impl Node for DatagramNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        self.kind
    }

    fn io(self: Rc<Self>, events: u32) {
        if events & (epoll::IN | epoll::ERR | epoll::HUP) != 0 {
            receive::ready(&self, events & epoll::ERR != 0);
        }
        if events & (epoll::OUT | epoll::ERR | epoll::HUP) != 0 && self.is_open() {
            send::ready(&self);
        }
    }

    /// Completed requests have their turn.
    fn work(self: Rc<Self>) {
        report::report(&self);
    }

    fn stop(&self) {
        self.put(Flags::RECEIVING | Flags::WANTS_ROOM | Flags::CONNECTED, false);
        drop(self.detach());
        self.remove_path();
    }

    fn drop_closures(&self) {
        drop(self.receiver.clear());
        if self.base.is_closed() {
            // The loop is being dropped: nothing will be reported any more.
            self.discard_sends();
        }
    }

    fn finish_close(self: Rc<Self>) {
        report::cancel_all(&self);
    }
}

impl Drop for DatagramNode {
    fn drop(&mut self) {
        drop(self.detach());
        self.remove_path();
    }
}
