//! The place where a handle keeps one closure.
//!
//! A closure is called in place, and may in that very call stop its operation, start it anew with
//! another closure, close the handle, or drop the last reference to it. Taking the closure out for
//! the call and putting it back would revive one that was stopped meanwhile; so it stays, and the
//! slot remembers that it is running. Invariant: a closure is dropped exactly once, never while it
//! runs: the call that runs it drops it on its return if it was replaced.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Resting,
    /// The closure in the slot is running.
    Running,
    /// A closure is running that is in the slot no more; its call will drop it.
    Replaced,
}

/// Room for one boxed closure; not `Sync`, and a slot is never called from inside its own call,
/// because `run` inside `run` is refused.
pub(crate) struct Slot<F: ?Sized> {
    closure: Cell<Option<NonNull<F>>>,
    state: Cell<State>,
    owns: PhantomData<Box<F>>,
}

impl<F: ?Sized> Slot<F> {
    pub(crate) const fn empty() -> Slot<F> {
        Slot { closure: Cell::new(None), state: Cell::new(State::Resting), owns: PhantomData }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.closure.get().is_some()
    }

    /// Puts a closure in. What was there is handed back for the caller to drop once its own state
    /// is finished, because dropping runs code of the user's; a running one is dropped on return.
    #[must_use = "drop it when all state is finished"]
    pub(crate) fn set(&self, closure: Box<F>) -> Option<Box<F>> {
        self.replace(NonNull::new(Box::into_raw(closure)))
    }

    /// Empties the slot; the rest as with [`Slot::set`].
    #[must_use = "drop it when all state is finished"]
    pub(crate) fn clear(&self) -> Option<Box<F>> {
        self.replace(None)
    }

    fn replace(&self, next: Option<NonNull<F>>) -> Option<Box<F>> {
        let previous = self.closure.replace(next);
        if self.state.get() == State::Running {
            self.state.set(State::Replaced);
            return None;
        }
        // SAFETY: the pointer came from `Box::into_raw` in `set`, has just left the slot, and is
        // not the running closure, so nobody else has it.
        previous.map(|closure| unsafe { Box::from_raw(closure.as_ptr()) })
    }

    /// Calls `run` with the closure, and tells whether there was one. A panic of the closure
    /// passes through with the closure still in the slot: the caller stops the operation.
    #[inline]
    pub(crate) fn call(&self, run: impl FnOnce(&mut F)) -> bool {
        if self.state.get() != State::Resting {
            return false;
        }
        let Some(mut closure) = self.closure.get() else { return false };
        let _ending = Ending { slot: self, closure };
        self.state.set(State::Running);
        // SAFETY: while the state is `Running` or `Replaced` nobody frees the closure or makes a
        // second reference to it: `replace` leaves it to `Ending`, and `call` refuses to nest.
        run(unsafe { closure.as_mut() });
        true
    }
}

/// The end of a call, by return or by unwinding.
struct Ending<'a, F: ?Sized> {
    slot: &'a Slot<F>,
    closure: NonNull<F>,
}

impl<F: ?Sized> Drop for Ending<'_, F> {
    fn drop(&mut self) {
        if self.slot.state.replace(State::Resting) == State::Replaced {
            // SAFETY: it came from `Box::into_raw`, has left the slot, and its call is over.
            drop(unsafe { Box::from_raw(self.closure.as_ptr()) });
        }
    }
}

impl<F: ?Sized> Drop for Slot<F> {
    fn drop(&mut self) {
        drop(self.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    type Call = dyn FnMut(&Slots);
    struct Slots {
        slot: Slot<Call>,
        log: std::cell::RefCell<Vec<&'static str>>,
    }

    fn slots() -> Slots {
        Slots { slot: Slot::empty(), log: Default::default() }
    }

    #[test]
    fn a_closure_replaced_while_running_is_dropped_on_return() {
        let token = Rc::new(());
        let mine = token.clone();
        let s = slots();
        drop(s.slot.set(Box::new(move |s: &Slots| {
            drop(s.slot.set(Box::new(|s: &Slots| s.log.borrow_mut().push("second"))));
            s.log.borrow_mut().push("first");
            assert_eq!(Rc::strong_count(&mine), 2, "still alive while it runs");
        })));
        assert!(s.slot.call(|f| f(&s)));
        assert_eq!(Rc::strong_count(&token), 1, "dropped on return");
        assert!(s.slot.call(|f| f(&s)));
        assert_eq!(*s.log.borrow(), ["first", "second"]);
    }

    #[test]
    fn replaced_several_times_in_one_call_keeps_only_the_last() {
        let token = Rc::new(());
        let mine = token.clone();
        let s = slots();
        drop(s.slot.set(Box::new(move |s: &Slots| {
            for _ in 0..3 {
                let inner = mine.clone();
                drop(s.slot.set(Box::new(move |_| drop(inner.clone()))));
            }
            drop(s.slot.clear());
        })));
        assert!(s.slot.call(|f| f(&s)));
        assert_eq!(Rc::strong_count(&token), 1);
        assert!(!s.slot.is_set());
        assert!(!s.slot.call(|f| f(&s)));
    }

    #[test]
    fn a_panic_leaves_the_closure_to_the_caller() {
        let token = Rc::new(());
        let mine = token.clone();
        let s = slots();
        drop(s.slot.set(Box::new(move |_| {
            let _mine = &mine;
            panic!("on purpose")
        })));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            s.slot.call(|f| f(&s));
        }));
        assert!(unwound.is_err());
        assert!(s.slot.is_set());
        drop(s.slot.clear());
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    fn nested_calls_are_refused() {
        let s = slots();
        drop(s.slot.set(Box::new(|s: &Slots| assert!(!s.slot.call(|f| f(s))))));
        assert!(s.slot.call(|f| f(&s)));
    }
}
