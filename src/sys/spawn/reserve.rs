//! A few low descriptor numbers that the process keeps for its spawns, all holding `/dev/null`.
//!
//! A child that unshares its table copies it up to its highest source, so a source far up would
//! make a spawn pay for every descriptor in between. Such a source is duplicated onto a low number
//! for as long as the spawn lasts.
//!
//! Invariant: outside of a [`Lease`] every reserved number holds `/dev/null`, close-on-exec, so the
//! parent never keeps a copy of a child's end of a pipe. A number is used only after a look at what
//! it holds: a program may have closed it behind our back, and what is there now is the program's.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::lock::{Held, ProcessLock};
use crate::error::{Error, Result};
use crate::sys::{check, retry};

/// Enough for three streams, a channel, and as many again. Each is a descriptor less for the
/// program for good.
const SPARE_COUNT: usize = 8;

/// What a lease has to save: below, copying the table is as cheap as the lease's two calls for each
/// source.
const WORTHWHILE: RawFd = 64;

/// The numbers of standard streams are not for us: a program that has them free means something by
/// it.
const LOWEST: RawFd = 3;

/// The number of the null device that children get, or -1.
static NULL: AtomicI32 = AtomicI32::new(-1);

/// Numbers to lend, or -1.
static SPARES: [AtomicI32; SPARE_COUNT] = [const { AtomicI32::new(-1) }; SPARE_COUNT];

/// Somebody has filled the spares, or is doing it.
static FILLED: AtomicBool = AtomicBool::new(false);

/// Held for as long as a lease lasts, which is until a child executes.
static LEASED: ProcessLock = ProcessLock::new();

/// Whether a number holds `/dev/null`.
fn is_ours(number: RawFd) -> bool {
    // SAFETY: a zeroed stat is a valid value, and the kernel fills it when it returns 0.
    let stat = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(number, &raw mut stat) != 0 {
            return false;
        }
        stat
    };
    // Documentation/admin-guide/devices.txt: character device 1:3 is /dev/null.
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}

fn open_null() -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: a NUL-ended path; the number returned is new and ours.
    let opened =
        unsafe { OwnedFd::from_raw_fd(retry(|| libc::open(c"/dev/null".as_ptr(), flags))?) };
    if opened.as_raw_fd() >= LOWEST { Ok(opened) } else { placeholder(opened.as_raw_fd()) }
}

fn placeholder(null: RawFd) -> Result<OwnedFd> {
    // SAFETY: the number returned is new and ours.
    unsafe {
        let copy = check(libc::fcntl(null, libc::F_DUPFD_CLOEXEC, LOWEST))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

/// Takes the reserve if nobody has yet, as far as it can be had.
pub(super) fn fill() {
    if !FILLED.load(Ordering::Relaxed) {
        let _ = null();
    }
}

/// A descriptor of `/dev/null` that stays open, to be a child's source. The first call also takes
/// the reserve, while low numbers are free.
pub(super) fn null() -> Result<RawFd> {
    let before = NULL.load(Ordering::Relaxed);
    let null = if before >= 0 && is_ours(before) {
        before
    } else {
        let opened = open_null()?;
        let number = opened.as_raw_fd();
        match NULL.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed) {
            // Kept for the life of the process, as a number: an OwnedFd would close it one day,
            // when it may be somebody else's.
            Ok(_) => opened.into_raw_fd(),
            // Another thread was faster.
            Err(theirs) => theirs,
        }
    };
    if !FILLED.swap(true, Ordering::Relaxed) {
        // What cannot be had now is done without: a spare only saves time.
        for spare in &SPARES {
            match placeholder(null) {
                Ok(placeholder) => spare.store(placeholder.into_raw_fd(), Ordering::Relaxed),
                Err(_) => break,
            }
        }
    }
    Ok(null)
}

/// A source and the number that stands for it.
#[derive(Debug, Clone, Copy)]
struct Loan {
    source: RawFd,
    spare: RawFd,
}

/// Whether a source is so far up that a lease may pay.
pub(super) fn is_worthwhile(source: RawFd) -> bool {
    source >= WORTHWHILE
}

/// Low numbers that stand for high sources until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    _alone: Held,
    null: RawFd,
    loans: [Option<Loan>; SPARE_COUNT],
}

impl Lease {
    /// Lends numbers to the highest of `sources`, which are sorted, when that pays. Nothing is lent
    /// otherwise, or when another spawn has the reserve: then the child copies more of the table.
    ///
    /// # Errors
    /// The source that is not open, with the errno.
    pub(super) fn take(sources: &[RawFd]) -> Result<Option<Lease>, (RawFd, Error)> {
        let highest = sources.last().copied().unwrap_or(-1);
        if !is_worthwhile(highest) {
            return Ok(None);
        }
        let Some(alone) = LEASED.try_lock() else { return Ok(None) };
        let null = NULL.load(Ordering::Relaxed);
        if null < 0 || !is_ours(null) {
            return Ok(None);
        }

        // The highest sources first, for as long as there are spares below them.
        let mut rest = sources.iter().rev().copied().peekable();
        let mut limit = 0;
        let mut loans = [None; SPARE_COUNT];
        let spares = SPARES.iter().map(|spare| spare.load(Ordering::Relaxed));
        let ours = spares.filter(|spare| *spare >= 0 && is_ours(*spare));
        for (loan, spare) in loans.iter_mut().zip(ours) {
            match rest.next_if(|source| *source >= WORTHWHILE && *source > spare) {
                Some(source) => *loan = Some(Loan { source, spare }),
                None => break,
            }
            limit = limit.max(spare);
        }
        if highest - rest.next().map_or(limit, |source| limit.max(source)) < WORTHWHILE {
            return Ok(None);
        }
        let lease = Lease { _alone: alone, null, loans };
        for Loan { source, spare } in lease.loans.iter().flatten().copied() {
            // SAFETY: the spare holds our placeholder, which nobody else uses.
            let done = retry(|| unsafe { libc::dup3(source, spare, libc::O_CLOEXEC) });
            done.map_err(|error| (source, error))?;
        }
        Ok(Some(lease))
    }

    /// The number that stands for a source.
    pub(super) fn of(&self, source: RawFd) -> RawFd {
        let loan = self.loans.iter().flatten().find(|loan| loan.source == source);
        loan.map_or(source, |loan| loan.spare)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        for Loan { spare, .. } in self.loans.iter().flatten().copied() {
            // SAFETY: the spare holds our placeholder or the copy that `take` put there. Onto an
            // open number dup3 needs no memory and no new number, so that it cannot fail.
            let _ = retry(|| unsafe { libc::dup3(self.null, spare, libc::O_CLOEXEC) });
        }
    }
}

/// Whether a child that copies the table up to `limit` pays more than a lease would cost.
pub(super) fn is_high(limit: u32) -> bool {
    limit > 2 * WORTHWHILE as u32
}
