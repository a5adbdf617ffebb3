//! Sending: at once what the socket takes, the rest in a queue, whose messages go out in batches.
//!
//! Invariants: messages go out in the order of the sends; callbacks are called from `run` only and
//! in that order too; a send counts, in number and bytes, until right before its callback is called
//! (libuv's rule). So of several sends in one turn the first goes at once and the rest together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use socket2::SockAddr;

use super::report::report;
use super::{DatagramNode, Flags};
use crate::error::{Error, Result};
use crate::event_loop::WatcherKey;
use crate::handle::HandleKind;
use crate::stream::Bufs;
use crate::sys::control::Control;
use crate::sys::datagram::{self, MESSAGES_PER_CALL, Name, Outgoing, To};
use crate::sys::{ancillary, epoll, unix_socket};

/// Control data that a UDP datagram is sent with: an address with an interface, two traffic
/// classes (for either family), a segment size.
pub(crate) type SendControl = Control<128>;

/// Calls per event; what is left waits for the next turn, as when a stream is written.
const CALLS_PER_EVENT: usize = 8;

/// Buffers in one send, and bytes in all of them (libuv's limits).
const MOST_BUFFERS: usize = 1 << 20;
const MOST_BYTES: usize = i32::MAX as usize;

pub(crate) type SendCallback = Box<dyn FnOnce(&Rc<DatagramNode>, Result<()>)>;

/// A message to be sent.
pub(crate) struct Request {
    pub(crate) bufs: Bufs,
    pub(crate) to: Option<Name>,
    pub(crate) control: Option<Box<SendControl>>,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) callback: Option<SendCallback>,
}

/// A request in the queue; `total` bytes of it count until it is reported.
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) total: usize,
}

/// What is over and to be reported.
pub(super) enum Done {
    Send(Option<SendCallback>, usize, Result<()>),
    /// A connect: its outcome.
    Connect(SendCallback, Result<()>),
}

/// The sending side.
#[derive(Default)]
pub(crate) struct Sending {
    pub(super) queue: RefCell<VecDeque<Queued>>,
    pub(super) done: RefCell<VecDeque<Done>>,
    pub(super) bytes: Cell<usize>,
    pub(super) count: Cell<usize>,
    /// Waits for the queue to run empty.
    pub(super) shutdown: Cell<Option<SendCallback>>,
    /// The first error of a send that nobody waited for.
    pub(super) error: Cell<Option<Error>>,
    /// A socket connected to whom the first message of the queue is for, which is watched for room:
    /// a Unix socket without a peer calls itself writable whatever the receiver's queue is like.
    peer_watch: Cell<Option<OwnedFd>>,
    peer_watcher: Cell<Option<WatcherKey>>,
    /// The queue is to be tried in the pending phase, whatever is watched.
    pub(super) again: Cell<bool>,
}

impl Sending {
    fn has_shutdown(&self) -> bool {
        let shutdown = self.shutdown.take();
        let has = shutdown.is_some();
        self.shutdown.set(shutdown);
        has
    }
}

impl DatagramNode {
    pub(super) fn sending(&self) -> &Sending {
        self.sending.get_or_init(Box::default)
    }

    /// Bytes of sends that have not been reported.
    pub(crate) fn send_queue_size(&self) -> usize {
        self.sending.get().map_or(0, |sending| sending.bytes.get())
    }

    /// How many sends have not been reported.
    pub(crate) fn send_queue_count(&self) -> usize {
        self.sending.get().map_or(0, |sending| sending.count.get())
    }

    pub(crate) fn take_send_error(&self) -> Option<Error> {
        self.sending.get().and_then(|sending| sending.error.take())
    }

    pub(super) fn has_requests(&self) -> bool {
        self.sending.get().is_some_and(|sending| {
            sending.count.get() > 0 || !sending.done.borrow().is_empty() || sending.has_shutdown()
        })
    }

    pub(super) fn waits_for_peer(&self) -> bool {
        self.sending.get().is_some_and(|sending| sending.peer_watcher.get().is_some())
    }

    /// Ends the watch for a receiver's room.
    pub(super) fn forget_peer_watch(&self) {
        let Some(sending) = self.sending.get() else { return };
        if let Some(key) = sending.peer_watcher.take() {
            self.base.lp().inner().unwatch(&Cell::new(key));
        }
        drop(sending.peer_watch.take());
    }

    /// Drops everything without a call: the loop is gone.
    pub(super) fn discard_sends(&self) {
        let Some(sending) = self.sending.get() else { return };
        let (queue, done) = (sending.queue.take(), sending.done.take());
        sending.bytes.set(0);
        sending.count.set(0);
        drop((queue, done, sending.shutdown.take()));
    }
}

