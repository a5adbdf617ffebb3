//! What a real child finds on its numbers, seen from its /proc entry.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use proptest::test_runner::{Config, TestRunner};

use super::*;

/// A file whose inode tells it from all others.
fn file(directory: &Scratch, name: u32) -> Arc<OwnedFd> {
    Arc::new(File::create(directory.path(&name.to_string())).unwrap().into())
}

fn inode(fd: &OwnedFd) -> u64 {
    std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap().ino()
}

/// A copy on a number of our choice, close-on-exec.
fn copy(fd: BorrowedFd<'_>, onto: RawFd) -> Arc<OwnedFd> {
    // SAFETY: the number is unused in this process, which is the test's own, and ours from now on.
    unsafe {
        assert_eq!(libc::dup3(fd.as_raw_fd(), onto, libc::O_CLOEXEC), onto);
        Arc::new(OwnedFd::from_raw_fd(onto))
    }
}

/// The numbers open in a child with these slots, and the inodes of what is there.
fn seen_with(set: impl FnOnce(&mut Attributes), switches: &Switches) -> BTreeMap<u32, u64> {
    let directory = Scratch::new("listing");
    let list = directory.path("list");
    // The shell lists itself: the redirection is a subshell's. The descriptor with which it reads
    // the directory is gone when stat looks, and is left out with a complaint.
    let mut attributes = shell(&format!("(stat -L -c '%n %i' /proc/$$/fd/* >{list}); exit 0"));
    set(&mut attributes);
    let child = spawn(&attributes, switches).unwrap();
    assert_eq!(finish(&child), Change::Exited(0));
    let text = std::fs::read_to_string(&list).unwrap();
    let line = |line: &str| {
        let (name, inode) = line.split_once(' ').unwrap();
        (name.rsplit_once('/').unwrap().1.parse().unwrap(), inode.parse().unwrap())
    };
    text.lines().map(line).collect()
}

fn null() -> u64 {
    std::fs::metadata("/dev/null").unwrap().ino()
}

/// Spawns with the slots on every path and compares the whole table of the child.
fn check(slots: &[(u32, RawFd)], expected: &[(u32, u64)]) {
    for switches in main_positions() {
        let seen = seen_with(
            |a| a.slots = slots.iter().map(|&(n, fd)| slot(n, Source::Raw(fd))).collect(),
            &switches,
        );
        assert_eq!(seen, expected.iter().copied().collect(), "{switches:?} {slots:?}");
    }
}

