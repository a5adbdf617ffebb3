//! `waitid` with resource usage: the one way in which this crate learns what became of a child.
//!
//! Invariant: a wait names what it waits for, and `EINTR` never leaves. The raw system call is used
//! because libc's wrapper hides its fifth argument, the `rusage` (waitid(2), "C library/kernel
//! differences"). `__WALL` is always set: a child without an exit signal, as every clone of ours is
//! until its exec, is invisible without it.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Error, Result};
use crate::sys::retry;

/// Whom to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom<'a> {
    /// The child of a pidfd (`P_PIDFD`, 5.4).
    Pidfd(BorrowedFd<'a>),
    /// The child with a pid.
    Pid(libc::pid_t),
    /// Any child of the process: for whoever adopts orphans.
    Any,
}

/// What to wait for, and how.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Comes back at once when there is nothing to tell (`WNOHANG`).
    pub(crate) no_hang: bool,
    /// Leaves the child as it is, to be waited for again (`WNOWAIT`).
    pub(crate) leave: bool,
    /// Tells of stopped children too.
    pub(crate) stopped: bool,
    /// Tells of continued children too.
    pub(crate) continued: bool,
    /// Does not tell of exits.
    pub(crate) not_exited: bool,
}

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Exited(i32),
    Killed { signal: i32, core_dumped: bool },
    Stopped(i32),
    Continued,
}

impl Change {
    /// Decodes a status in the form of wait(2).
    pub(crate) fn from_status(status: i32) -> Change {
        if libc::WIFEXITED(status) {
            Change::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSTOPPED(status) {
            Change::Stopped(libc::WSTOPSIG(status))
        } else if libc::WIFCONTINUED(status) {
            Change::Continued
        } else {
            let core_dumped = libc::WCOREDUMP(status);
            Change::Killed { signal: libc::WTERMSIG(status), core_dumped }
        }
    }
}

/// One answer of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited {
    pub(crate) pid: libc::pid_t,
    pub(crate) change: Change,
    /// Resources used by the child and the children it has waited for.
    pub(crate) usage: libc::rusage,
}

/// Waits; `None` when there is nothing to tell and `how` says not to hang. Repeated on `EINTR`.
///
/// # Errors
/// `ECHILD` when there is no such child, or no longer; `EINVAL` for a pidfd before 5.4.
pub(crate) fn wait(whom: Whom<'_>, how: How) -> Result<Option<Waited>> {
    let (kind, id) = match whom {
        Whom::Pidfd(fd) => (libc::P_PIDFD, fd.as_raw_fd()),
        Whom::Pid(pid) if pid > 0 => (libc::P_PID, pid),
        // P_PID with 0 or less would be another question (a process group, anyone).
        Whom::Pid(_) => return Err(Error::ECHILD),
        Whom::Any => (libc::P_ALL, 0),
    };
    let flag = |wanted, flag| if wanted { flag } else { 0 };
    let options = libc::__WALL
        | flag(how.no_hang, libc::WNOHANG)
        | flag(how.leave, libc::WNOWAIT)
        | flag(how.stopped, libc::WSTOPPED)
        | flag(how.continued, libc::WCONTINUED)
        | flag(!how.not_exited, libc::WEXITED);
    // SAFETY: zeroed siginfo_t and rusage are valid values, and the kernel writes no more than
    // these structures. si_pid and si_status are read after the kernel has filled in a SIGCHLD's
    // form or has left zeroes.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        retry(|| {
            let info = &raw mut info;
            libc::syscall(libc::SYS_waitid, kind, id, info, options, &raw mut usage)
        })?;
        let (pid, status) = (info.si_pid(), info.si_status());
        if pid == 0 {
            return Ok(None);
        }
        let change = match info.si_code {
            libc::CLD_EXITED => Change::Exited(status),
            libc::CLD_DUMPED => Change::Killed { signal: status, core_dumped: true },
            libc::CLD_KILLED => Change::Killed { signal: status, core_dumped: false },
            libc::CLD_CONTINUED => Change::Continued,
            // CLD_STOPPED, and CLD_TRAPPED for a child that is traced.
            _ => Change::Stopped(status),
        };
        Ok(Some(Waited { pid, change, usage }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};

    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn signal(child: &Child, signal: i32) {
        // SAFETY: a call with numbers only.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    }

    #[test]
    fn a_running_child_has_nothing_to_tell_and_a_stranger_is_none_of_ours() {
        let mut child = cat();
        let no_hang = How { no_hang: true, ..How::default() };
        assert!(wait(Whom::Pid(child.id() as i32), no_hang).unwrap().is_none());
        for pid in [1, 0, -1, i32::MIN] {
            assert_eq!(wait(Whom::Pid(pid), no_hang).map(drop), Err(Error::ECHILD));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn stops_and_continues_are_told_on_request_by_pid_and_by_pidfd() {
        let mut child = cat();
        let pid = child.id() as i32;
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        let stopped = How { stopped: true, ..How::default() };
        let continued = How { continued: true, not_exited: true, ..How::default() };
        for whom in [Whom::Pid(pid), Whom::Pidfd(pidfd.as_fd())] {
            signal(&child, libc::SIGSTOP);
            let told = wait(whom, stopped).unwrap().unwrap();
            assert_eq!((told.pid, told.change), (pid, Change::Stopped(libc::SIGSTOP)));
            signal(&child, libc::SIGCONT);
            let told = wait(whom, continued).unwrap().unwrap();
            assert_eq!((told.pid, told.change), (pid, Change::Continued));
        }
        signal(&child, libc::SIGTERM);
        let told = wait(Whom::Pidfd(pidfd.as_fd()), How::default()).unwrap().unwrap();
        let killed = Change::Killed { signal: libc::SIGTERM, core_dumped: false };
        assert_eq!((told.pid, told.change), (pid, killed));
        assert!(child.wait().is_err(), "it was left to be waited for again");
    }

    #[test]
    fn a_child_that_is_left_can_be_waited_for_again_with_its_usage() {
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 5";
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let leave = How { leave: true, ..How::default() };
        for how in [leave, leave, How::default()] {
            let told = wait(Whom::Pid(child.id() as i32), how).unwrap().unwrap();
            assert_eq!(told.change, Change::Exited(5));
            let usage = told.usage;
            assert!(usage.ru_utime.tv_sec + usage.ru_utime.tv_usec > 0);
            assert!(usage.ru_maxrss > 0);
        }
        assert!(child.wait().is_err());
        let gone = wait(Whom::Pid(child.id() as i32), How::default());
        assert_eq!(gone.map(drop), Err(Error::ECHILD));
    }

    #[test]
    fn a_status_word_is_decoded_as_wait_does() {
        assert_eq!(Change::from_status(3 << 8), Change::Exited(3));
        assert_eq!(Change::from_status(9), Change::Killed { signal: 9, core_dumped: false });
        assert_eq!(Change::from_status(6 | 0x80), Change::Killed { signal: 6, core_dumped: true });
        assert_eq!(Change::from_status(0x137f), Change::Stopped(0x13));
        assert_eq!(Change::from_status(0xffff), Change::Continued);
    }
}
