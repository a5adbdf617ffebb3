//! Polling files: what counts as a change, errors once, and the end while a stat is in flight.

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
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;

use blacklight::fs::Stat;
use blacklight::prelude::*;
use blacklight::work::{ThreadPool, WorkClass};
use blacklight::{Error, FsPoll, HandleKind, Options};
use support::isolated;
use support::process::new_loop;
use tools::{Tokens, finish, run_panics, run_until};
use watching::Folder;

/// What was told: the sizes before and after, or the error.
type Told = Rc<RefCell<Vec<(u64, Result<u64, Error>)>>>;

fn start(lp: &EventLoop, path: &Path) -> (FsPoll, Told) {
    let poll = FsPoll::new(lp).unwrap();
    let told = Told::default();
    let note = told.clone();
    let callback = move |_: &FsPoll, before: &Stat, now: blacklight::Result<&Stat>| {
        note.borrow_mut().push((before.size, now.map(|stat| stat.size)));
    };
    poll.start(path, 1, callback).unwrap();
    (poll, told)
}

/// Lets a watcher with an interval of 1 ms ask several times.
fn let_it_ask(lp: &EventLoop, times: u32) {
    let left = Rc::new(Cell::new(times));
    let timer = Timer::new(lp).unwrap();
    let count = left.clone();
    timer.start(5, 5, move |_| count.set(count.get().saturating_sub(1))).unwrap();
    run_until(lp, || left.get() == 0);
    timer.close();
}

/// libuv's documentation of `uv_fs_poll_start`: the callback is called when something changes, or
/// on the first error after a success.
#[test]
fn only_changes_are_told_and_each_error_once() {
    let folder = Folder::new();
    let file = folder.join("file");
    fs::write(&file, "1").unwrap();
    let lp = new_loop();
    let (poll, told) = start(&lp, &file);
    assert_eq!((poll.kind(), poll.kind().name()), (HandleKind::FsPoll, "fs_poll"));
    assert_eq!(poll.path().as_deref(), Ok(file.as_path()));
    let_it_ask(&lp, 5);
    assert_eq!(*told.borrow(), [], "the first facts are for comparison");
    fs::write(folder.outside("new"), "22").unwrap();
    fs::rename(folder.outside("new"), &file).unwrap();
    run_until(&lp, || told.borrow().len() == 1);
    fs::remove_file(&file).unwrap();
    run_until(&lp, || told.borrow().len() == 2);
    let_it_ask(&lp, 5);
    fs::write(folder.outside("new"), "333").unwrap();
    fs::rename(folder.outside("new"), &file).unwrap();
    run_until(&lp, || told.borrow().len() == 3);
    let_it_ask(&lp, 5);
    poll.close();
    finish(&lp);
    assert_eq!(*told.borrow(), [(1, Ok(2)), (2, Err(Error::ENOENT)), (2, Ok(3))]);
}

#[test]
fn a_file_that_is_not_there_at_first_is_an_error_and_then_a_change() {
    let folder = Folder::new();
    let below = folder.join("dir/file");
    let lp = new_loop();
    let (poll, told) = start(&lp, &below);
    run_until(&lp, || told.borrow().len() == 1);
    // Another error is told too.
    fs::write(folder.join("dir"), "").unwrap();
    run_until(&lp, || told.borrow().len() == 2);
    fs::remove_file(folder.join("dir")).unwrap();
    run_until(&lp, || told.borrow().len() == 3);
    fs::create_dir(folder.outside("dir")).unwrap();
    fs::write(folder.outside("dir/file"), "text").unwrap();
    fs::rename(folder.outside("dir"), folder.join("dir")).unwrap();
    run_until(&lp, || told.borrow().len() == 4);
    poll.close();
    finish(&lp);
    let (none, no_directory) = (Err(Error::ENOENT), Err(Error::ENOTDIR));
    assert_eq!(*told.borrow(), [(0, none), (0, no_directory), (0, none), (0, Ok(4))]);
}

