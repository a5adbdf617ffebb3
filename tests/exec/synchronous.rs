//! `exec_sync` and `exec_file_sync`: what the child says on stderr, and what an error holds.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

use blacklight::child_process::{SyncOptions, SyncStdio, exec_file_sync, exec_sync};
use blacklight::{Command, Error};

use crate::support::isolated;
use crate::support::process::Scratch;

/// What the calls in `body` make this process write to its stderr.
fn stderr_of(body: impl FnOnce()) -> String {
    let dir = Scratch::new();
    let file = File::create(dir.join("stderr")).unwrap();
    // SAFETY: numbers that are open; the test has its process for itself.
    unsafe {
        let kept = libc::dup(2);
        libc::dup2(file.as_raw_fd(), 2);
        body();
        libc::dup2(kept, 2);
        libc::close(kept);
    }
    std::fs::read_to_string(dir.join("stderr")).unwrap()
}

#[test]
fn what_the_child_complains_of_is_shown_unless_a_slot_was_set() {
    isolated(|| {
        let shown = stderr_of(|| {
            assert_eq!(exec_sync("echo out; echo err >&2", &SyncOptions::new()).unwrap(), b"out\n");
        });
        assert_eq!(shown, "err\n");
        let shown = stderr_of(|| {
            exec_sync("echo failed >&2; exit 1", &SyncOptions::new()).unwrap_err();
        });
        assert_eq!(shown, "failed\n");
        let shown = stderr_of(|| {
            let options = SyncOptions::new().stdio(2, SyncStdio::Pipe).clone();
            exec_sync("echo err >&2", &options).unwrap();
        });
        assert_eq!(shown, "");
    });
}

#[test]
fn the_error_holds_the_whole_result() {
    let options = SyncOptions::new().stdio(2, SyncStdio::Pipe).clone();
    let mut command = Command::new("sh");
    let script = "echo out; echo err >&2; exit 3";
    let error = exec_file_sync(command.args(["-c", script]), &options).unwrap_err();
    assert_eq!(error.cmd(), format!("sh -c {script}").as_str());
    assert_eq!(error.to_string(), format!("Command failed: sh -c {script}\nerr\n"));
    assert!(error.sync_error().is_none());
    let result = error.into_result();
    assert_eq!((result.status, result.stdout()), (Some(3), Some(b"out\n".as_slice())));
}

#[test]
fn an_error_of_the_call_comes_before_that_of_the_child() {
    let options = SyncOptions::new().max_buffer(1).stdio(2, SyncStdio::Pipe).clone();
    let error = exec_sync("echo much; read x <&1; exit 3", &options).unwrap_err();
    assert_eq!(error.sync_error().map(|error| error.code), Some(Error::ENOBUFS));
    assert_eq!(error.to_string(), "spawnSync /bin/sh ENOBUFS");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("spawnSync /bin/sh ENOBUFS"));
}

#[test]
fn nothing_is_returned_of_a_stdout_that_is_not_collected() {
    let options = SyncOptions::new().stdio(1, SyncStdio::Ignore).clone();
    assert_eq!(exec_sync("echo out", &options).unwrap(), b"");
}
