//! What a child is besides its program and its slots: session and group, credentials, limits,
//! signals.
//!
//! Invariant: each is plain data that the child's plan carries out; none makes a spawn take another
//! path.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::command::Command;
use super::stdio::Stdio;
use crate::error::{Error, Result};
use crate::stream::Pty;
use crate::sys::fd;

/// The supplementary groups of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Those of this process.
    Keep,
    /// None.
    Clear,
    /// These.
    Set(Vec<u32>),
}

/// A resource with a limit (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of a core dump.
    Core,
    /// Seconds of processor time.
    Cpu,
    /// Bytes of data segment.
    Data,
    /// Bytes of a file that is written.
    FileSize,
    /// Bytes of memory locked.
    LockedMemory,
    /// Bytes in POSIX message queues.
    MessageQueues,
    /// The ceiling of the nice value, as 20 minus it.
    Nice,
    /// One more than the highest number of a descriptor.
    OpenFiles,
    /// Processes and threads of the user.
    Processes,
    /// The ceiling of the real-time priority.
    RealtimePriority,
    /// Microseconds of processor time at a stretch under real-time scheduling.
    RealtimeTime,
    /// Signals queued for the user.
    PendingSignals,
    /// Bytes of the initial thread's stack.
    Stack,
}

impl Resource {
    pub(super) fn number(self) -> u32 {
        match self {
            Resource::AddressSpace => libc::RLIMIT_AS,
            Resource::Core => libc::RLIMIT_CORE,
            Resource::Cpu => libc::RLIMIT_CPU,
            Resource::Data => libc::RLIMIT_DATA,
            Resource::FileSize => libc::RLIMIT_FSIZE,
            Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
            Resource::MessageQueues => libc::RLIMIT_MSGQUEUE,
            Resource::Nice => libc::RLIMIT_NICE,
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
            Resource::Processes => libc::RLIMIT_NPROC,
            Resource::RealtimePriority => libc::RLIMIT_RTPRIO,
            Resource::RealtimeTime => libc::RLIMIT_RTTIME,
            Resource::PendingSignals => libc::RLIMIT_SIGPENDING,
            Resource::Stack => libc::RLIMIT_STACK,
        }
    }
}

/// No limit, for [`Command::rlimit`] (`RLIM_INFINITY`).
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

impl Command {
    /// Puts the child into a session of its own, without a controlling terminal (setsid(2);
    /// libuv's `UV_PROCESS_DETACHED`). It leads a process group of its own then.
    pub fn detached(&mut self, on: bool) -> &mut Command {
        self.session = on;
        self
    }

    /// Puts the child into a session of its own, whose controlling terminal is the one in `slot`
    /// (`TIOCSCTTY`, ioctl_tty(2)).
    pub fn controlling_terminal(&mut self, slot: u32) -> &mut Command {
        self.controlling_terminal = Some(slot);
        self
    }

