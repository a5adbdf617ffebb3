//! The heap of running timers, ordered by deadline and then by start.
//!
//! Four children to a node and the keys in the heap: sifting touches one or two cache lines per
//! level. The timers themselves are not touched, because each lies in memory of its own, and waiting
//! for that at every level would take most of the time; so where an entry is in the heap is kept
//! in a slab, beside the reference to its timer.
//!
//! Those that are due leave the heap together, into a list in the order of their firing: where many
//! are due at once, sorting costs a fraction of taking each from the top. Invariants: a timer is in
//! the slab exactly while it runs, and its slot says where its entry is; all in the list come before
//! all in the heap.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::rc::Rc;

use slab::Slab;

use crate::timer::TimerNode;

const CHILDREN: usize = 4;

/// The place of those that have left the heap because they are due.
const IN_LIST: usize = usize::MAX;

/// One in so many must be due for sorting to be better than taking them one by one: the whole heap
/// is gone through for it.
const SORTED_FROM: usize = 8;

/// Room that the list may keep when it is empty, in timers.
const KEPT: usize = 1024;

/// Names a timer for as long as it is in the heap: its slot and one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimerKey(NonZeroUsize);

impl TimerKey {
    fn of(slot: usize) -> TimerKey {
        TimerKey(NonZeroUsize::MIN.saturating_add(slot))
    }

    fn slot(self) -> usize {
        self.0.get() - 1
    }
}

#[derive(Clone, Copy)]
struct Entry {
    /// Nanoseconds of the loop's clock.
    due: u64,
    /// The number of the start.
    number: u64,
    slot: usize,
}

impl Entry {
    /// What the heap is ordered by, in one number, so that comparing takes no branches.
    fn rank(&self) -> u128 {
        u128::from(self.due) << 64 | u128::from(self.number)
    }
}

struct Running {
    timer: Rc<TimerNode>,
    place: usize,
}

pub(crate) struct Timers {
    heap: Vec<Entry>,
    /// Those due, the next one last. A timer that was stopped since has left its entry behind.
    list: Vec<Entry>,
    slots: Slab<Running>,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { heap: Vec::new(), list: Vec::new(), slots: Slab::new() }
    }

    /// Whether no timer is running.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// When the first timer is due.
    pub(crate) fn first(&self) -> Option<u64> {
        let listed = self.list.iter().rev().find(|entry| self.is_listed(entry));
        listed.or(self.heap.first()).map(|entry| entry.due)
    }

    /// When this one is due; 0 when it is.
    pub(crate) fn due(&self, key: TimerKey) -> u64 {
        let place = self.slots[key.slot()].place;
        self.heap.get(place).map_or(0, |entry| entry.due)
    }

    /// Whether the timer of an entry of the list is still to fire. Another one that has got its
    /// slot since is in the heap.
    fn is_listed(&self, entry: &Entry) -> bool {
        self.slots.get(entry.slot).is_some_and(|running| running.place == IN_LIST)
    }

    /// Takes out the timer that is due first, if it is due at `now` and was started before number
    /// `before`.
    pub(crate) fn pop_due(&mut self, now: u64, before: u64) -> Option<Rc<TimerNode>> {
        loop {
            while let Some(entry) = self.list.pop() {
                if self.is_listed(&entry) {
                    return Some(self.slots.remove(entry.slot).timer);
                }
            }
            self.collect(now, before);
            if self.list.is_empty() {
                return None;
            }
        }
    }

    /// Moves those that are due from the heap into the list, which is empty.
    fn collect(&mut self, now: u64, before: u64) {
        let is_due = |entry: &Entry| entry.due <= now && entry.number < before;
        let due = self.count(0, &is_due);
        if due == 0 {
            return;
        }
        self.list.shrink_to(KEPT.max(due));
        if due * SORTED_FROM <= self.heap.len() {
            for _ in 0..due {
                let first = self.take(0);
                self.list.push(first);
            }
            self.list.reverse();
        } else {
            self.list.extend(self.heap.extract_if(.., |entry| is_due(entry)));
            self.list.sort_unstable_by_key(|entry| Reverse(entry.rank()));
            for place in (0..self.heap.len()).rev() {
                self.sift_down(place, self.heap[place]);
            }
        }
        for entry in &self.list {
            self.slots[entry.slot].place = IN_LIST;
        }
    }

    /// How many at `at` and below are due.
    fn count(&self, at: usize, is_due: &impl Fn(&Entry) -> bool) -> usize {
        if !self.heap.get(at).is_some_and(is_due) {
            return 0;
        }
        let below = (1..=CHILDREN).map(|child| self.count(at * CHILDREN + child, is_due));
        1 + below.sum::<usize>()
    }

    pub(crate) fn insert(&mut self, due: u64, number: u64, timer: Rc<TimerNode>) -> TimerKey {
        let place = self.heap.len();
        let slot = self.slots.insert(Running { timer, place });
        let entry = Entry { due, number, slot };
        self.heap.push(entry);
        self.sift_up(place, entry);
        TimerKey::of(slot)
    }

    pub(crate) fn remove(&mut self, key: TimerKey) -> Rc<TimerNode> {
        let Running { timer, place } = self.slots.remove(key.slot());
        if place != IN_LIST {
            let taken = self.take(place);
            debug_assert_eq!(taken.slot, key.slot(), "the slot knew another place");
        }
        timer
    }

    /// Takes the entry at `place` out of the heap.
    fn take(&mut self, place: usize) -> Entry {
        let taken = self.heap.swap_remove(place);
        if let Some(&moved) = self.heap.get(place) {
            if place > 0 && moved.rank() < self.heap[(place - 1) / CHILDREN].rank() {
                self.sift_up(place, moved);
            } else {
                self.sift_down(place, moved);
            }
        }
        taken
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.slots[entry.slot].place = place;
    }

    /// Puts the entry at `at` or above.
    fn sift_up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if self.heap[parent].rank() <= entry.rank() {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, entry);
    }

    /// Puts the entry at `at` or below.
    fn sift_down(&mut self, mut at: usize, entry: Entry) {
        loop {
            let first = at * CHILDREN + 1;
            let end = (first + CHILDREN).min(self.heap.len());
            let Some(least) = (first..end).min_by_key(|&child| self.heap[child].rank()) else {
                break;
            };
            if entry.rank() <= self.heap[least].rank() {
                break;
            }
            self.put(at, self.heap[least]);
            at = least;
        }
        self.put(at, entry);
    }
}
