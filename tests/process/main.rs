//! Processes through the public API: real programs, each test in a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod foreign_reapers;
mod spawn;
mod stdio;
