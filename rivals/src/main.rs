//! The same work on Blacklight and on its rivals, in one process and in turns.
//!
//! `cargo run --release -p blacklight-rivals -- [--write] [--only WHO] [ROW…]` prints a table of
//! ratios, of the rows whose name contains one of the words (every row without a word), with `--only`
//! against one rival alone, and with `--write` writes `docs/performance.md` and its charts. `--list`
//! names the rows. `--count ROW --only WHO --rounds N` does N units of one row's work with one
//! implementation and says nothing, so that callgrind can count its instructions; README.md has the
//! commands.

#![allow(unsafe_code)]

mod child_signal;
mod clone;
#[path = "../../benches/floor/mod.rs"]
mod floor;
mod machine;
#[path = "../../benches/messages/mod.rs"]
mod messages;
mod poll;
mod report;
mod row;
mod rows;
mod sockets;
mod statistics;
mod uv;

use std::process::ExitCode;

use child_signal::ChildSignal;
use row::{Measured, Row, Who};

const USAGE: &str = "usage: blacklight-rivals [--write | --list] [--only WHO] [ROW…]\n       \
                     blacklight-rivals --count ROW --only WHO --rounds N";

#[derive(Default)]
struct Arguments {
    write: bool,
    list: bool,
    count: Option<String>,
    only: Option<Who>,
    rounds: u64,
    wanted: Vec<String>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let mut parsed = Arguments::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--write" => parsed.write = true,
                "--list" => parsed.list = true,
                "--count" => parsed.count = Some(words.next()?),
                "--only" => {
                    let name = words.next()?;
                    parsed.only = Some(Who::ALL.into_iter().find(|who| who.name() == name)?);
                }
                "--rounds" => parsed.rounds = words.next()?.parse().ok()?,
                word if word.starts_with('-') => return None,
                _ => parsed.wanted.push(word),
            }
        }
        Some(parsed)
    }

    fn wants(&self, row: &Row) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|word| row.name.contains(word.as_str()))
    }
}

fn main() -> ExitCode {
    if messages::play_role() {
        return ExitCode::SUCCESS;
    }
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    raise_descriptor_limit();
    blacklight::reserve_descriptors().expect("a few descriptors");
    let mut rows = rows::all();
    if let Some(name) = &arguments.count {
        return count(&rows, name, &arguments);
    }
    if let Some(who) = arguments.only {
        rows.iter_mut().for_each(|row| row.only(who));
    }
    let rows = rows.iter().filter(|row| arguments.wants(row));
    if arguments.list {
        for row in rows {
            let who: Vec<_> = row.entries.iter().map(|entry| entry.who.name()).collect();
            println!("{} ({})", row.name, who.join(", "));
        }
        return ExitCode::SUCCESS;
    }
    for line in machine::describe() {
        println!("{line}");
    }
    let mut signal = ChildSignal::new();
    let measured: Vec<Measured> = rows
        .map(|row| {
            let measured = row.measure(&mut signal);
            print!("{}", report::table(&measured));
            measured
        })
        .collect();
    if arguments.write
        && let Err(error) = report::write(&measured, &arguments.wanted)
    {
        eprintln!("docs/performance.md: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn count(rows: &[Row], name: &str, arguments: &Arguments) -> ExitCode {
    let row = rows
        .iter()
        .find(|row| row.name == name)
        .or_else(|| rows.iter().find(|row| row.name.contains(name)));
    let done =
        row.zip(arguments.only).and_then(|(row, who)| row.run_alone(who, arguments.rounds.max(1)));
    if done.is_none() {
        eprintln!("{USAGE}\nno such row, or nobody of that name in it (--list names them)");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Ten thousand descriptors and some are asked for: as many as the system lets us have.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(100_000);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}
