//! From a [`Command`] to a running child: `spawn` and `spawn_off_loop`.
//!
//! Invariant: everything that can be refused is refused before a process exists, and a refusal
//! leaves nothing behind: pipes that were made are closed, pipe handles are as they were.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::attributes::{Groups, Resource};
use super::command::{Command, Program};
use super::error::{SpawnError, SpawnStep};
use super::exit::Exit;
use super::handle::Process;
use super::node::{End, ProcessNode, Underway};
use super::spawner::{OffLoop, Spawned};
use super::stdio::{self, Direction, Stdio, c_string};
use crate::error::Error;
use crate::event_loop::{Facilities, LoopInner, LoopRef, Reaping};
use crate::stream::StreamNode;
use crate::sys::spawn::{self, Attributes, Limit, ResetSignals, Session, Slot, Source, Switches};
use crate::sys::{affinity, fd, pty, unix_socket};

fn failed(step: SpawnStep) -> impl Fn(Error) -> SpawnError {
    move |error| SpawnError::new(step, error)
}

/// What the spawner gets, and our ends of the child's pipes.
struct Prepared {
    attributes: Attributes,
    ends: Vec<End>,
}

impl Command {
    /// Makes the child and returns when it executes its program, or has failed to.
    ///
    /// The calling thread waits for the exec, which does not take longer when this process is large
    /// or has many descriptors open. `on_exit` is called when the child has ended, after other
    /// events of the same turn: there may still be output of the child's in its pipes then.
    ///
    /// # Errors
    /// [`SpawnError`] says which step failed, and with what. Nothing is left: no process, no
    /// descriptor; pipes given to [`Stdio::pipe`] are not open.
    ///
    /// ```
    /// use blacklight::{Command, Error, EventLoop, SpawnStep};
    ///
    /// let lp = EventLoop::new()?;
    /// let error = Command::new("/no/such/program").spawn(&lp, |_, _| {}).unwrap_err();
    /// assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    ///
    /// let error = Command::new("true").current_dir("/no/such").spawn(&lp, |_, _| {}).unwrap_err();
    /// assert_eq!(error.to_string(), "chdir: ENOENT: no such file or directory");
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    pub fn spawn(
        &self,
        lp: &LoopRef,
        on_exit: impl FnOnce(&Process, Exit) + 'static,
    ) -> Result<Process, SpawnError> {
        let inner = lp.inner();
        get_ready(lp)?;
        let (spawned, ends) = match self.make(inner) {
            // What is missing may be the descriptor that the child before has left.
            Err(error) if error.error() == Error::EMFILE && inner.children.let_go(inner) => {
                self.make(inner)?
            }
            made => made?,
        };
        // What can be done beside the child is done after it has been made.
        let node = match ProcessNode::make(lp, Box::new(on_exit)) {
            Ok(node) => node,
            Err(error) => {
                inner.children.add_orphan(inner, spawned.orphan());
                return Err(failed(SpawnStep::Program)(error));
            }
        };
        node.begin(spawned)?;
        ends.into_iter().for_each(End::attach);
        Ok(Process(node))
    }

    fn make(&self, lp: &LoopInner) -> Result<(Spawned, Vec<End>), SpawnError> {
        let Prepared { attributes, ends } = self.prepare()?;
        let spawned = lp.children.spawning.spawn(&attributes, &switches(lp));
        // The child's ends of its pipes are its own from here on.
        drop(attributes);
        Ok((spawned?, ends))
    }

