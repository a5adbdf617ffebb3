//! The reaper of orphans, for a program that is PID 1 or a subreaper.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::channel;

use blacklight::prelude::*;
use blacklight::{Reaper, become_subreaper};

use crate::support::process::{
    Exits, new_loop, pidfd_of, pipe, run, shell, until, until_dead, until_reaped,
};
use crate::support::{children, isolated};

type Reports = Rc<RefCell<Vec<(i32, Exit)>>>;

/// A started reaper that does not keep the loop alive, and what it reports.
fn reaper(lp: &EventLoop) -> (Reaper, Reports) {
    become_subreaper(true).unwrap();
    let reaper = Reaper::new(lp).unwrap();
    let reports = Reports::default();
    let list = reports.clone();
    reaper.start(move |_, pid, exit| list.borrow_mut().push((pid, exit))).unwrap();
    (reaper, reports)
}

/// A process that was orphaned to us, and the end of the pipe that it waits for.
fn orphan(lp: &EventLoop, code: i32) -> (i32, std::os::fd::OwnedFd) {
    let (stdin, writer) = pipe();
    let exits = Exits::new();
    let script = format!("exec 4<&0; (read line; exit {code}) <&4 >/dev/null & echo $!");
    let out = Pipe::new(lp).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(stdin).stdout(Stdio::pipe(&out));
    command.spawn(lp, exits.note()).unwrap();
    let pid = Rc::new(std::cell::Cell::new(0));
    let told = pid.clone();
    out.read_start(move |out, read| match read {
        Read::Data(bytes) => told.set(std::str::from_utf8(bytes).unwrap().trim().parse().unwrap()),
        _ => out.close(),
    })
    .unwrap();
    // Its own reaper, if there is one, is not referenced and does not hold this up.
    run(lp);
    assert!(exits.one().success());
    until(|| children().iter().any(|(child, _)| *child == pid.get()));
    (pid.get(), writer)
}

#[test]
fn an_orphan_of_a_descendant_is_reported() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, reports) = reaper(&lp);
        reaper.unreference();
        let (pid, writer) = orphan(&lp, 7);
        assert!(reports.borrow().is_empty());
        drop(writer);
        reaper.reference();
        let list = reports.clone();
        reaper
            .start(move |reaper, pid, exit| {
                list.borrow_mut().push((pid, exit));
                reaper.close();
            })
            .unwrap();
        run(&lp);
        let reports = reports.borrow();
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].0, reports[0].1.code()), (pid, Some(7)));
        assert!(reports[0].1.usage.is_some());
        assert!(children().is_empty());
    });
}

#[test]
fn children_of_the_same_loop_are_left_to_their_handles() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, reports) = reaper(&lp);
        reaper.unreference();
        let exits = Exits::new();
        for round in 0..5 {
            for code in 0..20 {
                shell(&format!("exit {code}")).spawn(&lp, exits.note()).unwrap();
            }
            // A failed child is no stranger either.
            assert!(Command::new("/nonexistent").spawn(&lp, |_, _| {}).is_err());
            run(&lp);
            assert_eq!(exits.get().len(), 20 * (round + 1));
        }
        assert!(exits.get().iter().all(|(_, exit)| exit.code().is_some()));
        assert!(reports.borrow().is_empty());
    });
}

#[test]
fn children_of_a_loop_in_another_thread_are_left_to_it() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, reports) = reaper(&lp);
        let (done, finished) = channel();
        let other = std::thread::spawn(move || {
            let lp = new_loop();
            let exits = Exits::new();
            for i in 0..200 {
                shell(&format!("exit {}", i % 100)).spawn(&lp, exits.note()).unwrap();
                if i % 10 == 9 {
                    run(&lp);
                }
            }
            done.send(()).unwrap();
            exits.get().iter().filter(|(_, exit)| exit.usage.is_some()).count()
        });
        let (pid, writer) = {
            reaper.unreference();
            let orphan = orphan(&lp, 5);
            reaper.reference();
            orphan
        };
        drop(writer);
        // The reaper keeps looking for as long as the other loop spawns.
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            finished.try_recv().is_ok()
        });
        assert_eq!(other.join().unwrap(), 200, "all waited for by their own loop");
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            !reports.borrow().is_empty()
        });
        let found: Vec<_> =
            reports.borrow().iter().map(|(pid, exit)| (*pid, exit.code())).collect();
        assert_eq!(found, [(pid, Some(5))]);
    });
}

#[test]
fn a_dead_child_of_a_loop_that_does_not_run_hides_no_orphan() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, reports) = reaper(&lp);
        reaper.unreference();
        // An older child, dead, of a loop that has other things to do.
        let idle = new_loop();
        let exits = Exits::new();
        let process = shell("exit 1").spawn(&idle, exits.note()).unwrap();
        until_dead(&pidfd_of(process.pid()));
        let (pid, writer) = orphan(&lp, 6);
        let pidfd = pidfd_of(pid);
        drop(writer);
        until_dead(&pidfd);
        reaper.reference();
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            !reports.borrow().is_empty()
        });
        assert_eq!(reports.borrow()[0].0, pid);
        run(&idle);
        assert_eq!(exits.one().code(), Some(1));
    });
}

#[test]
fn closed_processes_are_reaped_and_not_reported_as_orphans() {
    isolated(|| {
        let lp = new_loop();
        let (_reaper, reports) = reaper(&lp);
        let (stdin, writer) = pipe();
        let mut command = Command::new("cat");
        let process = command.stdin(stdin).stdout(Stdio::null()).spawn(&lp, |_, _| {}).unwrap();
        drop(command);
        let pidfd = pidfd_of(process.pid());
        process.close();
        drop(writer);
        until_dead(&pidfd);
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            children().is_empty()
        });
        assert!(reports.borrow().is_empty());
    });
}

#[test]
fn a_stopped_reaper_leaves_orphans_to_others() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, reports) = reaper(&lp);
        reaper.stop();
        assert!(!reaper.is_active() && !lp.is_alive());
        let (pid, writer) = orphan(&lp, 0);
        let pidfd = pidfd_of(pid);
        drop(writer);
        until_dead(&pidfd);
        lp.run(RunMode::NoWait).unwrap();
        assert!(children().contains(&(pid, 'Z')), "nobody waits for it");
        let list = reports.clone();
        reaper
            .start(move |reaper, pid, exit| {
                list.borrow_mut().push((pid, exit));
                reaper.stop();
            })
            .unwrap();
        run(&lp);
        assert_eq!(reports.borrow().len(), 1);
        until_reaped(pid, &pidfd);
        reaper.close();
        assert_eq!(reaper.start(|_, _, _| {}), Err(blacklight::Error::EINVAL));
        run(&lp);
    });
}

#[test]
fn a_panic_in_the_callback_stops_the_reaper() {
    isolated(|| {
        let lp = new_loop();
        let (reaper, _) = reaper(&lp);
        reaper.stop();
        let (_, writer) = orphan(&lp, 0);
        drop(writer);
        reaper.start(|_, _, _| panic!("on purpose")).unwrap();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&lp)));
        assert!(ran.is_err() && !reaper.is_active());
        run(&lp);
        assert!(children().is_empty(), "it had been waited for");
    });
}
