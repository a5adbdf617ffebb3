//! The table: what the four functions and Node's make of the same calls.
//!
//! Children that must go on until they are killed read from their stdin, which nobody ends; those
//! that survive the signal read from their own stdout, whose other end is closed with it.

use crate::case::{Case, Form, start_node};
use crate::descriptors_at_rest;
use crate::support::process::{Scratch, new_loop, node_or_a_word};
use crate::support::{children, isolated, open_fds};

/// Long enough for a shell to have set a trap, whatever else the machine does.
const SHELL_IS_UP: u64 = 700;

fn on_a_loop(dir: &Scratch) -> Vec<Case> {
    let plain = dir.join("not-executable");
    std::fs::write(&plain, "text").unwrap();
    let waiting = "trap '' TERM; printf 123456; read x <&1; exit 5";
    vec![
        Case::exec("success", "echo out; echo err >&2"),
        Case::exec("failure", "echo out; echo err >&2; exit 3"),
        Case::exec("failure without a word", "exit 1"),
        Case::exec("killed by a signal", "echo err >&2; kill -KILL $$"),
        Case::exec("input", "cat; cat >&2").input("some\ninput"),
        Case::exec("another shell", "echo ${BASH_VERSION:+bash}").shell("/bin/bash"),
        Case::exec("a shell that is not there", "true").shell("/no/such/shell"),
        Case::exec("another directory", "pwd").cwd("/usr"),
        Case::exec("a directory that is not there", "pwd").cwd("/no/such"),
        Case::exec("as much as allowed", "printf 12345").max_buffer(5),
        Case::exec("as much as allowed of each", "printf 12345; printf 67890 >&2").max_buffer(5),
        Case::exec("one too many", waiting).max_buffer(5),
        Case::exec("one too many on stderr", "trap '' TERM; printf 123456 >&2; read x <&1")
            .max_buffer(5),
        Case::exec("0 is nothing", waiting).max_buffer(0),
        Case::exec("0 is enough for nothing", "true").max_buffer(0),
        Case::exec("a mebibyte", "head -c 1048576 /dev/zero"),
        Case::exec("more than a mebibyte", "head -c 3000000 /dev/zero"),
        Case::exec(
            "a mebibyte of each",
            "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2",
        ),
        Case::exec("too late", "read x").with_stdin_open().timeout(200),
        Case::exec("too late for SIGKILL", "read x")
            .with_stdin_open()
            .timeout(200)
            .kill_signal(libc::SIGKILL),
        Case::exec("too late, output kept", "echo out; echo err >&2; read x")
            .with_stdin_open()
            .timeout(SHELL_IS_UP),
        Case::exec("too late, 7 on the signal", "trap 'exit 7' TERM; read x")
            .with_stdin_open()
            .timeout(SHELL_IS_UP),
        Case::exec("too late, success on the signal", "trap 'exit 0' TERM; read x")
            .with_stdin_open()
            .timeout(SHELL_IS_UP),
        Case::exec("too late, signal ignored", "trap '' TERM; read x <&1; exit 5")
            .timeout(SHELL_IS_UP),
        Case::exec("in time", "echo out").timeout(100_000),
        Case::exec("a grandchild that lets go", "(sleep 0.1; echo late) & exit 0"),
        Case::exec("a grandchild that does not", "(read x <&1) & exit 0").timeout(SHELL_IS_UP),
        Case::exec("one that does not, of a failure", "(read x <&1) & exit 2").timeout(SHELL_IS_UP),
        Case::exec("aborted", "read x <&1").aborted(),
        Case::new("a program", Form::ExecFile, "printf", &["%s.", "a b", "$HOME"]),
        Case::new("a program that fails", Form::ExecFile, "sh", &["-c", "echo no >&2; exit 8"]),
        Case::new("no such program", Form::ExecFile, "no-such-program", &["an", "argument"]),
        Case::new("not executable", Form::ExecFile, plain.to_str().unwrap(), &[]),
    ]
}

fn without_a_loop() -> Vec<Case> {
    use Form::{ExecFileSync, ExecSync};
    let waiting = "trap '' TERM; printf 123456; read x <&1; exit 5";
    vec![
        Case::new("sync: success", ExecSync, "echo out; echo err >&2", &[]),
        Case::new("sync: failure", ExecSync, "echo out; echo err >&2; exit 3", &[]),
        Case::new("sync: failure without a word", ExecSync, "exit 1", &[]),
        Case::new("sync: killed by a signal", ExecSync, "kill -KILL $$", &[]),
        Case::new("sync: another shell", ExecSync, "[[ a == a ]] && echo bash", &[])
            .shell("/bin/bash"),
        Case::new("sync: input", ExecSync, "cat", &[]).input("some input"),
        Case::new("sync: too late", ExecSync, "read x <&1", &[]).timeout(200),
        Case::new("sync: too much", ExecSync, waiting, &[]).max_buffer(5),
        Case::new("sync: no limit", ExecSync, "head -c 3000000 /dev/zero", &[]).max_buffer(0),
        Case::new("sync: a program", ExecFileSync, "printf", &["%s.", "a b"]),
        Case::new("sync: one that fails", ExecFileSync, "sh", &["-c", "echo no >&2; exit 8"]),
        Case::new("sync: no such program", ExecFileSync, "no-such-program", &["x"]),
        Case::new("sync: no such directory", ExecFileSync, "true", &[]).cwd("/no/such"),
    ]
}

#[test]
fn every_call_gives_what_it_gives_in_node() {
    node_or_a_word();
    isolated(|| {
        let dir = Scratch::new();
        let cases = [on_a_loop(&dir), without_a_loop()].concat();
        assert!(cases.len() >= 12);
        let node = start_node(&cases);
        let strangers: Vec<i32> = node.iter().map(|node| node.pid()).collect();
        let lp = new_loop();
        let before = descriptors_at_rest(&lp);
        let mut ours = Vec::new();
        for case in &cases {
            ours.push(case.run(&lp));
            assert_eq!(open_fds(), before, "{}: descriptors are as before", case.name);
            let left = children().into_iter().filter(|(pid, _)| !strangers.contains(pid)).count();
            assert_eq!(left, 0, "{}: nobody is left", case.name);
        }
        let Some(node) = node else { return };
        let theirs = node.results();
        let mut different = Vec::new();
        for ((case, ours), theirs) in cases.iter().zip(&ours).zip(&theirs) {
            if ours != theirs {
                different.push(format!("{}:\n ours {ours}\n node {theirs}", case.name));
            }
        }
        eprintln!("beside node: {} of {} calls equal", ours.len() - different.len(), cases.len());
        assert!(different.is_empty(), "different:\n{}", different.join("\n"));
    });
}
