//! Requests in flight: what a loop waits for from other threads, and how it hears of the end.
//!
//! A request has a place in its loop's slab, with the closure that is called at its end; whoever
//! ends it holds a [`Completion`], which puts the place into the loop's mailbox and rings its
//! bell. The result travels beside, in a cell that both closures share. Invariants: a place is put
//! into the mailbox once, and freed when it has been taken out; what was taken out belongs to the
//! loop until the closure is called, so that a panic in one leaves the rest to the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::pool::ThreadPool;
use super::queue::JobId;
use super::request::{Inner, Place, Request, RequestKind};
use super::{Turn, WorkClass};
use crate::error::Result;
use crate::event_loop::{Facilities, LoopInner, LoopRef, Target, WatcherKey};
use crate::sys::epoll;
use crate::sys::io_uring::{Ended, Ring, Submission};
use crate::sys::wake::Waker;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where other threads say which requests have ended.
struct Mailbox {
    ended: Mutex<Vec<usize>>,
    waker: Waker,
}

/// The right, and the duty, to end a request: from any thread, once.
pub(super) struct Completion {
    key: usize,
    mailbox: Arc<Mailbox>,
}

impl Completion {
    /// The request is over and its result is where it belongs.
    fn complete(self) {
        let first = {
            let mut ended = lock(&self.mailbox.ended);
            ended.push(self.key);
            ended.len() == 1
        };
        if first {
            self.mailbox.waker.wake();
        }
    }
}

struct Pending {
    request: Rc<Inner>,
    done: Box<dyn FnOnce()>,
}

/// The loop's side of all its requests.
pub(crate) struct Requests {
    pool: RefCell<Option<ThreadPool>>,
    mailbox: RefCell<Option<Arc<Mailbox>>>,
    pending: RefCell<Slab<Pending>>,
    /// Those that have ended and are to be called back, in the order in which they ended.
    ended: RefCell<VecDeque<usize>>,
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
    Made(Box<Ring>),
}

impl RingState {
    fn get(&mut self) -> Option<&mut Ring> {
        match self {
            RingState::Made(ring) => Some(ring),
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
                *state = RingState::Made(Box::new(ring));
                lp.chores.add_errand();
            }
        }
        state.get().is_some_and(|ring| ring.has_room())
    }

    /// Whether there is a ring, which may end something without an event.
    pub(crate) fn has_made_ring(&self) -> bool {
        matches!(*self.ring.borrow(), RingState::Made(_))
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
            let Some(Ended { request, finish, result }) = next else { return };
            finish(result);
            self.ended.borrow_mut().push_back(request);
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
        let mailbox = Arc::new(Mailbox { ended: Mutex::default(), waker });
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
            let ended = std::mem::take(&mut *lock(&mailbox.ended));
            self.ended.borrow_mut().extend(ended);
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
            let Some(key) = self.ended.borrow_mut().pop_front() else { break };
            let ended = self.pending.borrow_mut().try_remove(key);
            if let Some(Pending { request, done }) = ended {
                request.place.set(Place::Ended);
                lp.count_request(false);
                lp.counters.callback();
                done();
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
        // Its lock may be held by a thread of the parent's.
        std::mem::forget(self.mailbox.take());
        drop(pool);
        // The set is still the parent's, so nothing is told to the kernel.
        lp.unwatch(&self.ring_watcher);
        if let RingState::Made(ring) = self.ring.take() {
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
                pending
                    .iter()
                    .filter_map(|(_, pending)| pending.request.place.get().job())
                    .collect()
            };
            for id in queued {
                drop(pool.remove(id));
            }
        }
        let mailbox = self.mailbox.take();
        if lp.is_ours() {
            drop(mailbox);
        } else {
            std::mem::forget(mailbox);
        }
        lp.unwatch(&self.ring_watcher);
        if let RingState::Made(ring) = self.ring.replace(RingState::None) {
            if lp.is_ours() {
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
        for (_, pending) in &pending {
            pending.request.place.set(Place::Ended);
            lp.count_request(false);
        }
        drop(pending);
    }
}

/// Begins a request that somebody else will complete: `done` is called when they have.
fn begin(
    lp: &LoopRef,
    kind: RequestKind,
    done: impl FnOnce() + 'static,
) -> Result<(Request, Completion)> {
    let inner = lp.inner();
    inner.usable()?;
    let mailbox = inner.works.mailbox(inner)?;
    let request = register(lp, kind, done);
    let key = request.key;
    Ok((Request(request), Completion { key, mailbox }))
}

fn register(lp: &LoopRef, kind: RequestKind, done: impl FnOnce() + 'static) -> Rc<Inner> {
    let inner = lp.inner();
    let mut pending = inner.works.pending.borrow_mut();
    let entry = pending.vacant_entry();
    let key = entry.key();
    let request = Rc::new(Inner {
        lp: lp.clone(),
        kind,
        key,
        place: Cell::new(Place::Elsewhere),
        data: Cell::new(std::ptr::null_mut()),
    });
    entry.insert(Pending { request: request.clone(), done: Box::new(done) });
    inner.count_request(true);
    request
}

/// Gives an operation to the loop's ring, which [has room](Requests::has_ring); `finish` owns the
/// memory that it points to, and answers at once with what the kernel's answer comes to.
pub(super) fn submit_to_ring<T: Send + 'static>(
    lp: &LoopRef,
    kind: RequestKind,
    submission: &Submission,
    finish: impl FnOnce(Result<i32>, Answer<T>) + Send + 'static,
    done: impl FnOnce(T) + 'static,
) -> Request {
    let inner = lp.inner();
    let result = Arc::new(Mutex::new(None));
    let with_ring = result.clone();
    let request = register(lp, kind, move || {
        let result = lock(&result).take();
        if let Some(result) = result {
            done(result);
        }
    });
    let answer: Answer<T> = Box::new(move |result| *lock(&with_ring) = Some(result));
    let finish = Box::new(move |code| finish(code, answer));
    if let Some(ring) = inner.works.ring.borrow_mut().get() {
        request.place.set(Place::Ring(ring.push(submission, request.key, finish)));
    }
    inner.counters.request(true);
    Request(request)
}

/// Ends a request with its result, from any thread.
pub(super) type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// Gives work to the loop's pool, which answers before it returns or later; `done` is called with
/// the answer.
pub(super) fn submit<T: Send + 'static>(
    lp: &LoopRef,
    kind: RequestKind,
    class: WorkClass,
    work: impl FnOnce(Turn, Answer<T>) + Send + 'static,
    done: impl FnOnce(T) + 'static,
) -> Result<Request> {
    let result = Arc::new(Mutex::new(None));
    let with_thread = result.clone();
    let inner = lp.inner();
    inner.usable()?;
    let pool = inner.works.pool(inner)?;
    let (request, completion) = begin(lp, kind, move || {
        let result = lock(&result).take();
        // It is there: it was put there before the completion.
        if let Some(result) = result {
            done(result);
        }
    })?;
    let answer: Answer<T> = Box::new(move |result| {
        *lock(&with_thread) = Some(result);
        drop(with_thread);
        completion.complete();
    });
    match pool.push(class, Box::new(move |turn| work(turn, answer))) {
        Ok(id) => {
            request.0.place.set(Place::Pool(id));
            inner.counters.request(false);
            Ok(request)
        }
        Err(error) => {
            let pending = inner.works.pending.borrow_mut().try_remove(request.0.key);
            inner.count_request(false);
            drop(pending);
            Err(error)
        }
    }
}
