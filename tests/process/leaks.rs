//! Nothing is left over: descriptors, zombies, threads, whatever was spawned and how it ended.

use blacklight::prelude::*;

use crate::support::process::{Exits, Scratch, collect, new_loop, run, shell, until};
use crate::support::{children, isolated, open_fds};

/// One spawn of the `i`th kind.
fn spawn(lp: &EventLoop, dir: &Scratch, i: usize, exits: &Exits) {
    let (one, other) = (Pipe::new(lp).unwrap(), Pipe::new(lp).unwrap());
    let mut command = shell("echo text; exit 3");
    command.stderr(Stdio::null());
    match i % 10 {
        0 => {
            command.stdout(Stdio::pipe(&one)).spawn(lp, exits.note()).unwrap();
            collect(&one);
        }
        1 => {
            let mut cat = Command::new("cat");
            cat.stdin(Stdio::pipe(&one)).stdout(Stdio::pipe(&other).socket());
            cat.spawn(lp, exits.note()).unwrap();
            one.write_and_forget("text").unwrap();
            one.close();
            collect(&other);
        }
        // Failures: in the parent, in the child's directory, at exec.
        2 => {
            command.stdout(Stdio::pipe(&one)).stdio(7, Stdio::read_file("/nonexistent"));
            assert!(command.spawn(lp, exits.note()).is_err());
        }
        3 => {
            command.stdout(Stdio::pipe(&one)).current_dir("/nonexistent");
            assert!(command.spawn(lp, exits.note()).is_err());
        }
        4 => {
            let mut command = Command::new("/nonexistent");
            command.stdout(Stdio::pipe(&one)).stdio(60, Stdio::pipe(&other));
            assert!(command.spawn(lp, exits.note()).is_err());
        }
        5 => {
            command.stdout(Stdio::write_file(dir.join("out"))).inherit_unlisted(true);
            command.spawn(lp, exits.note()).unwrap();
        }
        6 => {
            command.stdout(Stdio::pipe(&one)).stderr(Stdio::same_as(1));
            command.spawn_off_loop(lp, |_, result| result.unwrap(), exits.note()).unwrap();
        }
        7 => {
            let mut command = Command::new("/nonexistent");
            command.stdout(Stdio::pipe(&one));
            command.spawn_off_loop(lp, |_, result| assert!(result.is_err()), exits.note()).unwrap();
        }
        8 => command.stdout(Stdio::null()).spawn(lp, exits.note()).unwrap().close(),
        _ => {
            command.stdout(Stdio::null());
            command.spawn_off_loop(lp, |_, _| {}, exits.note()).unwrap().close();
        }
    }
}

fn many(rounds: usize) {
    let lp = new_loop();
    let (dir, exits) = (Scratch::new(), Exits::new());
    for i in 0..rounds {
        spawn(&lp, &dir, i, &exits);
        if i % 7 == 0 {
            run(&lp);
        }
    }
    run(&lp);
    // Of ten kinds four are reported: 0, 1, 5 and 6.
    assert_eq!(exits.get().len(), rounds / 10 * 4);
    drop(lp);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn two_hundred_spawns_of_all_kinds_leave_nothing() {
    isolated(|| {
        let threads_before = threads();
        many(10);
        until(|| children().is_empty() && threads() == threads_before);
        let before = open_fds();
        many(200);
        until(|| children().is_empty() && threads() == threads_before);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn four_threads_with_a_loop_each_do_not_disturb_each_other() {
    isolated(|| {
        let threads_before = threads();
        many(10);
        until(|| children().is_empty() && threads() == threads_before);
        let before = open_fds();
        let loops: Vec<_> = (0..4).map(|_| std::thread::spawn(|| many(100))).collect();
        loops.into_iter().for_each(|thread| thread.join().unwrap());
        until(|| children().is_empty() && threads() == threads_before);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_hundred_loops_that_spawn_leave_nothing() {
    isolated(|| {
        let once = || {
            let lp = new_loop();
            let exits = Exits::new();
            shell("exit 1").spawn(&lp, exits.note()).unwrap();
            run(&lp);
            assert_eq!(exits.one().code(), Some(1));
        };
        once();
        let before = (open_fds(), threads());
        (0..100).for_each(|_| once());
        assert_eq!((open_fds(), threads()), before);
    });
}

#[test]
fn every_descriptor_of_a_loop_is_close_on_exec() {
    isolated(|| {
        // B12: other code may spawn at any time.
        let inherited = || {
            let listed = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(listed.stdout).unwrap()
        };
        // Whoever started the tests may have left some open.
        let before = inherited();
        let lp = new_loop();
        let exits = Exits::new();
        let (out, stdin) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let mut command = Command::new("cat");
        command.stdin(Stdio::pipe(&stdin).duplex()).stdout(Stdio::pipe(&out));
        let process = command.spawn(&lp, exits.note()).unwrap();
        process.on_stop(|_, _| {}).unwrap();
        shell("exit 0").spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap();
        assert_eq!(inherited(), before);
        stdin.close();
        collect(&out);
        run(&lp);
        assert!(exits.one().success());
    });
}
