//! Children that nobody waits for any more: no zombie, whatever was closed or dropped (B4, B5).

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::channel;

use blacklight::Error;
use blacklight::prelude::*;

use crate::support::process::{
    Exits, new_loop, pidfd_of, pipe, poll_for, run, shell, until, until_dead, until_reaped,
};
use crate::support::{children, isolated, open_fds};

/// A child that runs until the returned end of a pipe is closed, its pid, and a pidfd of ours.
fn waiting_child(lp: &EventLoop) -> (Process, OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    let process = Command::new("cat")
        .stdin(reader)
        .stdout(Stdio::null())
        .spawn(lp, |_, _| panic!("a closed process reports nothing"))
        .unwrap();
    let pidfd = pidfd_of(process.pid());
    (process, writer, pidfd)
}

#[test]
fn a_closed_process_is_left_running_and_reaped_by_its_running_loop() {
    isolated(|| {
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        let pid = process.pid();
        process.close();
        assert_eq!(process.kill(0), Err(Error::ESRCH), "closed is closed");
        assert_eq!(process.pidfd().map(|_| ()), None);
        run(&lp);
        assert!(process.is_closed());
        assert!(children().iter().any(|(child, _)| *child == pid), "it runs on");
        // A loop with something to run for reaps it.
        let timer = Timer::new(&lp).unwrap();
        timer
            .start(1, 1, move |timer| {
                if !children().iter().any(|(child, _)| *child == pid) {
                    timer.close();
                }
            })
            .unwrap();
        drop(stdin);
        run(&lp);
        until_dead(&pidfd);
    });
}

#[test]
fn a_process_closed_after_its_death_and_before_its_report_is_reaped_at_once() {
    isolated(|| {
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        drop(stdin);
        until_dead(&pidfd);
        process.close();
        assert!(children().is_empty(), "{:?}", children());
        run(&lp);
    });
}

#[test]
fn a_process_may_be_closed_twice_and_used_after() {
    isolated(|| {
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        let pid = process.pid();
        let exits = Exits::new();
        let other = shell("exit 0").spawn(&lp, exits.note()).unwrap();
        process.close();
        process.close();
        assert_eq!(process.close_with(|_| panic!("the second close")), Err(Error::EINVAL));
        assert!(process.is_closing() && !process.is_active());
        assert_eq!(process.kill_group(9), Err(Error::ESRCH));
        assert_eq!(process.on_stop(|_, _| {}), Err(Error::EINVAL));
        assert_eq!(process.pid(), pid, "the number stays to be asked for");
        run(&lp);
        process.close();
        assert_eq!(exits.one().code(), Some(0));
        other.close();
        run(&lp);
        drop(stdin);
        until_reaped(pid, &pidfd);
    });
}

#[test]
fn the_reaper_thread_takes_the_children_of_a_dropped_loop_and_ends_with_the_last() {
    isolated(|| {
        let lp = new_loop();
        // What the process keeps for good is there after one spawn.
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        drop(lp);
        let before = (open_fds(), thread_names());
        let lp = new_loop();
        let waiting: Vec<_> = (0..5).map(|_| waiting_child(&lp)).collect();
        drop(lp);
        for (process, stdin, pidfd) in waiting {
            let pid = process.pid();
            drop(process);
            assert_eq!(poll_for(&pidfd, libc::POLLIN, 0), 0, "dropping a loop kills nobody");
            drop(stdin);
            until_reaped(pid, &pidfd);
        }
        until(|| (open_fds(), thread_names()) == before);
    });
}

#[test]
fn a_loop_dropped_with_dead_children_leaves_no_zombie() {
    isolated(|| {
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        drop(stdin);
        until_dead(&pidfd);
        drop(lp);
        assert!(children().is_empty(), "{:?}", children());
        assert_eq!(process.kill(9), Err(Error::ESRCH));
        assert!(process.is_closed());
    });
}