/// Whether a message can be one: `EINVAL` for no buffers, too many, or too many bytes.
pub(crate) fn check_slices(count: usize, total: Option<usize>) -> Result<usize> {
    let total = total.filter(|&total| total <= MOST_BYTES).ok_or(Error::EINVAL)?;
    if (1..=MOST_BUFFERS).contains(&count) { Ok(total) } else { Err(Error::EINVAL) }
}

/// No room, by either name (libuv's rule; udp(7) has `ENOBUFS` for a full device queue).
fn is_full(error: Error) -> bool {
    matches!(error, Error::EAGAIN | Error::ENOBUFS)
}

fn slices_of(bufs: &Bufs) -> impl Iterator<Item = IoSlice<'_>> {
    bufs.as_slice().iter().map(|buf| IoSlice::new(buf.as_ref()))
}

/// The name of a receiver whose form is not as simple as an Internet address.
fn raw_name(request: &Request) -> Result<Option<SockAddr>> {
    match &request.to {
        None | Some(Name::Inet(_)) => Ok(None),
        Some(name) => name.to_raw().map(Some),
    }
}

fn destination<'a>(request: &Request, raw: Option<&'a SockAddr>) -> To<'a> {
    match &request.to {
        Some(Name::Inet(address)) => To::Inet(*address),
        _ => raw.into(),
    }
}

/// Sends one message, by a call of its own.
fn send_one(node: &DatagramNode, request: &Request) -> Result<()> {
    let name = raw_name(request)?;
    let to = destination(request, name.as_ref());
    let (one, many);
    let slices: &[IoSlice<'_>] = match &request.bufs {
        Bufs::One(buf) => {
            one = [IoSlice::new(buf.as_ref())];
            &one
        }
        bufs => {
            many = slices_of(bufs).collect::<Vec<_>>();
            &many
        }
    };
    let control = request.control.as_ref().map_or([].as_slice(), |control| control.as_slice());
    node.with_fd(|fd| match request.descriptors.as_slice() {
        [] => datagram::send(fd, &Outgoing { slices, to, control }),
        descriptors => ancillary::send_to(fd, slices, descriptors, name.as_ref()),
    })
    .map(drop)
}

/// Sends from the front of the queue with one call; how many went.
fn send_queued(node: &DatagramNode, queue: &VecDeque<Queued>) -> Result<usize> {
    let plain = queue.iter().take_while(|queued| queued.request.descriptors.is_empty());
    let batch: Vec<&Request> = plain.take(MESSAGES_PER_CALL).map(|q| &q.request).collect();
    if batch.len() < 2 {
        return match queue.front() {
            Some(first) => send_one(node, &first.request).map(|()| 1),
            None => Ok(0),
        };
    }
    let slices: Vec<Vec<IoSlice<'_>>> =
        batch.iter().map(|request| slices_of(&request.bufs).collect()).collect();
    let mut names = Vec::with_capacity(batch.len());
    for request in &batch {
        names.push(raw_name(request)?);
    }
    let outgoing: Vec<Outgoing<'_>> = batch
        .iter()
        .zip(&slices)
        .zip(&names)
        .map(|((request, slices), name)| Outgoing {
            slices,
            to: destination(request, name.as_ref()),
            control: request.control.as_ref().map_or(&[], |control| control.as_slice()),
        })
        .collect();
    node.with_fd(|fd| datagram::send_many(fd, &outgoing, &node.joining))
}

pub(crate) fn start(node: &Rc<DatagramNode>, mut request: Request) -> Result<()> {
    node.usable()?;
    if !node.is_open() {
        return Err(Error::EBADF);
    }
    let total = check_slices(request.bufs.as_slice().len(), request.bufs.total())?;
    if request.descriptors.len() > ancillary::MOST_DESCRIPTORS {
        return Err(Error::EINVAL);
    }
    // A name that cannot be is told now, not by a send that waited.
    raw_name(&request)?;
    let sending = node.sending();
    if sending.count.get() == 0 {
        match send_one(node, &request) {
            Err(error) if is_full(error) => {}
            outcome => {
                let Some(callback) = request.callback.take() else { return outcome };
                begin(node, sending, total);
                sending.done.borrow_mut().push_back(Done::Send(Some(callback), total, outcome));
                node.base.lp().inner().enqueue_pending(&node.base);
                return Ok(());
            }
        }
    }
    sending.queue.borrow_mut().push_back(Queued { request, total });
    begin(node, sending, total);
    if let Err(error) = wait_for_room(node, sending) {
        let queued = sending.queue.borrow_mut().pop_back();
        end(node, sending, total);
        drop(queued);
        return Err(error);
    }
    Ok(())
}

/// A request is in flight from now on.
fn begin(node: &DatagramNode, sending: &Sending, total: usize) {
    sending.bytes.set(sending.bytes.get() + total);
    sending.count.set(sending.count.get() + 1);
    node.base.request_started();
    node.update_active();
}

