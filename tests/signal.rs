//! The `Signal` handle. Signals belong to a process, so each test has one of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use blacklight::Error;
use blacklight::prelude::*;
use support::{Log, isolated};
use tools::{Tokens, finish, raise};

/// The disposition of a signal in this process.
fn action(signum: i32) -> usize {
    // SAFETY: an all-zero sigaction is valid, and the call writes only to it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signum, std::ptr::null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

#[test]
fn every_watcher_is_called_those_that_stop_after_one_last() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let watchers: Vec<Signal> = (0..4).map(|_| Signal::new(&lp).unwrap()).collect();
        for (i, watcher) in watchers.iter().enumerate() {
            let l = log.clone();
            let callback = move |_: &Signal, event: blacklight::SignalEvent| {
                assert_eq!(event.signum, libc::SIGUSR1);
                l.add(format!("{i}"));
            };
            match i % 2 {
                0 => watcher.start_oneshot(libc::SIGUSR1, callback).unwrap(),
                _ => watcher.start(libc::SIGUSR1, callback).unwrap(),
            }
        }
        raise(libc::SIGUSR1);
        assert_eq!(lp.run(RunMode::Once), Ok(true));
        assert_eq!(log.take(), ["1", "3", "0", "2"]);
        assert!(!watchers[0].is_active() && watchers[1].is_active());
        raise(libc::SIGUSR1);
        assert_eq!(lp.run(RunMode::Once), Ok(true));
        assert_eq!(log.take(), ["1", "3"]);
    });
}

#[test]
fn the_sender_is_named() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        let seen = Rc::new(Cell::new((0, 1)));
        let s = seen.clone();
        signal
            .start(libc::SIGUSR2, move |signal, event| {
                s.set((event.sender_pid, event.sender_uid));
                signal.stop();
            })
            .unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("kill -USR2 {}", std::process::id())])
            .spawn()
            .unwrap();
        finish(&lp);
        assert!(child.wait().unwrap().success());
        // SAFETY: no arguments, cannot fail.
        let uid = unsafe { libc::getuid() };
        assert_eq!(seen.get(), (child.id() as i32, uid));
    });
}

#[test]
fn loops_in_two_threads_are_both_called() {
    isolated(|| {
        let (ready, all_ready) = mpsc::channel();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let ready = ready.clone();
                thread::spawn(move || {
                    let lp = EventLoop::new().unwrap();
                    let signal = Signal::new(&lp).unwrap();
                    signal.start(libc::SIGUSR1, |signal, _| signal.close()).unwrap();
                    ready.send(()).unwrap();
                    finish(&lp);
                })
            })
            .collect();
        for _ in &threads {
            all_ready.recv().unwrap();
        }
        raise(libc::SIGUSR1);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// libuv#2398 (B25): a pipe of messages overflows and loses signals; these are counted.
#[test]
fn a_hundred_thousand_signals_are_neither_lost_nor_in_the_way() {
    isolated(|| {
        const SENT: u32 = 100_000;
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        let count = Rc::new(Cell::new(0));
        let c = count.clone();
        signal
            .start(libc::SIGUSR1, move |signal, _| {
                c.set(c.get() + 1);
                if c.get() == SENT {
                    signal.close();
                }
            })
            .unwrap();
        for _ in 0..SENT {
            // Caught before the call returns, so that the kernel has none to merge.
            raise(libc::SIGUSR1);
        }
        finish(&lp);
        assert_eq!(count.get(), SENT);
    });
}

#[test]
fn numbers_that_cannot_be_watched_are_refused() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        for signum in [0, -1, 65, i32::MAX, i32::MIN, libc::SIGKILL, libc::SIGSTOP, 32, 33] {
            let refused = signal.start(signum, |_, _| panic!("refused"));
            assert_eq!(refused, Err(Error::EINVAL), "{signum}");
            assert_eq!(signal.start_oneshot(signum, |_, _| {}), Err(Error::EINVAL), "{signum}");
        }
        assert!(!signal.is_active() && !lp.is_alive());
        // A refusal leaves a watch that is on as it was.
        signal.start(libc::SIGUSR1, |signal, _| signal.close()).unwrap();
        assert_eq!(signal.start(libc::SIGKILL, |_, _| {}), Err(Error::EINVAL));
        raise(libc::SIGUSR1);
        finish(&lp);
        assert_eq!(signal.start(libc::SIGUSR1, |_, _| {}), Err(Error::EINVAL), "closed");
    });
}

#[test]
fn a_callback_may_stop_itself_and_its_siblings() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let watchers: Rc<RefCell<Vec<Signal>>> = Rc::default();
        for i in 0..3 {
            let signal = Signal::new(&lp).unwrap();
            let (l, all) = (log.clone(), watchers.clone());
            signal
                .start(libc::SIGUSR1, move |_, _| {
                    l.add(format!("{i}"));
                    for signal in all.take() {
                        signal.stop();
                    }
                })
                .unwrap();
            watchers.borrow_mut().push(signal);
        }
        raise(libc::SIGUSR1);
        // Raised twice before the loop looks: the one that stops itself has one call.
        raise(libc::SIGUSR1);
        finish(&lp);
        assert_eq!(log.take(), ["0"]);
    });
}

