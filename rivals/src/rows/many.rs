//! What many open descriptors and many children cost: the same work with and without them.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use super::spawn::{Spawner, What, spawner};
use crate::clone::Attributes;
use crate::floor::{Does, Program};
use crate::row::{Goal, Group, Row, Unit, Who, each};

/// Exits among many children that go on living: as many as libuv can do in two seconds.
const AMONG: u64 = 100;

pub(super) fn rows() -> Vec<Row> {
    let mut descriptors = Row::new(Group::Children, "10,000 descriptors open against 10, a spawn")
        .unit(Unit::Times)
        .rounds(200)
        .goal(Goal::AtMost(1.2));
    let mut alive = Row::new(Group::Children, "2,000 children alive against none, a spawn")
        .unit(Unit::Times)
        .rounds(11)
        .goal(Goal::AtMost(1.10));
    let mut exits = Row::new(Group::Children, "10,000 exits at once, each")
        .units(10_000)
        .rounds(11)
        .goal(Goal::Against(Who::Floor, 1.0));
    let mut among = Row::new(Group::Children, "an exit among 10,000 living")
        .units(AMONG)
        .rounds(11)
        .goal(Goal::Against(Who::Floor, 1.0));
    let mut growth = Row::new(Group::Children, "10,000 exits at once against 100, each")
        .unit(Unit::Times)
        .rounds(11)
        .goal(Goal::AtMost(1.5));
    for who in Who::SPAWNERS {
        descriptors = descriptors.entry(who, move || {
            let mut spawner = starting(who);
            let null = std::fs::File::open("/dev/null").expect("a device");
            move |_| {
                let open = |count| -> Vec<OwnedFd> {
                    let copy = |_| OwnedFd::from(null.try_clone().expect("ulimit -n is too low"));
                    (0..count).map(copy).collect()
                };
                let few = open(10);
                let before = some(&mut *spawner, 0);
                drop(few);
                let many = open(10_000);
                let after = some(&mut *spawner, 0);
                drop(many);
                after / before
            }
        });
        alive = alive.entry_of_samples(who, move || {
            let mut spawner = starting(who);
            move |_| while_others_live(&mut *spawner)
        });
    }
    // Ten thousand children take a while; tokio stands for those who wait by pidfds, the floor for
    // those who wait for one child after the other.
    for who in [Who::Blacklight, Who::Libuv, Who::Tokio, Who::Floor, Who::PidfdFloor] {
        exits = exits.entry(who, move || {
            let mut spawner = starting(who);
            move |units| together(&mut *spawner, units)
        });
        growth = growth.entry(who, move || {
            let mut spawner = starting(who);
            move |_| {
                // Ten small groups, so that they scatter less.
                let few = (0..10).map(|_| together(&mut *spawner, 100)).sum::<f64>() / 10.0;
                together(&mut *spawner, 10_000) / few
            }
        });
    }
    for who in [Who::Blacklight, Who::Libuv, Who::Floor, Who::PidfdFloor] {
        among = among.entry(who, move || {
            let mut spawner = starting(who);
            move |units| one_by_one(&mut *spawner, units)
        });
    }
    vec![descriptors, alive, exits, growth, among]
}

/// Program 0 exits, program 1 sleeps.
fn starting(who: Who) -> Box<dyn Spawner> {
    let what = |does| What {
        program: Rc::new(Program::that(does).expect("a program")),
        attributes: Attributes::default(),
    };
    spawner(who, &[what(Does::Exit), what(Does::Sleep)])
}

/// Spawns to exit, one after the other, while `others` go on living: what one took on average.
fn some(spawner: &mut dyn Spawner, others: usize) -> f64 {
    const SPAWNS: u64 = 5;
    let begun = Instant::now();
    for _ in 0..SPAWNS {
        spawner.start(0, 1, None);
        spawner.finish(others);
    }
    each(begun, SPAWNS)
}

/// Ten samples without, ten with 2,000 children of the same implementation.
fn while_others_live(spawner: &mut dyn Spawner) -> Vec<f64> {
    const OTHERS: usize = 2_000;
    let before: Vec<f64> = (0..10).map(|_| some(spawner, 0)).collect();
    let mut pids = Vec::new();
    spawner.start(1, OTHERS, Some(&mut pids));
    let after = before.into_iter().map(|before| some(spawner, OTHERS) / before);
    let samples = after.collect();
    end(&pids);
    spawner.finish(0);
    samples
}

/// Kills some of 10,000 children one after the other, here and there among them: from the kill to the
/// report. None is killed twice, as the step and the number of children have no common factor.
fn one_by_one(spawner: &mut dyn Spawner, count: u64) -> f64 {
    const CHILDREN: usize = 10_000;
    const STEP: usize = 3_989;
    let mut pids = Vec::new();
    spawner.start(1, CHILDREN, Some(&mut pids));
    let begun = Instant::now();
    for nth in 1..=count as usize {
        // SAFETY: a child of ours that nobody has waited for yet.
        unsafe { libc::kill(pids[nth * STEP % CHILDREN], libc::SIGKILL) };
        spawner.finish_any(CHILDREN - nth);
    }
    let taken = each(begun, count);
    let mut left: Vec<i32> = Vec::new();
    for (place, pid) in pids.into_iter().enumerate() {
        if !(1..=count as usize).any(|nth| nth * STEP % CHILDREN == place) {
            left.push(pid);
        }
    }
    end(&left);
    spawner.finish(0);
    taken
}

/// Children that have all ended by the time the first is waited for.
fn together(spawner: &mut dyn Spawner, count: u64) -> f64 {
    let mut pids = Vec::new();
    spawner.start(1, count as usize, Some(&mut pids));
    end(&pids);
    let begun = Instant::now();
    spawner.finish(0);
    each(begun, count)
}

/// Ends the children, and leaves them to be waited for.
fn end(pids: &[i32]) {
    for &pid in pids {
        // SAFETY: a child of ours that nobody has waited for yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    for &pid in pids {
        // SAFETY: the structure is written to and outlives the call; WNOWAIT leaves the child.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, flags);
        }
    }
}
