//! The table at the end: how each command ended, and what it used.

use std::io::{self, Write};
use std::time::Duration;

use blacklight::{Exit, ExitStatus, signal_name};

use crate::job::{Outcome, Record};

const HEADINGS: [&str; 7] = ["name", "exit", "signal", "wall s", "cpu s", "peak MiB", "remarks"];

/// Prints the table to standard error, so that standard output has the commands' lines only.
pub(crate) fn print<'a>(records: impl Iterator<Item = (&'a str, Record)>) -> io::Result<()> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(records.map(|(name, record)| row(name, record)));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Names, signals and remarks are words, the others numbers.
            line += &match column {
                0 | 2 | 6 => format!("{cell:<width$}  "),
                _ => format!("{cell:>width$}  "),
            };
        }
        table += line.trim_end();
        table += "\n";
    }
    io::stderr().write_all(table.as_bytes())
}

fn row(name: &str, record: Record) -> [String; 7] {
    let none = || "-".to_owned();
    let mut remarks: Vec<String> = Vec::new();
    if record.timed_out {
        remarks.push("timed out".to_owned());
    }
    let (code, signal, usage) = match record.outcome {
        Outcome::NotStarted => {
            remarks.push("not started".to_owned());
            (none(), none(), None)
        }
        Outcome::Failed(error) => {
            remarks.push(format!("not started: {error}"));
            (none(), none(), None)
        }
        Outcome::Ended(exit) => {
            if exit.core_dumped() {
                remarks.push("core dumped".to_owned());
            }
            let (code, signal) = status(exit);
            (code, signal, exit.usage)
        }
    };
    let cpu = usage.map_or_else(none, |usage| seconds(usage.user_time + usage.system_time));
    let memory = usage.map_or_else(none, |usage| mebibytes(usage.max_rss));
    let wall = record.wall.map_or_else(none, seconds);
    [name.to_owned(), code, signal, wall, cpu, memory, remarks.join(", ")]
}

fn status(exit: Exit) -> (String, String) {
    let none = || "-".to_owned();
    match exit.status {
        ExitStatus::Exited(code) => (code.to_string(), none()),
        ExitStatus::Signaled { signum, .. } => {
            (none(), signal_name(signum).map_or_else(|| signum.to_string(), str::to_owned))
        }
        ExitStatus::Unknown => ("unknown".to_owned(), none()),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
