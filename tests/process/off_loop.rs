//! Spawning on the thread beside the loop.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Groups, SpawnError, SpawnStep};

use crate::support::process::{
    Exits, collect, is_root, new_loop, pipe, poll_for, run, shell, skip, until,
};
use crate::support::{Log, children, isolated, open_fds};

type Outcome = Rc<RefCell<Vec<Result<(), SpawnError>>>>;

fn noting(outcome: &Outcome) -> impl FnOnce(&Process, Result<(), SpawnError>) + 'static {
    let outcome = outcome.clone();
    move |_, result| outcome.borrow_mut().push(result)
}

/// A child whose standard output is the end of a pipe that nobody else holds: what is returned
/// ends when the child has ended, and all it left behind.
fn until_closed(script: &str) -> (Command, OwnedFd) {
    let (reader, writer) = pipe();
    let mut command = shell(script);
    command.stdout(writer);
    (command, reader)
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn the_outcome_comes_from_the_loop_and_before_the_exit() {
    isolated(|| {
        let lp = new_loop();
        let log = Log::new();
        let (spawned, ended) = (log.clone(), log.clone());
        let process = shell("exit 3")
            .spawn_off_loop(
                &lp,
                move |process, result| {
                    assert!(process.pid() > 0 && process.is_active());
                    spawned.add(format!("{result:?}"));
                },
                move |_, exit| ended.add(exit.to_string()),
            )
            .unwrap();
        assert_eq!(process.pid(), 0, "not known yet");
        assert!(process.is_active() && process.pidfd().is_none());
        assert!(log.take().is_empty());
        run(&lp);
        assert_eq!(log.take(), ["Ok(())", "exit code 3"]);
        assert!(process.pid() > 0 && !process.is_active());
        assert!(children().is_empty());
    });
}

#[test]
fn pipes_work_as_with_the_other_way_of_spawning() {
    isolated(|| {
        let lp = new_loop();
        let (stdin, out) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let text = Rc::new(RefCell::new(None));
        let (input, reader, read) = (stdin.clone(), out.clone(), text.clone());
        Command::new("cat")
            .stdin(Stdio::pipe(&stdin))
            .stdout(Stdio::pipe(&out))
            .spawn_off_loop(
                &lp,
                move |_, result| {
                    result.unwrap();
                    *read.borrow_mut() = Some(collect(&reader));
                    input.write_and_forget("there and back").unwrap();
                    input.shutdown(|input, _| input.close()).unwrap();
                },
                |_, exit| assert!(exit.success()),
            )
            .unwrap();
        assert!(!out.is_readable(), "open when the child runs");
        run(&lp);
        assert_eq!(text.borrow().as_ref().unwrap().get(), "there and back");
    });
}

#[test]
fn a_failure_names_the_step_and_leaves_nothing() {
    isolated(|| {
        let lp = new_loop();
        let outcome = Outcome::default();
        let never = |_: &Process, _: Exit| panic!("there was no process");
        shell("exit 0").spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap();
        run(&lp);
        let before = open_fds();
        let out = Pipe::new(&lp).unwrap();
        let mut command = Command::new("/nonexistent");
        command.stdout(Stdio::pipe(&out));
        let process = command.spawn_off_loop(&lp, noting(&outcome), never).unwrap();
        command.current_dir("/nonexistent");
        command.spawn_off_loop(&lp, noting(&outcome), never).unwrap();
        run(&lp);
        let expected = [SpawnStep::Exec, SpawnStep::Chdir]
            .map(|step| Err(SpawnError::new(step, Error::ENOENT)));
        assert_eq!(*outcome.borrow(), expected);
        assert_eq!((process.pid(), process.is_active()), (0, false));
        assert_eq!(process.kill(9), Err(Error::ESRCH));
        assert!(!out.is_readable() && children().is_empty());
        assert_eq!(open_fds(), before);
        // What can be told without a process is told at once.
        let error = Command::new("a\0b").spawn_off_loop(&lp, |_, _| panic!("at once"), never);
        assert_eq!(error.unwrap_err().step(), SpawnStep::Program);
    });
}

#[test]
fn signals_wait_for_the_child() {
    isolated(|| {
        let lp = new_loop();
        let (outcome, exits) = (Outcome::default(), Exits::new());
        let (reader, _stdin) = pipe();
        let mut command = Command::new("cat");
        command.stdin(reader).stdout(Stdio::null());
        let process = command.spawn_off_loop(&lp, noting(&outcome), exits.note()).unwrap();
        assert_eq!(process.kill(0), Ok(()));
        assert_eq!(process.kill(libc::SIGKILL), Ok(()), "kept");
        assert_eq!(process.kill(-1), Err(Error::EINVAL));
        assert_eq!(process.kill_group(libc::SIGKILL), Err(Error::EBUSY));
        run(&lp);
        assert_eq!(*outcome.borrow(), [Ok(())]);
        assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn closing_while_it_is_spawned_cancels_the_report_and_reaps_the_child() {
    isolated(|| {
        let lp = new_loop();
        let outcome = Outcome::default();
        let (mut command, ended) = until_closed("read line; exit 0");
        let (stdin, hold) = pipe();
        let never = |_: &Process, _: Exit| panic!("it was closed");
        let process = command.stdin(stdin).spawn_off_loop(&lp, noting(&outcome), never).unwrap();
        let killed = process.clone();
        process.close();
        assert_eq!(killed.kill(libc::SIGKILL), Err(Error::ESRCH));
        drop(command);
        assert!(outcome.borrow().is_empty(), "not from inside close");
        run(&lp);
        let canceled = SpawnError::new(SpawnStep::Thread, Error::ECANCELED);
        assert_eq!(*outcome.borrow(), [Err(canceled)]);
        assert!(process.is_closed());
        // The child is there for all that, and is nobody's zombie when it ends.
        drop(hold);
        assert_ne!(poll_for(&ended, libc::POLLIN, 30_000), 0);
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            children().is_empty()
        });
    });
}

#[test]
fn a_signal_that_was_kept_reaches_a_child_whose_handle_was_closed() {
    isolated(|| {
        let lp = new_loop();
        let (mut command, ended) = until_closed("read line");
        let (stdin, _hold) = pipe();
        let process = command.stdin(stdin).spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap();
        process.kill(libc::SIGKILL).unwrap();
        process.close();
        drop(command);
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            poll_for(&ended, libc::POLLIN, 1) != 0 && children().is_empty()
        });
    });
}

