//! Directories: listed at once, and streamed.

use std::collections::BTreeSet;

use blacklight::fs::{self, FileKind};
use blacklight::{Error, EventLoop};

use crate::support::process::Scratch;
use crate::support::{isolated, open_fds};
use crate::tools::finish;
use crate::{both_ways, warm_loop};

/// libuv: scandir is sorted, skips `.` and `..`, and tells the types.
#[test]
fn scandir_is_sorted_by_bytes_and_tells_what_things_are() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("b-file"), "x").unwrap();
    std::fs::create_dir(scratch.join("a-dir")).unwrap();
    std::os::unix::fs::symlink("x", scratch.join("Z-link")).unwrap();
    let fifo = std::ffi::CString::new(scratch.join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(scratch.join("socket")).unwrap();
    std::fs::write(scratch.join("ä"), "x").unwrap();
    both_ways!(done => {
        let entries = done!(fs::scandir(scratch.path())).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind)).collect();
        let expected = [
            ("Z-link", FileKind::Link),
            ("a-dir", FileKind::Directory),
            ("b-file", FileKind::File),
            ("fifo", FileKind::Fifo),
            ("socket", FileKind::Socket),
            ("ä", FileKind::File),
        ];
        assert_eq!(seen, expected);
        assert_eq!(done!(fs::scandir(scratch.join("a-dir"))), Ok(vec![]));
        let devices = done!(fs::scandir("/dev")).unwrap();
        let null = devices.iter().find(|entry| entry.name == "null").unwrap();
        assert_eq!(null.kind, FileKind::Character);
        assert_eq!(done!(fs::scandir(scratch.join("b-file"))), Err(Error::ENOTDIR));
        assert_eq!(done!(fs::scandir(scratch.join("no"))), Err(Error::ENOENT));
    });
}

#[test]
fn a_directory_is_read_in_batches_up_to_its_end() {
    let scratch = Scratch::new();
    let names: BTreeSet<String> = (0..1000).map(|i| format!("name-{i}")).collect();
    for name in &names {
        std::fs::write(scratch.join(name), "").unwrap();
    }
    both_ways!(done => {
        let directory = done!(fs::opendir(scratch.path())).unwrap();
        let mut seen = BTreeSet::new();
        loop {
            let batch = done!(directory.read(64)).unwrap();
            assert!(batch.len() <= 64);
            if batch.is_empty() {
                break;
            }
            for entry in batch {
                assert!(entry.kind == FileKind::File);
                assert!(seen.insert(entry.name.into_string().unwrap()), "twice");
            }
        }
        assert!(seen == names);
        assert_eq!(done!(directory.read(1)), Ok(vec![]), "still the end");
        done!(directory.close()).unwrap();
        assert_eq!(done!(directory.close()), Err(Error::EBADF));
        assert_eq!(done!(directory.read(1)), Err(Error::EBADF));
    });
}

#[test]
fn reading_no_names_is_einval_and_opening_what_is_none_is_told() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), "").unwrap();
    let directory = fs::opendir(scratch.path()).run().unwrap();
    let lp = EventLoop::new().unwrap();
    assert_eq!(directory.read(0).run(), Err(Error::EINVAL));
    assert_eq!(directory.read(0).start(&lp, |_| {}).map(drop), Err(Error::EINVAL));
    both_ways!(done => {
        assert_eq!(done!(fs::opendir(scratch.join("file"))).map(drop), Err(Error::ENOTDIR));
        assert_eq!(done!(fs::opendir(scratch.join("no"))).map(drop), Err(Error::ENOENT));
    });
}

#[test]
fn a_dropped_directory_is_closed_after_its_last_operation() {
    isolated(|| {
        let lp = warm_loop();
        let before = open_fds();
        let directory = fs::opendir("/").run().unwrap();
        assert_eq!(open_fds().len(), before.len() + 1);
        let read = directory.read(1000);
        drop(directory);
        assert_eq!(open_fds().len(), before.len() + 1);
        read.start(&lp, |names| assert!(!names.unwrap().is_empty())).unwrap();
        finish(&lp);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn reads_of_one_directory_at_once_share_its_names() {
    let scratch = Scratch::new();
    for i in 0..300 {
        std::fs::write(scratch.join(&i.to_string()), "").unwrap();
    }
    let lp = EventLoop::new().unwrap();
    let directory = fs::opendir(scratch.path()).run().unwrap();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    for _ in 0..40 {
        let count = count.clone();
        directory
            .read(10)
            .start(&lp, move |names| count.set(count.get() + names.unwrap().len()))
            .unwrap();
    }
    finish(&lp);
    assert_eq!(count.get(), 300);
}
