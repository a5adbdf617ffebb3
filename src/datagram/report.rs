//! Sends that are over: their callbacks, and the requests that wait for others, connect and shutdown.
//!
//! Invariants: callbacks are called from `run` only and in the order of the sends; a send stops
//! counting right before its callback. A panic in one leaves the others to the next turn.

use std::rc::Rc;

use super::send::{Done, Queued, Request, SendCallback, Sending, end, flush};
use super::{DatagramNode, Flags};
use crate::error::{Error, Result};
use crate::handle::OnUnwind;
use crate::sys::unix_socket;

/// Calls the callbacks of what is done by now.
pub(super) fn report(node: &Rc<DatagramNode>) {
    let Some(sending) = node.sending.get() else { return };
    if sending.again.take() {
        flush(node, sending);
    }
    let again = OnUnwind::new(|| node.base.lp().inner().enqueue_pending(&node.base));
    // What the callbacks complete is for the next round.
    let round = sending.done.borrow().len();
    for _ in 0..round {
        let done = sending.done.borrow_mut().pop_front();
        let Some(done) = done else { break };
        call(node, sending, done);
    }
    let idle = sending.count.get() == 0 && sending.done.borrow().is_empty();
    if idle
        && !node.base.is_closing()
        && let Some(callback) = sending.shutdown.take()
    {
        let result = node.with_fd(unix_socket::shutdown_write);
        call(node, sending, Done::Connect(callback, result));
    }
    again.passed();
}

/// Ends a request and calls its callback, unless the loop is halted.
fn call(node: &Rc<DatagramNode>, sending: &Sending, done: Done) {
    let (callback, result) = match done {
        Done::Send(callback, total, result) => {
            if callback.is_none()
                && let Err(error) = result
                && sending.error.get().is_none()
            {
                sending.error.set(Some(error));
            }
            end(node, sending, total);
            (callback, result)
        }
        Done::Connect(callback, result) => {
            node.base.request_ended();
            (Some(callback), result)
        }
    };
    let lp = node.base.lp().inner();
    if let Some(callback) = callback
        && !lp.is_halted()
    {
        lp.counters.callback();
        callback(node, result);
    }
}

/// The handle is closed: everything in flight is called back, in order, with `ECANCELED` for what
/// was not done.
pub(super) fn cancel_all(node: &Rc<DatagramNode>) {
    let Some(sending) = node.sending.get() else { return };
    loop {
        let done = sending.done.borrow_mut().pop_front();
        let done = match done {
            Some(Done::Connect(callback, _)) => Done::Connect(callback, Err(Error::ECANCELED)),
            Some(done) => done,
            None => break,
        };
        call(node, sending, done);
    }
    loop {
        let queued = sending.queue.borrow_mut().pop_front();
        let Some(Queued { request, total }) = queued else { break };
        let Request { callback, bufs, descriptors, .. } = request;
        call(node, sending, Done::Send(callback, total, Err(Error::ECANCELED)));
        drop((bufs, descriptors));
    }
    if let Some(callback) = sending.shutdown.take() {
        call(node, sending, Done::Connect(callback, Err(Error::ECANCELED)));
    }
}

/// Files the outcome of a connect, to be reported in the pending phase.
pub(crate) fn connected(node: &Rc<DatagramNode>, callback: SendCallback, result: Result<()>) {
    node.sending().done.borrow_mut().push_back(Done::Connect(callback, result));
    node.base.request_started();
    node.base.lp().inner().enqueue_pending(&node.base);
}

/// Ends the sending side when everything in flight has been reported.
pub(crate) fn shutdown(node: &Rc<DatagramNode>, callback: SendCallback) -> Result<()> {
    node.usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    if !node.has(Flags::CONNECTED) || node.has(Flags::SHUT) {
        return Err(Error::ENOTCONN);
    }
    node.put(Flags::SHUT, true);
    node.sending().shutdown.set(Some(callback));
    node.base.request_started();
    node.base.lp().inner().enqueue_pending(&node.base);
    Ok(())
}
