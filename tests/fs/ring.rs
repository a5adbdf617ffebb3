//! What is special about io_uring: that it is used, cancelled, abandoned, and never needed.
//!
//! That operations do the same through it is for the other tests, with `BLACKLIGHT_IO_URING=on`.

use std::cell::Cell;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use blacklight::fs::{self, File, OpenFlags};
use blacklight::prelude::*;
use blacklight::{Error, Facilities, Options};

use crate::on_loop;
use crate::support::process::{Scratch, in_fork, skip, until};
use crate::support::{isolated, open_fds};
use crate::tools::{finish, noise, run_until};

/// A loop that uses the ring; none, and a word about it, where the kernel or a sandbox refuses.
fn ring_loop() -> Option<EventLoop> {
    let options = Options { io_uring: true, ..Options::default() };
    let lp = EventLoop::with_options(options).unwrap();
    on_loop(&lp, fs::stat("/")).unwrap();
    if lp.metrics().requests_to_ring == 0 {
        skip("no io_uring here");
        return None;
    }
    Some(lp)
}

#[test]
fn the_ring_is_used_if_asked_for_and_else_the_pool() {
    let Some(lp) = ring_loop() else { return };
    let count = |lp: &EventLoop| (lp.metrics().requests_to_ring, lp.metrics().requests_to_pool);
    assert_eq!(count(&lp), (1, 0));
    let scratch = Scratch::new();
    let at = |name: &str| scratch.join(name);
    let flags = OpenFlags::READ_WRITE | OpenFlags::CREATE;
    let file = on_loop(&lp, fs::open(at("file"), flags, 0o600)).unwrap();
    on_loop(&lp, file.write("text", Some(0))).result.unwrap();
    on_loop(&lp, file.read(vec![0; 4], Some(0))).result.unwrap();
    on_loop(&lp, file.sync()).unwrap();
    on_loop(&lp, file.sync_data()).unwrap();
    on_loop(&lp, file.stat()).unwrap();
    on_loop(&lp, file.close()).unwrap();
    on_loop(&lp, fs::link(at("file"), at("link"))).unwrap();
    on_loop(&lp, fs::symlink("x", at("symlink"))).unwrap();
    on_loop(&lp, fs::lstat(at("symlink"))).unwrap();
    on_loop(&lp, fs::rename(at("link"), at("other"))).unwrap();
    on_loop(&lp, fs::unlink(at("other"))).unwrap();
    on_loop(&lp, fs::mkdir(at("dir"), 0o700)).unwrap();
    on_loop(&lp, fs::rmdir(at("dir"))).unwrap();
    assert_eq!(count(&lp), (15, 0));
    on_loop(&lp, fs::scandir(scratch.path())).unwrap();
    assert_eq!(count(&lp), (15, 1), "the kernel has no such operation");
    for options in [
        Options::default(),
        Options {
            io_uring: true,
            facilities: Facilities::all() - Facilities::IO_URING,
            ..Options::default()
        },
    ] {
        let lp = EventLoop::with_options(options).unwrap();
        on_loop(&lp, fs::stat("/")).unwrap();
        assert_eq!(count(&lp), (0, 1));
    }
}

#[test]
fn more_operations_than_the_ring_takes_go_to_the_pool() {
    let Some(lp) = ring_loop() else { return };
    let count = Rc::new(Cell::new(0));
    for _ in 0..2_000 {
        let count = count.clone();
        fs::stat("/dev/null")
            .start(&lp, move |stat| {
                stat.unwrap();
                count.set(count.get() + 1);
            })
            .unwrap();
    }
    finish(&lp);
    assert_eq!(count.get(), 2_000);
    let metrics = lp.metrics();
    assert!(metrics.requests_to_ring >= 256 && metrics.requests_to_pool > 0, "{metrics:?}");
}

/// Which the pool cannot: its thread would block in the read.
#[test]
fn a_read_that_waits_is_cancelled_and_gives_the_buffer_back() {
    let Some(lp) = ring_loop() else { return };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(reader));
    let told = Rc::new(Cell::new(false));
    let saw = told.clone();
    let request = file
        .read(vec![7; 3], None)
        .start(&lp, move |read| {
            assert_eq!((read.result, read.buffer), (Err(Error::ECANCELED), vec![7; 3]));
            saw.set(true);
        })
        .unwrap();
    for _ in 0..3 {
        lp.run(RunMode::NoWait).unwrap();
    }
    assert!(request.is_pending());
    assert_eq!(request.cancel(), Ok(()));
    assert!(!told.get(), "told in a later phase");
    finish(&lp);
    assert!(told.get());
    assert_eq!(request.cancel(), Err(Error::EBUSY));
    // One that ends by itself, and is told of once.
    writer.write_all(b"abc").unwrap();
    let read = on_loop(&lp, file.read(vec![0; 9], None));
    assert_eq!(read.into_bytes().unwrap(), b"abc");
}