    /// Puts the child on a pseudo-terminal: its slots 0 to 2 are the slave, which is the controlling
    /// terminal of a session of its own. Slots may be filled with something else afterwards, but
    /// for slot 0, by which the child takes the terminal.
    ///
    /// ```
    /// use blacklight::{Command, EventLoop, Pty, Read, RunMode, Stream, WindowSize};
    ///
    /// let lp = EventLoop::new()?;
    /// let pty = Pty::new(&lp, WindowSize::new(80, 24))?;
    /// Command::new("stty").arg("size").pty(&pty).spawn(&lp, |_, exit| assert!(exit.success()))?;
    /// pty.read_start(|_, read| match read {
    ///     Read::Data(bytes) => assert_eq!(bytes, b"24 80\r\n"),
    ///     Read::Eof => {}
    ///     Read::Error(error) => panic!("{error}"),
    /// })?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    pub fn pty(&mut self, pty: &Pty) -> &mut Command {
        for slot in 0..3 {
            self.stdio(slot, Stdio::pty(pty));
        }
        self.controlling_terminal(0)
    }

    /// Puts the child into a process group (setpgid(2)), 0 for one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.process_group = Some(group);
        self
    }

    /// Makes the child's process group the foreground group of a terminal (tcsetpgrp(3)).
    ///
    /// # Errors
    /// `EMFILE` when no descriptor is left for a copy of the terminal's.
    pub fn foreground(&mut self, terminal: impl AsFd) -> Result<&mut Command> {
        self.foreground = Some(Stdio::from_fd(terminal)?);
        Ok(self)
    }

    /// Sets the child's user id. Unless [`Command::groups`] says otherwise, supplementary groups
    /// are cleared first, and a process that may not do that goes on (libuv's rule).
    pub fn uid(&mut self, uid: u32) -> &mut Command {
        self.uid = Some(uid);
        self
    }

    /// Sets the child's group id, before the user id. As to supplementary groups, see
    /// [`Command::uid`].
    pub fn gid(&mut self, gid: u32) -> &mut Command {
        self.gid = Some(gid);
        self
    }

    /// Sets the child's supplementary groups; a failure to do so fails the spawn.
    pub fn groups(&mut self, groups: Groups) -> &mut Command {
        self.groups = Some(groups);
        self
    }

    /// Has the kernel send the child a signal when the thread that spawned it ends
    /// (`PR_SET_PDEATHSIG`, prctl(2)).
    ///
    /// It is the thread that counts, not the process: [`Command::spawn`] spawns on the loop's,
    /// [`Command::spawn_off_loop`] on one that lives as long as the loop. The signal is set after
    /// credentials, which would clear it; if the parent is gone by then, the child sends it to
    /// itself. A program that is set-user-ID or has capabilities loses it in exec.
    pub fn parent_death_signal(&mut self, signum: i32) -> &mut Command {
        self.parent_death_signal = Some(signum);
        self
    }

    /// Sets a resource limit: soft, hard, [`UNLIMITED`] for none.
    pub fn rlimit(&mut self, resource: Resource, soft: u64, hard: u64) -> &mut Command {
        self.rlimits.push((resource, soft, hard));
        self
    }

    /// Sets the nice value, -20 to 19 (setpriority(2)); absolute, not an increment.
    pub fn nice(&mut self, nice: i32) -> &mut Command {
        self.nice = Some(nice);
        self
    }

    /// Lets the child run on these processors only (sched_setaffinity(2)), counted from 0.
    pub fn affinity(&mut self, processors: impl IntoIterator<Item = usize>) -> &mut Command {
        self.affinity = Some(processors.into_iter().collect());
        self
    }

    /// Sets the file mode creation mask (umask(2)).
    pub fn umask(&mut self, mask: u32) -> &mut Command {
        self.umask = Some(mask);
        self
    }

    /// Keeps the program, and all it executes, from gaining privileges by exec
    /// (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
    pub fn no_new_privs(&mut self, on: bool) -> &mut Command {
        self.no_new_privs = on;
        self
    }

    /// How often the child tries again while its program is being written (`ETXTBSY`), 6 times unless
    /// this is called. Whoever spawns waits with it: 0.1 ms after the first try, twice that after the
    /// second and so on, at most 3.2 ms; 6.3 ms for all 6.
    ///
    /// A program that was written a moment ago may be held open for writing by a child of another
    /// library's that has not executed its own program yet (golang#22315).
    pub fn busy_retries(&mut self, times: u32) -> &mut Command {
        self.busy_retries = Some(times);
        self
    }

    /// Makes the child in a cgroup v2, given as its directory (`CLONE_INTO_CGROUP`, Linux 5.7).
    /// Where clone3(2) is not to be had the child joins it before it does anything else.
    ///
    /// # Errors
    /// `EMFILE` when no descriptor is left for a copy of the directory's.
    pub fn cgroup(&mut self, directory: impl AsFd) -> Result<&mut Command> {
        self.cgroup = Some(Arc::new(fd::duplicate(directory.as_fd())?));
        Ok(self)
    }

    /// Resets all of signals 1 to 31 to their default actions in the child, not only those which
    /// are handled or were ignored when this process first spawned: for processes that change
    /// which signals they ignore. It costs 30 system calls.
    pub fn reset_all_signals(&mut self, on: bool) -> &mut Command {
        self.reset_all_signals = on;
        self
    }

    /// Has the child begin with these signals blocked; none otherwise.
    ///
    /// # Errors
    /// `EINVAL` for a number that is no signal (1 to 64).
    pub fn block_signals(
        &mut self,
        signums: impl IntoIterator<Item = i32>,
    ) -> Result<&mut Command> {
        let mut mask = 0;
        for signum in signums {
            if !(1..=64).contains(&signum) {
                return Err(Error::EINVAL);
            }
            mask |= 1u64 << (signum - 1);
        }
        self.blocked_signals = mask;
        Ok(self)
    }
}
