//! Requests in flight: what a loop waits for from other threads, and how it hears of the end.
//!
//! A request has a place in its loop's slab, with the closure that is called at its end; whoever
//! ends it holds a [`Ticket`], and puts the block with the result into the loop's mailbox.
//! Invariants: a place is put into the mailbox once, and freed when it has been taken out; what was
//! taken out belongs to the loop until the closure is called, so that a panic in one leaves the rest
//! to the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::WorkClass;
use super::mailbox::{Ended, Job, Mailbox, Ticket};
use super::pool::ThreadPool;
use super::queue::JobId;
use super::request::{Node, Pending, Place, Request, RequestKind};
use super::task::{Block, Go};
use crate::error::Result;
use crate::event_loop::{Facilities, LoopInner, LoopRef, Target, WatcherKey};
use crate::sys::epoll;
use crate::sys::io_uring::{Ring, Submission};

/// The loop's side of all its requests.
pub(crate) struct Requests {
    pool: RefCell<Option<ThreadPool>>,
    mailbox: RefCell<Option<Arc<Mailbox>>>,
    pending: RefCell<Slab<Rc<dyn Node>>>,
    /// Those that have ended and are to be called back, in the order in which they ended.
    ended: RefCell<VecDeque<Ended>>,
    ring: RefCell<RingState>,
    ring_watcher: Cell<WatcherKey>,
}

/// A loop's ring, made when the first operation could go through it.
#[derive(Default)]
enum RingState {
    #[default]
    Untried,
    /// Not asked for, or not to be had.
    None,
    /// With what takes up what has ended in it, on the loop's own thread.
    Made(Box<Ring>, Arc<Mailbox>),
}

impl RingState {
    fn get(&mut self) -> Option<&mut Ring> {
        match self {
            RingState::Made(ring, _) => Some(ring),
            RingState::Untried | RingState::None => None,
        }
    }
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            pool: RefCell::default(),
            mailbox: RefCell::default(),
            pending: RefCell::default(),
            ended: RefCell::default(),
            ring: RefCell::default(),
            ring_watcher: Cell::new(WatcherKey::NONE),
        }
    }
}

impl Requests {
    /// Whether an operation in the ring was cancelled in time.
    pub(super) fn cancel_in_ring(&self, token: usize) -> bool {
        self.ring.borrow_mut().get().is_some_and(|ring| ring.cancel(token))
    }

    /// Whether an operation can go through the ring now.
    pub(super) fn has_ring(&self, lp: &LoopInner) -> bool {
        if !lp.options.io_uring || !lp.has(Facilities::IO_URING) {
            return false;
        }
        let mut state = self.ring.borrow_mut();
        if let RingState::Untried = *state {
            *state = RingState::None;
            if let Ok(ring) = Ring::new()
                && let Ok(key) = lp.watchers.add(ring.fd(), epoll::IN, Target::Ring)
            {
                self.ring_watcher.set(key);
                let mailbox = Arc::new(Mailbox::new(None, lp.options.facilities));
                *state = RingState::Made(Box::new(ring), mailbox);
                lp.chores.add_errand();
            }
        }
        state.get().is_some_and(|ring| ring.has_room())
    }

    /// Whether there is a ring, which may end something without an event.
    pub(crate) fn has_made_ring(&self) -> bool {
        matches!(*self.ring.borrow(), RingState::Made(..))
    }

    /// Hands over to the kernel what waits for it.
    pub(crate) fn flush(&self) {
        if let Some(ring) = self.ring.borrow_mut().get() {
            ring.flush();
        }
    }

    /// Takes over what has ended in the ring.
    pub(crate) fn collect_ring(&self) {
        loop {
            let next = self.ring.borrow_mut().get().and_then(|ring| ring.next_ended());
            let Some(answered) = next else { break };
            (answered.finish)(answered.result);
        }
        if let RingState::Made(_, mailbox) = &*self.ring.borrow() {
            mailbox.take(&mut self.ended.borrow_mut());
        }
    }

    /// The pool that works for the loop, found at first use.
    pub(crate) fn pool(&self, lp: &LoopInner) -> Result<ThreadPool> {
        if let Some(pool) = &*self.pool.borrow() {
            return Ok(pool.clone());
        }
        let pool = match &lp.options.thread_pool {
            Some(pool) => pool.clone(),
            None => ThreadPool::global()?,
        };
        Ok(self.pool.borrow_mut().insert(pool).clone())
    }

    fn mailbox(&self, lp: &LoopInner) -> Result<Arc<Mailbox>> {
        if let Some(mailbox) = &*self.mailbox.borrow() {
            return Ok(mailbox.clone());
        }
        let waker = lp.asyncs.list(lp)?.waker();
        let mailbox = Arc::new(Mailbox::new(Some(waker), lp.options.facilities));
        Ok(self.mailbox.borrow_mut().insert(mailbox).clone())
    }

    /// Whether closures are due.
    pub(crate) fn is_due(&self) -> bool {
        !self.ended.borrow().is_empty()
            || self.ring.borrow_mut().get().is_some_and(|ring| ring.is_waiting())
    }

    /// Takes over what has ended.
    pub(crate) fn collect(&self) {
        if let Some(mailbox) = &*self.mailbox.borrow() {
            mailbox.take(&mut self.ended.borrow_mut());
        }
    }

