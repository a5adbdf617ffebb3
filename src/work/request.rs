//! A request as its maker holds it: [`Request`].
//!
//! Invariant: where the request is says who may end it; once it has ended it stays so.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use super::queue::JobId;
use super::task::Block;
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;

/// The kinds of request that end on another thread, with libuv's names (`uv_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// An operation of [`fs`](crate::fs).
    Fs,
    /// [`LoopRef::queue_work`].
    Work,
    /// [`dns::getaddrinfo`](crate::dns::getaddrinfo).
    GetAddrInfo,
    /// [`dns::getnameinfo`](crate::dns::getnameinfo).
    GetNameInfo,
    /// [`random`](crate::random).
    Random,
}

impl RequestKind {
    /// libuv's word for the kind (`uv_req_type_name`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RequestKind::Fs => "fs",
            RequestKind::Work => "work",
            RequestKind::GetAddrInfo => "getaddrinfo",
            RequestKind::GetNameInfo => "getnameinfo",
            RequestKind::Random => "random",
        }
    }
}

/// Where a request is.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// With a pool: in its queue, or with one of its threads.
    Pool(JobId),
    /// With the kernel, in the ring.
    Ring(usize),
    /// With somebody who holds a [`Ticket`](super::mailbox::Ticket).
    Elsewhere,
    Ended,
}

impl Place {
    pub(super) fn job(self) -> Option<JobId> {
        match self {
            Place::Pool(id) => Some(id),
            Place::Ring(_) | Place::Elsewhere | Place::Ended => None,
        }
    }
}

/// What every request has.
pub(super) struct Base {
    lp: LoopRef,
    kind: RequestKind,
    pub(super) place: Cell<Place>,
    data: Cell<*mut c_void>,
}

/// A request as its loop has it, without its types.
pub(super) trait Node {
    fn base(&self) -> &Base;

    /// Calls the closure with the result that is in the block.
    fn end(self: Rc<Self>, block: Box<dyn Block>);

    /// Drops the closure.
    fn forget(&self);
}

/// A request, and the closure that is called at its end, in one block of memory.
pub(super) struct Pending<T, D> {
    base: Base,
    done: Cell<Option<D>>,
    result: PhantomData<fn(T)>,
}

impl<T, D: FnOnce(T)> Pending<T, D> {
    pub(super) fn new(lp: &LoopRef, kind: RequestKind, place: Place, done: D) -> Pending<T, D> {
        let (place, data) = (Cell::new(place), Cell::new(std::ptr::null_mut()));
        let base = Base { lp: lp.clone(), kind, place, data };
        Pending { base, done: Cell::new(Some(done)), result: PhantomData }
    }
}

impl<T: 'static, D: FnOnce(T)> Node for Pending<T, D> {
    fn base(&self) -> &Base {
        &self.base
    }

    fn end(self: Rc<Self>, block: Box<dyn Block>) {
        // Both blocks are free again before the closure begins the next request.
        let done = self.done.take();
        drop(self);
        let mut result = None::<T>;
        block.give(&mut result);
        if let (Some(done), Some(result)) = (done, result) {
            done(result);
        }
    }

    fn forget(&self) {
        drop(self.done.take());
    }
}

/// A request that ends on another thread (`uv_work_t`, `uv_fs_t`, …): a reference that may be
/// dropped, kept and cloned without any effect on the request.
#[derive(Clone)]
pub struct Request(pub(super) Rc<dyn Node>);

impl Request {
    /// Cancels the request if it has not begun (`uv_cancel`): its closure will be called with
    /// `ECANCELED` in a later phase of `run`, and what was to be done is dropped before this
    /// returns. Through [io_uring](crate::Options::io_uring) a read of a pipe that waits can be
    /// cancelled, too.
    ///
    /// # Errors
    /// `EBUSY` when it has begun or has ended (one that the kernel has begun in io_uring may come to
    /// `ECANCELED` all the same); `EINVAL` when the loop has been dropped, `ESTALE` in
    /// a forked child.
    pub fn cancel(&self) -> Result<()> {
        let lp = self.0.base().lp.inner();
        lp.usable()?;
        if let Place::Ring(token) = self.0.base().place.get() {
            return if lp.works.cancel_in_ring(token) { Ok(()) } else { Err(Error::EBUSY) };
        }
        let id = self.0.base().place.get().job().ok_or(Error::EBUSY)?;
        let pool = lp.works.pool(lp)?;
        let job = pool.remove(id).ok_or(Error::EBUSY)?;
        self.0.base().place.set(Place::Elsewhere);
        job.cancel();
        Ok(())
    }

    /// Whether its closure has not been called yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !matches!(self.0.base().place.get(), Place::Ended)
    }

    /// What kind of request it is.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        self.0.base().kind
    }

    /// The loop that it belongs to.
    #[must_use]
    pub fn event_loop(&self) -> &LoopRef {
        &self.0.base().lp
    }

    /// The pointer that [`Request::set_user_data`] left, null at first. The crate never looks at
    /// what it points to.
    #[must_use]
    pub fn user_data(&self) -> *mut c_void {
        self.0.base().data.get()
    }

    /// Leaves a pointer with the request (`uv_req_set_data`).
    pub fn set_user_data(&self, data: *mut c_void) {
        self.0.base().data.set(data);
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_pending() { "pending" } else { "ended" };
        write!(f, "{}({state})", self.0.base().kind.name())
    }
}
