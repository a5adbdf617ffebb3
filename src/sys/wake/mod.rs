//! How other threads and signal handlers wake a loop: a lock-free list of senders and an eventfd.
//!
//! A [`WakeEntry`] stands for one `Async` handle, the [`WakeList`] for its loop. A send marks the
//! entry pending, puts it on a stack and, if the stack was empty, writes the eventfd; the loop
//! takes the whole stack at once. A wake-up costs what is ready, not what exists (libuv walks all
//! its handles, libuv#1866).
//!
//! # Invariants
//!
//! * An entry is on the stack at most once: only the send that sets `PENDING` pushes it, and only
//!   [`Ready::next`] clears the bit, after it has left the stack.
//! * Whoever finds the stack empty writes the eventfd **after** its push, and the loop hears of a
//!   write **before** it takes the stack: it empties the eventfd, or it has been given the edge that
//!   the write made.
//! * A send takes no lock, allocates nothing and frees nothing: its caller holds a reference to the
//!   entry throughout, so the reference that the stack gives back is never the last one there.
//!   Memory is freed by the loop and by whoever drops the last `WakeEntry`.
//! * The eventfd lives as long as any entry: a late send never meets a descriptor number that
//!   belongs to somebody else by then (libuv#2226).
//!
//! # Why no wake-up and no data is lost
//!
//! *The callback sees what was written before any send, also before one that coalesced.* Each send
//! is a read-modify-write of `state` with release, and clearing `PENDING` is one with acquire. They
//! are in one order: a send before the clearing is seen by the callback that follows it; a send
//! after it finds the bit clear and pushes. A plain load as the fast path would not do: the store
//! before it may still be on its way when the load sees the bit that is about to be cleared.
//!
//! *`next` is never written while it is read.* It is written by the send that set `PENDING`, before
//! the push (release), read by the loop after it took the stack (acquire; the pushes in between are
//! read-modify-writes and so carry the release on), and only then is `PENDING` cleared (release),
//! which the next send that sets it acquires.
//!
//! *What is on the stack has been or will be announced.* A push that found the stack empty rings
//! afterwards. If the loop's swap took that push, fine. If not, the push came after the swap, which
//! came after the loop had heard of the ring before, so this ring is news: the eventfd is readable
//! again, or there is a new edge, which every write makes whatever the count (eventfd(2) wakes its
//! epoll(7) waiters on each). A count that nobody reads lasts for 2⁶⁴ rings. A push that found
//! the stack occupied relies on the ring of the one at the bottom, which its sender is about to make
//! if it has not yet. Because the stack is only ever taken whole there is no ABA problem.
//!
//! # Alternatives
//!
//! A mutex and a queue are not async-signal-safe. A pipe with entries' addresses in it can
//! overflow, and was a step of an exploit in libuv (libuv#4581). A bounded ring can overflow too.

mod bell;
#[cfg(all(loom, test))]
mod models;
#[cfg(all(not(loom), test))]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::ptr;
use std::sync::atomic::AtomicBool as StdAtomicBool;

#[cfg(all(loom, test))]
use loom::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU8, Ordering},
};
#[cfg(not(all(loom, test)))]
use std::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU8, Ordering},
};

use crate::error::{Error, Result};
use bell::Bell;

/// On the stack, or taken off it and not yet handed to the loop.
const PENDING: u8 = 1;
/// The handle is closed: sends fail and what is still pending is not delivered.
const CLOSED: u8 = 2;

/// What the head of the stack holds once the loop is gone. No node has an odd address.
fn no_more() -> *mut Node {
    ptr::without_provenance_mut(1)
}

/// The loop's end: its eventfd and the stack of entries that were sent to. Dropped, it is closed:
/// the stack and the entries on it refer to each other and would otherwise never be freed.
#[derive(Debug)]
pub(crate) struct WakeList {
    shared: Arc<Shared>,
    /// Only the loop's side closes the list, and only it asks.
    closed: StdAtomicBool,
}

/// Wakes the loop without an entry, from any thread. It keeps nothing alive but the eventfd.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<Shared>);

/// The sender's end: one per `Async` handle. `Clone` makes another sender of the same entry.
#[derive(Clone, Debug)]
pub(crate) struct WakeEntry(Arc<Node>);

#[derive(Debug)]
struct Shared {
    bell: Bell,
    /// The stack, newest first; each node on it owns one reference to itself.
    head: AtomicPtr<Node>,
}

#[derive(Debug)]
struct Node {
    state: AtomicU8,
    next: AtomicPtr<Node>,
    key: u64,
    list: Arc<Shared>,
}

/// Entries taken off the stack and not yet called back, oldest first.
///
/// The loop keeps it beyond one turn: a callback that panics loses none of the rest. Dropped, it
/// forgets what is in it; those entries can be sent to again.
#[derive(Debug, Default)]
pub(crate) struct Ready(VecDeque<Arc<Node>>);

impl WakeList {
    /// An empty list with an eventfd of its own.
    pub(crate) fn new() -> Result<WakeList> {
        let head = AtomicPtr::new(ptr::null_mut());
        let shared = Arc::new(Shared { bell: Bell::new()?, head });
        Ok(WakeList { shared, closed: StdAtomicBool::new(false) })
    }

