//! From the slots of a description to placements: which number of ours goes to which number of the
//! child.
//!
//! Invariant: after [`Plan::resolve`] every slot that refers to another has found a descriptor,
//! 0 to 2 are always placed, and every number given raw was open a moment ago. So what is wrong
//! with a slot is found out before a process exists, and the error names the slot.

use std::os::fd::{AsRawFd, RawFd};

use super::attributes::{Attributes, Session, Slot, Source};
use super::descriptors::Placement;
use super::reserve;
use crate::error::Error;
use crate::process::{SpawnError, SpawnStep};
use crate::sys::check;

/// The standard streams are always placed.
const STANDARD: u32 = 3;

/// The placements for one child. Their buffers are reused for the next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Indexes of slots, sorted by the slots' numbers; empty when that is how they are listed.
    order: Vec<usize>,
    /// Sorted by target, each target once.
    pub(super) placements: Vec<Placement>,
    /// `/dev/null`, if this child needs it.
    null: Option<RawFd>,
}

/// What a slot comes to.
enum Found {
    /// And whether it is without close-on-exec. A thread that sets the flag after it was read takes
    /// the descriptor from the child, as it would from any child that is forked.
    Number(RawFd, bool),
    Null,
    Nothing,
}

impl Plan {
    /// Checks the slots and finds the source of each.
    pub(super) fn resolve(&mut self, attributes: &Attributes) -> Result<(), SpawnError> {
        let slots = &attributes.slots;
        let standard = self.sort(slots)?;
        self.placements.clear();
        self.null = None;
        for number in 0..STANDARD {
            if standard & (1 << number) == 0 {
                let source = self.null()?;
                let target = number as RawFd;
                self.placements.push(Placement {
                    target,
                    source,
                    blocking: false,
                    inheritable: false,
                });
            }
        }
        for index in 0..slots.len() {
            let Some(slot) = slots.get(self.order.get(index).copied().unwrap_or(index)) else {
                continue;
            };
            let (source, inheritable) = match self.follow(slots, slot)? {
                Found::Number(number, inheritable) => (number, inheritable),
                Found::Null => (self.null()?, false),
                Found::Nothing => continue,
            };
            let (target, blocking) = (slot.number as RawFd, slot.blocking);
            self.placements.push(Placement { target, source, blocking, inheritable });
        }
        if self.null.is_some() {
            self.placements.sort_unstable_by_key(|placement| placement.target);
        }
        self.check_terminals(attributes)
    }

    /// Gives back which of the standard streams are listed, bit n for number n.
    fn sort(&mut self, slots: &[Slot]) -> Result<u32, SpawnError> {
        self.order.clear();
        if !slots.is_sorted_by(|a, b| a.number < b.number) {
            self.put_in_order(slots)?;
        }
        let mut standard = 0;
        for slot in slots {
            let number = slot.number;
            if RawFd::try_from(number).is_err() {
                return Err(SpawnError::new(SpawnStep::Dup(number), Error::EBADF));
            }
            if number < STANDARD {
                standard |= 1 << number;
            }
        }
        Ok(standard)
    }

    #[cold]
    fn put_in_order(&mut self, slots: &[Slot]) -> Result<(), SpawnError> {
        let number = |&index: &usize| slots.get(index).map(|slot| slot.number);
        self.order.extend(0..slots.len());
        self.order.sort_by_key(number);
        let mut before = None;
        for number in self.order.iter().filter_map(number) {
            if before == Some(number) {
                // Two descriptors for one number: neither is more right.
                return Err(SpawnError::new(SpawnStep::Dup(number), Error::EINVAL));
            }
            before = Some(number);
        }
        Ok(())
    }

    fn find<'a>(&self, slots: &'a [Slot], number: u32) -> Option<&'a Slot> {
        if self.order.is_empty() {
            let at = slots.binary_search_by_key(&number, |slot| slot.number).ok()?;
            return slots.get(at);
        }
        let key = |index: &usize| slots.get(*index).map(|slot| slot.number);
        let at = self.order.binary_search_by_key(&Some(number), key).ok()?;
        slots.get(*self.order.get(at)?)
    }

    /// Follows references from slot to slot to a descriptor.
    fn follow(&self, slots: &[Slot], slot: &Slot) -> Result<Found, SpawnError> {
        let bad = |error| SpawnError::new(SpawnStep::Dup(slot.number), error);
        let mut at = slot;
        // A chain longer than there are slots is a ring.
        for _ in 0..=slots.len() {
            let next = match &at.source {
                Source::Ignore if at.number < STANDARD => return Ok(Found::Null),
                Source::Ignore if at.number == slot.number => return Ok(Found::Nothing),
                Source::Ignore => return Err(bad(Error::EBADF)),
                Source::SameAs(next) => *next,
                Source::Raw(number) => {
                    // SAFETY: asking for the flags of a number changes nothing.
                    let flags = check(unsafe { libc::fcntl(*number, libc::F_GETFD) });
                    let inheritable = flags.map_err(bad)? & libc::FD_CLOEXEC == 0;
                    return Ok(Found::Number(*number, inheritable));
                }
                Source::Owned(fd) => return Ok(Found::Number(fd.as_raw_fd(), false)),
                Source::Shared(fd) => return Ok(Found::Number(fd.as_raw_fd(), false)),
            };
            at = match self.find(slots, next) {
                Some(slot) => slot,
                None if next < STANDARD => return Ok(Found::Null),
                None => return Err(bad(Error::EBADF)),
            };
        }
        Err(bad(Error::EINVAL))
    }

    fn is_placed(&self, slot: u32) -> bool {
        let key = |placement: &Placement| placement.target as u32;
        self.placements.binary_search_by_key(&slot, key).is_ok()
    }

    /// `/dev/null`, asked for once.
    fn null(&mut self) -> Result<RawFd, SpawnError> {
        match self.null {
            Some(null) => Ok(null),
            None => {
                let error = |error| SpawnError::new(SpawnStep::OpenNull, error);
                let null = reserve::null().map_err(error)?;
                self.null = Some(null);
                Ok(null)
            }
        }
    }

    /// A number that no slot lists may be open in the child by accident; it is not to be found.
    fn check_terminals(&self, attributes: &Attributes) -> Result<(), SpawnError> {
        let bad = |step| Err(SpawnError::new(step, Error::EBADF));
        match attributes.session {
            Session::WithTerminal(slot) if !self.is_placed(slot) => {
                return bad(SpawnStep::ControllingTerminal);
            }
            _ => {}
        }
        match attributes.foreground {
            Some(Source::SameAs(slot)) if !self.is_placed(slot) => bad(SpawnStep::Foreground),
            Some(Source::Ignore) => bad(SpawnStep::Foreground),
            Some(Source::Raw(number)) => {
                // SAFETY: asking for the flags of a number changes nothing.
                match check(unsafe { libc::fcntl(number, libc::F_GETFD) }) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(SpawnError::new(SpawnStep::Foreground, error)),
                }
            }
            _ => Ok(()),
        }
    }
}
