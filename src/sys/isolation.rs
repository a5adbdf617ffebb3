//! Tests in processes of their own: signals, descriptors' numbers and forks belong to a whole
//! process, and the test runner's is shared by many threads.
//!
//! Invariant: a body that did not run makes its test fail, as does one that ended the process
//! early. The integration tests use this file too.

#![allow(unreachable_pub, reason = "public in the integration tests")]

use std::any::type_name;
use std::env;
use std::process::Command;

const MARK: &str = "BLACKLIGHT_ISOLATED_TEST";

/// Runs `body` in a copy of the test program that runs this test alone, and asserts that it
/// succeeded. To be called directly in the test function: the test's name is that of the closure's
/// surroundings.
pub fn isolated<F: FnOnce()>(body: F) {
    let path = type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_crate, rest)| rest);
    let test = path.split("::{{closure}}").next().unwrap_or(path);
    if env::var(MARK).is_ok_and(|running| running == test) {
        return body();
    }
    let output = Command::new(env::current_exe().expect("the test program has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .expect("the test program can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} in its own process: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    // What it could not test here is worth a word (`--nocapture` shows it).
    let errors = String::from_utf8_lossy(&output.stderr);
    errors.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| {
        eprintln!("{test} {line}");
    });
}
