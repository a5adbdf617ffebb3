//! Exits while other code handles, blocks or ignores SIGCHLD, or waits for everything (DESIGN 4.7):
//! one report for each child, whatever they do, exact wherever the kernel still knows.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use blacklight::prelude::*;
use blacklight::{Facilities, LoopRef, Options, SpawnPath};

use crate::support::process::{
    Exits, has_notes, is_exact_for_all, new_loop, reaps_by_pidfd, run, shell, skip, watchdog,
};
use crate::support::{children, isolated};

/// Ends of all kinds, and the scripts that lead to them.
fn ends() -> Vec<(&'static str, ExitStatus)> {
    vec![
        ("exit 0", ExitStatus::Exited(0)),
        ("exit 7", ExitStatus::Exited(7)),
        ("exit 255", ExitStatus::Exited(255)),
        ("kill -9 $$", ExitStatus::Signaled { signum: 9, core_dumped: false }),
        ("kill -15 $$", ExitStatus::Signaled { signum: 15, core_dumped: false }),
    ]
}

/// What a report may say when nobody else waits.
fn exact(expected: ExitStatus, exit: Exit) {
    assert_eq!(exit.status, expected);
    assert!(exit.usage.is_some(), "we waited for it ourselves");
}

/// What it may say when somebody else does: the truth, or, where the kernel has forgotten, nothing.
fn exact_or_forgotten(lp: &LoopRef) -> impl Fn(ExitStatus, Exit) + use<> {
    let is_exact = is_exact_for_all(lp);
    move |expected, exit| {
        if exit.status != expected {
            assert!(!is_exact, "{exit} instead of {expected:?}");
            assert_eq!(exit.status, ExitStatus::Unknown);
        }
    }
}

/// Spawns children of every end, runs the loop, and checks that each was reported once.
fn check(lp: &EventLoop, rounds: usize, judge: impl Fn(ExitStatus, Exit)) {
    let reports = Exits::new();
    let mut expected = Vec::new();
    for _ in 0..rounds {
        for (script, status) in ends() {
            let process = shell(script).spawn(lp, reports.note()).unwrap();
            expected.push((process.pid(), status));
        }
    }
    run(lp);
    let reports = reports.get();
    assert_eq!(reports.len(), expected.len(), "one report each");
    for (pid, status) in expected {
        let mut of_this = reports.iter().filter(|(reported, _)| *reported == pid);
        let (_, exit) = of_this.next().expect("it was reported");
        // Numbers are not given out again that soon.
        assert!(of_this.next().is_none(), "{pid} twice");
        judge(status, *exit);
    }
    assert!(children().is_empty(), "{:?}", children());
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_signum: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Waits for everything, as some libraries do.
extern "C" fn count_and_wait(signum: i32) {
    count(signum);
    // SAFETY: async-signal-safe (signal-safety(7)), and errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        *libc::__errno_location() = errno;
    }
}

/// Sets what happens on SIGCHLD, as other code would.
fn set_action(action: libc::sighandler_t, flags: i32) {
    // SAFETY: zeroed, then filled in; the handlers above are async-signal-safe.
    unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        new.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGCHLD, &raw const new, std::ptr::null_mut()), 0);
    }
}

fn action() -> (libc::sighandler_t, i32) {
    // SAFETY: asks only; the result is written to a variable that outlives the call.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut now), 0);
        (now.sa_sigaction, now.sa_flags)
    }
}

#[test]
fn the_disposition_of_sigchld_is_not_touched_where_there_are_pidfds() {
    isolated(|| {
        // DEMANDS 1.2.
        let lp = new_loop();
        if !reaps_by_pidfd(&lp) {
            return skip("this position needs SIGCHLD");
        }
        let before = action();
        check(&lp, 1, exact);
        assert_eq!(action(), before);
    });
}

#[test]
fn a_foreign_handler_that_was_there_before_goes_on_and_disturbs_nothing() {
    isolated(|| {
        set_action(count as *const () as usize, libc::SA_RESTART);
        let lp = new_loop();
        check(&lp, 4, exact);
        if reaps_by_pidfd(&lp) {
            assert!(HANDLED.load(Ordering::Relaxed) > 0, "it is still called");
        }
    });
}

#[test]
fn a_foreign_handler_without_sa_restart_disturbs_nothing() {
    isolated(|| {
        // B6: system calls are interrupted now.
        set_action(count as *const () as usize, 0);
        let lp = new_loop();
        check(&lp, 10, exact);
    });
}

