//! What all handles have in common, as users see it: [`Handle`], [`AnyHandle`], [`HandleKind`].

mod again;
mod base;
mod slot;

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::rc::Rc;

pub(crate) use again::Again;
pub(crate) use base::{Base, Node, OnUnwind, create};
pub(crate) use slot::Slot;

use crate::error::{Error, Result};
use crate::event_loop::LoopRef;

/// The kinds of handle, with libuv's names (`uv_handle_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleKind {
    /// [`Async`](crate::Async).
    Async,
    /// [`Check`](crate::Check).
    Check,
    /// [`FsEvent`](crate::FsEvent).
    FsEvent,
    /// [`FsPoll`](crate::FsPoll).
    FsPoll,
    /// [`Idle`](crate::Idle).
    Idle,
    /// [`Pipe`](crate::Pipe).
    NamedPipe,
    /// [`Poll`](crate::Poll).
    Poll,
    /// [`Prepare`](crate::Prepare).
    Prepare,
    /// [`Process`](crate::Process).
    Process,
    /// [`Pty`](crate::Pty).
    Pty,
    /// [`Reaper`](crate::Reaper).
    Reaper,
    /// [`SeqPacket`](crate::SeqPacket).
    SeqPacket,
    /// [`SeqPacketServer`](crate::SeqPacketServer).
    SeqPacketServer,
    /// [`Signal`](crate::Signal).
    Signal,
    /// [`Tcp`](crate::Tcp).
    Tcp,
    /// [`Timer`](crate::Timer).
    Timer,
    /// [`Tty`](crate::Tty).
    Tty,
    /// [`Udp`](crate::Udp).
    Udp,
    /// [`UnixDatagram`](crate::UnixDatagram).
    UnixDatagram,
}

impl HandleKind {
    /// libuv's word for the kind (`uv_handle_type_name`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            HandleKind::Async => "async",
            HandleKind::Check => "check",
            HandleKind::FsEvent => "fs_event",
            HandleKind::FsPoll => "fs_poll",
            HandleKind::Idle => "idle",
            HandleKind::NamedPipe => "pipe",
            HandleKind::Poll => "poll",
            HandleKind::Prepare => "prepare",
            HandleKind::Process => "process",
            HandleKind::Pty => "pty",
            HandleKind::Reaper => "reaper",
            HandleKind::SeqPacket => "seqpacket",
            HandleKind::SeqPacketServer => "seqpacket server",
            HandleKind::Signal => "signal",
            HandleKind::Tcp => "tcp",
            HandleKind::Timer => "timer",
            HandleKind::Tty => "tty",
            HandleKind::Udp => "udp",
            HandleKind::UnixDatagram => "unix datagram",
        }
    }
}

pub(crate) mod sealed {
    use super::{Node, Rc};

    /// Keeps [`Handle`](super::Handle) to the handles of this crate.
    pub trait Sealed {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn node(&self) -> Rc<dyn Node>;
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn base(&self) -> &super::Base;
    }
}

