//! What a failed spawn says: the step that failed, the thing it was about, and the errno.
//!
//! Invariant: a step has one number on the wire between child and parent, and decoding gives back
//! what was encoded, so that a child can report any step with plain stores and without a pointer.
//! A message string from the child was rejected: it would need memory there, and an allocator.

use std::fmt;
use std::io;

use crate::error::Error;

/// Why a process could not be spawned: which step failed, and the error it failed with.
///
/// ```
/// use blacklight::{Error, SpawnError, SpawnStep};
///
/// let error = SpawnError::new(SpawnStep::Dup(3), Error::EBADF);
/// assert_eq!(error.step(), SpawnStep::Dup(3));
/// assert_eq!(error.error(), Error::EBADF);
/// assert_eq!(error.to_string(), "dup of slot 3: EBADF: bad file descriptor");
/// assert_eq!(Error::from(error), Error::EBADF);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpawnError {
    step: SpawnStep,
    error: Error,
}

impl SpawnError {
    /// The error of one step.
    #[must_use]
    pub const fn new(step: SpawnStep, error: Error) -> SpawnError {
        SpawnError { step, error }
    }

    /// What was being done.
    #[must_use]
    pub const fn step(&self) -> SpawnStep {
        self.step
    }

    /// What the kernel, or the check before it, had against it.
    #[must_use]
    pub const fn error(&self) -> Error {
        self.error
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<SpawnError> for Error {
    fn from(error: SpawnError) -> Error {
        error.error
    }
}

impl From<SpawnError> for io::Error {
    /// Keeps the kind of the errno; the step stays in the message and can be downcast to.
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(io::Error::from(error.error).kind(), error)
    }
}

/// The steps of a spawn, named after what a program asked for.
///
/// The steps are listed in the order in which they happen. A slot is named by the number that the
/// child would have seen.
///
/// ```
/// use blacklight::SpawnStep;
///
/// assert_eq!(SpawnStep::Chdir.to_string(), "chdir");
/// assert_eq!(SpawnStep::Dup(3).to_string(), "dup of slot 3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpawnStep {
    /// The name of the program was checked.
    Program,
    /// The arguments were checked.
    Arguments,
    /// The environment was checked.
    Environment,
    /// A file or a pipe was opened for a slot, in the parent.
    Open(u32),
    /// `/dev/null` was opened for a slot that is ignored or missing.
    OpenNull,
    /// The spawner thread was started, or told what to do.
    Thread,
    /// Memory was mapped for the child's stack.
    Memory,
    /// The signal pipe of the fork path was made.
    Pipe,
    /// The process was created (`clone3`, `clone` or `fork`).
    Clone,
    /// The child took a table of descriptors of its own.
    Unshare,
    /// Signal dispositions were reset, or the signal mask set.
    Signals,
    /// The child was put into its cgroup.
    Cgroup,
    /// A new session was made (`setsid`).
    Session,
    /// The process group was set (`setpgid`).
    ProcessGroup,
    /// A descriptor was put into its slot.
    Dup(u32),
    /// `O_NONBLOCK` was cleared on a slot.
    Blocking(u32),
    /// The terminal of a slot was made the controlling one.
    ControllingTerminal,
    /// The child's group was made the terminal's foreground group.
    Foreground,
    /// The working directory was changed.
    Chdir,
    /// The priority was set.
    Nice,
    /// A resource limit was set; the number is the kernel's (`RLIMIT_NOFILE` is 7).
    Rlimit(u32),
    /// The set of processors was set.
    Affinity,
    /// The supplementary groups were set or cleared.
    Groups,
    /// The group id was set.
    Gid,
    /// The user id was set.
    Uid,
    /// The signal for the parent's death was set.
    ParentDeathSignal,
    /// `no_new_privs` was set.
    NoNewPrivs,
    /// The descriptors that no slot lists were marked close-on-exec.
    CloseOnExec,
    /// The program was executed.
    Exec,
}

