//! Watching files and directories: what is told, to whom, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;
#[path = "support/watching.rs"]
mod watching;

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, FsEvent, FsEventFlags, FsEventKinds, HandleKind};
use support::isolated;
use support::process::new_loop;
use tools::finish;
use watching::{Folder, Seen, instances, watches};

fn plain() -> FsEventFlags {
    FsEventFlags::empty()
}

#[test]
fn each_change_in_a_directory_is_told_with_its_name() {
    let folder = Folder::new();
    let lp = new_loop();
    let (watcher, seen) = Seen::start(&lp, folder.path(), plain());
    assert_eq!((watcher.kind(), watcher.kind().name()), (HandleKind::FsEvent, "fs_event"));
    let file = folder.join("file");
    fs::write(&file, "text").unwrap();
    seen.settle(&lp);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    seen.settle(&lp);
    fs::create_dir(folder.join("dir")).unwrap();
    fs::remove_dir(folder.join("dir")).unwrap();
    fs::remove_file(&file).unwrap();
    seen.settle(&lp);
    assert_eq!(
        seen.take(),
        [
            "file Created",
            "file Modified",
            "file Attributes",
            "dir Created /",
            "dir Deleted /",
            "file Deleted"
        ]
    );
}

/// libuv's documentation of `uv_fs_event_cb`: a bit mask of RENAME and CHANGE; the name is relative
/// to the directory.
#[test]
fn changes_have_libuvs_kinds() {
    let folder = Folder::new();
    let lp = new_loop();
    let watcher = FsEvent::new(&lp).unwrap();
    let kinds = Rc::new(RefCell::new(Vec::new()));
    let list = kinds.clone();
    let start = move |_: &FsEvent, change: blacklight::Result<&blacklight::FsChange>| {
        list.borrow_mut().push(change.unwrap().events());
    };
    watcher.start(folder.path(), plain(), start).unwrap();
    fs::write(folder.join("one"), "text").unwrap();
    fs::rename(folder.join("one"), folder.join("two")).unwrap();
    fs::remove_file(folder.join("two")).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    let (rename, change) = (FsEventKinds::RENAME, FsEventKinds::CHANGE);
    assert_eq!(*kinds.borrow(), [rename, change, rename, rename]);
    assert_eq!((rename.bits(), change.bits(), FsEventFlags::RECURSIVE.bits()), (1, 2, 4));
}

#[test]
fn a_rename_is_one_change_with_both_names() {
    let folder = Folder::new();
    let lp = new_loop();
    for name in ["one", "three"] {
        fs::write(folder.join(name), "").unwrap();
    }
    let (_watcher, seen) = Seen::start(&lp, folder.path(), plain());
    fs::rename(folder.join("one"), folder.join("two")).unwrap();
    fs::rename(folder.join("three"), folder.join("two")).unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["two Renamed from one", "two Renamed from three"]);
}

/// Events of 32 bytes, a single one first: the 64 KiB that are fetched at once end between the
/// halves of a move.
#[test]
fn a_move_at_the_end_of_a_batch_is_one_change_too() {
    let folder = Folder::large();
    let lp = new_loop();
    let (_watcher, seen) = Seen::start(&lp, folder.path(), plain());
    let (a, b) = (folder.join("a"), folder.join("b"));
    fs::write(&a, "").unwrap();
    for _ in 0..1500 {
        fs::rename(&a, &b).unwrap();
        fs::rename(&b, &a).unwrap();
    }
    seen.settle(&lp);
    let told = seen.take();
    let renamed = told.iter().filter(|line| line.contains("Renamed")).count();
    assert_eq!((told.len(), renamed), (3001, 3000));
}