#[test]
fn being_read_is_no_change_and_being_given_another_mode_is() {
    let folder = Folder::new();
    let file = folder.join("file");
    fs::write(&file, "text").unwrap();
    let lp = new_loop();
    let (poll, told) = start(&lp, &file);
    let_it_ask(&lp, 2);
    let metadata = fs::metadata(&file).unwrap();
    fs::read(&file).unwrap();
    let_it_ask(&lp, 3);
    assert_eq!(*told.borrow(), []);
    let mode = metadata.permissions().mode() ^ 0o100;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    run_until(&lp, || !told.borrow().is_empty());
    poll.close();
    finish(&lp);
    assert_eq!(*told.borrow(), [(4, Ok(4))]);
}

#[test]
fn a_callback_may_stop_close_and_start_anew() {
    let folder = Folder::new();
    let lp = new_loop();
    let poll = FsPoll::new(&lp).unwrap();
    let steps = Rc::new(Cell::new(0));
    let (missing, there, count) = (folder.join("missing"), folder.path().to_owned(), steps.clone());
    poll.start(&missing, 1, move |poll, _, now| {
        assert_eq!(now.map(drop), Err(Error::ENOENT));
        count.set(1);
        poll.stop();
        assert_eq!(poll.path(), Err(Error::EINVAL));
        let (count, other) = (count.clone(), there.join("other"));
        poll.start(&other, 1, move |poll, _, _| {
            count.set(count.get() + 1);
            poll.close();
        })
        .unwrap();
    })
    .unwrap();
    finish(&lp);
    assert_eq!((steps.get(), poll.is_closed()), (2, true));
}

/// As in libuv: 0, and the first start goes on.
#[test]
fn a_second_start_does_nothing() {
    let folder = Folder::new();
    let lp = new_loop();
    let (poll, told) = start(&lp, &folder.join("missing"));
    let tokens = Tokens::new();
    let token = tokens.one();
    assert_eq!(poll.start(folder.path(), 1, move |_, _, _| token.keep()), Ok(()));
    assert_eq!(tokens.alive(), 0);
    run_until(&lp, || !told.borrow().is_empty());
    poll.stop();
    poll.stop();
    finish(&lp);
}

/// A loop whose pool has one thread, which does nothing until the sender is used or dropped.
fn busy_loop() -> (EventLoop, ThreadPool, mpsc::Sender<()>) {
    let pool = ThreadPool::builder().threads(1).reserve_for_files(false).build().unwrap();
    // On the pool, where they can be made to wait, and not in the kernel's ring.
    let from_env = Options::from_env().unwrap();
    let options = Options { thread_pool: Some(pool.clone()), io_uring: false, ..from_env };
    let lp = EventLoop::with_options(options).unwrap();
    let (sender, receiver) = mpsc::channel();
    let (started, has_started) = mpsc::channel();
    lp.queue_work(
        move || {
            started.send(()).unwrap();
            let _told = receiver.recv();
        },
        |_| {},
    )
    .unwrap();
    has_started.recv().unwrap();
    (lp, pool, sender)
}

#[test]
fn the_end_while_a_stat_is_in_flight_is_safe() {
    let ends: [fn(&FsPoll); 3] = [Handle::close, FsPoll::stop, |_| {}];
    for (n, end) in ends.into_iter().enumerate() {
        let folder = Folder::new();
        let (lp, pool, thread) = busy_loop();
        let tokens = Tokens::new();
        let token = tokens.one();
        let poll = FsPoll::new(&lp).unwrap();
        let called = Rc::new(Cell::new(false));
        let calls = called.clone();
        poll.start(folder.join("missing"), 1, move |_, _, _| {
            token.keep();
            calls.set(true);
        })
        .unwrap();
        lp.run(RunMode::NoWait).unwrap();
        end(&poll);
        if n < 2 {
            assert_eq!(tokens.alive(), 0, "the closure is dropped with the end");
            assert_eq!(pool.statistics().class(WorkClass::File).canceled, 1);
            drop(thread);
            finish(&lp);
        } else {
            drop(poll);
            drop(lp);
            drop(thread);
        }
        assert_eq!((tokens.alive(), called.get()), (0, false), "{n}");
    }
}

