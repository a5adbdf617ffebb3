//! stat, lstat, statfs against what the standard library sees.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use blacklight::fs::{self, FileKind, Stat, Timestamp};
use blacklight::{Error, EventLoop, Facilities, Options};

use crate::both_ways;
use crate::on_loop;
use crate::support::process::Scratch;

fn agrees(stat: &Stat, path: &Path) {
    let told = std::fs::symlink_metadata(path).unwrap();
    assert_eq!(
        (stat.dev, stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev),
        (told.dev(), told.ino(), told.mode(), told.nlink(), told.uid(), told.gid(), told.rdev())
    );
    assert_eq!(
        (stat.size, stat.blksize, stat.blocks),
        (told.size(), told.blksize(), told.blocks())
    );
    let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds: nanoseconds as u32 };
    assert_eq!(stat.accessed, time(told.atime(), told.atime_nsec()));
    assert_eq!(stat.modified, time(told.mtime(), told.mtime_nsec()));
    assert_eq!(stat.changed, time(told.ctime(), told.ctime_nsec()));
    assert_eq!(SystemTime::from(stat.modified), told.modified().unwrap());
    assert_eq!((stat.flags, stat.generation), (0, 0));
}

#[test]
fn stat_and_lstat_tell_what_the_system_tells() {
    let scratch = Scratch::new();
    let (file, link) = (scratch.join("file"), scratch.join("link"));
    std::fs::write(&file, [1; 5000]).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4640)).unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    both_ways!(done => {
        let stat = done!(fs::stat(&file)).unwrap();
        agrees(&stat, &file);
        assert_eq!((stat.kind(), stat.permissions()), (FileKind::File, 0o4640));
        assert_eq!(done!(fs::stat(&link)).unwrap().ino, stat.ino);
        let of_link = done!(fs::lstat(&link)).unwrap();
        agrees(&of_link, &link);
        assert_eq!((of_link.kind(), of_link.size), (FileKind::Link, 4));
        let null = done!(fs::stat("/dev/null")).unwrap();
        agrees(&null, Path::new("/dev/null"));
        assert_eq!((null.kind(), null.rdev), (FileKind::Character, 0x103));
        assert_eq!(done!(fs::stat(scratch.path())).unwrap().kind(), FileKind::Directory);
    });
}

/// libuv: stat uses statx, the birth time is filled in.
#[test]
fn the_birth_time_is_told_where_the_file_system_knows_it() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    std::fs::write(&file, "x").unwrap();
    let stat = fs::stat(&file).run().unwrap();
    let statx = Options::from_env().unwrap().facilities.contains(Facilities::STATX);
    match std::fs::metadata(&file).unwrap().created() {
        Ok(created) if statx => assert_eq!(stat.born.map(SystemTime::from), Some(created)),
        _ => assert_eq!(stat.born, None),
    }
}

#[test]
fn without_statx_everything_but_the_birth_time_is_told() {
    let scratch = Scratch::new();
    let (file, link) = (scratch.join("file"), scratch.join("link"));
    std::fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let options = Options { facilities: Facilities::empty(), ..Options::default() };
    let lp = EventLoop::with_options(options).unwrap();
    let stat = on_loop(&lp, fs::stat(&file)).unwrap();
    agrees(&stat, &file);
    assert_eq!(stat.born, None);
    agrees(&on_loop(&lp, fs::lstat(&link)).unwrap(), &link);
    assert_eq!(on_loop(&lp, fs::stat(&link)), Err(Error::ENOENT));
}

#[test]
fn paths_that_cannot_be_are_errors() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    std::fs::write(&file, "x").unwrap();
    std::os::unix::fs::symlink("round", scratch.join("round")).unwrap();
    let cases = [
        (scratch.join("nothing"), Error::ENOENT),
        (file.join("below"), Error::ENOTDIR),
        (scratch.join("round"), Error::ELOOP),
        (scratch.join(&"x".repeat(256)), Error::ENAMETOOLONG),
        ("".into(), Error::ENOENT),
    ];
    both_ways!(done => {
        for (path, error) in &cases {
            assert_eq!(done!(fs::stat(path)), Err(*error), "{path:?}");
            assert_eq!(done!(fs::statfs(path)), Err(*error), "{path:?}");
        }
    });
    let lp = EventLoop::new().unwrap();
    for path in ["a\0b", "\0", "a\0"] {
        assert_eq!(fs::stat(path).run(), Err(Error::EINVAL));
        assert_eq!(fs::stat(path).start(&lp, |_| {}).map(drop), Err(Error::EINVAL));
    }
    assert!(!lp.is_alive());
}

#[test]
fn statfs_tells_what_statvfs_tells() {
    let scratch = Scratch::new();
    let path = std::ffi::CString::new(scratch.path().to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated, and zeros are a valid value to be written over.
    let told = unsafe {
        let mut told: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(path.as_ptr(), &raw mut told), 0);
        told
    };
    both_ways!(done => {
        let facts = done!(fs::statfs(scratch.path())).unwrap();
        assert_eq!(
            (facts.bsize, facts.frsize, facts.blocks, facts.files),
            (told.f_bsize, told.f_frsize, told.f_blocks, told.f_files)
        );
        assert!(facts.kind != 0 && facts.bavail <= facts.bfree && facts.bfree <= facts.blocks);
        assert!(facts.ffree <= facts.files);
    });
}

#[test]
fn times_before_1970_go_to_system_time_and_back() {
    for (seconds, nanoseconds) in
        [(0, 0), (1, 1), (-1, 0), (-1, 1), (-2, 999_999_999), (1 << 40, 5), (-(1 << 40), 7)]
    {
        let time = Timestamp { seconds, nanoseconds };
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
    }
}

#[test]
fn thousands_of_stats_at_once_are_all_answered() {
    let lp = EventLoop::new().unwrap();
    let count = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    for i in 0..5_000 {
        let count = count.clone();
        let path = if i % 2 == 0 { "/dev/null" } else { "/nothing/there" };
        fs::stat(path)
            .start(&lp, move |stat| {
                let (found, missing) = count.get();
                count.set(match stat {
                    Ok(_) => (found + 1, missing),
                    Err(Error::ENOENT) => (found, missing + 1),
                    Err(error) => panic!("{error}"),
                });
            })
            .unwrap();
    }
    crate::tools::finish(&lp);
    assert_eq!(count.get(), (2_500, 2_500));
}
