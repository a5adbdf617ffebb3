//! The IPC channel between a parent and a child, in Node's protocol: [`Channel`].
//!
//! `state` has what a channel knows, `incoming` turns bytes and descriptors into messages, `delivery`
//! gives them to who listens; `outgoing` is the reverse, with Node's rule that one handle at a time
//! is under way, and `outbox` what is about to be written; `handle` has the handles, `environment`
//! how a child finds its channel. Invariant: what was sent before the other
//! side ended or disconnected is delivered, in order; then the disconnection; nothing after it.

mod delivery;
mod environment;
mod handle;
mod incoming;
mod outbox;
mod outgoing;
mod protocol;
mod state;

use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

pub(super) use environment::{FD_VARIABLE, MODE_VARIABLE, PEER_VARIABLE};
pub use handle::{HandleType, ReceivedHandle, SendHandle, SocketToken};
pub use state::{ChannelError, Message};

use super::value::{Limits, Serialization, Value};
use crate::{Handle, LoopRef, Pipe, Result};
use state::State;

/// Bytes that may wait to be written before [`Channel::send`] says `false` (Node's number).
const HIGH_WATER: usize = 65536 * 2;

/// How a channel is set up; `json` and the default limits at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelOptions {
    /// How messages are written on the wire; both sides must agree.
    pub serialization: Serialization,
    /// How long and how deep a message may be. One that is longer is an error, and the channel
    /// closes before all of it has arrived.
    pub limits: Limits,
}

/// One end of an IPC channel: messages to and from a parent or a child.
///
/// It speaks Node's protocol, with a real node on the other side or with this crate. The value is a
/// reference, like that of a handle. A channel keeps its loop alive according to Node's rules: that
/// of a parent always, that of a child while somebody listens for messages or for the
/// disconnection; see [`Channel::reference`].
///
/// ```
/// use blacklight::child_process::{Channel, ChannelOptions, Value};
/// use blacklight::{EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// let (one, other) = std::os::unix::net::UnixStream::pair()?;
/// let one = Channel::open(&lp, one, ChannelOptions::default())?;
/// let other = Channel::open(&lp, other, ChannelOptions::default())?;
/// one.send(&Value::from("hello"))?;
/// one.disconnect()?;
/// other.on_message(|_, message| assert_eq!(message.value, Value::from("hello")));
/// other.on_disconnect(|other| assert!(!other.is_connected()));
/// lp.run(RunMode::Default)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Channel(Rc<State>);

impl Channel {
    /// Makes a channel of a connected socket.
    ///
    /// # Errors
    /// As [`Pipe::new`] and [`Pipe::open`](crate::Pipe::open).
    pub fn open(
        lp: &LoopRef,
        socket: impl Into<OwnedFd>,
        options: ChannelOptions,
    ) -> Result<Channel> {
        let pipe = Pipe::new_ipc(lp)?;
        pipe.open(socket)?;
        Channel::over(pipe, options)
    }

    /// The child's end of the channel that the parent has made, as `NODE_CHANNEL_FD` and
    /// `NODE_CHANNEL_SERIALIZATION_MODE` say; `None` when there is no such variable.
    ///
    /// Both are taken out of the environment, so that this process's own children do not mistake
    /// the channel for theirs. It keeps the loop alive only while somebody listens to it.
    ///
    /// # Safety
    /// No other thread may use the environment through C code meanwhile (as with
    /// [`std::env::remove_var`]), and nobody else may own the descriptor that the variable names:
    /// call this once, early in `main`.
    ///
    /// # Errors
    /// `EINVAL` when a variable makes no sense, `EBADF` when the descriptor is not open, `ENOTSOCK`
    /// when it is no socket.
    #[allow(unsafe_code)]
    pub unsafe fn from_env(lp: &LoopRef) -> Result<Option<Channel>> {
        // SAFETY: the caller's promise is that of the function called.
        let found = unsafe { environment::take() }?;
        let Some((socket, serialization, from_us)) = found else { return Ok(None) };
        let options = ChannelOptions { serialization, ..ChannelOptions::default() };
        let channel = Channel::open(lp, socket, options)?;
        channel.0.is_child();
        if from_us {
            channel.0.introduce();
        }
        Ok(Some(channel))
    }

    pub(super) fn over(pipe: Pipe, options: ChannelOptions) -> Result<Channel> {
        let state = State::start(pipe, options)?;
        state.listen()?;
        Ok(Channel(state))
    }

    pub(super) fn from_state(state: Rc<State>) -> Channel {
        Channel(state)
    }

    pub(super) fn state(&self) -> &Rc<State> {
        &self.0
    }

