//! The `Signal` handle: signals as events of the loop (`uv_signal_t`).
//!
//! The handlers count what they catch (see `sys::signal`); a watcher remembers how far it has been
//! told. Invariant: a watcher is called once for each signal that was caught while it was started,
//! after all other descriptors of the batch, those that stay before those that stop after one.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::event_loop::{LoopInner, LoopRef, Queue};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};

type Callback = dyn FnMut(&Signal, SignalEvent);

/// One signal that was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalEvent {
    /// The number of the signal.
    pub signum: i32,
    /// The process that sent it, 0 if the kernel did. Where several senders' signals were caught
    /// before the callback, that of the last one.
    pub sender_pid: i32,
    /// The real user id of the sender; see [`SignalEvent::sender_pid`].
    pub sender_uid: u32,
}

pub(crate) struct SignalNode {
    base: Base,
    callback: Slot<Callback>,
    /// 0 when not started.
    signum: Cell<i32>,
    once: Cell<bool>,
    /// Started since the closure was last called: a one-shot watcher that its own callback starts
    /// anew waits for the next signal.
    started: Cell<bool>,
    /// The port's count up to which this watcher has been told.
    told: Cell<u32>,
}

impl SignalNode {
    fn queue<'a>(&self, lp: &'a LoopInner) -> &'a Queue {
        if self.once.get() { &lp.signals_once } else { &lp.signals }
    }

    fn leave(&self) {
        let signum = self.signum.replace(0);
        if signum == 0 {
            return;
        }
        let lp = self.base.lp().inner();
        if let Some(port) = lp.signal_port_if_made() {
            port.unwatch(signum);
        }
        if self.base.queued.is_linked() {
            self.queue(lp).remove(&self.base);
        }
        self.base.deactivate();
    }

    fn stop_and_drop(&self) {
        self.leave();
        drop(self.callback.clear());
    }

    /// Calls the closure for one signal.
    fn call(self: &Rc<Self>, event: SignalEvent) {
        self.base.lp().inner().counters.callback();
        let stopping = OnUnwind::new(|| self.stop_and_drop());
        let once = self.once.get();
        let handle = Signal(self.clone());
        self.started.set(false);
        self.callback.call(|callback| callback(&handle, event));
        stopping.passed();
        // libuv's order: a one-shot watcher stops after its callback. libuv stops it also when the
        // callback has started it anew for the same signal, which nobody can want.
        if once && !self.started.get() {
            self.leave();
        }
        if self.signum.get() == 0 {
            drop(self.callback.clear());
        }
    }
}

impl Node for SignalNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Signal
    }

    fn work(self: Rc<Self>) {
        let lp = self.base.lp().inner();
        let signum = self.signum.get();
        let Some(port) = lp.signal_port_if_made() else { return };
        if signum == 0 {
            return;
        }
        let caught = port.caught(signum);
        while self.signum.get() == signum && self.told.get() != caught && !lp.is_halted() {
            self.told.set(self.told.get().wrapping_add(1));
            let (sender_pid, sender_uid) = port.sender(signum);
            self.call(SignalEvent { signum, sender_pid, sender_uid });
        }
    }

    fn stop(&self) {
        self.leave();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}

/// Calls the watchers of what was caught. Those that a panic kept from being called come first.
pub(crate) fn deliver(lp: &LoopInner) {
    if !lp.signalled.get() {
        return;
    }
    if let Some(port) = lp.signal_port_if_made() {
        port.drain();
    }
    for queue in [&lp.signals, &lp.signals_once] {
        let mut resumed = queue.begin();
        loop {
            while !lp.is_halted()
                && let Some(node) = queue.next()
            {
                node.work();
            }
            // What was caught since the interruption is for those before it as well.
            if !resumed || lp.is_halted() {
                break;
            }
            resumed = queue.begin();
        }
    }
    lp.signalled.set(false);
}

/// Calls back when the process is sent a signal.
///
/// Any number of watchers, in any number of loops and threads, may watch the same signal; each is
/// called. The kernel merges standard signals that are sent faster than they are caught. While a
/// signal has a watcher it goes to the watchers alone; with the last one gone, the signal does what
/// it did before the first: the default action, nothing, or the handler that was there (libuv sets
/// the default).
///
/// ```
/// use blacklight::{EventLoop, RunMode, Signal};
///
/// let lp = EventLoop::new()?;
/// let signal = Signal::new(&lp)?;
/// signal.start(libc::SIGUSR1, |signal, event| {
///     assert_eq!(event.sender_pid as u32, std::process::id());
///     signal.stop();
/// })?;
/// blacklight::kill(std::process::id() as i32, libc::SIGUSR1)?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Signal(Rc<SignalNode>);

handle!(Signal, SignalNode, |_| true);

impl Signal {
    /// Makes a watcher that is not started.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Signal> {
        create(lp, |base| SignalNode {
            base,
            callback: Slot::empty(),
            signum: Cell::new(0),
            once: Cell::new(false),
            started: Cell::new(false),
            told: Cell::new(0),
        })
        .map(Signal)
    }

    /// Watches for signal `signum`. A watcher that is started is stopped first; for the same
    /// signal, nothing that was caught is lost by that.
    ///
    /// # Errors
    /// `EINVAL` when the watcher is closing, and for SIGKILL, SIGSTOP, and numbers that are no
    /// signal; with a loop's first watcher `EMFILE` or `ENFILE` from pipe2(2).
    pub fn start(
        &self,
        signum: i32,
        callback: impl FnMut(&Signal, SignalEvent) + 'static,
    ) -> Result<()> {
        self.begin(signum, false, Box::new(callback))
    }

    /// As [`Signal::start`], but stops after the first signal (`uv_signal_start_oneshot`).
    ///
    /// # Errors
    /// As [`Signal::start`].
    pub fn start_oneshot(
        &self,
        signum: i32,
        callback: impl FnMut(&Signal, SignalEvent) + 'static,
    ) -> Result<()> {
        self.begin(signum, true, Box::new(callback))
    }

    fn begin(&self, signum: i32, once: bool, callback: Box<Callback>) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() {
            return Err(Error::EINVAL);
        }
        let lp = node.base.lp().inner();
        lp.usable()?;
        // 0 is also what a watcher that is not started has for a number.
        if signum == 0 {
            return Err(Error::EINVAL);
        }
        if node.signum.get() != signum || node.once.get() != once {
            let port = lp.signal_port()?;
            port.watch(signum)?;
            let told = match node.signum.get() == signum {
                true => node.told.get(),
                false => port.caught(signum),
            };
            node.leave();
            node.signum.set(signum);
            node.once.set(once);
            node.told.set(told);
            node.base.activate();
            node.queue(lp).push_back(&node.base);
        }
        node.started.set(true);
        drop(node.callback.set(callback));
        Ok(())
    }

    /// Stops watching and drops the closure. Signals that were caught and not reported yet are not
    /// reported.
    pub fn stop(&self) {
        self.0.stop_and_drop();
    }

    /// The signal that is watched, 0 when none is.
    #[must_use]
    pub fn signum(&self) -> i32 {
        self.0.signum.get()
    }
}
