//! Operations on paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use blacklight::fs::{self, Access, FileTime, OpenFlags, Timestamp};
use blacklight::{Error, EventLoop};

use crate::both_ways;
use crate::support::process::Scratch;

#[test]
fn names_are_made_moved_and_removed() {
    both_ways!(done => {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.join(name);
        done!(fs::mkdir(at("dir"), 0o750)).unwrap();
        assert_eq!(std::fs::metadata(at("dir")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(done!(fs::mkdir(at("dir"), 0o750)), Err(Error::EEXIST));
        std::fs::write(at("dir/file"), "x").unwrap();
        assert_eq!(done!(fs::rmdir(at("dir"))), Err(Error::ENOTEMPTY));
        done!(fs::link(at("dir/file"), at("other"))).unwrap();
        assert_eq!(std::fs::metadata(at("other")).unwrap().nlink(), 2);
        assert_eq!(done!(fs::link(at("dir/file"), at("other"))), Err(Error::EEXIST));
        done!(fs::rename(at("other"), at("third"))).unwrap();
        assert_eq!(done!(fs::rename(at("other"), at("third"))), Err(Error::ENOENT));
        done!(fs::unlink(at("dir/file"))).unwrap();
        assert_eq!(done!(fs::unlink(at("dir/file"))), Err(Error::ENOENT));
        assert_eq!(done!(fs::unlink(at("dir"))), Err(Error::EISDIR));
        done!(fs::rmdir(at("dir"))).unwrap();
        assert_eq!(done!(fs::rmdir(at("third"))), Err(Error::ENOTDIR));
        assert!(at("third").exists() && !at("dir").exists());
    });
}

#[test]
fn links_say_where_they_lead_and_paths_are_resolved() {
    both_ways!(done => {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("dir/file"), "x").unwrap();
        done!(fs::symlink("../dir/./file", at("link"))).unwrap();
        assert_eq!(done!(fs::symlink("x", at("link"))), Err(Error::EEXIST));
        assert_eq!(done!(fs::readlink(at("link"))), Ok("../dir/./file".into()));
        assert_eq!(done!(fs::readlink(at("dir"))), Err(Error::EINVAL));
        assert_eq!(done!(fs::realpath(at("link"))), Err(Error::ENOENT));
        done!(fs::symlink("dir", at("way"))).unwrap();
        assert_eq!(done!(fs::realpath(at("way/../dir/./file"))), Ok(at("dir/file")));
        assert_eq!(done!(fs::realpath(at("nothing"))), Err(Error::ENOENT));
        done!(fs::symlink("loop", at("loop"))).unwrap();
        assert_eq!(done!(fs::realpath(at("loop"))), Err(Error::ELOOP));
        assert_eq!(done!(fs::readlink(at("loop"))), Ok("loop".into()));
        // As long as a link can be.
        let long = "x/".repeat(2047);
        done!(fs::symlink(&long, at("long"))).unwrap();
        assert_eq!(done!(fs::readlink(at("long"))), Ok(long.into()));
    });
}

#[test]
fn permissions_and_owners_are_set_and_asked_for() {
    both_ways!(done => {
        let scratch = Scratch::new();
        let (file, link) = (scratch.join("file"), scratch.join("link"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        done!(fs::chmod(&link, 0o4604)).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o4604);
        done!(fs::chmod(&file, 0o600)).unwrap();
        done!(fs::access(&file, Access::EXISTS)).unwrap();
        done!(fs::access(&file, Access::READ | Access::WRITE)).unwrap();
        // Not even root may execute what nobody may.
        assert_eq!(done!(fs::access(&file, Access::EXECUTE)), Err(Error::EACCES));
        assert_eq!(done!(fs::access(scratch.join("no"), Access::EXISTS)), Err(Error::ENOENT));
        let strange = Access::from_bits_retain(64);
        assert_eq!(done!(fs::access(&file, strange)), Err(Error::EINVAL));
        let told = std::fs::metadata(&file).unwrap();
        done!(fs::chown(&link, told.uid(), told.gid())).unwrap();
        done!(fs::lchown(&link, u32::MAX, u32::MAX)).unwrap();
        if crate::support::process::is_root() {
            done!(fs::lchown(&link, 7, 8)).unwrap();
            done!(fs::chown(&link, 5, 6)).unwrap();
            let owners = |told: std::fs::Metadata| (told.uid(), told.gid());
            assert_eq!(owners(std::fs::symlink_metadata(&link).unwrap()), (7, 8));
            assert_eq!(owners(std::fs::metadata(&file).unwrap()), (5, 6));
        } else {
            assert_eq!(done!(fs::chown(&file, 0, 0)), Err(Error::EPERM));
        }
    });
}

/// libuv 1.53: times in doubles, infinity is UV_FS_UTIME_NOW, NaN is UV_FS_UTIME_OMIT.
#[test]
fn times_are_set_to_the_nanosecond_to_now_and_not_at_all() {
    let times = |path: &Path| {
        let told = std::fs::symlink_metadata(path).unwrap();
        let time = |s, n: i64| Timestamp { seconds: s, nanoseconds: n as u32 };
        (time(told.atime(), told.atime_nsec()), time(told.mtime(), told.mtime_nsec()))
    };
    let at = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
    both_ways!(done => {
        let scratch = Scratch::new();
        let (path, link) = (scratch.join("file"), scratch.join("link"));
        std::fs::write(&path, "x").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let (a, m) = (at(1_000_000_001, 123_456_789), at(-5, 999_999_999));
        done!(fs::utime(&link, FileTime::At(a), FileTime::At(m))).unwrap();
        assert_eq!(times(&path), (a, m));
        let before = SystemTime::now() - Duration::from_secs(10);
        done!(fs::utime(&path, FileTime::Omit, FileTime::Now)).unwrap();
        assert_eq!(times(&path).0, a);
        assert!(SystemTime::from(times(&path).1) > before);
        let file = fs::open(&path, OpenFlags::READ_ONLY, 0).run().unwrap();
        done!(file.set_times(FileTime::At(m), FileTime::Omit)).unwrap();
        assert_eq!(times(&path).0, m);
        let seconds = FileTime::from_seconds(-1.75);
        done!(fs::lutime(&link, seconds, seconds)).unwrap();
        assert_eq!(times(&link), (at(-2, 250_000_000), at(-2, 250_000_000)));
        assert_eq!(times(&path).0, m, "only the link");
        // What means now and omit to the system must not mean it here.
        for nanoseconds in [1_000_000_000, libc::UTIME_NOW as u32, libc::UTIME_OMIT as u32, u32::MAX] {
            let wrong = FileTime::At(at(0, nanoseconds));
            assert_eq!(done!(fs::utime(&path, wrong, FileTime::Now)), Err(Error::EINVAL));
            assert_eq!(done!(file.set_times(FileTime::Omit, wrong)), Err(Error::EINVAL));
        }
        assert_eq!(times(&path).0, m);
        let missing = scratch.join("missing");
        assert_eq!(done!(fs::utime(missing, FileTime::Now, FileTime::Now)), Err(Error::ENOENT));
    });
    assert_eq!(FileTime::from_seconds(f64::INFINITY), FileTime::Now);
    assert_eq!(FileTime::from_seconds(f64::NAN), FileTime::Omit);
    assert_eq!(FileTime::from_seconds(1.5), FileTime::At(at(1, 500_000_000)));
    assert_eq!(FileTime::from_seconds(1e300), FileTime::At(at(i64::MAX, 0)));
}

#[test]
fn temporary_names_are_new_each_time_and_templates_are_checked() {
    let scratch = Scratch::new();
    both_ways!(done => {
        let template = scratch.join("made-XXXXXX");
        let directory = done!(fs::mkdtemp(&template)).unwrap();
        let other = done!(fs::mkdtemp(&template)).unwrap();
        assert_ne!(directory, other);
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("made-") && name.len() == 11 && !name.ends_with("XXXXXX"));
        let told = std::fs::metadata(&directory).unwrap();
        assert!(told.is_dir() && told.mode() & 0o777 == 0o700);
        let (file, path) = done!(fs::mkstemp(&template)).unwrap();
        file.write("x", None).run().result.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(file.fileno().unwrap(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        for wrong in ["", "XXXXX", "made-XXXXXXY", "made"] {
            let template = scratch.join(wrong);
            assert_eq!(done!(fs::mkdtemp(&template)), Err(Error::EINVAL), "{wrong}");
            assert_eq!(done!(fs::mkstemp(&template)).map(drop), Err(Error::EINVAL), "{wrong}");
        }
        let nowhere = scratch.join("no/XXXXXX");
        assert_eq!(done!(fs::mkdtemp(&nowhere)), Err(Error::ENOENT));
        assert_eq!(done!(fs::mkstemp(&nowhere)).map(drop), Err(Error::ENOENT));
    });
}

#[test]
fn names_that_are_no_text_are_kept() {
    let name = OsStr::from_bytes(b"\xff\xfe-XXXXXX");
    both_ways!(done => {
        let scratch = Scratch::new();
        let path = scratch.path().join(name);
        let made = done!(fs::mkdtemp(&path)).unwrap();
        assert!(made.file_name().unwrap().as_bytes().starts_with(b"\xff\xfe-"));
        assert_eq!(done!(fs::realpath(&made)), Ok(made.clone()));
        let link = scratch.join("link");
        done!(fs::symlink(&made, &link)).unwrap();
        assert_eq!(done!(fs::readlink(&link)), Ok(made.clone()));
        let names = done!(fs::scandir(scratch.path())).unwrap();
        assert_eq!(names[1].name, made.file_name().unwrap());
    });
}

/// Every function that takes a path refuses one with a NUL, early in the form with a loop.
#[test]
fn a_nul_in_any_path_is_einval() {
    let lp = EventLoop::new().unwrap();
    let (bad, good) = ("a\0b", "/");
    macro_rules! refused {
        ($($operation:expr;)*) => {$(
            assert_eq!($operation.run().map(drop), Err(Error::EINVAL), stringify!($operation));
            let started = $operation.start(&lp, |_| panic!("called")).map(drop);
            assert_eq!(started, Err(Error::EINVAL), stringify!($operation));
        )*};
    }
    let now = FileTime::Now;
    refused! {
        fs::access(bad, Access::EXISTS);
        fs::chmod(bad, 0);
        fs::chown(bad, 0, 0);
        fs::copyfile(bad, good, fs::CopyFlags::empty());
        fs::copyfile(good, bad, fs::CopyFlags::empty());
        fs::lchown(bad, 0, 0);
        fs::link(bad, good);
        fs::link(good, bad);
        fs::lstat(bad);
        fs::lutime(bad, now, now);
        fs::mkdir(bad, 0);
        fs::mkdtemp("a\0XXXXXX");
        fs::mkstemp("a\0XXXXXX");
        fs::open(bad, OpenFlags::READ_ONLY, 0);
        fs::opendir(bad);
        fs::readlink(bad);
        fs::realpath(bad);
        fs::rename(bad, good);
        fs::rename(good, bad);
        fs::rmdir(bad);
        fs::scandir(bad);
        fs::stat(bad);
        fs::statfs(bad);
        fs::symlink(bad, good);
        fs::symlink(good, bad);
        fs::unlink(bad);
        fs::utime(bad, now, now);
    }
    assert!(!lp.is_alive());
}

#[test]
fn opening_what_cannot_be_opened_is_the_system_s_error() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    std::fs::write(&file, "x").unwrap();
    let link = scratch.join("link");
    std::os::unix::fs::symlink("file", &link).unwrap();
    let new = OpenFlags::WRITE_ONLY | OpenFlags::CREATE;
    let cases = [
        (scratch.join("no"), OpenFlags::READ_ONLY, Error::ENOENT),
        (file.clone(), new | OpenFlags::EXCLUSIVE, Error::EEXIST),
        (file.clone(), OpenFlags::DIRECTORY, Error::ENOTDIR),
        (link, OpenFlags::NO_FOLLOW, Error::ELOOP),
        (scratch.path().to_owned(), OpenFlags::WRITE_ONLY, Error::EISDIR),
        (file.join("x"), new, Error::ENOTDIR),
        (scratch.join(&"x".repeat(300)), new, Error::ENAMETOOLONG),
    ];
    both_ways!(done => {
        for (path, flags, error) in &cases {
            assert_eq!(done!(fs::open(path, *flags, 0o600)).map(drop), Err(*error), "{path:?}");
        }
    });
}
