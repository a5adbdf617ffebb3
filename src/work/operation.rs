//! One operation, and the two ways to have it done: here and now, or by the pool.
//!
//! Invariant: an operation's closure is called exactly once, and always answers: with what the
//! system said, or with the error that it is given instead. So what an operation owns (a buffer,
//! a share in a file) comes back, or ends, also when it is cancelled.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use super::request::{Request, RequestKind};
use super::requests::{Answer, submit, submit_to_ring};
use super::{Turn, WorkClass};
use crate::error::{Error, Result};
use crate::event_loop::{Facilities, LoopRef, Options};
use crate::sys::io_uring::Submission;

/// What is to happen with an operation.
pub(crate) enum Go {
    /// It is to be done, with these facilities of the kernel.
    Run(Facilities),
    /// It cannot be, or is not to be done any more.
    Fail(Error),
    /// The kernel has done it, and answers; only for what was given to it by
    /// [`Operation::through_ring`].
    Ended(Result<i32>),
}

/// How an operation goes through the ring.
enum Ringed {
    No,
    Ready(Submission),
    /// Is found out when it is started.
    AtStart(Box<dyn FnOnce() -> Option<Submission> + Send>),
}

enum Work<T> {
    /// Has its result when it returns.
    Now(Box<dyn FnOnce(Go) -> T + Send>),
    /// Answers when others have done their part.
    Later(Box<dyn FnOnce(Go, Answer<T>) + Send>),
}

/// Something to be done, described and not yet begun; `T` is what comes of it, a [`Result`] for
/// most. Made by the functions of [`fs`](crate::fs) and the methods of its types, of
/// [`dns`](crate::dns), and by [`random`](crate::random).
#[must_use = "it does nothing until `run` or `start`"]
pub struct Operation<T> {
    kind: RequestKind,
    class: WorkClass,
    refused: Option<Error>,
    work: Work<T>,
    ringed: Ringed,
}

impl<T> Operation<T> {
    fn with(work: Work<T>) -> Operation<T> {
        Operation {
            kind: RequestKind::Fs,
            class: WorkClass::File,
            refused: None,
            work,
            ringed: Ringed::No,
        }
    }

    pub(crate) fn new(work: impl FnOnce(Go) -> T + Send + 'static) -> Operation<T> {
        Operation::with(Work::Now(Box::new(work)))
    }

    pub(crate) fn later(work: impl FnOnce(Go, Answer<T>) + Send + 'static) -> Operation<T> {
        Operation::with(Work::Later(Box::new(work)))
    }

    /// An operation that the kernel can do by itself. What the submission points to belongs to the
    /// operation's closure.
    pub(crate) fn through_ring(mut self, submission: Option<Submission>) -> Operation<T> {
        self.ringed = submission.map_or(Ringed::No, Ringed::Ready);
        self
    }

    /// As [`Operation::through_ring`], to be found out when it is started.
    pub(crate) fn through_ring_if(
        mut self,
        submission: impl FnOnce() -> Option<Submission> + Send + 'static,
    ) -> Operation<T> {
        self.ringed = Ringed::AtStart(Box::new(submission));
        self
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
    pub fn run(self) -> T
    where
        T: Send + 'static,
    {
        let go = match self.refused {
            Some(error) => Go::Fail(error),
            None => Go::Run(facilities_of_process()),
        };
        match self.work {
            Work::Now(work) => work(go),
            Work::Later(work) => wait_for(|answer| work(go, answer)),
        }
    }

    /// Has a thread of the loop's pool do it; `done` is called on the loop with what came of it,
    /// `ECANCELED` if it was [cancelled](Request::cancel) in time.
    ///
    /// # Errors
    /// `EINVAL` for a path or name with a NUL in it, and when the loop has been dropped; `EBADF` for
    /// a file that has been closed; `ESTALE` in a forked child; `EAGAIN` when not even one thread can be
    /// had; `EMFILE`, `ENFILE` or `ENOMEM` from eventfd(2). After an error `done` is not called.
    pub fn start(self, lp: &LoopRef, done: impl FnOnce(T) + 'static) -> Result<Request>
    where
        T: Send + 'static,
    {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let (inner, work) = (lp.inner(), self.work);
        inner.usable()?;
        let submission = match self.ringed {
            Ringed::No => None,
            _ if !inner.works.has_ring(inner) => None,
            Ringed::Ready(submission) => Some(submission),
            Ringed::AtStart(submission) => submission(),
        };
        if let Some(submission) = submission {
            let finish = move |code, answer: Answer<T>| match work {
                Work::Now(work) => answer(work(Go::Ended(code))),
                Work::Later(work) => work(Go::Ended(code), answer),
            };
            return Ok(submit_to_ring(lp, self.kind, &submission, finish, done));
        }
        let facilities = inner.options.facilities;
        let work = move |turn, answer: Answer<T>| {
            let go = match turn {
                Turn::Run => Go::Run(facilities),
                Turn::Cancel => Go::Fail(Error::ECANCELED),
            };
            match work {
                Work::Now(work) => answer(work(go)),
                Work::Later(work) => work(go, answer),
            }
        };
        submit(lp, self.kind, self.class, work, done)
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("refused", &self.refused).finish_non_exhaustive()
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

impl<T: 'static> Operation<Result<T>> {
    /// An operation that is one function of the kernel's facilities.
    pub(crate) fn call(call: impl FnOnce(Facilities) -> Result<T> + Send + 'static) -> Self {
        Operation::new(move |go| match go {
            Go::Run(facilities) => call(facilities),
            Go::Fail(error) => Err(error),
            Go::Ended(answer) => Err(answer.err().unwrap_or(Error::UNKNOWN)),
        })
    }

    /// An operation that the kernel may do by itself; `call` does it, or with the
    /// kernel's answer only makes the result of that.
    pub(crate) fn call_or_ring(
        submission: Option<Submission>,
        call: impl FnOnce(Option<i32>, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        Operation::new(move |go| match go {
            Go::Run(facilities) => call(None, facilities),
            Go::Fail(error) => Err(error),
            Go::Ended(answer) => call(Some(answer?), Facilities::empty()),
        })
        .through_ring(submission)
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
