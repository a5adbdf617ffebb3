//! `exec`, `exec_file` and their forms without a loop: beside real Node, and what shows from here.

#![cfg(feature = "child_process")]
#![allow(unreachable_pub, reason = "public among the files of one test program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests assert by panicking, in their helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod behaviour;
mod case;
mod synchronous;
mod table;

/// The descriptors of a process whose loop has had a child, which leaves a few for ever: those
/// reserved for spawning, and the loop's signal pipe where it needs one.
fn descriptors_at_rest(lp: &blacklight::EventLoop) -> Vec<(i32, String)> {
    blacklight::Command::new("true").spawn(lp, |_, exit| assert!(exit.success())).unwrap();
    support::process::run(lp);
    support::open_fds()
}
