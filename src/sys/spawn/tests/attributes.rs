//! Every attribute, observed from a real child on each path.

use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::sync::Arc;

use super::*;
use crate::error::Error;
use crate::process::SpawnStep;

/// What the script says in a child with the attributes, the same on every path.
fn says(script: &str, set: impl Fn(&mut Attributes)) -> String {
    let mut before: Option<String> = None;
    for switches in main_positions() {
        let mut attributes = shell(script);
        set(&mut attributes);
        let (text, change, child) = output_of(attributes, &switches);
        assert_eq!(change, Change::Exited(0), "{switches:?}: {text}");
        assert_eq!(child.path, switches.path);
        if let Some(before) = &before {
            assert_eq!(&text, before, "{switches:?}");
        }
        before = Some(text);
    }
    before.unwrap().trim_end().to_owned()
}

#[test]
fn the_working_directory_is_the_childs() {
    assert_eq!(says("pwd", |a| a.cwd = Some(c"/usr/bin".into())), "/usr/bin");
}

#[test]
fn a_relative_program_is_relative_to_the_childs_directory() {
    for switches in main_positions() {
        let mut attributes = command(&["./sh", "-c", "echo here"]);
        attributes.cwd = Some(c"/bin".into());
        assert_eq!(output_of(attributes, &switches).0, "here\n");
    }
}

#[test]
fn the_environment_is_the_one_given() {
    let given = says("/usr/bin/env | /usr/bin/grep -v -e PWD -e SHLVL -e _=", |a| {
        a.envp = Some([c"A=1".into(), c"B=two words".into()].into());
    });
    assert_eq!(given, "A=1\nB=two words");
}

#[test]
fn without_an_environment_the_parents_is_inherited() {
    assert_eq!(says("echo $PATH", |_| {}), std::env::var("PATH").unwrap());
}

#[test]
fn the_name_and_the_arguments_are_passed_as_they_are() {
    for switches in main_positions() {
        let mut attributes =
            command(&["other name", "-c", "echo \"$0 $#: $1, [$2]\"", "zeroth", "a b", ""]);
        attributes.program = Program::Path(c"/bin/sh".into());
        assert_eq!(output_of(attributes, &switches).0, "zeroth 2: a b, []\n");
    }
}

#[test]
fn an_open_file_can_be_executed() {
    for switches in main_positions() {
        let mut attributes = shell("echo by descriptor; echo /proc/self/fd/*");
        let file = File::open("/bin/sh").unwrap();
        attributes.program = Program::Descriptor(file.into());
        let (text, ..) = output_of(attributes, &switches);
        assert!(text.starts_with("by descriptor\n"), "{text}");
        assert!(!text.contains("/fd/4"), "the program's descriptor stayed open: {text}");
    }
}

#[test]
fn a_script_without_interpreter_line_is_run_by_the_shell() {
    let directory = Scratch::new("plain-script");
    let script = directory.script("hello", "echo $0 $1\n");
    for switches in main_positions() {
        let text = output_of(command(&[&script, "x"]), &switches).0;
        assert_eq!(text, format!("{script} x\n"));
    }
}

#[test]
fn a_directory_of_the_path_that_denies_is_passed_over_but_remembered() {
    let (first, second) = (Scratch::new("denied-1"), Scratch::new("denied-2"));
    std::fs::write(first.path("tool"), "not executable").unwrap();
    let path = format!("PATH=/no/such:{}:{}", first.path(""), second.path(""));
    for switches in main_positions() {
        let mut attributes = command(&["tool"]);
        attributes.envp = Some([CString::new(path.clone()).unwrap()].into());
        let error = spawn(&attributes, &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::EACCES));
    }
    second.script("tool", "#!/bin/sh\necho found\n");
    for switches in main_positions() {
        let mut attributes = command(&["tool"]);
        attributes.envp = Some([CString::new(path.clone()).unwrap()].into());
        assert_eq!(output_of(attributes, &switches).0, "found\n");
    }
}

#[test]
fn a_program_that_is_being_written_is_tried_again_as_often_as_asked() {
    let directory = Scratch::new("busy");
    let program = directory.path("true");
    std::fs::copy("/bin/true", &program).unwrap();
    for switches in main_positions() {
        // Another process has it open, until its input ends.
        let writer = File::options().append(true).open(&program).unwrap();
        let mut cat = std::process::Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .stdout(writer)
            .spawn()
            .unwrap();
        let mut attributes = command(&[&program]);
        attributes.busy_retries = 0;
        let error = spawn(&attributes, &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ETXTBSY));
        // Whenever its end comes, the child is still trying, or only begins to.
        attributes.busy_retries = 1000;
        drop(cat.stdin.take());
        let child = spawn(&attributes, &switches).unwrap();
        assert_eq!(finish(&child), Change::Exited(0));
        cat.wait().unwrap();
    }
}

