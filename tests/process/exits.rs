//! How a child's end is reported: status, usage, and when.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Resource, UNLIMITED};

use crate::support::process::{
    Exits, Scratch, collect, new_loop, output, pidfd_of, pipe, poll_for, run, shell, skip,
    until_dead, until_reaped,
};
use crate::support::{Log, children, isolated};

/// Runs a script to its end.
fn end_of(script: &str) -> Exit {
    let lp = new_loop();
    let exits = Exits::new();
    shell(script).spawn(&lp, exits.note()).unwrap();
    run(&lp);
    exits.one()
}

/// Children that end with code 9 when the returned ends are closed.
fn waiting(
    lp: &EventLoop,
    on_exit: impl FnOnce(&Process, Exit) + 'static,
) -> (Process, std::os::fd::OwnedFd) {
    let (reader, writer) = pipe();
    let mut command = Command::new("sh");
    command.args(["-c", "read line; exit 9"]).stdin(reader);
    (command.spawn(lp, on_exit).unwrap(), writer)
}

#[test]
fn exit_codes_are_exact() {
    isolated(|| {
        use std::os::unix::process::ExitStatusExt;
        for code in [0, 1, 2, 126, 127, 128, 255] {
            let exit = end_of(&format!("exit {code}"));
            assert_eq!(exit.status, ExitStatus::Exited(code));
            assert_eq!((exit.code(), exit.signal()), (Some(code), None));
            assert_eq!(exit.success(), code == 0);
            assert_eq!(exit.to_string(), format!("exit code {code}"));
            assert_eq!(exit.to_std().unwrap().into_raw(), code << 8);
        }
    });
}

#[test]
fn signals_that_kill_are_exact() {
    isolated(|| {
        let names =
            [(1, "SIGHUP"), (2, "SIGINT"), (9, "SIGKILL"), (13, "SIGPIPE"), (15, "SIGTERM")];
        for (signum, name) in names {
            let exit = end_of(&format!("kill -{signum} $$"));
            assert_eq!(exit.status, ExitStatus::Signaled { signum, core_dumped: false });
            assert_eq!((exit.code(), exit.signal(), exit.success()), (None, Some(signum), false));
            assert_eq!(exit.to_string(), format!("killed by {name}"));
        }
    });
}

#[test]
fn a_core_dump_is_told_of() {
    isolated(|| {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if pattern.trim().is_empty() || pattern.starts_with(['|', '/', '@']) {
            return skip("core dumps do not go to the working directory here");
        }
        let dir = Scratch::new();
        let lp = new_loop();
        let exits = Exits::new();
        let mut command = shell("kill -SEGV $$");
        command.current_dir(dir.path()).stderr(Stdio::null());
        command.rlimit(Resource::Core, 0, UNLIMITED);
        let Ok(_) = command.spawn(&lp, exits.note()) else {
            return skip("the hard limit forbids core dumps");
        };
        run(&lp);
        assert!(!exits.one().core_dumped());
        let exits = Exits::new();
        command.rlimit(Resource::Core, UNLIMITED, UNLIMITED);
        command.spawn(&lp, exits.note()).unwrap();
        run(&lp);
        assert_eq!(exits.one().status, ExitStatus::Signaled { signum: 11, core_dumped: true });
        assert_eq!(exits.one().to_string(), "killed by SIGSEGV (core dumped)");
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 0, "there is a dump");
    });
}

#[test]
fn what_the_child_used_is_told() {
    isolated(|| {
        let exit = end_of("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done");
        let usage = exit.usage.unwrap();
        assert!(!(usage.user_time + usage.system_time).is_zero(), "{usage:?}");
        assert!(usage.max_rss > 100_000, "bytes, not pages: {usage:?}");
        assert!(usage.minor_faults > 0, "{usage:?}");
    });
}

#[test]
fn nothing_is_called_before_the_loop_runs() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let process = shell("exit 0").spawn(&lp, exits.note()).unwrap();
        until_dead(&pidfd_of(process.pid()));
        assert!(exits.get().is_empty() && process.is_active() && lp.is_alive());
        run(&lp);
        assert!(exits.one().success() && !process.is_active());
        assert!(children().is_empty());
    });
}

