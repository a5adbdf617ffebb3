//! What the kernel sees of a spawn: traced with strace(1), on the fast path and with every option.

#![allow(unsafe_code, reason = "descriptors with numbers of the test's choice")]

mod support;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command as Traced;

use blacklight::{Command, EventLoop, Groups, Options, Resource, RunMode, Stdio};

const MARK: &str = "BLACKLIGHT_TRACED_TEST";

/// Runs the calling test again under strace, in which it calls `body`, and returns the calls of the
/// child between its making and its exec. `None` where there is no strace.
fn calls_of_the_child<F: FnOnce()>(body: F) -> Option<Vec<String>> {
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_, rest)| rest);
    let test = path.split("::{{closure}}").next().unwrap();
    if std::env::var(MARK).is_ok_and(|running| running == test) {
        body();
        return None;
    }
    let log = std::env::temp_dir().join(format!("blacklight-{}-{test}", std::process::id()));
    let traced = Traced::new("strace")
        .args(["-f", "-qq", "-s", "64", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output();
    let Ok(traced) = traced else {
        eprintln!("skipped: there is no strace here");
        return None;
    };
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    // The child that executes /bin/true is the one; another is the probe of the first spawn.
    let is_exec = |line: &str| line.contains("execve(\"/bin/true\"") || line.contains("execveat(");
    let child = text.lines().find(|line| is_exec(line)).expect("a child executes");
    let child = child.split_whitespace().next().unwrap();
    let own = text.lines().filter(|line| line.split_whitespace().next() == Some(child));
    let mut calls = Vec::new();
    for line in own {
        let call = line.split_once(' ').unwrap().1.trim_start();
        // The second half of a call that another thread's came in the middle of.
        if call.starts_with("<...") {
            continue;
        }
        let name = call.split('(').next().unwrap().to_owned();
        calls.push(name);
        if is_exec(line) {
            break;
        }
    }
    Some(calls)
}

fn spawn(change: impl FnOnce(&mut Command)) {
    let lp = EventLoop::with_options(Options::default()).unwrap();
    let mut command = Command::new("/bin/true");
    change(&mut command);
    command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
    lp.run(RunMode::Default).unwrap();
    assert_eq!(lp.metrics().spawned_shared_memory, 1);
    assert_eq!(lp.metrics().spawn_fallbacks, 0);
}

#[test]
fn only_the_planned_calls_happen_between_clone_and_exec() {
    let Some(mut calls) = calls_of_the_child(|| spawn(|_| {})) else { return };
    // One for SIGPIPE, and one for each signal that whoever runs the tests has ignored.
    calls.dedup_by(|a, b| a == "rt_sigaction" && b == "rt_sigaction");
    // The standard streams stay where they are, and above them the table is empty.
    assert_eq!(calls, ["close_range", "rt_sigaction", "rt_sigprocmask", "execve"]);
}

#[test]
fn slots_that_are_moved_leave_nothing_unlisted_open() {
    // A source above the slots: the table is not empty up there, so it is marked.
    let moved = || {
        spawn(|command| {
            let source = std::fs::File::open("/dev/null").unwrap();
            // SAFETY: the number is this test's own, and nothing else uses it.
            let far = unsafe { libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 40) };
            assert!(far >= 40);
            // SAFETY: as above; it is owned from here on.
            let far = unsafe { OwnedFd::from_raw_fd(far) };
            command.stdio(3, Stdio::from_fd(far).unwrap());
        });
    };
    let Some(mut calls) = calls_of_the_child(moved) else { return };
    calls.dedup_by(|a, b| a == "rt_sigaction" && b == "rt_sigaction");
    let planned =
        ["close_range", "rt_sigaction", "dup3", "close_range", "rt_sigprocmask", "execve"];
    assert_eq!(calls, planned);
}

#[test]
fn options_add_their_own_calls_in_the_documented_order() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if !is_root {
        eprintln!("skipped: not root, which may change credentials");
        return;
    }
    let all = || {
        spawn(|command| {
            command
                .current_dir("/")
                .detached(true)
                .nice(1)
                .rlimit(Resource::Core, 0, 0)
                .affinity([0])
                .groups(Groups::Clear)
                .gid(65534)
                .uid(65534)
                .no_new_privs(true)
                .umask(0o77);
        });
    };
    let Some(calls) = calls_of_the_child(all) else { return };
    let order = [
        "close_range",
        "rt_sigaction",
        "setsid",
        "chdir",
        "setpriority",
        "setgroups",
        "setgid",
        "setuid",
        "prctl",
        "umask",
        "rt_sigprocmask",
        "execve",
    ];
    let mut at = 0;
    for wanted in order {
        let found = calls[at..].iter().position(|call| call.starts_with(wanted));
        at += found.unwrap_or_else(|| panic!("{wanted} is not where it belongs in {calls:?}")) + 1;
    }
}
