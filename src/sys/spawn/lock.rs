//! A lock that a forked child does not inherit.
//!
//! Invariant: the lock belongs to a process. Another thread may hold it, waiting for its own child,
//! at the moment when a program forks; in the forked process that thread does not exist, and a
//! `std::sync::Mutex` would stay locked for good. Here the word holds the holder's pid, and whoever
//! finds a pid that is not its own takes the lock over.

use std::sync::atomic::{AtomicI32, Ordering};

/// 0 when free, else the pid of the process one of whose threads holds it.
#[derive(Debug)]
pub(super) struct ProcessLock(AtomicI32);

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Held {
    word: &'static AtomicI32,
}

impl ProcessLock {
    pub(super) const fn new() -> ProcessLock {
        ProcessLock(AtomicI32::new(0))
    }

    /// Takes the lock unless a thread of this process has it.
    pub(super) fn try_lock(&'static self) -> Option<Held> {
        let (word, own) = (&self.0, own_pid());
        let mut holder = word.load(Ordering::Relaxed);
        while holder != own {
            match word.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Held { word }),
                Err(now) => holder = now,
            }
        }
        None
    }

    /// Takes the lock, waiting for the thread that has it.
    pub(super) fn lock(&'static self) -> Held {
        loop {
            if let Some(held) = self.try_lock() {
                return held;
            }
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            let no_end = std::ptr::null::<libc::timespec>();
            // SAFETY: the word is static. The wait ends at once when the word is no longer what
            // kept us out, and a wake-up for nothing only makes the loop turn.
            unsafe {
                libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, own_pid(), no_end)
            };
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.word.store(0, Ordering::Release);
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word is static, and is not read.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, 1) };
    }
}

fn own_pid() -> i32 {
    // SAFETY: asking for our own pid cannot fail.
    unsafe { libc::getpid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_has_it() {
        static LOCK: ProcessLock = ProcessLock::new();
        static INSIDE: AtomicI32 = AtomicI32::new(0);
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
        static LOCK: ProcessLock = ProcessLock(AtomicI32::new(i32::MAX));
        drop(LOCK.lock());
        assert!(LOCK.try_lock().is_some());
    }
}
