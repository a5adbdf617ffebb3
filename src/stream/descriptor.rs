//! The descriptor of a stream: how it is taken over, lent and given out.
//!
//! Invariants: a description that this crate did not make keeps its flags, and what would block is
//! done another way; whoever else may have the descriptor is remembered, because a server that is
//! shared leaves connections to the others.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::node::{Flags, StreamNode};
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::handle::HandleKind;
use crate::sys::fd;

impl StreamNode {
    pub(super) fn is_open(&self) -> bool {
        !self.fd.is_empty()
    }

    /// Calls `with` with the descriptor; `EBADF` when there is none. No code of the user's runs
    /// inside, and nothing that asks this stream for its descriptor.
    pub(crate) fn with_fd<R>(&self, with: impl FnOnce(BorrowedFd<'_>) -> Result<R>) -> Result<R> {
        let fd = self.fd.take().ok_or(Error::EBADF)?;
        let result = with(fd.as_fd());
        self.fd.put(fd);
        result
    }

    /// As [`StreamNode::with_fd`], for what only sockets have; `ENOTSUP` for kinds of stream that are
    /// none.
    pub(super) fn with_socket<R>(
        &self,
        with: impl FnOnce(BorrowedFd<'_>) -> Result<R>,
    ) -> Result<R> {
        match self.kind {
            HandleKind::Tcp | HandleKind::NamedPipe => self.with_fd(with),
            _ => Err(Error::ENOTSUP),
        }
    }

    pub(super) fn fileno(&self) -> Result<RawFd> {
        self.put(Flags::SHARED, true);
        self.with_fd(|fd| Ok(fd.as_raw_fd()))
    }

    /// A copy of the descriptor, for somebody else.
    pub(crate) fn duplicate_fd(&self) -> Result<OwnedFd> {
        self.put(Flags::SHARED, true);
        self.with_fd(fd::duplicate)
    }

    /// Whether a new descriptor may be put in: `EINVAL` when closing, `EBUSY` when open.
    pub(crate) fn may_open(&self) -> Result<()> {
        if self.base.is_closing() {
            return Err(Error::EINVAL);
        }
        self.base.lp().inner().usable()?;
        if self.is_open() { Err(Error::EBUSY) } else { Ok(()) }
    }

    /// Takes over a descriptor that this crate made non-blocking and that is new to the loop.
    pub(crate) fn attach(
        &self,
        fd: OwnedFd,
        readable: bool,
        writable: bool,
        fifo: bool,
    ) -> Result<()> {
        let transfer = if fifo { fd::Transfer::Plain } else { fd::Transfer::Socket };
        self.attach_with(fd, transfer, readable, writable, fifo)
    }

    pub(super) fn attach_with(
        &self,
        fd: OwnedFd,
        transfer: fd::Transfer,
        readable: bool,
        writable: bool,
        fifo: bool,
    ) -> Result<()> {
        self.may_open()?;
        if let Some(early) = self.rare.get().and_then(|rare| rare.early.take()) {
            early.apply(fd.as_fd())?;
        }
        self.flags.set(Flags::empty());
        self.put(Flags::READABLE, readable);
        self.put(Flags::WRITABLE, writable);
        self.put(Flags::FIFO, fifo);
        self.put(Flags::BOUND, !fifo);
        self.transfer.set(transfer);
        self.fd.put(fd);
        Ok(())
    }

    /// Takes over a descriptor that somebody else made, whose description's flags stay as they
    /// are: a way to read and write it without blocking is found instead.
    pub(super) fn open(&self, fd: OwnedFd) -> Result<()> {
        self.may_open()?;
        let flags = fd::status_flags(fd.as_fd())?;
        let access = flags & libc::O_ACCMODE;
        let (readable, writable) = (access != libc::O_WRONLY, access != libc::O_RDONLY);
        let kind = fd::kind(fd.as_fd())?;
        if matches!(kind, fd::Kind::File | fd::Kind::Directory) {
            return Err(Error::EINVAL);
        }
        let nowait = self.base.lp().inner().has(Facilities::RWF_NOWAIT);
        let (fd, transfer) = if kind == fd::Kind::Socket {
            (fd, fd::Transfer::Socket)
        } else if flags & libc::O_NONBLOCK != 0 {
            (fd, fd::Transfer::Plain)
        } else if kind == fd::Kind::Fifo && nowait && fd::knows_nowait(fd.as_fd()) {
            (fd, fd::Transfer::NoWait)
        } else if kind == fd::Kind::Fifo || fd::is_slave(fd.as_fd()) {
            match fd::reopen_nonblocking(fd.as_fd()) {
                Ok(own) => (own, fd::Transfer::Plain),
                Err(_) => (fd, fd::Transfer::AfterPoll),
            }
        } else {
            // Opening a device anew may give another one: a new pseudo-terminal for /dev/ptmx.
            (fd, fd::Transfer::AfterPoll)
        };
        self.attach_with(fd, transfer, readable, writable, kind == fd::Kind::Fifo)?;
        self.put(Flags::MAY_BLOCK, flags & libc::O_NONBLOCK == 0);
        self.put(Flags::SHARED, true);
        Ok(())
    }

    /// Ends the watch and gives the descriptor out.
    pub(super) fn detach(&self) -> Option<OwnedFd> {
        let fd = self.fd.take();
        if let Some(terminal) = self.terminal()
            && let Some(fd) = &fd
            && self.base.lp().inner().is_ours()
        {
            terminal.release(fd.as_fd());
        }
        self.base.lp().inner().unwatch(&self.watcher);
        fd
    }

    pub(super) fn take_fd(&self) -> Result<OwnedFd> {
        let busy = Flags::READING | Flags::LISTENING | Flags::CONNECTING;
        if self.flags.get().intersects(busy) || self.writing.get().is_some_and(|w| w.has_requests())
        {
            return Err(Error::EBUSY);
        }
        let fd = self.detach().ok_or(Error::EBADF)?;
        self.flags.set(Flags::empty());
        if let Some(listening) = self.listening() {
            listening.forget_path();
        }
        Ok(fd)
    }
}
