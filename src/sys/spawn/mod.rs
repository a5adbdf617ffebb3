//! From a plain-data description of a child to a running process.
//!
//! The parent lays out everything first ([`plan`], [`descriptors`], [`exec`]), then makes a child by
//! one of three paths ([`paths`]), which follows its orders with raw system calls alone ([`child`]).
//! Invariant: [`Spawner::spawn`] either returns a child that has executed its program or an error
//! that names the step, and then nothing is left: no zombie, no descriptor, no changed mask.
//!
//! Rejected: a closure to run in the child. It would have to be safe in shared memory, or would
//! force a copy of it; all that closures are used for is data here.

mod attempt;
mod attributes;
mod calls;
mod child;
mod clone;
mod descriptors;
mod dumpable;
mod exec;
mod lock;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod paths;
mod plan;
mod probe;
mod reserve;
mod signals;
mod stack;
mod status;
#[cfg(test)]
mod tests;
mod unlisted;

use std::os::fd::{OwnedFd, RawFd};

pub(crate) use attributes::{
    Attributes, BUSY_RETRIES, Groups, Limit, Program, ResetSignals, Session, Slot, Source,
};

use descriptors::{Arrangement, Placement};
use exec::Image;
use plan::Plan;
use stack::{SharedPage, Stack};
use status::Status;

/// Takes the process's few low descriptor numbers now, before a program opens thousands. The first
/// spawn does it otherwise, with whatever numbers are free by then.
pub(crate) fn reserve_descriptors() -> crate::Result<()> {
    reserve::null().map(drop)
}

/// How a child is made.
///
/// All paths do the same and report the same errors; they differ in cost and in what they ask of
/// the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SpawnPath {
    /// The first of the others that works here, found out by trying.
    #[default]
    Auto,
    /// The child shares the parent's memory until its exec, and the calling thread waits. The cost
    /// does not depend on the parent's size.
    SharedMemory,
    /// The child has a copy of the page tables, and the calling thread waits. For kernels and
    /// emulators that do not share memory.
    VforkPage,
    /// `fork`, with the handlers of `pthread_atfork`, and a pipe for the child's error. The calling
    /// thread waits for the exec here too, at the other end of the pipe.
    Fork,
}

/// What a spawner may use. Everything is on by default; a switch turned off takes the way that an
/// older kernel would make it take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switches {
    pub(crate) path: SpawnPath,
    /// Off: the older `clone`.
    pub(crate) clone3: bool,
    /// Off: the descriptor table is copied, and descriptors are marked one by one.
    pub(crate) close_range: bool,
    /// Off: the descriptor table is copied.
    pub(crate) share_table: bool,
    /// Off: children have no pidfd.
    pub(crate) pidfd: bool,
    /// Off: the child resets each handler.
    pub(crate) clear_sighand: bool,
    /// Acts as an emulator that does not share memory although it is asked to.
    #[cfg(test)]
    pub(crate) withhold_memory: bool,
    /// Acts as if this parent had asked for the child.
    #[cfg(test)]
    pub(crate) pose_as: Option<libc::pid_t>,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            path: SpawnPath::Auto,
            clone3: true,
            close_range: true,
            share_table: true,
            pidfd: true,
            clear_sighand: true,
            #[cfg(test)]
            withhold_memory: false,
            #[cfg(test)]
            pose_as: None,
        }
    }
}

bitflags::bitflags! {
    /// The ways round something that one spawn took, by necessity or by a switch.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub(crate) struct Fallbacks: u32 {
        /// `Auto` could not take the shared memory.
        const LOWER_PATH = 1 << 0;
        /// The older `clone` made the child.
        const OLDER_CLONE = 1 << 1;
        /// The child has no pidfd.
        const NO_PIDFD = 1 << 2;
        /// The descriptor table was copied though nothing asked for that.
        const COPIED_TABLE = 1 << 3;
        /// The table was shared but copied far up, as there were no low numbers for its sources.
        const HIGH_LIMIT = 1 << 4;
        /// Unlisted descriptors were marked one by one.
        const MARKED_ONE_BY_ONE = 1 << 5;
        /// Handlers were reset one by one.
        const HANDLERS_ONE_BY_ONE = 1 << 6;
        /// The child put itself into its cgroup.
        const CGROUP_WRITTEN = 1 << 7;
        /// Memory that should have been shared was not, so an error could not be reported.
        const NOT_SHARED = 1 << 8;
    }
}

/// A process that executes its program.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: libc::pid_t,
    /// Close-on-exec. `None` where the kernel has none, or no number for it was free.
    pub(crate) pidfd: Option<OwnedFd>,
    /// The path taken; never `Auto`.
    pub(crate) path: SpawnPath,
    pub(crate) fallbacks: Fallbacks,
}

/// Makes children. It holds what one spawn can leave for the next: the child's stack, the slot for
/// its status, and buffers.
///
/// Making one costs nothing; the stack is mapped by the first spawn. It must not be used on both
/// sides of a fork of the process: the child makes a new one.
#[derive(Debug, Default)]
pub(crate) struct Spawner {
    stack: Option<Stack>,
    status: Box<Status>,
    page: Option<SharedPage>,
    plan: Plan,
    /// The placements with leased numbers in them.
    placements: Vec<Placement>,
    sources: Vec<RawFd>,
    arrangement: Arrangement,
    image: Image,
    ignored: Option<u64>,
}

impl Spawner {
    pub(crate) fn new() -> Spawner {
        Spawner::default()
    }
}