#[test]
fn a_loop_dropped_after_a_panic_forgets_the_reports_that_were_due() {
    isolated(|| {
        let lp = new_loop();
        let mut stdins = Vec::new();
        for _ in 0..3 {
            let (reader, writer) = pipe();
            let pidfd = Command::new("cat")
                .stdin(reader)
                .stdout(Stdio::null())
                .spawn(&lp, |_, _| panic!("on purpose"))
                .map(|process| pidfd_of(process.pid()))
                .unwrap();
            stdins.push((writer, pidfd));
        }
        for (writer, pidfd) in stdins {
            drop(writer);
            until_dead(&pidfd);
        }
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lp.run(RunMode::Default).unwrap();
        }));
        assert!(ran.is_err());
        // All of them are waited for, and one was reported: the rest are due when the loop goes.
        drop(lp);
        assert!(children().is_empty(), "{:?}", children());
    });
}

#[test]
fn a_loop_that_ends_hands_its_orphans_over() {
    isolated(|| {
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        process.close();
        run(&lp);
        // The loop is there and does not run, so it cannot reap.
        drop(stdin);
        until_reaped(process.pid(), &pidfd);
        drop(lp);
    });
}

/// A thread with a loop that runs until told to stop, and that can be woken.
fn running_loop() -> (AsyncSender, std::thread::JoinHandle<()>) {
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let lp = new_loop();
        let stop = Async::new(&lp, |stop| stop.close()).unwrap();
        let sender = stop.sender().unwrap();
        // From inside the loop, so that it is known to run.
        let timer = Timer::new(&lp).unwrap();
        timer.start(0, 0, move |_| tell.send(sender.clone()).unwrap()).unwrap();
        run(&lp);
    });
    (told.recv().unwrap(), thread)
}

#[test]
fn a_running_loop_takes_over_what_another_leaves() {
    isolated(|| {
        let (stop, thread) = running_loop();
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        drop(lp);
        assert!(!thread_names().contains(&"blacklight-reap".to_owned()), "no thread is needed");
        drop(stdin);
        until_reaped(process.pid(), &pidfd);
        stop.send().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn orphans_of_a_loop_that_took_them_over_are_handed_on_when_it_ends() {
    isolated(|| {
        let (stop, thread) = running_loop();
        let lp = new_loop();
        let (process, stdin, pidfd) = waiting_child(&lp);
        drop(lp);
        stop.send().unwrap();
        thread.join().unwrap();
        drop(stdin);
        until_reaped(process.pid(), &pidfd);
    });
}

#[test]
fn an_orphan_that_comes_while_the_thread_is_busy_is_not_forgotten() {
    isolated(|| {
        let lp = new_loop();
        let (first, first_stdin, first_pidfd) = waiting_child(&lp);
        drop(lp);
        until(|| thread_names().contains(&"blacklight-reap".to_owned()));
        // The thread waits for the first. Now a loop runs, and yet another one leaves an orphan.
        let (stop, thread) = running_loop();
        let lp = new_loop();
        let (second, second_stdin, second_pidfd) = waiting_child(&lp);
        drop(lp);
        drop(second_stdin);
        until_reaped(second.pid(), &second_pidfd);
        drop(first_stdin);
        until_reaped(first.pid(), &first_pidfd);
        stop.send().unwrap();
        thread.join().unwrap();
    });
}

fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread may end between the two.
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

#[test]
fn a_pidfd_that_was_lent_outlives_the_process_and_the_loop() {
    isolated(|| {
        let lp = new_loop();
        if !crate::support::process::has_pidfds(&lp) {
            return crate::support::process::skip("children have no pidfds in this position");
        }
        let exits = Exits::new();
        let process = shell("exit 0").spawn(&lp, exits.note()).unwrap();
        let lent = process.pidfd().unwrap();
        assert!(lent.as_raw_fd() > 2);
        run(&lp);
        assert_eq!(process.pidfd().map(|_| ()), None, "after the end there is none to lend");
        assert_eq!(exits.one().code(), Some(0));
        // The loop is not disturbed by a descriptor that is still readable (DESIGN 1.2).
        let events = lp.metrics().events;
        let timer = Timer::new(&lp).unwrap();
        timer.start(1, 0, |_| {}).unwrap();
        run(&lp);
        assert_eq!(lp.metrics().events, events);
        drop(lp);
        assert_ne!(poll_for(&*lent, libc::POLLIN, 0) & libc::POLLIN, 0);
    });
}
