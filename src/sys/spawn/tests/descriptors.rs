//! Descriptor plans: against a model of a table, and with real children.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::os::fd::RawFd;

use proptest::prelude::*;

use super::*;
use crate::process::SpawnStep;
use crate::sys::spawn::descriptors::Table;

/// A table: from number to what is open there and whether it is close-on-exec.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    open: RefCell<BTreeMap<RawFd, (u32, bool)>>,
    end: RawFd,
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

/// Targets, each once and sorted, with sources out of a table of open numbers.
fn plans(numbers: RawFd) -> impl Strategy<Value = (Vec<RawFd>, Vec<Placement>, Vec<RawFd>)> {
    let open = proptest::collection::btree_set(0..numbers, 1..20);
    open.prop_flat_map(move |open| {
        let open: Vec<RawFd> = open.into_iter().collect();
        let source = proptest::sample::select(open.clone());
        let targets = proptest::collection::btree_map(0..numbers, source.clone(), 0..20);
        let standard = proptest::array::uniform3(source.clone());
        let extra = proptest::collection::vec(source, 0..4);
        (Just(open), targets, standard, extra).prop_map(|(open, mut targets, standard, extra)| {
            // The plan always places 0 to 2.
            targets.extend((0..3).zip(standard));
            let placements = targets
                .into_iter()
                .map(|(target, source)| Placement { target, source, blocking: false })
                .collect();
            (open, placements, extra)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_puts_every_source_where_it_belongs((open, placements, extra) in plans(24)) {
        let mut arrangement = Arrangement::default();
        arrangement.arrange(&placements, &extra);
        let before: BTreeMap<_, _> = open.iter().map(|fd| (*fd, (*fd as u32, true))).collect();
        prop_assert!(placements.iter().all(|p| p.source < arrangement.limit() as RawFd));
        prop_assert!(extra.iter().all(|number| *number < arrangement.limit() as RawFd));

        let model = Model { open: RefCell::new(before), end: 64 };
        prop_assert_eq!(arrangement.carry_out(&model), Ok(()));
        let after = model.open.borrow();
        for placement in &placements {
            prop_assert_eq!(after.get(&placement.target), Some(&(placement.source as u32, false)));
        }
        // What is needed until the exec is still open, somewhere that the child will not see.
        for number in extra {
            let now = arrangement.now(number);
            let is_source = placements.iter().any(|p| p.target == now && p.source == number);
            let found = after.get(&now);
            prop_assert!(found == Some(&(number as u32, true)) || (is_source && found.is_some()));
        }
        // The gaps are all other numbers, and nothing in them is left without close-on-exec.
        for number in 0..64u32 {
            let is_target = placements.iter().any(|p| p.target as u32 == number);
            let gaps = arrangement.gaps().iter().filter(|gap| gap.contains(number)).count();
            prop_assert_eq!(gaps, usize::from(!is_target));
            let closes = after.get(&(number as RawFd)).is_none_or(|(_, closes)| *closes);
            prop_assert!(is_target || closes);
        }
    }

    #[test]
    fn a_plan_in_a_full_table_works_or_says_so((open, placements, extra) in plans(24), end in 24..27) {
        let mut arrangement = Arrangement::default();
        arrangement.arrange(&placements, &extra);
        let before: BTreeMap<_, _> = open.iter().map(|fd| (*fd, (*fd as u32, true))).collect();
        let model = Model { open: RefCell::new(before), end };
        match arrangement.carry_out(&model) {
            Ok(()) => {
                let after = model.open.borrow();
                for p in &placements {
                    prop_assert_eq!(after.get(&p.target), Some(&(p.source as u32, false)));
                }
            }
            Err((step, errno)) => {
                prop_assert_eq!(errno, libc::EMFILE);
                prop_assert!(matches!(step, SpawnStep::Dup(_)));
            }
        }
    }
}
