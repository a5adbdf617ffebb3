//! A request as its maker holds it: [`Request`].
//!
//! Invariant: where the request is says who may end it; once it has ended it stays so.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::rc::Rc;

use super::Turn;
use super::queue::JobId;
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
    /// With somebody who holds a [`Completion`](super::requests::Completion).
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

pub(super) struct Inner {
    pub(super) lp: LoopRef,
    pub(super) kind: RequestKind,
    pub(super) key: usize,
    pub(super) place: Cell<Place>,
    pub(super) data: Cell<*mut c_void>,
}

/// A request that ends on another thread (`uv_work_t`, `uv_fs_t`, …): a reference that may be
/// dropped, kept and cloned without any effect on the request.
#[derive(Clone)]
pub struct Request(pub(super) Rc<Inner>);

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
        let lp = self.0.lp.inner();
        lp.usable()?;
        if let Place::Ring(token) = self.0.place.get() {
            return if lp.works.cancel_in_ring(token) { Ok(()) } else { Err(Error::EBUSY) };
        }
        let id = self.0.place.get().job().ok_or(Error::EBUSY)?;
        let pool = lp.works.pool(lp)?;
        let job = pool.remove(id).ok_or(Error::EBUSY)?;
        self.0.place.set(Place::Elsewhere);
        job(Turn::Cancel);
        Ok(())
    }

    /// Whether its closure has not been called yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !matches!(self.0.place.get(), Place::Ended)
    }

    /// What kind of request it is.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        self.0.kind
    }

    /// The loop that it belongs to.
    #[must_use]
    pub fn event_loop(&self) -> &LoopRef {
        &self.0.lp
    }

    /// The pointer that [`Request::set_user_data`] left, null at first. The crate never looks at
    /// what it points to.
    #[must_use]
    pub fn user_data(&self) -> *mut c_void {
        self.0.data.get()
    }

    /// Leaves a pointer with the request (`uv_req_set_data`).
    pub fn set_user_data(&self, data: *mut c_void) {
        self.0.data.set(data);
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_pending() { "pending" } else { "ended" };
        write!(f, "{}({state})", self.0.kind.name())
    }
}
