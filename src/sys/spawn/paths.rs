//! The three ways to a child, and which one to take when.
//!
//! Invariant: an attempt that failed for want of something is followed by one that does without it,
//! so the number of attempts is bounded by the number of things to do without. A child that has
//! reported an error is reaped before anything else happens.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::attributes::{Attributes, Program, Source};
use super::child::{Orders, enter, run};
use super::clone::{self, Cloned, Request};
use super::descriptors::Placement;
use super::dumpable::Dumpable;
use super::reserve::{self, Lease};
use super::signals::{self, Blocked};
use super::stack::{SharedPage, Stack};
use super::status::{Failure, Status, Wire, from_wire};
use super::{Child, Fallbacks, SpawnPath, Spawner, Switches, probe};
use crate::error::{Error, Result};
use crate::process::{SpawnError, SpawnStep};
use crate::sys::wait::{self, How, Whom};
use crate::sys::{check, pidfd, retry};

/// One way of making a child, by what it uses.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    path: SpawnPath,
    clone3: bool,
    clear_sighand: bool,
    pidfd: bool,
    share_table: bool,
    into_cgroup: bool,
}

/// What an attempt came to.
enum Outcome {
    Running(Child),
    /// No process was made.
    Refused(c_int),
    /// A process was made, said this, and was reaped.
    Failed(Failure),
}

impl Spawner {
    /// Makes a child and waits until it executes its program.
    ///
    /// # Errors
    /// The step that failed, in the parent or in the child, with its errno.
    pub(crate) fn spawn(
        &mut self,
        attributes: &Attributes,
        switches: &Switches,
    ) -> Result<Child, SpawnError> {
        self.plan.resolve(attributes)?;
        self.image.prepare(attributes)?;
        let mut attempt = self.first_attempt(attributes, switches)?;
        loop {
            match self.attempt(attributes, switches, attempt)? {
                Outcome::Running(child) => return Ok(child),
                Outcome::Failed(failure) => {
                    if failure.step != SpawnStep::Unshare || !attempt.share_table {
                        return Err(told(failure));
                    }
                    if matches!(failure.errno, libc::ENOSYS | libc::EINVAL | libc::EPERM) {
                        probe::UNSHARE.deny();
                    }
                    attempt.share_table = false;
                }
                Outcome::Refused(errno) => {
                    attempt = self.next_attempt(attempt, switches, errno)?;
                }
            }
        }
    }

