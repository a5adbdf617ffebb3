//! From bytes and descriptors to messages.
//!
//! Invariants: a descriptor belongs to the first handle message that is completed in its read or
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
    state.reading.set(true);
    take_in(state, read);
    state.reading.set(false);
}

fn take_in(state: &Rc<State>, read: Read<'_>) {
    match read {
        Read::Data(bytes) => {
            state.heard.set(true);
            state.bytes_kept.set(state.bytes_kept.get().saturating_add(bytes.len()));
            while let Ok(descriptor) = state.pipe.accept_descriptor() {
                state.descriptors.borrow_mut().push_back(descriptor);
            }
            state.decoder.borrow_mut().feed(bytes);
            decode(state);
        }
        Read::Eof => {
            state.heard.set(true);
            state.end();
        }
        // The other side is gone, with or without a word.
        Read::Error(crate::Error::ECONNRESET) => state.end(),
        Read::Error(error) => state.fail(ChannelError::Io(error)),
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

fn decode(state: &Rc<State>) {
    loop {
        let next = state.decoder.borrow_mut().next_message();
        match next {
            Some(Ok(value)) => dispatch(state, value),
            Some(Err(error)) => {
                state.fail(ChannelError::Message(error));
                return;
            }
            None => break,
        }
        if state.pipe.is_closing() {
            return;
        }
    }
    let unannounced =
        !state.descriptors.borrow().is_empty() && state.decoder.borrow().buffered() == 0;
    if unannounced || state.has_too_many_descriptors() {
        state.fail(ChannelError::UnannouncedHandle);
    } else if state.is_overfull() {
        state.paused.set(true);
        state.pipe.read_stop();
    }
}

fn dispatch(state: &Rc<State>, value: Value) {
    let Some(command) = protocol::command(&value) else {
        state.file(Incoming::Message(Message { value, handle: None }));
        return;
    };
    match command.as_str() {
        protocol::HANDLE => take_handle(state, value),
        protocol::ACK => outgoing::acknowledged(state),
        protocol::NACK => outgoing::refused(state),
        protocol::HELLO => state.set_peer_is_blacklight(),
        protocol::NOTIFY_CLOSE | protocol::GET_COUNT => {
            answer_about_sockets(state, &command, value)
        }
        _ => state.file(Incoming::Internal(Message { value, handle: None })),
    }
}

/// A message that a handle belongs to: acknowledged, taken out of its envelope, filed.
fn take_handle(state: &Rc<State>, mut envelope: Value) {
    let descriptor = state.descriptors.borrow_mut().pop_front();
    let Some(descriptor) = descriptor else {
        outgoing::answer(state, protocol::NACK);
        return;
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
        state.file(Incoming::Error(ChannelError::UnknownHandleType));
        return;
    };
    let key = envelope.get("key").and_then(Value::as_str);
    let token = key.map(|key| state.tokens.make(state, key));
    let handle = Some(ReceivedHandle { kind, descriptor, token });
    let message = Message { value: message, handle };
    state.file(match protocol::command(&message.value) {
        None => Incoming::Message(message),
        Some(_) => Incoming::Internal(message),
    });
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
