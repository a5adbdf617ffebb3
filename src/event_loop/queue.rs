//! The intrusive queues that handles wait on for their turn.
//!
//! Invariant: what is being worked off belongs to the loop, never to the stack of `run`. A walk is
//! a cursor in the queue itself: a handle that leaves the queue under the cursor moves the cursor
//! on, one that joins at the front is behind it, and a walk that a panic interrupted goes on where
//! it was. No list is ever moved aside.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

use intrusive_collections::{LinkedList, UnsafeRef, intrusive_adapter};

use crate::handle::{Base, Node};

intrusive_adapter!(QueuedAdapter = UnsafeRef<Base>: Base { queued => intrusive_collections::LinkedListLink });
intrusive_adapter!(AllAdapter = UnsafeRef<Base>: Base { all => intrusive_collections::LinkedListLink });

/// The list's view of a base.
///
/// # Safety
/// The base must leave the list before it is freed. Both lists see to it: whoever is in a [`Queue`]
/// is held by the loop until it has left, and [`AllHandles`] is left in the drop of the base.
unsafe fn listed(base: &Base) -> UnsafeRef<Base> {
    // SAFETY: a reference is never null; the caller answers for the rest.
    unsafe { UnsafeRef::from_raw(std::ptr::from_ref(base)) }
}

/// A queue of held handles.
pub(crate) struct Queue {
    list: RefCell<LinkedList<QueuedAdapter>>,
    /// Where the walk goes on; `None` outside a walk and at its end.
    cursor: Cell<Option<NonNull<Base>>>,
    /// Set while a walk has handles left, so that an interrupted one is taken up again.
    walking: Cell<bool>,
    len: Cell<usize>,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue {
            list: RefCell::new(LinkedList::new(QueuedAdapter::new())),
            cursor: Cell::new(None),
            walking: Cell::new(false),
            len: Cell::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Whether there is nobody to walk over, and no interrupted walk to end.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.len.get() == 0 && !self.walking.get()
    }

    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    /// Joins at the front. The handle is on no queue and is held.
    pub(crate) fn push_front(&self, base: &Base) {
        debug_assert!(!base.queued.is_linked());
        // SAFETY: the handle is held by the loop for as long as it is queued.
        self.list.borrow_mut().push_front(unsafe { listed(base) });
        self.grown(base);
    }

    /// Joins at the back. The handle is on no queue and is held.
    pub(crate) fn push_back(&self, base: &Base) {
        debug_assert!(!base.queued.is_linked());
        // SAFETY: the handle is held by the loop for as long as it is queued.
        self.list.borrow_mut().push_back(unsafe { listed(base) });
        self.grown(base);
    }

    fn grown(&self, base: &Base) {
        self.len.set(self.len.get() + 1);
        let lp = base.lp().inner();
        if std::ptr::eq(self, &raw const lp.pending) {
            lp.chores.add_pending();
        } else {
            lp.chores.add_queued();
        }
    }

    /// Leaves this queue, on which the handle is.
    pub(crate) fn remove(&self, base: &Base) {
        debug_assert!(base.queued.is_linked());
        let mut list = self.list.borrow_mut();
        // SAFETY: a handle is on one queue at a time, and its caller knows that it is this one.
        let mut at = unsafe { list.cursor_mut_from_ptr(std::ptr::from_ref(base)) };
        if self.cursor.get() == Some(NonNull::from(base)) {
            self.cursor.set(at.peek_next().get().map(NonNull::from));
        }
        at.remove();
        self.len.set(self.len.get() - 1);
    }

    /// Takes the first handle off the queue.
    pub(crate) fn pop_front(&self) -> Option<Rc<dyn Node>> {
        let node = self.list.borrow().front().get().and_then(Base::node)?;
        self.remove(node.base());
        Some(node)
    }

    /// Begins a walk over those that are queued now. If a panic has interrupted the last one, takes
    /// that up instead, and says so.
    pub(crate) fn begin(&self) -> bool {
        let resumed = self.walking.replace(true);
        if !resumed {
            let list = self.list.borrow();
            self.cursor.set(list.front().get().map(NonNull::from));
        }
        resumed
    }

    /// The next handle of the walk, which stays queued.
    pub(crate) fn next(&self) -> Option<Rc<dyn Node>> {
        let Some(at) = self.cursor.get() else {
            self.walking.set(false);
            return None;
        };
        let list = self.list.borrow();
        // SAFETY: the cursor is always a handle on this queue: `remove` moves it on.
        let at = unsafe { list.cursor_from_ptr(at.as_ptr()) };
        self.cursor.set(at.peek_next().get().map(NonNull::from));
        at.get().and_then(Base::node)
    }
}

/// All handles of a loop that exist, in the order they were made; it does not own them.
pub(crate) struct AllHandles(RefCell<LinkedList<AllAdapter>>);

impl AllHandles {
    pub(crate) fn new() -> AllHandles {
        AllHandles(RefCell::new(LinkedList::new(AllAdapter::new())))
    }

    pub(crate) fn add(&self, base: &Base) {
        // SAFETY: the base calls `remove` in its drop.
        self.0.borrow_mut().push_back(unsafe { listed(base) });
    }

    /// Leaves the list, if the handle is in it.
    pub(crate) fn remove(&self, base: &Base) {
        if base.all.is_linked() {
            let mut list = self.0.borrow_mut();
            // SAFETY: `all` is only ever linked into this list, that of the handle's own loop.
            unsafe { list.cursor_mut_from_ptr(std::ptr::from_ref(base)) }.remove();
        }
    }

    /// The first one that has not begun to be dropped.
    pub(crate) fn first(&self) -> Option<Rc<dyn Node>> {
        self.0.borrow().iter().find_map(Base::node)
    }

    /// All of them now.
    pub(crate) fn snapshot(&self) -> Vec<Rc<dyn Node>> {
        self.0.borrow().iter().filter_map(Base::node).collect()
    }
}
