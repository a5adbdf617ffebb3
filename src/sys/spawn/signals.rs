//! Signals around a clone, in the parent.
//!
//! Invariant: while a child shares our memory or our handlers, no signal is delivered to the thread
//! that waits for it or to the child: all 64 are blocked, the real-time ones included, and the mask
//! is put back on every way out. libc's `pthread_sigmask` leaves out the two that glibc uses itself
//! (nptl(7)), so the raw call is made.

use super::calls;
use super::child::LAST_SIGNAL;

/// All signals are blocked in this thread until it is dropped.
#[derive(Debug)]
pub(super) struct Blocked {
    before: u64,
}

impl Blocked {
    pub(super) fn new() -> Result<Blocked, libc::c_int> {
        calls::set_mask(u64::MAX).map(|before| Blocked { before })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Fails for an address outside of our memory only, and it is on our stack.
        let _ = calls::set_mask(self.before);
    }
}

/// The signals that the process ignores, and SIGPIPE, which every Rust program ignores or may come
/// to ignore. Bit n-1 stands for signal n. (m: signal 32, which libc's `sigaction` refuses to talk
/// about, can be inherited ignored and reached children before.)
pub(super) fn ignored() -> u64 {
    let bit = |signal: i32| 1u64 << (signal - 1);
    let is_ignored = |signal: &i32| calls::is_ignored(*signal);
    (1..=LAST_SIGNAL).filter(is_ignored).fold(bit(libc::SIGPIPE), |set, signal| set | bit(signal))
}
