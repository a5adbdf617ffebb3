//! Where other threads hand in what they have done for a loop, and wake it up.
//!
//! Invariants: who finds the mailbox empty wakes the loop, after it has put its block there and
//! without the lock; the others rely on that. Once the loop is gone nothing stays in it: a block that
//! comes late is dropped by the thread that brings it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use super::queue::KEPT_ROOM;
use super::task::{Block, Go};
use crate::error::Error;
use crate::event_loop::Facilities;
use crate::sys::wake::Waker;

/// A request that has ended: its place in the loop's slab, and its block.
pub(super) struct Ended {
    pub(super) key: usize,
    pub(super) block: Box<dyn Block>,
}

/// What is in a mailbox.
#[derive(Default)]
struct Content {
    ended: VecDeque<Ended>,
    closed: bool,
}

pub(super) struct Mailbox {
    content: Mutex<Content>,
    /// `None` if the loop fills it itself.
    waker: Option<Waker>,
    /// What the kernel has that the loop may use.
    pub(super) facilities: Facilities,
}

impl Mailbox {
    pub(super) fn new(waker: Option<Waker>, facilities: Facilities) -> Mailbox {
        Mailbox { content: Mutex::default(), waker, facilities }
    }

    /// Puts everything behind what is in `ended`. The mailbox is left with the room of one that was
    /// empty.
    pub(super) fn take(&self, ended: &mut VecDeque<Ended>) {
        if ended.is_empty() && ended.capacity() > KEPT_ROOM {
            ended.shrink_to(KEPT_ROOM);
        }
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_empty() {
            std::mem::swap(&mut content.ended, ended);
        } else {
            ended.append(&mut content.ended);
        }
    }

    /// The loop is gone.
    pub(super) fn close(&self) {
        let rest = {
            let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            content.closed = true;
            std::mem::take(&mut content.ended)
        };
        drop(rest);
    }

    /// In a forked child: drops what the parent's threads have handed in, unless one of them was at
    /// it just then; nobody knows the state of it in that case.
    pub(super) fn forget(this: Arc<Mailbox>) {
        let rest = match this.content.try_lock() {
            Ok(mut content) => std::mem::take(&mut content.ended),
            Err(TryLockError::Poisoned(content)) => std::mem::take(&mut content.into_inner().ended),
            Err(TryLockError::WouldBlock) => VecDeque::new(),
        };
        drop(rest);
        std::mem::forget(this);
    }
}

/// The right, and the duty, to end a request: from any thread, once.
pub(super) struct Ticket {
    pub(super) key: usize,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Ticket {
    /// The request is over; its result is in the block.
    pub(super) fn complete(self, block: Box<dyn Block>) {
        let first = {
            let mut content = self.mailbox.content.lock().unwrap_or_else(PoisonError::into_inner);
            if content.closed {
                drop(content);
                drop(block);
                return;
            }
            content.ended.push_back(Ended { key: self.key, block });
            content.ended.len() == 1
        };
        if first && let Some(waker) = &self.mailbox.waker {
            waker.wake();
        }
    }
}

/// Work on its way to a thread, or to its cancellation.
pub(super) struct Job {
    pub(super) block: Box<dyn Block>,
    pub(super) ticket: Ticket,
}

impl Job {
    pub(super) fn run(self) {
        self.block.go(Go::Run(self.ticket.mailbox.facilities), self.ticket);
    }

    pub(super) fn cancel(self) {
        self.block.go(Go::Fail(Error::ECANCELED), self.ticket);
    }

    /// One with nothing to do, of a loop that does not exist.
    #[cfg(test)]
    pub(super) fn empty() -> Job {
        let mailbox = Arc::new(Mailbox::new(None, Facilities::empty()));
        let work = super::task::Work { state: (), submission: (), call: |(), _| () };
        Job { block: Box::new(super::task::Now::Work(work)), ticket: Ticket { key: 0, mailbox } }
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use super::*;

    /// Counts as long as it is there.
    #[expect(dead_code, reason = "held, not read")]
    struct Held(Arc<()>);

    impl Block for Held {
        fn go(self: Box<Self>, _: Go, ticket: Ticket) {
            ticket.complete(self);
        }

        fn give(self: Box<Self>, _: &mut dyn Any) {}
    }

    #[test]
    fn nothing_stays_in_the_mailbox_of_a_loop_that_is_gone() {
        let mailbox = Arc::new(Mailbox::new(None, Facilities::empty()));
        let held = Arc::new(());
        let bring = |key| {
            let ticket = Ticket { key, mailbox: mailbox.clone() };
            Job { block: Box::new(Held(held.clone())), ticket }.run();
        };
        bring(7);
        let mut ended = VecDeque::new();
        mailbox.take(&mut ended);
        bring(3);
        mailbox.take(&mut ended);
        assert_eq!(ended.drain(..).map(|ended| ended.key).collect::<Vec<_>>(), [7, 3]);
        bring(8);
        assert_eq!(Arc::strong_count(&held), 2, "waits for the loop");
        mailbox.close();
        assert_eq!(Arc::strong_count(&held), 1, "what was in it");
        bring(9);
        assert_eq!(Arc::strong_count(&held), 1, "what came late");
    }
}
