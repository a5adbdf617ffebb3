//! From bytes and descriptors to messages.
//!
//! Bytes stay bytes until their message is about to be delivered: a value is larger than its text,
//! and one that is made, used and dropped before the next is made stays in the cache. Only where
//! descriptors are involved messages are made at once, because it matters what had been completed
//! when they came. Invariants: a descriptor belongs to the first handle message that is completed in its read or
//! later; each handle message is answered exactly once, because a second answer, or one that nobody
//! asked for, ends a node.

use std::rc::Rc;

use super::super::value::Value;
use super::handle::{HandleType, ReceivedHandle};
use super::state::{ChannelError, Incoming, Message, State};
use super::{outgoing, protocol};
use crate::{Handle, Read, Stream};

/// What the pipe has to say.
pub(super) fn take(state: &Rc<State>, read: Read<'_>) {
    match read {
        Read::Data(bytes) => {
            // What is filed meanwhile is delivered right behind.
            state.delivering.set(true);
            take_in(state, bytes);
            state.deliver_read();
        }
        Read::Eof => {
            decode(state);
            state.heard.set(true);
            state.end();
        }
        // The other side is gone, with or without a word.
        Read::Error(crate::Error::ECONNRESET) => {
            decode(state);
            state.end();
        }
        Read::Error(error) => {
            decode(state);
            state.fail(ChannelError::Io(error));
        }
    }
}

fn take_in(state: &Rc<State>, bytes: &[u8]) {
    state.heard.set(true);
    state.bytes_kept.set(state.bytes_kept.get().saturating_add(bytes.len()));
    if let Ok(descriptor) = state.pipe.accept_descriptor() {
        decode(state);
        state.descriptors.borrow_mut().push_back(descriptor);
    }
    while let Ok(descriptor) = state.pipe.accept_descriptor() {
        state.descriptors.borrow_mut().push_back(descriptor);
    }
    state.decoder.borrow_mut().feed(bytes);
    state.undecoded.set(true);
    if !state.descriptors.borrow().is_empty() {
        decode(state);
    }
}

/// Reads on after a pause.
pub(super) fn resume(state: &Rc<State>) {
    if !state.paused.get() || state.pipe.is_closing() || state.is_overfull() {
        return;
    }
    state.paused.set(false);
    // An error now is one that the next read would have brought.
    let _stopped = state.listen();
}

/// Takes and files every message that is complete.
fn decode(state: &Rc<State>) {
    while let Some(taken) = next(state) {
        if let Some(incoming) = taken {
            state.file(incoming);
        }
    }
}

/// Takes the next message that is complete, `None` when there is none. One that the channel has
/// dealt with itself leaves nothing to be delivered.
pub(super) fn next(state: &Rc<State>) -> Option<Option<Incoming>> {
    if !state.undecoded.get() {
        return None;
    }
    if state.is_overfull() {
        pause(state);
        return None;
    }
    let (next, left) = {
        let mut decoder = state.decoder.borrow_mut();
        (decoder.next_message(), decoder.buffered())
    };
    match next {
        Some(Ok(value)) => {
            // Nothing is left to be looked for: most messages come alone.
            state.undecoded.set(left > 0 || !state.descriptors.borrow().is_empty());
            return Some(dispatch(state, value));
        }
        Some(Err(error)) => {
            state.undecoded.set(false);
            state.fail(ChannelError::Message(error));
            return Some(None);
        }
        None => state.undecoded.set(false),
    }
    let unannounced = !state.descriptors.borrow().is_empty() && left == 0;
    if unannounced || state.has_too_many_descriptors() {
        state.fail(ChannelError::UnannouncedHandle);
    }
    None
}

/// Takes no more bytes in until there is a use for them; see [`resume`].
pub(super) fn pause(state: &State) {
    if !state.paused.replace(true) {
        state.pipe.read_stop();
    }
}

fn dispatch(state: &Rc<State>, value: Value) -> Option<Incoming> {
    let Some(command) = protocol::command(&value) else {
        return Some(Incoming::Message(Message { value, handle: None }));
    };
    match command.as_str() {
        protocol::HANDLE => return take_handle(state, value),
        protocol::ACK => outgoing::acknowledged(state),
        protocol::NACK => outgoing::refused(state),
        protocol::HELLO => state.set_peer_is_blacklight(),
        protocol::NOTIFY_CLOSE | protocol::GET_COUNT => {
            answer_about_sockets(state, &command, value);
        }
        _ => return Some(Incoming::Internal(Message { value, handle: None })),
    }
    None
}

/// A message that a handle belongs to: acknowledged, and taken out of its envelope.
fn take_handle(state: &Rc<State>, mut envelope: Value) -> Option<Incoming> {
    let descriptor = state.descriptors.borrow_mut().pop_front();
    let Some(descriptor) = descriptor else {
        outgoing::answer(state, protocol::NACK);
        return None;
    };
    outgoing::answer(state, protocol::ACK);
    // What a node sends again it wraps again: the inner envelope is the one that counts.
    let mut kind = HandleType::of_envelope(&envelope);
    let mut message = envelope.take("msg").unwrap_or_default();
    while protocol::command(&message).as_deref() == Some(protocol::HANDLE) {
        envelope = message;
        kind = HandleType::of_envelope(&envelope);
        message = envelope.take("msg").unwrap_or_default();
    }
    let Some(kind) = kind else {
        return Some(Incoming::Error(ChannelError::UnknownHandleType));
    };
    let key = envelope.get("key").and_then(Value::as_str);
    let token = key.map(|key| state.tokens.make(state, key));
    let handle = Some(ReceivedHandle { kind, descriptor, token });
    let message = Message { value: message, handle };
    Some(match protocol::command(&message.value) {
        None => Incoming::Message(message),
        Some(_) => Incoming::Internal(message),
    })
}

/// A node asks how many connections of one of its servers are alive here, or wants to be told when
/// none is.
fn answer_about_sockets(state: &Rc<State>, command: &str, mut question: Value) {
    let key = question.take("key").unwrap_or_default();
    let name = key.as_str().unwrap_or_default().to_owned();
    let answer = if command == protocol::GET_COUNT {
        protocol::about_sockets(protocol::COUNT, key, Some(state.tokens.count(&name)))
    } else {
        if !state.tokens.is_over(&name) {
            // The last of them says so.
            return;
        }
        protocol::about_sockets(protocol::ALL_CLOSED, key, None)
    };
    // A channel that is closing does not owe an answer.
    let _closed = outgoing::send_internal(state, &answer);
}
