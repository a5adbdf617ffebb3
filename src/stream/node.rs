//! The state of a stream, and what the events of its descriptor set off.
//!
//! Invariants: the descriptor is watched for exactly what is wanted of it (reading or listening,
//! and a queue that waits for room); the watch ends before the descriptor is closed. What a stream
//! that is only read from does not need (queues, servers) is allocated when it is.

use std::cell::{Cell, OnceCell};
use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use bitflags::bitflags;

use super::ipc::{self, Ipc};
use super::listen::{self, Listening};
use super::read::{self, Reader};
use super::tcp::Early;
use super::tty::Terminal;
use super::writing::Writing;
use super::{report, write};
use crate::error::{Error, Result};
use crate::event_loop::{LoopRef, WatcherKey};
use crate::handle::{Base, HandleKind, Node, Slot, create};
use crate::sys::seat::Seat;
use crate::sys::{epoll, fd, unix_socket};

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Flags: u16 {
        const READABLE = 1;
        const WRITABLE = 2;
        const READING = 4;
        const LISTENING = 8;
        /// A connect is in flight; writes wait for it.
        const CONNECTING = 16;
        /// The event being worked off says that the peer is gone.
        const HUNG_UP = 32;
        /// A shutdown is in flight, or done.
        const SHUT = 64;
        /// There is room again is what the stream waits for.
        const WANTS_ROOM = 128;
        /// Bound or connected, so that it may listen.
        const BOUND = 256;
        const FIFO = 512;
        /// Its description has no `O_NONBLOCK`.
        const MAY_BLOCK = 1024;
        /// Writes are to be done when they return.
        const WRITES_BLOCK = 2048;
        /// Its address turned out to be in use; to be said later.
        const IN_USE = 4096;
        /// Somebody else may have the descriptor too.
        const SHARED = 8192;
        /// The reader has buffers of its own.
        const SUPPLIED = 16384;
    }
}

pub(crate) struct StreamNode {
    pub(super) base: Base,
    pub(super) kind: HandleKind,
    pub(super) flags: Cell<Flags>,
    pub(super) transfer: Cell<fd::Transfer>,
    pub(super) watcher: Cell<WatcherKey>,
    /// Taken out by [`StreamNode::with_fd`] for as long as it lends it.
    pub(super) fd: Seat,
    pub(super) reader: Slot<dyn Reader>,
    pub(super) writing: OnceCell<Box<Writing>>,
    pub(super) rare: OnceCell<Box<Rare>>,
}

/// What only few streams have.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) listening: OnceCell<Listening>,
    /// There for a pipe in IPC mode only.
    pub(super) ipc: OnceCell<Ipc>,
    /// There for terminals only.
    pub(super) terminal: OnceCell<Terminal>,
    /// Options for a TCP socket that is not there yet.
    pub(super) early: Cell<Option<Early>>,
}

impl StreamNode {
    pub(crate) fn make(lp: &LoopRef, kind: HandleKind) -> Result<Rc<StreamNode>> {
        create(lp, |base| StreamNode {
            base,
            kind,
            flags: Cell::new(Flags::empty()),
            transfer: Cell::new(fd::Transfer::Plain),
            watcher: Cell::new(WatcherKey::NONE),
            fd: Seat::empty(),
            reader: Slot::empty(),
            writing: OnceCell::new(),
            rare: OnceCell::new(),
        })
    }

    /// The place of what only few streams have, made at first use.
    pub(super) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    pub(super) fn listening(&self) -> Option<&Listening> {
        self.rare.get()?.listening.get()
    }

