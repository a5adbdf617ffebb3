//! The clocks, and how long the process and the system have been there.

use std::time::Duration;

use crate::error::Result;
use crate::sys::{procfs, time};

/// Ticks per second in which the kernel tells times to programs (include/asm-generic/param.h,
/// `USER_HZ`), whatever it counts in itself.
pub(super) const TICKS: u64 = 100;

/// Which clock is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// Goes on evenly from some point in the past (`UV_CLOCK_MONOTONIC`).
    Monotonic,
    /// The time of day, since the beginning of 1970 in UTC (`UV_CLOCK_REALTIME`); it may be set.
    Realtime,
}

/// A point in time as the kernel gives it (`uv_timespec64_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before the clock's beginning.
    pub seconds: i64,
    /// Nanoseconds on top of them, below 10^9.
    pub nanoseconds: u32,
}

/// What a clock says now (`uv_clock_gettime`; with [`Clock::Realtime`] also `uv_gettimeofday`).
///
/// ```
/// use blacklight::os::{Clock, clock_gettime};
///
/// let begun = clock_gettime(Clock::Monotonic);
/// assert!(clock_gettime(Clock::Monotonic) >= begun);
/// ```
#[doc(alias = "gettimeofday")]
#[must_use]
pub fn clock_gettime(clock: Clock) -> Timestamp {
    match clock {
        Clock::Monotonic => {
            let now = Duration::from_nanos(time::monotonic());
            Timestamp { seconds: now.as_secs().cast_signed(), nanoseconds: now.subsec_nanos() }
        }
        Clock::Realtime => {
            let (seconds, nanoseconds) = time::realtime();
            Timestamp { seconds, nanoseconds }
        }
    }
}

/// Nanoseconds of the monotonic clock (`uv_hrtime`), always fresh; [`LoopRef::now`] is cheaper.
///
/// [`LoopRef::now`]: crate::LoopRef::now
///
/// ```
/// let begun = blacklight::os::hrtime();
/// assert!(blacklight::os::hrtime() >= begun);
/// ```
#[must_use]
pub fn hrtime() -> u64 {
    time::monotonic()
}

/// How long the system has been up, also asleep (`uv_uptime`), to the hundredth of a second.
///
/// It is read from /proc/uptime, because containers show their own uptime there; without /proc it
/// is the kernel's.
///
/// ```
/// println!("up for {:.2} s", blacklight::os::uptime().as_secs_f64());
/// ```
#[must_use]
pub fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").ok();
    let seconds = text.as_deref().and_then(|text| text.split_ascii_whitespace().next());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.parse().ok()?).ok())
        .unwrap_or_else(|| Duration::from_nanos(time::since_boot()))
}

/// How long this process has been there (`process.uptime()` in Node).
///
/// It counts from when the process was made, which the kernel knows to the hundredth of a second;
/// Node counts from when it had started up. Time that the system slept through counts.
///
/// # Errors
/// `ENOENT` when there is no /proc.
///
/// ```
/// let age = blacklight::os::process_uptime()?;
/// assert!(age < blacklight::os::uptime() + std::time::Duration::from_secs(1));
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn process_uptime() -> Result<Duration> {
    // Asked each time: a forked child began later than what its parent may have noted.
    let [started] = procfs::stat_fields([22])?;
    let started = Duration::from_millis(started.saturating_mul(1000 / TICKS));
    Ok(Duration::from_nanos(time::since_boot()).saturating_sub(started))
}
