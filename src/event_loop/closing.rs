//! The handles that are closing: last closed, first called.
//!
//! Invariants: those that are closed while the phase runs wait for the next turn; a handle is
//! kept by this list, and by nothing else of the loop's, from its close until its callback is due;
//! what a panic or a halt has left is gone on with before anything newer. The list owns its
//! handles and lies in one piece, because a great many may be closed at once, and following links
//! from handle to handle means waiting for memory at each.

use std::cell::RefCell;
use std::rc::Rc;

use crate::handle::Node;

/// Room that the list may keep when it is empty, in handles.
const KEPT: usize = 1024;

#[derive(Default)]
pub(crate) struct Closing {
    /// Closed since the phase began.
    later: RefCell<Vec<Rc<dyn Node>>>,
    /// Those whose turn it is, the next one last.
    due: RefCell<Vec<Rc<dyn Node>>>,
}

impl Closing {
    pub(crate) fn is_empty(&self) -> bool {
        self.later.borrow().is_empty() && self.due.borrow().is_empty()
    }

    pub(crate) fn push(&self, node: Rc<dyn Node>) {
        self.later.borrow_mut().push(node);
    }

    /// Makes those closed so far due, unless older ones still are.
    pub(crate) fn begin(&self) {
        let mut due = self.due.borrow_mut();
        if due.is_empty() {
            due.shrink_to(KEPT);
            std::mem::swap(&mut *due, &mut *self.later.borrow_mut());
        }
    }

    /// The one that is due next; it stays in the list.
    pub(crate) fn next(&self) -> Option<Rc<dyn Node>> {
        self.due.borrow().last().cloned()
    }

    /// Takes that one out.
    pub(crate) fn pop(&self) -> Option<Rc<dyn Node>> {
        self.due.borrow_mut().pop()
    }

    /// Takes all of them out, the next one first.
    pub(crate) fn take(&self) -> impl Iterator<Item = Rc<dyn Node>> {
        let (due, later) = (self.due.take(), self.later.take());
        due.into_iter().rev().chain(later.into_iter().rev())
    }
}
