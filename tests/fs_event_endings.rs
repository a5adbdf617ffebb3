//! Watchers that end, fail, restart, panic and fork, and events that are lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;
#[path = "support/watching.rs"]
mod watching;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, FsEvent, FsEventFlags};
use support::isolated;
use support::process::new_loop;
use tools::{Tokens, finish, run_panics};
use watching::{Folder, Seen, instances};

fn plain() -> FsEventFlags {
    FsEventFlags::empty()
}

#[test]
fn a_callback_may_close_any_watcher() {
    let folder = Folder::new();
    let lp = new_loop();
    let all: Rc<RefCell<Vec<FsEvent>>> = Rc::default();
    let calls = Rc::new(Cell::new(0));
    for _ in 0..5 {
        let watcher = FsEvent::new(&lp).unwrap();
        let (all_of_them, calls) = (all.clone(), calls.clone());
        watcher
            .start(folder.path(), plain(), move |_, _| {
                calls.set(calls.get() + 1);
                all_of_them.borrow().iter().for_each(Handle::close);
            })
            .unwrap();
        all.borrow_mut().push(watcher);
    }
    fs::write(folder.join("a"), "text").unwrap();
    fs::write(folder.join("b"), "text").unwrap();
    finish(&lp);
    assert_eq!(calls.get(), 1);
    assert!(all.borrow().iter().all(Handle::is_closed));
    all.borrow_mut().clear();
}

