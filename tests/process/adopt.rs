//! Processes that somebody else has spawned: watched by pid or pidfd.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Command as StdCommand;

use blacklight::prelude::*;
use blacklight::{Error, Facilities};

use crate::support::process::{Exits, has_notes, new_loop, pidfd_of, pipe, run, until_dead};
use crate::support::{children, isolated};

/// A child of the standard library's that ends with `code` when the returned end is closed.
fn foreign_child(code: i32) -> (i32, OwnedFd) {
    let (reader, writer) = pipe();
    let script = format!("read line; exit {code}");
    #[allow(clippy::zombie_processes, reason = "the loop waits for it")]
    let child = StdCommand::new("sh").args(["-c", &script]).stdin(reader).spawn().unwrap();
    (child.id() as i32, writer)
}

#[test]
fn a_child_of_other_code_is_reported_with_status_and_usage() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (pid, stdin) = foreign_child(6);
        let process = Process::adopt(&lp, pid, exits.note()).unwrap();
        assert!(process.is_active());
        assert_eq!(process.pid(), pid);
        drop(stdin);
        run(&lp);
        assert_eq!(exits.one().code(), Some(6));
        assert!(exits.one().usage.is_some());
        assert!(children().is_empty());
    });
}

#[test]
fn a_child_that_is_dead_already_is_reported() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (pid, stdin) = foreign_child(7);
        drop(stdin);
        until_dead(&pidfd_of(pid));
        Process::adopt(&lp, pid, exits.note()).unwrap();
        assert!(exits.get().is_empty(), "never from inside the call");
        run(&lp);
        assert_eq!(exits.one().code(), Some(7));
        assert!(children().is_empty());
    });
}

#[test]
fn a_pidfd_can_be_adopted() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (pid, stdin) = foreign_child(8);
        let process = Process::from_pidfd(&lp, pidfd_of(pid), exits.note()).unwrap();
        assert_eq!(process.pid(), pid);
        assert_eq!(process.kill(0), Ok(()));
        drop(stdin);
        run(&lp);
        assert_eq!(exits.one().code(), Some(8));
    });
}

#[test]
fn what_is_no_process_cannot_be_adopted() {
    isolated(|| {
        let lp = new_loop();
        let none = |_: &Process, _: Exit| panic!("nothing was adopted");
        for pid in [0, -1, i32::MIN] {
            assert_eq!(Process::adopt(&lp, pid, none).unwrap_err(), Error::EINVAL);
        }
        assert_eq!(Process::adopt(&lp, i32::MAX, none).unwrap_err(), Error::ESRCH);
        let file = File::open("/dev/null").unwrap();
        assert_eq!(Process::from_pidfd(&lp, file, none).unwrap_err(), Error::EBADF);
        let (reader, _writer) = pipe();
        assert_eq!(Process::from_pidfd(&lp, reader, none).unwrap_err(), Error::EBADF);
        // The pidfd of a process that is gone altogether.
        let (pid, stdin) = foreign_child(0);
        let pidfd = pidfd_of(pid);
        drop(stdin);
        // SAFETY: no status is asked for.
        assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
        assert_eq!(Process::from_pidfd(&lp, pidfd, none).unwrap_err(), Error::ESRCH);
        assert_eq!(Process::adopt(&lp, pid, none).unwrap_err(), Error::ESRCH);
        assert!(!lp.is_alive());
    });
}

/// A process that is not our child: started by a shell of ours that goes on with `then`. Both are
/// held up until the returned end is closed. The shell, and the stranger's pid.
fn stranger(script: &str, then: &str) -> (std::process::Child, i32, std::io::PipeWriter) {
    let (mut told, tell) = std::io::pipe().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    // A background job's standard input is the null device, hence the copy.
    let script = format!("exec 4<&0; ({script}) <&4 >/dev/null & echo $!; exec >&- 4<&-; {then}");
    let between = StdCommand::new("sh").args(["-c", &script]).stdin(reader).stdout(tell).spawn();
    let between = between.unwrap();
    let mut line = String::new();
    told.read_to_string(&mut line).unwrap();
    (between, line.trim().parse().unwrap(), writer)
}

#[test]
fn a_stranger_is_reported_when_it_ends() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (mut between, pid, writer) = stranger("read line; exit 5", "wait");
        let process = Process::adopt(&lp, pid, exits.note()).unwrap();
        assert_eq!(process.kill(0), Ok(()), "it is there");
        assert_eq!(process.on_stop(|_, _| {}), Err(Error::ECHILD));
        drop(writer);
        // Its own parent has waited for it by now, so that the kernel has its note, if it keeps one.
        between.wait().unwrap();
        run(&lp);
        assert_eq!(exits.one().usage, None);
        if has_notes(&lp) {
            assert_eq!(exits.one().status, ExitStatus::Exited(5));
        } else {
            assert_eq!(exits.one().status, ExitStatus::Unknown);
        }
    });
}

#[test]
fn a_stranger_can_be_killed_and_an_end_that_nobody_waited_for_is_unknown() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        // Its parent becomes a program that waits for nobody.
        let (mut between, pid, writer) = stranger("exec cat", "exec cat >/dev/null");
        let process = Process::adopt(&lp, pid, exits.note()).unwrap();
        assert_eq!(process.kill(libc::SIGKILL), Ok(()));
        if lp.options().facilities.contains(Facilities::PIDFD) {
            run(&lp);
            assert_eq!(exits.one().status, ExitStatus::Unknown);
        }
        drop(writer);
        between.wait().unwrap();
        run(&lp);
        assert_eq!(exits.one().status, ExitStatus::Unknown);
    });
}

#[test]
fn a_child_watched_by_two_handles_is_reported_to_both() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (pid, stdin) = foreign_child(4);
        Process::adopt(&lp, pid, exits.note()).unwrap();
        Process::adopt(&lp, pid, exits.note()).unwrap();
        drop(stdin);
        run(&lp);
        let reports = exits.get();
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0].1.code(), Some(4), "the first has waited for it");
        if has_notes(&lp) {
            assert_eq!(reports[1].1.code(), Some(4), "the second has the kernel's note");
        }
    });
}

#[test]
fn closing_an_adopted_child_leaves_it_to_be_reaped() {
    isolated(|| {
        let lp = new_loop();
        let (pid, stdin) = foreign_child(0);
        let pidfd = pidfd_of(pid);
        let process = Process::adopt(&lp, pid, |_, _| panic!("it was closed")).unwrap();
        process.close();
        run(&lp);
        drop(stdin);
        crate::support::process::until_reaped(pid, &pidfd);
    });
}
