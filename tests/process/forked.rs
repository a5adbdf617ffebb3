//! fork(2): a forked child and its parent keep their hands off each other's children.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, SpawnStep};

use crate::support::process::{Exits, in_fork, new_loop, pidfd_of, pipe, run, shell, until_dead};
use crate::support::{children, isolated};

/// A child that ends with code 9 when the returned end is closed.
fn waiting(lp: &EventLoop, exits: &Exits) -> (Process, OwnedFd) {
    let (reader, writer) = pipe();
    let mut command = Command::new("sh");
    command.args(["-c", "read line; exit 9"]).stdin(reader);
    (command.spawn(lp, exits.note()).unwrap(), writer)
}

#[test]
fn a_forked_process_with_a_loop_of_its_own_leaves_the_parents_children_alone() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (dead, stdin) = waiting(&lp, &exits);
        drop(stdin);
        until_dead(&pidfd_of(dead.pid()));
        let (alive, stdin) = waiting(&lp, &exits);
        in_fork(|| {
            let lp = new_loop();
            let exits = Exits::new();
            shell("exit 4").spawn(&lp, exits.note()).unwrap();
            run(&lp);
            assert_eq!(exits.one().code(), Some(4));
            // The copies of the parent's handles do nothing here.
            dead.close();
            alive.close();
            assert!(children().is_empty());
            0
        });
        assert_eq!(children().len(), 2, "one dead, one alive, both still ours");
        drop(stdin);
        run(&lp);
        let codes: Vec<_> = exits.get().iter().map(|(pid, exit)| (*pid, exit.code())).collect();
        assert_eq!(codes, [(dead.pid(), Some(9)), (alive.pid(), Some(9))]);
    });
}

#[test]
fn a_loop_dropped_in_a_forked_process_takes_nothing_from_the_parent() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (_process, stdin) = waiting(&lp, &exits);
        // SAFETY: one thread; the child ends below.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            drop(lp);
            // SAFETY: ends the process without running the parent's destructors again.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        drop(stdin);
        run(&lp);
        assert_eq!(exits.one().code(), Some(9));
    });
}

#[test]
fn a_loop_carried_over_a_fork_spawns_nothing_until_it_is_told() {
    isolated(|| {
        let lp = new_loop();
        in_fork(|| {
            let error = shell("exit 0").spawn(&lp, |_, _| {}).unwrap_err();
            assert_eq!(error.error(), Error::ESTALE);
            let on_spawned = |_: &Process, _| {};
            let error = shell("exit 0").spawn_off_loop(&lp, on_spawned, |_, _| {}).unwrap_err();
            assert_eq!(error.error(), Error::ESTALE);
            assert!(Process::adopt(&lp, unsafe_parent(), |_, _| {}).is_err());
            assert!(children().is_empty());
            0
        });
    });
}

fn unsafe_parent() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::getppid() }
}

#[test]
fn after_fork_the_parents_children_are_not_reported_and_keep_nothing_alive() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (dead, stdin) = waiting(&lp, &exits);
        drop(stdin);
        until_dead(&pidfd_of(dead.pid()));
        let (alive, stdin) = waiting(&lp, &exits);
        in_fork(|| {
            lp.after_fork().unwrap();
            assert!(!dead.is_active() && !alive.is_active());
            assert_eq!(alive.kill(libc::SIGKILL), Err(Error::ESRCH));
            let own = Exits::new();
            shell("exit 4").spawn(&lp, own.note()).unwrap();
            run(&lp);
            assert_eq!(own.one().code(), Some(4));
            assert!(exits.get().is_empty());
            0
        });
        drop(stdin);
        run(&lp);
        assert_eq!(exits.get().len(), 2);
        assert!(exits.get().iter().all(|(_, exit)| exit.code() == Some(9)));
    });
}

#[test]
fn after_fork_a_spawn_that_was_under_way_is_cancelled_here_and_goes_on_there() {
    isolated(|| {
        let lp = new_loop();
        let outcome = Rc::new(RefCell::new(None));
        let (told, exits) = (outcome.clone(), Exits::new());
        let on_spawned = move |_: &Process, result| *told.borrow_mut() = Some(result);
        shell("exit 3").spawn_off_loop(&lp, on_spawned, exits.note()).unwrap();
        in_fork(|| {
            lp.after_fork().unwrap();
            run(&lp);
            let error = outcome.borrow_mut().take().unwrap().unwrap_err();
            assert_eq!((error.step(), error.error()), (SpawnStep::Thread, Error::ECANCELED));
            assert!(exits.get().is_empty());
            0
        });
        run(&lp);
        assert_eq!(outcome.borrow_mut().take(), Some(Ok(())));
        assert_eq!(exits.one().code(), Some(3));
    });
}
