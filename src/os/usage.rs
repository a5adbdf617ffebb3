//! What this process and this thread have used so far (getrusage(2)).

use std::time::Duration;

use crate::error::Result;
use crate::process::ResourceUsage;
use crate::sys::resources::{Who, usage};

/// Processor time in microseconds, as Node's `process.cpuUsage()` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// Spent in the program.
    pub user: u64,
    /// Spent in the kernel.
    pub system: u64,
}

impl CpuUsage {
    /// What was used since `previous` was asked for (`process.cpuUsage(previous)`); 0 where
    /// `previous` is the greater one, which is the case only for another thread's.
    ///
    /// ```
    /// use blacklight::os::cpu_usage;
    ///
    /// let before = cpu_usage()?;
    /// let used = cpu_usage()?.since(before);
    /// println!("{} µs in the program, {} µs in the kernel", used.user, used.system);
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    #[must_use]
    pub const fn since(self, previous: CpuUsage) -> CpuUsage {
        CpuUsage {
            user: self.user.saturating_sub(previous.user),
            system: self.system.saturating_sub(previous.system),
        }
    }
}

impl From<ResourceUsage> for CpuUsage {
    fn from(usage: ResourceUsage) -> CpuUsage {
        let micros = |time: Duration| time.as_micros().try_into().unwrap_or(u64::MAX);
        CpuUsage { user: micros(usage.user_time), system: micros(usage.system_time) }
    }
}

/// The processor time that this process has used, all threads together, in microseconds.
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// let used = blacklight::os::cpu_usage()?;
/// println!("{} µs", used.user + used.system);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn cpu_usage() -> Result<CpuUsage> {
    resource_usage().map(CpuUsage::from)
}

/// The processor time that this thread has used, in microseconds.
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// let used = blacklight::os::thread_cpu_usage()?;
/// assert!(used.user <= blacklight::os::cpu_usage()?.user);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn thread_cpu_usage() -> Result<CpuUsage> {
    thread_resource_usage().map(CpuUsage::from)
}

/// What this process has used, all threads together but not its children (`uv_getrusage`,
/// `process.resourceUsage()`).
///
/// Mind the units: Node has times in microseconds and `maxRSS` in kibibytes.
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// let usage = blacklight::os::resource_usage()?;
/// println!("maxRSS {} KiB", usage.max_rss / 1024);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn resource_usage() -> Result<ResourceUsage> {
    Ok(ResourceUsage::from_raw(&usage(Who::Process)?))
}

/// What this thread has used (`uv_getrusage_thread`); its `max_rss` is that of the process.
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// let usage = blacklight::os::thread_resource_usage()?;
/// println!("waited {} times", usage.voluntary_switches);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn thread_resource_usage() -> Result<ResourceUsage> {
    Ok(ResourceUsage::from_raw(&usage(Who::Thread)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_never_negative() {
        let (less, more) = (CpuUsage { user: 1, system: 5 }, CpuUsage { user: 3, system: 2 });
        assert_eq!(more.since(less), CpuUsage { user: 2, system: 0 });
    }
}
