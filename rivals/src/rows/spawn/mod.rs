//! Spawn to exit: default, with attributes, with memory, in bursts, and failing.

mod asynchronous;
mod direct;
mod failing;
mod libuv;
mod ours;
mod pipes;
mod spawner;
mod stall;

pub(super) use spawner::{Spawner, What, spawner};

use std::rc::Rc;
use std::time::Instant;

use crate::clone::Attributes;
use crate::floor::Does;
use crate::row::{Goal, Group, Row, Who, each};

/// Rounds for quartiles that are worth something: spawns scatter.
const ROUNDS: usize = 200;

/// Spawns per round, one after the other. A sample is their mean: one alone is mostly what the
/// machine happened to do, and the caches that the entry before it left.
const SPAWNS: u64 = 10;

pub(super) fn rows() -> Vec<Row> {
    let none = Attributes::default();
    let uid_gid = Attributes { uid_gid: true, ..none };
    let close = Goal::Against(Who::Floor, 1.10);
    let mut rows = vec![plain("spawn: default", none).goal(close)];
    let attributes = [
        ("spawn: uid and gid", uid_gid),
        ("spawn: groups", Attributes { groups: true, ..none }),
        ("spawn: cwd", Attributes { cwd: true, ..none }),
        ("spawn: detached", Attributes { detached: true, ..none }),
        (
            "spawn: uid, gid, groups cleared, cwd and detached",
            Attributes { cwd: true, detached: true, ..uid_gid },
        ),
    ];
    let (root, resident) = (is_root(), "spawn: 2 GiB resident");
    for (name, attributes) in attributes {
        if root || !(attributes.uid_gid || attributes.groups) {
            rows.push(plain(name, attributes).goal(close));
        }
    }
    rows.push(plain(resident, none).setting(two_gigabytes).goal(close));
    if root {
        // The rivals copy the tables of 2 GiB for each, a tenth of a second.
        let row = plain("spawn: 2 GiB resident, uid and gid", uid_gid).rounds(100).units(2);
        rows.push(row.setting(two_gigabytes).goal(close));
    }
    let burst = Row::new(Group::Spawning, "spawn: burst of 500").rounds(100).units(500);
    rows.push(with_everyone(burst, none, |spawner, units| {
        spawner.start(0, units as usize, None);
        spawner.finish(0);
    }));
    rows.push(pipes::row());
    rows.push(failing::row());
    rows.extend(stall::rows());
    rows
}

/// A spawn and its exit, then the next.
fn plain(name: &str, attributes: Attributes) -> Row {
    let row = Row::new(Group::Spawning, name).rounds(ROUNDS).units(SPAWNS);
    with_everyone(row, attributes, |spawner, units| {
        for _ in 0..units {
            spawner.start(0, 1, None);
            spawner.finish(0);
        }
    })
}

fn with_everyone(
    mut row: Row,
    attributes: Attributes,
    run: impl Fn(&mut dyn Spawner, u64) + Copy + 'static,
) -> Row {
    // What waiting by pidfds costs by itself.
    let bare = attributes.none().then_some(Who::PidfdFloor);
    for who in Who::SPAWNERS.into_iter().chain(bare) {
        if !spawner::can(who, attributes) {
            continue;
        }
        row = row.entry(who, move || {
            let program = Rc::new(crate::floor::Program::that(Does::Exit).expect("a program"));
            let mut spawner = spawner(who, &[What { program, attributes }]);
            move |units| {
                let begun = Instant::now();
                run(&mut *spawner, units);
                each(begun, units)
            }
        });
    }
    row
}

fn is_root() -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("without rows of other users and groups: not root");
    }
    root
}

/// Memory that is there, in small pages: every one written to.
fn two_gigabytes() -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut memory = Vec::<u8>::with_capacity(2 << 30);
    let at = memory.as_mut_ptr();
    let (start, room) = (at.wrapping_add(at.align_offset(PAGE)), memory.capacity() - PAGE);
    // SAFETY: the range is within the allocation; the advice changes no contents.
    unsafe { libc::madvise(start.cast(), room, libc::MADV_NOHUGEPAGE) };
    memory.resize(2 << 30, 0);
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    memory
}
