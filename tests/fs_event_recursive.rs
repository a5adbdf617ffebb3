//! Recursive watches: new directories with what is in them, moves, limits, and ten thousand files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;
#[path = "support/watching.rs"]
mod watching;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use blacklight::prelude::*;
use blacklight::{Error, FsChangeKind, FsEvent, FsEventFlags};
use support::isolated;
use support::process::{new_loop, skip};
use watching::{Folder, Seen, watches};

fn start(lp: &EventLoop, folder: &Folder) -> (FsEvent, Seen) {
    Seen::start(lp, folder.path(), FsEventFlags::RECURSIVE)
}

#[test]
fn changes_at_any_depth_are_told_by_their_path() {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("a/b/c")).unwrap();
    fs::write(folder.join("a/b/c/file"), "").unwrap();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    fs::write(folder.join("a/b/c/file"), "text").unwrap();
    fs::write(folder.join("a/new"), "").unwrap();
    fs::rename(folder.join("a/new"), folder.join("a/b/c/other")).unwrap();
    fs::remove_file(folder.join("a/b/c/other")).unwrap();
    seen.settle(&lp);
    assert_eq!(
        seen.take(),
        [
            "a/b/c/file Modified",
            "a/new Created",
            "a/b/c/other Renamed from a/new",
            "a/b/c/other Deleted"
        ]
    );
}

