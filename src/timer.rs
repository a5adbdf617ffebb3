//! The `Timer` handle (`uv_timer_t`).
//!
//! Invariants: a timer is active exactly while it has a place in the loop's heap; it never fires
//! before its deadline by the loop's clock; those that are due fire by deadline, then in the order
//! of their starts. The closure is kept while the timer is active or the closure is running.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event_loop::{LoopRef, TimerKey};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};

type Callback = dyn FnMut(&Timer);

pub(crate) struct TimerNode {
    base: Base,
    callback: Slot<Callback>,
    /// Nanoseconds; 0 is "does not repeat".
    repeat: Cell<u64>,
    key: Cell<Option<TimerKey>>,
}

impl TimerNode {
    /// Puts the timer into the heap, behind all that are due at the same time.
    fn arm(self: &Rc<Self>, timeout: u64) {
        let lp = self.base.lp().inner();
        let number = lp.next_start.get();
        lp.next_start.set(number + 1);
        let due = lp.now.get().saturating_add(timeout);
        self.key.set(Some(lp.timers.borrow_mut().insert(due, number, self.clone())));
        self.base.activate();
    }

    /// Takes it out of the heap.
    fn disarm(&self) {
        if let Some(key) = self.key.take() {
            let timer = self.base.lp().inner().timers.borrow_mut().remove(key);
            self.base.deactivate();
            drop(timer);
        }
    }

    /// It is due and has left the heap: a repeating one is armed again first, counted from the
    /// loop's time, as in libuv.
    pub(crate) fn fire(self: Rc<Self>) {
        self.key.set(None);
        if self.repeat.get() > 0 {
            self.arm(self.repeat.get());
        } else {
            self.base.deactivate();
        }
        self.base.lp().inner().counters.callback();
        let timer = Timer(self);
        let node = &timer.0;
        let stopping = OnUnwind::new(|| {
            node.disarm();
            drop(node.callback.clear());
        });
        node.callback.call(|callback| callback(&timer));
        stopping.passed();
        if node.key.get().is_none() {
            drop(node.callback.clear());
        }
    }
}

impl Node for TimerNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Timer
    }

    fn stop(&self) {
        self.disarm();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}

/// Calls back once after a time, or again and again.
///
/// Times are counted from the loop's time ([`LoopRef::now`]), which stands still while callbacks
/// run. The calls named as in libuv take milliseconds; those that end in `_duration` are exact to
/// the nanosecond, which is how deadlines are kept (libuv: milliseconds). A timer is never early.
///
/// ```
/// use blacklight::{EventLoop, RunMode, Timer};
/// use std::{cell::Cell, rc::Rc};
///
/// let lp = EventLoop::new()?;
/// let count = Rc::new(Cell::new(0));
/// let timer = Timer::new(&lp)?;
/// let seen = count.clone();
/// timer.start(1, 2, move |timer| {
///     seen.set(seen.get() + 1);
///     if seen.get() == 3 {
///         timer.stop();
///     }
/// })?;
/// lp.run(RunMode::Default)?;
/// assert_eq!(count.get(), 3);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Timer(Rc<TimerNode>);

handle!(Timer, TimerNode, |_| true);

