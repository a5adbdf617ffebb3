//! Frames on their way to the pipe: the first of a turn at once, the others of it together.
//!
//! Whoever answers one message at a time has each answer written without delay, and may even end the
//! process right after it; whoever sends many in one turn pays for one system call, not for many.
//! Invariants: frames leave in the order they were given; what waits here is written before the
//! loop waits for events or ends its run by itself; a buffer is kept and used again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::value::Value;
use super::outgoing::Callback;
use super::state::{ChannelError, Incoming, State};
use crate::{Error, Handle, Prepare, Stream};

/// Bytes that are written at once, whatever else may come in this turn: a good part of what the
/// kernel takes at a time.
const ENOUGH: usize = 64 * 1024;

/// A buffer that has grown above this is given back.
const KEPT: usize = 4 * ENOUGH;

pub(super) struct Outbox {
    frames: RefCell<Vec<u8>>,
    /// Those of the messages in it.
    callbacks: RefCell<Vec<Callback>>,
    /// The turn in which something was written last.
    turn: Cell<u64>,
    prepare: RefCell<Option<Prepare>>,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            frames: RefCell::default(),
            callbacks: RefCell::default(),
            turn: Cell::new(u64::MAX),
            prepare: RefCell::default(),
        }
    }
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.frames.borrow().len()
    }

    /// The channel is over: nothing is written any more, and the callbacks are told so.
    pub(super) fn abandon(&self, state: &Rc<State>) {
        self.frames.take();
        for callback in self.callbacks.take() {
            state.file(Incoming::Sent(callback, Err(Error::EPIPE)));
        }
        if let Some(prepare) = self.prepare.take() {
            prepare.close();
        }
    }
}

/// Serializes a message to the end of what is to be written.
pub(super) fn put(
    state: &Rc<State>,
    message: &Value,
    callback: Option<Callback>,
) -> Result<(), ChannelError> {
    let outbox = &state.outgoing.outbox;
    let encoded = state.encoder.encode_into(message, &mut outbox.frames.borrow_mut());
    encoded.map_err(ChannelError::Value)?;
    written_soon(state, callback);
    Ok(())
}

/// As [`put`], of a message that has been serialized.
pub(super) fn put_frame(state: &Rc<State>, frame: &[u8], callback: Option<Callback>) {
    state.outgoing.outbox.frames.borrow_mut().extend_from_slice(frame);
    written_soon(state, callback);
}

fn written_soon(state: &Rc<State>, callback: Option<Callback>) {
    let outbox = &state.outgoing.outbox;
    outbox.callbacks.borrow_mut().extend(callback);
    let turn = state.pipe.event_loop().metrics().turns;
    if outbox.turn.replace(turn) != turn || outbox.len() >= ENOUGH || !flush_later(state) {
        flush(state);
    }
}

/// Has the rest of the turn's frames written before the loop waits; whether that was possible.
fn flush_later(state: &Rc<State>) -> bool {
    if state.is_delivering() {
        // Which flushes at its end.
        return true;
    }
    let mut prepare = state.outgoing.outbox.prepare.borrow_mut();
    if prepare.is_none() {
        *prepare = Prepare::new(state.pipe.event_loop()).ok();
    }
    let Some(prepare) = prepare.as_ref() else { return false };
    if prepare.is_active() {
        return true;
    }
    let state = state.clone();
    let flushing = move |prepare: &Prepare| {
        flush(&state);
        prepare.stop();
    };
    prepare.start(flushing).is_ok()
}

/// Writes everything that waits, or gives it to the pipe's queue.
pub(super) fn flush(state: &Rc<State>) {
    let outbox = &state.outgoing.outbox;
    if outbox.len() == 0 {
        return;
    }
    let mut frames = outbox.frames.take();
    let callbacks = outbox.callbacks.take();
    // What will not fit is better not moved: the pipe's queue writes it from where it is.
    let large = frames.len() > KEPT;
    let tried = if large { Err(Error::EAGAIN) } else { state.pipe.try_write(&frames) };
    match tried {
        Ok(n) if n == frames.len() => {
            if frames.capacity() <= KEPT {
                frames.clear();
                outbox.frames.replace(frames);
            }
            done(state, callbacks, Ok(()));
            return;
        }
        Ok(n) => drop(frames.drain(..n)),
        Err(Error::EAGAIN) => {}
        Err(error) => {
            done(state, callbacks, Err(error));
            return;
        }
    }
    // Should the pipe refuse, the callbacks are still there.
    let callbacks = Rc::new(Cell::new(callbacks));
    let (later, writing) = (callbacks.clone(), state.clone());
    let queued = state.pipe.write(frames, move |_, written| {
        done(&writing, later.take(), written.result);
    });
    if let Err(error) = queued {
        done(state, callbacks.take(), Err(error));
    }
}

/// What was given to the pipe has been written, or not: that is told in the order of sending, and
/// a stream with a hole in it cannot go on.
pub(super) fn done(state: &Rc<State>, callbacks: Vec<Callback>, result: crate::Result<()>) {
    for callback in callbacks {
        state.file(Incoming::Sent(callback, result));
    }
    match result {
        // The other side is gone, which reading tells after what it had sent; or this one is.
        Ok(()) | Err(Error::ECANCELED | Error::EPIPE | Error::ECONNRESET | Error::EBADF) => {}
        Err(error) => state.fail(ChannelError::Io(error)),
    }
}