#[test]
fn only_the_listed_slots_reach_a_child_and_the_standard_ones_are_filled() {
    isolated(|| {
        let directory = Scratch::new("slots");
        let (a, b) = (file(&directory, 1), file(&directory, 2));
        // Not close-on-exec, as a careless library leaves it.
        // SAFETY: a flag of a descriptor of ours.
        assert_eq!(unsafe { libc::fcntl(b.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        check(&[], &[(0, null()), (1, null()), (2, null())]);
        let number = a.as_raw_fd();
        check(&[(1, number)], &[(0, null()), (1, inode(&a)), (2, null())]);
        check(&[(63, number)], &[(0, null()), (1, null()), (2, null()), (63, inode(&a))]);
    });
}

#[test]
fn sources_and_targets_may_be_swapped_shared_and_equal() {
    isolated(|| {
        let directory = Scratch::new("swaps");
        let files: Vec<_> = (0..5).map(|name| file(&directory, name)).collect();
        let fds: Vec<_> = (0..5).map(|n| copy(files[n].as_fd(), 30 + n as RawFd)).collect();
        let inode = |n: usize| inode(&fds[n]);
        let standard = [(0, null()), (1, null()), (2, null())];
        let with = |more: &[(u32, u64)]| [&standard[..], more].concat();
        // Equal, and a swap.
        check(&[(30, 30)], &with(&[(30, inode(0))]));
        check(&[(30, 31), (31, 30)], &with(&[(30, inode(1)), (31, inode(0))]));
        // A ring of three, with the next number free in the parent.
        let ring = [(30, 31), (31, 32), (32, 30), (33, 30)];
        let seen = [(30, inode(1)), (31, inode(2)), (32, inode(0)), (33, inode(0))];
        check(&ring, &with(&seen));
        // One source on several numbers, its own among them.
        let seen = [(29, inode(0)), (30, inode(0)), (31, inode(0))];
        check(&[(29, 30), (30, 30), (31, 30)], &with(&seen));
    });
}

#[test]
fn a_parent_without_standard_streams_can_give_a_child_some() {
    isolated(|| {
        let directory = Scratch::new("closed");
        let kept: Vec<OwnedFd> = [0, 1, 2].map(copied_up).into_iter().collect();
        for fd in 0..3 {
            // SAFETY: the test's own process; its streams are put back below.
            assert_eq!(unsafe { libc::close(fd) }, 0);
        }
        // They land on 0, 1 and 2 of the parent.
        let files: Vec<_> = (0..3).map(|name| file(&directory, name)).collect();
        let numbers: Vec<_> = files.iter().map(|file| file.as_raw_fd()).collect();
        let result = std::panic::catch_unwind(|| {
            assert_eq!(numbers, [0, 1, 2]);
            let inodes: Vec<_> = files.iter().map(|file| inode(file)).collect();
            check(&[(0, 1), (1, 2), (2, 0)], &[(0, inodes[1]), (1, inodes[2]), (2, inodes[0])]);
            check(&[(1, 0)], &[(0, null()), (1, inodes[0]), (2, null())]);
        });
        for (fd, kept) in kept.iter().enumerate() {
            // SAFETY: the test's own streams come back.
            unsafe { libc::dup2(kept.as_raw_fd(), fd as RawFd) };
        }
        std::mem::forget(files);
        result.unwrap();
    });
}

fn copied_up(fd: RawFd) -> OwnedFd {
    // SAFETY: the number is new and ours.
    unsafe { OwnedFd::from_raw_fd(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10)) }
}

#[test]
fn random_plans_are_carried_out_by_real_children() {
    isolated(|| {
        let directory = Scratch::new("random");
        reserve_descriptors().unwrap();
        // Some that are near the targets, and some far up.
        let numbers = (40..50).chain(900..904);
        let fds: Vec<_> =
            numbers.map(|number| copy(file(&directory, number as u32).as_fd(), number)).collect();
        let source = proptest::sample::select((0..fds.len()).collect::<Vec<_>>());
        let plans = proptest::collection::btree_map(0..55u32, source, 0..30);
        let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
        let done = TestRunner::new(config).run(&plans, |plan| {
            let slots: Vec<_> = plan.iter().map(|(&n, &fd)| (n, fds[fd].as_raw_fd())).collect();
            let mut expected = BTreeMap::from([(0, null()), (1, null()), (2, null())]);
            expected.extend(plan.iter().map(|(&n, &fd)| (n, inode(&fds[fd]))));
            let expected: Vec<_> = expected.into_iter().collect();
            check(&slots, &expected);
            Ok(())
        });
        done.unwrap();
    });
}

#[test]
fn slots_may_refer_to_each_other_and_be_ignored() {
    isolated(|| {
        let directory = Scratch::new("same");
        let a = file(&directory, 1);
        for switches in main_positions() {
            let set = |attributes: &mut Attributes| {
                attributes.slots = vec![
                    slot(7, Source::SameAs(5)),
                    slot(2, Source::SameAs(1)),
                    slot(1, Source::Shared(a.clone())),
                    slot(5, Source::SameAs(2)),
                    slot(4, Source::Ignore),
                    slot(0, Source::Ignore),
                    slot(6, Source::SameAs(0)),
                ];
            };
            let seen = seen_with(set, &switches);
            let a = inode(&a);
            let expected = [(0, null()), (1, a), (2, a), (5, a), (6, null()), (7, a)];
            assert_eq!(seen, expected.into_iter().collect(), "{switches:?}");
        }
    });
}

#[test]
fn unlisted_descriptors_are_inherited_when_asked_for() {
    isolated(|| {
        let directory = Scratch::new("unlisted");
        let files: Vec<_> = (0..3).map(|name| file(&directory, name)).collect();
        let fds: Vec<_> = (0..3).map(|n| copy(files[n].as_fd(), 40 + n as RawFd)).collect();
        // Whoever started the tests may have left something open.
        // SAFETY: flags of a process that is the test's own.
        unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
        for fd in &fds[..2] {
            // SAFETY: a flag of a descriptor of ours.
            assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        }
        for switches in main_positions() {
            let set = |attributes: &mut Attributes| {
                attributes.inherit_unlisted = true;
                attributes.slots = vec![slot(41, Source::Ignore), slot(44, Source::Raw(42))];
            };
            let seen = seen_with(set, &switches);
            let (a, b, c) = (inode(&fds[0]), inode(&fds[1]), inode(&fds[2]));
            // 42 itself is close-on-exec.
            let mut expected = BTreeMap::from([(0, null()), (1, null()), (2, null())]);
            expected.extend([(40, a), (41, b), (44, c)]);
            assert_eq!(seen, expected, "{switches:?}");
        }
    });
}

#[test]
fn three_hundred_slots_reach_a_child() {
    isolated(|| {
        let directory = Scratch::new("many");
        let files: Vec<_> = (0..300).map(|name| file(&directory, name)).collect();
        let inodes: Vec<_> = files.iter().map(|file| inode(file)).collect();
        for switches in main_positions() {
            let set = |attributes: &mut Attributes| {
                // In reverse, so that nearly every source stands in the way of a target.
                attributes.slots = (0..300)
                    .map(|n| slot(n, Source::Shared(files[299 - n as usize].clone())))
                    .collect();
            };
            let seen = seen_with(set, &switches);
            let expected = (0..300).map(|n| (n, inodes[299 - n as usize])).collect();
            assert_eq!(seen, expected, "{switches:?}");
        }
    });
}

#[test]
fn sources_far_up_reach_a_child_by_low_numbers() {
    isolated(|| {
        let directory = Scratch::new("far");
        reserve_descriptors().unwrap();
        let files: Vec<_> = (0..12).map(|name| file(&directory, name)).collect();
        let fds: Vec<_> = (0..12).map(|n| copy(files[n].as_fd(), 900 + n as RawFd)).collect();
        let spawned = |count: usize, slots: u32| {
            let mut attributes = command(&["/bin/true"]);
            attributes.slots = (0..slots)
                .map(|n| slot(n, Source::Shared(fds[n as usize % count].clone())))
                .collect();
            let child = spawn(&attributes, &Switches::default()).unwrap();
            assert_eq!(finish(&child), Change::Exited(0));
            child.fallbacks.difference(without_clone3())
        };
        assert_eq!(spawned(5, 5), Fallbacks::empty());
        assert_eq!(spawned(5, 12), Fallbacks::empty());
        assert_eq!(spawned(12, 12), Fallbacks::HIGH_LIMIT);
        for count in [3, 8, 12] {
            let slots: Vec<_> = (0..count).map(|n| (n, 900 + n as RawFd)).collect();
            let expected: Vec<_> = (0..count).map(|n| (n, inode(&fds[n as usize]))).collect();
            check(&slots, &expected);
        }
        // The numbers hold the null device again.
        let held = || {
            std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter(|entry| {
                    let path = entry.as_ref().unwrap().path();
                    std::fs::read_link(path).is_ok_and(|to| files_contains(&directory, &to))
                })
                .count()
        };
        assert_eq!(held(), 24);
    });
}

fn files_contains(directory: &Scratch, path: &std::path::Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(&directory.path("")))
}

#[test]
fn o_nonblock_of_a_source_is_left_alone_unless_asked_for() {
    isolated(|| {
        // SAFETY: flags of descriptors of ours.
        let flags = |fd: &OwnedFd| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
        for switches in main_positions() {
            for blocking in [false, true] {
                let (reader, writer) = pipe();
                // SAFETY: as above.
                unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
                let writer = Arc::new(writer);
                let mut attributes = command(&["/bin/true"]);
                attributes.slots =
                    vec![Slot { number: 1, source: Source::Shared(writer.clone()), blocking }];
                assert_eq!(finish(&spawn(&attributes, &switches).unwrap()), Change::Exited(0));
                assert_eq!(flags(&writer) & libc::O_NONBLOCK == 0, blocking, "{switches:?}");
                drop(reader);
            }
        }
    });
}
