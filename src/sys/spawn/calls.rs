//! The system calls a child makes, each one line around a raw call.
//!
//! Invariant: nothing here allocates, locks, panics or touches thread-local storage, so that it can
//! run in memory shared with a parent whose other threads go on. None repeats on `EINTR`: all
//! signals are blocked, and none of these calls returns it then. Errors are positive errnos.

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::RawFd;

use super::exec::Pointer;
use crate::sys::arch::{outcome, syscall};

type Errno = c_int;

/// The kernel's signal sets have 64 bits (include/uapi/asm-generic/signal.h, `_NSIG`).
const SIGSET_SIZE: usize = size_of::<u64>();

/// A call whose arguments are numbers only, which can at worst fail.
fn plain<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    // SAFETY: every caller in this file passes numbers to a call that takes numbers; the kernel
    // checks them. What they change is the calling task's alone, or a descriptor's.
    outcome(unsafe { syscall(number, arguments) })
}

/// Ends the process.
pub(super) fn exit(code: c_int) -> ! {
    loop {
        // It does not return; the loop says so to the compiler without a panic.
        let _ = plain(libc::SYS_exit_group, [code as usize]);
    }
}

pub(super) fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    let arguments = [first as usize, last as usize, flags as usize];
    plain(libc::SYS_close_range, arguments).map(drop)
}

pub(super) fn close(fd: RawFd) {
    let _ = plain(libc::SYS_close, [fd as usize]);
}

pub(super) fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<usize, Errno> {
    plain(libc::SYS_fcntl, [fd as usize, command as usize, argument as usize])
}

pub(super) fn dup3(from: RawFd, onto: RawFd) -> Result<(), Errno> {
    plain(libc::SYS_dup3, [from as usize, onto as usize, 0]).map(drop)
}

/// Sets a signal's disposition to default.
pub(super) fn default_action(signal: c_int) -> Result<(), Errno> {
    // The kernel's structure, all zero: SIG_DFL without flags and mask. Its four words are the most
    // that any processor has (include/linux/signal_types.h, struct sigaction).
    let action = [0u64; 4];
    let arguments = [signal as usize, &raw const action as usize, 0, SIGSET_SIZE];
    // SAFETY: the action is read during the call only.
    outcome(unsafe { syscall(libc::SYS_rt_sigaction, arguments) }).map(drop)
}

/// Whether a signal is ignored. Not for a child, though it could ask too.
pub(super) fn is_ignored(signal: c_int) -> bool {
    let mut action = [0u64; 4];
    let arguments = [signal as usize, 0, &raw mut action as usize, SIGSET_SIZE];
    // SAFETY: the kernel's structure is no larger than four words and lives during the call.
    let asked = outcome(unsafe { syscall(libc::SYS_rt_sigaction, arguments) });
    // The handler comes first on x86-64 and aarch64 (include/linux/signal_types.h).
    let [handler, ..] = action;
    asked.is_ok() && handler == libc::SIG_IGN as u64
}

/// Sets the calling thread's mask, all 64 signals of it.
pub(super) fn set_mask(mask: u64) -> Result<u64, Errno> {
    let mut before = 0u64;
    let new = &raw const mask as usize;
    let arguments = [libc::SIG_SETMASK as usize, new, &raw mut before as usize, SIGSET_SIZE];
    // SAFETY: both sets are as large as stated and live during the call.
    outcome(unsafe { syscall(libc::SYS_rt_sigprocmask, arguments) }).map(|_| before)
}

pub(super) fn setsid() -> Result<(), Errno> {
    plain(libc::SYS_setsid, []).map(drop)
}

pub(super) fn setpgid(group: libc::pid_t) -> Result<(), Errno> {
    plain(libc::SYS_setpgid, [0, group as usize]).map(drop)
}

pub(super) fn getpgid() -> Result<libc::pid_t, Errno> {
    plain(libc::SYS_getpgid, [0]).map(|group| group as libc::pid_t)
}

/// Makes a terminal the controlling one of the session that the caller leads.
pub(super) fn take_terminal(fd: RawFd) -> Result<(), Errno> {
    plain(libc::SYS_ioctl, [fd as usize, libc::TIOCSCTTY as usize, 0]).map(drop)
}

pub(super) fn set_foreground(fd: RawFd, group: libc::pid_t) -> Result<(), Errno> {
    let arguments = [fd as usize, libc::TIOCSPGRP as usize, &raw const group as usize];
    // SAFETY: the group's number is read during the call only.
    outcome(unsafe { syscall(libc::SYS_ioctl, arguments) }).map(drop)
}

pub(super) fn chdir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a NUL-ended string that lives during the call.
    outcome(unsafe { syscall(libc::SYS_chdir, [path.as_ptr() as usize]) }).map(drop)
}

pub(super) fn setpriority(nice: c_int) -> Result<(), Errno> {
    plain(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, nice as usize]).map(drop)
}

