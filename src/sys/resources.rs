//! What processes and threads use and may use: getrusage(2), getrlimit(2), getpriority(2),
//! sysinfo(2).

use super::{check, retry};
use crate::error::Result;

/// Whose usage is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    /// All threads of this process, also those that have ended.
    Process,
    Thread,
}

pub(crate) fn usage(who: Who) -> Result<libc::rusage> {
    let who = match who {
        Who::Process => libc::RUSAGE_SELF,
        Who::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: an all-zero `rusage` is a valid value for the kernel to write over.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call.
    check(unsafe { libc::getrusage(who, &raw mut usage) })?;
    Ok(usage)
}

/// The soft limit, in the limit's own unit; `None` when there is none.
pub(crate) fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` outlives the call, which fails only for a resource that does not exist.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The nice value of a thread by its number, 0 for the calling one. `ESRCH`.
pub(crate) fn priority(pid: i32) -> Result<i32> {
    // The library's function returns -1 for an error and for a nice value of -1; the kernel's call
    // returns 20 minus the nice value, 1 to 40 (getpriority(2)).
    // SAFETY: no pointers.
    let raised = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, pid) };
    check(raised).map(|raised| 20 - raised as i32)
}

/// Sets the nice value of a thread. `ESRCH`, `EPERM`, `EACCES`.
pub(crate) fn set_priority(pid: i32, nice: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, nice) }).map(drop)
}

pub(crate) fn sysinfo() -> Result<libc::sysinfo> {
    // SAFETY: an all-zero `sysinfo` is a valid value for the kernel to write over.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call.
    retry(|| unsafe { libc::sysinfo(&raw mut info) })?;
    Ok(info)
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> u64 {
    // SAFETY: no pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
