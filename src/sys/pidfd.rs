//! Descriptors of processes: opening one, signalling through it, asking what became of the process.
//!
//! Invariant: a pidfd never comes to mean another process, so nothing here can hit a stranger that
//! has inherited a number. What a kernel does not have is an error value of one kind, `ENOSYS`,
//! however that kernel says so.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::wait::Change;
use crate::error::{Error, Result};
use crate::sys::{check, retry};

/// A pidfd, close-on-exec as all are.
///
/// # Errors
/// `ESRCH` when there is no such process, `EMFILE`, `ENOSYS` before 5.3.
pub(crate) fn open(pid: libc::pid_t) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers; the number it returns is new and ours.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The pid of a pidfd's process, as this process's namespace numbers it.
///
/// # Errors
/// `EBADF` when the descriptor is no pidfd, `ESRCH` when its process has been waited for, or is not
/// in this namespace.
pub(crate) fn pid(pidfd: BorrowedFd<'_>) -> Result<libc::pid_t> {
    // The "Pid:" line is there since the first pidfd (proc_pid_fdinfo(5)); the request that tells
    // the same is from 6.13 on.
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).map_err(Error::from)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).ok_or(Error::EBADF)?;
    match line.trim().parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Error::ESRCH),
    }
}

/// Sends a signal; 0 only asks.
///
/// # Errors
/// `ESRCH` when the process has been waited for, `EPERM`, `EINVAL` for no such signal, `ENOSYS`
/// before 5.1.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    send(pidfd, signal, 0)
}

/// Sends a signal to the process group that the process leads.
///
/// # Errors
/// As [`send_signal`]; `ENOSYS` before 6.9.
pub(crate) fn send_signal_to_group(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    match send(pidfd, signal, libc::PIDFD_SIGNAL_PROCESS_GROUP) {
        // An older kernel's word for an unknown flag is also the word for an unknown signal.
        Err(Error::EINVAL) if (0..=64).contains(&signal) => Err(Error::ENOSYS),
        other => other,
    }
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> Result<()> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open as long as it is borrowed; without a siginfo the kernel fills
    // in that of kill(2).
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, nothing, flags)
    })
    .map(drop)
}

/// How a process ended, even when somebody else has waited for it; `None` while the kernel has not
/// noted it, which it does when the process is waited for.
///
/// # Errors
/// `ENOSYS` where the kernel keeps no such note (before 6.15), or none of this process.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<Change>> {
    let asked = u64::from(libc::PIDFD_INFO_EXIT);
    let ask = || {
        // SAFETY: a zeroed pidfd_info is a valid value. It is the first version of the structure,
        // whose size is part of the request's number and which every later kernel takes; it lives
        // during the call.
        unsafe {
            let mut info: libc::pidfd_info = std::mem::zeroed();
            info.mask = asked;
            let number = pidfd.as_raw_fd();
            let done = retry(|| libc::ioctl(number, libc::PIDFD_GET_INFO, &raw mut info));
            (done, info)
        }
    };
    let (mut done, mut info) = ask();
    if done == Err(Error::ESRCH) {
        // The kernel looks for the note first and for the process then. One that was buried in
        // between seems to have left none (m: one exit in hundreds); now the note is there.
        (done, info) = ask();
    }
    match done {
        Ok(_) if info.mask & asked != 0 => Ok(Some(Change::from_status(info.exit_code))),
        Ok(_) => Ok(None),
        // ENOTTY: no such request. EINVAL: a pidfd before pidfs (6.9). ESRCH: gone, and no note.
        Err(Error::ENOTTY | Error::EINVAL | Error::ESRCH) => Err(Error::ENOSYS),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_is_not_there_has_no_pidfd() {
        assert_eq!(open(i32::MAX).map(drop), Err(Error::ESRCH));
        assert_eq!(open(-1).map(drop), Err(Error::EINVAL));
    }

    #[test]
    fn a_group_is_signalled_as_a_whole_or_the_kernel_cannot() {
        // The pipe ends when both members of the group are gone.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo; wait"]);
        let mut child = shell.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let pidfd = open(child.id() as i32).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        if let Err(error) = send_signal_to_group(pidfd.as_fd(), libc::SIGTERM) {
            assert_eq!(error, Error::ENOSYS);
            // SAFETY: a call with numbers only; the group is our child's own.
            unsafe { libc::kill(-(child.id() as i32), libc::SIGTERM) };
        }
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(send_signal_to_group(pidfd.as_fd(), 99), Err(Error::EINVAL));
    }

    #[test]
    fn a_signal_reaches_the_process_and_a_wrong_one_is_an_error() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pidfd = open(child.id() as i32).unwrap();
        assert_eq!(send_signal(pidfd.as_fd(), 99), Err(Error::EINVAL));
        assert_eq!(send_signal(pidfd.as_fd(), 0), Ok(()));
        assert_eq!(send_signal(pidfd.as_fd(), libc::SIGKILL), Ok(()));
        child.wait().unwrap();
        assert_eq!(send_signal(pidfd.as_fd(), libc::SIGKILL), Err(Error::ESRCH));
        let killed = Change::Killed { signal: libc::SIGKILL, core_dumped: false };
        assert!(
            matches!(exit_status(pidfd.as_fd()), Err(Error::ENOSYS))
                || exit_status(pidfd.as_fd()) == Ok(Some(killed))
        );
    }
}
