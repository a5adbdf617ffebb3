//! Reading: into the loop's buffer or the caller's, until there is nothing left or it is enough.
//!
//! Invariant: after each callback the stream is looked at anew, because the callback may have
//! stopped it, closed it, or started it again with another closure.

use std::rc::Rc;

use super::node::{Flags, StreamNode};
use crate::error::{Error, Result};
use crate::handle::OnUnwind;

/// Reads per event, so that a stream that never dries up lets the others have their turn (libuv's
/// limit).
const READS_PER_EVENT: u32 = 32;

/// The size suggested to whoever supplies buffers (libuv's suggestion).
const SUGGESTED_SIZE: usize = 64 * 1024;

/// What a stream that reads has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// Bytes that have arrived, at least one; lent for the call.
    Data(&'a [u8]),
    /// The end: the peer has ended its writing side. Reading has stopped.
    Eof,
    /// Reading failed and has stopped; the stream is neither readable nor writable any more.
    Error(Error),
}

/// What a stream that reads into buffers of its user's has to say; each buffer comes back once.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadInto<B> {
    /// A buffer and how many bytes at its beginning have arrived, at least one.
    Data(B, usize),
    /// The end. Reading has stopped; the buffer, if one had been supplied, holds nothing.
    Eof(Option<B>),
    /// Reading failed and has stopped. `ENOBUFS` when the buffer supplied has no room.
    Error(Error, Option<B>),
}

/// What a read has left to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The buffer was filled: perhaps more.
    Perhaps,
    /// There was more room than bytes.
    Little,
    /// There was nothing (`EAGAIN`), and nothing has been reported.
    Nothing,
    /// The end, or an error: reading is over.
    Over,
}

impl Left {
    fn after(read: &Result<usize>, room: usize) -> Left {
        match read {
            Ok(0) => Left::Over,
            Ok(n) if *n < room => Left::Little,
            Ok(_) => Left::Perhaps,
            Err(Error::EAGAIN) => Left::Nothing,
            Err(_) => Left::Over,
        }
    }
}

/// Who is told. The two forms of `read_start` are its implementations.
pub(crate) trait Reader {
    /// Whether it has buffers of its own and reads by itself.
    fn supplies(&self) -> bool;

