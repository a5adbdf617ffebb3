//! Children that are stopped and continued.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, StopEvent};

use crate::support::isolated;
use crate::support::process::{Exits, new_loop, pipe, run, shell, until};

#[test]
fn a_stop_and_a_continuation_are_reported_before_the_exit() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let events = Rc::new(RefCell::new(Vec::new()));
        let (stdin, writer) = pipe();
        let mut command = Command::new("sh");
        command.args(["-c", "kill -STOP $$; kill -STOP $$; read line; exit 3"]).stdin(stdin);
        let process = command.spawn(&lp, exits.note()).unwrap();
        let (seen, mut writer) = (events.clone(), Some(writer));
        let mut stops = 0;
        process
            .on_stop(move |process, event| {
                seen.borrow_mut().push(event);
                if let StopEvent::Stopped(_) = event {
                    stops += 1;
                    process.kill(libc::SIGCONT).unwrap();
                }
                if stops == 2 {
                    drop(writer.take());
                }
            })
            .unwrap();
        run(&lp);
        // A continuation that the next stop or the end overtakes is not told of by the kernel.
        let stops: Vec<_> = events
            .borrow()
            .iter()
            .filter(|event| **event != StopEvent::Continued)
            .copied()
            .collect();
        assert_eq!(stops, [StopEvent::Stopped(libc::SIGSTOP); 2]);
        assert_eq!(exits.one().code(), Some(3));
    });
}

/// A child that is stopped, and the pipe that ends it once it goes on.
fn stopped(lp: &EventLoop, exits: &Exits) -> (Process, std::os::fd::OwnedFd) {
    let (stdin, writer) = pipe();
    let mut command = Command::new("sh");
    command.args(["-c", "kill -STOP $$; read line; exit 3"]).stdin(stdin);
    let process = command.spawn(lp, exits.note()).unwrap();
    until_stopped(process.pid());
    (process, writer)
}

fn until_stopped(pid: i32) {
    until(|| crate::support::children().contains(&(pid, 'T')));
}

#[test]
fn what_happened_before_it_was_asked_for_is_reported_too() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, writer) = stopped(&lp, &exits);
        let mut writer = Some(writer);
        let events = Rc::new(RefCell::new(Vec::new()));
        let seen = events.clone();
        process
            .on_stop(move |process, event| {
                seen.borrow_mut().push(event);
                match event {
                    StopEvent::Stopped(_) => process.kill(libc::SIGCONT).unwrap(),
                    StopEvent::Continued => drop(writer.take()),
                }
            })
            .unwrap();
        run(&lp);
        let expected = [StopEvent::Stopped(libc::SIGSTOP), StopEvent::Continued];
        assert_eq!(*events.borrow(), expected);
        assert_eq!(exits.one().code(), Some(3));
    });
}

#[test]
fn stops_are_noticed_where_sigchld_tells_nothing_of_them() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (stdin, writer) = pipe();
        let mut command = Command::new("sh");
        command.args(["-c", "kill -STOP $$; read line; exit 3"]).stdin(stdin);
        let process = command.spawn(&lp, exits.note()).unwrap();
        let mut writer = Some(writer);
        process
            .on_stop(move |process, event| match event {
                StopEvent::Stopped(_) => process.kill(libc::SIGCONT).unwrap(),
                StopEvent::Continued => drop(writer.take()),
            })
            .unwrap();
        // Other code takes the signal away: the clock is left.
        // SAFETY: a zeroed action is the default one; only children that end raise it now.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_flags = libc::SA_NOCLDSTOP;
            libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
        }
        run(&lp);
        assert_eq!(exits.one().code(), Some(3));
    });
}

#[test]
fn without_a_callback_a_stop_is_no_exit() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, writer) = stopped(&lp, &exits);
        for _ in 0..3 {
            lp.run(RunMode::NoWait).unwrap();
        }
        assert!(exits.get().is_empty() && process.is_active());
        process.kill(libc::SIGCONT).unwrap();
        drop(writer);
        run(&lp);
        assert_eq!(exits.one().code(), Some(3));
    });
}

#[test]
fn a_process_killed_while_stopped_is_reported() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, _writer) = stopped(&lp, &exits);
        process.on_stop(|process, _| process.kill(libc::SIGKILL).unwrap()).unwrap();
        run(&lp);
        assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn the_callback_may_close_or_replace_itself() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, writer) = stopped(&lp, &exits);
        let mut writer = Some(writer);
        process
            .on_stop(move |process, event| {
                assert_eq!(event, StopEvent::Stopped(libc::SIGSTOP));
                let mut writer = writer.take();
                process
                    .on_stop(move |process, event| {
                        assert_eq!(event, StopEvent::Continued);
                        process.close();
                        drop(writer.take());
                    })
                    .unwrap();
                process.kill(libc::SIGCONT).unwrap();
            })
            .unwrap();
        run(&lp);
        assert!(process.is_closed() && exits.get().is_empty());
        until(|| crate::support::children().is_empty());
    });
}

#[test]
fn a_panic_in_the_callback_ends_the_events_and_not_the_exit() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, writer) = stopped(&lp, &exits);
        process.on_stop(|_, _| panic!("on purpose")).unwrap();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&lp)));
        assert!(ran.is_err());
        process.kill(libc::SIGCONT).unwrap();
        drop(writer);
        run(&lp);
        assert_eq!(exits.one().code(), Some(3));
    });
}

#[test]
fn a_process_that_has_ended_cannot_be_watched_for_stops() {
    isolated(|| {
        let lp = new_loop();
        let process = shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        assert_eq!(process.on_stop(|_, _| {}), Err(Error::ESRCH));
    });
}