    /// Calls the closures of those that have ended by now; what is cancelled meanwhile waits for the
    /// next turn.
    pub(crate) fn call_done(&self, lp: &LoopInner) {
        if self.ring.borrow_mut().get().is_some_and(|ring| ring.is_waiting()) {
            self.collect_ring();
        }
        let mut rest = self.ended.borrow().len();
        while rest > 0 && !lp.is_halted() {
            rest -= 1;
            let Some(Ended { key, block }) = self.ended.borrow_mut().pop_front() else { break };
            let request = self.pending.borrow_mut().try_remove(key);
            if let Some(request) = request {
                request.base().place.set(Place::Ended);
                lp.count_request(false);
                lp.counters.callback();
                request.end(block);
            }
        }
    }

    /// In a forked child: the threads that worked for the parent's requests do not exist. The
    /// requests are forgotten, their closures dropped uncalled.
    pub(crate) fn after_fork(&self, lp: &LoopInner) -> Result<()> {
        let pool = self.pool.take();
        if let (Some(old), Some(_)) = (&pool, &lp.options.thread_pool) {
            *self.pool.borrow_mut() = Some(old.renewed()?);
        }
        if let Some(mailbox) = self.mailbox.take() {
            Mailbox::forget(mailbox);
        }
        drop(pool);
        // The set is still the parent's, so nothing is told to the kernel.
        lp.unwatch(&self.ring_watcher);
        if let RingState::Made(ring, _) = self.ring.take() {
            ring.forget();
        }
        self.forget_pending(lp);
        Ok(())
    }

    /// The loop is being dropped: what waits leaves the queue, nobody waits for what runs.
    pub(crate) fn discard(&self, lp: &LoopInner) {
        let pool = self.pool.take();
        if let Some(pool) = &pool {
            let queued: Vec<JobId> = {
                let pending = self.pending.borrow();
                pending.iter().filter_map(|(_, request)| request.base().place.get().job()).collect()
            };
            for id in queued {
                drop(pool.remove(id));
            }
        }
        if let Some(mailbox) = self.mailbox.take() {
            if lp.is_ours() {
                mailbox.close();
            } else {
                // Its lock may be held by a thread of the parent's.
                std::mem::forget(mailbox);
            }
        }
        lp.unwatch(&self.ring_watcher);
        if let RingState::Made(ring, mailbox) = self.ring.replace(RingState::None) {
            if lp.is_ours() {
                mailbox.close();
                ring.abandon();
            } else {
                ring.forget();
            }
        }
        self.forget_pending(lp);
        drop(pool);
    }

    fn forget_pending(&self, lp: &LoopInner) {
        drop(self.ended.take());
        let pending = self.pending.take();
        for (_, request) in &pending {
            request.base().place.set(Place::Ended);
            lp.count_request(false);
        }
        for (_, request) in &pending {
            request.forget();
        }
    }

    /// Has the loop's pool do a job. One that it refuses is dropped when nothing here is borrowed.
    fn push(&self, lp: &LoopInner, class: WorkClass, job: Job) -> Result<JobId> {
        let known = self.pool.borrow();
        let pushed = match &*known {
            Some(pool) => pool.push(class, job),
            None => {
                drop(known);
                return self.pool(lp)?.push(class, job).map_err(|(error, _)| error);
            }
        };
        drop(known);
        pushed.map_err(|(error, _)| error)
    }

    fn register<T: 'static>(
        &self,
        lp: &LoopRef,
        kind: RequestKind,
        place: Place,
        done: impl FnOnce(T) + 'static,
    ) -> Request {
        let request = Rc::new(Pending::new(lp, kind, place, done));
        self.pending.borrow_mut().insert(request.clone());
        lp.inner().count_request(true);
        Request(request)
    }

    /// The place that the next request will have.
    fn next_key(&self) -> usize {
        self.pending.borrow().vacant_key()
    }
}

/// Gives an operation to the loop's ring, which [has room](Requests::has_ring).
pub(super) fn submit_to_ring<T: 'static>(
    lp: &LoopRef,
    kind: RequestKind,
    submission: &Submission,
    block: Box<dyn Block>,
    done: impl FnOnce(T) + 'static,
) -> Request {
    let (inner, works) = (lp.inner(), &lp.inner().works);
    let mut place = Place::Elsewhere;
    if let RingState::Made(ring, mailbox) = &mut *works.ring.borrow_mut() {
        let ticket = Ticket { key: works.next_key(), mailbox: mailbox.clone() };
        let finish = Box::new(move |answer| block.go(Go::Ended(answer), ticket));
        place = Place::Ring(ring.push(submission, finish));
    }
    inner.counters.request(true);
    works.register(lp, kind, place, done)
}

/// Gives work to the pool of a loop that is usable; `done` is called with what it came to, of type
/// `T`.
pub(super) fn submit<T: 'static>(
    lp: &LoopRef,
    kind: RequestKind,
    class: WorkClass,
    block: Box<dyn Block>,
    done: impl FnOnce(T) + 'static,
) -> Result<Request> {
    let (inner, works) = (lp.inner(), &lp.inner().works);
    let ticket = Ticket { key: works.next_key(), mailbox: works.mailbox(inner)? };
    // The thread begins while the rest is done here.
    let id = works.push(inner, class, Job { block, ticket })?;
    inner.counters.request(false);
    Ok(works.register(lp, kind, Place::Pool(id), done))
}
