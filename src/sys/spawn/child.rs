//! What a child does between the clone and the exec.
//!
//! Invariant, for everything reachable from [`run`]: raw system calls only, no allocation, no lock,
//! no thread-local storage, no panic, no destructor that does any of this. The child may share its
//! parent's memory, and another thread of the parent may hold any lock. It reads orders that the
//! parent has prepared and writes only the status, the cells of the arrangement and the zeroth
//! argument. It leaves by an exec or by `exit_group`; there is no third way.

use std::convert::Infallible;
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use super::Fallbacks;
use super::attributes::{Attributes, Groups, ResetSignals, Session, Source};
use super::calls;
use super::descriptors::{Arrangement, Table};
use super::exec::{Image, SHELL};
use super::status::{Failure, Status, Wire, to_wire};
use super::unlisted;
use crate::process::SpawnStep;

/// The code a child that could not execute ends with; nobody sees it, as the parent reaps it. The
/// shell's number for "not found".
const EXIT_FAILED: c_int = 127;

/// The last signal (include/uapi/asm-generic/signal.h, `_NSIG`).
pub(super) const LAST_SIGNAL: c_int = 64;

/// Signals 1 to 31, bit n-1 for signal n.
const STANDARD_SIGNALS: u64 = (1 << 31) - 1;

/// Everything a child needs to know, laid out by the parent.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) attributes: &'a Attributes,
    pub(super) arrangement: &'a Arrangement,
    pub(super) image: &'a Image,
    pub(super) status: &'a Status,
    /// The signal pipe's end to write to: the fork path. This and the next three are numbers that
    /// the arrangement holds.
    pub(super) pipe: Option<RawFd>,
    /// The program, when it is a descriptor.
    pub(super) program: Option<RawFd>,
    /// The cgroup to join, when the clone did not see to that.
    pub(super) cgroup: Option<RawFd>,
    /// The terminal to be in the foreground of, when it is not that of a slot.
    pub(super) terminal: Option<RawFd>,
    /// The table is shared with the parent until the child has unshared it from this number on.
    pub(super) unshare: Option<u32>,
    /// The clone has already reset the handlers.
    pub(super) cleared: bool,
    /// The signals that the process ignores, bit n-1 for signal n.
    pub(super) ignored: u64,
    pub(super) close_range: bool,
    /// The parent's pid as the parent sees it.
    pub(super) parent: libc::pid_t,
}

