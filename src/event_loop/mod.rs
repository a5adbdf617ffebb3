//! The loop: its public face ([`EventLoop`], [`LoopRef`]), and below it one file per subject.
//!
//! `run` has the phases, `inner` the state, `queue` the lists of handles, `timers` the heap,
//! `watchers` the descriptors.

mod chores;
mod closing;
mod halt;
mod inner;
mod keep_alive;
mod metrics;
mod options;
mod polling;
mod queue;
mod run;
mod timers;
mod watchers;

use std::ffi::c_void;
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

pub use halt::Halter;
pub(crate) use inner::LoopInner;
pub use keep_alive::KeepAlive;
pub use metrics::Metrics;
pub use options::{Facilities, Options, Reaping};
pub(crate) use queue::Queue;
pub use run::RunMode;
pub(crate) use timers::TimerKey;
pub(crate) use watchers::{Target, WatcherKey};

use crate::error::Result;
use crate::handle::AnyHandle;
use crate::sys::epoll::Epoll;

/// A single-threaded event loop (`uv_loop_t`).
///
/// It owns everything that belongs to the loop: dropping it closes every descriptor and drops
/// every closure, calls nothing, and leaves its handles closed. It is neither `Send` nor `Sync`;
/// other threads reach it through [`AsyncSender`](crate::AsyncSender). Everything but `run` is on
/// [`LoopRef`], the cheap reference that handles and callbacks have, to which it dereferences.
///
/// ```
/// use blacklight::{EventLoop, RunMode, Timer};
///
/// let lp = EventLoop::new()?;
/// let timer = Timer::new(&lp)?;
/// timer.start(10, 0, |_| println!("ten milliseconds later"))?;
/// let alive = lp.run(RunMode::Default)?;
/// assert!(!alive);
/// # Ok::<(), blacklight::Error>(())
/// ```
pub struct EventLoop {
    lp: LoopRef,
    /// A share in the epoll set, so that its descriptor can be lent for as long as the loop lives.
    epoll: Rc<Epoll>,
}

impl EventLoop {
    /// Makes a loop with the [options that the environment asks for](Options::from_env): one
    /// epoll set, and nothing else until a handle needs it.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM` from epoll_create1(2); `EINVAL` from the environment.
    pub fn new() -> Result<EventLoop> {
        EventLoop::with_options(Options::from_env()?)
    }

    /// Makes a loop with options of one's own.
    ///
    /// # Errors
    /// As [`EventLoop::new`], but for the environment.
    pub fn with_options(options: Options) -> Result<EventLoop> {
        let inner = LoopInner::new(options)?;
        let epoll = inner.watchers.epoll()?;
        Ok(EventLoop { lp: LoopRef(inner), epoll })
    }

    /// Runs the loop and tells whether it is alive still: whether it was stopped, or left after
    /// one turn, with handles active or requests in flight.
    ///
    /// A panic in a callback passes through. Its closure is dropped and its operation stopped;
    /// everything else that was due is done by the next call.
    ///
    /// # Errors
    /// `EBUSY` inside a callback of the same loop, `ESTALE` in a forked child before
    /// [`LoopRef::after_fork`], and what epoll_wait(2) may say.
    pub fn run(&self, mode: RunMode) -> Result<bool> {
        run::run(&self.lp.0, mode)
    }

    /// The epoll descriptor, for a foreign loop to wait on (`uv_backend_fd`). All changes made so
    /// far are in it; ask again, or for [`LoopRef::backend_timeout`], after each run.
    ///
    /// When it is readable, or the timeout has passed, call `run` with [`RunMode::NoWait`].
    #[must_use]
    pub fn backend_fd(&self) -> BorrowedFd<'_> {
        if self.lp.0.is_ours() {
            self.lp.0.watchers.flush();
            self.lp.0.works.flush();
            self.lp.0.children.let_go(&self.lp.0);
            self.lp.0.watchers.show();
        }
        (*self.epoll).as_fd()
    }
}

impl Deref for EventLoop {
    type Target = LoopRef;

    fn deref(&self) -> &LoopRef {
        &self.lp
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.lp.0.discard();
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLoop")
    }
}

/// A reference to a loop: what handles are made with, and what they give back.
///
/// It does not keep the loop: after the [`EventLoop`] has been dropped, making or starting a
/// handle is `EINVAL`.
#[derive(Clone)]
pub struct LoopRef(Rc<LoopInner>);

impl LoopRef {
    pub(crate) fn inner(&self) -> &LoopInner {
        &self.0
    }