#[test]
fn a_loop_dropped_while_spawning_leaves_no_zombie_no_descriptor_and_no_thread() {
    isolated(|| {
        let lp = new_loop();
        shell("exit 0").spawn_off_loop(&lp, |_, _| {}, |_, _| {}).unwrap();
        run(&lp);
        drop(lp);
        until(|| threads() == baseline_threads());
        let before = open_fds();
        let token = Rc::new(());
        let lp = new_loop();
        let mut ends = Vec::new();
        for _ in 0..10 {
            let out = Pipe::new(&lp).unwrap();
            let (mut command, ended) = until_closed("exit 0");
            let (spawned, exited) = (token.clone(), token.clone());
            command.stdio(3, Stdio::pipe(&out));
            let on_spawned = move |_: &Process, _| drop(spawned.clone());
            let on_exit = move |_: &Process, _: Exit| drop(exited.clone());
            command.spawn_off_loop(&lp, on_spawned, on_exit).unwrap();
            ends.push(ended);
        }
        drop(lp);
        assert_eq!(Rc::strong_count(&token), 1, "closures are dropped with the loop");
        for ended in ends {
            assert_ne!(poll_for(&ended, libc::POLLIN, 30_000), 0);
        }
        until(|| children().is_empty() && threads() == baseline_threads());
        assert_eq!(open_fds(), before);
    });
}

