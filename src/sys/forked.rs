//! Forks for tests: what a child process does, and how it ended.
//!
//! Invariant: a child never returns into the test runner.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

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

#[cfg(test)]
mod tests {
    use super::fate_of;
    use crate::sys::isolation::isolated;

    #[test]
    fn the_body_runs_in_another_process() {
        isolated(|| assert!(std::env::var_os("BLACKLIGHT_ISOLATED_TEST").is_some()));
    }

    #[test]
    fn a_body_that_ends_the_process_is_noticed() {
        isolated(|| {
            assert_eq!(fate_of(|| 3).code(), Some(3));
            assert_eq!(fate_of(|| panic!("on purpose")).code(), Some(101));
        });
    }
}