/// Session, group and pid of the child, from its stat line: pid (name) state ppid pgrp session.
const IDS: &str = "read p n s pp g se rest </proc/self/stat; echo $((g==p)) $((se==p))";

#[test]
fn session_and_group_are_the_parents_or_the_childs_own() {
    assert_eq!(says(IDS, |_| {}), "0 0");
    assert_eq!(says(IDS, |a| a.session = Session::New), "1 1");
    assert_eq!(says(IDS, |a| a.process_group = Some(0)), "1 0");
}

#[test]
fn a_terminal_becomes_the_controlling_one_and_its_foreground_group_the_childs() {
    for switches in main_positions() {
        let (controller, terminal) = terminal();
        let mut attributes =
            shell("read p n s pp g se tty fg rest </proc/self/stat; echo $((tty!=0)) $((fg==g))");
        attributes.session = Session::WithTerminal(5);
        attributes.slots.push(slot(5, Source::Owned(terminal)));
        attributes.foreground = Some(Source::SameAs(5));
        assert_eq!(output_of(attributes, &switches).0, "1 1\n", "{switches:?}");
        drop(controller);
    }
}

#[test]
fn a_terminal_that_is_no_slot_can_be_taken_to_the_foreground() {
    for switches in main_positions() {
        let (_controller, terminal) = terminal();
        let terminal = Arc::new(terminal);
        let mut attributes =
            shell("read p n s pp g se tty fg rest </proc/self/stat; echo $((fg==g))");
        attributes.session = Session::WithTerminal(0);
        attributes.slots.push(slot(0, Source::Shared(terminal.clone())));
        // A slot on the terminal's own number, so that it has to be moved out of the way.
        let own = terminal.as_raw_fd() as u32;
        attributes.slots.push(slot(own, Source::Ignore));
        attributes.slots.push(slot(own + 1, Source::SameAs(0)));
        attributes.foreground = Some(Source::Shared(terminal));
        assert_eq!(output_of(attributes, &switches).0, "1\n", "{switches:?}");
    }
}

#[test]
fn nice_limits_affinity_and_umask_are_set() {
    assert_eq!(says("nice", |a| a.nice = Some(7)), "7");
    assert_eq!(says("umask", |a| a.umask = Some(0o027)), "0027");
    let limit = |resource, soft, hard| Limit { resource, soft, hard };
    let limits = says("ulimit -Sn; ulimit -Hn; ulimit -c", |a| {
        a.rlimits = vec![limit(libc::RLIMIT_NOFILE, 100, 200), limit(libc::RLIMIT_CORE, 0, 0)];
    });
    assert_eq!(limits, "100\n200\n0");
    let processors =
        says("grep Cpus_allowed_list /proc/self/status", |a| a.affinity = Some(vec![1; 8]));
    assert_eq!(processors, "Cpus_allowed_list:\t0");
}

#[test]
fn user_and_groups_are_set() {
    if !is_root() {
        return;
    }
    let ids = |set: fn(&mut Attributes)| says("id -u; id -g; id -G", set);
    assert_eq!(ids(|a| (a.uid, a.gid) = (Some(1234), Some(2345))), "1234\n2345\n2345");
    assert_eq!(ids(|a| a.groups = Groups::Set(vec![7, 8])), "0\n0\n0 7 8");
    assert_eq!(ids(|a| a.groups = Groups::Clear), "0\n0\n0");
    let all = ids(|a| {
        (a.uid, a.gid) = (Some(1234), Some(2345));
        a.groups = Groups::Set(vec![77]);
    });
    assert_eq!(all, "1234\n2345\n2345 77");
}

#[test]
fn groups_are_cleared_with_a_new_user_unless_they_are_to_be_kept() {
    if !is_root() {
        return;
    }
    isolated(|| {
        // SAFETY: the list is read during the call; the process is this test's own.
        assert_eq!(unsafe { libc::setgroups(2, [55, 56].as_ptr()) }, 0);
        let groups = |set: fn(&mut Attributes)| says("grep Groups /proc/self/status", set);
        assert_eq!(groups(|a| a.uid = Some(1234)), "Groups:");
        assert_eq!(groups(|_| {}), "Groups:\t55 56");
        let kept = groups(|a| (a.uid, a.groups) = (Some(1234), Groups::Keep));
        assert_eq!(kept, "Groups:\t55 56");
    });
}

#[test]
fn the_parent_stays_dumpable_after_a_child_with_another_user() {
    if !is_root() {
        return;
    }
    isolated(|| {
        // SAFETY: a prctl that takes no pointer.
        let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        for before in [1, 0] {
            // SAFETY: as above; the process is this test's own.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, before) }, 0);
            says("true", |a| a.uid = Some(1234));
            assert_eq!(dumpable(), before);
            for switches in main_positions() {
                let mut attributes = command(&["/no/such/program"]);
                attributes.uid = Some(1234);
                spawn(&attributes, &switches).unwrap_err();
            }
            assert_eq!(dumpable(), before);
        }
    });
}

