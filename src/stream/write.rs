//! Writing: at once what the descriptor takes, the rest in a queue.
//!
//! Invariant: bytes go out in the order of the writes, and descriptors with the first byte of their
//! write, once.

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::buf::Bufs;
use super::node::{Flags, StreamNode};
use super::report::{complete, report};
use super::writing::{Done, Request, WriteCallback, WriteId, Writing, Written, writing};
use crate::error::{Error, Result};
use crate::sys::{ancillary, epoll};

/// Write calls per event; the rest waits for the next turn (libuv's starvation guard).
const WRITES_PER_EVENT: u32 = 32;

/// Slices handed to the kernel in one call. It takes up to 1024 (`UIO_MAXIOV`); this many fit a
/// cache-friendly array on the stack.
const SLICES_PER_CALL: usize = 64;

/// Buffers in one write (libuv's limit).
const MOST_BUFFERS: usize = 1 << 20;

/// Descriptors in one write.
const MOST_DESCRIPTORS: usize = ancillary::MOST_DESCRIPTORS;

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
    if let Bufs::One(buf) = &bufs
        && let bytes = buf.as_ref()
        && !bytes.is_empty()
        && may_write(node)
    {
        let (total, wrote) = (bytes.len(), node.write_one(bytes));
        if wrote == Ok(total) {
            return Ok(written_at_once(node, total, callback));
        }
        return go_on(node, bufs, Vec::new(), total, callback, Some(wrote));
    }
    start_with(node, bufs, Vec::new(), callback)
}

/// Most writes are over when they begin; nothing is left of them but the callback.
fn written_at_once(node: &StreamNode, total: usize, callback: Option<WriteCallback>) -> WriteId {
    let id = next_id(node);
    if let Some(callback) = callback {
        let writing = writing(node);
        writing.next_id.set(id.0 + 1);
        node.base.request_started();
        let written = Written { bytes: total, result: Ok(()) };
        writing.done.borrow_mut().push_back(Done::Write(callback, written));
        node.base.lp().inner().enqueue_pending(&node.base);
    }
    id
}

fn next_id(node: &StreamNode) -> WriteId {
    WriteId(node.writing.get().map_or(0, |writing| writing.next_id.get()))
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
    if carries && (node.ipc().is_none() || total == 0 || descriptors.len() > MOST_DESCRIPTORS) {
        return Err(Error::EINVAL);
    }
    go_on(node, bufs, descriptors, total, callback, None)
}

/// Writes what can be written now, unless that has been done, and sees to the rest.
fn go_on(
    node: &Rc<StreamNode>,
    bufs: Bufs,
    descriptors: Vec<OwnedFd>,
    total: usize,
    callback: Option<WriteCallback>,
    wrote: Option<Result<usize>>,
) -> Result<WriteId> {
    let id = next_id(node);
    let mut request = Request { id, bufs, descriptors, total, written: 0, callback };
    let mut outcome = Ok(());
    // A write of no bytes, too, waits for those before it.
    let queued = node.writing.get().is_some_and(|writing| !writing.is_idle());
    let waits = queued || node.has(Flags::CONNECTING);
    if !waits {
        match wrote.unwrap_or_else(|| write_once(node, std::iter::once(&request)).0) {
            Ok(n) => {
                request.written = n;
                if n > 0 {
                    drop(std::mem::take(&mut request.descriptors));
                }
            }
            Err(Error::EAGAIN) => {}
            Err(error) => outcome = Err(error),
        }
        if node.has(Flags::WRITES_BLOCK) && outcome.is_ok() {
            outcome = write_all(node, &mut request);
        }
    }
    let rest = waits || outcome.is_ok() && request.written < total;
    if request.callback.is_none() && !rest {
        // Nothing to remember: a stream that only writes so needs no memory for it.
        return outcome.map(|()| id);
    }
    let writing = writing(node);
    writing.next_id.set(id.0 + 1);
    if rest {
        return enqueue(node, writing, request).map(|()| id);
    }
    if request.callback.is_some() {
        node.base.request_started();
        complete(node, writing, request, outcome);
        node.base.lp().inner().enqueue_pending(&node.base);
    }
    Ok(id)
}

/// Writes what is left of a request, waiting for room as long as that takes.
fn write_all(node: &StreamNode, request: &mut Request) -> Result<()> {
    while request.written < request.total {
        node.with_fd(|fd| epoll::wait_for(fd, libc::POLLOUT))?;
        match write_once(node, std::iter::once(&*request)).0 {
            Ok(n) => {
                request.written += n;
                if n > 0 {
                    drop(std::mem::take(&mut request.descriptors));
                }
            }
            Err(Error::EAGAIN) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

pub(super) fn write_queued(node: &Rc<StreamNode>, writing: &Writing) {
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

pub(super) fn try_write_one(node: &StreamNode, bytes: &[u8]) -> Result<usize> {
    if bytes.is_empty() || !may_write(node) {
        return may_try(node).map(|()| 0);
    }
    node.write_one(bytes)
}

/// Whether nothing stands against writing at once.
#[inline]
fn may_write(node: &StreamNode) -> bool {
    node.flags.get() & (Flags::WRITABLE | Flags::CONNECTING) == Flags::WRITABLE
        && node.writing.get().is_none_or(|writing| writing.is_idle())
        && node.base.lp().inner().usable().is_ok()
}

pub(super) fn try_write(node: &StreamNode, slices: &[IoSlice<'_>]) -> Result<usize> {
    may_try(node)?;
    if slices.iter().all(|slice| slice.is_empty()) {
        return Ok(0);
    }
    node.write(slices)
}

pub(super) fn try_write_with(
    node: &StreamNode,
    slices: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize> {
    may_try(node)?;
    if node.ipc().is_none() || slices.iter().all(|slice| slice.is_empty()) {
        return Err(Error::EINVAL);
    }
    node.with_fd(|fd| ancillary::send(fd, slices, descriptors))
}

/// `EAGAIN` when something is to be written first.
#[inline(never)]
fn may_try(node: &StreamNode) -> Result<()> {
    node.base.lp().inner().usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    if !node.is_writable() {
        return Err(Error::EPIPE);
    }
    let waits = node.writing.get().is_some_and(|writing| !writing.is_idle());
    if waits || node.has(Flags::CONNECTING) { Err(Error::EAGAIN) } else { Ok(()) }
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
