//! Which way to a child to take, and which to take after one that was refused.
//!
//! Invariant: an attempt that failed for want of something is followed by one that does without it,
//! so the number of attempts is bounded by the number of things to do without.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::attributes::Attributes;
use super::clone::Request;
use super::stack::{SharedPage, Stack};
use super::{Fallbacks, SpawnPath, Spawner, Switches, probe};
use crate::error::Error;
use crate::process::{SpawnError, SpawnStep};

/// One way of making a child, by what it uses.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) path: SpawnPath,
    pub(super) clone3: bool,
    pub(super) clear_sighand: bool,
    pub(super) pidfd: bool,
    pub(super) share_table: bool,
    pub(super) into_cgroup: bool,
}

impl Spawner {
    /// What the switches allow and the probes found to work.
    pub(super) fn first_attempt(
        &mut self,
        attributes: &Attributes,
        switches: &Switches,
    ) -> Result<Attempt, SpawnError> {
        let mut path = switches.path;
        let mut is_shared = false;
        if path != SpawnPath::Fork {
            let stack = match &mut self.stack {
                Some(stack) => stack,
                none => none.insert(Stack::new().map_err(no_memory)?),
            };
            is_shared = probe::shares_memory(stack, &self.status);
            if path == SpawnPath::Auto && is_shared {
                path = SpawnPath::SharedMemory;
            }
            if matches!(path, SpawnPath::Auto | SpawnPath::VforkPage) {
                path = self.without_shared_memory(path)?;
            }
        }
        let is_clone = path != SpawnPath::Fork;
        let clone3 = is_clone && switches.clone3 && probe::CLONE3.may_be();
        Ok(Attempt {
            path,
            clone3,
            clear_sighand: clone3 && switches.clear_sighand,
            pidfd: switches.pidfd,
            // An emulator that does not share memory cannot be trusted with the table either
            // (m: valgrind ends a program that asks for it).
            share_table: is_clone
                && is_shared
                && switches.share_table
                && switches.close_range
                && !attributes.inherit_unlisted
                && probe::UNSHARE.may_be(),
            into_cgroup: clone3 && attributes.cgroup.is_some(),
        })
    }

    #[cold]
    fn without_shared_memory(&mut self, path: SpawnPath) -> Result<SpawnPath, SpawnError> {
        let Some(stack) = &self.stack else { return Err(no_memory(Error::ENOMEM)) };
        let page = match &mut self.page {
            Some(page) => page,
            none => none.insert(SharedPage::new().map_err(no_memory)?),
        };
        let works = probe::shares_page(stack, page.status());
        Ok(match path {
            SpawnPath::Auto if works => SpawnPath::VforkPage,
            SpawnPath::Auto => SpawnPath::Fork,
            asked_for => asked_for,
        })
    }

    /// What to do without after a refused clone; the error when there is nothing left.
    #[cold]
    pub(super) fn next_attempt(
        &mut self,
        attempt: &mut Attempt,
        switches: &Switches,
        errno: c_int,
    ) -> Result<(), SpawnError> {
        let refused = |step| Err(SpawnError::new(step, Error::from_errno(errno)));
        let is_unavailable = matches!(errno, libc::ENOSYS | libc::EPERM | libc::EINVAL);
        if matches!(errno, libc::EMFILE | libc::ENFILE) && attempt.pidfd {
            attempt.pidfd = false;
        } else if is_unavailable && attempt.clone3 {
            let stack = self.stack.as_ref();
            if attempt.into_cgroup
                && stack.is_some_and(|stack| probe::clone3_works(stack, &self.status))
            {
                // EINVAL is a kernel before 5.7; the other two are the cgroup's own words.
                if errno != libc::EINVAL {
                    return refused(SpawnStep::Cgroup);
                }
                attempt.into_cgroup = false;
            } else {
                probe::CLONE3.deny();
                attempt.clone3 = false;
                attempt.clear_sighand = false;
                attempt.into_cgroup = false;
            }
        } else if attempt.into_cgroup && !matches!(errno, libc::EAGAIN | libc::ENOMEM) {
            return refused(SpawnStep::Cgroup);
        } else if is_unavailable
            && switches.path == SpawnPath::Auto
            && attempt.path != SpawnPath::Fork
        {
            attempt.path = SpawnPath::Fork;
            attempt.share_table = false;
        } else {
            return refused(SpawnStep::Clone);
        }
        Ok(())
    }
}

fn no_memory(error: Error) -> SpawnError {
    SpawnError::new(SpawnStep::Memory, error)
}

impl Attempt {
    /// What to ask the kernel for.
    pub(super) fn request(&self, cgroup: Option<RawFd>, _switches: &Switches) -> Request {
        let mut flags = libc::CLONE_VFORK;
        if self.path == SpawnPath::SharedMemory {
            flags |= libc::CLONE_VM;
        }
        if self.share_table {
            flags |= libc::CLONE_FILES;
        }
        #[cfg(test)]
        if _switches.withhold_memory {
            flags &= !libc::CLONE_VM;
        }
        let Attempt { clone3, clear_sighand, pidfd, .. } = *self;
        Request { clone3, flags, clear_sighand, cgroup, pidfd }
    }

    /// The ways round something that this attempt takes.
    pub(super) fn fallbacks(&self, attributes: &Attributes, switches: &Switches) -> Fallbacks {
        let is_clone = self.path != SpawnPath::Fork;
        let is_lower = switches.path == SpawnPath::Auto && self.path != SpawnPath::SharedMemory;
        let is_copied = is_clone && !self.share_table && !attributes.inherit_unlisted;
        let mut fallbacks = Fallbacks::empty();
        fallbacks.set(Fallbacks::LOWER_PATH, is_lower);
        fallbacks.set(Fallbacks::OLDER_CLONE, is_clone && !self.clone3);
        fallbacks.set(Fallbacks::COPIED_TABLE, is_copied);
        fallbacks.set(Fallbacks::HANDLERS_ONE_BY_ONE, is_clone && !self.clear_sighand);
        let is_written = attributes.cgroup.is_some() && !self.into_cgroup;
        fallbacks.set(Fallbacks::CGROUP_WRITTEN, is_written);
        fallbacks
    }
}
