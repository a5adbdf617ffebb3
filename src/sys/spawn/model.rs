//! A model of a descriptor table, on which plans are carried out in tests and under the fuzzer.
//!
//! Invariant: the model does what the kernel's table does for the calls of [`Table`], errors
//! included, and nothing else; the code that runs on it is the code that a child runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::os::fd::RawFd;

use super::descriptors::{Arrangement, Placement, Table};

/// A table: from number to what is open there and whether it is close-on-exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) open: RefCell<BTreeMap<RawFd, (u32, bool)>>,
    pub(super) end: RawFd,
}

impl Table for Model {
    fn duplicate(&self, from: RawFd, lowest: RawFd) -> Result<RawFd, c_int> {
        let mut open = self.open.borrow_mut();
        let (what, _) = *open.get(&from).ok_or(libc::EBADF)?;
        if lowest < 0 || lowest >= self.end {
            return Err(libc::EINVAL);
        }
        let free = (lowest..self.end).find(|number| !open.contains_key(number));
        let free = free.ok_or(libc::EMFILE)?;
        open.insert(free, (what, true));
        Ok(free)
    }

    fn put(&self, from: RawFd, onto: RawFd) -> Result<(), c_int> {
        assert_ne!(from, onto, "dup3 refuses equal numbers");
        let mut open = self.open.borrow_mut();
        let (what, _) = *open.get(&from).ok_or(libc::EBADF)?;
        if onto >= self.end {
            return Err(libc::EBADF);
        }
        open.insert(onto, (what, false));
        Ok(())
    }

    fn keep(&self, number: RawFd) -> Result<(), c_int> {
        let mut open = self.open.borrow_mut();
        open.get_mut(&number).ok_or(libc::EBADF)?.1 = false;
        Ok(())
    }

    fn block(&self, number: RawFd) -> Result<(), c_int> {
        self.open.borrow().get(&number).map(drop).ok_or(libc::EBADF)
    }

    fn close(&self, number: RawFd) {
        self.open.borrow_mut().remove(&number);
    }
}

/// The size of the table that [`check`] has: room for all numbers it is given and their copies.
const SIZE: RawFd = 64;

/// Arranges the placements, carries them out, and asserts that every source is where it belongs.
/// `open` are the numbers below [`SIZE`] / 2 that are open, of which all sources are some; those of
/// placements that say so are without close-on-exec.
pub(super) fn check(open: &[RawFd], placements: &[Placement], extra: &[RawFd]) {
    let mut arrangement = Arrangement::default();
    arrangement.arrange(placements, extra);
    let stays = |fd: RawFd| placements.iter().any(|p| p.source == fd && p.inheritable);
    let before = open.iter().map(|fd| (*fd, (*fd as u32, !stays(*fd)))).collect();
    assert!(placements.iter().all(|p| p.source < arrangement.limit() as RawFd));
    assert!(extra.iter().all(|number| *number < arrangement.limit() as RawFd));

    let model = Model { open: RefCell::new(before), end: SIZE };
    assert_eq!(arrangement.carry_out(&model), Ok(()));
    let after = model.open.borrow();
    for placement in placements {
        assert_eq!(after.get(&placement.target), Some(&(placement.source as u32, false)));
    }
    // What is needed until the exec is still open, somewhere that the child will not see.
    for &number in extra {
        let now = arrangement.now(number);
        let is_source = placements.iter().any(|p| p.target == now && p.source == number);
        let found = after.get(&now);
        let is_hidden = |&(what, closes): &(u32, bool)| {
            what == number as u32 && (closes || now == number && stays(number))
        };
        assert!(found.is_some_and(is_hidden) || (is_source && found.is_some()));
    }
    // The gaps are all other numbers, and nothing in them is left without close-on-exec.
    for number in 0..SIZE as u32 {
        let is_target = placements.iter().any(|p| p.target as u32 == number);
        let gaps = arrangement.gaps().iter().filter(|gap| gap.contains(number)).count();
        assert_eq!(gaps, usize::from(!is_target));
        let closes = after.get(&(number as RawFd)).is_none_or(|(_, closes)| *closes);
        assert!(is_target || closes || stays(number as RawFd), "marked in the end");
    }
}

/// A plan made of arbitrary bytes: which numbers are open, then pairs of target and source.
#[cfg(fuzzing)]
pub(crate) fn check_bytes(data: &[u8]) {
    /// Numbers that are open, and targets, are below this.
    const NUMBERS: u8 = 24;
    let Some((bits, rest)) = data.split_first_chunk::<3>() else { return };
    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], 0]);
    let (rest, kept) = rest.split_last_chunk::<3>().unwrap_or((rest, &[0; 3]));
    let kept = u32::from_le_bytes([kept[0], kept[1], kept[2], 0]);
    let open: Vec<RawFd> = (0..RawFd::from(NUMBERS)).filter(|n| bits & (1 << n) != 0).collect();
    let source = |byte: u8| open.get(usize::from(byte) % open.len().max(1)).copied();
    let Some(first) = source(0) else { return };
    // A plan always places 0 to 2.
    let mut targets: BTreeMap<RawFd, RawFd> = (0..3).map(|target| (target, first)).collect();
    let mut extra = Vec::new();
    for pair in rest.chunks_exact(2) {
        let Some(source) = source(pair[1]) else { return };
        match pair[0] {
            target if target % 32 < NUMBERS => {
                targets.insert(RawFd::from(target % 32), source);
            }
            _ => extra.push(source),
        }
    }
    // The last bits: which sources are without close-on-exec.
    let stays = |source: RawFd| kept & (1 << source) != 0;
    let place = |(target, source)| Placement {
        target,
        source,
        blocking: false,
        inheritable: stays(source),
    };
    let placements: Vec<Placement> = targets.into_iter().map(place).collect();
    check(&open, &placements, &extra);
}
