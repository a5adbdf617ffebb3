//! What every handle has: its links, its flags, and the rule that says how long the loop keeps it.
//!
//! Invariant: a handle holds a reference to itself exactly while the loop has a reason to keep it
//! (it is active or has requests in flight); see [`Base::hold`]. The loop's lists do not own, but for
//! that of the closing: a handle leaves the list of all handles when it is dropped, and is on a
//! work queue only while it is held.
//!
//! That reference is a count without a field of its own. A loop may have very many handles, and
//! most are idle: what each of them takes is what a server of many connections takes.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::{Rc, Weak};

use intrusive_collections::LinkedListLink;

use super::{AnyHandle, HandleKind};
use crate::event_loop::LoopRef;

/// A closure that runs once, in the closing phase.
pub(crate) type CloseCallback = Box<dyn FnOnce(&Rc<dyn Node>)>;

/// The behaviour that each kind of handle gives to the loop. Everything here is called from `run`
/// or from `close`, never with a borrow of the loop's state live.
pub(crate) trait Node: std::any::Any {
    fn base(&self) -> &Base;

    fn kind(&self) -> HandleKind;

    /// Events of the descriptor that this handle watches.
    fn io(self: Rc<Self>, _events: u32) {}

    /// The handle's turn in the work queue that it is on.
    fn work(self: Rc<Self>) {}

    /// Stops everything and gives descriptors back; no code of the user's runs in it. Requests in
    /// flight stay, to be completed by `finish_close`.
    fn stop(&self);

    /// Drops the closures of what was stopped. The handle is in its final state.
    fn drop_closures(&self) {}

    /// In the closing phase, before the close callback: completes what was in flight.
    fn finish_close(self: Rc<Self>) {}

    /// In a forked child, when the loop has been made its own: what threads of the parent's were to
    /// do for this handle will not be done.
    fn forked(self: Rc<Self>) {}
}

const ACTIVE: u8 = 1;
const REFERENCED: u8 = 2;
const CLOSING: u8 = 4;
const CLOSED: u8 = 8;
const INTERNAL: u8 = 16;
/// One reference to the handle is the handle's own; [`Base::hold`] made it.
const HELD: u8 = 32;

/// The common part of a handle.
pub(crate) struct Base {
    /// In the loop's list of all handles.
    pub(crate) all: LinkedListLink,
    /// In one of the loop's work queues.
    pub(crate) queued: LinkedListLink,
    lp: LoopRef,
    this: Weak<dyn Node>,
    holds: Cell<u32>,
    flags: Cell<u8>,
    data: Cell<*mut c_void>,
    /// Boxed once more, because most handles are closed without one.
    close_callback: Cell<Option<Box<CloseCallback>>>,
}

impl Base {
    /// The base of a new handle of `lp`; `this` is the handle that it will be part of.
    pub(crate) fn new(lp: &LoopRef, this: Weak<dyn Node>) -> Base {
        Base {
            all: LinkedListLink::new(),
            queued: LinkedListLink::new(),
            lp: lp.clone(),
            this,
            holds: Cell::new(0),
            flags: Cell::new(REFERENCED),
            data: Cell::new(std::ptr::null_mut()),
            close_callback: Cell::new(None),
        }
    }

    pub(crate) fn lp(&self) -> &LoopRef {
        &self.lp
    }

    /// The handle that this is part of; `None` only while it is being dropped.
    pub(crate) fn node(&self) -> Option<Rc<dyn Node>> {
        self.this.upgrade()
    }