#[test]
fn a_move_in_or_out_is_told_as_that_to_whoever_sees_one_side() {
    let (left, right) = (Folder::new(), Folder::new());
    let lp = new_loop();
    fs::write(left.join("file"), "").unwrap();
    let (_one, from) = Seen::start(&lp, left.path(), plain());
    let (_other, to) = Seen::start(&lp, right.path(), plain());
    let (_again, also) = Seen::start(&lp, right.path(), plain());
    fs::rename(left.join("file"), right.join("name")).unwrap();
    from.settle(&lp);
    assert_eq!(from.take(), ["file MovedFrom"]);
    assert_eq!(to.take(), ["name MovedTo"]);
    assert_eq!(also.take(), ["name MovedTo"]);
    let cookies = [from.cookie(), to.cookie(), also.cookie()];
    assert!(cookies[0] != 0 && cookies.iter().all(|cookie| *cookie == cookies[0]), "{cookies:?}");
}

/// libuv's documentation: for a file the name is its base name.
#[test]
fn a_file_is_told_of_by_its_base_name_until_it_is_gone() {
    let folder = Folder::new();
    let lp = new_loop();
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    let (watcher, seen) = Seen::start(&lp, &file, plain());
    assert_eq!(watcher.path().as_deref(), Ok(file.as_path()));
    fs::write(&file, "text").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["file Modified"]);
    fs::rename(&file, folder.join("other")).unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["file SelfMoved"]);
    assert!(watcher.is_watching(), "it is watched under its new name");
    fs::remove_file(folder.join("other")).unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["file Attributes", "file SelfDeleted", "file Gone"]);
    // libuv's: active between start and stop.
    assert_eq!((watcher.is_watching(), watcher.is_active()), (false, true));
    // It can be started on something else, also from its own callback.
    watcher.stop();
    assert_eq!((watcher.is_active(), watcher.path()), (false, Err(Error::EINVAL)));
    let seen = Seen::start_with(&watcher, folder.path(), plain());
    fs::write(&file, "").unwrap();
    seen.settle(&lp);
    assert_eq!(seen.take(), ["file Created"]);
}

#[test]
fn a_directory_that_is_removed_says_so() {
    let folder = Folder::new();
    let lp = new_loop();
    let dir = folder.join("dir");
    fs::create_dir(&dir).unwrap();
    for flags in [plain(), FsEventFlags::RECURSIVE] {
        let (watcher, seen) = Seen::start(&lp, &dir, flags);
        fs::remove_dir(&dir).unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take(), ["dir SelfDeleted", "dir Gone"]);
        assert!(!watcher.is_watching());
        fs::create_dir(&dir).unwrap();
        seen.settle(&lp);
        assert_eq!(seen.take().len(), 0);
    }
}

#[test]
fn names_are_bytes() {
    let folder = Folder::new();
    let lp = new_loop();
    let (_watcher, seen) = Seen::start(&lp, folder.path(), plain());
    let longest = [b'\xe9'; 255];
    for name in [&b"caf\xe9"[..], b"new\nline", &longest] {
        fs::create_dir(folder.path().join(OsStr::from_bytes(name))).unwrap();
        seen.settle(&lp);
        let path = seen.last_path();
        assert_eq!(path.into_os_string(), OsString::from_vec(name.to_vec()));
    }
}

#[test]
fn watchers_of_one_path_are_all_told_and_end_by_themselves() {
    isolated(|| {
        let folder = Folder::new();
        let lp = new_loop();
        assert_eq!(instances(), 0);
        let (one, first) = Seen::start(&lp, folder.path(), plain());
        let (two, second) = Seen::start(&lp, folder.path(), plain());
        // The same directory under another name.
        let link = folder.outside("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let (three, third) = Seen::start(&lp, &link, plain());
        fs::remove_file(&link).unwrap();
        assert_eq!((instances(), watches()), (1, 1));
        fs::write(folder.join("a"), "").unwrap();
        first.settle(&lp);
        one.stop();
        assert_eq!((instances(), watches()), (1, 1), "others have it");
        fs::write(folder.join("b"), "").unwrap();
        second.settle(&lp);
        assert_eq!(first.take(), ["a Created"]);
        assert_eq!(second.take(), ["a Created", "b Created"]);
        assert_eq!(third.take(), ["a Created", "b Created"]);
        two.close();
        drop(three);
        assert_eq!(instances(), 1, "the loop keeps what is active");
        lp.walk(|handle| handle.close());
        assert_eq!(instances(), 0, "closed with the last");
        finish(&lp);
    });
}
