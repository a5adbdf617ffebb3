//! The `FsPoll` handle: asks for the facts about a file every so often (`uv_fs_poll_t`).
//!
//! Invariants: of one start, either one stat is in flight or the timer runs, never both and never
//! two; an answer is for the very start that asked. Neither the request nor the timer keeps the
//! handle, so that a stat that hangs keeps nothing but itself.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::fs::{self, Stat};
use crate::handle::{Base, Handle, HandleKind, Node, OnUnwind, Slot, create, handle};
use crate::timer::Timer;
use crate::work::Request;

type Callback = dyn FnMut(&FsPoll, &Stat, Result<&Stat>);

/// What was told last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing: the first stat is for comparison.
    Nothing,
    Error(Error),
    Facts,
}

struct Polling {
    start: u64,
    path: PathBuf,
    /// Milliseconds, at least 1.
    interval: u64,
    timer: Timer,
    /// When the last stat was begun, in milliseconds of the loop's time.
    begun: Cell<u64>,
    in_flight: RefCell<Option<Request>>,
    told: Cell<Told>,
    /// The last facts there were; all zeros before the first.
    facts: Cell<Stat>,
}

pub(crate) struct FsPollNode {
    base: Base,
    callback: Slot<Callback>,
    starts: Cell<u64>,
    polling: RefCell<Option<Rc<Polling>>>,
}

impl FsPollNode {
    /// What is polled, if it is still what that start began.
    fn polling(&self, start: u64) -> Option<Rc<Polling>> {
        self.polling.borrow().clone().filter(|polling| polling.start == start)
    }

    /// Has a thread of the pool ask.
    fn ask(self: &Rc<Self>, polling: &Polling) -> Result<()> {
        let (node, start) = (Rc::downgrade(self), polling.start);
        polling.begun.set(self.base.lp().now());
        let request = fs::stat(&polling.path).start(self.base.lp(), move |answer| {
            if let Some(node) = node.upgrade() {
                node.answered(start, answer);
            }
        })?;
        *polling.in_flight.borrow_mut() = Some(request);
        Ok(())
    }

    fn answered(self: Rc<Self>, start: u64, answer: Result<Stat>) {
        let Some(polling) = self.polling(start) else { return };
        drop(polling.in_flight.take());
        let before = polling.facts.get();
        let tell = match answer {
            Err(error) => polling.told.replace(Told::Error(error)) != Told::Error(error),
            Ok(facts) => {
                polling.facts.set(facts);
                match polling.told.replace(Told::Facts) {
                    Told::Nothing => false,
                    Told::Error(_) => true,
                    Told::Facts => differ(&before, &facts),
                }
            }
        };
        let this = FsPoll(self);
        if tell {
            this.0.base.lp().inner().counters.callback();
            let stopping = OnUnwind::new(|| this.stop());
            this.0
                .callback
                .call(|callback| callback(&this, &before, answer.as_ref().map_err(|e| *e)));
            stopping.passed();
            if !this.0.base.is_active() {
                drop(this.0.callback.clear());
            }
        }
        if let Some(polling) = this.0.polling(start) {
            this.0.wait(&polling);
        }
    }

    /// Waits for the rest of the interval, which is counted from the beginning of the last stat.
    fn wait(self: &Rc<Self>, polling: &Polling) {
        let (node, start) = (Rc::downgrade(self), polling.start);
        let passed = self.base.lp().now().saturating_sub(polling.begun.get());
        let rest = polling.interval - passed % polling.interval;
        let due = move |_: &Timer| {
            if let Some(node) = node.upgrade()
                && let Some(polling) = node.polling(start)
                && let Err(error) = node.ask(&polling)
            {
                node.answered(start, Err(error));
            }
        };
        // It fails only for a timer that is closed, by someone who walked over all handles.
        let _waiting = polling.timer.start(rest, 0, due);
    }

    /// Ends the polling; the closure stays for the caller to drop.
    fn leave(&self) {
        let Some(polling) = self.polling.take() else { return };
        polling.timer.stop();
        if let Some(request) = polling.in_flight.take() {
            // One that has begun ends by itself, and its answer is for nobody.
            let _begun = request.cancel();
        }
    }
}

/// Whether something has changed: libuv's list, which the time of access is not in.
fn differ(one: &Stat, other: &Stat) -> bool {
    let facts = |stat: &Stat| {
        let times = (stat.changed, stat.modified, stat.born);
        let owner = (stat.mode, stat.uid, stat.gid);
        (times, owner, stat.size, stat.ino, stat.dev, stat.flags, stat.generation)
    };
    facts(one) != facts(other)
}