/// What is made in a directory before it can be watched is found when it is.
#[test]
fn new_directories_are_watched_and_nothing_in_them_is_missed_or_told_twice() {
    let folder = Folder::new();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    // All before the loop sees the first of it.
    fs::create_dir_all(folder.join("a/b")).unwrap();
    fs::write(folder.join("a/one"), "").unwrap();
    fs::write(folder.join("a/b/two"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.sorted(), ["a Created /", "a/b Created /", "a/b/two Created", "a/one Created"]);
    fs::write(folder.join("a/b/two"), "text").unwrap();
    fs::remove_file(folder.join("a/one")).unwrap();
    fs::write(folder.join("a/one"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["a/b/two Modified", "a/one Deleted", "a/one Created"]);
}

/// Another watcher has the directory already, so that its events are in the queue when it is looked
/// into.
#[test]
fn what_is_found_and_has_an_event_too_is_told_once() {
    let folder = Folder::new();
    let outside = folder.outside("dir");
    fs::create_dir(&outside).unwrap();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    let (_other, events) = Seen::start(&lp, &outside, FsEventFlags::empty());
    fs::rename(&outside, folder.join("dir")).unwrap();
    fs::write(folder.join("dir/file"), "").unwrap();
    fs::create_dir(folder.join("dir/deep")).unwrap();
    fs::write(folder.join("dir/again"), "").unwrap();
    fs::remove_file(folder.join("dir/again")).unwrap();
    fs::write(folder.join("dir/again"), "").unwrap();
    seen.settle(&lp);
    let told = seen.sorted();
    let wanted = [
        "dir MovedTo /",
        "dir/again Created",
        // It was found, so its first event is none; what follows is.
        "dir/again Created",
        "dir/again Deleted",
        "dir/deep Created /",
        "dir/file Created",
    ];
    assert_eq!(told, wanted);
    let all = events.take();
    assert_eq!(all.iter().filter(|line| line.contains("file Created")).count(), 1, "{all:?}");
}

/// Files that appear while the directory is being looked into have an event, and are found too.
#[test]
fn each_of_many_files_made_at_full_speed_is_told_once() {
    const DIRECTORIES: usize = 100;
    const FILES: usize = 20;
    let folder = Folder::large();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    let root = folder.path().to_owned();
    let thread = std::thread::spawn(move || {
        for d in 0..DIRECTORIES {
            let directory = root.join(format!("{d}/deep"));
            fs::create_dir_all(&directory).unwrap();
            for f in 0..FILES {
                fs::write(directory.join(f.to_string()), "").unwrap();
            }
        }
        fs::write(root.join("end"), "").unwrap();
    });
    tools::run_until(&lp, || seen.has("end Created"));
    thread.join().unwrap();
    seen.settle(&lp);
    let mut wanted = vec!["end Created".to_owned()];
    for d in 0..DIRECTORIES {
        wanted.extend([format!("{d} Created /"), format!("{d}/deep Created /")]);
        wanted.extend((0..FILES).map(|f| format!("{d}/deep/{f} Created")));
    }
    wanted.sort();
    let told = seen.sorted();
    assert!(told == wanted, "{} of {}", told.len(), wanted.len());
}

#[test]
fn a_directory_that_is_renamed_takes_its_paths_along() {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("old/deep")).unwrap();
    fs::create_dir(folder.join("other")).unwrap();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    fs::rename(folder.join("old"), folder.join("other/new")).unwrap();
    fs::write(folder.join("other/new/deep/file"), "").unwrap();
    fs::create_dir(folder.join("old")).unwrap();
    seen.settle(&lp);
    fs::write(folder.join("old/file"), "").unwrap();
    fs::create_dir(folder.join("other/new/fresh")).unwrap();
    seen.settle(&lp);
    assert_eq!(
        seen.take(),
        [
            "other/new Renamed from old /",
            "other/new/deep/file Created",
            "old Created /",
            "old/file Created",
            "other/new/fresh Created /"
        ]
    );
}

/// Names change faster than they can be looked at: in the end each directory has its own.
#[test]
fn names_that_change_hands_before_they_are_seen_are_put_right() {
    let folder = Folder::new();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    fs::create_dir(folder.join("a")).unwrap();
    fs::create_dir(folder.join("a/inside")).unwrap();
    fs::rename(folder.join("a"), folder.join("b")).unwrap();
    fs::create_dir(folder.join("a")).unwrap();
    fs::rename(folder.join("b"), folder.join("c")).unwrap();
    fs::rename(folder.join("a"), folder.join("b")).unwrap();
    seen.settle(&lp);
    seen.take();
    fs::write(folder.join("b/first"), "").unwrap();
    fs::write(folder.join("c/second"), "").unwrap();
    fs::write(folder.join("c/inside/third"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["b/first Created", "c/second Created", "c/inside/third Created"]);
}

#[test]
fn a_tree_that_is_moved_out_is_forgotten_and_one_that_is_moved_in_is_found() {
    isolated(|| {
        let folder = Folder::new();
        fs::create_dir_all(folder.join("tree/deep")).unwrap();
        let lp = new_loop();
        let (_watcher, seen) = start(&lp, &folder);
        assert_eq!(watches(), 3);
        fs::rename(folder.join("tree"), folder.outside("tree")).unwrap();
        seen.settle(&lp);
        assert_eq!(watches(), 1);
        fs::write(folder.outside("tree/deep/file"), "").unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take(), ["tree MovedFrom /"]);
        fs::rename(folder.outside("tree"), folder.join("back")).unwrap();
        seen.settle(&lp);
        assert_eq!(
            seen.sorted(),
            ["back MovedTo /", "back/deep Created /", "back/deep/file Created"]
        );
        assert_eq!(watches(), 3);
        fs::remove_dir_all(folder.join("back")).unwrap();
        seen.settle(&lp);
        assert_eq!(watches(), 1, "the kernel has dropped them");
    });
}

#[test]
fn watchers_that_overlap_are_told_each_in_its_own_terms() {
    isolated(|| {
        let folder = Folder::new();
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let lp = new_loop();
        let (outer, all) = start(&lp, &folder);
        let (inner, below) = Seen::start(&lp, &folder.join("a"), FsEventFlags::RECURSIVE);
        let (flat, here) = Seen::start(&lp, &folder.join("a/b"), FsEventFlags::empty());
        assert_eq!(watches(), 3);
        fs::write(folder.join("a/b/file"), "").unwrap();
        all.settle(&lp);
        assert_eq!(all.take(), ["a/b/file Created"]);
        assert_eq!(below.take(), ["b/file Created"]);
        assert_eq!(here.take(), ["file Created"]);
        outer.close();
        assert_eq!(watches(), 2);
        fs::rename(folder.join("a/b/file"), folder.join("a/file")).unwrap();
        below.settle(&lp);
        assert_eq!(below.take(), ["file Renamed from b/file"]);
        assert_eq!(here.take(), ["file MovedFrom"]);
        inner.close();
        assert_eq!(watches(), 1);
        flat.close();
        tools::finish(&lp);
    });
}

#[test]
fn symbolic_links_are_not_followed() {
    let folder = Folder::new();
    fs::create_dir(folder.outside("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.outside("elsewhere"), folder.join("before")).unwrap();
    std::os::unix::fs::symlink(".", folder.join("circle")).unwrap();
    let lp = new_loop();
    let (_watcher, seen) = start(&lp, &folder);
    std::os::unix::fs::symlink(folder.outside("elsewhere"), folder.join("after")).unwrap();
    seen.settle(&lp);
    fs::write(folder.outside("elsewhere/file"), "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["after Created"]);
}

#[test]
fn a_limit_of_directories_is_an_error_at_the_start_and_for_each_one_later() {
    isolated(|| {
        let folder = Folder::new();
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let lp = new_loop();
        let watcher = FsEvent::new(&lp).unwrap();
        watcher.limit_directories(2);
        let started = watcher.start(folder.path(), FsEventFlags::RECURSIVE, |_, _| panic!());
        assert_eq!(started, Err(Error::ENOSPC));
        assert_eq!((watches(), watching::instances(), watcher.is_active()), (0, 0, false));
        watcher.limit_directories(3);
        let seen = Seen::start_with(&watcher, folder.path(), FsEventFlags::RECURSIVE);
        fs::create_dir(folder.join("c")).unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take(), ["c Created /", "ENOSPC"]);
        // What is watched is told on, and a place that is free is taken.
        fs::write(folder.join("a/b/file"), "").unwrap();
        fs::rename(folder.join("a"), folder.join("z")).unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take(), ["a/b/file Created", "z Renamed from a /"]);
        fs::remove_dir_all(folder.join("z")).unwrap();
        seen.settle(&lp);
        seen.take();
        fs::create_dir(folder.join("d")).unwrap();
        seen.settle(&lp);
        assert_eq!((seen.take(), watches()), (vec!["d Created /".to_owned()], 2));
    });
}

/// The kernel's own limit, which a user name space has for itself.
#[test]
fn the_kernels_limit_is_enospc() {
    const INSIDE: &str = "BLACKLIGHT_FEW_WATCHES";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().unwrap();
        let script = "echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["-Ur", "sh", "-c", script, "sh"]).arg(program).env(INSIDE, "1");
        command.args(["--exact", "the_kernels_limit_is_enospc", "--nocapture"]);
        let output = match command.output() {
            Ok(output) => output,
            Err(_) => return skip("there is no unshare(1)"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("running 1 test") {
            return skip("no user name space is to be had");
        }
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let folder = Folder::new();
    fs::create_dir_all(folder.join("a/b/c")).unwrap();
    let lp = new_loop();
    let watcher = FsEvent::new(&lp).unwrap();
    let started = watcher.start(folder.path(), FsEventFlags::RECURSIVE, |_, _| panic!());
    assert_eq!(started, Err(Error::ENOSPC));
    assert_eq!(watches(), 0);
    fs::remove_dir(folder.join("a/b/c")).unwrap();
    let (_watcher, seen) = start(&lp, &folder);
    let (other, refused) = (FsEvent::new(&lp).unwrap(), folder.outside("refused"));
    fs::create_dir(&refused).unwrap();
    let flags = FsEventFlags::empty();
    assert_eq!(other.start(&refused, flags, |_, _| panic!()), Err(Error::ENOSPC));
    fs::create_dir(folder.join("a/b/new")).unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["a/b/new Created /", "ENOSPC"]);
}

#[test]
fn a_large_tree_that_appears_at_once_leaves_others_their_turns() {
    isolated(|| {
        let folder = Folder::large();
        let lp = new_loop();
        let (_watcher, seen) = start(&lp, &folder);
        for n in 0..300 {
            fs::create_dir_all(folder.outside(&format!("tree/{n}"))).unwrap();
        }
        fs::rename(folder.outside("tree"), folder.join("tree")).unwrap();
        // 64 directories at a time, and the rest although no event comes.
        lp.run(RunMode::NoWait).unwrap();
        assert!(watches() < 150, "{} after one turn", watches());
        assert_eq!(lp.backend_timeout(), Some(std::time::Duration::ZERO));
        tools::run_until(&lp, || watches() == 302);
        seen.settle(&lp);
        assert_eq!(seen.take().len(), 301);
        fs::write(folder.join("tree/150/file"), "").unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take(), ["tree/150/file Created"]);
    });
}

fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Ten thousand files in four hundred directories: every one that is touched is told.
#[test]
fn every_change_in_a_tree_of_ten_thousand_files_is_seen() {
    const DIRECTORIES: usize = 400;
    const FILES: usize = 25;
    isolated(|| {
        let folder = Folder::large();
        let mut paths = BTreeSet::new();
        for d in 0..DIRECTORIES {
            let directory = format!("{}/{}", d / 20, d % 20);
            fs::create_dir_all(folder.join(&directory)).unwrap();
            for f in 0..FILES {
                let path = PathBuf::from(format!("{directory}/{f}"));
                fs::write(folder.path().join(&path), "").unwrap();
                paths.insert(path);
            }
        }
        let lp = new_loop();
        let before = (Instant::now(), resident());
        let watcher = FsEvent::new(&lp).unwrap();
        let missing = Rc::new(RefCell::new(paths.clone()));
        let (told, lost) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(false)));
        let (rest, count, overflow) = (missing.clone(), told.clone(), lost.clone());
        watcher
            .start(folder.path(), FsEventFlags::RECURSIVE, move |_, change| {
                let change = change.unwrap();
                count.set(count.get() + 1);
                overflow.set(overflow.get() || change.kind == FsChangeKind::Overflow);
                if change.kind == FsChangeKind::Modified {
                    rest.borrow_mut().remove(&change.path);
                }
            })
            .unwrap();
        let (set_up, memory) = (before.0.elapsed(), resident() - before.1);
        let begun = Instant::now();
        // Until none is missing; those whose events the kernel had no room for are touched again.
        while !missing.borrow().is_empty() {
            lost.set(false);
            let touched = missing.borrow().clone();
            let root = folder.path().to_owned();
            let thread = std::thread::spawn(move || {
                touched.iter().for_each(|path| fs::write(root.join(path), "x").unwrap());
            });
            let done = || missing.borrow().is_empty() || lost.get();
            tools::run_until(&lp, done);
            thread.join().unwrap();
            while lp.backend_timeout() == Some(std::time::Duration::ZERO) {
                lp.run(RunMode::NoWait).unwrap();
            }
        }
        let (took, events) = (begun.elapsed(), told.get());
        eprintln!(
            "set up in {set_up:?} with {memory} bytes; {events} events in {took:?}, {} per second",
            (events as f64 / took.as_secs_f64()) as u64
        );
        assert!(events >= paths.len() as u64);
        let begun = Instant::now();
        watcher.close();
        tools::finish(&lp);
        eprintln!("closed in {:?}", begun.elapsed());
    });
}
