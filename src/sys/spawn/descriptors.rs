//! Which descriptor goes where: an arrangement worked out in the parent and carried out, without
//! another decision, in the child.
//!
//! Invariant: a source is never overwritten before its last use. Pass one moves every source away
//! that stands on a number wanted by another; pass two fills the numbers. So swaps, duplicates and
//! sources on 0 to 2 need no special case. The kernel is reached through [`Table`], so that the
//! very code the child runs can be run against a model.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::RawFd;

use crate::process::SpawnStep;

/// A number of the child and the parent's descriptor that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) target: RawFd,
    pub(super) source: RawFd,
    pub(super) blocking: bool,
    /// The source is known to be without close-on-exec: where it is on its number already, nothing
    /// is left to do.
    pub(super) inheritable: bool,
}

/// A descriptor table as far as an arrangement needs one. Errors are positive errnos.
pub(super) trait Table {
    /// `F_DUPFD_CLOEXEC`: the lowest free number from `lowest` on.
    fn duplicate(&self, from: RawFd, lowest: RawFd) -> Result<RawFd, c_int>;
    /// `dup3` without close-on-exec.
    fn put(&self, from: RawFd, onto: RawFd) -> Result<(), c_int>;
    /// Loses close-on-exec.
    fn keep(&self, number: RawFd) -> Result<(), c_int>;
    /// Clears `O_NONBLOCK`.
    fn block(&self, number: RawFd) -> Result<(), c_int>;
    fn close(&self, number: RawFd);
}

/// A descriptor that is needed until the exec, and where it is now.
#[derive(Debug)]
struct Held {
    number: RawFd,
    now: Cell<RawFd>,
    in_the_way: bool,
    /// The first slot that uses it, for the error message.
    slot: u32,
}

#[derive(Debug)]
struct Place {
    target: RawFd,
    held: usize,
    blocking: bool,
    inheritable: bool,
}

/// Numbers that no slot lists, from the first to the last of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Gap {
    pub(super) fn contains(&self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// The plan for one child. Its buffers are reused for the next.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    /// Sorted by number, each number once.
    held: Vec<Held>,
    /// Sorted by target.
    places: Vec<Place>,
    /// In order; the last one has no end.
    gaps: Vec<Gap>,
    /// What all this was worked out from.
    from: (Vec<Placement>, Vec<RawFd>),
}

impl Arrangement {
    /// Works out the plan. `placements` is sorted by target, each target once; `extra` are
    /// descriptors that the child needs until its exec without a slot for them.
    pub(super) fn arrange(&mut self, placements: &[Placement], extra: &[RawFd]) {
        if !self.gaps.is_empty() && self.from.0 == placements && self.from.1 == extra {
            // As for the last child, but for what that child has moved away.
            self.held.iter().for_each(|held| held.now.set(held.number));
            return;
        }
        self.held.clear();
        self.places.clear();
        self.gaps.clear();
        self.from.0.clear();
        self.from.0.extend_from_slice(placements);
        self.from.1.clear();
        self.from.1.extend_from_slice(extra);

        let held = |number, slot| Held { number, now: Cell::new(number), in_the_way: false, slot };
        self.held.extend(placements.iter().map(|p| held(p.source, p.target as u32)));
        // Only a slot can drive an extra one away, so that slot is the one to name.
        self.held.extend(extra.iter().map(|&number| held(number, number as u32)));
        // A stable sort, so that the lowest slot of several is the one named.
        self.held.sort_by_key(|held| held.number);
        self.held.dedup_by_key(|held| held.number);
        for held in &mut self.held {
            let number = held.number;
            let wanted = placements.binary_search_by_key(&number, |p| p.target).ok();
            let wanted = wanted.and_then(|index| placements.get(index));
            held.in_the_way = wanted.is_some_and(|p| p.source != number);
        }

        for placement in placements {
            let Placement { target, source, blocking, inheritable } = *placement;
            if let Ok(held) = self.held.binary_search_by_key(&source, |held| held.number) {
                self.places.push(Place { target, held, blocking, inheritable });
            }
        }

        let mut first = 0;
        for placement in placements {
            let target = placement.target as u32;
            if first < target {
                self.gaps.push(Gap { first, last: target - 1 });
            }
            first = target + 1;
        }
        self.gaps.push(Gap { first, last: u32::MAX });
    }

    /// One more than the highest number that the child needs from its parent's table.
    pub(super) fn limit(&self) -> u32 {
        self.held.last().map_or(0, |held| held.number as u32 + 1)
    }

    /// The numbers that no slot lists.
    pub(super) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Where a held descriptor is by now.
    pub(super) fn now(&self, number: RawFd) -> RawFd {
        let found = self.held.iter().find(|held| held.number == number);
        found.map_or(number, |held| held.now.get())
    }

    /// Both passes. This runs in the child: no allocation, nothing that can panic.
    pub(super) fn carry_out(&self, table: &impl Table) -> Result<(), (SpawnStep, c_int)> {
        for held in self.held.iter().filter(|held| held.in_the_way) {
            let moved = self.move_away(table, held.number);
            held.now.set(moved.map_err(|errno| (SpawnStep::Dup(held.slot), errno))?);
        }
        for place in &self.places {
            let Some(held) = self.held.get(place.held) else { continue };
            let (from, slot) = (held.now.get(), place.target as u32);
            let done = match from == place.target {
                true if place.inheritable => Ok(()),
                true => table.keep(from),
                false => table.put(from, place.target),
            };
            done.map_err(|errno| (SpawnStep::Dup(slot), errno))?;
            if place.blocking {
                let done = table.block(place.target);
                done.map_err(|errno| (SpawnStep::Blocking(slot), errno))?;
            }
        }
        Ok(())
    }

    /// A copy on a number that no slot lists. The gaps are tried in turn rather than the numbers
    /// above all slots, because a slot may be the highest number that the limit allows.
    fn move_away(&self, table: &impl Table, number: RawFd) -> Result<RawFd, c_int> {
        let mut lowest = 0;
        for gap in self.gaps.iter().filter(|gap| gap.last >= 3) {
            if gap.last < lowest {
                continue;
            }
            let from = gap.first.max(lowest);
            let copy = match table.duplicate(number, from as RawFd) {
                Ok(copy) => copy,
                // F_DUPFD's word for a lowest number beyond the limit (fcntl(2)).
                Err(libc::EINVAL) => return Err(libc::EMFILE),
                Err(errno) => return Err(errno),
            };
            if self.gaps.iter().any(|gap| gap.contains(copy as u32)) {
                return Ok(copy);
            }
            table.close(copy);
            lowest = (copy as u32).wrapping_add(1);
        }
        Err(libc::EMFILE)
    }
}
