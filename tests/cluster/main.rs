//! Clusters: primaries and workers of this crate, with each other and with a real node.

#![cfg(feature = "child_process")]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod node_primary;
mod node_workers;
mod own_workers;
mod program;
