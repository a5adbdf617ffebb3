//! What a channel knows: its pipe, who listens, whether it is open, what keeps the loop alive.
//!
//! Invariant: a channel that has ended stays so: its pipe is closed, nothing is taken in or sent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::super::value::{CodecError, Decoder, Encoder, Value};
use super::delivery::Hooks;
use super::handle::{ReceivedHandle, Tokens};
use super::outgoing::{Callback, Outgoing};
use super::{Channel, ChannelOptions, incoming, protocol};
use crate::handle::Slot;
use crate::{Error, Handle, Pipe, Result, Stream};

/// A message, and the handle that came with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Message {
    /// What was sent.
    pub value: Value,
    /// The handle that travelled with it.
    pub handle: Option<ReceivedHandle>,
}

/// What can go wrong on a channel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ChannelError {
    /// The channel is closed (Node's `ERR_IPC_CHANNEL_CLOSED`).
    Closed,
    /// A message could not be read: bad framing, bad JSON, bad V8 data, or too long. The channel
    /// closes.
    Message(CodecError),
    /// A value that was to be sent cannot be serialized. Nothing was sent.
    Value(CodecError),
    /// A handle could not be sent to a node: it would end or poison it.
    Handle(Error),
    /// A descriptor came that no message announced. The channel closes.
    UnannouncedHandle,
    /// A handle of a type that nobody knows was acknowledged and closed; its message is lost.
    UnknownHandleType,
    /// Reading or writing failed. The channel closes.
    Io(Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Closed => f.write_str("the channel is closed"),
            ChannelError::Message(error) => write!(f, "a message that cannot be read: {error}"),
            ChannelError::Value(error) => write!(f, "a value that cannot be sent: {error}"),
            ChannelError::Handle(error) => write!(f, "a handle that cannot be sent: {error}"),
            ChannelError::UnannouncedHandle => f.write_str("a descriptor without a message"),
            ChannelError::UnknownHandleType => f.write_str("a handle of an unknown type"),
            ChannelError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}

/// What waits to be delivered.
pub(super) enum Incoming {
    Message(Message),
    Internal(Message),
    Error(ChannelError),
    /// A message has been written, or not.
    Sent(Callback, Result<()>),
}

/// Messages that are kept for a listener that is not there yet; when there are more, reading pauses
/// until there is one.
const MOST_KEPT: usize = 1024;

/// The bytes that they may have come in, above which a second one is too many.
const MOST_BYTES_KEPT: usize = 16 << 20;

/// Descriptors that may wait for the message that announces them: as many as one write can bring.
const MOST_DESCRIPTORS: usize = 253;

pub(super) type MessageCallback = dyn FnMut(&Channel, Message);

pub(crate) struct State {
    pub(super) pipe: Pipe,
    pub(super) decoder: RefCell<Decoder>,
    pub(super) encoder: Encoder,
    /// There may be complete messages among the bytes that the decoder has.
    pub(super) undecoded: Cell<bool>,
    /// Descriptors that have come and whose message is not complete.
    pub(super) descriptors: RefCell<VecDeque<OwnedFd>>,
    pub(super) incoming: RefCell<VecDeque<Incoming>>,
    /// Messages that wait for a listener.
    pub(super) kept: RefCell<VecDeque<Message>>,
    /// Bytes read while nobody listened.
    pub(super) bytes_kept: Cell<usize>,
    /// Reading has been stopped because too much is kept.
    pub(super) paused: Cell<bool>,
    pub(super) outgoing: Outgoing,
    /// Connections of a node's servers, by the key it gave them.
    pub(super) tokens: Tokens,
    connected: Cell<bool>,
    /// The pipe has been closed, or is about to be; the disconnection is to be told.
    pub(super) ended: Cell<bool>,
    pub(super) told: Cell<bool>,
    /// Listening has been overridden by `reference` or `unreference`.
    fixed_reference: Cell<bool>,
    child: Cell<bool>,
    blacklight: Cell<bool>,
    /// Bytes arrived since this was last looked at.
    pub(super) heard: Cell<bool>,
    pub(super) on_message: Slot<MessageCallback>,
    pub(super) on_internal: Slot<MessageCallback>,
    pub(super) on_disconnect: Slot<dyn FnMut(&Channel)>,
    pub(super) on_error: Slot<dyn FnMut(&Channel, ChannelError)>,
    pub(super) hooks: RefCell<Hooks>,
    /// A delivery will come by itself.
    pub(super) scheduled: Cell<bool>,
    /// A delivery is under way: what is filed is part of it, what is written waits for its end.
    pub(super) delivering: Cell<bool>,
    /// Called once everything that was sent before the other side's end has been delivered.
    pub(super) after_all: Cell<Option<Box<dyn FnOnce()>>>,
}

