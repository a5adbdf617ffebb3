//! The IPC channel: between two programs of this crate, and with a real node in both directions.

#![cfg(feature = "child_process")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tools.rs"]
mod tools;

mod bridge;
mod descriptors;
mod errors;
mod handles;
mod life;
mod node_child;
mod node_parent;
mod talk;
mod values;
