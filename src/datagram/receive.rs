//! Receiving: into the loop's buffer or the caller's, one message or several at a time.
//!
//! Invariant: after each callback the handle is looked at anew, because the callback may have
//! stopped it, closed it, or started it again with another closure. Messages of a batch that wait
//! then are lost, as datagrams may be.

use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use super::{DatagramNode, Flags};
use crate::error::{Error, Result};
use crate::handle::{HandleKind, OnUnwind};
use crate::sys::datagram::{self, Headers, MESSAGES_PER_CALL, Received};

/// Messages per event of a socket that takes them one by one, so that a flood lets others have
/// their turn (libuv's limit).
const MESSAGES_PER_EVENT: usize = 32;

/// Messages per event of a socket that takes them in batches, where one costs a fraction: four
/// full calls.
const BATCHED_PER_EVENT: usize = 4 * MESSAGES_PER_CALL;

/// From one place in a buffer of ours for a batch to the next. Were it a power of two, the beginnings
/// of all messages would compete for the same few lines of the processor's first cache.
const STRIDE: usize = MESSAGE_SIZE + 192;

/// The largest message there is: an IP datagram's length has 16 bits. libuv suggests as much to
/// whoever supplies buffers, and cuts buffers for batches into pieces of this size.
const MESSAGE_SIZE: usize = 64 * 1024;

/// What a socket that receives has to say.
pub(crate) enum Event<'a> {
    Message(&'a [u8], Received),
    Error(Error),
    End,
}

/// As [`Event`], of buffers of the user's.
pub(crate) enum EventInto<'a, B> {
    Message(B, usize, Received),
    /// One of several messages in the buffer.
    Piece(&'a mut B, Range<usize>, Received),
    /// Nothing (more) was received into it.
    Unused(B),
    Error(Error, Option<B>),
    End(B),
}

/// What became of one attempt.
pub(crate) enum Outcome {
    /// So many messages came, and there may be more.
    More(usize),
    /// So many came, and that was all when they were fetched.
    All(usize),
    Nothing,
}

/// Where messages go and who is told. The two forms of `recv_start` are its implementations.
pub(crate) trait Receiver {
    /// Receives with one call and reports what came.
    fn receive(&mut self, node: &Rc<DatagramNode>, queue: bool) -> Outcome;
}

/// Receives into the buffer of the loop, or for batches into one of its own.
pub(crate) struct LoopBuffer<F> {
    callback: F,
    batch: Option<Batch>,
}

/// What a batch is received with.
struct Batch {
    bytes: Vec<u8>,
    headers: Box<Headers>,
}

impl<F> LoopBuffer<F> {
    pub(crate) fn new(callback: F) -> LoopBuffer<F> {
        LoopBuffer { callback, batch: None }
    }
}

impl<F: FnMut(&Rc<DatagramNode>, Event<'_>)> LoopBuffer<F> {
    fn tell(&mut self, node: &Rc<DatagramNode>, bytes: &[u8], received: Received) {
        node.base.lp().inner().counters.callback();
        (self.callback)(node, Event::Message(bytes, received));
    }

    fn fail(&mut self, node: &Rc<DatagramNode>, error: Error) -> Outcome {
        if error != Error::EAGAIN {
            node.base.lp().inner().counters.callback();
            (self.callback)(node, Event::Error(error));
        }
        Outcome::Nothing
    }
}

impl<F: FnMut(&Rc<DatagramNode>, Event<'_>)> Receiver for LoopBuffer<F> {
    fn receive(&mut self, node: &Rc<DatagramNode>, queue: bool) -> Outcome {
        if node.has(Flags::BATCHES) {
            return self.receive_many(node, queue);
        }
        let lp = node.base.lp().inner();
        let rights = node.kind_of_handle() != HandleKind::Udp;
        let mut buffer = lp.take_buffer();
        let outcome = match node.with_fd(|fd| datagram::receive(fd, &mut buffer, queue, rights)) {
            Ok(received) if is_end(node, &received) => {
                leave(node);
                lp.counters.callback();
                (self.callback)(node, Event::End);
                Outcome::Nothing
            }
            Ok(received) => {
                let length = received.bytes.min(buffer.len());
                self.tell(node, &buffer[..length], received);
                Outcome::More(1)
            }
            Err(error) => self.fail(node, error),
        };
        lp.put_buffer(buffer);
        outcome
    }
}