#[test]
fn what_was_fetched_before_a_restart_is_not_told_after_it() {
    let folder = Folder::new();
    let lp = new_loop();
    let watcher = FsEvent::new(&lp).unwrap();
    let late = Rc::new(Cell::new(0));
    let (count, path) = (late.clone(), folder.path().to_owned());
    // Another one keeps the kernel's watch, so that it stays the same.
    let (_other, seen) = Seen::start(&lp, folder.path(), plain());
    watcher
        .start(folder.path(), plain(), move |watcher, _| {
            watcher.stop();
            let count = count.clone();
            watcher.start(&path, plain(), move |_, _| count.set(count.get() + 1)).unwrap();
        })
        .unwrap();
    fs::write(folder.join("a"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(late.get(), 0, "one event, which was told to the first start");
    fs::write(folder.join("b"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(late.get(), 1);
}

#[test]
fn a_panic_stops_that_watcher_and_loses_nothing_of_the_others() {
    let folder = Folder::new();
    let lp = new_loop();
    let tokens = Tokens::new();
    let (_one, before) = Seen::start(&lp, folder.path(), plain());
    let panicking = FsEvent::new(&lp).unwrap();
    let token = tokens.one();
    panicking
        .start(folder.path(), plain(), move |_, _| {
            token.keep();
            panic!("on purpose");
        })
        .unwrap();
    let (_two, after) = Seen::start(&lp, folder.path(), plain());
    for name in ["a", "b"] {
        fs::write(folder.join(name), "").unwrap();
    }
    run_panics(&lp, RunMode::Default, "on purpose");
    assert_eq!((tokens.alive(), panicking.is_active()), (0, false));
    // Without another event of the descriptor.
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(before.take(), ["a Created", "b Created"]);
    assert_eq!(after.take(), ["a Created", "b Created"]);
}

#[test]
fn a_halt_between_two_calls_is_obeyed() {
    let folder = Folder::new();
    let lp = new_loop();
    let calls = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let calls = calls.clone();
        let watcher = FsEvent::new(&lp).unwrap();
        watcher
            .start(folder.path(), plain(), move |watcher, _| {
                calls.set(calls.get() + 1);
                watcher.event_loop().halt();
            })
            .unwrap();
    }
    fs::write(folder.join("a"), "").unwrap();
    lp.run(RunMode::Default).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn an_unreferenced_watcher_keeps_no_loop_alive() {
    let folder = Folder::new();
    let lp = new_loop();
    let (watcher, _seen) = Seen::start(&lp, folder.path(), plain());
    assert!(lp.is_alive());
    watcher.unreference();
    finish(&lp);
    assert!(watcher.is_active());
}

#[test]
fn bad_input_is_an_error_value() {
    let folder = Folder::new();
    let lp = new_loop();
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    let nul = folder.path().join(OsStr::from_bytes(b"a\0b"));
    let missing = folder.join("missing");
    let below_a_file = file.join("x");
    let long = folder.join(&"x".repeat(256));
    let cases = [
        (nul.as_path(), Error::EINVAL),
        (missing.as_path(), Error::ENOENT),
        (below_a_file.as_path(), Error::ENOTDIR),
        (long.as_path(), Error::ENAMETOOLONG),
        (OsStr::new("").as_ref(), Error::ENOENT),
    ];
    let watcher = FsEvent::new(&lp).unwrap();
    for (path, wanted) in cases {
        for flags in [plain(), FsEventFlags::RECURSIVE] {
            let tokens = Tokens::new();
            let token = tokens.one();
            let started = watcher.start(path, flags, move |_, _| token.keep());
            assert_eq!((started, tokens.alive()), (Err(wanted), 0), "{path:?}");
            assert_eq!((watcher.is_active(), watcher.path().ok()), (false, None), "{path:?}");
        }
    }
    watcher.start(folder.path(), plain(), |_, _| {}).unwrap();
    // libuv's: EINVAL when it is active.
    assert_eq!(watcher.start(folder.path(), plain(), |_, _| {}), Err(Error::EINVAL));
    watcher.stop();
    watcher.stop();
    watcher.start(&file, FsEventFlags::RECURSIVE, |_, _| {}).unwrap();
    watcher.close();
    assert_eq!(watcher.start(folder.path(), plain(), |_, _| {}), Err(Error::EINVAL));
    assert_eq!((watcher.path(), watcher.is_watching()), (Err(Error::EINVAL), false));
    watcher.stop();
    finish(&lp);
    let (left, reference) = (FsEvent::new(&lp).unwrap(), (*lp).clone());
    drop(lp);
    assert_eq!(left.start(folder.path(), plain(), |_, _| {}), Err(Error::EINVAL));
    assert_eq!(FsEvent::new(&reference).map(drop), Err(Error::EINVAL));
}

#[test]
fn a_dropped_loop_closes_the_instance_and_drops_the_closures() {
    isolated(|| {
        let folder = Folder::new();
        let lp = new_loop();
        let tokens = Tokens::new();
        for flags in [plain(), FsEventFlags::RECURSIVE] {
            let token = tokens.one();
            let watcher = FsEvent::new(&lp).unwrap();
            watcher.start(folder.path(), flags, move |_, _| token.keep()).unwrap();
        }
        fs::write(folder.join("a"), "").unwrap();
        assert_eq!(instances(), 1);
        drop(lp);
        assert_eq!((instances(), tokens.alive()), (0, 0));
    });
}

/// A child's deletion of a watch would be its parent's too: they share the instance.
#[test]
fn a_forked_child_has_watches_of_its_own() {
    isolated(|| {
        let folder = Folder::new();
        fs::create_dir(folder.join("dir")).unwrap();
        let lp = new_loop();
        let (one, first) = Seen::start(&lp, folder.path(), plain());
        let (two, second) = Seen::start(&lp, folder.path(), FsEventFlags::RECURSIVE);
        let passing = folder.join("passing");
        fs::write(&passing, "").unwrap();
        let (_gone, third) = Seen::start(&lp, &passing, plain());
        fs::remove_file(&passing).unwrap();
        first.settle(&lp);
        drop((first.take(), second.take(), third.take()));
        let in_child = |body: &dyn Fn()| {
            // SAFETY: one thread does anything here; the child ends below.
            match unsafe { libc::fork() } {
                0 => {
                    let body = std::panic::AssertUnwindSafe(body);
                    let ended = std::panic::catch_unwind(body);
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(i32::from(ended.is_err())) }
                }
                pid => {
                    let mut status = -1;
                    // SAFETY: the status outlives the call.
                    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                    assert_eq!(status, 0, "the child failed");
                }
            }
        };
        in_child(&|| {
            assert_eq!(one.start(folder.path(), plain(), |_, _| {}), Err(Error::EINVAL));
            one.close();
            two.stop();
        });
        in_child(&|| {
            lp.after_fork().unwrap();
            fs::write(folder.join("dir/child"), "").unwrap();
            first.settle(&lp);
            assert_eq!(second.take(), ["dir/child Created"]);
            assert_eq!(third.take(), Vec::<String>::new(), "what it watched is gone since before");
            one.close();
            two.close();
        });
        fs::write(folder.join("dir/parent"), "").unwrap();
        fs::write(folder.join("parent"), "").unwrap();
        first.settle(&lp);
        assert_eq!(first.take(), ["parent Created"]);
        assert_eq!(second.take(), ["dir/child Created", "dir/parent Created", "parent Created"]);
    });
}

#[test]
fn what_cannot_be_watched_after_a_fork_is_an_error_to_its_watcher() {
    isolated(|| {
        let folder = Folder::new();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        let lp = new_loop();
        let (watcher, seen) = Seen::start(&lp, &file, plain());
        // In a process that was not forked it does the same.
        fs::rename(&file, folder.join("elsewhere")).unwrap();
        lp.after_fork().unwrap();
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(seen.take(), ["ENOENT"]);
        assert!(!watcher.is_watching() && watcher.is_active());
    });
}

#[test]
fn overflow_is_told_to_everyone() {
    // More than the kernel keeps by default; where it keeps more, there is no overflow to see.
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    if most > 100_000 {
        support::process::skip("the kernel's queue is too long to be filled in a test");
        return;
    }
    let (folder, other) = (Folder::new(), Folder::new());
    let lp = new_loop();
    let (_one, seen) = Seen::start(&lp, folder.path(), FsEventFlags::RECURSIVE);
    let (_two, bystander) = Seen::start(&lp, other.path(), plain());
    fs::create_dir(folder.join("dir")).unwrap();
    let (a, b) = (folder.join("a"), folder.join("b"));
    fs::write(&a, "").unwrap();
    for _ in 0..=most / 4 {
        fs::rename(&a, &b).unwrap();
        fs::rename(&b, &a).unwrap();
    }
    // This one's event is lost, but the tree is looked through.
    fs::create_dir(folder.join("late")).unwrap();
    fs::remove_dir(folder.join("dir")).unwrap();
    tools::run_until(&lp, || seen.has("Overflow"));
    assert_eq!(bystander.take(), [" Overflow"]);
    seen.settle(&lp);
    seen.take();
    fs::write(folder.join("late/file"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["late/file Created"]);
}