    /// Tells what a read has brought that was made for it, or that it is the end.
    fn tell(&mut self, node: &Rc<StreamNode>, read: Read<'_>);

    /// Makes one read into a buffer of its own and tells of it, after [`settle`]. The error `EAGAIN`
    /// is not told.
    fn read(&mut self, _node: &Rc<StreamNode>) -> Left {
        Left::Nothing
    }
}

/// Reads into the buffer of the loop.
pub(super) struct LoopBuffer<F>(pub(super) F);

impl<F: FnMut(&Rc<StreamNode>, Read<'_>)> Reader for LoopBuffer<F> {
    fn supplies(&self) -> bool {
        false
    }

    fn tell(&mut self, node: &Rc<StreamNode>, read: Read<'_>) {
        (self.0)(node, read);
    }
}

/// Reads into buffers that the user supplies.
pub(super) struct Supplied<B, S, F> {
    supply: S,
    callback: F,
    /// Supplied, and nothing read into it yet.
    waiting: Option<B>,
}

impl<B, S, F> Supplied<B, S, F> {
    pub(super) fn new(supply: S, callback: F) -> Supplied<B, S, F> {
        Supplied { supply, callback, waiting: None }
    }
}

impl<B, S, F> Reader for Supplied<B, S, F>
where
    B: AsMut<[u8]>,
    S: FnMut(&Rc<StreamNode>, usize) -> B,
    F: FnMut(&Rc<StreamNode>, ReadInto<B>),
{
    fn supplies(&self) -> bool {
        true
    }

    fn tell(&mut self, node: &Rc<StreamNode>, read: Read<'_>) {
        let buffer = self.waiting.take();
        match read {
            // Bytes are told of with the buffer that they are in.
            Read::Data(_) => {}
            Read::Eof => (self.callback)(node, ReadInto::Eof(buffer)),
            Read::Error(error) => (self.callback)(node, ReadInto::Error(error, buffer)),
        }
    }

    fn read(&mut self, node: &Rc<StreamNode>) -> Left {
        let mut buffer = match self.waiting.take() {
            Some(buffer) => buffer,
            None => (self.supply)(node, SUGGESTED_SIZE),
        };
        let size = buffer.as_mut().len();
        // Supplying is code of the user's, which may have stopped the stream.
        let stopped = !node.has(Flags::READING);
        let read = match size {
            _ if stopped => Err(Error::EAGAIN),
            0 => Err(Error::ENOBUFS),
            _ => node.read(buffer.as_mut()).map(|n| n.min(size)),
        };
        let left = Left::after(&read, size);
        settle(node, &read);
        match read {
            Err(Error::EAGAIN) => self.waiting = Some(buffer),
            Ok(0) => (self.callback)(node, ReadInto::Eof(Some(buffer))),
            Ok(n) => (self.callback)(node, ReadInto::Data(buffer, n)),
            Err(error) => (self.callback)(node, ReadInto::Error(error, Some(buffer))),
        }
        left
    }
}

pub(super) fn start(node: &Rc<StreamNode>, reader: Box<dyn Reader>) -> Result<()> {
    if node.base.is_closing() {
        return Err(Error::EINVAL);
    }
    node.base.lp().inner().usable()?;
    if node.has(Flags::READING) {
        return Err(Error::EALREADY);
    }
    if !node.is_readable() || !node.is_open() {
        return Err(Error::ENOTCONN);
    }
    node.put(Flags::READING, true);
    node.put(Flags::SUPPLIED, reader.supplies());
    if let Err(error) = node.watch() {
        node.put(Flags::READING, false);
        return Err(error);
    }
    node.base.activate();
    drop(node.reader.set(reader));
    Ok(())
}

/// Ends reading; the closure stays for the caller to drop.
fn leave(node: &StreamNode) {
    if node.has(Flags::READING) {
        node.put(Flags::READING, false);
        node.watch_less();
        node.base.deactivate();
    }
}

pub(super) fn stop(node: &Rc<StreamNode>) {
    leave(node);
    drop(node.reader.clear());
}

/// The descriptor is readable, has failed, or was hung up.
pub(super) fn ready(node: &Rc<StreamNode>, hung_up: bool) {
    // A flag of the stream and not of this call: a callback may put another descriptor in, which
    // was not hung up.
    if hung_up != node.has(Flags::HUNG_UP) {
        node.put(Flags::HUNG_UP, hung_up);
    }
    if !node.has(Flags::READING) {
        return;
    }
    // Whoever hands out events has asked whether the loop is halted.
    for _ in 0..READS_PER_EVENT {
        let left = read_once(node);
        if left != Left::Perhaps && !may_go_on(node, left) {
            return;
        }
        if !node.has(Flags::READING) || node.base.lp().inner().is_halted() {
            return;
        }
    }
}

/// Whether there may be more after a read that did not fill its buffer.
#[inline]
fn may_go_on(node: &Rc<StreamNode>, left: Left) -> bool {
    // Less than there was room for: that was all there is. After a hang-up it need not be: a socket
    // ends a read where descriptors were sent along, and nobody will wake us for the rest but this
    // event.
    if node.has(Flags::HUNG_UP) {
        return at_hang_up(node, left);
    }
    left == Left::Little && node.ipc().is_some_and(|ipc| ipc.was_cut_short())
}

#[inline(never)]
fn at_hang_up(node: &Rc<StreamNode>, left: Left) -> bool {
    // Whoever supplied the buffer may have halted the loop.
    let ended =
        left == Left::Nothing && node.has(Flags::READING) && !node.base.lp().inner().is_halted();
    if ended {
        // Nobody is left who could write more, and all has been read: that is the end.
        leave(node);
        node.base.lp().inner().counters.callback();
        call(node, |reader| reader.tell(node, Read::Eof));
    }
    left == Left::Little
}

/// One read, and its report.
#[inline]
fn read_once(node: &Rc<StreamNode>) -> Left {
    if node.has(Flags::SUPPLIED) {
        return read_into_own(node);
    }
    let lp = node.base.lp().inner();
    let mut buffer = lp.take_buffer();
    let size = buffer.len();
    let read = node.read(&mut buffer);
    let Ok(n @ 1..) = read else {
        lp.put_buffer(buffer);
        return without_bytes(node, read);
    };
    lp.counters.callback();
    call(node, |reader| reader.tell(node, Read::Data(&buffer[..n.min(size)])));
    lp.put_buffer(buffer);
    if n < size { Left::Little } else { Left::Perhaps }
}

/// A read that has brought nothing: what there is to tell, is told.
#[inline(never)]
fn without_bytes(node: &Rc<StreamNode>, read: Result<usize>) -> Left {
    let event = match read {
        Err(Error::EAGAIN) => return Left::Nothing,
        Err(error) => Read::Error(error),
        Ok(_) => Read::Eof,
    };
    settle(node, &read);
    call(node, |reader| reader.tell(node, event));
    Left::Over
}

#[inline(never)]
fn read_into_own(node: &Rc<StreamNode>) -> Left {
    let mut left = Left::Nothing;
    call(node, |reader| left = reader.read(node));
    left
}

/// Brings the stream into the state that a read has led to, before the user hears of it.
#[inline]
fn settle(node: &StreamNode, read: &Result<usize>) {
    match read {
        Ok(1..) => {}
        Err(Error::EAGAIN) => return,
        // A buffer without room says nothing about the descriptor.
        over => end(node, matches!(over, Ok(_) | Err(Error::ENOBUFS))),
    }
    node.base.lp().inner().counters.callback();
}

#[cold]
fn end(node: &StreamNode, still_good: bool) {
    leave(node);
    if !still_good {
        node.give_up();
    }
}

/// Calls the closure; if it is over afterwards, drops it.
#[inline]
fn call(node: &Rc<StreamNode>, run: impl FnOnce(&mut (dyn Reader + 'static))) {
    let stopping = OnUnwind::new(|| stop(node));
    node.reader.call(run);
    stopping.passed();
    if !node.has(Flags::READING) {
        drop(node.reader.clear());
    }
}