#[test]
fn a_foreign_handler_that_comes_later_disturbs_nothing() {
    isolated(|| {
        let lp = new_loop();
        check(&lp, 1, exact);
        // It does not call what was there before, so a loop that waits for SIGCHLD hears nothing.
        set_action(count as *const () as usize, libc::SA_RESTART);
        check(&lp, 2, exact);
        assert!(HANDLED.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_foreign_handler_that_waits_for_everything_costs_no_report() {
    isolated(|| {
        // B1.
        set_action(count_and_wait as *const () as usize, libc::SA_RESTART);
        let lp = new_loop();
        let judge = exact_or_forgotten(&lp);
        check(&lp, 4, judge);
        if reaps_by_pidfd(&lp) {
            assert!(HANDLED.load(Ordering::Relaxed) > 0);
        }
    });
}

#[test]
fn blocked_sigchld_disturbs_nothing() {
    isolated(|| {
        // B2: the mask survives an exec, so a program may well be started like this.
        // SAFETY: a set on the stack.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        check(&new_loop(), 2, exact);
    });
}

#[test]
fn ignored_sigchld_costs_no_report() {
    isolated(|| {
        set_action(libc::SIG_IGN, 0);
        let lp = new_loop();
        let judge = exact_or_forgotten(&lp);
        check(&lp, 10, judge);
    });
}

#[test]
fn sigchld_ignored_after_the_first_spawn_costs_no_report() {
    isolated(|| {
        let lp = new_loop();
        check(&lp, 1, exact);
        set_action(libc::SIG_IGN, 0);
        let judge = exact_or_forgotten(&lp);
        check(&lp, 10, |expected, exit| {
            judge(expected, exit);
            if reaps_by_pidfd(&lp) && is_exact_for_all(&lp) {
                // The kernel reaps such children itself, so nobody knows what they used.
                assert_eq!(exit.usage, None);
            }
        });
    });
}

#[test]
fn sa_nocldwait_costs_no_report() {
    isolated(|| {
        let lp = new_loop();
        check(&lp, 1, exact);
        set_action(libc::SIG_DFL, libc::SA_NOCLDWAIT);
        let judge = exact_or_forgotten(&lp);
        check(&lp, 10, judge);
    });
}

#[test]
fn without_the_kernels_note_an_ignored_exit_is_said_to_be_unknown() {
    isolated(|| {
        watchdog();
        let mut options = Options::from_env().unwrap();
        options.facilities.remove(Facilities::PIDFD_INFO);
        let lp = EventLoop::with_options(options).unwrap();
        check(&lp, 1, exact);
        set_action(libc::SIG_IGN, 0);
        if lp.options().spawn_path == SpawnPath::Fork {
            return skip("a child without a pidfd makes the loop handle SIGCHLD");
        }
        check(&lp, 1, |_, exit| {
            assert_eq!((exit.status, exit.usage), (ExitStatus::Unknown, None));
            assert!(!exit.success() && exit.code().is_none() && exit.to_std().is_none());
            assert_eq!(exit.to_string(), "exit status unknown");
        });
    });
}

/// A thread that waits for every child there is, for as long as it lives.
struct Thief {
    ends: Arc<AtomicBool>,
    stolen: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thief {
    fn start() -> Thief {
        let (ends, stolen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (end, count) = (ends.clone(), stolen.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // SAFETY: no status is asked for.
                if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Thief { ends, stolen, thread: Some(thread) }
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn another_thread_in_waitpid_costs_no_report_and_no_status() {
    isolated(|| {
        // B1. The thread and the loop are woken at once, so each wins some of the races.
        let lp = new_loop();
        let judge = exact_or_forgotten(&lp);
        let thief = Thief::start();
        for _ in 0..20 {
            check(&lp, 10, &judge);
        }
        assert!(thief.stolen.load(Ordering::Relaxed) > 0, "the thread did wait for some");
    });
}

#[test]
fn a_failed_spawn_under_another_thread_in_waitpid_says_what_failed() {
    isolated(|| {
        let lp = new_loop();
        let _thief = Thief::start();
        for _ in 0..50 {
            let error = Command::new("/nonexistent").spawn(&lp, |_, _| {}).unwrap_err();
            assert_eq!(error.to_string(), "exec: ENOENT: no such file or directory");
        }
        assert!(children().is_empty());
    });
}

#[test]
fn a_kill_after_a_foreign_wait_hits_nobody() {
    isolated(|| {
        // B7.
        let lp = new_loop();
        let exits = Exits::new();
        let process = shell("exit 3").spawn(&lp, exits.note()).unwrap();
        let mut status = 0;
        // SAFETY: the status outlives the call.
        let waited = unsafe { libc::waitpid(process.pid(), &raw mut status, 0) };
        assert_eq!(waited, process.pid());
        assert_eq!(process.kill(libc::SIGKILL), Err(blacklight::Error::ESRCH));
        assert_eq!(process.kill_group(libc::SIGKILL), Err(blacklight::Error::ESRCH));
        run(&lp);
        exact_or_forgotten(&lp)(ExitStatus::Exited(3), exits.one());
        assert_eq!(exits.one().usage, None);
        if !has_notes(&lp) {
            assert_eq!(exits.one().status, ExitStatus::Unknown);
        }
    });
}
