//! Writing: at once what the descriptor takes, the rest in a queue; connect and shutdown requests.
//!
//! Invariants: callbacks are called from `run` only and in the order of the requests; a request is
//! counted from its start until its callback has been called; the queue's size is that of the
//! bytes in it that have not been written. Completed requests belong to the stream until their
//! callback is called, so that a panic in one leaves the others to the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::buf::Bufs;
use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use crate::error::{Error, Result};
use crate::handle::{OnUnwind, Slot};
use crate::sys::{ancillary, socket, unix_socket};

/// Write calls per event; the rest waits for the next turn (libuv's starvation guard).
const WRITES_PER_EVENT: u32 = 32;

/// Slices handed to the kernel in one call. It takes up to 1024 (`UIO_MAXIOV`); this many fit a
/// cache-friendly array on the stack.
const SLICES_PER_CALL: usize = 64;

/// Buffers in one write (libuv's limit).
const MOST_BUFFERS: usize = 1 << 20;

/// Descriptors in one write.
const MOST_DESCRIPTORS: usize = ancillary::MOST_DESCRIPTORS;

/// The high-water mark that a stream begins with, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// Names a write that was given a callback, among those of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId(u64);

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

struct Request {
    id: WriteId,
    bufs: Bufs,
    /// To travel with the first byte; empty once they have.
    descriptors: Vec<OwnedFd>,
    total: usize,
    written: usize,
    callback: Option<WriteCallback>,
}

/// A completed request whose callback is to be called.
enum Done {
    Write(WriteCallback, Written),
    Other(ResultCallback, Result<()>),
}

/// The writing side of a stream.
pub(crate) struct Writing {
    queue: RefCell<VecDeque<Request>>,
    done: RefCell<VecDeque<Done>>,
    queued_bytes: Cell<usize>,
    next_id: Cell<u64>,
    high_water: Cell<usize>,
    /// The mark was reached and the queue has not been empty since.
    over: Cell<bool>,
    drain: Slot<DrainCallback>,
    /// Waits for the queue to run empty.
    shutdown: Cell<Option<ResultCallback>>,
    /// Has been decided; waits for its turn.
    connect: Cell<Option<(ResultCallback, Result<()>)>>,
    /// The first error of a write that nobody waited for.
    error: Cell<Option<Error>>,
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

    fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    fn has_shutdown(&self) -> bool {
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

/// Fills `slices` from the requests, and returns how many slices and bytes that makes.
fn gather<'a>(
    queue: impl Iterator<Item = &'a Request>,
    slices: &mut [IoSlice<'a>],
) -> (usize, usize) {
    let (mut used, mut bytes) = (0, 0);
    for (place, request) in queue.enumerate() {
        // Descriptors travel with the first byte of a call, so their request begins one.
        if place > 0 && !request.descriptors.is_empty() {
            break;
        }
        let mut skip = request.written;
        for buf in request.bufs.as_slice() {
            let all = buf.as_ref();
            let rest = all.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(all.len());
            if rest.is_empty() {
                continue;
            }
            let Some(slice) = slices.get_mut(used) else { return (used, bytes) };
            *slice = IoSlice::new(rest);
            used += 1;
            bytes += rest.len();
        }
    }
    (used, bytes)
}

/// One write call for the requests; bytes written and bytes offered.
fn write_once<'a>(
    node: &StreamNode,
    queue: impl Iterator<Item = &'a Request>,
) -> (Result<usize>, usize) {
    let mut slices = [IoSlice::new(&[]); SLICES_PER_CALL];
    let mut queue = queue.peekable();
    let descriptors = queue.peek().map_or([].as_slice(), |first| first.descriptors.as_slice());
    let (used, offered) = gather(queue, &mut slices);
    if offered == 0 {
        return (Ok(0), 0);
    }
    let slices = &slices[..used];
    let wrote = match descriptors {
        [] => node.write(slices),
        _ => node.with_fd(|fd| ancillary::send(fd, slices, descriptors)),
    };
    (wrote, offered)
}

pub(super) fn start(
    node: &Rc<StreamNode>,
    bufs: Bufs,
    callback: Option<WriteCallback>,
) -> Result<WriteId> {
    start_with(node, bufs, Vec::new(), callback)
}

pub(super) fn start_with(
    node: &Rc<StreamNode>,
    bufs: Bufs,
    descriptors: Vec<OwnedFd>,
    callback: Option<WriteCallback>,
) -> Result<WriteId> {
    node.base.lp().inner().usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    if !node.is_writable() {
        return Err(Error::EPIPE);
    }
    if !(1..=MOST_BUFFERS).contains(&bufs.as_slice().len()) {
        return Err(Error::EINVAL);
    }
    let total = bufs.total().ok_or(Error::EINVAL)?;
    let carries = !descriptors.is_empty();
    if carries && (node.ipc.get().is_none() || total == 0 || descriptors.len() > MOST_DESCRIPTORS) {
        return Err(Error::EINVAL);
    }
    let writing = writing(node);
    let id = WriteId(writing.next_id.get());
    let mut request = Request { id, bufs, descriptors, total, written: 0, callback };
    let mut outcome = Ok(());
    if writing.is_idle() && !node.has(Flags::CONNECTING) {
        match write_once(node, std::iter::once(&request)) {
            (Ok(n), _) => {
                request.written = n;
                if n > 0 {
                    drop(std::mem::take(&mut request.descriptors));
                }
            }
            (Err(Error::EAGAIN), _) => {}
            (Err(error), _) => outcome = Err(error),
        }
    }
    if outcome.is_err() && request.callback.is_none() {
        return outcome.map(|()| id);
    }
    writing.next_id.set(id.0 + 1);
    if outcome.is_ok() && request.written < total {
        return enqueue(node, writing, request).map(|()| id);
    }
    if request.callback.is_some() {
        node.base.request_started();
        complete(node, writing, request, outcome);
        node.base.lp().inner().enqueue_pending(&node.base);
    }
    Ok(id)
}

/// Queues what is left of a request and waits for room.
fn enqueue(node: &Rc<StreamNode>, writing: &Writing, request: Request) -> Result<()> {
    let size = writing.queued_bytes.get() + (request.total - request.written);
    writing.queued_bytes.set(size);
    if size >= writing.high_water.get() {
        writing.over.set(true);
    }
    writing.queue.borrow_mut().push_back(request);
    node.base.request_started();
    if node.has(Flags::CONNECTING) {
        return Ok(());
    }
    node.put(Flags::WANTS_ROOM, true);
    let watched = node.watch();
    if let Err(error) = watched {
        node.put(Flags::WANTS_ROOM, false);
        let request = writing.queue.borrow_mut().pop_back();
        if let Some(request) = request {
            writing.queued_bytes.set(size - (request.total - request.written));
            drop(request);
            node.base.request_ended();
        }
        return Err(error);
    }
    Ok(())
}

/// A request is over: its callback is to be called, or its error kept.
fn complete(node: &StreamNode, writing: &Writing, request: Request, result: Result<()>) {
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

/// There is room, or the descriptor has failed: writes what it takes, then reports.
pub(super) fn ready(node: &Rc<StreamNode>) {
    if node.has(Flags::CONNECTING) {
        return;
    }
    if let Some(writing) = node.writing.get() {
        write_queued(node, writing);
        report(node);
    }
}

fn write_queued(node: &Rc<StreamNode>, writing: &Writing) {
    for _ in 0..WRITES_PER_EVENT {
        if writing.is_idle() {
            break;
        }
        let (wrote, offered) = write_once(node, writing.queue.borrow().iter());
        match wrote {
            Ok(n) => {
                take_off(node, writing, n);
                if n < offered {
                    break;
                }
            }
            Err(Error::EAGAIN) => break,
            Err(error) => {
                let failed = writing.queue.borrow_mut().pop_front();
                if let Some(request) = failed {
                    let left = request.total - request.written;
                    writing.queued_bytes.set(writing.queued_bytes.get() - left);
                    complete(node, writing, request, Err(error));
                }
            }
        }
    }
    node.put(Flags::WANTS_ROOM, !writing.is_idle());
    node.watch_less();
}

/// Accounts for `n` bytes written from the front of the queue, and completes what that finishes.
fn take_off(node: &StreamNode, writing: &Writing, mut n: usize) {
    writing.queued_bytes.set(writing.queued_bytes.get() - n);
    loop {
        let finished = {
            let mut queue = writing.queue.borrow_mut();
            let Some(front) = queue.front_mut() else { break };
            let part = n.min(front.total - front.written);
            front.written += part;
            n -= part;
            if part > 0 {
                drop(std::mem::take(&mut front.descriptors));
            }
            if front.written < front.total {
                break;
            }
            queue.pop_front()
        };
        if let Some(request) = finished {
            complete(node, writing, request, Ok(()));
        }
    }
}

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
    } else {
        write_queued(node, writing);
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
    node.with_fd(unix_socket::shutdown_write)
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

pub(super) fn try_write(node: &StreamNode, slices: &[IoSlice<'_>]) -> Result<usize> {
    node.base.lp().inner().usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    if !node.is_writable() {
        return Err(Error::EPIPE);
    }
    let waits = node.writing.get().is_some_and(|writing| !writing.is_idle());
    if waits || node.has(Flags::CONNECTING) {
        return Err(Error::EAGAIN);
    }
    if slices.iter().all(|slice| slice.is_empty()) {
        return Ok(0);
    }
    node.write(slices)
}

pub(super) fn cancel(node: &Rc<StreamNode>, id: WriteId) -> Result<()> {
    let writing = node.writing.get().ok_or(Error::ENOENT)?;
    let request = {
        let mut queue = writing.queue.borrow_mut();
        let at = queue.iter().position(|request| request.id == id).ok_or(Error::ENOENT)?;
        queue.remove(at).ok_or(Error::ENOENT)?
    };
    let left = request.total - request.written;
    writing.queued_bytes.set(writing.queued_bytes.get() - left);
    node.put(Flags::WANTS_ROOM, !writing.is_idle() && !node.has(Flags::CONNECTING));
    node.watch_less();
    complete(node, writing, request, Err(Error::ECANCELED));
    node.base.lp().inner().enqueue_pending(&node.base);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::buf::Buf;
    use super::*;

    fn request(bufs: Vec<Buf>, written: usize) -> Request {
        let bufs = Bufs::Many(bufs);
        let total = bufs.total().unwrap();
        Request { id: WriteId(0), bufs, descriptors: Vec::new(), total, written, callback: None }
    }

    #[test]
    fn gathers_what_is_left_across_requests() {
        let queue = [
            request(vec![Buf::from("abc"), Buf::from(""), Buf::from("def")], 4),
            request(vec![Buf::from("ghi")], 0),
        ];
        let mut slices = [IoSlice::new(&[]); 4];
        let (used, bytes) = gather(queue.iter(), &mut slices);
        let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!((all.as_slice(), bytes), (b"efghi".as_slice(), 5));
    }

    #[test]
    fn stops_gathering_when_there_is_no_room() {
        let queue = [request(vec![Buf::from("a"), Buf::from("b"), Buf::from("c")], 0)];
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(gather(queue.iter(), &mut slices), (2, 2));
    }
}
