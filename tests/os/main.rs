//! The `os` module against what the tools of the system, /proc and a real node say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests assert by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod environment;
mod identity;
mod limits;
mod system;
mod threads;

use std::process::Command;

use support::isolated;

/// What a program prints, without the line feed at the end.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
}

/// What node prints for an expression; `None`, and a word about it, where there is no node.
fn node(expression: &str) -> Option<String> {
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: no node to compare with");
        return None;
    }
    Some(output("node", &["-p", expression]))
}

/// As [`output`], for tools that need not be there.
fn tool(program: &str, args: &[&str]) -> Option<String> {
    if Command::new(program).arg("--version").output().is_err() {
        println!("skipped: no {program} to compare with");
        return None;
    }
    Some(output(program, args))
}