    pub(crate) fn weak(&self) -> Weak<dyn Node> {
        self.this.clone()
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn put(&self, flag: u8, on: bool) {
        let flags = self.flags.get();
        self.flags.set(if on { flags | flag } else { flags & !flag });
    }

    pub(crate) fn is_active(&self) -> bool {
        self.has(ACTIVE)
    }

    /// Between `close` and the end of the close callback, and ever after.
    pub(crate) fn is_closing(&self) -> bool {
        self.has(CLOSING)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.has(CLOSED)
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.has(INTERNAL)
    }

    /// The handle serves another one, and is none of the user's.
    pub(crate) fn set_internal(&self) {
        self.put(INTERNAL, true);
    }

    pub(crate) fn set_closed(&self) {
        self.put(CLOSING | CLOSED, true);
    }

    pub(crate) fn has_reference(&self) -> bool {
        self.has(REFERENCED)
    }

    pub(crate) fn set_reference(&self, on: bool) {
        if self.has_reference() == on {
            return;
        }
        self.put(REFERENCED, on);
        if self.is_active() {
            self.lp.inner().count_active(on);
        }
    }

    /// Marks the handle active: the loop keeps it, and lives for it while it is referenced.
    pub(crate) fn activate(&self) {
        if !self.is_active() {
            self.put(ACTIVE, true);
            self.hold();
            if self.has_reference() {
                self.lp.inner().count_active(true);
            }
        }
    }

    /// The opposite of [`Base::activate`]. May drop the handle when nobody else refers to it: the
    /// caller holds a reference, or is done with it.
    pub(crate) fn deactivate(&self) {
        if self.is_active() {
            self.put(ACTIVE, false);
            if self.has_reference() {
                self.lp.inner().count_active(false);
            }
            self.release();
        }
    }

    /// A request of this handle is in flight: the loop lives for it.
    pub(crate) fn request_started(&self) {
        self.hold();
        self.lp.inner().count_request(true);
    }

    /// The opposite of [`Base::request_started`]; as to dropping, see [`Base::deactivate`].
    pub(crate) fn request_ended(&self) {
        self.lp.inner().count_request(false);
        self.release();
    }

    /// One more reason for the loop to keep the handle.
    pub(crate) fn hold(&self) {
        let holds = self.holds.get();
        self.holds.set(holds + 1);
        if holds == 0
            && let Some(node) = self.node()
        {
            self.put(HELD, true);
            std::mem::forget(node);
        }
    }

    /// One reason less; as to dropping, see [`Base::deactivate`].
    pub(crate) fn release(&self) {
        let holds = self.holds.get();
        debug_assert!(holds > 0, "released more often than held");
        self.holds.set(holds - 1);
        if holds == 1 {
            drop(self.take_held());
        }
    }

    /// The reference that [`Base::hold`] made, if there is one.
    fn take_held(&self) -> Option<Rc<dyn Node>> {
        if !self.has(HELD) {
            return None;
        }
        self.put(HELD, false);
        // SAFETY: the flag says that a reference was forgotten and not taken back since, so the
        // node is alive and this is the pointer of an `Rc` that nobody else will drop.
        Some(unsafe { Rc::from_raw(self.this.as_ptr()) })
    }

    pub(crate) fn data(&self) -> *mut c_void {
        self.data.get()
    }

    pub(crate) fn set_data(&self, data: *mut c_void) {
        self.data.set(data);
    }

    pub(crate) fn take_close_callback(&self) -> Option<CloseCallback> {
        self.close_callback.take().map(|callback| *callback)
    }

    /// The first half of closing; `false` when it had begun before.
    pub(crate) fn close(
        &self,
        callback: Option<CloseCallback>,
    ) -> Result<(), Option<CloseCallback>> {
        let node = if self.is_closing() { None } else { self.node() };
        let Some(node) = node else { return Err(callback) };
        self.put(CLOSING, true);
        self.close_callback.set(callback.map(Box::new));
        node.stop();
        self.deactivate();
        self.lp.inner().enqueue_closing(node.clone());
        node.drop_closures();
        Ok(())
    }

    /// Ends the handle without a callback, because its loop is being dropped.
    pub(crate) fn discard(&self, node: &Rc<dyn Node>) {
        self.set_closed();
        node.stop();
        self.put(ACTIVE, false);
        self.holds.set(0);
        let held = self.take_held();
        node.drop_closures();
        drop(self.close_callback.take());
        drop(held);
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.lp.inner().forget(self);
    }
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.flags.get() {
            flags if flags & CLOSED != 0 => "closed",
            flags if flags & CLOSING != 0 => "closing",
            flags if flags & ACTIVE != 0 => "active",
            _ => "idle",
        };
        f.write_str(state)
    }
}

/// Makes a handle of the loop: `build` gets the base that the handle must be built around.
/// `EINVAL` when the loop has been dropped.
pub(crate) fn create<N: Node>(
    lp: &LoopRef,
    build: impl FnOnce(Base) -> N,
) -> crate::error::Result<Rc<N>> {
    lp.inner().usable()?;
    let node = Rc::new_cyclic(|this: &Weak<N>| build(Base::new(lp, this.clone())));
    lp.inner().enlist(node.base());
    Ok(node)
}

/// Runs its closure when it is dropped by unwinding: what a handle does to stop the operation
/// whose callback panicked.
pub(crate) struct OnUnwind<F: FnMut()>(F);

impl<F: FnMut()> OnUnwind<F> {
    pub(crate) fn new(stop: F) -> OnUnwind<F> {
        OnUnwind(stop)
    }

    /// The callback has returned.
    pub(crate) fn passed(self) {
        std::mem::forget(self);
    }
}

impl<F: FnMut()> Drop for OnUnwind<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl AnyHandle {
    pub(crate) fn base(&self) -> &Base {
        self.0.base()
    }
}
