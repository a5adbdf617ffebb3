//! The state of a stream's writing side: what is queued, what is done, what waits for either.
//!
//! Invariants: the queue's size is that of the bytes in it that have not been written; a completed
//! request belongs to the stream until its callback is called.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::buf::Bufs;
use super::node::StreamNode;
use super::sealed::AsStream;
use crate::error::{Error, Result};
use crate::handle::Slot;

/// The high-water mark that a stream begins with, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// Names a write that was given a callback, among those of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId(pub(super) u64);

impl WriteId {
    /// The number of the write: the first of a stream is 0, the next 1.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The write of that number.
    #[must_use]
    pub const fn from_u64(number: u64) -> WriteId {
        WriteId(number)
    }
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes that were written; all of them unless `result` is an error.
    pub bytes: usize,
    /// `ECANCELED` when the stream was closed or the write cancelled, else what writing said.
    pub result: Result<()>,
}

pub(super) type WriteCallback = Box<dyn FnOnce(&Rc<StreamNode>, Written)>;

pub(super) type DrainCallback = dyn FnMut(&Rc<StreamNode>);

pub(super) type ResultCallback = Box<dyn FnOnce(&Rc<StreamNode>, Result<()>)>;

/// Fits a callback that wants the public type.
pub(super) fn callback<S: AsStream>(callback: impl FnOnce(&S, Written) + 'static) -> WriteCallback {
    Box::new(move |node, written| callback(&S::from_stream(node.clone()), written))
}

pub(super) struct Request {
    pub(super) id: WriteId,
    pub(super) bufs: Bufs,
    /// To travel with the first byte; empty once they have.
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) total: usize,
    pub(super) written: usize,
    pub(super) callback: Option<WriteCallback>,
}

/// A completed request whose callback is to be called.
pub(super) enum Done {
    Write(WriteCallback, Written),
    Other(ResultCallback, Result<()>),
}

/// The writing side of a stream.
pub(crate) struct Writing {
    pub(super) queue: RefCell<VecDeque<Request>>,
    pub(super) done: RefCell<VecDeque<Done>>,
    pub(super) queued_bytes: Cell<usize>,
    pub(super) next_id: Cell<u64>,
    pub(super) high_water: Cell<usize>,
    /// The mark was reached and the queue has not been empty since.
    pub(super) over: Cell<bool>,
    pub(super) drain: Slot<DrainCallback>,
    /// Waits for the queue to run empty.
    pub(super) shutdown: Cell<Option<ResultCallback>>,
    /// Has been decided; waits for its turn.
    pub(super) connect: Cell<Option<(ResultCallback, Result<()>)>>,
    /// The first error of a write that nobody waited for.
    pub(super) error: Cell<Option<Error>>,
}

impl Writing {
    fn new() -> Writing {
        Writing {
            queue: RefCell::default(),
            done: RefCell::default(),
            queued_bytes: Cell::new(0),
            next_id: Cell::new(0),
            high_water: Cell::new(HIGH_WATER),
            over: Cell::new(false),
            drain: Slot::empty(),
            shutdown: Cell::new(None),
            connect: Cell::new(None),
            error: Cell::new(None),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    pub(super) fn has_shutdown(&self) -> bool {
        let shutdown = self.shutdown.take();
        let has = shutdown.is_some();
        self.shutdown.set(shutdown);
        has
    }

    fn has_connect(&self) -> bool {
        let connect = self.connect.take();
        let has = connect.is_some();
        self.connect.set(connect);
        has
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.is_idle()
            || !self.done.borrow().is_empty()
            || self.has_shutdown()
            || self.has_connect()
    }

    /// Drops everything without a call: the loop is gone.
    pub(super) fn discard(&self) {
        let queue = self.queue.take();
        let done = self.done.take();
        self.queued_bytes.set(0);
        drop((queue, done, self.shutdown.take(), self.connect.take(), self.drain.clear()));
    }
}

pub(super) fn writing(node: &StreamNode) -> &Writing {
    node.writing.get_or_init(|| Box::new(Writing::new()))
}

pub(super) fn progress(node: &StreamNode, id: WriteId) -> Option<usize> {
    let queue = node.writing.get()?.queue.borrow();
    queue.iter().find(|request| request.id == id).map(|request| request.written)
}

pub(super) fn queue_size(node: &StreamNode) -> usize {
    node.writing.get().map_or(0, |writing| writing.queued_bytes.get())
}

pub(super) fn take_error(node: &StreamNode) -> Option<Error> {
    node.writing.get().and_then(|writing| writing.error.take())
}

pub(super) fn set_high_water_mark(node: &StreamNode, bytes: usize) {
    writing(node).high_water.set(bytes);
}

pub(super) fn wants_drain(node: &StreamNode) -> bool {
    node.writing.get().is_some_and(|writing| writing.over.get())
}

pub(super) fn on_drain(node: &StreamNode, drain: Box<DrainCallback>) -> Result<()> {
    if node.base.is_closing() {
        return Err(Error::EINVAL);
    }
    drop(writing(node).drain.set(drain));
    Ok(())
}
