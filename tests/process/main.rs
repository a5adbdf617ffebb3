//! Processes through the public API: real programs, each test in a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod burst;
mod exits;
mod foreign_reapers;
mod forked;
mod kill;
mod orphans;
mod spawn;
mod stdio;
