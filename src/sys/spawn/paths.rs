//! The three ways to a child.
//!
//! Invariant: a child that has reported an error is reaped before anything else happens. Every spawn
//! runs through here with cold caches, so that what it rarely needs is kept out of line.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::attempt::Attempt;
use super::attributes::{Attributes, Program, Source};
use super::child::{Orders, enter, run};
use super::clone::{self, Cloned, Request};
use super::descriptors::Placement;
use super::dumpable::Dumpable;
use super::reserve::{self, Lease};
use super::signals::{self, Blocked};
use super::stack::Stack;
use super::status::{Failure, Status, Wire, from_wire};
use super::{Child, Fallbacks, SpawnPath, Spawner, Switches, probe};
use crate::error::{Error, Result};
use crate::process::{SpawnError, SpawnStep};
use crate::sys::wait::{self, How, Whom};
use crate::sys::{check, pidfd, retry};

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
            match self.attempt(attributes, switches, &attempt)? {
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
                Outcome::Refused(errno) => self.next_attempt(&mut attempt, switches, errno)?,
            }
        }
    }

    fn attempt(
        &mut self,
        attributes: &Attributes,
        switches: &Switches,
        attempt: &Attempt,
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
        let lent = |number: Option<RawFd>| match &lease {
            Some(lease) => number.map(|number| lease.of(number)),
            None => number,
        };
        let placements = match &lease {
            Some(lease) => {
                place_lent(&mut self.placements, &self.plan.placements, lease);
                &self.placements
            }
            None => &self.plan.placements,
        };
        self.sources.clear();
        for number in extra {
            self.sources.extend(lent(number));
        }
        self.arrangement.arrange(placements, &self.sources);

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
    fn lease(
        &mut self,
        is_shared: bool,
        extra: [Option<RawFd>; 4],
    ) -> Result<Option<Lease>, SpawnError> {
        if !is_shared {
            return Ok(None);
        }
        reserve::fill();
        let is_high = |number: &Option<RawFd>| number.is_some_and(reserve::is_worthwhile);
        let mut placements = self.plan.placements.iter();
        if placements.any(|p| reserve::is_worthwhile(p.source)) || extra.iter().any(is_high) {
            return self.take_lease(extra);
        }
        Ok(None)
    }

    #[cold]
    fn take_lease(&mut self, extra: [Option<RawFd>; 4]) -> Result<Option<Lease>, SpawnError> {
        self.sources.clear();
        self.sources.extend(self.plan.placements.iter().map(|placement| placement.source));
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

/// The placements, with leased numbers for their sources.
#[cold]
fn place_lent(placements: &mut Vec<Placement>, planned: &[Placement], lease: &Lease) {
    placements.clear();
    placements.extend(planned.iter().map(|p| {
        let source = lease.of(p.source);
        // A copy is close-on-exec whatever the original is.
        Placement { source, inheritable: p.inheritable && source == p.source, ..*p }
    }));
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

#[cold]
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
#[cold]
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
#[cold]
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
#[cold]
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
