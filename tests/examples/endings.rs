//! How commands end under `concurrently`, what it says of that, and that nothing is left.

use std::cell::Cell;

use super::program::{Ended, Program, Watched, exists};

fn concurrently<'a>(args: impl IntoIterator<Item = &'a str>) -> Ended {
    Program::example("concurrently").args(args).run()
}

/// The number that a command has written behind its name.
fn number(ended: &Ended, name: &str) -> i32 {
    let lines = ended.lines_of(name);
    let text = lines.first().and_then(|line| line.strip_prefix("| ")).expect("a line");
    text.parse().expect("a number")
}

/// Sends a signal when a line has come for the first time.
fn at(line: &'static str, signum: i32) -> impl FnMut(&Watched<'_>) + 'static {
    let sent = Cell::new(false);
    move |tool| {
        if tool.has_said(line) && !sent.replace(true) {
            blacklight::kill(tool.process.pid(), signum).unwrap();
        }
    }
}

#[test]
fn the_exit_code_is_that_of_the_first_failure() {
    assert_eq!(concurrently(["-j", "1", "true", "exit 3", "exit 4", "true"]).code(), Some(3));
    assert_eq!(concurrently(["-j1", "kill -TERM $$", "exit 4"]).code(), Some(128 + 15));
    assert_eq!(concurrently(["true", "true"]).code(), Some(0));
}

#[test]
fn the_table_has_a_row_for_each_command() {
    let ended = concurrently(["--names", "good,bad,ugly", "true", "exit 9", "kill -KILL $$"]);
    let heading = ["name", "exit", "signal", "wall", "s", "cpu", "s", "peak", "MiB", "remarks"];
    assert_eq!(ended.row("name"), heading);
    for (name, code, signal) in [("good", "0", "-"), ("bad", "9", "-"), ("ugly", "-", "SIGKILL")] {
        let row = ended.row(name);
        assert_eq!(row[..3], [name, code, signal]);
        let numbers: Vec<f64> = row[3..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3, "{row:?}");
        assert!(numbers[2] > 0.0, "it used memory: {row:?}");
    }
    let order: Vec<_> = ended.stderr.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(order, ["name", "good", "bad", "ugly"]);
}

#[test]
fn a_command_that_cannot_be_started_is_in_the_table_with_the_reason() {
    let tool = Program::example("concurrently").env("PATH", "/nonexistent");
    let ended = tool.args(["true", "false"]).run();
    assert_eq!(ended.code(), Some(127));
    let reason = "not started: exec: ENOENT: no such file or directory";
    assert_eq!(ended.row("true")[6..].join(" "), reason);
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let ended = concurrently(["--names", "a", "--timeout=1", "sleep 1000 & echo $!; wait"]);
    assert_eq!(ended.code(), Some(128 + libc::SIGTERM));
    assert_eq!(ended.row("a")[2], "SIGTERM");
    assert_eq!(ended.row("a")[6..], ["timed", "out"]);
    assert!(!exists(number(&ended, "a")));
}

#[test]
fn a_group_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let stubborn = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.1; done";
    let args = ["--names", "a", "--timeout", "1", "--grace", "0.1", stubborn];
    let ended = concurrently(args);
    assert_eq!(ended.code(), Some(128 + libc::SIGKILL));
    assert_eq!(ended.row("a")[2], "SIGKILL");
    assert!(!exists(number(&ended, "a")));
}

#[test]
fn what_a_group_leaves_behind_is_killed_after_the_grace_period() {
    // The shell ends at once, its child does not.
    let leaving = "(trap '' TERM; exec sleep 1000) & echo $!; wait";
    let ended = concurrently(["--names", "a", "--timeout", "1", "--grace", "0.1", leaving]);
    assert_eq!(ended.row("a")[2], "SIGTERM");
    assert!(!exists(number(&ended, "a")));
}

#[test]
fn timing_out_is_a_failure_even_if_the_command_makes_the_best_of_it() {
    let graceful = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    assert_eq!(concurrently(["--timeout", "1", graceful]).code(), Some(124));
}

#[test]
fn times_past_the_end_of_time_never_come() {
    let ended = concurrently(["--timeout", "1", "--grace", "1e19", "sleep 1000"]);
    assert_eq!(ended.row("sleep")[2], "SIGTERM");
    assert_eq!(concurrently(["--timeout", "1e19", "exit 3"]).code(), Some(3));
}

#[test]
fn a_process_left_in_the_background_holds_nobody_up() {
    let ended = concurrently(["--names", "a", "sleep 1000 & echo $!"]);
    assert_eq!(ended.code(), Some(0));
    let left = number(&ended, "a");
    assert!(exists(left), "nobody has asked for its end");
    blacklight::kill(left, libc::SIGKILL).unwrap();
}

#[test]
fn signals_are_passed_on() {
    for (name, signum) in [("INT", libc::SIGINT), ("TERM", libc::SIGTERM), ("HUP", libc::SIGHUP)] {
        let script = format!(
            "trap 'echo caught; exit 5' {name}; sleep 1000 & echo ready; \
             while :; do sleep 0.05; done"
        );
        let tool = Program::example("concurrently").args(["--grace", "0.1", &*script]);
        let ended = tool.watch(at("ready", signum));
        assert!(ended.text().contains("caught"), "{name}: {}", ended.text());
        assert_eq!(ended.code(), Some(5), "{name}");
    }
}

#[test]
fn the_second_signal_kills() {
    let script = "trap 'echo no' INT; echo ready; while :; do sleep 0.05; done";
    let (mut first, mut second) = (at("ready", libc::SIGINT), at("no", libc::SIGINT));
    let tool = Program::example("concurrently").args(["--names", "a", script]);
    let ended = tool.watch(move |tool| {
        first(tool);
        second(tool);
    });
    assert_eq!(ended.code(), Some(128 + libc::SIGKILL));
    assert_eq!(ended.row("a")[2], "SIGKILL");
}

#[test]
fn a_signal_keeps_commands_from_being_started() {
    let script = "trap 'exit 0' INT; echo ready; while :; do sleep 0.05; done";
    let args = ["-j", "1", "--names", "a,b", script, "echo never"];
    let ended = Program::example("concurrently").args(args).watch(at("ready", libc::SIGINT));
    assert_eq!(ended.code(), Some(128 + libc::SIGINT));
    assert_eq!(ended.row("b")[6..], ["not", "started"]);
    assert!(!ended.text().contains("never"));
}

#[test]
fn a_signal_that_was_ignored_stays_so() {
    let script = "echo ready; sleep 0.2; echo end";
    let mut nohup = blacklight::Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(super::program::path_of("concurrently"));
    let ended = Program::new(nohup).args([script]).watch(at("ready", libc::SIGHUP));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.text(), "echo | ready\necho | end\n");
}

#[test]
fn commands_end_when_nobody_reads_their_output() {
    let args = ["--names", "a,b", "echo $$; yes", "sleep 1000"];
    let ended = Program::example("concurrently").args(args).watch(|tool| {
        use blacklight::Handle;
        tool.stdout.close();
    });
    assert_eq!(ended.code(), Some(128 + libc::SIGPIPE));
    assert_eq!(ended.row("b")[2], "SIGTERM");
    assert!(!exists(number(&ended, "a")));
}
