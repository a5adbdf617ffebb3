//! What is set in the child before its program: limits, groups, sessions, terminals, cgroups.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Resource, UNLIMITED};

use crate::support::process::{
    Exits, collect, forked, new_loop, output, pipe, poll_for, run, says, shell, skip, status_line,
};
use crate::support::{children, isolated};

#[test]
fn limits_are_the_childs_alone() {
    isolated(|| {
        let mut command = shell("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Sf; ulimit -Hs");
        command.rlimit(Resource::OpenFiles, 77, 99).rlimit(Resource::Core, 0, 0);
        command.rlimit(Resource::FileSize, 512 * 1024, UNLIMITED);
        command.rlimit(Resource::Stack, 4096 * 1024, 8000 * 1024);
        assert_eq!(says(&mut command), "77\n99\n0\n1024\n8000");
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert!(!own.contains(" 77 "), "{own}");
    });
}

#[test]
fn a_limit_below_a_slot_does_not_take_the_slot_away() {
    isolated(|| {
        let lp = new_loop();
        let out = Pipe::new(&lp).unwrap();
        let mut command = shell("echo still open >/proc/$$/fd/200");
        command.stdio(200, Stdio::pipe(&out)).rlimit(Resource::OpenFiles, 20, 20);
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        let text = collect(&out);
        run(&lp);
        assert_eq!(text.get(), "still open\n");
    });
}

#[test]
fn niceness_umask_and_processors_are_set() {
    isolated(|| {
        assert_eq!(says(Command::new("nice").nice(7)), "7");
        assert_eq!(says(shell("umask").umask(0o137)), "0137");
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        let processor = {
            let text = says(&mut command);
            let list = status_line(&text, "Cpus_allowed_list");
            list.split(['-', ',']).next_back().unwrap().parse::<usize>().unwrap()
        };
        let text = says(command.affinity([processor]));
        assert_eq!(status_line(&text, "Cpus_allowed_list"), processor.to_string());
        // Own values are unchanged.
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_ne!(status_line(&own, "Umask"), "0137");
    });
}

#[test]
fn no_new_privs_is_set_on_request() {
    isolated(|| {
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        assert_eq!(status_line(&says(&mut command), "NoNewPrivs"), "0");
        command.no_new_privs(true);
        assert_eq!(status_line(&says(&mut command), "NoNewPrivs"), "1");
    });
}

#[test]
fn a_child_dies_with_the_process_that_spawned_it() {
    isolated(|| {
        // B33, DEMANDS 1.6. The pipe ends when the last one that holds it is gone.
        for off_loop in [false, true] {
            let (alive, held) = pipe();
            let (ready, told) = pipe();
            // If all else fails, the child ends with this test.
            let (stdin, _unwritten) = pipe();
            let parent = forked(|| {
                let lp = new_loop();
                let copy = |fd: &OwnedFd| Stdio::from_fd(fd).unwrap();
                let mut command = Command::new("sh");
                command.args(["-c", "echo >&4; exec 4>&-; read line"]).stdin(copy(&stdin));
                command.stdout(copy(&held)).stdio(4, copy(&told));
                command.parent_death_signal(libc::SIGKILL);
                if off_loop {
                    command.spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap();
                } else {
                    command.spawn(&lp, |_, _| {}).unwrap();
                }
                lp.run(RunMode::Default).unwrap();
                0
            });
            drop((held, told));
            assert_ne!(poll_for(&ready, libc::POLLIN, 30_000), 0, "the child runs");
            assert_eq!(poll_for(&alive, libc::POLLIN, 0), 0);
            // SAFETY: a child of ours that nobody has waited for.
            unsafe {
                libc::kill(parent, libc::SIGKILL);
                libc::waitpid(parent, std::ptr::null_mut(), 0);
            }
            assert_ne!(poll_for(&alive, libc::POLLIN, 30_000), 0, "off_loop: {off_loop}");
        }
    });
}