    /// The eventfd, readable while there is something to drain.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.shared.bell.fd()
    }

    /// A new sender whose wake-ups the loop will know by `key`.
    pub(crate) fn entry(&self, key: u64) -> WakeEntry {
        WakeEntry(Arc::new(Node {
            state: AtomicU8::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            key,
            list: Arc::clone(&self.shared),
        }))
    }

    /// For threads that have to wake the loop without an entry.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.shared))
    }

    /// Empties the eventfd and moves what was sent to the end of `ready`, in the order sent.
    pub(crate) fn drain(&self, ready: &mut Ready) {
        self.shared.bell.silence();
        self.take(ready);
    }

    /// Moves what was sent to the end of `ready`, in the order sent: for who watches the eventfd
    /// edge-triggered and has just been given an edge.
    pub(crate) fn take(&self, ready: &mut Ready) {
        // After `close` the mark of it stays.
        if !self.closed.load(std::sync::atomic::Ordering::Relaxed) {
            self.shared.take(ptr::null_mut(), ready);
        }
    }

    /// The loop is gone: what is on the stack is released and later sends fail with `EINVAL`.
    ///
    /// A send to an entry that another thread is sending to at this very moment may still coalesce
    /// with that one and say `Ok`; to be told for certain, close the entry first.
    pub(crate) fn close(&self) {
        let mut rest = Ready::default();
        if !self.closed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            self.shared.take(no_more(), &mut rest);
        }
    }

    /// In a forked child: a new eventfd under the same number, readable at once, because a thread
    /// of the parent may have been between its push and its ring. What is pending stays so.
    pub(crate) fn after_fork(&self) -> Result<()> {
        self.shared.bell.renew()?;
        self.shared.bell.ring();
        Ok(())
    }

    /// In a forked child, after [`WakeList::after_fork`]: finds, among all `entries` of the loop,
    /// those that a thread of the parent had marked but not yet pushed, and puts them into `ready`.
    /// Without this they would be pending for ever, on no list.
    ///
    /// Sound beside signal handlers that send: they run to their end, so what is pending when it is
    /// looked at and is on no list afterwards was left by a thread that this process does not have.
    pub(crate) fn adopt<'e>(
        &self,
        entries: impl IntoIterator<Item = &'e WakeEntry>,
        ready: &mut Ready,
    ) {
        let pending: Vec<&WakeEntry> = entries
            .into_iter()
            .filter(|entry| entry.0.state.load(Ordering::Acquire) == PENDING)
            .collect();
        self.take(ready);
        let listed: HashSet<*const Node> = ready.0.iter().map(|node| &raw const **node).collect();
        for entry in pending {
            if !listed.contains(&(&raw const *entry.0)) {
                ready.0.push_back(Arc::clone(&entry.0));
            }
        }
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        self.close();
    }
}

impl Waker {
    /// Makes the eventfd readable. Async-signal-safe, and errno stays as it was.
    pub(crate) fn wake(&self) {
        self.0.bell.ring();
    }
}

impl Shared {
    /// Takes the whole stack, leaves `instead`, and appends the nodes to `ready`, oldest first.
    fn take(&self, instead: *mut Node, ready: &mut Ready) {
        // Without a look first, which would be a trip of its own to the processor that was last.
        let mut node = self.head.swap(instead, Ordering::AcqRel);
        let before = ready.0.len();
        while !node.is_null() {
            // SAFETY: the stack owned this reference, made by `into_raw` in `push`, and the swap
            // has handed it to this thread alone.
            let owned = unsafe { Arc::from_raw(node.cast_const()) };
            node = owned.next.load(Ordering::Relaxed);
            ready.0.push_back(owned);
        }
        ready.0.make_contiguous()[before..].reverse();
    }
}

impl WakeEntry {
    /// Wakes the loop for this entry; one wake-up stands for all sends until its callback begins.
    ///
    /// Async-signal-safe, and errno stays as it was. `EINVAL` once the entry or the list is closed.
    pub(crate) fn send(&self) -> Result<()> {
        let before = self.0.state.fetch_or(PENDING, Ordering::AcqRel);
        if before & CLOSED != 0 {
            return Err(Error::EINVAL);
        }
        if before & PENDING != 0 {
            return Ok(());
        }
        self.push()
    }

    /// No later send succeeds, and a wake-up that is still pending is not delivered.
    pub(crate) fn close(&self) {
        self.0.state.fetch_or(CLOSED, Ordering::AcqRel);
    }

    fn push(&self) -> Result<()> {
        let list = &*self.0.list;
        let node = Arc::into_raw(Arc::clone(&self.0)).cast_mut();
        // Mostly so; to look first would be a trip of its own to the processor that was last.
        let mut head = ptr::null_mut();
        loop {
            if head == no_more() {
                self.close();
                // Not the last reference, as `self` is one: nothing is freed here.
                // SAFETY: made by `into_raw` above and not given to the stack.
                drop(unsafe { Arc::from_raw(node.cast_const()) });
                return Err(Error::EINVAL);
            }
            self.0.next.store(head, Ordering::Relaxed);
            // AcqRel rather than Release: it costs nothing on x86-64 and lets the reader see one
            // rule for every read-modify-write of this file.
            match list.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if head.is_null() {
            list.bell.ring();
        }
        Ok(())
    }
}

impl Ready {
    /// The key of the oldest entry; from here on a send to it makes another wake-up. Entries closed
    /// meanwhile are passed over.
    pub(crate) fn next(&mut self) -> Option<u64> {
        while let Some(node) = self.0.pop_front() {
            let before = node.state.fetch_and(!PENDING, Ordering::AcqRel);
            if before & CLOSED == 0 {
                return Some(node.key);
            }
        }
        None
    }

    /// Whether nothing waits to be called back.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
