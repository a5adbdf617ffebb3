//! One clone, by whichever call: flags in, pid and pidfd out.
//!
//! Invariant: the exit signal is 0. A child that fails before its exec ends without a SIGCHLD and
//! is invisible to a foreign `waitpid(-1)`; the exec itself makes the signal SIGCHLD (fs/exec.c,
//! `de_thread`).

use std::ffi::{c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::stack::Stack;
use crate::sys::arch::{self, CloneArgs, Entry, outcome};

/// include/uapi/linux/sched.h: handlers reset, from 5.5 on; `clone3` only.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;

/// include/uapi/linux/sched.h: from 5.7 on; `clone3` only.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) clone3: bool,
    pub(super) flags: c_int,
    /// With `clone3` only.
    pub(super) clear_sighand: bool,
    /// With `clone3` only.
    pub(super) cgroup: Option<RawFd>,
    pub(super) pidfd: bool,
}

/// A child, in the parent.
#[derive(Debug)]
pub(super) struct Cloned {
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: Option<OwnedFd>,
}

/// Runs `entry(argument)` in a child on the stack. Errors are positive errnos.
///
/// # Safety
/// Nobody else uses the stack until the child has left it, and with `CLONE_VM` the flags hold
/// `CLONE_VFORK`. `argument` must be what `entry` asks for, for as long as the child runs.
pub(super) unsafe fn run(
    request: &Request,
    stack: &Stack,
    entry: Entry,
    argument: *mut c_void,
) -> Result<Cloned, c_int> {
    // A kernel without pidfds (before 5.2) leaves it as it is.
    let mut pidfd: c_int = -1;
    let flags = request.flags | if request.pidfd { libc::CLONE_PIDFD } else { 0 };
    let returned = if request.clone3 {
        let mut args = CloneArgs {
            flags: flags as u32 as u64,
            pidfd: if request.pidfd { &raw mut pidfd as u64 } else { 0 },
            stack: stack.bottom() as u64,
            stack_size: stack.size() as u64,
            ..CloneArgs::default()
        };
        if request.clear_sighand {
            args.flags |= CLONE_CLEAR_SIGHAND;
        }
        if let Some(cgroup) = request.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup as u64;
        }
        // SAFETY: the stack's end is the end of a page; the caller answers for the rest.
        unsafe { arch::clone3(&args, entry, argument) }
    } else {
        // SAFETY: as above, and the pidfd's place is writable.
        unsafe { arch::clone(flags, stack.top(), &raw mut pidfd, entry, argument) }
    };
    let pid = outcome(returned)? as libc::pid_t;
    // SAFETY: the kernel has put a new descriptor there, which is ours, or has left the -1.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Cloned { pid, pidfd })
}