/// pid, group, session and foreground group of the shell that says it (proc_pid_stat(5)).
fn standing(command: &mut Command) -> Vec<i32> {
    let text = says(command);
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

const STANDING: &str = "cut -d ' ' -f 1,5,6,8 /proc/$$/stat";

#[test]
fn the_process_group_is_the_parents_a_new_one_or_anothers() {
    isolated(|| {
        // SAFETY: asks for a number.
        let own = unsafe { libc::getpgrp() };
        assert_eq!(standing(&mut shell(STANDING))[1], own);
        let numbers = standing(shell(STANDING).process_group(0));
        assert_eq!(numbers[0], numbers[1]);
        let lp = new_loop();
        let (reader, _writer) = pipe();
        let mut command = Command::new("cat");
        command.stdin(reader).stdout(Stdio::null()).process_group(0);
        let leader = command.spawn(&lp, |_, _| {}).unwrap();
        assert_eq!(standing(shell(STANDING).process_group(leader.pid()))[1], leader.pid());
        leader.kill_group(libc::SIGKILL).unwrap();
        run(&lp);
        assert!(children().is_empty());
    });
}

/// A new terminal: our side and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let nothing = std::ptr::null_mut();
    // SAFETY: two numbers come out, which are new and ours; nothing else is asked for.
    unsafe {
        let done = libc::openpty(&mut ours, &mut theirs, nothing, nothing.cast(), nothing.cast());
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

#[test]
fn a_child_may_have_a_controlling_terminal() {
    isolated(|| {
        let (master, slave) = terminal();
        let name = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        let lp = new_loop();
        let mut command = shell(&format!("{STANDING}; tty <&2; echo seen >/dev/tty"));
        command.stderr(Stdio::from_fd(&slave).unwrap()).controlling_terminal(2);
        let (text, exit) = output(&lp, &mut command);
        assert!(exit.success(), "{exit}: {text}");
        let (numbers, tty) = text.trim().split_once('\n').unwrap();
        let numbers: Vec<i32> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{text}");
        assert_eq!(tty, name.to_str().unwrap());
        // Through /dev/tty, which is the controlling one.
        let mut bytes = [0; 16];
        let length = std::io::Read::read(&mut File::from(master), &mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"seen\r\n");
    });
}

#[test]
fn a_group_may_be_put_into_the_foreground() {
    isolated(|| {
        // Only a process whose controlling terminal it is may do that, so one is made.
        let (_master, slave) = terminal();
        let foreground = slave.try_clone().unwrap();
        let status = forked(move || {
            // SAFETY: one thread; the terminal is nobody's.
            unsafe {
                assert!(libc::setsid() > 0);
                assert_eq!(libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0), 0);
            }
            let mut command = shell(STANDING);
            command.process_group(0).foreground(&foreground).unwrap();
            let numbers = standing(&mut command);
            assert_eq!(numbers[0], numbers[1], "its own group");
            assert_eq!(numbers[3], numbers[0], "is in the foreground");
            0
        });
        let mut code = 0;
        // SAFETY: the status outlives the call.
        unsafe { libc::waitpid(status, &raw mut code, 0) };
        assert_eq!(code, 0);
    });
}

/// A new cgroup v2, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Cgroup> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })?;
        let path = root.join(format!("blacklight-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Cgroup(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its last processes may still be dying.
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_child_is_born_into_its_cgroup() {
    isolated(|| {
        let Some(cgroup) = Cgroup::new() else {
            return skip("there is no cgroup v2 that may be written to");
        };
        let mut command = Command::new("cat");
        command.arg("/proc/self/cgroup");
        command.cgroup(File::open(&cgroup.0).unwrap()).unwrap();
        let name = cgroup.0.file_name().unwrap().to_str().unwrap();
        let text = says(&mut command);
        assert!(text.lines().any(|line| line == format!("0::/{name}")), "{text}");
        // DEMANDS 1.5: all of it can be killed at once.
        let kill = cgroup.0.join("cgroup.kill");
        if !kill.exists() {
            return skip("cgroup.kill is not there (Linux 5.14)");
        }
        let lp = new_loop();
        let exits = Exits::new();
        let out = Pipe::new(&lp).unwrap();
        let (stdin, _hold) = pipe();
        let mut command = shell("exec 4<&0; setsid cat <&4 & cat <&4 & echo ready; exec cat <&4");
        command.stdin(stdin).stdout(Stdio::pipe(&out));
        command.cgroup(File::open(&cgroup.0).unwrap()).unwrap();
        command.spawn(&lp, exits.note()).unwrap();
        out.read_start(move |out, read| match read {
            Read::Data(_) => std::fs::write(&kill, "1").unwrap(),
            _ => out.close(),
        })
        .unwrap();
        run(&lp);
        assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn everything_at_once_takes_the_same_path_as_nothing() {
    isolated(|| {
        // DEMANDS 1.1: one fast path for all attributes.
        let lp = new_loop();
        Command::new("true").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let plain = lp.metrics();
        let mut command = Command::new("true");
        command.detached(true).umask(0o77).nice(1).no_new_privs(true).current_dir("/");
        command.parent_death_signal(libc::SIGKILL).env("A", "b").rlimit(Resource::Core, 0, 0);
        command.stdin(Stdio::null()).stdio(17, Stdio::null()).reset_all_signals(true);
        if crate::support::process::is_root() {
            command.uid(0).gid(0);
        }
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        run(&lp);
        let loaded = lp.metrics();
        assert_eq!(loaded.spawned_shared_memory, plain.spawned_shared_memory * 2);
        assert_eq!(loaded.spawned_vfork_page, plain.spawned_vfork_page * 2);
        assert_eq!(loaded.spawned_fork, plain.spawned_fork * 2);
        assert_eq!(loaded.spawn_fallbacks, plain.spawn_fallbacks * 2);
    });
}
