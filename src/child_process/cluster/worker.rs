//! A worker, as its primary sees it.
//!
//! Invariant: a worker's state only moves forward, from started to dead.

use std::cell::Cell;
use std::fmt;
use std::rc::{Rc, Weak};

use super::super::channel::{Channel, ChannelError, Message, SendHandle};
use super::super::value::Value;
use super::core::Core;
use crate::handle::{OnUnwind, Slot};
use crate::{Process, Result};

/// How far a worker has come.
///
/// ```
/// use blacklight::child_process::cluster::WorkerState;
///
/// assert!(WorkerState::Started < WorkerState::Listening);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerState {
    /// It has been forked.
    Started,
    /// It runs, and has said so.
    Online,
    /// It serves an address.
    Listening,
    /// Its channel is closed.
    Disconnected,
    /// It has ended.
    Dead,
}

type MessageCallback = dyn FnMut(&Worker, Message);

struct Inner {
    id: u32,
    process: Process,
    channel: Channel,
    state: Cell<WorkerState>,
    exited_after_disconnect: Cell<bool>,
    on_message: Slot<MessageCallback>,
    core: Weak<Core>,
}

/// A worker of a [`Primary`](super::Primary); the value is a reference.
///
/// ```
/// use blacklight::child_process::cluster::{ClusterOptions, Primary, WorkerState};
/// use blacklight::{Command, EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// let primary = Primary::new(&lp, ClusterOptions::new(Command::new("true")));
/// let worker = primary.fork()?;
/// assert_eq!((worker.id(), worker.state()), (1, WorkerState::Started));
/// lp.run(RunMode::Default)?;
/// assert_eq!(worker.state(), WorkerState::Dead);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Worker(Rc<Inner>);

impl Worker {
    pub(super) fn new(id: u32, process: Process, channel: Channel, core: Weak<Core>) -> Worker {
        Worker(Rc::new(Inner {
            id,
            process,
            channel,
            state: Cell::new(WorkerState::Started),
            exited_after_disconnect: Cell::new(false),
            on_message: Slot::empty(),
            core,
        }))
    }

    /// Its number, from 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.0.process
    }

    /// Its channel. The cluster listens to everything on it; listen with [`Worker::on_message`] or
    /// [`Primary::on_event`](super::Primary::on_event) instead.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.0.channel
    }

    /// How far it has come.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        self.0.state.get()
    }

    /// Whether messages can be sent to it.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.channel.is_connected()
    }

    /// Whether it has been told to disconnect, or has said that it does so of its own will; what
    /// ends otherwise has died (Node's `exitedAfterDisconnect`).
    #[must_use]
    pub fn exited_after_disconnect(&self) -> bool {
        self.0.exited_after_disconnect.get()
    }

    /// Sends it a message.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send(&self, message: &Value) -> std::result::Result<bool, ChannelError> {
        self.0.channel.send(message)
    }

    /// Sends it a message with a handle.
    ///
    /// # Errors
    /// As [`Channel::send_handle`].
    pub fn send_handle(
        &self,
        message: &Value,
        handle: SendHandle,
        callback: impl FnOnce(&Channel, Result<()>) + 'static,
    ) -> std::result::Result<bool, ChannelError> {
        self.0.channel.send_handle(message, handle, callback)
    }

    /// Has `callback` called with its messages, which are no events of the primary's then.
    pub fn on_message(&self, callback: impl FnMut(&Worker, Message) + 'static) {
        drop(self.0.on_message.set(Box::new(callback)));
    }

    /// Sends it a signal. As in Node this is no disconnection: a worker that dies of it may be
    /// replaced.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn kill(&self, signum: i32) -> Result<()> {
        self.0.process.kill(signum)
    }

    /// Has it close its servers and its channel, after which it ends when it has nothing left to
    /// do; it is not replaced. It gets no more connections from now on.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when it is disconnected.
    pub fn disconnect(&self) -> std::result::Result<(), ChannelError> {
        match self.0.core.upgrade() {
            Some(core) => core.disconnect_one(self),
            None => Err(ChannelError::Closed),
        }
    }

    pub(super) fn reach(&self, state: WorkerState) {
        self.0.state.set(self.state().max(state));
    }

    pub(super) fn leaves(&self) {
        self.0.exited_after_disconnect.set(true);
    }

    /// Gives a message to who listens to this worker; gives it back when nobody does.
    pub(super) fn deliver(&self, message: Message) -> Option<Message> {
        if !self.0.on_message.is_set() {
            return Some(message);
        }
        let stop = OnUnwind::new(|| {
            drop(self.0.on_message.clear());
            let _closed = self.0.channel.disconnect();
        });
        self.0.on_message.call(|callback| callback(self, message));
        stop.passed();
        None
    }

    /// Nothing is to be heard of it any more; closures often hold the worker itself.
    pub(super) fn is_over(&self) {
        drop(self.0.on_message.clear());
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id())
            .field("pid", &self.0.process.pid())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