impl SpawnStep {
    /// The two words a child writes: a code that is never zero, and the slot or resource.
    pub(crate) const fn encode(self) -> (u32, u32) {
        match self {
            SpawnStep::Program => (1, 0),
            SpawnStep::Arguments => (2, 0),
            SpawnStep::Environment => (3, 0),
            SpawnStep::Open(slot) => (4, slot),
            SpawnStep::OpenNull => (5, 0),
            SpawnStep::Memory => (6, 0),
            SpawnStep::Pipe => (7, 0),
            SpawnStep::Clone => (8, 0),
            SpawnStep::Unshare => (9, 0),
            SpawnStep::Signals => (10, 0),
            SpawnStep::Cgroup => (11, 0),
            SpawnStep::Session => (12, 0),
            SpawnStep::ProcessGroup => (13, 0),
            SpawnStep::Dup(slot) => (14, slot),
            SpawnStep::Blocking(slot) => (15, slot),
            SpawnStep::ControllingTerminal => (16, 0),
            SpawnStep::Foreground => (17, 0),
            SpawnStep::Chdir => (18, 0),
            SpawnStep::Nice => (19, 0),
            SpawnStep::Rlimit(resource) => (20, resource),
            SpawnStep::Affinity => (21, 0),
            SpawnStep::Groups => (22, 0),
            SpawnStep::Gid => (23, 0),
            SpawnStep::Uid => (24, 0),
            SpawnStep::ParentDeathSignal => (25, 0),
            SpawnStep::NoNewPrivs => (26, 0),
            SpawnStep::CloseOnExec => (27, 0),
            SpawnStep::Exec => (28, 0),
            SpawnStep::Thread => (29, 0),
        }
    }

    /// The step of the two words; `None` when no step has that code.
    pub(crate) const fn decode(code: u32, number: u32) -> Option<SpawnStep> {
        Some(match code {
            1 => SpawnStep::Program,
            2 => SpawnStep::Arguments,
            3 => SpawnStep::Environment,
            4 => SpawnStep::Open(number),
            5 => SpawnStep::OpenNull,
            6 => SpawnStep::Memory,
            7 => SpawnStep::Pipe,
            8 => SpawnStep::Clone,
            9 => SpawnStep::Unshare,
            10 => SpawnStep::Signals,
            11 => SpawnStep::Cgroup,
            12 => SpawnStep::Session,
            13 => SpawnStep::ProcessGroup,
            14 => SpawnStep::Dup(number),
            15 => SpawnStep::Blocking(number),
            16 => SpawnStep::ControllingTerminal,
            17 => SpawnStep::Foreground,
            18 => SpawnStep::Chdir,
            19 => SpawnStep::Nice,
            20 => SpawnStep::Rlimit(number),
            21 => SpawnStep::Affinity,
            22 => SpawnStep::Groups,
            23 => SpawnStep::Gid,
            24 => SpawnStep::Uid,
            25 => SpawnStep::ParentDeathSignal,
            26 => SpawnStep::NoNewPrivs,
            27 => SpawnStep::CloseOnExec,
            28 => SpawnStep::Exec,
            29 => SpawnStep::Thread,
            _ => return None,
        })
    }
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            SpawnStep::Program => "program name",
            SpawnStep::Arguments => "arguments",
            SpawnStep::Environment => "environment",
            SpawnStep::Open(slot) => return write!(f, "open for slot {slot}"),
            SpawnStep::OpenNull => "open of /dev/null",
            SpawnStep::Thread => "spawner thread",
            SpawnStep::Memory => "memory for the child's stack",
            SpawnStep::Pipe => "signal pipe",
            SpawnStep::Clone => "clone",
            SpawnStep::Unshare => "copy of the descriptor table",
            SpawnStep::Signals => "reset of signals",
            SpawnStep::Cgroup => "cgroup",
            SpawnStep::Session => "setsid",
            SpawnStep::ProcessGroup => "setpgid",
            SpawnStep::Dup(slot) => return write!(f, "dup of slot {slot}"),
            SpawnStep::Blocking(slot) => return write!(f, "clearing O_NONBLOCK of slot {slot}"),
            SpawnStep::ControllingTerminal => "controlling terminal",
            SpawnStep::Foreground => "foreground group",
            SpawnStep::Chdir => "chdir",
            SpawnStep::Nice => "setpriority",
            SpawnStep::Rlimit(resource) => return write!(f, "setrlimit of resource {resource}"),
            SpawnStep::Affinity => "processor affinity",
            SpawnStep::Groups => "setgroups",
            SpawnStep::Gid => "setgid",
            SpawnStep::Uid => "setuid",
            SpawnStep::ParentDeathSignal => "parent-death signal",
            SpawnStep::NoNewPrivs => "no_new_privs",
            SpawnStep::CloseOnExec => "close-on-exec of unlisted descriptors",
            SpawnStep::Exec => "exec",
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_way_from_child_to_parent() {
        let mut known = 0;
        for code in 1..100 {
            if let Some(step) = SpawnStep::decode(code, 7) {
                known += 1;
                assert_eq!(step.encode().0, code, "{step}");
                let (code, number) = step.encode();
                assert_eq!(SpawnStep::decode(code, number), Some(step));
            }
        }
        assert_eq!(known, 29);
        assert_eq!(SpawnStep::decode(0, 0), None);
    }

    #[test]
    fn an_io_error_keeps_kind_and_step() {
        let error = io::Error::from(SpawnError::new(SpawnStep::Exec, Error::ENOENT));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "exec: ENOENT: no such file or directory");
    }
}
