//! The environment, the working directory and the mask: what a child inherits.

#![allow(unsafe_code, reason = "changing the environment is unsafe")]

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use blacklight::prelude::*;
use blacklight::{Error, os};

use crate::{isolated, node, output};

#[test]
fn what_is_set_is_found_listed_inherited_and_removed() {
    isolated(|| {
        // SAFETY: no other thread of this process uses the environment.
        unsafe { os::setenv("BLUE", "a=b \u{e4}").unwrap() };
        assert_eq!(os::getenv("BLUE").unwrap(), "a=b \u{e4}");
        assert_eq!(os::environ().last().unwrap().0, "BLUE", "new ones come last");
        assert_eq!(output("sh", &["-c", "echo \"$BLUE\""]), "a=b \u{e4}");
        if let Some(theirs) = node("process.env.BLUE") {
            assert_eq!(theirs, "a=b \u{e4}");
        }
        // SAFETY: as above.
        unsafe {
            os::setenv("BLUE", "").unwrap();
            assert_eq!(os::getenv("BLUE").unwrap(), "");
            os::unsetenv("BLUE").unwrap();
            os::unsetenv("BLUE").unwrap();
        }
        assert_eq!(os::getenv("BLUE"), Err(Error::ENOENT));
        assert_eq!(output("sh", &["-c", "echo \"${BLUE-gone}\""]), "gone");
    });
}

#[test]
fn keys_that_no_variable_can_have_are_errors() {
    for key in ["", "a=b", "=", "a\0"] {
        assert_eq!(os::getenv(key), Err(Error::EINVAL), "{key:?}");
        // SAFETY: nothing is changed.
        unsafe {
            assert_eq!(os::setenv(key, "x"), Err(Error::EINVAL), "{key:?}");
            assert_eq!(os::unsetenv(key), Err(Error::EINVAL), "{key:?}");
        }
    }
    // SAFETY: nothing is changed.
    assert_eq!(unsafe { os::setenv("BLUE", "a\0b") }, Err(Error::EINVAL));
}

#[test]
fn the_list_is_nodes_list() {
    let Some(theirs) = node("Object.entries(process.env).map(e => e.join('=')).join('\\n')") else {
        return;
    };
    let ours: Vec<String> = os::environ()
        .into_iter()
        .map(|(key, value)| format!("{}={}", key.display(), value.display()))
        .collect();
    assert_eq!(ours.join("\n"), theirs);
}

#[test]
fn threads_may_change_read_and_spawn_at_the_same_time() {
    isolated(|| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = &over;
            for name in ["A", "B"] {
                scope.spawn(move || {
                    for n in (0..).take_while(|_| !over.load(Ordering::Relaxed)) {
                        let (key, gone) = (n % 50, (n + 25) % 50);
                        // SAFETY: all threads go through this crate and the standard library.
                        unsafe {
                            os::setenv(format!("{name}{key}"), "x".repeat(n % 300)).unwrap();
                            os::unsetenv(format!("{name}{gone}")).unwrap();
                        }
                    }
                });
            }
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert!(os::getenv("PATH").is_ok());
                    assert!(os::environ().iter().any(|(key, _)| key == "PATH"));
                }
            });
            let lp = EventLoop::new().unwrap();
            let failed = Rc::new(Cell::new(0));
            for _ in 0..100 {
                // Inherits the environment as it is, and looks it through.
                let counted = failed.clone();
                let spawned = Command::new("sh")
                    .args(["-c", "test -n \"$PATH\""])
                    .spawn(&lp, move |_, exit| {
                        counted.set(counted.get() + i32::from(!exit.success()))
                    });
                failed.set(failed.get() + i32::from(spawned.is_err()));
                lp.run(RunMode::Default).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed.get(), 0);
        });
    });
}

#[test]
fn the_directory_is_the_tools_and_nodes() {
    isolated(|| {
        for directory in ["/", "/proc/self", "/usr/bin"] {
            os::chdir(directory).unwrap();
            let here = os::cwd().unwrap();
            assert_eq!(here, Path::new(&output("pwd", &["-P"])));
            if let Some(theirs) = node("process.cwd()") {
                assert_eq!(here, Path::new(&theirs));
            }
        }
        assert_eq!(os::chdir("/dev/null"), Err(Error::ENOTDIR));
        assert_eq!(os::chdir("a\0b"), Err(Error::EINVAL));
        assert_eq!(os::chdir("/".repeat(5000)), Err(Error::ENAMETOOLONG));
    });
}

#[test]
fn a_directory_that_was_removed_is_enoent() {
    isolated(|| {
        let gone = std::env::temp_dir().join(format!("blacklight-gone-{}", os::pid()));
        std::fs::create_dir(&gone).unwrap();
        os::chdir(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        assert_eq!(os::cwd(), Err(Error::ENOENT));
    });
}

#[test]
fn the_mask_is_the_shells_and_nodes() {
    isolated(|| {
        for mask in [0o022, 0, 0o777, 0o137] {
            os::set_umask(mask).unwrap();
            assert_eq!(os::umask(), mask);
            assert_eq!(output("sh", &["-c", "umask"]), format!("{mask:04o}"));
            if let Some(theirs) = node("process.umask()") {
                assert_eq!(theirs, mask.to_string());
            }
        }
        assert_eq!(os::set_umask(0o1000), Err(Error::EINVAL));
        assert_eq!(os::set_umask(0), Ok(0o137));
    });
}
