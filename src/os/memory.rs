//! Memory of the system and of this process, in bytes.

use super::control_group::MemoryGroup;
use crate::error::{Error, Result};
use crate::sys::{procfs, resources};

/// Memory of this process that is resident now (`uv_resident_set_memory`;
/// `process.memoryUsage.rss()` in Node).
///
/// # Errors
/// `ENOENT` when there is no /proc.
///
/// ```
/// assert!(blacklight::os::resident_memory()? > 0);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[doc(alias = "rss")]
pub fn resident_memory() -> Result<u64> {
    let [pages] = procfs::stat_fields([24])?;
    Ok(pages.saturating_mul(resources::page_size()))
}

/// Memory of the system (`uv_get_total_memory`).
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// assert!(blacklight::os::total_memory()? > blacklight::os::resident_memory()?);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn total_memory() -> Result<u64> {
    or_sysinfo(in_meminfo("MemTotal:"), |info| info.totalram)
}

/// Memory that programs can have without swapping (`uv_get_free_memory`): also what caches would
/// give up, `MemAvailable` in /proc/meminfo.
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// assert!(blacklight::os::free_memory()? < blacklight::os::total_memory()?);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn free_memory() -> Result<u64> {
    or_sysinfo(in_meminfo("MemAvailable:"), |info| info.freeram)
}

/// The memory that this process may use (`uv_get_constrained_memory`): the least of the limits of
/// its control group, hard and soft, and of its resource limits on address space and data.
///
/// `None` when nothing is known of any limit, for which libuv has 0; `u64::MAX` when the control
/// group says that there is none, which Node shows as 18446744073709552000.
///
/// ```
/// match blacklight::os::constrained_memory() {
///     None | Some(u64::MAX) => println!("as much as there is"),
///     Some(bytes) => println!("at most {bytes} bytes"),
/// }
/// ```
#[must_use]
pub fn constrained_memory() -> Option<u64> {
    let group = MemoryGroup::own().and_then(|group| group.limit());
    let limits = [libc::RLIMIT_AS, libc::RLIMIT_DATA].map(resources::soft_limit);
    limits.into_iter().chain([group]).flatten().min()
}

/// The memory that this process can still have (`uv_get_available_memory`): what is left of its
/// control group's limit, or if there is none, [`free_memory`].
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// assert!(blacklight::os::available_memory()? <= blacklight::os::total_memory()?);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn available_memory() -> Result<u64> {
    let group = MemoryGroup::own();
    let limited = group.and_then(|group| Some((group.limit()?, group.used())));
    match limited {
        // The group may be above its limit for a moment.
        Some((limit, used)) if limit <= total_memory()? => Ok(limit.saturating_sub(used)),
        _ => free_memory(),
    }
}

fn in_meminfo(name: &str) -> Option<u64> {
    named(&std::fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// A line of /proc/meminfo (proc_meminfo(5)): kibibytes, called "kB".
fn named(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Without /proc, or on a kernel whose file lacks the line, the system call says something similar.
fn or_sysinfo(found: Option<u64>, field: impl Fn(&libc::sysinfo) -> libc::c_ulong) -> Result<u64> {
    if let Some(bytes) = found.filter(|bytes| *bytes != 0) {
        return Ok(bytes);
    }
    let info = resources::sysinfo()?;
    field(&info).checked_mul(info.mem_unit.into()).ok_or(Error::EOVERFLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_meminfo_are_kibibytes() {
        let text = "MemTotal:       1000 kB\nMemAvailable:    10 kB\nHugePages_Total:   3\n";
        assert_eq!(named(text, "MemTotal:"), Some(1_024_000));
        assert_eq!(named(text, "MemAvailable:"), Some(10_240));
        assert_eq!(named(text, "Available:"), None);
        assert_eq!(named(text, "HugePages_Total:"), None);
    }

    #[test]
    fn the_system_call_and_the_file_agree_on_the_total() {
        assert_eq!(or_sysinfo(None, |info| info.totalram), total_memory());
    }
}
