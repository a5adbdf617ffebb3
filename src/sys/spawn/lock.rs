//! A lock that a forked child does not inherit.
//!
//! Invariant: the lock belongs to a process. Another thread may hold it, waiting for its own child,
//! at the moment when a program forks; in the forked process that thread does not exist, and a
//! `std::sync::Mutex` would stay locked for good. Here the word holds the mark of the holder's
//! process, and whoever finds one that is not its own takes the lock over. Without contention
//! neither taking it nor giving it back calls the kernel.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::fork_mark;

/// In the word beside the mark: somebody waits, or may.
const AWAITED: u32 = 1;

/// 0 when free, else the mark of the process one of whose threads holds it.
#[derive(Debug)]
pub(super) struct ProcessLock(AtomicU32);

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Held {
    word: &'static AtomicU32,
}

impl ProcessLock {
    pub(super) const fn new() -> ProcessLock {
        ProcessLock(AtomicU32::new(0))
    }

    /// Takes the lock unless a thread of this process has it.
    pub(super) fn try_lock(&'static self) -> Option<Held> {
        self.take(own_mark()).ok()
    }

    /// Puts `own` into the word unless a thread of this process has it: then gives the word back.
    fn take(&'static self, own: u32) -> Result<Held, u32> {
        let word = &self.0;
        let mut now = word.load(Ordering::Relaxed);
        while now & !AWAITED != own & !AWAITED {
            match word.compare_exchange(now, own, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(Held { word }),
                Err(changed) => now = changed,
            }
        }
        Err(now)
    }

    /// Takes the lock, waiting for the thread that has it.
    pub(super) fn lock(&'static self) -> Held {
        let mut own = own_mark();
        loop {
            let now = match self.take(own) {
                Ok(held) => return held,
                Err(now) => now,
            };
            // Whoever has waited cannot know that nobody else does.
            own |= AWAITED;
            let marked = self.0.compare_exchange(now, own, Ordering::Relaxed, Ordering::Relaxed);
            if now != own && marked.is_err() {
                continue;
            }
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            let no_end = std::ptr::null::<libc::timespec>();
            // SAFETY: the word is static. The wait ends at once when the word is no longer what
            // kept us out, and a wake-up for nothing only makes the loop turn.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, own, no_end) };
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.word.swap(0, Ordering::Release) & AWAITED == 0 {
            return;
        }
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word is static, and is not read.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, 1) };
    }
}

/// What the word holds while a thread of this process has the lock; never 0.
fn own_mark() -> u32 {
    let mark = fork_mark::current().unwrap_or_else(|_| {
        // Without a page for the mark there is still the pid.
        // SAFETY: asking for our own pid cannot fail.
        unsafe { libc::getpid() }.cast_unsigned()
    });
    (mark << 1).max(AWAITED << 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_has_it() {
        static LOCK: ProcessLock = ProcessLock::new();
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _held = LOCK.lock();
                        assert_eq!(INSIDE.fetch_add(1, Ordering::Relaxed), 0);
                        std::thread::yield_now();
                        INSIDE.fetch_sub(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let held = LOCK.try_lock();
        assert!(held.is_some() && LOCK.try_lock().is_none());
    }

    #[test]
    fn a_holder_of_before_the_fork_is_forgotten() {
        static LOCK: ProcessLock = ProcessLock(AtomicU32::new(u32::MAX));
        drop(LOCK.lock());
        assert!(LOCK.try_lock().is_some());
    }
}
