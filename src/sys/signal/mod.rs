//! From signal handlers to loops: each loop that watches signals has a [`SignalPort`].
//!
//! A port is a pipe, for the loop's epoll set, and one counter for each signal. The handler counts
//! and wakes; it sends no messages, so nothing can overflow or be lost (libuv#2398), and nothing in
//! the pipe means anything (libuv#4581). The loop compares the counter with what it last saw, which
//! is "at least once": the kernel merges standard signals before they get here.
//!
//! `seat` is the part that handlers see, `disposition` decides what a signal does in this process.
//! The handler is async-signal-safe throughout and leaves errno as it was.

mod disposition;
mod seat;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, retry};
use crate::error::{Error, Result};
use seat::{SIGNALS, Seat};

/// A loop's share in the process's signals. Owned by the loop; handlers of all threads reach it
/// through its seat.
#[derive(Debug)]
pub(crate) struct SignalPort {
    seat: &'static Seat,
    read_end: OwnedFd,
    write_end: OwnedFd,
    watches: [Cell<u32>; SIGNALS],
}

impl SignalPort {
    /// A port that watches nothing yet.
    pub(crate) fn new() -> Result<SignalPort> {
        let (read_end, write_end) = signal_pipe()?;
        let seat = Seat::take(write_end.as_raw_fd());
        Ok(SignalPort { seat, read_end, write_end, watches: [const { Cell::new(0) }; SIGNALS] })
    }

    /// Readable when a signal may have been caught; to be followed by [`SignalPort::drain`].
    pub(crate) fn read_end(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// Counts this signal from now on, once more if it is watched already.
    ///
    /// `EINVAL` for a number that is no signal, for `SIGKILL` and `SIGSTOP`, and for the real-time
    /// signals that the C library keeps for itself.
    pub(crate) fn watch(&self, signum: i32) -> Result<()> {
        disposition::claim(signum)?;
        let watches = self.watches(signum)?;
        watches.set(watches.get() + 1);
        self.seat.watch(signum);
        Ok(())
    }

    /// Takes one [`SignalPort::watch`] back. After the last one of all ports the signal does what
    /// it did before the first.
    pub(crate) fn unwatch(&self, signum: i32) {
        let Ok(watches) = self.watches(signum) else { return };
        debug_assert!(watches.get() > 0, "signal {signum} is not watched");
        if watches.replace(watches.get().saturating_sub(1)) == 1 {
            self.seat.unwatch(signum);
        }
    }

    /// Empties the pipe. What is caught from now on makes it readable again; what was caught before
    /// is in the counters, which are to be read after this.
    pub(crate) fn drain(&self) {
        let mut bytes = [0u8; 16];
        loop {
            // SAFETY: the buffer outlives the call and is as long as stated.
            let read = retry(|| unsafe {
                libc::read(self.read_end.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len())
                    as libc::c_long
            });
            // At most a byte or two are ever in it, so a short read says that it is empty.
            if !read.is_ok_and(|n| n.cast_unsigned() as usize == bytes.len()) {
                break;
            }
        }
        self.seat.slept();
    }

    /// How often the signal was caught while it was watched; wraps around.
    pub(crate) fn caught(&self, signum: i32) -> u32 {
        self.seat.caught(signum)
    }

    /// Process and user that sent the last one; zeros where no process did.
    pub(crate) fn sender(&self, signum: i32) -> (libc::pid_t, libc::uid_t) {
        let sender = self.seat.sender(signum);
        (((sender >> 32) as u32).cast_signed(), sender as u32)
    }

    /// In a forked child: a new, empty pipe under the old numbers, so that the parent's is left
    /// alone, and from here on this process's signals are caught again.
    ///
    /// The counters go on from where they stood at the fork. The loop takes them as what it has
    /// seen: signals that the parent has not yet worked off are the parent's (fork(2): a child
    /// inherits no pending signals).
    pub(crate) fn after_fork(&self) -> Result<()> {
        let (read_end, write_end) = signal_pipe()?;
        for (from, to) in [(&read_end, &self.read_end), (&write_end, &self.write_end)] {
            let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
            // SAFETY: both are open and ours; the number keeps its owner.
            retry(|| unsafe { libc::dup3(from, to, libc::O_CLOEXEC) })?;
        }
        self.seat.renew();
        Ok(())
    }

    fn watches(&self, signum: i32) -> Result<&Cell<u32>> {
        usize::try_from(signum).ok().and_then(|n| self.watches.get(n)).ok_or(Error::EINVAL)
    }
}

impl Drop for SignalPort {
    fn drop(&mut self) {
        // Before the pipe is closed: a handler must not write to a number that is somebody else's.
        self.seat.vacate();
    }
}

fn signal_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array takes the two numbers and outlives the call.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    // SAFETY: the kernel has just handed out both and nobody else knows them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}
