//! Processes through the public API: real programs, each test in a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod attributes;
mod burst;
mod exits;
mod foreign_reapers;
mod forked;
mod inheritance;
mod kill;
mod off_loop;
mod orphans;
mod reaper;
mod spawn;
mod stdio;
mod stops;
