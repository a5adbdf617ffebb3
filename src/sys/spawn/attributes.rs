//! The description of a child: plain data, everything the kernel is asked for and nothing else.
//!
//! Invariant: no closure and no borrow, so that a description can be sent to the thread that spawns
//! and so that no attribute ever forces a slower path. Descriptors are kept open by the description
//! that names them; only [`Source::Raw`] relies on its caller.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// 6.3 ms in all: far longer than a child is between its clone and its exec.
pub(crate) const BUSY_RETRIES: u32 = 6;

/// The program to execute.
#[derive(Debug)]
pub(crate) enum Program {
    /// A path, or a name without a slash, which is looked for in the `PATH` of the child's
    /// environment as `execvp` does.
    Path(Arc<CStr>),
    /// An open file (`execveat` with `AT_EMPTY_PATH`). A script cannot be executed so: its
    /// interpreter would open a descriptor that is closed by then, and the kernel says `ENOENT`.
    Descriptor(OwnedFd),
}

/// Where the descriptor of a slot comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The description owns it; the caller drops the description when the child runs.
    Owned(OwnedFd),
    /// Somebody else goes on using it.
    Shared(Arc<OwnedFd>),
    /// A number. Whoever built the description promises that it stays open until the spawn has
    /// returned.
    Raw(RawFd),
    /// Whatever another slot gets.
    SameAs(u32),
    /// `/dev/null` for 0 to 2. From 3 on the slot is not filled, and with `inherit_unlisted` it
    /// stays what it is in the parent.
    Ignore,
}

impl Source {
    /// The parent's number, for the kinds that have one.
    pub(super) fn number(&self) -> Option<RawFd> {
        match self {
            Source::Owned(fd) => Some(fd.as_raw_fd()),
            Source::Shared(fd) => Some(fd.as_raw_fd()),
            Source::Raw(number) => Some(*number),
            Source::SameAs(_) | Source::Ignore => None,
        }
    }
}

/// One descriptor of the child.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The number that the child sees.
    pub(crate) number: u32,
    pub(crate) source: Source,
    /// Clears `O_NONBLOCK`. The flag belongs to the open file description, so everyone who shares
    /// it sees the change.
    pub(crate) blocking: bool,
}

/// The session the child is put into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Session {
    /// The parent's.
    #[default]
    Inherit,
    /// A new one (`setsid`).
    New,
    /// A new one whose controlling terminal is the one in a slot (`TIOCSCTTY`).
    WithTerminal(u32),
}

/// The supplementary groups of the child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Groups {
    /// Kept, unless a user or group id is set: then they are cleared first, and a parent that may
    /// not do that is forgiven, as in libuv.
    #[default]
    Unspecified,
    /// Kept whatever else is set.
    Keep,
    /// Cleared.
    Clear,
    /// Replaced.
    Set(Vec<libc::gid_t>),
}

/// A resource limit to set, in the kernel's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Which signal dispositions are set to default, beside those with a handler, which always are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ResetSignals {
    /// Those which the process ignored when its spawner first looked, and SIGPIPE.
    #[default]
    Ignored,
    /// 1 to 31.
    All,
}

/// A child to be: built by the caller, read by the spawner, never changed by it.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(crate) program: Program,
    /// The arguments from the zeroth on; empty is an error.
    pub(crate) argv: Arc<[CString]>,
    /// The environment; `None` is the process's as it is at the spawn. The process must not change
    /// its environment from another thread meanwhile, which `std::env::set_var` asks for as well.
    pub(crate) envp: Option<Arc<[CString]>>,
    pub(crate) cwd: Option<CString>,
    /// In any order. 0 to 2 are `/dev/null` when missing.
    pub(crate) slots: Vec<Slot>,
    /// Lets descriptors without close-on-exec through that no slot lists. The parent's whole table
    /// is then copied, at a cost that grows with the number of open descriptors.
    pub(crate) inherit_unlisted: bool,
    pub(crate) session: Session,
    /// 0 is a group of the child's own.
    pub(crate) process_group: Option<libc::pid_t>,
    /// The terminal whose foreground group the child's group becomes.
    pub(crate) foreground: Option<Source>,
    /// Absolute, as in `setpriority`.
    pub(crate) nice: Option<i32>,
    pub(crate) rlimits: Vec<Limit>,
    /// A set of processors in the kernel's form: bit n is processor n, in native words.
    pub(crate) affinity: Option<Vec<u8>>,
    pub(crate) groups: Groups,
    pub(crate) gid: Option<libc::gid_t>,
    pub(crate) uid: Option<libc::uid_t>,
    /// Sent when the *thread* that spawned ends (prctl(2), `PR_SET_PDEATHSIG`).
    pub(crate) parent_death_signal: Option<i32>,
    pub(crate) no_new_privs: bool,
    pub(crate) umask: Option<libc::mode_t>,
    /// The directory of a cgroup v2.
    pub(crate) cgroup: Option<OwnedFd>,
    pub(crate) reset_signals: ResetSignals,
    /// The signals blocked in the child, bit n-1 for signal n.
    pub(crate) signal_mask: u64,
    /// How often a program that somebody has open for writing (`ETXTBSY`) is tried again. That
    /// somebody is mostly a child between its clone and its exec, with a copy of the descriptor that
    /// wrote the program just now (golang/go#22315). The pauses start at 0.1 ms and double up to
    /// 3.2 ms, and the spawning thread waits for them. A descriptor that this process itself has
    /// open is in the new child too, so that trying again does not help.
    pub(crate) busy_retries: u32,
}

impl Attributes {
    /// A child with all defaults: the parent's environment and directory, `/dev/null` for 0 to 2.
    #[cfg(test)]
    pub(crate) fn new(program: Program, argv: Arc<[CString]>) -> Attributes {
        Attributes {
            program,
            argv,
            envp: None,
            cwd: None,
            slots: Vec::new(),
            inherit_unlisted: false,
            session: Session::Inherit,
            process_group: None,
            foreground: None,
            nice: None,
            rlimits: Vec::new(),
            affinity: None,
            groups: Groups::Unspecified,
            gid: None,
            uid: None,
            parent_death_signal: None,
            no_new_privs: false,
            umask: None,
            cgroup: None,
            reset_signals: ResetSignals::Ignored,
            signal_mask: 0,
            busy_retries: BUSY_RETRIES,
        }
    }

    /// Whether the child changes credentials, which makes memory shared with it undumpable.
    pub(super) fn changes_credentials(&self) -> bool {
        self.uid.is_some()
            || self.gid.is_some()
            || matches!(self.groups, Groups::Clear | Groups::Set(_))
    }
}