#[test]
fn the_parent_stays_dumpable_when_several_threads_spawn_with_another_user() {
    if !is_root() {
        return;
    }
    isolated(|| {
        let spawning = || {
            for _ in 0..100 {
                let mut attributes = command(&["/no/such/program"]);
                attributes.uid = Some(1234);
                spawn(&attributes, &Switches::default()).unwrap_err();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(spawning);
            }
        });
        // SAFETY: a prctl that takes no pointer.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 1);
    });
}

#[test]
fn no_new_privs_is_set_when_asked_for() {
    let script = "grep NoNewPrivs /proc/self/status";
    assert_eq!(says(script, |a| a.no_new_privs = true), "NoNewPrivs:\t1");
    assert_eq!(says(script, |_| {}), "NoNewPrivs:\t0");
}

#[test]
fn dispositions_are_default_and_the_mask_is_the_one_given() {
    isolated(|| {
        // SAFETY: dispositions and mask of a process that is this test's own.
        unsafe {
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            libc::signal(libc::SIGRTMIN(), libc::SIG_IGN);
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut all, libc::SIGUSR2);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        }
        let seen = says("grep -E 'Sig(Blk|Ign)' /proc/self/status", |_| {});
        assert_eq!(seen, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
        for switches in main_positions() {
            // Not through the shell, which unblocks everything.
            let mut attributes = command(&["grep", "SigBlk", "/proc/self/status"]);
            attributes.signal_mask = 0x8000_0000_0000_0202;
            assert_eq!(output_of(attributes, &switches).0, "SigBlk:\t8000000000000202\n");
        }
        let all = says("grep SigIgn /proc/self/status", |a| a.reset_signals = ResetSignals::All);
        assert_eq!(all, "SigIgn:\t0000000000000000");
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(own.contains("SigBlk:\t0000000000000800"), "our mask was not restored: {own}");
    });
}

#[test]
fn a_signal_ignored_since_the_first_look_is_reset_by_all_or_by_another_spawner() {
    isolated(|| {
        let mut spawner = Spawner::new();
        let mut run = |reset, anew: bool| {
            let mut attributes = shell("grep -q 'SigIgn.*0000000000000001$' /proc/self/status");
            attributes.reset_signals = reset;
            if anew {
                spawner = Spawner::new();
            }
            finish(&spawner.spawn(&attributes, &Switches::default()).unwrap())
        };
        assert_eq!(run(ResetSignals::Ignored, false), Change::Exited(1));
        // SAFETY: a disposition of a process that is this test's own.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        // The older clone needs all of them reset anyway.
        let stays = if probe::CLONE3.may_be() { 0 } else { 1 };
        assert_eq!(run(ResetSignals::Ignored, false), Change::Exited(stays));
        assert_eq!(run(ResetSignals::All, false), Change::Exited(1));
        assert_eq!(run(ResetSignals::Ignored, true), Change::Exited(1));
    });
}

#[test]
fn the_parent_death_signal_follows_the_thread_that_spawned() {
    for switches in main_positions() {
        let thread = std::thread::spawn(move || {
            let mut attributes = command(&["/bin/sleep", "20"]);
            attributes.parent_death_signal = Some(libc::SIGKILL);
            attributes.uid = is_root().then_some(1234);
            spawn(&attributes, &switches).unwrap()
        });
        let killed = Change::Killed { signal: libc::SIGKILL, core_dumped: false };
        assert_eq!(finish(&thread.join().unwrap()), killed);
    }
}

#[test]
fn a_child_whose_parent_is_gone_already_kills_itself() {
    for switches in main_positions() {
        let switches = Switches { pose_as: Some(1), ..switches };
        let mut attributes = command(&["/bin/sleep", "20"]);
        attributes.parent_death_signal = Some(libc::SIGTERM);
        let child = spawn(&attributes, &switches).unwrap();
        let killed = Change::Killed { signal: libc::SIGTERM, core_dumped: false };
        assert_eq!(finish(&child), killed, "{switches:?}");
    }
}

#[test]
fn a_child_is_born_into_its_cgroup_or_goes_there_itself() {
    let Some(cgroup) = Cgroup::new("blacklight-test") else { return };
    for switches in main_positions() {
        for clone3 in [true, false] {
            let switches = Switches { clone3: clone3 && switches.clone3, ..switches };
            let mut attributes = shell("grep ^0:: /proc/self/cgroup");
            attributes.cgroup = Some(cgroup.open());
            let (text, _, child) = output_of(attributes, &switches);
            assert!(text.contains("/blacklight-test-"), "{text}");
            let is_written = child.fallbacks.contains(Fallbacks::CGROUP_WRITTEN);
            let is_clone3 = switches.clone3 && probe::CLONE3.may_be();
            assert_eq!(is_written, !is_clone3 || switches.path == SpawnPath::Fork);
        }
    }
}
