//! Processes through the public API: real programs, each test in a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod attributes;
mod big_stream;
mod burst;
mod credentials;
mod exhaustion;
mod exits;
mod foreign_reapers;
mod forked;
mod inheritance;
mod kill;
mod leaks;
mod off_loop;
mod orphans;
mod reaper;
mod spawn;
mod spawn_errors;
mod stdio;
mod stops;
