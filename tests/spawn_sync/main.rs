//! `spawn_sync` through the public API: beside real Node, and in all the places it may be called.

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

mod case;
mod node;
mod plain;
mod surroundings;
mod table;