#[test]
fn a_cancel_storm_in_the_ring_tells_each_request_once() {
    let Some(lp) = ring_loop() else { return };
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(reader));
    let counts = Rc::new(Cell::new((0, 0)));
    let mut canceled = 0;
    // What each came to: 0 while it is pending, 1 when it was done, 2 when it was cancelled.
    let outcomes: Rc<Vec<Cell<u8>>> = Rc::new(vec![Cell::new(0); 200]);
    for round in 0..50 {
        outcomes.iter().for_each(|outcome| outcome.set(0));
        let requests: Vec<_> = (0..200)
            .map(|i| {
                let (counts, outcomes) = (counts.clone(), outcomes.clone());
                let count = move |result: blacklight::Result<()>| {
                    let (done, canceled) = counts.get();
                    assert_eq!(outcomes[i].replace(if result.is_ok() { 1 } else { 2 }), 0);
                    counts.set(match result {
                        Ok(()) => (done + 1, canceled),
                        Err(Error::ECANCELED) => (done, canceled + 1),
                        Err(error) => panic!("{error}"),
                    });
                };
                if i % 3 == 0 {
                    let read = file.read(vec![0; 1], None);
                    read.start(&lp, move |read| count(read.result.map(drop))).unwrap()
                } else {
                    fs::stat("/").start(&lp, move |stat| count(stat.map(drop))).unwrap()
                }
            })
            .collect();
        if round % 2 == 0 {
            lp.run(RunMode::NoWait).unwrap();
        }
        let in_time: Vec<bool> = requests.iter().map(|request| request.cancel().is_ok()).collect();
        canceled += in_time.iter().filter(|in_time| **in_time).count();
        finish(&lp);
        for (outcome, in_time) in outcomes.iter().zip(in_time) {
            assert!(outcome.get() == 2 || !in_time, "what was cancelled in time is not done");
        }
    }
    let (done, seen) = counts.get();
    assert_eq!(done + seen, 10_000);
    // One that the kernel has begun may be cancelled all the same.
    assert!(seen >= canceled, "{seen} {canceled}");
    assert!(canceled >= 50 * 67, "the reads at least");
}

#[test]
fn a_loop_dropped_under_operations_in_the_ring_leaves_nothing() {
    isolated(|| {
        if ring_loop().is_none() {
            return;
        }
        let before = open_fds();
        for _ in 0..20 {
            let Some(lp) = ring_loop() else { return };
            let (reader, writer) = std::io::pipe().unwrap();
            let file = File::from(OwnedFd::from(reader));
            file.read(vec![0; 100], None).start(&lp, |_| panic!("called")).unwrap();
            fs::open("/dev/null", OpenFlags::READ_ONLY, 0).start(&lp, |_| {}).unwrap();
            lp.run(RunMode::NoWait).unwrap();
            fs::open("/dev/null", OpenFlags::READ_ONLY, 0).start(&lp, |_| {}).unwrap();
            drop((lp, writer));
        }
        until(|| open_fds() == before);
    });
}

#[test]
fn a_forked_child_leaves_its_parent_s_ring_alone_and_has_its_own_after_after_fork() {
    isolated(|| {
        let Some(lp) = ring_loop() else { return };
        let (reader, mut writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(reader));
        let read = Rc::new(Cell::new(false));
        let saw = read.clone();
        let request = file
            .read(vec![0; 1], None)
            .start(&lp, move |read| {
                assert_eq!(read.result, Ok(1));
                saw.set(true);
            })
            .unwrap();
        lp.run(RunMode::NoWait).unwrap();
        in_fork(|| {
            assert_eq!(request.cancel(), Err(Error::ESTALE));
            assert_eq!(fs::stat("/").start(&lp, |_| {}).map(drop), Err(Error::ESTALE));
            lp.after_fork().unwrap();
            assert!(!request.is_pending() && !lp.is_alive());
            let before = lp.metrics().requests_to_ring;
            on_loop(&lp, fs::stat("/")).unwrap();
            assert_eq!(lp.metrics().requests_to_ring, before + 1);
            0
        });
        let mut dropped = Some(lp);
        in_fork(|| {
            drop(dropped.take());
            0
        });
        let lp = dropped.unwrap();
        assert!(request.is_pending());
        writer.write_all(b"x").unwrap();
        run_until(&lp, || read.get());
        on_loop(&lp, fs::stat("/")).unwrap();
    });
}

#[test]
fn bytes_of_a_megabyte_arrive_through_the_ring() {
    let Some(lp) = ring_loop() else { return };
    let scratch = Scratch::new();
    let bytes = noise(1 << 20);
    let flags = OpenFlags::READ_WRITE | OpenFlags::CREATE;
    let file = on_loop(&lp, fs::open(scratch.join("file"), flags, 0o600)).unwrap();
    let written = on_loop(&lp, file.write(bytes.clone(), None));
    assert_eq!(written.result, Ok(1 << 20));
    let read = on_loop(&lp, file.read(vec![0; 1 << 20], Some(0)));
    assert!(read.into_bytes().unwrap() == bytes);
    assert_eq!(on_loop(&lp, file.read(vec![0; 9], None)).result, Ok(0), "the position moved");
}
