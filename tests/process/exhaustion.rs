//! Spawning when descriptors, processes or memory have run out (B8).

#![allow(unsafe_code)]

use std::fs::File;

use blacklight::prelude::*;
use blacklight::{Error, Reaping, Resource, SpawnPath, SpawnStep};

use crate::support::process::{
    Exits, in_fork, is_root, new_loop, output, pipe, reaps_by_pidfd, run, shell, skip,
};
use crate::support::{children, isolated, open_fds};

/// Sets a soft limit and gives back what it was.
fn set_limit(resource: u32, soft: u64) -> u64 {
    // SAFETY: the structure outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
        before
    }
}

/// Leaves room for so many descriptors and no more, until it is dropped.
struct Crowd {
    _files: Vec<File>,
    usual: u64,
}

impl Crowd {
    fn with_room_for(room: usize) -> Crowd {
        let highest = open_fds().iter().map(|(fd, _)| *fd).max().unwrap();
        let usual = set_limit(libc::RLIMIT_NOFILE, highest as u64 + 16);
        let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        files.truncate(files.len() - room);
        Crowd { _files: files, usual }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        set_limit(libc::RLIMIT_NOFILE, self.usual);
    }
}

#[test]
fn when_descriptors_run_out_a_spawn_fails_cleanly_or_is_reported_exactly() {
    isolated(|| {
        let lp = new_loop();
        if lp.options().reaping == Reaping::Pidfd {
            return skip("without a pidfd such a loop spawns nothing");
        }
        // What the loop keeps, the signal pipe among it, is there from the beginning.
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap().on_stop(|_, _| {}).unwrap();
        run(&lp);
        let (mut failed, mut spawned) = (0, 0);
        for room in 0..12 {
            // A pipe wants two descriptors, what the paths need comes on top.
            for with_pipe in [false, true] {
                let before = open_fds();
                let out = Pipe::new(&lp).unwrap();
                let exits = Exits::new();
                let mut command = shell("exit 5");
                if with_pipe {
                    command.stdin(Stdio::null()).stdout(Stdio::pipe(&out));
                } else {
                    command.stdin(Stdio::inherit());
                }
                let crowd = Crowd::with_room_for(room);
                let result = command.spawn(&lp, exits.note());
                if let Err(error) = &result {
                    failed += 1;
                    assert_eq!(error.error(), Error::EMFILE, "{error}");
                } else {
                    // The loop runs under the same limit.
                    run(&lp);
                    spawned += 1;
                    assert_eq!(exits.one().code(), Some(5));
                    assert!(exits.one().usage.is_some());
                }
                drop(crowd);
                out.close();
                run(&lp);
                assert_eq!(open_fds(), before, "room for {room}: {result:?}");
                assert!(children().is_empty());
            }
        }
        assert!(failed > 0 && spawned > 12, "{failed} failed, {spawned} spawned");
        if reaps_by_pidfd(&lp) && lp.options().spawn_path != SpawnPath::Fork {
            assert!(lp.metrics().pidfd_fallbacks > 0, "a child without a pidfd was reaped");
        }
    });
}

