//! From messages to bytes: Node's rule that one handle at a time is under way, and what waits
//! behind it.
//!
//! Invariants: from the sending of a handle to its answer everything but answers waits, in order;
//! a handle's descriptor is kept until the answer, so that it can be sent again; nothing is written
//! after a disconnection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::super::value::Value;
use super::handle::{HandleType, SendHandle};
use super::outbox::{self, Outbox};
use super::state::{ChannelError, Incoming, State};
use super::{Channel, HIGH_WATER, protocol};
use crate::{Buf, Error, Handle, Result, Stream};

/// Times that a connection is sent again when the other side did not get it (Node's number).
const RETRANSMISSIONS: u32 = 3;

pub(super) type Callback = Box<dyn FnOnce(&Channel, Result<()>)>;

/// A message that waits for its turn, serialized already.
struct Waiting {
    frame: Vec<u8>,
    handle: Option<(HandleType, OwnedFd)>,
    callback: Option<Callback>,
}

/// A handle that has been sent and not answered.
struct UnderWay {
    /// To be sent again, if it is of a kind that is.
    again: Option<(Rc<[u8]>, OwnedFd)>,
    sent_again: u32,
}

#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) outbox: Outbox,
    /// The bytes of all that wait.
    waiting_bytes: Cell<usize>,
    under_way: RefCell<Option<UnderWay>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// The channel is to be closed when all is written and answered.
    finishing: Cell<bool>,
}

impl Outgoing {
    /// The channel is over: what waits is called back with an error.
    pub(super) fn abandon(&self, state: &Rc<State>) {
        self.outbox.abandon(state);
        drop(self.under_way.take());
        let waiting = self.waiting.take();
        self.waiting_bytes.set(0);
        for callback in waiting.into_iter().filter_map(|waiting| waiting.callback) {
            state.file(Incoming::Sent(callback, Err(Error::EPIPE)));
        }
    }

    /// Bytes that have not been given to the pipe.
    pub(super) fn bytes(&self) -> usize {
        self.outbox.len() + self.waiting_bytes.get()
    }

    /// Whether a message need not wait.
    fn is_free(&self) -> bool {
        self.under_way.borrow().is_none() && self.waiting.borrow().is_empty()
    }

    /// Closes the channel once everything that was sent is out.
    pub(super) fn finish_soon(&self, state: &Rc<State>) {
        self.finishing.set(true);
        self.finish_if_idle(state);
    }

    fn finish_if_idle(&self, state: &Rc<State>) {
        if self.finishing.get() && self.is_free() && !state.pipe.is_closing() {
            outbox::flush(state);
            let ending = state.clone();
            // Shutting down waits for the queue.
            let begun = state.pipe.shutdown(move |_, _| ending.end());
            if begun.is_err() {
                state.end();
            }
        }
    }
}

/// Sends a message of the user's, with or without a handle.
pub(super) fn send(
    state: &Rc<State>,
    message: &Value,
    handle: Option<SendHandle>,
    callback: Option<Callback>,
) -> std::result::Result<bool, ChannelError> {
    if !state.is_connected() {
        return Err(ChannelError::Closed);
    }
    let handle = match handle {
        Some(handle) if state.peer_is_blacklight() => Some(handle),
        Some(handle) => Some(handle.for_node().map_err(ChannelError::Handle)?),
        None => None,
    };
    if handle.is_none() && state.outgoing.is_free() {
        outbox::put(state, message, callback)?;
        return Ok(state.queued_bytes() < HIGH_WATER);
    }
    let frame = match &handle {
        Some(handle) => encode(state, &protocol::envelope(handle, message.clone()))?,
        None => encode(state, message)?,
    };
    let handle = handle.map(|handle| (handle.kind, handle.descriptor));
    submit(state, Waiting { frame, handle, callback });
    Ok(state.queued_bytes() < HIGH_WATER)
}

/// Sends a message of the protocol's that waits its turn like any other.
pub(super) fn send_internal(
    state: &Rc<State>,
    message: &Value,
) -> std::result::Result<(), ChannelError> {
    send(state, message, None, None).map(drop)
}

/// Answers a handle message, past everything that waits.
pub(super) fn answer(state: &Rc<State>, command: &str) {
    // An answer is a short string, which every serialization has.
    let _put = outbox::put(state, &protocol::bare(command), None);
}

