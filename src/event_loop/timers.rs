//! The heap of running timers, ordered by deadline and then by start.
//!
//! Four children to a node, with the keys beside the pointers: sifting touches one cache line per
//! level instead of one per timer. Invariant: each timer knows its place in the heap, so that it
//! can be stopped without a search; the heap owns a reference to each.

use std::rc::Rc;

use crate::timer::TimerNode;

const CHILDREN: usize = 4;

/// The key of a timer: nanoseconds of the loop's clock, then the number of its start.
pub(crate) type Key = (u64, u64);

struct Entry {
    key: Key,
    timer: Rc<TimerNode>,
}

pub(crate) struct Timers {
    heap: Vec<Entry>,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { heap: Vec::new() }
    }

    /// The key of the timer that is due first.
    pub(crate) fn first(&self) -> Option<Key> {
        self.heap.first().map(|entry| entry.key)
    }

    /// The timer that is due first, if it is due at `now` and was started before number `before`.
    pub(crate) fn due(&self, now: u64, before: u64) -> Option<Rc<TimerNode>> {
        let entry = self.heap.first()?;
        (entry.key.0 <= now && entry.key.1 < before).then(|| entry.timer.clone())
    }

    pub(crate) fn insert(&mut self, key: Key, timer: Rc<TimerNode>) {
        let at = self.heap.len();
        timer.set_place(Some(at));
        self.heap.push(Entry { key, timer });
        self.sift_up(at);
    }

    /// Takes the timer at `place` out.
    pub(crate) fn remove(&mut self, place: usize) -> Rc<TimerNode> {
        let entry = self.heap.swap_remove(place);
        entry.timer.set_place(None);
        if place < self.heap.len() {
            self.heap[place].timer.set_place(Some(place));
            self.sift_up(place);
            self.sift_down(place);
        }
        entry.timer
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.heap[a].timer.set_place(Some(a));
        self.heap[b].timer.set_place(Some(b));
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if self.heap[parent].key <= self.heap[at].key {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let first = at * CHILDREN + 1;
            let end = (first + CHILDREN).min(self.heap.len());
            let Some(least) = (first..end).min_by_key(|&child| self.heap[child].key) else { break };
            if self.heap[at].key <= self.heap[least].key {
                break;
            }
            self.swap(at, least);
            at = least;
        }
    }
}
