//! What travels: the work of a request, then what came of it, in one block of memory.
//!
//! Invariants: a block has one owner at a time (the queue, a thread, the mailbox, the loop), so
//! nothing in it needs a lock. It is allocated where the request is described and freed where it
//! ends, on the loop's thread, because memory that one thread allocates and another frees is dear.
//! What was to be done is gone when it has been done, before the block.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::mailbox::Ticket;
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::io_uring::Submission;

/// What is to happen with a task.
pub(crate) enum Go {
    /// It is to be done, with these facilities of the kernel.
    Run(Facilities),
    /// It cannot be, or is not to be done any more.
    Fail(Error),
    /// The kernel has done it, and answers; only for what was given to it by
    /// [`Task::submission`].
    Ended(Result<i32>),
}

/// Ends a request with its result, from any thread.
pub(crate) type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// A block without its types, as queue, threads and loop pass it on.
pub(super) trait Block: Send {
    /// Does its work, or what is to happen instead; what it comes to is handed in with the ticket,
    /// now or later.
    fn go(self: Box<Self>, go: Go, ticket: Ticket);

    /// Puts the result, if it has one, into `place`, an `Option` of its type.
    fn give(self: Box<Self>, place: &mut dyn Any);
}

/// The block of a request that has not begun; `T` is what comes of it.
pub(super) trait Task<T>: Block {
    /// What the kernel needs to do the work by itself, if it can. What this points to belongs to the
    /// block and stays where it is.
    fn submission(&mut self) -> Option<Submission>;

    /// Does the work on this thread and waits for the result.
    fn run(self: Box<Self>, go: Go) -> T;
}

/// To be done by `call`, with what it needs for that; or by the kernel, if `submission` says how.
pub(super) struct Work<S, R, F> {
    pub(super) state: S,
    pub(super) submission: R,
    pub(super) call: F,
}

/// Work whose result is there when it returns: the one takes the place of the other.
pub(super) enum Now<W, T> {
    Work(W),
    Result(T),
}

impl<S, R, F, T> Block for Now<Work<S, R, F>, T>
where
    S: Send + 'static,
    R: Send + 'static,
    F: FnOnce(S, Go) -> T + Send + 'static,
    T: Send + 'static,
{
    fn go(mut self: Box<Self>, go: Go, ticket: Ticket) {
        let result = match *self {
            Now::Work(work) => (work.call)(work.state, go),
            Now::Result(result) => result,
        };
        *self = Now::Result(result);
        ticket.complete(self);
    }

    fn give(self: Box<Self>, place: &mut dyn Any) {
        if let (Now::Result(result), Some(place)) = (*self, place.downcast_mut::<Option<T>>()) {
            *place = Some(result);
        }
    }
}

impl<S, R, F, T> Task<T> for Now<Work<S, R, F>, T>
where
    S: Send + 'static,
    R: FnMut(&mut S) -> Option<Submission> + Send + 'static,
    F: FnOnce(S, Go) -> T + Send + 'static,
    T: Send + 'static,
{
    fn submission(&mut self) -> Option<Submission> {
        match self {
            Now::Work(work) => (work.submission)(&mut work.state),
            Now::Result(_) => None,
        }
    }

    fn run(self: Box<Self>, go: Go) -> T {
        match *self {
            Now::Work(work) => (work.call)(work.state, go),
            Now::Result(result) => result,
        }
    }
}

/// Work that answers when others have done their part.
pub(super) struct Later<R, F, T> {
    submission: R,
    call: F,
    answer: PhantomData<fn() -> T>,
}

impl<R, F, T> Later<R, F, T>
where
    F: FnOnce(Go, Answer<T>),
{
    pub(super) fn new(submission: R, call: F) -> Later<R, F, T> {
        Later { submission, call, answer: PhantomData }
    }
}

impl<R, F, T> Block for Later<R, F, T>
where
    R: Send,
    F: FnOnce(Go, Answer<T>) + Send,
    T: Send + 'static,
{
    fn go(self: Box<Self>, go: Go, ticket: Ticket) {
        let answer = move |result| ticket.complete(Box::new(Answered(result)));
        (self.call)(go, Box::new(answer));
    }

    fn give(self: Box<Self>, _: &mut dyn Any) {}
}

impl<R, F, T> Task<T> for Later<R, F, T>
where
    R: FnMut() -> Option<Submission> + Send,
    F: FnOnce(Go, Answer<T>) + Send,
    T: Send + 'static,
{
    fn submission(&mut self) -> Option<Submission> {
        (self.submission)()
    }

    fn run(self: Box<Self>, go: Go) -> T {
        wait_for(|answer| (self.call)(go, answer))
    }
}

/// What a [`Later`] hands in.
struct Answered<T>(T);

impl<T: Send + 'static> Block for Answered<T> {
    fn go(self: Box<Self>, _: Go, ticket: Ticket) {
        ticket.complete(self);
    }

    fn give(self: Box<Self>, place: &mut dyn Any) {
        if let Some(place) = place.downcast_mut::<Option<T>>() {
            *place = Some(self.0);
        }
    }
}

/// Waits on this thread for an answer that another may give.
fn wait_for<T: Send + 'static>(begin: impl FnOnce(Answer<T>)) -> T {
    let cell = Arc::new((Mutex::new(None), Condvar::new()));
    let with_answer = cell.clone();
    begin(Box::new(move |result| {
        *with_answer.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        with_answer.1.notify_one();
    }));
    let mut result = cell.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(result) = result.take() {
            return result;
        }
        result = cell.1.wait(result).unwrap_or_else(PoisonError::into_inner);
    }
}
