//! The `Process` handle (`uv_process_t`): a child, or an adopted process, until its end.
//!
//! Invariant: a signal is never sent to a process that has been waited for. What happens to the
//! process is in `node`.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::exit::Exit;
use super::node::{ExitCallback, ProcessNode, State};
use super::owned;
use crate::error::{Error, Result};
use crate::event_loop::{Facilities, LoopRef};
use crate::handle::handle;
use crate::sys::wait::{How, Whom, wait};
use crate::sys::{kill, pidfd};

/// A process was stopped or continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopEvent {
    /// A signal stopped it: SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU.
    Stopped(i32),
    /// SIGCONT continued it.
    Continued,
}

/// A process: a child that was spawned, or one that was adopted.
///
/// It is active until its exit callback is called. Closing it before does not end the process; it
/// is reaped all the same when it ends, also after the loop is gone.
#[derive(Clone)]
pub struct Process(pub(super) Rc<ProcessNode>);

handle!(Process, ProcessNode, |_| true);

impl Process {
    /// Watches a process that runs already, by its pid: a child that other code has spawned, or a
    /// process that is not a child at all.
    ///
    /// The exit status is known if it is a child that nobody else waits for, or if the kernel keeps
    /// a note (Linux 6.15) when its parent has waited for it; else it is
    /// [`ExitStatus::Unknown`](super::ExitStatus::Unknown).
    ///
    /// ```
    /// use blacklight::{EventLoop, Process, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let child = std::process::Command::new("true").spawn()?;
    /// Process::adopt(&lp, child.id() as i32, |_, exit| assert!(exit.success()))?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `ESRCH` when there is no such process, `EMFILE` when no descriptor is left for its pidfd,
    /// `EINVAL` when `pid` is no pid or the loop has been dropped.
    pub fn adopt(
        lp: &LoopRef,
        pid: i32,
        on_exit: impl FnOnce(&Process, Exit) + 'static,
    ) -> Result<Process> {
        if pid <= 0 {
            return Err(Error::EINVAL);
        }
        lp.inner().usable()?;
        let pidfd = if lp.inner().has(Facilities::PIDFD) {
            match pidfd::open(pid) {
                Err(Error::ENOSYS) => None,
                other => Some(Arc::new(other?)),
            }
        } else {
            None
        };
        if pidfd.is_none() {
            kill::send(pid, 0).or_else(|error| match error {
                Error::EPERM => Ok(()),
                other => Err(other),
            })?;
        }
        Process::adopted(lp, pid, pidfd, Box::new(on_exit))
    }

    /// As [`Process::adopt`], by a pidfd (pidfd_open(2)), which cannot come to mean another process.
    ///
    /// # Errors
    /// `EBADF` when the descriptor is no pidfd, `ESRCH` when its process has been waited for.
    pub fn from_pidfd(
        lp: &LoopRef,
        pidfd: impl Into<OwnedFd>,
        on_exit: impl FnOnce(&Process, Exit) + 'static,
    ) -> Result<Process> {
        let pidfd = pidfd.into();
        lp.inner().usable()?;
        let pid = pidfd::pid(pidfd.as_fd())?;
        Process::adopted(lp, pid, Some(Arc::new(pidfd)), Box::new(on_exit))
    }

    fn adopted(
        lp: &LoopRef,
        pid: i32,
        pidfd: Option<Arc<OwnedFd>>,
        on_exit: ExitCallback,
    ) -> Result<Process> {
        let node = ProcessNode::make(lp, on_exit)?;
        let whom = match &pidfd {
            Some(pidfd) => Whom::Pidfd(pidfd.as_fd()),
            None => Whom::Pid(pid),
        };
        let how = How { no_hang: true, leave: true, ..How::default() };
        let is_child = wait(whom, how).is_ok();
        node.is_child.set(is_child);
        if is_child {
            owned::add(pid);
        }
        node.watch(pid, pidfd);
        Ok(Process(node))
    }

    /// The process id, also after the end; 0 while it is being spawned off the loop, or when that
    /// has failed.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid.get()
    }

    /// A share in the pidfd, for system calls that take one. `None` after the end of the process,
    /// and where the kernel had none to give.
    #[must_use]
    pub fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        self.0.pidfd.borrow().clone()
    }

    /// Sends a signal (`uv_process_kill`); 0 only asks whether the process is there.
    ///
    /// It goes through the pidfd and cannot hit another process. While the process is being spawned
    /// off the loop the signal is kept for it.
    ///
    /// # Errors
    /// `ESRCH` when the process has been waited for, `EPERM` when it is another user's, `EINVAL`
    /// when there is no such signal.
    pub fn kill(&self, signum: i32) -> Result<()> {
        if !(0..=64).contains(&signum) {
            return Err(Error::EINVAL);
        }
        match self.0.state.get() {
            State::Running => self.0.send(signum),
            State::Spawning => {
                self.0.queued_signals.borrow_mut().push(signum);
                Ok(())
            }
            State::Ended | State::Over => Err(Error::ESRCH),
        }
    }

    /// Sends a signal to the process group that the process leads: one that was spawned with
    /// [`Command::process_group(0)`](super::Command::process_group),
    /// [`Command::detached`](super::Command::detached) or a controlling terminal.
    ///
    /// # Errors
    /// As [`Process::kill`]; `EPERM` when the process does not lead its group, which may be our
    /// own; `EBUSY` while it is being spawned off the loop.
    pub fn kill_group(&self, signum: i32) -> Result<()> {
        if !(0..=64).contains(&signum) {
            return Err(Error::EINVAL);
        }
        match self.0.state.get() {
            State::Running => {}
            State::Spawning => return Err(Error::EBUSY),
            State::Ended | State::Over => return Err(Error::ESRCH),
        }
        // As long as it has not been waited for, the number is the process's and its group's.
        if kill::group_of(self.0.pid.get())? != self.0.pid.get() {
            return Err(Error::EPERM);
        }
        let pidfd = self.0.pidfd.borrow().clone();
        if let Some(pidfd) = &pidfd {
            match pidfd::send_signal_to_group(pidfd.as_fd(), signum) {
                Err(Error::ENOSYS) => {}
                other => return other,
            }
        }
        kill::send_to_group(self.0.pid.get(), signum)
    }

    /// Has `callback` called when the process is stopped and when it is continued.
    ///
    /// A pidfd tells of neither, so this has the loop watch SIGCHLD and look at this child after
    /// it, and every 100 ms.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended, `EINVAL` when the handle is closing, `ECHILD` when it
    /// is not a child; what [`Signal::start`](crate::Signal::start) may say.
    pub fn on_stop(&self, callback: impl FnMut(&Process, StopEvent) + 'static) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        if matches!(node.state.get(), State::Ended | State::Over) {
            return Err(Error::ESRCH);
        }
        if !node.is_child.get() {
            return Err(Error::ECHILD);
        }
        let lp = node.lp();
        lp.children.prepare_for_signal(lp)?;
        lp.children.look_after(lp, node);
        drop(node.on_stop.set(Box::new(callback)));
        Ok(())
    }
}