impl State {
    pub(super) fn start(pipe: Pipe, options: ChannelOptions) -> Result<Rc<State>> {
        let state = Rc::new(State {
            decoder: RefCell::new(Decoder::new(options.serialization, options.limits)),
            encoder: Encoder::new(options.serialization, options.limits),
            pipe,
            undecoded: Cell::new(false),
            descriptors: RefCell::default(),
            incoming: RefCell::default(),
            kept: RefCell::default(),
            bytes_kept: Cell::new(0),
            paused: Cell::new(false),
            outgoing: Outgoing::default(),
            tokens: Tokens::default(),
            connected: Cell::new(true),
            ended: Cell::new(false),
            told: Cell::new(false),
            fixed_reference: Cell::new(false),
            child: Cell::new(false),
            blacklight: Cell::new(false),
            heard: Cell::new(false),
            on_message: Slot::empty(),
            on_internal: Slot::empty(),
            on_disconnect: Slot::empty(),
            on_error: Slot::empty(),
            hooks: RefCell::default(),
            scheduled: Cell::new(false),
            delivering: Cell::new(false),
            after_all: Cell::new(None),
        });
        Ok(state)
    }

    /// Begins to read; the pipe must be open.
    pub(super) fn listen(self: &Rc<Self>) -> Result<()> {
        let state = self.clone();
        self.pipe.read_start(move |_, read| incoming::take(&state, read))
    }

    /// This end is a child's: only listeners keep the loop alive for it.
    pub(super) fn is_child(&self) {
        self.child.set(true);
        self.update_reference();
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    pub(super) fn peer_is_blacklight(&self) -> bool {
        self.blacklight.get()
    }

    pub(super) fn set_peer_is_blacklight(&self) {
        self.blacklight.set(true);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.pipe.write_queue_size() + self.outgoing.bytes()
    }

    pub(super) fn set_reference(&self, on: bool) {
        self.fixed_reference.set(true);
        self.refer(on);
    }

    fn refer(&self, on: bool) {
        if on { self.pipe.reference() } else { self.pipe.unreference() }
    }

    fn update_reference(&self) {
        if self.child.get() && !self.fixed_reference.get() {
            self.refer(self.on_message.is_set() || self.on_disconnect.is_set());
        }
    }

    pub(super) fn listen_for_messages(self: &Rc<Self>, callback: Box<MessageCallback>) {
        self.bytes_kept.set(0);
        let previous = self.on_message.set(callback);
        self.update_reference();
        self.deliver_soon();
        drop(previous);
    }

    pub(super) fn stop_listening(&self) {
        self.bytes_kept.set(0);
        let previous = self.on_message.clear();
        self.update_reference();
        drop(previous);
    }

    pub(super) fn listen_for_internal(&self, callback: Box<MessageCallback>) {
        drop(self.on_internal.set(callback));
    }

    pub(super) fn listen_for_disconnect(&self, callback: Box<dyn FnMut(&Channel)>) {
        let previous = self.on_disconnect.set(callback);
        self.update_reference();
        drop(previous);
    }

    pub(super) fn ignore_disconnect(&self) {
        let previous = self.on_disconnect.clear();
        self.update_reference();
        drop(previous);
    }

    pub(super) fn listen_for_errors(&self, callback: Box<dyn FnMut(&Channel, ChannelError)>) {
        drop(self.on_error.set(callback));
    }

    /// Something has come, to be delivered in order.
    pub(super) fn file(self: &Rc<Self>, incoming: Incoming) {
        self.incoming.borrow_mut().push_back(incoming);
        self.deliver_soon();
    }

    /// Whether more descriptors have come than a message can need.
    pub(super) fn has_too_many_descriptors(&self) -> bool {
        self.descriptors.borrow().len() > MOST_DESCRIPTORS
    }

    pub(super) fn is_delivering(&self) -> bool {
        self.delivering.get()
    }

    /// Whether more is kept than should be without anybody to take it.
    pub(super) fn is_overfull(&self) -> bool {
        let kept = self.kept.borrow().len() + self.incoming.borrow().len();
        !self.on_message.is_set()
            && (kept >= MOST_KEPT || (kept > 0 && self.bytes_kept.get() > MOST_BYTES_KEPT))
    }

    /// Says to the parent that this crate is here.
    pub(super) fn introduce(self: &Rc<Self>) {
        self.set_peer_is_blacklight();
        // A channel that is closed already will say so by itself.
        let _closed = super::outgoing::send_internal(self, &protocol::bare(protocol::HELLO));
    }

    /// The channel cannot go on.
    pub(super) fn fail(self: &Rc<Self>, error: ChannelError) {
        self.file(Incoming::Error(error));
        self.end();
    }

    /// The channel is over: closes the pipe, and tells when everything has been delivered.
    pub(super) fn end(self: &Rc<Self>) {
        self.connected.set(false);
        if self.ended.replace(true) {
            return;
        }
        self.descriptors.take();
        self.pipe.close();
        self.outgoing.abandon(self);
        self.deliver_soon();
    }

    /// Ends the channel from this side, after what has been sent.
    pub(super) fn disconnect(self: &Rc<Self>) -> std::result::Result<(), ChannelError> {
        if !self.connected.replace(false) {
            return Err(ChannelError::Closed);
        }
        self.outgoing.finish_soon(self);
        Ok(())
    }
}
