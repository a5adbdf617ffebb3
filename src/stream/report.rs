//! Requests that are over: their callbacks, and the requests that wait for others, connect and
//! shutdown.
//!
//! Invariants: callbacks are called from `run` only and in the order of the requests; a request is
//! counted until its callback has been called. A panic in one leaves the others to the next turn.

use std::rc::Rc;

use super::node::{Flags, StreamNode};
use super::write;
use super::writing::{Done, Request, ResultCallback, Writing, Written, writing};
use crate::error::{Error, Result};
use crate::handle::OnUnwind;
use crate::sys::{socket, unix_socket};

/// Calls the callbacks of what is done by now, then sees what the empty queue makes possible.
pub(super) fn report(node: &Rc<StreamNode>) {
    let Some(writing) = node.writing.get() else { return };
    let again = OnUnwind::new(|| node.base.lp().inner().enqueue_pending(&node.base));
    report_connect(node, writing);
    // What the callbacks complete is for the next round.
    let round = writing.done.borrow().len();
    for _ in 0..round {
        let done = writing.done.borrow_mut().pop_front();
        let Some(done) = done else { break };
        call(node, done);
    }
    if writing.is_idle() && writing.done.borrow().is_empty() && !node.base.is_closing() {
        if let Some(callback) = writing.shutdown.take() {
            call(node, Done::Other(callback, end_writing(node)));
        }
        // Drained means that there may be more, which after a shutdown or a close there may not.
        let may_write = node.is_writable() && !node.base.lp().inner().is_halted();
        if writing.over.get() && writing.is_idle() && may_write {
            writing.over.set(false);
            node.base.lp().inner().counters.callback();
            let stopping = OnUnwind::new(|| drop(writing.drain.clear()));
            writing.drain.call(|drain| drain(node));
            stopping.passed();
        }
    }
    again.passed();
}

/// Calls one callback, unless the loop is halted; the request is over whether it returns, panics or
/// is not called.
fn call(node: &Rc<StreamNode>, done: Done) {
    struct Ended<'a>(&'a StreamNode);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.base.request_ended();
        }
    }
    let _ended = Ended(node);
    let lp = node.base.lp().inner();
    if lp.is_halted() {
        return;
    }
    lp.counters.callback();
    match done {
        Done::Write(callback, written) => callback(node, written),
        Done::Other(callback, result) => callback(node, result),
    }
}

fn report_connect(node: &Rc<StreamNode>, writing: &Writing) {
    if node.has(Flags::WANTS_ROOM) && node.has(Flags::CONNECTING) {
        // Still in progress.
        return;
    }
    let Some((callback, result)) = writing.connect.take() else { return };
    node.put(Flags::CONNECTING, false);
    if result.is_err() {
        node.give_up();
        fail_queue(node, writing, Error::ECANCELED);
        if let Some(callback) = writing.shutdown.take() {
            // shutdown(2) would say that it is done: a Unix socket need not be connected for it.
            let cancelled = Done::Other(callback, Err(Error::ECANCELED));
            writing.done.borrow_mut().push_back(cancelled);
        }
    } else {
        write::write_queued(node, writing);
    }
    // The writes that waited come after the connect, in the next round.
    if !writing.done.borrow().is_empty() {
        node.base.lp().inner().enqueue_pending(&node.base);
    }
    call(node, Done::Other(callback, result));
}

/// Ends the writing side: shutdown(2) for a socket, close(2) for a pipe.
fn end_writing(node: &StreamNode) -> Result<()> {
    if node.has(Flags::FIFO) {
        if node.has(Flags::READING) {
            return Err(Error::ENOTSUP);
        }
        drop(node.detach());
        return Ok(());
    }
    if node.is_master() {
        // What ends the input was written with the rest.
        return Ok(());
    }
    node.with_fd(unix_socket::shutdown_write)
}

/// A request is over: its callback is to be called, or its error kept.
pub(super) fn complete(node: &StreamNode, writing: &Writing, request: Request, result: Result<()>) {
    let written = Written { bytes: request.written, result };
    if let Some(callback) = request.callback {
        writing.done.borrow_mut().push_back(Done::Write(callback, written));
        return;
    }
    if let Err(error) = result
        && writing.error.get().is_none()
    {
        writing.error.set(Some(error));
    }
    node.base.request_ended();
}

/// Completes everything in the queue with an error.
fn fail_queue(node: &StreamNode, writing: &Writing, error: Error) {
    loop {
        let request = writing.queue.borrow_mut().pop_front();
        let Some(request) = request else { break };
        complete(node, writing, request, Err(error));
    }
    writing.queued_bytes.set(0);
}

/// The stream is closed: everything in flight is called back, in order, with `ECANCELED` for what
/// was not done.
pub(super) fn cancel_all(node: &Rc<StreamNode>) {
    let Some(writing) = node.writing.get() else { return };
    if let Some((callback, _)) = writing.connect.take() {
        node.put(Flags::CONNECTING, false);
        call(node, Done::Other(callback, Err(Error::ECANCELED)));
    }
    fail_queue(node, writing, Error::ECANCELED);
    loop {
        let done = writing.done.borrow_mut().pop_front();
        let Some(done) = done else { break };
        call(node, done);
    }
    if let Some(callback) = writing.shutdown.take() {
        call(node, Done::Other(callback, Err(Error::ECANCELED)));
    }
    drop(writing.drain.clear());
}

/// A connect that was in progress has been decided.
pub(super) fn connect_ready(node: &Rc<StreamNode>) {
    let Some(writing) = node.writing.get() else { return };
    if !node.has(Flags::WANTS_ROOM) {
        return;
    }
    node.put(Flags::WANTS_ROOM, false);
    node.watch_less();
    let result = node.with_fd(socket::take_error);
    if let Some((callback, _)) = writing.connect.take() {
        writing.connect.set(Some((callback, result)));
        report(node);
    }
}

/// A connect has begun and will be decided when there is room to write.
pub(super) fn connecting(node: &Rc<StreamNode>, callback: ResultCallback) -> Result<()> {
    node.put(Flags::CONNECTING | Flags::WANTS_ROOM, true);
    if let Err(error) = node.watch() {
        node.put(Flags::CONNECTING | Flags::WANTS_ROOM, false);
        return Err(error);
    }
    writing(node).connect.set(Some((callback, Err(Error::ECANCELED))));
    node.base.request_started();
    Ok(())
}

/// Files the outcome of a connect, to be reported in the pending phase.
pub(super) fn connected(node: &Rc<StreamNode>, callback: ResultCallback, result: Result<()>) {
    node.put(Flags::CONNECTING, true);
    writing(node).connect.set(Some((callback, result)));
    node.base.request_started();
    node.base.lp().inner().enqueue_pending(&node.base);
}

pub(super) fn shutdown(node: &Rc<StreamNode>, callback: ResultCallback) -> Result<()> {
    node.base.lp().inner().usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    if !node.is_writable() || node.has(Flags::SHUT) {
        return Err(Error::ENOTCONN);
    }
    node.put(Flags::SHUT, true);
    node.put(Flags::WRITABLE, false);
    let writing = writing(node);
    writing.shutdown.set(Some(callback));
    node.base.request_started();
    if writing.is_idle() {
        node.base.lp().inner().enqueue_pending(&node.base);
    }
    Ok(())
}
