//! The table: what `spawn_sync` and Node's `spawnSync` make of the same calls.
//!
//! Children that must go on until they are killed read from their own stdout: its other end is the
//! call's, which never writes and closes it when it kills, so that none of them outlives its case.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::case::{Case, Same, Slot, in_nodes_words};
use crate::node;
use crate::support::process::{NOBODY, Scratch, node_or_a_word, watchdog};
use crate::support::{children, isolated, open_fds};

/// Long enough for a shell to have set a trap, whatever else the machine does.
const SHELL_IS_UP: u64 = 700;

fn endings() -> Vec<Case> {
    vec![
        Case::new("success", "true", &[]),
        Case::new("failure", "false", &[]),
        Case::sh("the greatest exit code", "exit 255"),
        Case::sh("killed by SIGKILL", "kill -KILL $$"),
        Case::sh("killed by SIGTERM", "kill -TERM $$"),
        Case::sh("killed by SIGPIPE, which is not ignored", "kill -PIPE $$"),
        Case::sh("killed by SIGUSR2", "kill -USR2 $$"),
        Case::sh("killed by a signal without a name", "kill -35 $$"),
        Case::sh("output and code", "echo out; echo err >&2; exit 9"),
    ]
}

fn refusals(dir: &Scratch) -> Vec<Case> {
    let plain = dir.join("not-executable");
    std::fs::write(&plain, "text").unwrap();
    let plain = plain.to_str().unwrap().to_owned();
    let long = "x".repeat(300);
    let huge = "x".repeat(200_000);
    let thrown = |errno| Same::Thrown("ERR_INVALID_ARG_VALUE", errno);
    let without_interpreter = dir.program("no-interpreter", "#!/no/such/program\n");
    vec![
        Case::new("a name that is not in PATH", "no-such-program", &["an", "argument"]),
        Case::new("a path that is not there", "/no/such/program", &[]),
        Case::new("a file that is not executable", &plain, &[]),
        Case::new("a directory", "/tmp", &[]),
        Case::new("a path through a file", format!("{plain}/x"), &[]),
        Case::new("a name that is too long", long, &[]),
        Case::new("an argument that is too long", "true", &[&huge]),
        Case::new("an environment that is too long", "true", &[]).env(&[("A", &huge)]),
        Case::new("a script without its interpreter", without_interpreter.to_str().unwrap(), &[]),
        Case::new("a directory that is not there", "true", &[]).cwd("/no/such"),
        Case::new("a directory that is a file", "true", &[]).cwd(&plain),
        Case::new("the user -1", "true", &[]).uid(u32::MAX),
        Case::new("the group -1", "true", &[]).gid(u32::MAX),
        Case::in_shell("a shell that is not there", "/no/such/shell", "true"),
        Case::new("a number that is not open", "true", &[]).stdio(&[
            Slot::Pipe,
            Slot::Pipe,
            Slot::Pipe,
            Slot::Number(987),
        ]),
        Case::new("a NUL in the name", "a\0b", &[]).same(thrown("EINVAL")),
        Case::new("a NUL in an argument", "true", &["a\0b"]).same(thrown("EINVAL")),
        Case::new("a NUL in the directory", "true", &[]).cwd("/\0").same(thrown("EINVAL")),
        Case::new("a NUL in the environment", "true", &[])
            .env(&[("A", "a\0b")])
            .same(thrown("EINVAL")),
        Case::new("no name", "", &[]).same(thrown("ENOENT")),
    ]
}

fn programs(dir: &Scratch) -> Vec<Case> {
    let here = dir.path().to_str().unwrap();
    dir.program("a-tool", "echo \"$0 $1\"\n");
    let leads = "set -- $(cat /proc/$$/stat); test $1 = $6 && echo leads";
    vec![
        Case::new("arguments as they are", "printf", &["[%s]", "", " a  b ", "$HOME", "'\"\\\n"]),
        Case::sh("another zeroth argument", "tr '\\0' ' ' </proc/$$/cmdline").argv0("odd one"),
        Case::new("another directory", "pwd", &[]).cwd(here),
        Case::new("a path relative to the directory", "./a-tool", &["x"]).cwd(here),
        Case::new("no environment", "/usr/bin/env", &[]).env(&[]),
        Case::new("an environment", "/usr/bin/env", &[]).env(&[("A", "1"), ("B", "2=3")]),
        Case::new("the PATH of the child", "a-tool", &["y"]).env(&[("PATH", here)]),
        Case::new("a PATH without it", "true", &[]).env(&[("PATH", here)]),
        Case::new("another user", "id", &["-u"]).uid(NOBODY),
        Case::new("another group", "id", &["-g"]).gid(NOBODY),
        Case::sh("detached", leads).detached(),
        Case::sh("not detached", leads),
        Case::in_shell("a shell", "", "echo $((6 * 7)) | cat; exit 3"),
        Case::in_shell("a shell by name", "/bin/bash", "echo ${BASH_VERSION:+bash}"),
    ]
}

