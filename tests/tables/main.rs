//! The tables in `docs/` are complete and true: every function of libuv and every known bug has a
//! row, and every test that a row names is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What libuv 1.53's header exports, by name.
const FUNCTIONS: &str = include_str!("functions.txt");
const PARITY: &str = include_str!("../../docs/libuv-parity.md");
const BUGS: &str = include_str!("../../docs/known-bugs.md");

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The cells of each row that begins so.
fn rows<const CELLS: usize>(table: &'static str, begin: &str) -> Vec<[&'static str; CELLS]> {
    let lines = table.lines().filter(|line| line.starts_with(begin));
    let cells = |line: &'static str| {
        let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|'));
        let inner = inner.unwrap_or_else(|| panic!("no row: {line}"));
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("{CELLS} columns: {line}"))
    };
    lines.map(cells).collect()
}

/// Those of the tests that are nowhere.
fn missing(tests: impl IntoIterator<Item = String>) -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_missing = |test: &String| {
        let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("a file: {test}"));
        let source = std::fs::read_to_string(top.join(file)).unwrap_or_default();
        !source.contains(&format!("fn {name}("))
    };
    tests.into_iter().filter(is_missing).collect()
}

#[test]
fn every_function_of_libuv_has_one_row() {
    let mut seen = BTreeMap::new();
    for [functions, _, _] in rows(PARITY, "| `uv_") {
        for function in quoted(functions) {
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
fn every_function_has_tests_that_are_there_or_a_reason_why_not() {
    for [functions, item, tests] in rows(PARITY, "| `uv_") {
        let says_no = item.strip_prefix("**no**: ");
        assert!(says_no.is_none_or(|why| why.len() > 10), "why not: {functions}");
        assert_eq!(tests.is_empty(), says_no.is_some(), "{functions}");
        assert_eq!(missing(quoted(tests)), Vec::<String>::new(), "{functions}");
    }
}

#[test]
fn every_known_bug_has_a_test_that_is_there() {
    let rows = rows::<4>(BUGS, "| B");
    for [bug, _, _, tests] in &rows {
        assert!(!tests.is_empty(), "{bug}");
        assert_eq!(missing(quoted(tests)), Vec::<String>::new(), "{bug}");
    }
    let bugs: Vec<&str> = rows.iter().map(|[bug, ..]| *bug).collect();
    let wanted: Vec<String> = (1..=40).map(|number| format!("B{number}")).collect();
    assert_eq!(bugs, wanted, "in order, and none left out");
}