/// The interval is over many times while the answer is out: there is one question all the same.
#[test]
fn there_are_never_two_stats_at_once() {
    let folder = Folder::new();
    let (lp, pool, thread) = busy_loop();
    let (poll, told) = start(&lp, &folder.join("missing"));
    let_it_ask(&lp, 10);
    let files = *pool.statistics().class(WorkClass::File);
    assert_eq!((files.queued, files.running, files.begun), (1, 0, 0));
    drop(thread);
    run_until(&lp, || !told.borrow().is_empty());
    run_until(&lp, || pool.statistics().class(WorkClass::File).begun > 3);
    poll.close();
    finish(&lp);
    assert_eq!(told.borrow().len(), 1);
}

#[test]
fn an_unreferenced_watcher_keeps_the_loop_alive_for_its_stat_only() {
    let folder = Folder::new();
    let lp = new_loop();
    let (poll, _told) = start(&lp, folder.path());
    poll.unreference();
    assert!(lp.is_alive(), "a stat is in flight");
    finish(&lp);
    assert!(poll.is_active());
    poll.reference();
    assert!(lp.is_alive());
}

#[test]
fn its_timer_is_marked_as_internal() {
    let folder = Folder::new();
    let lp = new_loop();
    let (poll, _told) = start(&lp, folder.path());
    let mut kinds = Vec::new();
    lp.walk(|handle| kinds.push((handle.kind(), handle.is_internal())));
    assert_eq!(kinds, [(HandleKind::FsPoll, false), (HandleKind::Timer, true)]);
    poll.close();
    finish(&lp);
    let mut left = 0;
    lp.walk(|_| left += 1);
    assert_eq!(left, 0);
}

#[test]
fn a_panic_in_the_callback_stops_the_watcher() {
    let folder = Folder::new();
    let lp = new_loop();
    let tokens = Tokens::new();
    let token = tokens.one();
    let poll = FsPoll::new(&lp).unwrap();
    poll.start(folder.join("missing"), 1, move |_, _, _| {
        token.keep();
        panic!("on purpose");
    })
    .unwrap();
    run_panics(&lp, RunMode::Default, "on purpose");
    assert_eq!((tokens.alive(), poll.is_active()), (0, false));
    finish(&lp);
}

#[test]
fn bad_input_is_an_error_value() {
    let folder = Folder::new();
    let lp = new_loop();
    let poll = FsPoll::new(&lp).unwrap();
    let nul = folder.path().join(OsStr::from_bytes(b"a\0b"));
    assert_eq!(poll.start(nul, 1, |_, _, _| {}), Err(Error::EINVAL));
    assert_eq!((poll.is_active(), poll.path()), (false, Err(Error::EINVAL)));
    poll.stop();
    // 0 is taken for 1, as in libuv; the longest time for what it is.
    for interval in [0, u64::MAX] {
        poll.start(folder.path(), interval, |_, _, _| {}).unwrap();
        lp.run(RunMode::Once).unwrap();
        poll.stop();
    }
    poll.close();
    assert_eq!(poll.start(folder.path(), 1, |_, _, _| {}), Err(Error::EINVAL));
    finish(&lp);
    let (left, reference) = (FsPoll::new(&lp).unwrap(), (*lp).clone());
    drop(lp);
    assert_eq!(left.start(folder.path(), 1, |_, _, _| {}), Err(Error::EINVAL));
    assert_eq!(FsPoll::new(&reference).map(drop), Err(Error::EINVAL));
}

#[test]
fn a_forked_child_polls_on() {
    isolated(|| {
        let folder = Folder::new();
        let file = folder.join("file");
        fs::write(&file, "1").unwrap();
        let lp = new_loop();
        // One whose answer is out, and one that waits.
        let (waiting, first) = start(&lp, &file);
        let_it_ask(&lp, 2);
        let (asking, second) = start(&lp, &folder.join("missing"));
        // SAFETY: the child ends below.
        match unsafe { libc::fork() } {
            0 => {
                let body = std::panic::AssertUnwindSafe(|| {
                    let stale = asking.start(&file, 1, |_, _, _| {});
                    assert_eq!(stale, Err(Error::ESTALE));
                    lp.after_fork().unwrap();
                    fs::write(&file, "22").unwrap();
                    run_until(&lp, || !first.borrow().is_empty() && !second.borrow().is_empty());
                    waiting.close();
                    asking.close();
                    finish(&lp);
                });
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
    });
}