/// A request does not count any more. The caller refers to the handle.
pub(super) fn end(node: &DatagramNode, sending: &Sending, total: usize) {
    sending.bytes.set(sending.bytes.get() - total);
    sending.count.set(sending.count.get() - 1);
    node.update_active();
    node.base.request_ended();
}

/// Has the loop say when there is room again.
fn wait_for_room(node: &DatagramNode, sending: &Sending) -> Result<()> {
    if node.has(Flags::WANTS_ROOM) {
        return Ok(());
    }
    node.put(Flags::WANTS_ROOM, true);
    let watched = match full_receiver(node, sending) {
        Some(name) => watch_peer(node, sending, &name),
        None => node.watch(),
    };
    if watched.is_err() {
        node.put(Flags::WANTS_ROOM, false);
    }
    watched
}

/// To whom the first message of the queue goes, if it is their queue that is full and not ours.
fn full_receiver(node: &DatagramNode, sending: &Sending) -> Option<Name> {
    if node.kind_of_handle() != HandleKind::UnixDatagram || node.has(Flags::CONNECTED) {
        return None;
    }
    let room = node.with_fd(|fd| epoll::ready_now(fd, libc::POLLOUT));
    room.ok().filter(|&events| events & libc::POLLOUT != 0)?;
    sending.queue.borrow().front()?.request.to.clone()
}

/// Watches a receiver's queue through a socket that is connected to it, as only that one's
/// readiness to write depends on it (`unix_dgram_poll`, net/unix/af_unix.c).
fn watch_peer(node: &DatagramNode, sending: &Sending, name: &Name) -> Result<()> {
    let Name::Unix(path) = name else { return node.watch() };
    let probe = unix_socket::socket_of(libc::SOCK_DGRAM)?;
    let lp = node.base.lp().inner();
    if unix_socket::connect(probe.as_fd(), path).is_err() {
        // The receiver is gone, or will not have it: sending again tells.
        sending.again.set(true);
        lp.enqueue_pending(&node.base);
        return Ok(());
    }
    let key = lp.watch(probe.as_fd(), epoll::OUT, &node.base)?;
    sending.peer_watcher.set(Some(key));
    sending.peer_watch.set(Some(probe));
    Ok(())
}

/// There is room, or the descriptor has failed: sends what it takes, then reports.
pub(super) fn ready(node: &Rc<DatagramNode>) {
    if let Some(sending) = node.sending.get() {
        flush(node, sending);
        report(node);
    }
}

pub(super) fn flush(node: &Rc<DatagramNode>, sending: &Sending) {
    if !node.has(Flags::WANTS_ROOM) {
        return;
    }
    node.forget_peer_watch();
    node.put(Flags::WANTS_ROOM, false);
    let mut full = false;
    for _ in 0..CALLS_PER_EVENT {
        if sending.queue.borrow().is_empty() {
            break;
        }
        let sent = send_queued(node, &sending.queue.borrow());
        let (count, outcome) = match sent {
            Ok(count) => (count, Ok(())),
            Err(error) if is_full(error) => {
                full = true;
                break;
            }
            // The first one has failed; those behind it may go.
            Err(error) => (1, Err(error)),
        };
        for _ in 0..count {
            let Some(queued) = sending.queue.borrow_mut().pop_front() else { break };
            let callback = queued.request.callback;
            sending.done.borrow_mut().push_back(Done::Send(callback, queued.total, outcome));
        }
    }
    if sending.queue.borrow().is_empty() {
        node.watch_less();
        return;
    }
    let waiting = if full {
        wait_for_room(node, sending)
    } else {
        // It was this turn's share; there is room still.
        node.put(Flags::WANTS_ROOM, true);
        node.watch()
    };
    if let Err(error) = waiting {
        // Nobody will say when there is room.
        let queue = sending.queue.take();
        for queued in queue {
            let failed = Done::Send(queued.request.callback, queued.total, Err(error));
            sending.done.borrow_mut().push_back(failed);
        }
    }
}

/// Whether something may be sent at once, past the queue.
pub(crate) fn may_try(node: &DatagramNode) -> Result<()> {
    node.usable()?;
    if node.send_queue_count() > 0 { Err(Error::EAGAIN) } else { Ok(()) }
}

/// Sends messages at once; how many went, at least one.
pub(crate) fn try_many(node: &DatagramNode, messages: &[Outgoing<'_>]) -> Result<usize> {
    may_try(node)?;
    let mut sent = 0;
    while sent < messages.len() {
        match node.with_fd(|fd| datagram::send_many(fd, &messages[sent..], &node.joining)) {
            Ok(count) => sent += count,
            Err(_) if sent > 0 => break,
            Err(error) if is_full(error) => return Err(Error::EAGAIN),
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