#[test]
fn exits_come_after_the_other_descriptors_of_the_batch() {
    isolated(|| {
        let lp = new_loop();
        let log = Log::new();
        let (out, ended) = (Pipe::new(&lp).unwrap(), log.clone());
        let mut command = shell("echo text");
        command.stdout(Stdio::pipe(&out));
        let process = command.spawn(&lp, move |_, _| ended.add("exit")).unwrap();
        // The pidfd is watched and ready before the pipe is watched at all.
        until_dead(&pidfd_of(process.pid()));
        let text = log.clone();
        out.read_start(move |out, read| match read {
            Read::Data(_) => text.add("data"),
            _ => out.close(),
        })
        .unwrap();
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(log.take(), ["data", "exit"], "both in one turn");
        run(&lp);
    });
}

#[test]
fn output_that_is_unread_at_the_exit_is_all_read_after_it() {
    isolated(|| {
        // B24.
        let lp = new_loop();
        let out = Pipe::new(&lp).unwrap();
        let text = Rc::new(RefCell::new(None));
        let (read, reader) = (text.clone(), out.clone());
        let mut command = Command::new("head");
        command.args(["-c", "60000", "/dev/zero"]).stdout(Stdio::pipe(&out));
        command
            .spawn(&lp, move |_, exit| {
                assert!(exit.success());
                *read.borrow_mut() = Some(collect(&reader));
            })
            .unwrap();
        run(&lp);
        let text = text.borrow_mut().take().unwrap();
        assert_eq!(text.bytes(), vec![0; 60000]);
        assert!(out.is_closed(), "the end was read too");
    });
}

#[test]
fn a_grandchild_that_holds_the_pipe_delays_its_end_and_not_the_exit() {
    isolated(|| {
        // B24: two events, told apart.
        let lp = new_loop();
        let log = Log::new();
        let (out, hold) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let (ended, release) = (log.clone(), hold.clone());
        let mut command = shell("(read line; echo late) <&4 & exit 3");
        command.stdout(Stdio::pipe(&out)).stdio(4, Stdio::pipe(&hold).child_reads());
        command
            .spawn(&lp, move |_, exit| {
                ended.add(exit.to_string());
                release.close();
            })
            .unwrap();
        let read_log = log.clone();
        out.read_start(move |out, read| match read {
            Read::Data(bytes) => read_log.add(String::from_utf8_lossy(bytes)),
            Read::Eof => {
                read_log.add("eof");
                out.close();
            }
            Read::Error(error) => panic!("{error}"),
        })
        .unwrap();
        run(&lp);
        assert_eq!(log.take(), ["exit code 3", "late\n", "eof"]);
    });
}

#[test]
fn an_exit_callback_may_spawn_kill_and_close() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (killed, stdin) = waiting(&lp, exits.note());
        let (closed, closed_stdin) = waiting(&lp, |_, _| panic!("it was closed before its report"));
        let (spawned, to_kill, to_close) = (exits.clone(), killed.clone(), closed.clone());
        shell("exit 1")
            .spawn(&lp, move |process, exit| {
                assert_eq!(exit.code(), Some(1));
                assert!(!process.is_active());
                shell("exit 2").spawn(process.event_loop(), spawned.note()).unwrap();
                to_kill.kill(libc::SIGKILL).unwrap();
                to_close.close();
                process.close();
            })
            .unwrap();
        run(&lp);
        let mut statuses: Vec<String> =
            exits.get().iter().map(|(_, exit)| exit.to_string()).collect();
        statuses.sort();
        assert_eq!(statuses, ["exit code 2", "killed by SIGKILL"]);
        let pidfd = pidfd_of(closed.pid());
        drop((stdin, closed_stdin));
        until_reaped(closed.pid(), &pidfd);
    });
}

#[test]
fn a_process_closed_by_the_report_before_its_own_is_not_reported() {
    isolated(|| {
        let lp = new_loop();
        let reports = Rc::new(Cell::new(0));
        let handles: Rc<RefCell<Vec<Process>>> = Rc::default();
        let mut stdins = Vec::new();
        for _ in 0..3 {
            let (count, all) = (reports.clone(), handles.clone());
            let (process, stdin) = waiting(&lp, move |_, _| {
                count.set(count.get() + 1);
                all.borrow().iter().for_each(Process::close);
            });
            handles.borrow_mut().push(process);
            stdins.push(stdin);
        }
        let pidfds: Vec<_> = handles.borrow().iter().map(|p| pidfd_of(p.pid())).collect();
        drop(stdins);
        pidfds.iter().for_each(until_dead);
        run(&lp);
        assert_eq!(reports.get(), 1);
        assert!(children().is_empty(), "closed, and reaped all the same");
        handles.borrow_mut().clear();
    });
}

