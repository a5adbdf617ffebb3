//! Tells a forked child from its parent at the price of one load from memory.
//!
//! A loop that was carried over a fork shares its epoll set with the parent, where a deletion in
//! the child would take effect too. So every loop remembers the mark of the process that it was
//! made in, and touches nothing when the mark has changed.
//!
//! The mark lies on a page that the kernel gives to a forked child as zeros (`MADV_WIPEONFORK`,
//! madvise(2), Linux 4.14). A child that shares memory keeps the mark, and rightly so: it shares
//! the loop.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::last_error;
use crate::error::{Error, Result};

static PAGE: OnceLock<Result<&'static AtomicU32>> = OnceLock::new();

/// Where the marks of this process are to be read: the page, or a zero until there is one.
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const NONE).cast_mut());

/// Nobody's mark.
static NONE: AtomicU32 = AtomicU32::new(0);

/// The mark given last; a page of zeros gets the next one.
static LAST: AtomicU32 = AtomicU32::new(0);

fn page() -> Result<&'static AtomicU32> {
    *PAGE.get_or_init(|| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(last_error());
        }
        // SAFETY: the page was mapped just above and belongs to nobody else.
        if unsafe { libc::madvise(at, 4096, libc::MADV_WIPEONFORK) } != 0 {
            let error = last_error();
            // SAFETY: nothing refers to the page yet.
            unsafe { libc::munmap(at, 4096) };
            return Err(error);
        }
        MARK.store(at.cast(), Ordering::Release);
        // SAFETY: the page is never unmapped, aligned, and holds zeros, a valid AtomicU32.
        Ok(unsafe { &*at.cast::<AtomicU32>() })
    })
}

/// The mark of this process, never 0. Fails when the page cannot be had (`ENOMEM`).
pub(crate) fn current() -> Result<u32> {
    let page = page()?;
    let mark = page.load(Ordering::Relaxed);
    if mark != 0 {
        return Ok(mark);
    }
    // Several threads may come here at once: whoever is first decides.
    let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    match page.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(next),
        Err(mark) => Ok(mark),
    }
}

/// Whether `mark` was given in this very process.
#[inline]
pub(crate) fn is_current(mark: u32) -> bool {
    // SAFETY: it is a static or the page, both of which are there for ever.
    let at = unsafe { &*MARK.load(Ordering::Acquire) };
    at.load(Ordering::Relaxed) == mark
}

/// The error that a loop from before a fork reports.
pub(crate) const STALE: Error = Error::ESTALE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_has_another_mark() {
        let mark = current().unwrap();
        assert!(is_current(mark));
        // SAFETY: the child only loads, stores and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let differs = !is_current(mark) && current() != Ok(mark);
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(if differs { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: `child` is ours and `status` outlives the call.
        retry_wait(|| unsafe { libc::waitpid(child, &raw mut status, 0) });
        assert_eq!(status, 0);
        assert!(is_current(mark));
    }

    fn retry_wait(call: impl FnMut() -> i32) {
        super::super::retry(call).unwrap();
    }
}
