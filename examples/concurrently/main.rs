//! Runs shell commands at once and shows whose line is whose.
//!
//! ```text
//! cargo run --release --example concurrently -- -j 2 "cargo --version" "ls -l /" "sh -c 'exit 3'"
//! ```
//!
//! Each line that a command writes comes out on standard output behind the command's name: `|`
//! marks its standard output, `!` its standard error, and `+` the next piece of a line that is too
//! long to be kept. Bytes are passed as they are. On standard error there is a status line, if that
//! is a terminal, and in the end a table of how each command ended and what it used. The exit code
//! is that of the command that failed first: 128 and the signal for one that a signal killed, 124
//! for one that timed out and exited with 0 all the same, 127 for one that could not be started.
//!
//! What it shows of the library: [`Command`](blacklight::Command) with pipes and process groups,
//! exits that are reported apart from the end of the output, back-pressure from our standard output
//! to the commands, timers, signals that are passed on, and the duties of a subreaper.
//!
//! `options` reads the arguments, `session` decides what runs when, `job` is one command, `lines`
//! puts names before lines, `output` is where they go, `report` is the table.

mod job;
mod lines;
mod options;
mod output;
mod report;
mod session;

use std::process::ExitCode;

use options::{Options, Parsed, USAGE};

fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => match session::run(options) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("concurrently: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Parsed::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("concurrently: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