fn inputs() -> Vec<Case> {
    let much = vec![b'x'; 4 << 20];
    let bytes: Vec<u8> = (0..=255).collect();
    vec![
        Case::new("no input", "cat", &[]),
        Case::new("some input", "cat", &[]).input("a line\nand another"),
        Case::new("input of all bytes", "cat", &[]).input(bytes),
        Case::new("much input", "cat", &[]).input(much.clone()).max_buffer(0),
        // These two are there still when the input is written.
        Case::new("a little that is not read", "sleep", &["0.3"]).input(vec![0; 65_536]),
        Case::new("what fits a socket is not missed", "sleep", &["0.3"]).input(vec![0; 150_000]),
        Case::new("much that is not read", "true", &[]).input(much.clone()),
        Case::sh("stdin closed, output all the same", "exec <&-; echo said; exit 6")
            .input(much.clone()),
        Case::sh("half of the input read", "head -c 10").input(much.clone()),
        Case::new("input without a place for it", "cat", &[]).input("lost").stdio(&[
            Slot::Ignore,
            Slot::Pipe,
            Slot::Pipe,
        ]),
        Case::sh("a limit ranks above a broken pipe", "exec <&-; printf 123456; read x <&1")
            .input(much.clone())
            .max_buffer(5),
        Case::sh("the timeout ranks above a broken pipe", "exec <&-; read x <&1")
            .input(much)
            .timeout(SHELL_IS_UP),
    ]
}

fn slots() -> Vec<Case> {
    use Slot::{Ignore, Inherit, Number, Pipe};
    vec![
        Case::sh("all ignored", "echo out; echo err >&2; cat").stdio(&[Ignore; 3]),
        Case::sh("stderr inherited", "echo out; echo err >&2").stdio(&[Pipe, Pipe, Inherit]),
        Case::sh("stderr by number", "echo out; echo err >&2").stdio(&[Pipe, Pipe, Number(2)]),
        Case::sh("slots beyond stderr", "echo three >&3; echo four >&4")
            .stdio(&[Pipe, Pipe, Pipe, Pipe, Pipe]),
        Case::sh("a gap", "echo five >&5; echo three >&3")
            .stdio(&[Pipe, Pipe, Pipe, Ignore, Ignore, Pipe]),
        Case::sh("ignored behind all others", "echo x >&3")
            .stdio(&[Pipe, Pipe, Pipe, Pipe, Ignore, Ignore]),
        Case::sh("slot 0 is for both ways", "echo nobody hears this >&0"),
        Case::sh("outputs closed long before the end", "exec >&- 2>&-; kill -0 $$; exit 6"),
        Case::sh("slots beyond stderr count", "trap '' TERM; printf 1234 >&3; read x <&1; exit 5")
            .stdio(&[Pipe, Pipe, Pipe, Pipe])
            .max_buffer(3),
    ]
}

fn limits() -> Vec<Case> {
    let ignoring = "trap '' TERM; printf 123456; read x <&1; exit 5";
    let both = "trap '' TERM; printf 123456; printf 123456 >&2; read x <&1; exit 5";
    vec![
        Case::sh("as much as allowed", "printf 12345").max_buffer(5),
        Case::sh("one too many", ignoring).max_buffer(5),
        Case::sh("as much as allowed of both", "printf 12345; printf 678 >&2").max_buffer(8),
        Case::sh("too many of both together", both).max_buffer(10),
        Case::sh("0 is no limit", "head -c 3000000 /dev/zero").max_buffer(0),
        Case::sh("a mebibyte is the limit", "head -c 1048576 /dev/zero"),
        Case::sh("more than a mebibyte", "head -c 9000000 /dev/zero; read x <&1; exit 5")
            .same(Same::AllButLengths),
        Case::sh(
            "reads end where a block does",
            "trap '' TERM; printf 1234567890; head -c 65536 /dev/zero; exit 5",
        )
        .max_buffer(65_530),
        Case::sh("too much and killed", "printf 123456; read x <&1").max_buffer(5),
        Case::sh("too much and killed by another", "printf 123456; read x <&1")
            .max_buffer(5)
            .kill_signal(libc::SIGKILL),
        Case::sh("too much, 7 on the signal", "trap 'exit 7' TERM; printf 123456; read x <&1")
            .max_buffer(5),
        Case::sh(
            "too much, success on the signal",
            "trap 'exit 0' TERM; printf 123456; read x <&1",
        )
        .max_buffer(5),
        Case::sh("too much from a grandchild", "(sleep 0.1; printf 123456; read x <&1) & exit 3")
            .max_buffer(5),
    ]
}

