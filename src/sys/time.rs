//! The clock of the loop: CLOCK_MONOTONIC, in nanoseconds, read without entering the kernel.

/// Nanoseconds since some point in the past; never goes back (clock_gettime(2)).
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call. The call cannot fail: the clock exists since Linux 2.6.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