    /// The loop's time in milliseconds, from an arbitrary point in the past (`uv_now`).
    ///
    /// It stands still while callbacks run: the loop reads the clock once per turn after waiting
    /// for events, once more before timers, and in [`LoopRef::update_time`].
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.now.get() / 1_000_000
    }

    /// As [`LoopRef::now`], to the nanosecond.
    #[must_use]
    pub fn now_duration(&self) -> Duration {
        Duration::from_nanos(self.0.now.get())
    }

    /// Sets the loop's time by the clock (`uv_update_time`), for callbacks that take long.
    pub fn update_time(&self) {
        self.0.update_time();
    }

    /// Makes `run` return at the end of the turn, or at once if it is not running (`uv_stop`).
    pub fn stop(&self) {
        self.0.stop.set(true);
    }

    /// The end for other threads of [`LoopRef::halt`].
    ///
    /// It keeps nothing alive: a loop with nothing else to do ends by itself.
    ///
    /// ```
    /// use blacklight::{Async, EventLoop, Handle, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let _for_ever = Async::new(&lp, |_| {})?;
    /// let halter = lp.halter()?;
    /// let thread = std::thread::spawn(move || halter.halt());
    /// assert!(lp.run(RunMode::Default)?, "it was alive still");
    /// # thread.join().expect("no panic");
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child; `EMFILE`, `ENFILE` or
    /// `ENOMEM` from eventfd(2), unless the loop has an [`Async`](crate::Async).
    pub fn halter(&self) -> Result<Halter> {
        let inner = self.inner();
        inner.usable()?;
        let list = inner.asyncs.list(inner)?;
        Ok(Halter::new(inner.halted.clone(), list.waker()))
    }

    /// Ends the loop for good: `run` returns as soon as the running callback has, without calling
    /// any other, and every later `run` at once. [`LoopRef::stop`] lets the turn end instead.
    ///
    /// This is what `process.exit` in Node needs of its loop, in a worker and in
    /// the main thread: halt, let the callback return, then drop the loop.
    pub fn halt(&self) {
        self.0.halted.set();
    }

    /// Whether the loop has been halted.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.0.is_halted()
    }

    /// Whether there is something to run for: active and referenced handles, requests in flight,
    /// completed requests to report, or handles that are closing (`uv_loop_alive`).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// How long a foreign loop may wait before it must run this one; `None` for ever
    /// (`uv_backend_timeout`, but to the nanosecond and with changes flushed first).
    #[must_use]
    pub fn backend_timeout(&self) -> Option<Duration> {
        if self.0.is_ours() {
            self.0.watchers.flush();
            self.0.works.flush();
        }
        self.0.update_time();
        run::timeout(&self.0).map(Duration::from_nanos)
    }

    /// Calls `visit` with every handle that is there now and not closed, in the order they were
    /// made (`uv_walk`). The callback may close handles and make new ones, which are not visited.
    pub fn walk(&self, mut visit: impl FnMut(&AnyHandle)) {
        for node in self.0.all_handles() {
            if !node.base().is_closed() {
                visit(&AnyHandle::new(node));
            }
        }
    }

    /// Keeps the loop alive until the guard is dropped, as an active handle would.
    pub fn keep_alive(&self) -> KeepAlive {
        KeepAlive::new(self)
    }

    /// The pointer that [`LoopRef::set_user_data`] left, null at first (`uv_loop_get_data`). The
    /// crate never looks at what it points to.
    #[must_use]
    pub fn user_data(&self) -> *mut c_void {
        self.0.user_data.get()
    }

    /// Leaves a pointer with the loop (`uv_loop_set_data`).
    pub fn set_user_data(&self, data: *mut c_void) {
        self.0.user_data.set(data);
    }

    /// What the loop has counted so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.counters.get()
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> Options {
        self.0.options.clone()
    }

    /// Makes the loop usable in a forked child (`uv_loop_fork`): a new epoll set, event descriptor
    /// and signal pipe under the old numbers, with everything that is watched in them.
    ///
    /// Until then the child's copy touches nothing that it shares with the parent, `run` is
    /// `ESTALE`, and signals do what they would do without the loop. Children of the parent are not
    /// the child's: their exits will not be reported, and their handles are not active any more. A
    /// spawn off the loop that was under way ends with `ECANCELED` here.
    ///
    /// # Errors
    /// `EBUSY` from inside `run`, `EINVAL` when the loop has been dropped, `EMFILE`, `ENFILE` or
    /// `ENOMEM` when the descriptors cannot be had.
    pub fn after_fork(&self) -> Result<()> {
        self.0.after_fork()
    }
}

impl fmt::Debug for LoopRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoopRef")
    }
}

impl PartialEq for LoopRef {
    fn eq(&self, other: &LoopRef) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LoopRef {}
