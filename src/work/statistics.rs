//! What a pool tells about itself: how much waits, how much runs, how long things waited.
//!
//! The counts are kept under the lock that the queue needs anyway, so that counting costs no other.

use std::time::Duration;

use super::WorkClass;

/// Steps of [`ClassStatistics::histogram`]: the last one begins at 2^39 ns, nine minutes.
const STEPS: usize = 40;

/// What a [`ThreadPool`](crate::work::ThreadPool) did with one class of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStatistics {
    /// Jobs that wait for a thread now.
    pub queued: usize,
    /// Jobs that a thread is at now.
    pub running: usize,
    /// Jobs that were begun so far.
    pub begun: u64,
    /// Jobs that were cancelled in the queue.
    pub canceled: u64,
    /// How long all that were begun had waited, together.
    pub waited: Duration,
    /// How long the one had waited that waited longest.
    pub longest_wait: Duration,
    /// How many had waited 2^i to 2^(i+1) nanoseconds; the first step begins at 0, the last has no
    /// end.
    pub histogram: [u64; STEPS],
}

impl Default for ClassStatistics {
    fn default() -> ClassStatistics {
        ClassStatistics {
            queued: 0,
            running: 0,
            begun: 0,
            canceled: 0,
            waited: Duration::ZERO,
            longest_wait: Duration::ZERO,
            histogram: [0; STEPS],
        }
    }
}

/// The counts of one class as they are kept; times are in nanoseconds, which are cheaper to add.
pub(super) struct ClassCounts {
    pub(super) running: usize,
    begun: u64,
    pub(super) canceled: u64,
    waited: u64,
    longest_wait: u64,
    histogram: [u64; STEPS],
}

impl Default for ClassCounts {
    fn default() -> ClassCounts {
        let histogram = [0; STEPS];
        ClassCounts { running: 0, begun: 0, canceled: 0, waited: 0, longest_wait: 0, histogram }
    }
}

impl ClassCounts {
    /// One job has been begun after so many nanoseconds.
    pub(super) fn begin(&mut self, wait: u64) {
        self.running += 1;
        self.begun += 1;
        self.waited = self.waited.saturating_add(wait);
        self.longest_wait = self.longest_wait.max(wait);
        let step = wait.checked_ilog2().unwrap_or(0) as usize;
        self.histogram[step.min(STEPS - 1)] += 1;
    }

    /// With how many wait now.
    pub(super) fn statistics(&self, queued: usize) -> ClassStatistics {
        ClassStatistics {
            queued,
            running: self.running,
            begun: self.begun,
            canceled: self.canceled,
            waited: Duration::from_nanos(self.waited),
            longest_wait: Duration::from_nanos(self.longest_wait),
            histogram: self.histogram,
        }
    }
}

/// What a pool has done so far; see [`ThreadPool::statistics`](crate::work::ThreadPool::statistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Threads that have been started, without the one in reserve.
    pub threads: usize,
    /// Jobs on files that the thread in reserve has done.
    pub by_reserve: u64,
    pub(super) classes: [ClassStatistics; 3],
}

impl PoolStatistics {
    /// The part about one class of work.
    #[must_use]
    pub const fn class(&self, class: WorkClass) -> &ClassStatistics {
        &self.classes[class.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_fall_into_steps_of_powers_of_two() {
        let mut counts = ClassCounts::default();
        for wait in [0, 1, 2, 3, 4, 1 << 38, 1 << 39, u64::MAX] {
            counts.begin(wait);
        }
        let class = counts.statistics(0);
        assert_eq!(class.histogram[..3], [2, 2, 1]);
        assert_eq!(class.histogram[38..], [1, 2]);
        assert_eq!(class.begun, 8);
        assert_eq!(class.longest_wait, Duration::from_nanos(u64::MAX));
    }
}
