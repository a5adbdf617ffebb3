//! Frames on their way to the pipe: the first of a turn at once, the others of it together.
//!
//! Whoever answers one message at a time has each answer written without delay, and may even end the
//! process right after it; whoever sends many in one turn pays for one system call, not for many;
//! and while it goes on sending, the other side is fed already and works at the same time.
//! Invariants: frames leave in the order they were given; what waits here is written, or in the
//! pipe's queue, before the loop waits for events or ends its run by itself; a buffer is kept and
//! used again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::super::value::Value;
use super::outgoing::Callback;
use super::state::{ChannelError, Incoming, State};
use crate::{Buf, Error, Handle, Prepare, Stream};

/// Bytes that are worth a system call, whatever else may come in this turn: a good part of what the
/// kernel takes at a time.
const ENOUGH: usize = 64 * 1024;

/// A buffer that has grown above this is given back.
const KEPT: usize = 4 * ENOUGH;

pub(super) struct Outbox {
    /// The frames that were given last.
    frames: RefCell<Vec<u8>>,
    /// What was given before them and did not go out when that was tried.
    behind: RefCell<VecDeque<Vec<u8>>>,
    /// How much of the first of those has been written.
    written: Cell<usize>,
    /// How much of all of those is left.
    left: Cell<usize>,
    /// Those of the messages in all of it.
    callbacks: RefCell<Vec<Callback>>,
    /// The turn in which something was written last.
    turn: Cell<u64>,
    prepare: RefCell<Option<Prepare>>,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            frames: RefCell::default(),
            behind: RefCell::default(),
            written: Cell::new(0),
            left: Cell::new(0),
            callbacks: RefCell::default(),
            turn: Cell::new(u64::MAX),
            prepare: RefCell::default(),
        }
    }
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.left.get() + self.frames.borrow().len()
    }

    /// The channel is over: nothing is written any more, and the callbacks are told so.
    pub(super) fn abandon(&self, state: &Rc<State>) {
        self.forget();
        for callback in self.callbacks.take() {
            state.file(Incoming::Sent(callback, Err(Error::EPIPE)));
        }
        if let Some(prepare) = self.prepare.take() {
            prepare.close();
        }
    }

    fn forget(&self) {
        self.frames.take();
        self.behind.take();
        self.written.set(0);
        self.left.set(0);
    }

    /// Writes as much as the socket takes: everything, or less, or an error.
    fn write_some(&self, pipe: &crate::Pipe) -> Result<bool, Error> {
        let mut behind = self.behind.borrow_mut();
        while let Some(first) = behind.front() {
            let n = pipe.try_write(&first[self.written.get()..])?;
            self.left.set(self.left.get() - n);
            self.written.set(self.written.get() + n);
            if self.written.get() < first.len() {
                return Ok(false);
            }
            self.written.set(0);
            behind.pop_front();
        }
        let mut frames = self.frames.borrow_mut();
        if frames.is_empty() {
            return Ok(true);
        }
        let n = pipe.try_write(&frames)?;
        if n < frames.len() {
            self.written.set(n);
            self.left.set(frames.len() - n);
            behind.push_back(std::mem::take(&mut frames));
            return Ok(false);
        }
        frames.clear();
        if frames.capacity() > KEPT {
            *frames = Vec::new();
        }
        Ok(true)
    }

    /// Sets what would not go out aside, so that a buffer never grows for long.
    fn set_aside(&self) {
        let mut frames = self.frames.borrow_mut();
        if frames.len() >= ENOUGH {
            self.left.set(self.left.get() + frames.len());
            // As the next one will be as long.
            let next = Vec::with_capacity(frames.len().min(KEPT) + ENOUGH / 16);
            self.behind.borrow_mut().push_back(std::mem::replace(&mut frames, next));
        }
    }

    /// Takes everything out, in the order of writing.
    fn take(&self) -> Vec<Buf> {
        let mut all = self.behind.take();
        if let Some(first) = all.front_mut() {
            drop(first.drain(..self.written.get()));
        }
        all.push_back(self.frames.take());
        self.written.set(0);
        self.left.set(0);
        all.into_iter().filter(|frames| !frames.is_empty()).map(Buf::from).collect()
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
    let first = outbox.turn.replace(turn) != turn;
    let length = outbox.frames.borrow().len();
    if length > KEPT {
        // One that large is better not moved: the pipe's queue writes it from where it is.
        flush(state);
        return;
    }
    if first || length >= ENOUGH {
        try_out(state);
        outbox.set_aside();
    }
    if outbox.len() > 0 && !flush_later(state) {
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

/// Writes as much as the socket takes, and files what that completes.
fn try_out(state: &Rc<State>) {
    let outbox = &state.outgoing.outbox;
    let result = match outbox.write_some(&state.pipe) {
        Ok(false) | Err(Error::EAGAIN) => return,
        Ok(true) => Ok(()),
        Err(error) => {
            outbox.forget();
            Err(error)
        }
    };
    let callbacks = outbox.callbacks.take();
    done(state, callbacks, result);
}

/// Writes everything that waits, or gives it to the pipe's queue.
pub(super) fn flush(state: &Rc<State>) {
    let outbox = &state.outgoing.outbox;
    if (1..=KEPT).contains(&outbox.len()) {
        try_out(state);
    }
    if outbox.len() == 0 {
        return;
    }
    let bufs = outbox.take();
    let callbacks = outbox.callbacks.take();
    // Should the pipe refuse, the callbacks are still there.
    let callbacks = Rc::new(Cell::new(callbacks));
    let (later, writing) = (callbacks.clone(), state.clone());
    let queued = state.pipe.write_vectored(bufs, move |_, written| {
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