    /// As [`Command::spawn`], on a thread beside the loop, so that the loop goes on meanwhile:
    /// `on_spawned` is called when the child executes its program, or has failed to.
    ///
    /// Until then [`Process::pid`] is 0, [`Process::kill`] is kept for later, and closing the handle
    /// calls `on_spawned` with `ECANCELED`; the child is made all the same, gets the signals that
    /// were kept, and is reaped. The thread is made with the first such spawn, takes one after the
    /// other, and lives as long as the loop, so a
    /// [parent-death signal](Command::parent_death_signal) is sent when the loop is gone.
    ///
    /// ```
    /// use blacklight::{Command, EventLoop, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let on_spawned = |process: &blacklight::Process, result: Result<(), _>| {
    ///     assert!(result.is_ok() && process.pid() > 0);
    /// };
    /// Command::new("true").spawn_off_loop(&lp, on_spawned, |_, exit| assert!(exit.success()))?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// What can be told without a process: arguments, files that cannot be opened, a thread that
    /// cannot be made. The rest is for `on_spawned`.
    pub fn spawn_off_loop(
        &self,
        lp: &LoopRef,
        on_spawned: impl FnOnce(&Process, Result<(), SpawnError>) + 'static,
        on_exit: impl FnOnce(&Process, Exit) + 'static,
    ) -> Result<Process, SpawnError> {
        let inner = lp.inner();
        get_ready(lp)?;
        let Prepared { attributes, ends } = self.prepare()?;
        let node = ProcessNode::make(lp, Box::new(on_exit)).map_err(failed(SpawnStep::Program))?;
        let children = &inner.children;
        if children.off_loop.borrow().is_none() {
            let list = inner.asyncs.list(inner).map_err(failed(SpawnStep::Thread))?;
            let off_loop = OffLoop::start(list.waker())?;
            children.off_loop.replace(Some(off_loop));
        }
        let ticket = children.spawning.ticket();
        node.go_underway(ticket, Underway { ends, callback: Box::new(on_spawned) });
        children.underway.borrow_mut().insert(ticket, node.clone());
        let submitted = match &*children.off_loop.borrow() {
            Some(off_loop) => off_loop.submit(ticket, attributes, switches(inner)),
            None => Err(SpawnError::new(SpawnStep::Thread, Error::ESRCH)),
        };
        if let Err(error) = submitted {
            children.underway.borrow_mut().remove(&ticket);
            node.call_off();
            return Err(error);
        }
        Ok(Process(node))
    }

    fn prepare(&self) -> Result<Prepared, SpawnError> {
        let program = match &self.program {
            Program::Name(name) => {
                spawn::Program::Path(self.path(name).map_err(failed(SpawnStep::Program))?)
            }
            Program::Descriptor(fd) => spawn::Program::Descriptor(
                fd::duplicate(fd.as_fd()).map_err(failed(SpawnStep::Program))?,
            ),
        };
        let argv = self.argument_vector().map_err(failed(SpawnStep::Arguments))?;
        let session = match (self.controlling_terminal, self.session) {
            (Some(slot), _) => Session::WithTerminal(slot),
            (None, true) => Session::New,
            (None, false) => Session::Inherit,
        };
        let groups = match &self.groups {
            None => spawn::Groups::Unspecified,
            Some(Groups::Keep) => spawn::Groups::Keep,
            Some(Groups::Clear) => spawn::Groups::Clear,
            Some(Groups::Set(groups)) => spawn::Groups::Set(groups.clone()),
        };
        let limit = |&(resource, soft, hard): &(Resource, u64, u64)| Limit {
            resource: resource.number(),
            soft,
            hard,
        };
        let foreground = match self.foreground.as_ref().map(|terminal| &terminal.source) {
            Some(stdio::Source::Descriptor(fd)) => Some(Source::Shared(fd.clone())),
            _ => None,
        };
        let mut ends = Vec::new();
        let attributes = Attributes {
            envp: self.environment_block().map_err(failed(SpawnStep::Environment))?,
            cwd: match &self.current_dir {
                Some(dir) => Some(c_string(dir.as_os_str()).map_err(failed(SpawnStep::Chdir))?),
                None => None,
            },
            session,
            process_group: self.process_group,
            inherit_unlisted: self.inherit_unlisted,
            uid: self.uid,
            gid: self.gid,
            groups,
            nice: self.nice,
            rlimits: self.rlimits.iter().map(limit).collect(),
            affinity: match &self.affinity {
                Some(set) => Some(affinity::to_set(set).map_err(failed(SpawnStep::Affinity))?),
                None => None,
            },
            parent_death_signal: self.parent_death_signal,
            no_new_privs: self.no_new_privs,
            busy_retries: self.busy_retries.unwrap_or(spawn::BUSY_RETRIES),
            umask: self.umask,
            signal_mask: self.blocked_signals,
            reset_signals: match self.reset_all_signals {
                true => ResetSignals::All,
                false => ResetSignals::Ignored,
            },
            cgroup: match &self.cgroup {
                Some(fd) => Some(fd::duplicate(fd.as_fd()).map_err(failed(SpawnStep::Cgroup))?),
                None => None,
            },
            foreground,
            slots: fill_slots(&self.slots, &mut ends)?,
            program,
            argv,
        };
        Ok(Prepared { attributes, ends })
    }
}