/// The entry for a clone.
pub(super) extern "C" fn enter(orders: *mut c_void) -> ! {
    // SAFETY: the parent passes orders that it keeps alive and leaves alone until the child has
    // left them: it is suspended (CLONE_VFORK), or the child has a copy of its memory.
    run(unsafe { &*orders.cast::<Orders<'_>>() })
}

/// The whole life of a child before its program.
pub(super) fn run(orders: &Orders<'_>) -> ! {
    orders.status.start();
    let Err(failure) = obey(orders);
    orders.status.fail(failure);
    if let Some(pipe) = orders.pipe {
        let wire = to_wire(failure);
        // Less than PIPE_BUF, so it is one piece; a parent that is gone needs no answer.
        let _ = calls::write(orders.arrangement.now(pipe), as_bytes(&wire));
    }
    calls::exit(EXIT_FAILED)
}

fn as_bytes(wire: &Wire) -> &[u8] {
    // SAFETY: an array of integers has no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(wire.as_ptr().cast::<u8>(), size_of::<Wire>()) }
}

/// The steps, in the order that the rest of the crate documents.
fn obey(orders: &Orders<'_>) -> Result<Infallible, Failure> {
    let attributes = orders.attributes;
    if let Some(limit) = orders.unshare {
        let done = calls::close_range(limit, u32::MAX, libc::CLOSE_RANGE_UNSHARE);
        // On failure the table is still the parent's: nothing may be done to it.
        done.map_err(Failure::at(SpawnStep::Unshare))?;
    }
    reset_dispositions(orders);
    if let Some(cgroup) = orders.cgroup {
        join(orders.arrangement.now(cgroup)).map_err(Failure::at(SpawnStep::Cgroup))?;
    }
    if attributes.session != Session::Inherit {
        calls::setsid().map_err(Failure::at(SpawnStep::Session))?;
    }
    if let Some(group) = attributes.process_group {
        calls::setpgid(group).map_err(Failure::at(SpawnStep::ProcessGroup))?;
    }
    orders.arrangement.carry_out(&Kernel)?;
    take_terminal(orders)?;
    if let Some(cwd) = &attributes.cwd {
        calls::chdir(cwd).map_err(Failure::at(SpawnStep::Chdir))?;
    }
    let soft = set_limits(attributes)?;
    set_credentials(attributes)?;
    tie_to_parent(orders)?;
    if let Some(mask) = attributes.umask {
        calls::umask(mask);
    }
    if !attributes.inherit_unlisted {
        mark_unlisted(orders, soft).map_err(Failure::at(SpawnStep::CloseOnExec))?;
    }
    // From here on signals are delivered, to default actions only.
    calls::set_mask(attributes.signal_mask).map_err(Failure::at(SpawnStep::Signals))?;
    let errno = execute(orders);
    Err(Failure { step: SpawnStep::Exec, errno })
}

fn reset_dispositions(orders: &Orders<'_>) {
    let mut wanted = match orders.attributes.reset_signals {
        // Without help from the clone nothing is known of handlers, so all are reset: in shared
        // memory a handler of the parent's must not run once the mask is lifted.
        _ if !orders.cleared => u64::MAX,
        ResetSignals::Ignored => orders.ignored,
        ResetSignals::All => orders.ignored | STANDARD_SIGNALS,
    };
    while wanted != 0 {
        // Fails for SIGKILL and SIGSTOP only, whose disposition is default anyway.
        let _ = calls::default_action(wanted.trailing_zeros() as c_int + 1);
        wanted &= wanted - 1;
    }
}

fn join(cgroup: RawFd) -> Result<(), c_int> {
    let procs = calls::openat(cgroup, c"cgroup.procs", libc::O_WRONLY)?;
    // "0" is the writing process itself (Documentation/admin-guide/cgroup-v2.rst; kernel/cgroup
    // cgroup_procs_write_start).
    let done = calls::write(procs, b"0");
    calls::close(procs);
    done.map(drop)
}

fn take_terminal(orders: &Orders<'_>) -> Result<(), Failure> {
    if let Session::WithTerminal(slot) = orders.attributes.session {
        let done = calls::take_terminal(slot as RawFd);
        done.map_err(Failure::at(SpawnStep::ControllingTerminal))?;
    }
    if let Some(source) = &orders.attributes.foreground {
        let terminal = match source {
            Source::SameAs(slot) => *slot as RawFd,
            _ => orders.terminal.map_or(-1, |number| orders.arrangement.now(number)),
        };
        // SIGTTOU is blocked, so a background process may do this too (tcsetpgrp(3)).
        let done = calls::getpgid().and_then(|group| calls::set_foreground(terminal, group));
        done.map_err(Failure::at(SpawnStep::Foreground))?;
    }
    Ok(())
}

/// Gives back the soft limit of descriptors under which the open ones were opened, if it changed.
fn set_limits(attributes: &Attributes) -> Result<Option<u64>, Failure> {
    if let Some(nice) = attributes.nice {
        calls::setpriority(nice).map_err(Failure::at(SpawnStep::Nice))?;
    }
    if let Some(processors) = &attributes.affinity {
        calls::set_affinity(processors).map_err(Failure::at(SpawnStep::Affinity))?;
    }
    let mut descriptors = None;
    for limit in &attributes.rlimits {
        let before = calls::set_limit(limit.resource, limit.soft, limit.hard)
            .map_err(Failure::at(SpawnStep::Rlimit(limit.resource)))?;
        if limit.resource == libc::RLIMIT_NOFILE {
            descriptors = descriptors.or(Some(before));
        }
    }
    Ok(descriptors)
}

fn set_credentials(attributes: &Attributes) -> Result<(), Failure> {
    match &attributes.groups {
        Groups::Keep => {}
        Groups::Clear => calls::setgroups(&[]).map_err(Failure::at(SpawnStep::Groups))?,
        Groups::Set(groups) => {
            calls::setgroups(groups).map_err(Failure::at(SpawnStep::Groups))?;
        }
        Groups::Unspecified if attributes.uid.is_none() && attributes.gid.is_none() => {}
        Groups::Unspecified => match calls::setgroups(&[]) {
            Ok(()) | Err(libc::EPERM) => {}
            Err(errno) => return Err(Failure { step: SpawnStep::Groups, errno }),
        },
    }
    if let Some(gid) = attributes.gid {
        calls::setgid(gid).map_err(Failure::at(SpawnStep::Gid))?;
    }
    if let Some(uid) = attributes.uid {
        calls::setuid(uid).map_err(Failure::at(SpawnStep::Uid))?;
    }
    Ok(())
}

fn tie_to_parent(orders: &Orders<'_>) -> Result<(), Failure> {
    if let Some(signal) = orders.attributes.parent_death_signal {
        // After the credentials: changing them clears it (prctl(2)).
        let done = calls::prctl(libc::PR_SET_PDEATHSIG, signal as usize);
        done.map_err(Failure::at(SpawnStep::ParentDeathSignal))?;
        // A parent that died before the call sends nothing. Zero is a living parent outside of our
        // pid namespace, whose number cannot be compared.
        let parent = calls::getppid();
        if signal != 0 && parent != orders.parent && parent != 0 {
            calls::raise(signal);
        }
    }
    if orders.attributes.no_new_privs {
        let done = calls::prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
        done.map_err(Failure::at(SpawnStep::NoNewPrivs))?;
    }
    Ok(())
}

fn mark_unlisted(orders: &Orders<'_>, soft: Option<u64>) -> Result<(), c_int> {
    let gaps = orders.arrangement.gaps();
    if orders.close_range && unlisted::mark(gaps, orders.unshare).is_ok() {
        return Ok(());
    }
    orders.status.note(Fallbacks::MARKED_ONE_BY_ONE);
    unlisted::mark_one_by_one(gaps, soft)
}

/// Comes back with an errno when nothing could be executed, by the rules of execvp(3).
fn execute(orders: &Orders<'_>) -> c_int {
    let image = orders.image;
    if let Some(program) = orders.program {
        let program = orders.arrangement.now(program);
        return patiently(orders, || {
            // SAFETY: the image's vectors are null-ended and live until the child has left.
            unsafe { calls::fexecve(program, image.argv(), image.envp()) }
        });
    }
    let mut denied = false;
    let mut last = libc::ENOENT;
    for &candidate in image.candidates() {
        last = patiently(orders, || {
            // SAFETY: candidates are NUL-ended, the vectors null-ended; both live until the child
            // has left.
            unsafe { calls::execve(candidate, image.argv(), image.envp()) }
        });
        if last == libc::ENOEXEC {
            // SAFETY: as above; the shell's vector is the program's with the shell in front.
            last =
                unsafe { calls::execve(SHELL.as_ptr(), image.shell_argv(candidate), image.envp()) };
            if let Some(zeroth) = orders.attributes.argv.first() {
                image.restore_argv(zeroth);
            }
        }
        match last {
            libc::EACCES => denied = true,
            // Missing here, or an odd word of a network file system for it: the list is glibc's
            // (posix/execvpe.c).
            libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
    }
    if denied { libc::EACCES } else { last }
}

/// Tries again while the program is busy, as often as the attributes say.
fn patiently(orders: &Orders<'_>, execute: impl Fn() -> c_int) -> c_int {
    let mut pause = 100_000;
    let mut left = orders.attributes.busy_retries;
    loop {
        let errno = execute();
        if errno != libc::ETXTBSY || left == 0 {
            return errno;
        }
        calls::pause(pause);
        pause = (pause << 1).min(3_200_000);
        left = left.wrapping_sub(1);
    }
}

/// The child's own descriptor table.
struct Kernel;

impl Table for Kernel {
    fn duplicate(&self, from: RawFd, lowest: RawFd) -> Result<RawFd, c_int> {
        calls::fcntl(from, libc::F_DUPFD_CLOEXEC, lowest).map(|copy| copy as RawFd)
    }

    fn put(&self, from: RawFd, onto: RawFd) -> Result<(), c_int> {
        calls::dup3(from, onto)
    }

    fn keep(&self, number: RawFd) -> Result<(), c_int> {
        calls::fcntl(number, libc::F_SETFD, 0).map(drop)
    }

    fn block(&self, number: RawFd) -> Result<(), c_int> {
        let flags = calls::fcntl(number, libc::F_GETFL, 0)? as c_int;
        if flags & libc::O_NONBLOCK != 0 {
            calls::fcntl(number, libc::F_SETFL, flags & !libc::O_NONBLOCK)?;
        }
        Ok(())
    }

    fn close(&self, number: RawFd) {
        calls::close(number);
    }
}