/// The operations that every handle has (`uv_handle_t`).
///
/// A handle value is a reference: cloning it gives another reference to the same handle, dropping
/// it does not stop anything. The loop keeps a handle while it is active, has a request in flight
/// or is closing. When nothing keeps it and the last reference goes, its descriptor is closed at
/// that moment, without a callback.
///
/// ```
/// use blacklight::{EventLoop, Handle, RunMode, Timer};
///
/// let lp = EventLoop::new()?;
/// let timer = Timer::new(&lp)?;
/// timer.start(1, 0, |timer| {
///     assert!(!timer.is_active(), "one shot is over when its callback runs");
///     timer.close();
/// })?;
/// assert!(timer.is_active());
/// lp.run(RunMode::Default)?;
/// assert!(timer.is_closed());
/// # Ok::<(), blacklight::Error>(())
/// ```
pub trait Handle: sealed::Sealed + Clone + 'static {
    /// The loop that the handle belongs to.
    fn event_loop(&self) -> &LoopRef {
        self.base().lp()
    }

    /// What kind of handle it is.
    fn kind(&self) -> HandleKind {
        self.node().kind()
    }

    /// Whether the handle is doing what its kind is for: a timer that runs, a stream that reads
    /// or listens, a process that has not been reaped.
    fn is_active(&self) -> bool {
        self.base().is_active()
    }

    /// Whether it has been closed, or is about to be: true from [`Handle::close`] on, for ever.
    fn is_closing(&self) -> bool {
        self.base().is_closing()
    }

    /// Whether closing is complete: its close callback is running or has run.
    fn is_closed(&self) -> bool {
        self.base().is_closed()
    }

    /// Closes the handle. May be called twice; the second call does nothing.
    ///
    /// Its descriptor is closed before this returns (a process that still runs is left running and
    /// will be reaped). Requests in flight are completed with `ECANCELED` in the closing phase of
    /// the turn, then nothing more is called. Until then the loop stays alive for it, referenced
    /// or not.
    fn close(&self) {
        let _closed_before = self.base().close(None);
    }

    /// Closes the handle and has `callback` called in the closing phase, after everything else.
    ///
    /// The handles closed in one turn have their callbacks called last closed first, as in libuv.
    ///
    /// # Errors
    /// `EINVAL` when the handle was closed before: the callback will not run.
    fn close_with(&self, callback: impl FnOnce(&Self) + 'static) -> Result<()> {
        let this = self.clone();
        let closed = self.base().close(Some(Box::new(move |_| callback(&this))));
        closed.map_err(|_| Error::EINVAL)
    }

    /// Lets the loop stay alive for this handle while it is active (`uv_ref`). New handles are so.
    fn reference(&self) {
        self.base().set_reference(true);
    }

    /// Lets the loop end although this handle is active (`uv_unref`).
    fn unreference(&self) {
        self.base().set_reference(false);
    }

    /// Whether the loop stays alive for this handle (`uv_has_ref`).
    fn has_reference(&self) -> bool {
        self.base().has_reference()
    }

    /// The pointer that [`Handle::set_user_data`] left, null at first. The crate never looks at
    /// what it points to.
    fn user_data(&self) -> *mut c_void {
        self.base().data()
    }

    /// Leaves a pointer with the handle (`uv_handle_set_data`).
    fn set_user_data(&self, data: *mut c_void) {
        self.base().set_data(data);
    }

    /// Whether both are references to one handle.
    fn is_same(&self, other: &impl Handle) -> bool {
        std::ptr::eq(self.base(), other.base())
    }

    /// The handle as one of any kind.
    fn to_any(&self) -> AnyHandle {
        AnyHandle(self.node())
    }
}

/// A handle of any kind, as [`LoopRef::walk`] shows it.
///
/// ```
/// use blacklight::{AnyHandle, EventLoop, Handle, Idle, Timer};
///
/// let lp = EventLoop::new()?;
/// let timer = Timer::new(&lp)?;
/// let any: AnyHandle = timer.to_any();
/// assert!(any.downcast::<Timer>().is_some());
/// assert!(any.downcast::<Idle>().is_none());
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyHandle(Rc<dyn Node>);

impl AnyHandle {
    pub(crate) fn new(node: Rc<dyn Node>) -> AnyHandle {
        AnyHandle(node)
    }

    /// The handle as what it is, if `H` is its type.
    #[must_use]
    pub fn downcast<H: FromAny>(&self) -> Option<H> {
        H::from_any(self)
    }

    /// Whether the loop made the handle for its own purposes (libuv's internal handles, which
    /// `uv_walk` skips).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.base().is_internal()
    }
}

impl fmt::Debug for AnyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.0.kind().name(), self.base())
    }
}

impl sealed::Sealed for AnyHandle {
    #[allow(private_interfaces)]
    fn node(&self) -> Rc<dyn Node> {
        self.0.clone()
    }

    #[allow(private_interfaces)]
    fn base(&self) -> &Base {
        self.0.base()
    }
}

impl Handle for AnyHandle {}

/// The handle types that [`AnyHandle::downcast`] can give.
pub trait FromAny: Handle {
    #[doc(hidden)]
    fn from_any(any: &AnyHandle) -> Option<Self>;
}

/// The inner handle of type `N`, if that is what it is.
pub(crate) fn downcast<N: Node>(any: &AnyHandle) -> Option<Rc<N>> {
    let node: Rc<dyn Any> = any.0.clone();
    node.downcast::<N>().ok()
}

/// Writes what a public handle type needs around its `Rc` of a node: `Handle`, `FromAny`, `Debug`.
macro_rules! handle {
    ($handle:ident, $node:ty, $matches:expr) => {
        impl $crate::handle::sealed::Sealed for $handle {
            #[allow(private_interfaces)]
            fn node(&self) -> std::rc::Rc<dyn $crate::handle::Node> {
                self.0.clone()
            }

            #[allow(private_interfaces)]
            fn base(&self) -> &$crate::handle::Base {
                &self.0.base
            }
        }

        impl $crate::handle::Handle for $handle {}

        impl $crate::handle::FromAny for $handle {
            fn from_any(any: &$crate::handle::AnyHandle) -> Option<Self> {
                let matches: fn(&$node) -> bool = $matches;
                $crate::handle::downcast::<$node>(any).filter(|n| matches(n)).map($handle)
            }
        }

        impl std::fmt::Debug for $handle {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($handle), self.0.base)
            }
        }
    };
}
pub(crate) use handle;