    pub(super) fn ipc(&self) -> Option<&Ipc> {
        self.rare.get()?.ipc.get()
    }

    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.rare.get()?.terminal.get()
    }

    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.get().contains(flag)
    }

    pub(super) fn put(&self, flag: Flags, on: bool) {
        let mut flags = self.flags.get();
        flags.set(flag, on);
        self.flags.set(flags);
    }

    pub(super) fn is_readable(&self) -> bool {
        self.has(Flags::READABLE)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.has(Flags::WRITABLE)
    }

    pub(super) fn assume_readable(&self) {
        self.put(Flags::READABLE, true);
    }

    pub(super) fn kind_of_handle(&self) -> HandleKind {
        self.kind
    }

    /// One read, with what comes beside the bytes kept.
    #[inline]
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        if self.is_plain_socket() {
            return self.fd.receive(buffer);
        }
        self.read_otherwise(buffer)
    }

    #[inline(never)]
    fn read_otherwise(&self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(ipc) = self.ipc() {
            return ipc::receive(self, ipc, buffer);
        }
        match self.transfer(|fd, transfer| transfer.read(fd, buffer)) {
            Ok(n) => Ok(n),
            // What a master is told when nobody has its slave open any more.
            Err(Error::EIO) if self.is_master() => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        if let [slice] = slices {
            return self.write_one(slice);
        }
        self.write_otherwise(slices)
    }

    #[inline]
    pub(super) fn write_one(&self, bytes: &[u8]) -> Result<usize> {
        if self.transfer.get() == fd::Transfer::Socket {
            return self.fd.send(bytes);
        }
        self.write_otherwise(&[IoSlice::new(bytes)])
    }

    /// A socket, and nothing comes beside its bytes.
    #[inline]
    fn is_plain_socket(&self) -> bool {
        self.transfer.get() == fd::Transfer::Socket && self.ipc().is_none()
    }

    #[inline(never)]
    fn write_otherwise(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let wrote = self.transfer(|fd, transfer| transfer.write(fd, slices));
        match self.terminal() {
            Some(terminal) => self.with_fd(|fd| terminal.wrote(fd, slices, wrote)),
            None => wrote,
        }
    }

    /// Whether this is the master of a pseudo-terminal.
    pub(super) fn is_master(&self) -> bool {
        self.terminal().is_some_and(|terminal| terminal.is_master())
    }

    /// Reads or writes without blocking.
    fn transfer(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>, fd::Transfer) -> Result<usize>,
    ) -> Result<usize> {
        self.with_fd(|fd| match call(fd, self.transfer.get()) {
            Ok(n) => Ok(n),
            // A pipe that was opened under /proc is a pipe by every sign, and still does not know
            // the flag.
            Err(Error::ENOTSUP) if self.transfer.get() == fd::Transfer::NoWait => {
                self.transfer.set(fd::Transfer::AfterPoll);
                call(fd, fd::Transfer::AfterPoll)
            }
            other => other,
        })
    }

    /// The next connection that waits on a server.
    pub(super) fn accept(&self) -> Result<OwnedFd> {
        self.with_fd(|fd| {
            // accept(2) has no flag for one call. Another process, or another handle, that has the
            // same socket may have been faster, and then it would wait.
            if self.has(Flags::MAY_BLOCK) && epoll::ready_now(fd, libc::POLLIN)? == 0 {
                return Err(Error::EAGAIN);
            }
            unix_socket::accept(fd)
        })
    }

    /// Brings the watch in line with what is wanted of the descriptor. Fails only when that means
    /// a new registration.
    pub(super) fn watch(&self) -> Result<()> {
        let mut wanted = 0;
        let accepts = self.has(Flags::LISTENING)
            && self.listening().is_none_or(|listening| !listening.has_connection());
        if self.has(Flags::READING) || accepts {
            wanted |= epoll::IN;
        }
        if self.has(Flags::WANTS_ROOM) {
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

    /// As [`StreamNode::watch`], where less is wanted than before, which cannot fail.
    pub(super) fn watch_less(&self) {
        if self.base.lp().inner().is_ours() {
            let _less = self.watch();
        }
    }

    /// A shutdown waits for the queue, or for its callback.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.writing.get().is_some_and(|writing| writing.has_shutdown())
    }

    fn close_server(&self) {
        if let Some(listening) = self.listening() {
            if !self.base.lp().inner().is_ours() {
                // The path is the parent's, which goes on serving.
                listening.forget_path();
            }
            listening.close();
        }
    }

    /// The stream has failed or ended in both directions.
    pub(super) fn give_up(&self) {
        self.put(Flags::READABLE | Flags::WRITABLE, false);
    }
}

impl Node for StreamNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        self.kind
    }

    fn io(self: Rc<Self>, events: u32) {
        if self.flags.get().intersects(Flags::LISTENING | Flags::CONNECTING) {
            return connection(&self);
        }
        if events & (epoll::IN | epoll::ERR | epoll::HUP) != 0 {
            read::ready(&self, events & epoll::HUP != 0);
        }
        if events & (epoll::OUT | epoll::ERR | epoll::HUP) != 0 && self.is_open() {
            write::ready(&self);
        }
    }

    /// Completed requests have their turn.
    fn work(self: Rc<Self>) {
        report::report(&self);
    }

    fn stop(&self) {
        self.put(Flags::READING | Flags::LISTENING | Flags::WANTS_ROOM, false);
        self.give_up();
        drop(self.detach());
        self.close_server();
        if let Some(ipc) = self.ipc() {
            ipc.close();
        }
    }

    fn drop_closures(&self) {
        drop(self.reader.clear());
        if let Some(listening) = self.listening() {
            listening.drop_closure();
        }
        if self.base.is_closed() {
            // The loop is being dropped: nothing will be reported any more.
            if let Some(writing) = self.writing.get() {
                writing.discard();
            }
        }
    }

    fn finish_close(self: Rc<Self>) {
        report::cancel_all(&self);
    }

    fn forked(self: Rc<Self>) {
        self.put(Flags::SHARED, true);
    }
}

/// An event of a stream that is no stream of bytes yet.
#[inline(never)]
fn connection(node: &Rc<StreamNode>) {
    if node.has(Flags::LISTENING) {
        listen::ready(node);
    } else {
        report::connect_ready(node);
    }
}

impl Drop for StreamNode {
    fn drop(&mut self) {
        drop(self.detach());
        self.close_server();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop may have very many streams, and most are idle. libuv's takes 248 bytes; ours has a
    /// closure in memory of its own (32 bytes) and a watcher (48), and must leave room for them.
    #[test]
    fn a_stream_takes_less_memory_than_libuv_s() {
        let counts = 2 * size_of::<usize>();
        let size = size_of::<StreamNode>() + counts;
        println!("a stream takes {size} bytes");
        assert!(size <= 152, "{size}");
    }
}