const MILLISECOND: u64 = 1_000_000;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Timer {
    /// Makes a timer that is not running.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Timer> {
        create(lp, |base| TimerNode {
            base,
            callback: Slot::empty(),
            repeat: Cell::new(0),
            key: Cell::new(None),
        })
        .map(Timer)
    }

    /// Starts the timer: due in `timeout` milliseconds, and after that every `repeat` milliseconds
    /// unless that is 0. A running one is stopped first, and its closure dropped.
    ///
    /// With a timeout of 0 the callback runs in the next timer phase. Deadlines past the end of
    /// time never come. A repetition is counted from the loop's time when the callback is about to
    /// run, so that a slow callback is not called to catch up.
    ///
    /// # Errors
    /// `EINVAL` when the timer is closing.
    pub fn start(
        &self,
        timeout: u64,
        repeat: u64,
        callback: impl FnMut(&Timer) + 'static,
    ) -> Result<()> {
        let nanoseconds = |milliseconds: u64| milliseconds.saturating_mul(MILLISECOND);
        self.start_boxed(nanoseconds(timeout), nanoseconds(repeat), Box::new(callback))
    }

    /// As [`Timer::start`], to the nanosecond.
    ///
    /// # Errors
    /// `EINVAL` when the timer is closing.
    pub fn start_duration(
        &self,
        timeout: Duration,
        repeat: Duration,
        callback: impl FnMut(&Timer) + 'static,
    ) -> Result<()> {
        self.start_boxed(nanoseconds(timeout), nanoseconds(repeat), Box::new(callback))
    }

    fn start_boxed(&self, timeout: u64, repeat: u64, callback: Box<Callback>) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        node.base.lp().inner().usable()?;
        node.disarm();
        node.repeat.set(repeat);
        node.arm(timeout);
        drop(node.callback.set(callback));
        Ok(())
    }

    /// Stops the timer and drops its closure. Stopping one that is not running does nothing.
    pub fn stop(&self) {
        self.0.disarm();
        drop(self.0.callback.clear());
    }

    /// Starts a running timer again with the closure it has: due in [`Timer::repeat`]
    /// milliseconds. Without a repeat value it does nothing (libuv's rule).
    ///
    /// # Errors
    /// `EINVAL` when the timer is closing or has no closure: it was never started, was stopped, or
    /// is over. In libuv a stopped timer can be started again without a callback; here stopping
    /// drops the closure.
    pub fn again(&self) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() || !node.callback.is_set() {
            return Err(Error::EINVAL);
        }
        if node.repeat.get() > 0 {
            self.rearm(node.repeat.get())?;
        }
        Ok(())
    }

    /// Starts the timer anew with the closure it has, due in `timeout`; also from inside the
    /// callback of a timer that does not repeat.
    ///
    /// # Errors
    /// As [`Timer::again`].
    pub fn restart(&self, timeout: Duration) -> Result<()> {
        if self.0.base.is_closing() || !self.0.callback.is_set() {
            return Err(Error::EINVAL);
        }
        self.rearm(nanoseconds(timeout))
    }

    fn rearm(&self, timeout: u64) -> Result<()> {
        self.0.base.lp().inner().usable()?;
        self.0.disarm();
        self.0.arm(timeout);
        Ok(())
    }

    /// Milliseconds between repetitions, rounded down; 0 when it does not repeat.
    #[must_use]
    pub fn repeat(&self) -> u64 {
        self.0.repeat.get() / MILLISECOND
    }

    /// The time between repetitions; zero when it does not repeat.
    #[must_use]
    pub fn repeat_duration(&self) -> Duration {
        Duration::from_nanos(self.0.repeat.get())
    }

    /// Sets the milliseconds between repetitions. A deadline that is set already stays; inside the
    /// callback the next one has been set before.
    pub fn set_repeat(&self, milliseconds: u64) {
        self.0.repeat.set(milliseconds.saturating_mul(MILLISECOND));
    }

    /// As [`Timer::set_repeat`], to the nanosecond.
    pub fn set_repeat_duration(&self, repeat: Duration) {
        self.0.repeat.set(nanoseconds(repeat));
    }

    /// Milliseconds until the timer is due, rounded up; 0 when it is due or not running.
    #[must_use]
    pub fn due_in(&self) -> u64 {
        self.nanoseconds_left().div_ceil(MILLISECOND)
    }

    /// The time until the timer is due; zero when it is due or not running.
    #[must_use]
    pub fn due_in_duration(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds_left())
    }

    fn nanoseconds_left(&self) -> u64 {
        let Some(key) = self.0.key.get() else { return 0 };
        let lp = self.0.base.lp().inner();
        lp.timers.borrow().due(key).saturating_sub(lp.now.get())
    }
}