/// The test's own thread, and the runner's where it has one.
fn baseline_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    names
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| !name.starts_with("blacklight"))
        .count()
        .max(1)
}

#[test]
fn the_spawner_thread_lives_as_long_as_the_loop() {
    isolated(|| {
        // B33: the parent-death signal follows the thread.
        let lp = new_loop();
        let (mut command, ended) = until_closed("read line");
        let (stdin, _hold) = pipe();
        command.stdin(stdin).parent_death_signal(libc::SIGKILL);
        let ready = Rc::new(Cell::new(false));
        let told = ready.clone();
        let on_spawned = move |process: &Process, result: Result<(), _>| {
            result.unwrap();
            told.set(true);
            process.event_loop().stop();
        };
        command.spawn_off_loop(&lp, on_spawned, |_, _| {}).unwrap();
        drop(command);
        lp.run(RunMode::Default).unwrap();
        assert!(ready.get());
        assert_eq!(poll_for(&ended, libc::POLLIN, 0), 0, "it lives while the loop does");
        drop(lp);
        assert_ne!(poll_for(&ended, libc::POLLIN, 30_000), 0, "and not longer");
        until(|| children().is_empty() && threads() == baseline_threads());
    });
}

#[test]
fn a_hundred_are_spawned_while_the_loop_goes_on() {
    isolated(|| {
        let lp = new_loop();
        let (outcome, exits) = (Outcome::default(), Exits::new());
        for i in 0..100 {
            let command = &mut shell(&format!("exit {i}"));
            if i % 10 == 0 {
                *command = Command::new("/nonexistent");
            }
            command.spawn_off_loop(&lp, noting(&outcome), exits.note()).unwrap();
        }
        run(&lp);
        let failed = |result: &&Result<(), SpawnError>| result.is_err();
        assert_eq!(outcome.borrow().len(), 100);
        assert_eq!(outcome.borrow().iter().filter(failed).count(), 10);
        let mut codes: Vec<i32> =
            exits.get().iter().map(|(_, exit)| exit.code().unwrap()).collect();
        codes.sort_unstable();
        let expected: Vec<i32> = (0..100).filter(|i| i % 10 != 0).collect();
        assert_eq!(codes, expected);
        assert!(children().is_empty());
    });
}

#[test]
fn both_ways_of_spawning_can_be_mixed_with_other_users() {
    isolated(|| {
        if !is_root() {
            return skip("only root can spawn as somebody else");
        }
        let lp = new_loop();
        let exits = Exits::new();
        let mut command = Command::new("sh");
        command.args(["-c", "exit $(id -u)"]).uid(77).gid(77).groups(Groups::Clear);
        for _ in 0..20 {
            command.spawn_off_loop(&lp, |_, result| result.unwrap(), exits.note()).unwrap();
            command.spawn(&lp, exits.note()).unwrap();
        }
        run(&lp);
        assert_eq!(exits.get().len(), 40);
        assert!(exits.get().iter().all(|(_, exit)| exit.code() == Some(77)));
    });
}

#[test]
fn a_panic_in_the_outcome_callback_loses_neither_the_exit_nor_the_others() {
    isolated(|| {
        let lp = new_loop();
        let (outcome, exits) = (Outcome::default(), Exits::new());
        let (command, ended) = until_closed("exit 1");
        command.spawn_off_loop(&lp, |_, _| panic!("on purpose"), exits.note()).unwrap();
        drop(command);
        // It is dead before the loop has heard that it lives.
        assert_ne!(poll_for(&ended, libc::POLLIN, 30_000), 0);
        shell("exit 2").spawn_off_loop(&lp, noting(&outcome), exits.note()).unwrap();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&lp)));
        assert!(ran.is_err());
        run(&lp);
        assert_eq!(*outcome.borrow(), [Ok(())]);
        let mut codes: Vec<_> = exits.get().iter().map(|(_, exit)| exit.code()).collect();
        codes.sort();
        assert_eq!(codes, [Some(1), Some(2)]);
    });
}
