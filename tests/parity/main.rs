//! `docs/libuv-parity.md` is complete and true: every function of libuv has a row, every test that a
//! row names is there, and a row without a test says "no" and why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What libuv 1.53's header exports, by name.
const FUNCTIONS: &str = include_str!("functions.txt");
const TABLE: &str = include_str!("../../docs/libuv-parity.md");

struct Row {
    functions: Vec<String>,
    item: String,
    tests: Vec<String>,
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| `uv_"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [functions, item, tests] = cells[..] else { panic!("three columns: {line}") };
            Row { functions: quoted(functions), item: item.into(), tests: quoted(tests) }
        })
        .collect()
}

#[test]
fn every_function_of_libuv_has_one_row() {
    let mut seen = BTreeMap::new();
    for row in rows() {
        for function in row.functions {
            *seen.entry(function).or_insert(0) += 1;
        }
    }
    let named: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = FUNCTIONS.lines().collect();
    assert_eq!(wanted.len(), 319);
    assert_eq!(wanted.difference(&named).collect::<Vec<_>>(), Vec::<&&str>::new(), "missing");
    assert_eq!(named.difference(&wanted).collect::<Vec<_>>(), Vec::<&&str>::new(), "unknown");
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
}

#[test]
fn every_row_names_tests_that_are_there_or_says_no_and_why() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for row in rows() {
        let says_no = row.item.strip_prefix("**no**: ");
        assert!(says_no.is_none_or(|why| why.len() > 10), "why not: {}", row.item);
        assert_eq!(row.tests.is_empty(), says_no.is_some(), "{:?}", row.functions);
        for test in row.tests {
            let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("a file: {test}"));
            let source = std::fs::read_to_string(top.join(file)).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) {
                missing.push(test);
            }
        }
    }
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
}
