//! Runs the body of a test in a process of its own.
//!
//! Descriptor counts, dispositions, limits and zombies belong to the process, and so does what the
//! probes have found out. A test about one of them runs alone: the test program executes itself
//! again with the name of that one test.

use std::process::Command;

/// Set in the process that runs a body, to the name of its test.
const MARK: &str = "BLACKLIGHT_ISOLATED";

/// Runs `body` alone. The test is known by the type of the closure, so this must be called directly
/// from the test's own function.
#[track_caller]
pub(super) fn isolated<F: FnOnce()>(body: F) {
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").expect("a path with the crate's name").1;
    let name = name.trim_end_matches("::{{closure}}");
    if std::env::var(MARK).as_deref() == Ok(name) {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