#[test]
fn the_descriptor_of_an_ended_child_is_there_for_the_next() {
    isolated(|| {
        let lp = new_loop();
        if !reaps_by_pidfd(&lp) || lp.options().spawn_path == SpawnPath::Fork {
            return skip("without pidfds, and on the fork path, other descriptors are needed");
        }
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let before = open_fds();
        let crowd = Crowd::with_room_for(1);
        let exits = Exits::new();
        let command = Command::new("true");
        let (next, note) = (command.clone(), exits.note());
        let first = move |process: &Process, exit: blacklight::Exit| {
            assert!(exit.success());
            let with_pidfd = next.spawn(process.event_loop(), note).unwrap();
            assert!(with_pidfd.pidfd().is_some(), "the first one's number is free");
        };
        command.spawn(&lp, first).unwrap();
        run(&lp);
        assert!(exits.one().success());
        assert_eq!(lp.metrics().pidfd_fallbacks, 0);
        drop(crowd);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn between_turns_no_more_than_one_ended_child_has_left_a_descriptor() {
    isolated(|| {
        let lp = new_loop();
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let before = open_fds().len();
        let exits = Exits::new();
        for _ in 0..20 {
            Command::new("true").spawn(&lp, exits.note()).unwrap();
        }
        while exits.get().len() < 20 {
            let alive = 20 - exits.get().len();
            assert!(open_fds().len() <= before + alive + 1, "{:?}", open_fds());
            lp.run(RunMode::Once).unwrap();
        }
        assert!(open_fds().len() <= before + 1);
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(open_fds().len(), before, "the next turn closes it");
    });
}

#[test]
fn without_a_descriptor_a_child_can_be_killed_and_closed() {
    isolated(|| {
        let lp = new_loop();
        if lp.options().spawn_path == SpawnPath::Fork || lp.options().reaping == Reaping::Pidfd {
            return skip("the fork path, and this reaping, need descriptors of their own");
        }
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let exits = Exits::new();
        let (reader, _writer) = pipe();
        let mut command = Command::new("cat");
        command.stdin(reader).stdout(File::create("/dev/null").unwrap());
        let crowd = Crowd::with_room_for(0);
        let killed = command.spawn(&lp, exits.note()).unwrap();
        let closed = command.spawn(&lp, |_, _| panic!("it was closed")).unwrap();
        assert!(killed.pidfd().is_none());
        killed.kill(libc::SIGKILL).unwrap();
        closed.kill(libc::SIGKILL).unwrap();
        closed.close();
        run(&lp);
        assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
        assert_eq!(killed.kill(0), Err(Error::ESRCH));
        drop(crowd);
        // Its reaper may have had no descriptor either; the next loop that runs sees to that.
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        crate::support::process::until(|| children().is_empty());
    });
}

/// A user that has no processes.
const ALONE: u32 = 61_234;

#[test]
fn when_processes_run_out_the_clone_fails_with_eagain() {
    isolated(|| {
        if !is_root() {
            return skip("the limit of processes does not count for one user alone");
        }
        in_fork(|| {
            // SAFETY: one thread; no pointers.
            unsafe {
                assert_eq!(libc::setgid(ALONE), 0);
                assert_eq!(libc::setuid(ALONE), 0);
            }
            let lp = new_loop();
            let (_, exit) = output(&lp, &mut shell("exit 1"));
            assert_eq!(exit.code(), Some(1));
            let before = open_fds();
            let usual = set_limit(libc::RLIMIT_NPROC, 1);
            for _ in 0..3 {
                let out = Pipe::new(&lp).unwrap();
                let mut command = shell("exit 2");
                let error = command.stdout(Stdio::pipe(&out)).spawn(&lp, |_, _| {}).unwrap_err();
                assert_eq!((error.step(), error.error()), (SpawnStep::Clone, Error::EAGAIN));
                let error = command.spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap_err();
                assert_eq!((error.step(), error.error()), (SpawnStep::Thread, Error::EAGAIN));
                assert!(!out.is_readable() && !lp.is_alive());
            }
            assert!(children().is_empty());
            set_limit(libc::RLIMIT_NPROC, usual);
            let (_, exit) = output(&lp, &mut shell("exit 3"));
            assert_eq!(exit.code(), Some(3));
            // The wake-up that off-loop spawns have made for the loop stays with it.
            assert!(open_fds().len() <= before.len() + 1, "{:?}", open_fds());
            0
        });
    });
}

#[test]
fn when_memory_runs_out_the_spawn_says_so() {
    isolated(|| {
        let lp = new_loop();
        if lp.options().spawn_path == SpawnPath::Fork {
            return skip("the fork path maps nothing");
        }
        // What the loop makes with its first attempt stays with it.
        assert!(Command::new("a\0b").spawn(&lp, |_, _| {}).is_err());
        // Holes in the heap, so that small pieces can be had whatever the limit.
        let holes: Vec<Vec<u8>> = (0..512).map(|_| vec![1; 4096]).collect();
        let last = holes.into_iter().next_back();
        let before = open_fds();
        let usual = set_limit(libc::RLIMIT_AS, 1 << 20);
        let result = Command::new("true").spawn(&lp, |_, _| {});
        set_limit(libc::RLIMIT_AS, usual);
        let error = result.unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Memory, Error::ENOMEM));
        assert_eq!(open_fds(), before);
        drop(last);
        let (_, exit) = output(&lp, &mut shell("exit 4"));
        assert_eq!(exit.code(), Some(4));
    });
}

#[test]
fn a_child_without_memory_for_its_program_is_an_error_or_an_exit() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let mut command = Command::new("true");
        command.rlimit(Resource::AddressSpace, 100_000, 100_000).stderr(Stdio::null());
        // Behind the point of no return of exec the exit tells (DESIGN 4.2).
        match command.spawn(&lp, exits.note()) {
            Ok(_) => {
                run(&lp);
                assert!(!exits.one().success(), "{}", exits.one());
            }
            Err(error) => assert_eq!(error.step(), SpawnStep::Exec, "{error}"),
        }
        assert!(children().is_empty());
    });
}

#[test]
fn when_descriptors_run_out_in_the_child_the_slot_is_named() {
    isolated(|| {
        let lp = new_loop();
        let usual = set_limit(libc::RLIMIT_NOFILE, 64);
        let mut command = Command::new("true");
        command.stdio(63, Stdio::null());
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        command.stdio(64, Stdio::null());
        let error = command.spawn(&lp, |_, _| {}).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Dup(64), Error::EMFILE));
        set_limit(libc::RLIMIT_NOFILE, usual);
        run(&lp);
    });
}