fn timeouts() -> Vec<Case> {
    vec![
        Case::new("in time", "true", &[]).timeout(100_000),
        Case::sh("too late", "read x <&1").timeout(200),
        Case::sh("too late for SIGKILL", "read x <&1").timeout(200).kill_signal(libc::SIGKILL),
        Case::sh("too late, output kept", "echo said; read x <&1").timeout(SHELL_IS_UP),
        Case::sh("too late, 7 on the signal", "trap 'exit 7' TERM; read x <&1; exit 5")
            .timeout(SHELL_IS_UP),
        Case::sh("too late, signal ignored", "trap '' TERM; read x <&1; exit 5")
            .timeout(SHELL_IS_UP),
        Case::sh("a signal that ends nothing", "read x <&1; exit 4")
            .timeout(200)
            .kill_signal(libc::SIGCONT),
        Case::sh("a child that is stopped", "kill -STOP $$")
            .timeout(SHELL_IS_UP)
            .kill_signal(libc::SIGKILL),
        Case::sh("a grandchild that lets go", "(sleep 0.1; echo late) & exit 2"),
        Case::sh("a grandchild that lets go in time", "(sleep 0.1; echo late) & exit 2")
            .timeout(100_000),
        Case::sh("a grandchild that does not", "(read x <&1) & exit 2").timeout(SHELL_IS_UP),
        Case::sh("a grandchild with stderr alone", "(read x <&2) >&- & echo said; exit 2")
            .timeout(SHELL_IS_UP),
        Case::sh("a grandchild with nothing of ours", "exec >&- 2>&-; sleep 0.1 & exit 2"),
    ]
}

fn all(dir: &Scratch) -> Vec<Case> {
    [endings(), refusals(dir), programs(dir), inputs(), slots(), limits(), timeouts()].concat()
}

/// What differs and may, taken out.
fn comparable(case: &Case, mut outcome: Value) -> Value {
    if case.same == Same::AllButLengths
        && let Some(Value::Array(slots)) = outcome.get_mut("output")
    {
        slots.iter_mut().filter(|slot| slot.is_object()).for_each(|slot| *slot = "some".into());
    }
    outcome
}

#[test]
fn every_call_gives_what_it_gives_in_node() {
    node_or_a_word();
    isolated(|| {
        watchdog();
        let dir = Scratch::new();
        let cases = all(&dir);
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len(), "names are different");
        assert!(cases.len() >= 40);

        let calls: Vec<Value> = cases.iter().map(Case::to_json).collect();
        let node = node::start(&calls);
        let strangers: Vec<i32> = node.iter().map(node::Node::pid).collect();
        blacklight::reserve_descriptors().unwrap();
        let mut ours = Vec::new();
        let before = open_fds();
        for case in &cases {
            let result = case.run();
            assert_eq!(open_fds(), before, "{}: descriptors are as before", case.name);
            let left = children().into_iter().filter(|(pid, _)| !strangers.contains(pid)).count();
            assert_eq!(left, 0, "{}: nobody is left", case.name);
            ours.push(in_nodes_words(&result));
        }
        let Some(node) = node else { return };
        let theirs = node.results();
        assert_eq!(theirs.len(), cases.len());
        let (mut equal, mut thrown, mut different) = (0, 0, Vec::new());
        for ((case, ours), theirs) in cases.iter().zip(ours).zip(theirs) {
            if let Same::Thrown(code, errno) = case.same {
                thrown += 1;
                if theirs["threw"] != code || ours["error"]["code"] != errno || ours["pid"] != false
                {
                    different.push(format!("{}:\n ours {ours}\n node {theirs}", case.name));
                }
                continue;
            }
            let (ours, theirs) = (comparable(case, ours), comparable(case, theirs));
            if ours == theirs {
                equal += 1;
            } else {
                different.push(format!("{}:\n ours {ours}\n node {theirs}", case.name));
            }
        }
        eprintln!("beside node: {equal} calls equal, {thrown} refused by both in their own ways");
        assert!(different.is_empty(), "different:\n{}", different.join("\n"));
    });
}
