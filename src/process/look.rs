//! What became of a process: waiting for it, and looking at one that cannot be waited for.
//!
//! Invariant: a number is trusted only where nobody else can have been given it. A pidfd always
//! means its process; a child's number is the child's until we have waited for it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::exit::Exit;
use super::handle::StopEvent;
use super::node::{ProcessNode, State};
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::wait::{Change, How, Whom, wait};
use crate::sys::{epoll, kill, pidfd};

/// Stops and continuations reported per look, so that a child that is stopped and continued all
/// the time does not hold the loop up.
const CHANGES_PER_LOOK: u32 = 16;

impl ProcessNode {
    /// Looks whether the process has ended, stopped or continued; queues what is found.
    pub(super) fn look(self: &Rc<Self>) {
        if self.state.get() != State::Running {
            return;
        }
        if self.on_stop.is_set() {
            self.look_for_stops();
        }
        if let Some(exit) = self.try_wait() {
            self.ended(exit);
        }
    }

    fn look_for_stops(self: &Rc<Self>) {
        let how =
            How { no_hang: true, stopped: true, continued: true, not_exited: true, leave: false };
        for _ in 0..CHANGES_PER_LOOK {
            let event = match self.wait_for(how) {
                Ok(Some(Change::Stopped(signum))) => StopEvent::Stopped(signum),
                Ok(Some(Change::Continued)) => StopEvent::Continued,
                _ => break,
            };
            self.stops.borrow_mut().push_back(event);
        }
        if !self.stops.borrow().is_empty() {
            self.enqueue();
        }
    }

    fn wait_for(&self, how: How) -> Result<Option<Change>> {
        let pidfd = self.pidfd.borrow().clone();
        let whom = match &pidfd {
            Some(pidfd) => Whom::Pidfd(pidfd.as_fd()),
            None => Whom::Pid(self.pid.get()),
        };
        wait(whom, how).map(|waited| waited.map(|waited| waited.change))
    }

    /// Waits without hanging; `None` while the process runs.
    fn try_wait(&self) -> Option<Exit> {
        let pidfd = self.pidfd.borrow().clone();
        let how = How { no_hang: true, ..How::default() };
        let whom = match &pidfd {
            Some(pidfd) => Whom::Pidfd(pidfd.as_fd()),
            None => Whom::Pid(self.pid.get()),
        };
        match wait(whom, how) {
            Ok(None) => None,
            Ok(Some(waited)) => Some(Exit::new(waited.change, Some(&waited.usage))),
            // Somebody else has waited for it, or it is not a child of ours.
            Err(_) => self.look_from_outside(pidfd.as_deref()),
        }
    }

    /// What can be known of a process that we cannot wait for; `None` while it runs.
    fn look_from_outside(&self, pidfd: Option<&OwnedFd>) -> Option<Exit> {
        let Some(pidfd) = pidfd else {
            // Its number may be a stranger's by now, but then it has ended for certain only if
            // nobody has the number.
            let gone = self.is_child.get() || kill::send(self.pid.get(), 0) == Err(Error::ESRCH);
            return gone.then_some(Exit::UNKNOWN);
        };
        let ended = epoll::ready_now(pidfd.as_fd(), libc::POLLIN).is_ok_and(|ready| ready != 0);
        if !ended {
            return None;
        }
        if !self.lp().has(Facilities::PIDFD_INFO) {
            return Some(Exit::UNKNOWN);
        }
        match pidfd::exit_status(pidfd.as_fd()) {
            Ok(Some(change)) => Some(Exit::new(change, None)),
            // A child of ours that cannot be waited for any more is just being buried by somebody
            // else, and the note comes with that, microseconds later (m: one exit in thousands).
            Ok(None) if self.is_child.get() => None,
            // It is a zombie that its parent has not waited for: there will be a note when it
            // has, but this process is not the one to wait for that.
            Ok(None) | Err(_) => Some(Exit::UNKNOWN),
        }
    }
}

/// Sends a signal to a process that has not been waited for by us.
pub(super) fn send(pid: i32, pidfd: Option<&OwnedFd>, signum: i32) -> Result<()> {
    match pidfd {
        Some(pidfd) => match pidfd::send_signal(pidfd.as_fd(), signum) {
            Err(Error::ENOSYS) => by_number(pid, signum),
            other => other,
        },
        None => by_number(pid, signum),
    }
}

/// By number, after a look whether the number is still the child's. Between the look and the signal
/// somebody else in this process could wait for the child and the number be given away: that window
/// is what a pidfd closes.
fn by_number(pid: i32, signum: i32) -> Result<()> {
    let how = How { no_hang: true, leave: true, ..How::default() };
    match wait(Whom::Pid(pid), how) {
        Err(Error::ECHILD) => Err(Error::ESRCH),
        _ => kill::send(pid, signum),
    }
}
