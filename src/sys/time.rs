//! The clocks, read without entering the kernel; the loop's is CLOCK_MONOTONIC, in nanoseconds.

/// Nanoseconds since some point in the past; never goes back (clock_gettime(2)).
pub(crate) fn monotonic() -> u64 {
    let now = read(libc::CLOCK_MONOTONIC);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Seconds and nanoseconds since 1970 (CLOCK_REALTIME); seconds are negative before.
pub(crate) fn realtime() -> (i64, u32) {
    let now = read(libc::CLOCK_REALTIME);
    (now.tv_sec, now.tv_nsec as u32)
}

/// Nanoseconds since the system began, also those it slept through (CLOCK_BOOTTIME, Linux 2.6.39).
pub(crate) fn since_boot() -> u64 {
    let now = read(libc::CLOCK_BOOTTIME);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call, and every Linux that this crate runs on has the clock.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}
