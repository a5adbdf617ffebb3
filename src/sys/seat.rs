//! The place where a socket, or another descriptor, lies while it is used.
//!
//! Taking a descriptor out to lend it, and putting it back, is dear beside a turn that does little
//! else. Invariant: the calls that are made with it where it lies end before anything else of this
//! thread runs, so nobody takes it out, or closes it, meanwhile.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::fd;
use crate::error::Result;

/// Room for one descriptor.
pub(crate) struct Seat(Cell<Option<OwnedFd>>);

/// What the kernel answers with `EBADF`.
const NOBODY: RawFd = -1;

impl Seat {
    pub(crate) const fn empty() -> Seat {
        Seat(Cell::new(None))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.number() == NOBODY
    }

    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.take()
    }

    pub(crate) fn put(&self, fd: OwnedFd) {
        self.0.set(Some(fd));
    }

    #[inline]
    fn number(&self) -> RawFd {
        // SAFETY: the cell is this thread's alone, and nothing writes to it while it is looked at.
        let fd = unsafe { &*self.0.as_ptr() };
        fd.as_ref().map_or(NOBODY, AsRawFd::as_raw_fd)
    }

    /// One recv(2) that does not wait; `EBADF` when nothing is there.
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        fd::receive(self.number(), buffer)
    }

    /// One send(2) that neither waits nor raises a signal; `EBADF` when nothing is there.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize> {
        fd::send(self.number(), bytes)
    }
}