    /// Has `callback` called with each message. Messages that came before there was a callback have
    /// been kept for it.
    pub fn on_message(&self, callback: impl FnMut(&Channel, Message) + 'static) {
        self.0.listen_for_messages(Box::new(callback));
    }

    /// Has `callback` called with each internal message (`cmd` begins with `NODE_`) that the
    /// channel does not deal with itself: those of Node's cluster, say.
    pub fn on_internal_message(&self, callback: impl FnMut(&Channel, Message) + 'static) {
        self.0.listen_for_internal(Box::new(callback));
    }

    /// Has `callback` called once, when the channel is closed, by whichever side, after the last
    /// message.
    pub fn on_disconnect(&self, callback: impl FnMut(&Channel) + 'static) {
        self.0.listen_for_disconnect(Box::new(callback));
    }

    /// Has `callback` called when something is wrong with what the other side sends. The channel
    /// closes after most errors; see [`ChannelError`].
    pub fn on_error(&self, callback: impl FnMut(&Channel, ChannelError) + 'static) {
        self.0.listen_for_errors(Box::new(callback));
    }

    /// Ends listening for messages; those that come are kept again, and a child's channel no longer
    /// keeps the loop alive for them.
    pub fn ignore_messages(&self) {
        self.0.stop_listening();
    }

    /// Ends listening for the disconnection; a child's channel no longer keeps the loop alive for it.
    ///
    /// ```
    /// use blacklight::EventLoop;
    /// use blacklight::child_process::{Channel, ChannelOptions};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    /// let channel = Channel::open(&lp, one, ChannelOptions::default())?;
    /// channel.on_disconnect(|_| unreachable!());
    /// channel.ignore_disconnect();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ignore_disconnect(&self) {
        self.0.ignore_disconnect();
    }

    /// Sends a message; `false` asks the sender to wait for less to be queued, as in Node.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the channel is disconnected, [`ChannelError::Value`] when the
    /// value cannot be serialized.
    pub fn send(&self, message: &Value) -> std::result::Result<bool, ChannelError> {
        outgoing::send(&self.0, message, None, None)
    }

    /// As [`Channel::send`]; `callback` is called when the message has been written, or not.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_with(
        &self,
        message: &Value,
        callback: impl FnOnce(&Channel, Result<()>) + 'static,
    ) -> std::result::Result<bool, ChannelError> {
        outgoing::send(&self.0, message, None, Some(Box::new(callback)))
    }

    /// Sends a message with a handle. Until the other side has acknowledged it, everything sent
    /// after it waits, as in Node.
    ///
    /// # Errors
    /// As [`Channel::send`]; [`ChannelError::Handle`] when the other side, if it is a node, could
    /// not take this kind of descriptor without harm (a file, a terminal, a directory).
    pub fn send_handle(
        &self,
        message: &Value,
        handle: SendHandle,
        callback: impl FnOnce(&Channel, Result<()>) + 'static,
    ) -> std::result::Result<bool, ChannelError> {
        outgoing::send(&self.0, message, Some(handle), Some(Box::new(callback)))
    }

    /// Closes the channel when everything sent before has been written and acknowledged. From now
    /// on nothing can be sent.
    ///
    /// Unlike Node, which throws away what it could not write at once, nothing is lost.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when it is closed, or has been told to close.
    pub fn disconnect(&self) -> std::result::Result<(), ChannelError> {
        self.0.disconnect()
    }

    /// Writes what has been sent and not written yet, as far as the socket takes it.
    ///
    /// There is no need for it while the loop runs: the first message of a turn is written at once,
    /// those that follow it are written together before the loop waits or ends. A program that ends
    /// without going back to its loop ([`std::process::exit`]) calls it before.
    ///
    /// ```
    /// use blacklight::EventLoop;
    /// use blacklight::child_process::{Channel, ChannelOptions, Value};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    /// let channel = Channel::open(&lp, one, ChannelOptions::default())?;
    /// channel.send(&Value::from(1))?;
    /// channel.send(&Value::from(2))?;
    /// assert_eq!(channel.queued_bytes(), 2);
    /// channel.flush();
    /// assert_eq!(channel.queued_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) {
        outbox::flush(&self.0);
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// Keeps the loop alive for this channel, from now on whatever is listened to.
    pub fn reference(&self) {
        self.0.set_reference(true);
    }

    /// Does not keep the loop alive for this channel, from now on whatever is listened to.
    pub fn unreference(&self) {
        self.0.set_reference(false);
    }

    /// The loop of the channel.
    #[must_use]
    pub fn event_loop(&self) -> &LoopRef {
        self.0.pipe.event_loop()
    }

    /// Whether the other side has said that it is this crate, so that any descriptor may travel.
    #[must_use]
    pub fn peer_is_blacklight(&self) -> bool {
        self.0.peer_is_blacklight()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}