#[test]
fn after_a_panic_in_an_exit_callback_the_rest_is_reported_by_the_next_run() {
    isolated(|| {
        let lp = new_loop();
        let reports = Rc::new(Cell::new(0));
        let mut stdins = Vec::new();
        let mut pidfds = Vec::new();
        for _ in 0..5 {
            let count = reports.clone();
            let (process, stdin) = waiting(&lp, move |_, _| {
                count.set(count.get() + 1);
                assert_ne!(count.get(), 2, "on purpose");
            });
            pidfds.push(pidfd_of(process.pid()));
            stdins.push(stdin);
        }
        drop(stdins);
        pidfds.iter().for_each(until_dead);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&lp)));
        assert!(ran.is_err());
        assert_eq!(reports.get(), 2);
        run(&lp);
        assert_eq!(reports.get(), 5, "each once");
        assert!(children().is_empty());
    });
}

#[test]
fn the_exit_closure_is_dropped_after_its_call_and_on_close() {
    isolated(|| {
        let lp = new_loop();
        let token = Rc::new(());
        let mine = token.clone();
        let kept = shell("exit 0").spawn(&lp, move |_, _| drop(mine.clone())).unwrap();
        run(&lp);
        assert_eq!(Rc::strong_count(&token), 1, "called");
        let mine = token.clone();
        let (closed, stdin) = waiting(&lp, move |_, _| drop(mine.clone()));
        closed.close();
        assert_eq!(Rc::strong_count(&token), 1, "closed");
        let mine = token.clone();
        let error = Command::new("/nonexistent").spawn(&lp, move |_, _| drop(mine.clone()));
        assert!(error.is_err() && Rc::strong_count(&token) == 1, "failed");
        let mine = token.clone();
        let (dropped, other_stdin) = waiting(&lp, move |_, _| drop(mine.clone()));
        drop(lp);
        assert_eq!(Rc::strong_count(&token), 1, "loop dropped");
        drop((kept, dropped, stdin, other_stdin));
    });
}

#[test]
fn a_process_without_references_left_is_reported_all_the_same() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        drop(shell("exit 4").spawn(&lp, exits.note()).unwrap());
        run(&lp);
        assert_eq!(exits.one().code(), Some(4));
    });
}

#[test]
fn an_unreferenced_process_keeps_no_loop_alive() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = waiting(&lp, exits.note());
        process.unreference();
        run(&lp);
        assert!(process.is_active() && exits.get().is_empty());
        drop(stdin);
        process.reference();
        run(&lp);
        assert_eq!(exits.one().code(), Some(9));
    });
}

#[test]
fn a_foreign_loop_learns_of_exits_by_descriptor_and_timeout() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = waiting(&lp, exits.note());
        lp.run(RunMode::NoWait).unwrap();
        drop(stdin);
        until_dead(&pidfd_of(process.pid()));
        while exits.get().is_empty() {
            let limit = lp.backend_timeout().map_or(30_000, |limit| limit.as_millis() as i32);
            let ready = poll_for(lp.backend_fd(), libc::POLLIN, limit);
            assert!(ready != 0 || limit < 30_000, "the descriptor or the timeout tells");
            lp.run(RunMode::NoWait).unwrap();
        }
        assert_eq!(exits.one().code(), Some(9));
        let (text, _) = output(&lp, &mut shell("echo the loop is well"));
        assert_eq!(text, "the loop is well\n");
    });
}

#[test]
fn an_exit_that_was_told_leaves_nothing_for_a_foreign_loop_to_do() {
    isolated(|| {
        for shown_before in [true, false] {
            let lp = new_loop();
            if !crate::support::process::reaps_by_pidfd(&lp) {
                return skip("without pidfds the set says nothing of children");
            }
            let set = shown_before.then(|| lp.backend_fd().try_clone_to_owned().unwrap());
            let exits = Exits::new();
            Command::new("true").spawn(&lp, exits.note()).unwrap();
            while exits.get().is_empty() {
                lp.run(RunMode::Once).unwrap();
            }
            // The handle was the last; the foreign loop does not ask for the descriptor again.
            let set = set.unwrap_or_else(|| lp.backend_fd().try_clone_to_owned().unwrap());
            assert_eq!(poll_for(&set, libc::POLLIN, 0), 0, "shown before: {shown_before}");
        }
    });
}
