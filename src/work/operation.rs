//! One operation, and the two ways to have it done: here and now, or by the pool.
//!
//! Invariant: an operation's closure is called exactly once, and always answers: with what the
//! system said, or with the error that it is given instead. So what an operation owns (a buffer,
//! a share in a file) comes back, or ends, also when it is cancelled.

use std::fmt;
use std::sync::OnceLock;

use super::WorkClass;
use super::request::{Request, RequestKind};
use super::requests::{submit, submit_to_ring};
use super::task::{Answer, Go, Later, Now, Task, Work};
use crate::error::{Error, Result};
use crate::event_loop::{Facilities, LoopRef, Options};
use crate::sys::io_uring::Submission;

/// Something to be done, described and not yet begun; `T` is what comes of it, a [`Result`] for
/// most. Made by the functions of [`fs`](crate::fs) and the methods of its types, of
/// [`dns`](crate::dns), and by [`random`](crate::random).
#[must_use = "it does nothing until `run` or `start`"]
pub struct Operation<T> {
    kind: RequestKind,
    class: WorkClass,
    refused: Option<Error>,
    task: Box<dyn Task<T>>,
}

impl<T: Send + 'static> Operation<T> {
    fn with(task: Box<dyn Task<T>>) -> Operation<T> {
        Operation { kind: RequestKind::Fs, class: WorkClass::File, refused: None, task }
    }

    pub(crate) fn new(work: impl FnOnce(Go) -> T + Send + 'static) -> Operation<T> {
        Operation::through_ring((), |()| None, move |(), go| work(go))
    }

    /// An operation that the kernel may do by itself, if `submission` says how. What that points to
    /// is in `state`, which does not move in between.
    pub(crate) fn through_ring<S: Send + 'static>(
        state: S,
        submission: impl FnMut(&mut S) -> Option<Submission> + Send + 'static,
        call: impl FnOnce(S, Go) -> T + Send + 'static,
    ) -> Operation<T> {
        Operation::with(Box::new(Now::Work(Work { state, submission, call })))
    }

    /// An operation that answers when others have done their part.
    pub(crate) fn later(
        submission: impl FnMut() -> Option<Submission> + Send + 'static,
        work: impl FnOnce(Go, Answer<T>) + Send + 'static,
    ) -> Operation<T> {
        Operation::with(Box::new(Later::new(submission, work)))
    }

    /// An operation that is not one on files.
    pub(crate) fn of(mut self, kind: RequestKind, class: WorkClass) -> Operation<T> {
        (self.kind, self.class) = (kind, class);
        self
    }

    /// An operation that cannot be begun if there is an error.
    pub(crate) fn refused_by(mut self, error: Option<Error>) -> Operation<T> {
        self.refused = error;
        self
    }

    /// Does it, on this thread, and returns when it is done (libuv's functions without a callback).
    ///
    /// Which facilities of the kernel are used is for
    /// [the environment](crate::Options::from_env) to say.
    pub fn run(self) -> T {
        self.task.run(match self.refused {
            Some(error) => Go::Fail(error),
            None => Go::Run(facilities_of_process()),
        })
    }

    /// Has a thread of the loop's pool do it; `done` is called on the loop with what came of it,
    /// `ECANCELED` if it was [cancelled](Request::cancel) in time.
    ///
    /// # Errors
    /// `EINVAL` for a path or name with a NUL in it, and when the loop has been dropped; `EBADF` for
    /// a file that has been closed; `ESTALE` in a forked child; `EAGAIN` when not even one thread can be
    /// had; `EMFILE`, `ENFILE` or `ENOMEM` from eventfd(2). After an error `done` is not called.
    pub fn start(self, lp: &LoopRef, done: impl FnOnce(T) + 'static) -> Result<Request> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let (inner, mut task) = (lp.inner(), self.task);
        inner.usable()?;
        if inner.works.has_ring(inner)
            && let Some(submission) = task.submission()
        {
            return Ok(submit_to_ring(lp, self.kind, &submission, task, done));
        }
        submit(lp, self.kind, self.class, task, done)
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Operation<Result<T>> {
    /// An operation that is one function of the kernel's facilities.
    pub(crate) fn call(call: impl FnOnce(Facilities) -> Result<T> + Send + 'static) -> Self {
        Operation::new(move |go| match go {
            Go::Run(facilities) => call(facilities),
            Go::Fail(error) => Err(error),
            Go::Ended(answer) => Err(answer.err().unwrap_or(Error::UNKNOWN)),
        })
    }

    /// As [`Operation::through_ring`]; `call` does it, or with the kernel's answer only makes the
    /// result of that.
    pub(crate) fn call_or_ring<S: Send + 'static>(
        state: S,
        submission: impl FnMut(&mut S) -> Option<Submission> + Send + 'static,
        call: impl FnOnce(S, Option<i32>, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        Operation::through_ring(state, submission, move |state, go| match go {
            Go::Run(facilities) => call(state, None, facilities),
            Go::Fail(error) => Err(error),
            Go::Ended(answer) => call(state, Some(answer?), Facilities::empty()),
        })
    }

    /// An operation that cannot be begun.
    pub(crate) fn refuse(error: Error) -> Self {
        Operation::call(move |_| Err(error)).refused_by(Some(error))
    }
}

/// What may be used where no loop says so: what the environment leaves. A word in it that means
/// nothing has been an error to whoever made a loop; here it turns nothing off.
fn facilities_of_process() -> Facilities {
    static FACILITIES: OnceLock<Facilities> = OnceLock::new();
    *FACILITIES.get_or_init(|| Options::from_env().unwrap_or_default().facilities)
}