/// Sets a limit and gives back the soft limit that it replaces.
pub(super) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<u64, Errno> {
    let (new, mut old) = ([soft, hard], [0u64; 2]);
    let (new, old_at) = (&raw const new as usize, &raw mut old as usize);
    // SAFETY: both structures are two 64-bit words (prlimit(2), struct rlimit64) and live during
    // the call.
    let done = unsafe { syscall(libc::SYS_prlimit64, [0, resource as usize, new, old_at]) };
    let [soft_before, _] = old;
    outcome(done).map(|_| soft_before)
}

/// The soft limit of a resource.
pub(super) fn soft_limit(resource: u32) -> Result<u64, Errno> {
    let mut old = [0u64; 2];
    let arguments = [0, resource as usize, 0, &raw mut old as usize];
    // SAFETY: the structure is two 64-bit words and lives during the call.
    let done = unsafe { syscall(libc::SYS_prlimit64, arguments) };
    let [soft, _] = old;
    outcome(done).map(|_| soft)
}

pub(super) fn set_affinity(processors: &[u8]) -> Result<(), Errno> {
    let arguments = [0, processors.len(), processors.as_ptr() as usize];
    // SAFETY: the kernel reads as many bytes as the slice has.
    outcome(unsafe { syscall(libc::SYS_sched_setaffinity, arguments) }).map(drop)
}

pub(super) fn setgroups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    let arguments = [groups.len(), groups.as_ptr() as usize];
    // SAFETY: the kernel reads as many numbers as the slice has. The raw call changes this task
    // alone, where libc's wrapper would signal every thread of the parent.
    outcome(unsafe { syscall(libc::SYS_setgroups, arguments) }).map(drop)
}

pub(super) fn setgid(gid: libc::gid_t) -> Result<(), Errno> {
    plain(libc::SYS_setgid, [gid as usize]).map(drop)
}

pub(super) fn setuid(uid: libc::uid_t) -> Result<(), Errno> {
    plain(libc::SYS_setuid, [uid as usize]).map(drop)
}

/// `prctl` with a numeric argument.
pub(super) fn prctl(option: c_int, argument: usize) -> Result<usize, Errno> {
    plain(libc::SYS_prctl, [option as usize, argument, 0, 0, 0])
}

pub(super) fn getppid() -> libc::pid_t {
    plain(libc::SYS_getppid, []).map_or(0, |pid| pid as libc::pid_t)
}

/// Sends the calling process a signal.
pub(super) fn raise(signal: c_int) {
    if let Ok(own) = plain(libc::SYS_getpid, []) {
        let _ = plain(libc::SYS_kill, [own, signal as usize]);
    }
}

pub(super) fn umask(mask: libc::mode_t) {
    let _ = plain(libc::SYS_umask, [mask as usize]);
}

/// Waits for less than a second.
pub(super) fn pause(nanoseconds: u32) {
    let time = [0, i64::from(nanoseconds)];
    // SAFETY: struct timespec is two words on every 64-bit processor, and lives during the call. An
    // early end does no harm.
    let _ = unsafe { syscall(libc::SYS_nanosleep, [&raw const time as usize, 0]) };
}

/// Lets other tasks run.
pub(super) fn sched_yield() {
    let _ = plain(libc::SYS_sched_yield, []);
}

pub(super) fn openat(at: RawFd, path: &CStr, flags: c_int) -> Result<RawFd, Errno> {
    let arguments = [at as usize, path.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize, 0];
    // SAFETY: a NUL-ended string that lives during the call.
    outcome(unsafe { syscall(libc::SYS_openat, arguments) }).map(|fd| fd as RawFd)
}

pub(super) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let arguments = [fd as usize, bytes.as_ptr() as usize, bytes.len()];
    // SAFETY: the kernel reads as many bytes as the slice has.
    outcome(unsafe { syscall(libc::SYS_write, arguments) })
}

pub(super) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel writes no more bytes than the slice has.
    outcome(unsafe { syscall(libc::SYS_read, arguments) })
}

/// Comes back only with an error.
///
/// # Safety
/// `path` must be NUL-ended; `argv` and `envp` must be null-ended vectors of such strings.
pub(super) unsafe fn execve(path: Pointer, argv: *const Pointer, envp: *const Pointer) -> Errno {
    let arguments = [path as usize, argv as usize, envp as usize];
    // SAFETY: the caller answers for the vectors.
    outcome(unsafe { syscall(libc::SYS_execve, arguments) }).err().unwrap_or(0)
}

/// Comes back only with an error.
///
/// # Safety
/// `argv` and `envp` must be null-ended vectors of NUL-ended strings.
pub(super) unsafe fn fexecve(fd: RawFd, argv: *const Pointer, envp: *const Pointer) -> Errno {
    let empty = c"".as_ptr() as usize;
    let flags = libc::AT_EMPTY_PATH as usize;
    let arguments = [fd as usize, empty, argv as usize, envp as usize, flags];
    // SAFETY: the caller answers for the vectors.
    outcome(unsafe { syscall(libc::SYS_execveat, arguments) }).err().unwrap_or(0)
}
