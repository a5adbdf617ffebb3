//! Tests in processes of their own: signals, descriptors' numbers and forks belong to a whole
//! process, and the test runner's is shared by many threads.
//!
//! Invariant: a body that did not run makes its test fail, as does one that ended the process
//! early.

use std::any::type_name;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

const MARK: &str = "BLACKLIGHT_ISOLATED_TEST";

/// Runs `body` in a copy of the test program that runs this test alone, and asserts that it
/// succeeded. To be called directly in the test function: the test's name is that of the closure's
/// surroundings.
pub(crate) fn isolated<F: FnOnce()>(body: F) {
    let path = type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_crate, rest)| rest);
    let test = path.split("::{{closure}}").next().unwrap_or(path);
    if env::var(MARK).is_ok_and(|running| running == test) {
        return body();
    }
    let output = Command::new(env::current_exe().expect("the test program has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .expect("the test program can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} in its own process: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Forks; the child runs `body` and exits with what it returns. For use inside [`isolated`].
pub(crate) fn forked(body: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the callers' bodies keep to the child's one thread and end in `_exit` below.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends this process without running what the parent registered for its exit.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

/// Waits for a change of state that `options` name (`WUNTRACED`, …) or for the end.
pub(crate) fn status_of(pid: libc::pid_t, options: i32) -> ExitStatus {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to a variable that outlives the call.
        match unsafe { libc::waitpid(pid, &mut status, options) } {
            -1 => {
                assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::Interrupted)
            }
            _ => return ExitStatus::from_raw(status),
        }
    }
}

/// Forks, runs `body` in the child and waits for its end.
pub(crate) fn fate_of(body: impl FnOnce() -> i32) -> ExitStatus {
    status_of(forked(body), 0)
}

mod tests {
    use super::{fate_of, isolated};

    #[test]
    fn the_body_runs_in_another_process() {
        let here = std::env::var(super::MARK).is_ok();
        isolated(move || assert!(here));
    }

    #[test]
    fn a_body_that_ends_the_process_is_noticed() {
        isolated(|| {
            assert_eq!(fate_of(|| 3).code(), Some(3));
            assert_eq!(fate_of(|| panic!("on purpose")).code(), Some(101));
        });
    }
}