/// Before there is a child: refuses a loop that could not wait for it.
fn get_ready(lp: &LoopRef) -> Result<(), SpawnError> {
    let inner = lp.inner();
    inner.usable().map_err(failed(SpawnStep::Program))?;
    if inner.options.reaping == Reaping::Sigchld {
        // What cannot be watched is still looked at every so often.
        let _without = inner.children.prepare_for_signal(inner);
    }
    Ok(())
}

/// Opens what is to be opened for the slots; `ends` gets our sides of new pipes.
fn fill_slots(slots: &BTreeMap<u32, Stdio>, ends: &mut Vec<End>) -> Result<Vec<Slot>, SpawnError> {
    let mut filled = Vec::with_capacity(slots.len());
    for (&number, stdio) in slots {
        let in_open = failed(SpawnStep::Open(number));
        let source = match &stdio.source {
            stdio::Source::Ignore => Source::Ignore,
            stdio::Source::Inherit => {
                let same = i32::try_from(number);
                Source::Raw(same.map_err(|_| failed(SpawnStep::Dup(number))(Error::EBADF))?)
            }
            stdio::Source::Descriptor(fd) => Source::Shared(fd.clone()),
            stdio::Source::Number(raw) => Source::Raw(*raw),
            stdio::Source::SameAs(slot) => Source::SameAs(*slot),
            stdio::Source::Terminal(node) => {
                Source::Owned(node.with_fd(pty::slave).map_err(in_open)?)
            }
            stdio::Source::File { path, flags, mode } => {
                let path = path.as_ref().map_err(|error| in_open(*error))?;
                Source::Owned(fd::open(path, *flags, *mode).map_err(in_open)?)
            }
            // A copy, so that the handle may be closed while the child is made elsewhere.
            stdio::Source::Stream(node) => {
                let copy = node.duplicate_fd();
                Source::Shared(Arc::new(copy.map_err(failed(SpawnStep::Dup(number)))?))
            }
            stdio::Source::Pipe { node, direction, socket } => {
                let taken = ends.iter().any(|end| Rc::ptr_eq(&end.node, node));
                node.may_open()
                    .and(if taken { Err(Error::EBUSY) } else { Ok(()) })
                    .map_err(&in_open)?;
                let (end, theirs) = new_pipe(number, node, *direction, *socket).map_err(in_open)?;
                ends.push(end);
                Source::Owned(theirs)
            }
        };
        filled.push(Slot { number, source, blocking: stdio.blocking });
    }
    Ok(filled)
}

/// A pipe or socket pair: our end, non-blocking, and the child's, blocking.
fn new_pipe(
    number: u32,
    node: &Rc<StreamNode>,
    direction: Direction,
    socket: bool,
) -> Result<(End, OwnedFd), Error> {
    let (readable, writable) = match direction {
        Direction::BySlot => (number != 0, number == 0),
        Direction::ChildReads => (false, true),
        Direction::ChildWrites => (true, false),
        Direction::Both => (true, true),
    };
    let fifo = !(socket || (readable && writable));
    let (ours, theirs) = match (fifo, readable) {
        (false, _) => unix_socket::pair()?,
        (true, true) => fd::pipe()?,
        (true, false) => {
            let (reader, writer) = fd::pipe()?;
            (writer, reader)
        }
    };
    fd::set_nonblocking(ours.as_fd(), true)?;
    Ok((End { node: node.clone(), fd: ours, readable, writable, fifo }, theirs))
}

/// What the loop's options say, in the spawner's terms.
#[allow(clippy::needless_update, reason = "there are more switches when tests are compiled")]
fn switches(lp: &LoopInner) -> Switches {
    Switches {
        path: lp.options.spawn_path,
        clone3: lp.has(Facilities::CLONE3),
        close_range: lp.has(Facilities::CLOSE_RANGE),
        share_table: lp.has(Facilities::SHARED_TABLE),
        pidfd: lp.has(Facilities::PIDFD),
        clear_sighand: lp.has(Facilities::CLEAR_SIGHAND),
        ..Switches::default()
    }
}