impl<F: FnMut(&Rc<DatagramNode>, Event<'_>)> LoopBuffer<F> {
    fn receive_many(&mut self, node: &Rc<DatagramNode>, queue: bool) -> Outcome {
        let mut batch = self.batch.take().unwrap_or_else(|| Batch {
            // Zeroed memory of this size is mapped, and only what is received into takes any.
            bytes: vec![0; MESSAGES_PER_CALL * STRIDE],
            headers: Box::new(Headers::new()),
        });
        let Batch { bytes, headers } = &mut batch;
        let count = match node.with_fd(|fd| headers.receive(fd, bytes, STRIDE, queue)) {
            Ok(count) => count,
            Err(error) => {
                self.batch = Some(batch);
                return self.fail(node, error);
            }
        };
        let start = node.starts.get();
        for at in 0..count {
            if !still_goes_on(node, start) {
                break;
            }
            let Some(message) = headers.received(at) else { break };
            let from = at * STRIDE;
            let length = message.bytes.min(STRIDE);
            self.tell(node, &bytes[from..from + length], message);
        }
        self.batch = Some(batch);
        if count < MESSAGES_PER_CALL { Outcome::All(count) } else { Outcome::More(count) }
    }
}

/// Receives into buffers that the user supplies.
pub(crate) struct Supplied<B, S, F> {
    supply: S,
    callback: F,
    headers: Option<Box<Headers>>,
    buffers: PhantomData<fn() -> B>,
}

impl<B, S, F> Supplied<B, S, F>
where
    S: FnMut(&Rc<DatagramNode>, usize) -> B,
{
    pub(crate) fn new(supply: S, callback: F) -> Supplied<B, S, F> {
        Supplied { supply, callback, headers: None, buffers: PhantomData }
    }
}

