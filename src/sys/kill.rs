//! Signals sent by number: kill(2); whose group is whose, and whose child.

use super::check;
use crate::error::Result;

/// Sends a signal to one process; 0 only asks. `ESRCH`, `EPERM`, `EINVAL`.
pub(crate) fn send(pid: i32, signum: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signum) }).map(drop)
}

/// Sends a signal to every process of a group, whose number is positive and not 1: the negation
/// of those means everybody else.
pub(crate) fn send_to_group(group: i32, signum: i32) -> Result<()> {
    if group <= 1 {
        return Err(crate::error::Error::ESRCH);
    }
    send(-group, signum)
}

/// The process group of a process.
pub(crate) fn group_of(pid: i32) -> Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::getpgid(pid) })
}

/// Orphans among the descendants of this process become its children (prctl(2)).
pub(crate) fn set_subreaper(on: bool) -> Result<()> {
    let on: libc::c_ulong = on.into();
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on) }).map(drop)
}

/// The children of this process, dead ones included, as `/proc` lists them (proc_pid_task(5),
/// "children"); none where the kernel was built without that list.
pub(crate) fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let mut pids = Vec::new();
    for list in lists {
        pids.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    pids
}