fn encode(state: &State, message: &Value) -> std::result::Result<Vec<u8>, ChannelError> {
    state.encoder.encode(message).map_err(ChannelError::Value)
}

fn submit(state: &Rc<State>, message: Waiting) {
    let outgoing = &state.outgoing;
    if !outgoing.is_free() {
        outgoing.waiting_bytes.set(outgoing.waiting_bytes.get() + message.frame.len());
        outgoing.waiting.borrow_mut().push_back(message);
    } else {
        start(state, message);
    }
}

/// Writes a message whose turn it is.
fn start(state: &Rc<State>, message: Waiting) {
    let Waiting { frame, handle, callback } = message;
    let Some((kind, descriptor)) = handle else {
        outbox::put_frame(state, &frame, callback);
        return;
    };
    if !kind.is_retried() {
        let under_way = UnderWay { again: None, sent_again: 0 };
        write_handle(state, under_way, Buf::from(frame), descriptor, callback);
        return;
    }
    match descriptor.try_clone() {
        Ok(copy) => {
            let frame: Rc<[u8]> = frame.into();
            let under_way = UnderWay { again: Some((frame.clone(), descriptor)), sent_again: 0 };
            write_handle(state, under_way, Buf::from(frame), copy, callback);
        }
        Err(error) => outbox::done(state, callback.into_iter().collect(), Err(error.into())),
    }
}

/// Writes a handle, behind everything that was sent before it.
fn write_handle(
    state: &Rc<State>,
    under_way: UnderWay,
    frame: Buf,
    descriptor: OwnedFd,
    callback: Option<Callback>,
) {
    outbox::flush(state);
    if state.pipe.is_closing() {
        outbox::done(state, callback.into_iter().collect(), Err(Error::EPIPE));
        return;
    }
    state.outgoing.under_way.replace(Some(under_way));
    // Should the pipe refuse, the callback is still there.
    let callback = Rc::new(Cell::new(callback));
    let (later, writing) = (callback.clone(), state.clone());
    let written = state.pipe.write_with_descriptors(frame, [descriptor], move |pipe, written| {
        let callback = later.take();
        match written.result {
            Err(error) if written.bytes == 0 && !pipe.is_closing() && !is_end(error) => {
                never_left(&writing, callback, error);
            }
            result => outbox::done(&writing, callback.into_iter().collect(), result),
        }
    });
    if let Err(error) = written {
        never_left(state, callback.take(), error);
    }
}

/// Whether the error says that the other side is gone, which reading will tell in its time.
fn is_end(error: Error) -> bool {
    matches!(error, Error::EPIPE | Error::ECONNRESET)
}

/// Nothing of a handle's message has been written, because too many descriptors are in flight, say:
/// there will be no answer, and what waits goes on.
fn never_left(state: &Rc<State>, callback: Option<Callback>, error: Error) {
    drop(state.outgoing.under_way.take());
    if let Some(callback) = callback {
        state.file(Incoming::Sent(callback, Err(error)));
    }
    next(state);
}

/// The other side has the handle.
pub(super) fn acknowledged(state: &Rc<State>) {
    // One that was not asked for is what a node sends for a message that it has unwrapped twice.
    let answered = state.outgoing.under_way.take();
    if answered.is_some() {
        drop(answered);
        next(state);
    }
}

/// The other side has the message but no handle: a connection is sent again, three times at most;
/// anything else is lost, as in Node.
pub(super) fn refused(state: &Rc<State>) {
    let Some(mut under_way) = state.outgoing.under_way.take() else { return };
    let again = match &under_way.again {
        Some((frame, descriptor)) if under_way.sent_again < RETRANSMISSIONS => {
            descriptor.try_clone().ok().map(|copy| (frame.clone(), copy))
        }
        _ => None,
    };
    match again {
        Some((frame, copy)) => {
            under_way.sent_again += 1;
            write_handle(state, under_way, Buf::from(frame), copy, None);
        }
        None => next(state),
    }
}

/// Sends what waits, up to and including the next handle.
fn next(state: &Rc<State>) {
    let outgoing = &state.outgoing;
    while outgoing.under_way.borrow().is_none() {
        let waiting = outgoing.waiting.borrow_mut().pop_front();
        let Some(waiting) = waiting else { break };
        outgoing.waiting_bytes.set(outgoing.waiting_bytes.get() - waiting.frame.len());
        start(state, waiting);
    }
    outgoing.finish_if_idle(state);
}
