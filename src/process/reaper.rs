//! The `Reaper` handle: waits for children that are nobody's.
//!
//! A program that is PID 1, or a subreaper, inherits the orphans of others and must wait for them.
//! Invariant: a child that a [`Process`](super::Process) waits for, of any loop in any thread, is
//! never taken from it.

use std::rc::Rc;

use super::exit::Exit;
use super::owned;
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};
use crate::sys::kill;
use crate::sys::wait::{How, Whom, wait};

/// Orphans waited for per turn, so that a flood of them does not hold the loop up.
const REAPS_PER_TURN: u32 = 256;

type Callback = dyn FnMut(&Reaper, i32, Exit);

pub(crate) struct ReaperNode {
    base: Base,
    callback: Slot<Callback>,
}

impl ReaperNode {
    fn leave(&self) {
        self.base.lp().inner().children.remove_reaper(self);
        self.base.deactivate();
    }

    fn stop_and_drop(&self) {
        self.leave();
        drop(self.callback.clear());
    }

    /// Waits for strangers among the dead, and reports each.
    pub(super) fn look(self: &Rc<Self>) {
        for _ in 0..REAPS_PER_TURN {
            if !self.base.is_active() || self.base.lp().inner().is_halted() {
                return;
            }
            let Some((pid, exit)) = take_stranger() else { return };
            self.base.lp().inner().counters.callback();
            let reaper = Reaper(self.clone());
            let stopping = OnUnwind::new(|| self.stop_and_drop());
            self.callback.call(|callback| callback(&reaper, pid, exit));
            stopping.passed();
        }
    }
}

/// A dead child that is nobody's, waited for.
fn take_stranger() -> Option<(i32, Exit)> {
    let _looking = owned::looking();
    let leave = How { no_hang: true, leave: true, ..How::default() };
    let found = wait(Whom::Any, leave).ok().flatten()?;
    if !owned::contains(found.pid) {
        return bury(found.pid);
    }
    // `waitid` names the first of the dead, and that one's loop has not come to it yet: those
    // behind it are to be found one by one. Where the kernel does not list children, they wait.
    kill::children().into_iter().filter(|pid| !owned::contains(*pid)).find_map(bury)
}

fn bury(pid: i32) -> Option<(i32, Exit)> {
    let now = How { no_hang: true, ..How::default() };
    let waited = wait(Whom::Pid(pid), now).ok().flatten()?;
    Some((waited.pid, Exit::new(waited.change, Some(&waited.usage))))
}

impl Node for ReaperNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Reaper
    }

    fn stop(&self) {
        self.leave();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}

/// Waits for the children of this process that no [`Process`](super::Process) waits for: orphans
/// that were given to it because it is PID 1 or a subreaper.
///
/// It also takes the children of other code in this program (of `std::process::Command`, say),
/// which cannot be told from orphans; do not use both.
///
/// ```
/// use blacklight::{EventLoop, Reaper, RunMode};
///
/// let lp = EventLoop::new()?;
/// blacklight::become_subreaper(true)?;
/// // The shell's background child outlives it, and becomes ours.
/// blacklight::Command::new("sh").args(["-c", "sleep 0.01 & exit 0"]).spawn(&lp, |_, _| {})?;
/// let reaper = Reaper::new(&lp)?;
/// reaper.start(|reaper, pid, exit| {
///     println!("{pid}: {exit}");
///     reaper.stop();
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Reaper(Rc<ReaperNode>);

handle!(Reaper, ReaperNode, |_| true);

impl Reaper {
    /// Makes a reaper that is not started.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Reaper> {
        create(lp, |base| ReaperNode { base, callback: Slot::empty() }).map(Reaper)
    }

    /// Calls `callback` with the pid and the end of every child that is nobody's, at most 256 per
    /// turn. A started reaper gets the new closure.
    ///
    /// The loop learns of them by SIGCHLD, and looks every 100 ms in case that is blocked.
    ///
    /// # Errors
    /// `EINVAL` when the reaper is closing; `EMFILE` or `ENFILE` from the loop's first signal pipe.
    pub fn start(&self, callback: impl FnMut(&Reaper, i32, Exit) + 'static) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        let lp = node.base.lp().inner();
        lp.usable()?;
        if !node.base.is_active() {
            lp.children.add_reaper(lp, node)?;
            node.base.activate();
        }
        drop(node.callback.set(Box::new(callback)));
        Ok(())
    }

    /// Ends the reaping and drops the closure.
    pub fn stop(&self) {
        self.0.stop_and_drop();
    }
}