impl Node for FsPollNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::FsPoll
    }

    fn stop(&self) {
        self.leave();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }

    fn forked(self: Rc<Self>) {
        let polling = self.polling.borrow().clone();
        if let Some(polling) = polling
            && polling.in_flight.take().is_some()
        {
            // The thread that would have answered is the parent's.
            self.wait(&polling);
        }
    }
}

/// Watches a file by asking for its facts again and again: for what
/// [`FsEvent`](crate::FsEvent) does not see, such as network file systems and `/proc`.
///
/// Times are compared to the nanosecond, as the file system keeps them. A thread of the loop's
/// [pool](crate::work::ThreadPool) asks, so that a file system that does not answer holds up nobody.
///
/// ```
/// use blacklight::{Error, EventLoop, FsPoll, Handle, RunMode};
///
/// # let path = std::env::temp_dir().join(format!("blacklight-doc-poll-{}", std::process::id()));
/// let lp = EventLoop::new()?;
/// let poll = FsPoll::new(&lp)?;
/// let there = path.clone();
/// poll.start(&path, 10, move |poll, previous, current| match current {
///     Err(error) => {
///         assert_eq!(error, Error::ENOENT); // not there yet; this is said once
///         std::fs::write(&there, "text").expect("a file can be made");
///     }
///     Ok(current) => {
///         assert!(previous.size == 0 && current.ino != 0);
///         poll.close();
///     }
/// })?;
/// lp.run(RunMode::Default)?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FsPoll(Rc<FsPollNode>);

handle!(FsPoll, FsPollNode, |_| true);

impl FsPoll {
    /// Makes a watcher that watches nothing.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<FsPoll> {
        create(lp, |base| FsPollNode {
            base,
            callback: Slot::empty(),
            starts: Cell::new(0),
            polling: RefCell::new(None),
        })
        .map(FsPoll)
    }

    /// Asks for the facts about `path` now, and every `interval` milliseconds (1 if it is 0),
    /// counted from the beginning of each stat; one that takes longer is waited for.
    ///
    /// `callback` gets the facts before and after a change: of content, size, mode, owner, times
    /// other than that of access, or of the file that has the path. The first facts are for
    /// comparison. An error is told once, until there is another one or it is over; the facts
    /// before it are the last there were, all zeros if there were none. Both are libuv's rules.
    ///
    /// On a watcher that is active this does nothing, as in libuv.
    ///
    /// # Errors
    /// `EINVAL` for a path with a NUL, and when the handle is closing or the loop gone; `ESTALE` in
    /// a forked child; `EAGAIN`, `EMFILE` and the like when the pool cannot be used. What stat(2)
    /// says is for the callback.
    pub fn start(
        &self,
        path: impl AsRef<Path>,
        interval: u64,
        callback: impl FnMut(&FsPoll, &Stat, Result<&Stat>) + 'static,
    ) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        node.base.lp().inner().usable()?;
        if node.base.is_active() {
            return Ok(());
        }
        let timer = Timer::new(node.base.lp())?;
        timer.unreference();
        timer.to_any().base().set_internal();
        let start = node.starts.get() + 1;
        node.starts.set(start);
        let polling = Rc::new(Polling {
            start,
            path: path.as_ref().to_owned(),
            interval: interval.max(1),
            timer,
            begun: Cell::new(0),
            in_flight: RefCell::new(None),
            told: Cell::new(Told::Nothing),
            facts: Cell::new(Stat::default()),
        });
        node.ask(&polling)?;
        *node.polling.borrow_mut() = Some(polling);
        node.base.activate();
        drop(node.callback.set(Box::new(callback)));
        Ok(())
    }

    /// Ends the watch and drops the closure. A stat that is in flight ends by itself; its answer is
    /// not told, and closing does not wait for it (libuv's does).
    pub fn stop(&self) {
        self.0.leave();
        self.0.base.deactivate();
        drop(self.0.callback.clear());
    }

    /// The path that was given to [`FsPoll::start`] (`uv_fs_poll_getpath`).
    ///
    /// # Errors
    /// `EINVAL` when it watches nothing.
    pub fn path(&self) -> Result<PathBuf> {
        self.0.polling.borrow().as_ref().map(|polling| polling.path.clone()).ok_or(Error::EINVAL)
    }
}
