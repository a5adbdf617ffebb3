//! The examples do what they say, as programs of their own, on real commands.
//!
//! Cargo builds them for `cargo test`; `cargo test --test examples` alone uses those that are there.

mod concurrently;
mod endings;
mod files_and_names;
mod net;
#[cfg(feature = "child_process")]
mod prefork;
mod program;
mod small;
mod terminal;
mod terminals_and_files;