#[test]
fn started_in_a_callback_it_is_not_told_of_what_came_before() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let signal = Signal::new(&lp).unwrap();
        let l = log.clone();
        signal
            .start(libc::SIGUSR1, move |signal, _| {
                l.add("first");
                signal.stop();
                let other = Signal::new(signal.event_loop()).unwrap();
                let l = l.clone();
                other
                    .start(libc::SIGUSR1, move |other, _| {
                        l.add("second");
                        other.stop();
                    })
                    .unwrap();
            })
            .unwrap();
        raise(libc::SIGUSR1);
        assert_eq!(lp.run(RunMode::Once), Ok(true));
        assert_eq!(lp.run(RunMode::NoWait), Ok(true));
        assert_eq!(log.take(), ["first"]);
        raise(libc::SIGUSR1);
        finish(&lp);
        assert_eq!(log.take(), ["second"]);
    });
}

#[test]
fn a_oneshot_that_its_callback_starts_anew_waits_for_the_next_signal() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let signal = Signal::new(&lp).unwrap();
        let l = log.clone();
        signal
            .start_oneshot(libc::SIGUSR1, move |signal, _| {
                l.add("first");
                let l = l.clone();
                signal.start_oneshot(libc::SIGUSR1, move |_, _| l.add("second")).unwrap();
            })
            .unwrap();
        raise(libc::SIGUSR1);
        assert_eq!(lp.run(RunMode::Once), Ok(true));
        assert_eq!(log.take(), ["first"]);
        assert!(signal.is_active());
        raise(libc::SIGUSR1);
        finish(&lp);
        assert_eq!(log.take(), ["second"]);
    });
}

#[test]
fn starting_for_the_same_signal_loses_nothing_and_for_another_begins_anew() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (log, tokens) = (Log::new(), Tokens::new());
        let signal = Signal::new(&lp).unwrap();
        let token = tokens.one();
        signal.start(libc::SIGUSR1, move |_, _| token.keep()).unwrap();
        raise(libc::SIGUSR1);
        let l = log.clone();
        signal.start(libc::SIGUSR1, move |_, _| l.add("same")).unwrap();
        assert_eq!(tokens.alive(), 0);
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(log.take(), ["same"]);
        raise(libc::SIGUSR1);
        let l = log.clone();
        signal
            .start(libc::SIGUSR2, move |signal, event| {
                l.add(format!("other: {}", event.signum == libc::SIGUSR2));
                signal.stop();
            })
            .unwrap();
        lp.run(RunMode::NoWait).unwrap();
        raise(libc::SIGUSR2);
        finish(&lp);
        assert_eq!(log.take(), ["other: true"]);
    });
}

/// libuv#2435 (B27): the handler was reset to the default instead of restored.
#[test]
fn the_handler_that_was_there_is_called_again_after_the_last_watcher() {
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    extern "C" fn handler(_: i32) {
        CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    isolated(|| {
        // SAFETY: the handler only counts.
        unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        signal.start(libc::SIGUSR1, |signal, _| signal.stop()).unwrap();
        let calls = || CALLS.load(std::sync::atomic::Ordering::Relaxed);
        raise(libc::SIGUSR1);
        finish(&lp);
        assert_eq!(calls(), 0, "it goes to the watchers alone");
        raise(libc::SIGUSR1);
        assert_eq!(calls(), 1);
        drop((signal, lp));
        raise(libc::SIGUSR1);
        assert_eq!(calls(), 2);
    });
}

#[test]
fn an_ignored_signal_is_watched_and_ignored_again_afterwards() {
    isolated(|| {
        // SAFETY: ignores a signal.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        signal.start(libc::SIGUSR1, |signal, _| signal.close()).unwrap();
        assert_ne!(action(libc::SIGUSR1), libc::SIG_IGN);
        raise(libc::SIGUSR1);
        finish(&lp);
        raise(libc::SIGUSR1);
    });
}

#[test]
fn after_the_last_watcher_the_default_action_is_back() {
    use std::os::unix::process::ExitStatusExt;
    const DYING: &str = "BLACKLIGHT_TEST_IS_TO_DIE";
    isolated(|| {
        if std::env::var_os(DYING).is_none() {
            // This test once more, in a process that does not live to its end.
            let mut dying = std::process::Command::new(std::env::current_exe().unwrap())
                .args(std::env::args_os().skip(1))
                .env(DYING, "1")
                .spawn()
                .unwrap();
            assert_eq!(dying.wait().unwrap().signal(), Some(libc::SIGUSR1));
            return;
        }
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        signal.start(libc::SIGUSR1, |signal, _| signal.close()).unwrap();
        raise(libc::SIGUSR1);
        finish(&lp);
        raise(libc::SIGUSR1);
        panic!("survived");
    });
}

/// libuv#2415 (B25): a handle with undelivered signals never finished closing.
#[test]
fn closing_with_signals_caught_and_not_reported_comes_to_an_end() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let signal = Signal::new(&lp).unwrap();
        signal.start(libc::SIGUSR1, |_, _| panic!("closed before its turn")).unwrap();
        raise(libc::SIGUSR1);
        let l = log.clone();
        signal.close_with(move |_| l.add("closed")).unwrap();
        finish(&lp);
        assert_eq!(log.take(), ["closed"]);
    });
}