impl<B, S, F> Receiver for Supplied<B, S, F>
where
    B: AsMut<[u8]>,
    S: FnMut(&Rc<DatagramNode>, usize) -> B,
    F: FnMut(&Rc<DatagramNode>, EventInto<'_, B>),
{
    fn receive(&mut self, node: &Rc<DatagramNode>, queue: bool) -> Outcome {
        let lp = node.base.lp().inner();
        let start = node.starts.get();
        let mut buffer = (self.supply)(node, MESSAGE_SIZE);
        lp.counters.callback();
        let size = buffer.as_mut().len();
        // Supplying is code of the user's, which may have stopped the socket.
        if !still_goes_on(node, start) {
            (self.callback)(node, EventInto::Unused(buffer));
            return Outcome::Nothing;
        }
        if size == 0 {
            (self.callback)(node, EventInto::Error(Error::ENOBUFS, Some(buffer)));
            return Outcome::Nothing;
        }
        if node.has(Flags::BATCHES) {
            return self.receive_many(node, buffer, queue);
        }
        let rights = node.kind_of_handle() != HandleKind::Udp;
        match node.with_fd(|fd| datagram::receive(fd, buffer.as_mut(), queue, rights)) {
            Ok(received) if is_end(node, &received) => {
                leave(node);
                (self.callback)(node, EventInto::End(buffer));
                Outcome::Nothing
            }
            Ok(received) => {
                let length = received.bytes.min(size);
                (self.callback)(node, EventInto::Message(buffer, length, received));
                Outcome::More(1)
            }
            Err(error) => self.fail(node, error, buffer),
        }
    }
}

impl<B, S, F> Supplied<B, S, F>
where
    B: AsMut<[u8]>,
    F: FnMut(&Rc<DatagramNode>, EventInto<'_, B>),
{
    fn fail(&mut self, node: &Rc<DatagramNode>, error: Error, buffer: B) -> Outcome {
        match error {
            Error::EAGAIN => (self.callback)(node, EventInto::Unused(buffer)),
            error => (self.callback)(node, EventInto::Error(error, Some(buffer))),
        }
        Outcome::Nothing
    }

    fn receive_many(&mut self, node: &Rc<DatagramNode>, mut buffer: B, queue: bool) -> Outcome {
        let room = buffer.as_mut().len() / MESSAGE_SIZE;
        let headers = self.headers.get_or_insert_with(|| Box::new(Headers::new()));
        let result = node.with_fd(|fd| headers.receive(fd, buffer.as_mut(), MESSAGE_SIZE, queue));
        let count = match result {
            Ok(count) => count,
            Err(error) => return self.fail(node, error, buffer),
        };
        let start = node.starts.get();
        for at in 0..count {
            if !still_goes_on(node, start) {
                break;
            }
            let Some(message) = headers.received(at) else { break };
            let from = at * MESSAGE_SIZE;
            let range = from..from + message.bytes.min(MESSAGE_SIZE);
            (self.callback)(node, EventInto::Piece(&mut buffer, range, message));
        }
        // Whoever supplied it gets it back, whatever has become of the rest.
        (self.callback)(node, EventInto::Unused(buffer));
        if count < room.min(MESSAGES_PER_CALL) { Outcome::Nothing } else { Outcome::More(count) }
    }
}

/// Of a connection, a message of no bytes is one if it brings credentials, as all messages do; the
/// end brings nothing.
fn is_end(node: &DatagramNode, received: &Received) -> bool {
    node.has(Flags::HAS_END) && received.bytes == 0 && received.credentials.is_none()
}

fn goes_on(node: &DatagramNode) -> bool {
    node.has(Flags::RECEIVING) && !node.base.lp().inner().is_halted()
}

/// Whether the closure that was started as the `start`th is still to be called.
fn still_goes_on(node: &DatagramNode, start: u32) -> bool {
    goes_on(node) && node.starts.get() == start
}

pub(crate) fn start(node: &Rc<DatagramNode>, receiver: Box<dyn Receiver>) -> Result<()> {
    node.usable()?;
    if node.has(Flags::RECEIVING) {
        return Err(Error::EALREADY);
    }
    node.put(Flags::RECEIVING, true);
    if let Err(error) = node.watch() {
        node.put(Flags::RECEIVING, false);
        return Err(error);
    }
    node.starts.set(node.starts.get().wrapping_add(1));
    node.update_active();
    drop(node.receiver.set(receiver));
    Ok(())
}

/// Ends receiving; the closure stays for the caller to drop.
fn leave(node: &DatagramNode) {
    if node.has(Flags::RECEIVING) {
        node.put(Flags::RECEIVING, false);
        node.watch_less();
        node.update_active();
    }
}

pub(crate) fn stop(node: &Rc<DatagramNode>) {
    leave(node);
    drop(node.receiver.clear());
}

/// The descriptor is readable or has failed. `failed` asks for the errors that the kernel has kept,
/// too, after the messages (libuv's order).
pub(super) fn ready(node: &Rc<DatagramNode>, failed: bool) {
    let most = if node.has(Flags::BATCHES) { BATCHED_PER_EVENT } else { MESSAGES_PER_EVENT };
    for queue in [false, true] {
        let mut left = if queue && !failed { 0 } else { most };
        let mut asked_again = false;
        while left > 0 && goes_on(node) {
            let outcome = receive_once(node, queue);
            if std::mem::take(&mut asked_again) {
                node.again.was(!matches!(outcome, Outcome::Nothing));
            }
            match outcome {
                Outcome::More(count) => left = left.saturating_sub(count),
                Outcome::All(count) if !queue && node.again.pays() => {
                    left = left.saturating_sub(count);
                    asked_again = true;
                }
                Outcome::All(_) | Outcome::Nothing => break,
            }
        }
    }
}

fn receive_once(node: &Rc<DatagramNode>, queue: bool) -> Outcome {
    let mut outcome = Outcome::Nothing;
    let stopping = OnUnwind::new(|| stop(node));
    node.receiver.call(|receiver| outcome = receiver.receive(node, queue));
    stopping.passed();
    if !node.has(Flags::RECEIVING) {
        drop(node.receiver.clear());
    }
    outcome
}
