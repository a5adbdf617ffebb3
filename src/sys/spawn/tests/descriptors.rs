//! Descriptor plans: against a model of a table, and with real children.

use std::cell::RefCell;
use std::os::fd::RawFd;

use proptest::prelude::*;

use super::*;
use crate::process::SpawnStep;
use crate::sys::spawn::model::{Model, check};

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
                .map(|(target, source)| {
                    let inheritable = is_inheritable(source);
                    Placement { target, source, blocking: false, inheritable }
                })
                .collect();
            (open, placements, extra)
        })
    })
}

/// Every other descriptor is without close-on-exec.
fn is_inheritable(number: RawFd) -> bool {
    number % 2 == 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_puts_every_source_where_it_belongs((open, placements, extra) in plans(24)) {
        check(&open, &placements, &extra);
    }

    #[test]
    fn a_plan_is_carried_out_by_one_child_after_the_other((open, placements, extra) in plans(24)) {
        let mut arrangement = Arrangement::default();
        for _ in 0..2 {
            arrangement.arrange(&placements, &extra);
            for number in &extra {
                prop_assert_eq!(arrangement.now(*number), *number);
            }
            let before = open.iter().map(|fd| (*fd, (*fd as u32, !is_inheritable(*fd)))).collect();
            let model = Model { open: RefCell::new(before), end: 64 };
            prop_assert_eq!(arrangement.carry_out(&model), Ok(()));
            let after = model.open.borrow();
            for p in &placements {
                prop_assert_eq!(after.get(&p.target), Some(&(p.source as u32, false)));
            }
            for number in &extra {
                let now = arrangement.now(*number);
                prop_assert_eq!(after.get(&now).map(|(what, _)| *what), Some(*number as u32));
            }
        }
    }

    #[test]
    fn a_plan_in_a_full_table_works_or_says_so((open, placements, extra) in plans(24), end in 24..27) {
        let mut arrangement = Arrangement::default();
        arrangement.arrange(&placements, &extra);
        let before = open.iter().map(|fd| (*fd, (*fd as u32, !is_inheritable(*fd)))).collect();
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
