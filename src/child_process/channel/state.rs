//! What a channel knows: its pipe, who listens, whether it is open, what keeps the loop alive.
//!
//! Invariants: messages are delivered in the check phase of the turn that read them, one by one, so
//! that a callback that panics leaves the rest to the next turn; the disconnection is told after
//! the last message, once.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::super::value::{CodecError, Decoder, Encoder, Value};
use super::handle::{ReceivedHandle, Tokens};
use super::outgoing::{Callback, Outgoing};
use super::{Channel, ChannelOptions, incoming, protocol};
use crate::handle::{OnUnwind, Slot};
use crate::{Check, Error, Handle, Pipe, Result, Stream};

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
    /// The callback of a send that could not even begin.
    Sent(Callback, Error),
}

/// Messages that are kept for a listener that is not there yet; when there are more, reading pauses
/// until there is one.
const MOST_KEPT: usize = 1024;

type MessageCallback = dyn FnMut(&Channel, Message);

pub(crate) struct State {
    pub(super) pipe: Pipe,
    pub(super) decoder: RefCell<Decoder>,
    pub(super) encoder: Encoder,
    /// Descriptors that have come and whose message is not complete.
    pub(super) descriptors: RefCell<VecDeque<OwnedFd>>,
    incoming: RefCell<VecDeque<Incoming>>,
    pub(super) outgoing: Outgoing,
    /// Connections of a node's servers, by the key it gave them.
    pub(super) tokens: RefCell<HashMap<String, Tokens>>,
    connected: Cell<bool>,
    /// The pipe has been closed, or is about to be; the disconnection is to be told.
    ended: Cell<bool>,
    told: Cell<bool>,
    /// Listening has been overridden by `reference` or `unreference`.
    fixed_reference: Cell<bool>,
    child: Cell<bool>,
    blacklight: Cell<bool>,
    /// Bytes arrived since this was last looked at.
    pub(super) heard: Cell<bool>,
    on_message: Slot<MessageCallback>,
    on_internal: Slot<MessageCallback>,
    on_disconnect: Slot<dyn FnMut(&Channel)>,
    on_error: Slot<dyn FnMut(&Channel, ChannelError)>,
    delivery: RefCell<Option<Check>>,
    /// Called once everything that was sent before the other side's end has been delivered.
    after_all: Cell<Option<Box<dyn FnOnce()>>>,
}

impl State {
    pub(super) fn start(pipe: Pipe, options: ChannelOptions) -> Result<Rc<State>> {
        let state = Rc::new(State {
            decoder: RefCell::new(Decoder::new(options.serialization, options.limits)),
            encoder: Encoder::new(options.serialization, options.limits),
            pipe,
            descriptors: RefCell::default(),
            incoming: RefCell::default(),
            outgoing: Outgoing::default(),
            tokens: RefCell::default(),
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
            delivery: RefCell::new(None),
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
        self.pipe.write_queue_size()
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
        let previous = self.on_message.set(callback);
        self.update_reference();
        self.deliver_soon();
        drop(previous);
    }

    pub(super) fn stop_listening(&self) {
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

    pub(super) fn listen_for_errors(&self, callback: Box<dyn FnMut(&Channel, ChannelError)>) {
        drop(self.on_error.set(callback));
    }

    /// Something has come, to be delivered in order.
    pub(super) fn file(self: &Rc<Self>, incoming: Incoming) {
        self.incoming.borrow_mut().push_back(incoming);
        self.deliver_soon();
    }

    /// Whether more is kept than should be without anybody to take it.
    pub(super) fn is_overfull(&self) -> bool {
        !self.on_message.is_set() && self.incoming.borrow().len() >= MOST_KEPT
    }

    /// Whether something can be delivered now.
    fn is_deliverable(&self) -> bool {
        let first_waits = match self.incoming.borrow().front() {
            None => false,
            Some(Incoming::Message(_)) => !self.on_message.is_set(),
            Some(_) => false,
        };
        !first_waits
            && (!self.incoming.borrow().is_empty() || (self.ended.get() && !self.told.get()))
    }

    /// Has the check phase deliver what there is.
    pub(super) fn deliver_soon(self: &Rc<Self>) {
        if !self.is_deliverable() {
            return;
        }
        let lp = self.pipe.event_loop().clone();
        let active = self.delivery.borrow().as_ref().is_some_and(Handle::is_active);
        if active {
            return;
        }
        // A new one each time that the last one has ended: one whose callback panicked is over.
        let Ok(check) = Check::new(&lp) else { return };
        let state = self.clone();
        if check.start(move |check| state.deliver(check)).is_ok() {
            let previous = self.delivery.replace(Some(check));
            if let Some(previous) = previous {
                previous.close();
            }
        }
    }

    fn deliver(self: &Rc<Self>, check: &Check) {
        let again = OnUnwind::new(|| {
            let over = self.delivery.take();
            self.deliver_soon();
            drop(over);
        });
        let channel = Channel::from_state(self.clone());
        while self.is_deliverable() {
            let next = self.incoming.borrow_mut().pop_front();
            match next {
                Some(Incoming::Message(message)) => {
                    let stop = OnUnwind::new(|| drop(self.on_message.clear()));
                    self.on_message.call(|callback| callback(&channel, message));
                    stop.passed();
                }
                Some(Incoming::Internal(message)) => {
                    let stop = OnUnwind::new(|| drop(self.on_internal.clear()));
                    self.on_internal.call(|callback| callback(&channel, message));
                    stop.passed();
                }
                Some(Incoming::Error(error)) => {
                    let stop = OnUnwind::new(|| drop(self.on_error.clear()));
                    self.on_error.call(|callback| callback(&channel, error));
                    stop.passed();
                }
                Some(Incoming::Sent(callback, error)) => callback(&channel, Err(error)),
                None => self.tell_end(&channel),
            }
        }
        again.passed();
        check.stop();
        incoming::resume(self);
    }

    fn tell_end(&self, channel: &Channel) {
        self.told.set(true);
        let stop = OnUnwind::new(|| drop(self.on_disconnect.clear()));
        self.on_disconnect.call(|callback| callback(channel));
        stop.passed();
        // Nothing is to be heard any more; closures often hold the channel itself.
        drop(self.on_message.clear());
        drop(self.on_internal.clear());
        drop(self.on_disconnect.clear());
        drop(self.on_error.clear());
        if let Some(after_all) = self.after_all.take() {
            after_all();
        }
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

    /// Calls `then` once everything that was sent by the other side has been delivered: at the
    /// channel's end, or, where somebody else holds the other end open, as soon as a turn has
    /// brought nothing new.
    pub(crate) fn when_all_is_delivered(self: &Rc<Self>, then: Box<dyn FnOnce()>) {
        if self.told.get() {
            then();
            return;
        }
        self.after_all.set(Some(then));
        self.heard.set(true);
        self.watch_silence();
    }

    /// Looks in every turn whether the other side has fallen silent, without letting the loop wait.
    fn watch_silence(self: &Rc<Self>) {
        let lp = self.pipe.event_loop().clone();
        let (Ok(idle), Ok(check)) = (crate::Idle::new(&lp), Check::new(&lp)) else {
            if let Some(after_all) = self.after_all.take() {
                after_all();
            }
            return;
        };
        let state = self.clone();
        // An idle handle keeps the loop from waiting; that is all it is for.
        let _started = idle.start(|_| {});
        let _started = check.start(move |check| {
            let silent = !state.heard.replace(false) && !state.is_deliverable();
            if silent || state.told.get() {
                idle.close();
                check.close();
                if let Some(after_all) = state.after_all.take() {
                    after_all();
                }
            }
        });
    }
}