    /// What the switches allow and the probes found to work.
    fn first_attempt(
        &mut self,
        attributes: &Attributes,
        switches: &Switches,
    ) -> Result<Attempt, SpawnError> {
        let mut path = switches.path;
        let mut is_shared = false;
        if path != SpawnPath::Fork {
            let memory = |error| SpawnError::new(SpawnStep::Memory, error);
            if self.stack.is_none() {
                self.stack = Some(Stack::new().map_err(memory)?);
            }
            let Some(stack) = &self.stack else { return Err(memory(Error::ENOMEM)) };
            is_shared = probe::shares_memory(stack, &self.status);
            if path == SpawnPath::Auto && is_shared {
                path = SpawnPath::SharedMemory;
            }
            if matches!(path, SpawnPath::Auto | SpawnPath::VforkPage) {
                if self.page.is_none() {
                    self.page = Some(SharedPage::new().map_err(memory)?);
                }
                let works =
                    self.page.as_ref().is_some_and(|p| probe::shares_page(stack, p.status()));
                if path == SpawnPath::Auto {
                    path = if works { SpawnPath::VforkPage } else { SpawnPath::Fork };
                }
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

    /// What to do without after a refused clone; the error when there is nothing left.
    fn next_attempt(
        &mut self,
        mut attempt: Attempt,
        switches: &Switches,
        errno: c_int,
    ) -> Result<Attempt, SpawnError> {
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
                attempt =
                    Attempt { clone3: false, clear_sighand: false, into_cgroup: false, ..attempt };
            }
        } else if attempt.into_cgroup && !matches!(errno, libc::EAGAIN | libc::ENOMEM) {
            return refused(SpawnStep::Cgroup);
        } else if is_unavailable
            && switches.path == SpawnPath::Auto
            && attempt.path != SpawnPath::Fork
        {
            attempt = Attempt { path: SpawnPath::Fork, share_table: false, ..attempt };
        } else {
            return refused(SpawnStep::Clone);
        }
        Ok(attempt)
    }

    fn attempt(
        &mut self,
        attributes: &Attributes,
        switches: &Switches,
        attempt: Attempt,
    ) -> Result<Outcome, SpawnError> {
        let pipe = if attempt.path == SpawnPath::Fork { Some(signal_pipe()?) } else { None };
        let program = match &attributes.program {
            Program::Descriptor(program) => Some(program.as_raw_fd()),
            Program::Path(_) => None,
        };
        let terminal = attributes.foreground.as_ref().and_then(Source::number);
        let cgroup = attributes.cgroup.as_ref().map(AsRawFd::as_raw_fd);
        let written = cgroup.filter(|_| !attempt.into_cgroup);
        let writer = pipe.as_ref().map(|pipe| pipe.writer.as_raw_fd());

        let extra = [program, terminal, written, writer];
        let lease = self.lease(attempt.share_table, extra)?;
        let lent = |number: Option<RawFd>| number.map(|number| lease.of(number));
        self.placements.clear();
        self.placements.extend(self.plan.placements.iter().map(|p| {
            let source = lease.of(p.source);
            // A copy is close-on-exec whatever the original is.
            Placement { source, inheritable: p.inheritable && source == p.source, ..*p }
        }));
        self.sources.clear();
        self.sources.extend(extra.into_iter().filter_map(lent));
        self.arrangement.arrange(&self.placements, &self.sources);

        let ignored = *self.ignored.get_or_insert_with(signals::ignored);
        let status = match (attempt.path, &self.page) {
            (SpawnPath::VforkPage, Some(page)) => page.status(),
            _ => &self.status,
        };
        status.clear();
        let parent = parent_of(attributes);
        #[cfg(test)]
        let parent = switches.pose_as.unwrap_or(parent);
        let orders = Orders {
            attributes,
            arrangement: &self.arrangement,
            image: &self.image,
            status,
            pipe: writer,
            program: lent(program),
            cgroup: lent(written),
            terminal: lent(terminal),
            unshare: attempt.share_table.then(|| self.arrangement.limit()),
            cleared: attempt.clear_sighand,
            ignored,
            close_range: switches.close_range,
            parent,
        };

        let mut fallbacks = attempt.fallbacks(attributes, switches);
        if attempt.share_table && reserve::is_high(self.arrangement.limit()) {
            fallbacks |= Fallbacks::HIGH_LIMIT;
        }
        let made = match (pipe, &self.stack) {
            (Some(pipe), _) => fork(&orders, pipe, attempt.pidfd),
            (None, Some(stack)) => {
                let cgroup = cgroup.filter(|_| attempt.into_cgroup);
                let request = attempt.request(cgroup, switches);
                clone(&orders, &request, stack)
            }
            (None, None) => Err(libc::ENOMEM),
        };
        // The parent gives up its copies of the child's ends before it does anything else.
        drop(lease);
        let (cloned, failure) = match made {
            Ok(made) => made,
            Err(errno) => return Ok(Outcome::Refused(errno)),
        };

        if let Some(failure) = failure {
            reap(&cloned);
            return Ok(Outcome::Failed(failure));
        }
        if attempt.path != SpawnPath::Fork && !status.started() {
            fallbacks |= Fallbacks::NOT_SHARED;
            match attempt.path {
                SpawnPath::VforkPage => probe::PAGE.deny(),
                _ => probe::MEMORY.deny(),
            }
        }
        fallbacks |= status.noted();
        fallbacks.set(Fallbacks::NO_PIDFD, cloned.pidfd.is_none());
        let Cloned { pid, pidfd } = cloned;
        Ok(Outcome::Running(Child { pid, pidfd, path: attempt.path, fallbacks }))
    }

    /// Low numbers for the sources, when the child is to copy a part of the table only.
    fn lease(&mut self, is_shared: bool, extra: [Option<RawFd>; 4]) -> Result<Lease, SpawnError> {
        if !is_shared {
            return Ok(Lease::none());
        }
        reserve::fill();
        let sources = self.plan.placements.iter().map(|placement| placement.source);
        if !sources.clone().chain(extra.into_iter().flatten()).any(reserve::is_worthwhile) {
            return Ok(Lease::none());
        }
        self.sources.clear();
        self.sources.extend(sources);
        self.sources.extend(extra.into_iter().flatten());
        self.sources.sort_unstable();
        self.sources.dedup();
        Lease::take(&self.sources).map_err(|(source, error)| {
            let slot = self.plan.placements.iter().find(|p| p.source == source);
            let step = slot.map_or(SpawnStep::Program, |p| SpawnStep::Dup(p.target as u32));
            SpawnError::new(step, error)
        })
    }
}

impl Attempt {
    fn request(&self, cgroup: Option<RawFd>, _switches: &Switches) -> Request {
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

    fn fallbacks(&self, attributes: &Attributes, switches: &Switches) -> Fallbacks {
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

type Made = (Cloned, Option<Failure>);

/// Shared memory, or a shared page: when the call comes back the child has executed or failed.
fn clone(orders: &Orders<'_>, request: &Request, stack: &Stack) -> Result<Made, c_int> {
    let is_shared = request.flags & libc::CLONE_VM != 0;
    let _dumpable = (is_shared && orders.attributes.changes_credentials()).then(Dumpable::hold);
    let cloned = {
        let _blocked = Blocked::new()?;
        let argument = (&raw const *orders).cast_mut().cast::<c_void>();
        // SAFETY: the spawner that owns the stack is borrowed exclusively, and CLONE_VFORK keeps us
        // here until the child has left it. `enter` wants orders, and these outlive the call.
        unsafe { clone::run(request, stack, enter, argument)? }
    };
    let status: &Status = orders.status;
    Ok((cloned, status.failure()))
}

/// Our own pid, where the child will compare it with its parent's.
fn parent_of(attributes: &Attributes) -> libc::pid_t {
    match attributes.parent_death_signal {
        // SAFETY: asking for our own pid cannot fail.
        Some(_) => unsafe { libc::getpid() },
        None => 0,
    }
}

struct SignalPipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

fn signal_pipe() -> Result<SignalPipe, SpawnError> {
    let mut ends = [-1; 2];
    // SAFETY: room for two numbers; on success both are new and ours.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))
            .map_err(|error| SpawnError::new(SpawnStep::Pipe, error))?;
        let [reader, writer] = ends.map(|end| OwnedFd::from_raw_fd(end));
        Ok(SignalPipe { reader, writer })
    }
}

/// `fork`, then the end of the pipe: end of file is a child that executes.
fn fork(orders: &Orders<'_>, pipe: SignalPipe, wants_pidfd: bool) -> Result<Made, c_int> {
    let SignalPipe { reader, writer } = pipe;
    let pid = {
        let _blocked = Blocked::new()?;
        // SAFETY: the child makes raw system calls only, whatever locks other threads held.
        match check(unsafe { libc::fork() }) {
            Ok(0) => run(orders),
            Ok(pid) => pid,
            Err(error) => return Err(error.errno().unwrap_or(libc::EAGAIN)),
        }
    };
    drop(writer);
    // The child is ours to reap, so the pid is still its own, unless somebody else in the process
    // waits for everything: then it is gone or, at worst, reused within this line.
    let pidfd = if wants_pidfd { pidfd::open(pid).ok() } else { None };

    let mut wire: Wire = [0; 3];
    // SAFETY: the kernel writes no more than the array holds.
    let length = retry(|| unsafe {
        libc::read(reader.as_raw_fd(), wire.as_mut_ptr().cast(), size_of::<Wire>()) as libc::c_long
    });
    let failure = match length {
        Ok(length) if length as usize == size_of::<Wire>() => from_wire(wire),
        // End of file says that no error was reported, and so does everything else.
        _ => None,
    };
    Ok((Cloned { pid, pidfd }, failure))
}

/// Waits for a child that has said its last word. It may not be a zombie yet, so the wait blocks;
/// it may be gone, when somebody else waits for everything, and then ECHILD is as good.
fn reap(cloned: &Cloned) {
    let whom = match &cloned.pidfd {
        Some(pidfd) => Whom::Pidfd(pidfd.as_fd()),
        None => Whom::Pid(cloned.pid),
    };
    // EINVAL: a kernel that has pidfds but cannot wait for one (5.2, 5.3).
    if let Err(Error::EINVAL) = wait::wait(whom, How::default()) {
        let _ = wait::wait(Whom::Pid(cloned.pid), How::default());
    }
}

/// The child's error, in a caller's words.
fn told(failure: Failure) -> SpawnError {
    if let Failure { step: SpawnStep::Dup(slot), errno: libc::EBADF } = failure {
        // Sources were open, so this is the kernel's word for a target beyond the limit (dup(2)).
        let soft = super::calls::soft_limit(libc::RLIMIT_NOFILE).unwrap_or(u64::MAX);
        if u64::from(slot) >= soft {
            return SpawnError::new(failure.step, Error::EMFILE);
        }
    }
    failure.into()
}
