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
use super::state::{ChannelError, Incoming, State};
use super::{Channel, HIGH_WATER, protocol};
use crate::{Error, Handle, Result, Stream, Written};

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
    frame: Rc<[u8]>,
    kind: HandleType,
    descriptor: OwnedFd,
    sent_again: u32,
}

#[derive(Default)]
pub(super) struct Outgoing {
    under_way: RefCell<Option<UnderWay>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// The channel is to be closed when all is written and answered.
    finishing: Cell<bool>,
}

impl Outgoing {
    /// The channel is over: what waits is called back with an error.
    pub(super) fn abandon(&self, state: &Rc<State>) {
        drop(self.under_way.take());
        let waiting = self.waiting.take();
        for callback in waiting.into_iter().filter_map(|waiting| waiting.callback) {
            state.file(Incoming::Sent(callback, Error::EPIPE));
        }
    }

    /// Closes the channel once everything that was sent is out.
    pub(super) fn finish_soon(&self, state: &Rc<State>) {
        self.finishing.set(true);
        self.finish_if_idle(state);
    }

    fn finish_if_idle(&self, state: &Rc<State>) {
        let idle = self.under_way.borrow().is_none() && self.waiting.borrow().is_empty();
        if self.finishing.get() && idle && !state.pipe.is_closing() {
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
    let frame = match &handle {
        Some(handle) => encode(state, &protocol::envelope(&handle.kind, message.clone()))?,
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
    if !state.is_connected() {
        return Err(ChannelError::Closed);
    }
    let frame = encode(state, message)?;
    submit(state, Waiting { frame, handle: None, callback: None });
    Ok(())
}

/// Answers a handle message, past everything that waits.
pub(super) fn answer(state: &Rc<State>, command: &str) {
    if let Ok(frame) = encode(state, &protocol::bare(command)) {
        write(state, frame, None);
    }
}

fn encode(state: &State, message: &Value) -> std::result::Result<Vec<u8>, ChannelError> {
    state.encoder.encode(message).map_err(ChannelError::Value)
}

fn submit(state: &Rc<State>, message: Waiting) {
    if state.outgoing.under_way.borrow().is_some() {
        state.outgoing.waiting.borrow_mut().push_back(message);
        return;
    }
    let Waiting { frame, handle, callback } = message;
    match handle {
        None => write(state, frame, callback),
        Some((kind, descriptor)) => {
            let frame: Rc<[u8]> = frame.into();
            let under_way = UnderWay { frame, kind, descriptor, sent_again: 0 };
            write_handle(state, under_way, callback);
        }
    }
}

/// Fits a callback for the pipe; a failure to write is the end of the channel.
fn on_written(
    state: &Rc<State>,
    callback: Option<Callback>,
) -> impl FnOnce(&crate::Pipe, Written) + 'static {
    let state = state.clone();
    move |_, written| {
        if let Err(error) = written.result
            && error != Error::ECANCELED
            && error != Error::EPIPE
        {
            state.fail(ChannelError::Io(error));
        }
        if let Some(callback) = callback {
            callback(&Channel::from_state(state), written.result);
        }
    }
}

fn write(state: &Rc<State>, frame: Vec<u8>, callback: Option<Callback>) {
    // EPIPE says that the other side has closed, which reading will tell; a channel that is closed
    // here has been told.
    match callback {
        None => drop(state.pipe.write_and_forget(frame)),
        Some(callback) => {
            let callback: Rc<Cell<Option<Callback>>> = Rc::new(Cell::new(Some(callback)));
            let later = callback.clone();
            let done = on_written(
                state,
                Some(Box::new(move |channel: &Channel, result| {
                    if let Some(callback) = later.take() {
                        callback(channel, result);
                    }
                })),
            );
            if let Err(error) = state.pipe.write(frame, done)
                && let Some(callback) = callback.take()
            {
                state.file(Incoming::Sent(callback, error));
            }
        }
    }
}

/// Sends a handle, or sends it again.
fn write_handle(state: &Rc<State>, under_way: UnderWay, callback: Option<Callback>) {
    let copy = match under_way.descriptor.try_clone() {
        Ok(copy) => copy,
        Err(error) => {
            // Nothing was sent, so nothing will be answered.
            if let Some(callback) = callback {
                state.file(Incoming::Sent(callback, error.into()));
            }
            next(state);
            return;
        }
    };
    let frame = under_way.frame.clone();
    state.outgoing.under_way.replace(Some(under_way));
    let failing = state.clone();
    let done = on_written(state, callback);
    let written = state.pipe.write_with_descriptors(frame, [copy], move |pipe, written| {
        if written.bytes == 0 && written.result.is_err() && !pipe.is_closing() {
            // It never left: too many descriptors are in flight, say. What waits goes on.
            drop(failing.outgoing.under_way.take());
            next(&failing);
        }
        done(pipe, written);
    });
    if written.is_err() {
        drop(state.outgoing.under_way.take());
        next(state);
    }
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
    if under_way.kind.is_retried() && under_way.sent_again < RETRANSMISSIONS {
        under_way.sent_again += 1;
        write_handle(state, under_way, None);
    } else {
        next(state);
    }
}

/// Sends what waits, up to and including the next handle.
fn next(state: &Rc<State>) {
    while state.outgoing.under_way.borrow().is_none() {
        let waiting = state.outgoing.waiting.borrow_mut().pop_front();
        let Some(waiting) = waiting else { break };
        submit(state, waiting);
    }
    state.outgoing.finish_if_idle(state);
}
