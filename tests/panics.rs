//! A panic in each kind of callback, and in the middle of each queue: it leaves `run` by unwinding,
//! its closure is dropped and its operation stopped, and the next run does all the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::io::Write as _;
use std::rc::Rc;

use blacklight::prelude::*;
use support::{Log, isolated};
use tools::{Tokens, finish, raise, run_panics};

/// Three of a kind are due; the one in the middle panics. `expected` is the order.
fn middle_of_three(name: &str, i: usize, log: &Log) {
    log.add(format!("{name} {i}"));
    assert!(i != 1, "in the middle");
}

const MESSAGE: &str = "in the middle";

#[test]
fn timers() {
    for repeat in [0, 1_000_000] {
        let lp = EventLoop::new().unwrap();
        let (log, tokens) = (Log::new(), Tokens::new());
        let timers: Vec<Timer> = (0..3)
            .map(|i| {
                let timer = Timer::new(&lp).unwrap();
                let (l, t) = (log.clone(), tokens.one());
                timer
                    .start(0, repeat, move |timer| {
                        t.keep();
                        middle_of_three("timer", i, &l);
                        timer.stop();
                    })
                    .unwrap();
                timer
            })
            .collect();
        run_panics(&lp, RunMode::Default, MESSAGE);
        assert_eq!(log.take(), ["timer 0", "timer 1"]);
        assert!(!timers[1].is_active(), "repeat {repeat}: its operation is stopped");
        assert_eq!(tokens.alive(), 1, "repeat {repeat}: its closure is dropped");
        finish(&lp);
        assert_eq!((log.take(), tokens.alive()), (vec!["timer 2".to_owned()], 0));
        // It can be started again.
        timers[1].start(0, 0, |_| {}).unwrap();
        finish(&lp);
    }
}

macro_rules! hooks {
    ($($test:ident: $hook:ident;)*) => {$(
        #[test]
        fn $test() {
            let lp = EventLoop::new().unwrap();
            let (log, tokens) = (Log::new(), Tokens::new());
            let hooks: Vec<$hook> = (0..3)
                .map(|i| {
                    let hook = $hook::new(&lp).unwrap();
                    let (l, t) = (log.clone(), tokens.one());
                    hook.start(move |_| {
                        t.keep();
                        middle_of_three("hook", i, &l);
                    })
                    .unwrap();
                    hook
                })
                .collect();
            run_panics(&lp, RunMode::NoWait, MESSAGE);
            assert_eq!(log.take(), ["hook 2", "hook 1"]);
            assert!(!hooks[1].is_active() && tokens.alive() == 2);
            // The walk goes on where it was, then the next one begins at the front.
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(log.take(), ["hook 0"]);
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(log.take(), ["hook 2", "hook 0"]);
        }
    )*};
}

hooks! {
    idle_hooks: Idle;
    prepare_hooks: Prepare;
    check_hooks: Check;
}

#[test]
fn async_handles() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let wakes: Vec<Async> = (0..3)
        .map(|i| {
            let (l, t) = (log.clone(), tokens.one());
            let wake = Async::new(&lp, move |_| {
                t.keep();
                middle_of_three("async", i, &l);
            });
            wake.unwrap()
        })
        .collect();
    for wake in &wakes {
        wake.send().unwrap();
    }
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["async 0", "async 1"]);
    assert!(!wakes[1].is_active() && wakes[1].send().is_err() && tokens.alive() == 2);
    // The sends are not in the eventfd any more; the loop must not wait for it.
    assert_eq!(lp.run(RunMode::Once), Ok(true));
    assert_eq!(log.take(), ["async 2"]);
    wakes[1].close();
    lp.run(RunMode::NoWait).unwrap();
    assert!(wakes[1].is_closed());
}

#[test]
fn polls_in_the_middle_of_a_batch() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let mut kept = Vec::new();
    for i in 0..3 {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let poll = Poll::new(&lp, reader).unwrap();
        let (l, t) = (log.clone(), tokens.one());
        poll.start(PollEvents::READABLE, move |poll, _| {
            t.keep();
            middle_of_three("poll", i, &l);
            poll.stop();
        })
        .unwrap();
        kept.push((poll, writer));
    }
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["poll 0", "poll 1"]);
    assert!(!kept[1].0.is_active() && tokens.alive() == 1);
    assert_eq!(lp.backend_timeout(), Some(std::time::Duration::ZERO), "a batch is left");
    finish(&lp);
    assert_eq!((log.take(), tokens.alive()), (vec!["poll 2".to_owned()], 0));
}

#[test]
fn signals() {
    isolated(|| {
        for oneshot in [false, true] {
            let lp = EventLoop::new().unwrap();
            let (log, tokens) = (Log::new(), Tokens::new());
            let signals: Vec<Signal> = (0..3)
                .map(|i| {
                    let signal = Signal::new(&lp).unwrap();
                    let (l, t) = (log.clone(), tokens.one());
                    let callback = move |signal: &Signal, _| {
                        t.keep();
                        middle_of_three("signal", i, &l);
                        signal.stop();
                    };
                    match oneshot {
                        true => signal.start_oneshot(libc::SIGUSR1, callback).unwrap(),
                        false => signal.start(libc::SIGUSR1, callback).unwrap(),
                    }
                    signal
                })
                .collect();
            raise(libc::SIGUSR1);
            run_panics(&lp, RunMode::Default, MESSAGE);
            assert_eq!(log.take(), ["signal 0", "signal 1"]);
            assert!(!signals[1].is_active() && tokens.alive() == 1);
            finish(&lp);
            assert_eq!((log.take(), tokens.alive()), (vec!["signal 2".to_owned()], 0));
        }
    });
}

#[test]
fn close_callbacks() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let timers: Vec<Timer> = (0..3)
        .map(|i| {
            let timer = Timer::new(&lp).unwrap();
            let (l, t) = (log.clone(), tokens.one());
            timer
                .close_with(move |_| {
                    t.keep();
                    middle_of_three("close", i, &l);
                })
                .unwrap();
            timer
        })
        .collect();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["close 2", "close 1"]);
    assert!(timers[1].is_closed() && !timers[0].is_closed() && tokens.alive() == 1);
    finish(&lp);
    assert_eq!((log.take(), tokens.alive()), (vec!["close 0".to_owned()], 0));
}

#[test]
fn a_panic_in_one_phase_does_not_lose_the_phases_behind_it() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let prepare = Prepare::new(&lp).unwrap();
    prepare.start(|_| panic!("prepare")).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let (poll, l) = (Poll::new(&lp, reader).unwrap(), log.clone());
    poll.start(PollEvents::READABLE, move |poll, _| {
        l.add("poll");
        poll.close();
    })
    .unwrap();
    let (check, l) = (Check::new(&lp).unwrap(), log.clone());
    check
        .start(move |check| {
            l.add("check");
            check.close();
        })
        .unwrap();
    let (timer, l) = (Timer::new(&lp).unwrap(), log.clone());
    timer
        .close_with(move |_| {
            l.add("closed");
        })
        .unwrap();
    run_panics(&lp, RunMode::Default, "prepare");
    assert_eq!(log.take(), [""; 0]);
    finish(&lp);
    assert_eq!(log.take(), ["poll", "check", "closed"]);
}

/// What a callback did before its panic counts, but it cannot start its own operation anew.
#[test]
fn a_callback_that_restarts_itself_and_panics_is_stopped() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let (timer, other) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let fired = Rc::new(Cell::new(false));
    let (t, started, f) = (tokens.one(), other.clone(), fired.clone());
    let again = tokens.one();
    let mut again = Some(again);
    timer
        .start(0, 0, move |timer| {
            t.keep();
            let again = again.take();
            timer
                .start(0, 0, move |_| {
                    let _kept = &again;
                    panic!("stopped");
                })
                .unwrap();
            let f = f.clone();
            started.start(0, 0, move |_| f.set(true)).unwrap();
            panic!("after all that");
        })
        .unwrap();
    run_panics(&lp, RunMode::Default, "after all that");
    assert_eq!((timer.is_active(), tokens.alive()), (false, 0));
    finish(&lp);
    assert!(fired.get());
}

#[test]
fn a_callback_that_closes_itself_and_panics_is_closed() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (timer, hook) = (Timer::new(&lp).unwrap(), Idle::new(&lp).unwrap());
    let l = log.clone();
    timer
        .start(0, 0, move |timer| {
            let l = l.clone();
            timer.close_with(move |_| l.add("timer closed")).unwrap();
            panic!("timer");
        })
        .unwrap();
    let l = log.clone();
    hook.start(move |hook| {
        let l = l.clone();
        hook.close_with(move |_| l.add("hook closed")).unwrap();
        panic!("hook");
    })
    .unwrap();
    run_panics(&lp, RunMode::Default, "timer");
    run_panics(&lp, RunMode::Default, "hook");
    finish(&lp);
    assert_eq!(log.take(), ["hook closed", "timer closed"]);
}

#[test]
fn the_loop_is_not_running_after_a_panic() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    for _ in 0..3 {
        timer.start(0, 0, |_| panic!("again")).unwrap();
        run_panics(&lp, RunMode::Default, "again");
    }
    finish(&lp);
}

#[test]
fn a_panic_out_of_a_loop_inside_a_callback_goes_through_both() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    timer
        .start(0, 0, |_| {
            let inner = EventLoop::new().unwrap();
            let timer = Timer::new(&inner).unwrap();
            timer.start(0, 0, |_| panic!("inner")).unwrap();
            let _unwound = inner.run(RunMode::Default);
        })
        .unwrap();
    run_panics(&lp, RunMode::Default, "inner");
    finish(&lp);
}

/// The turn after a panic does the rest of the phase that it interrupted; a hook that is started
/// meanwhile must not wait for an event that may never come.
#[test]
fn a_hook_started_while_an_interrupted_phase_is_made_up_for_is_called_soon() {
    let lp = EventLoop::new().unwrap();
    let (hook, late) = (Check::new(&lp).unwrap(), Check::new(&lp).unwrap());
    hook.start(|_| panic!("check")).unwrap();
    let kept = Cell::new(Some(lp.keep_alive()));
    run_panics(&lp, RunMode::NoWait, "check");
    let patience = Timer::new(&lp).unwrap();
    patience.start(10_000, 0, |_| panic!("it waited")).unwrap();
    patience.unreference();
    // In the poll phase, behind which the rest of the interrupted phase comes.
    let starter = Async::new(&lp, move |starter| {
        let kept = kept.take();
        late.start(move |late| {
            let _until_here = &kept;
            late.close();
        })
        .unwrap();
        starter.close();
    })
    .unwrap();
    starter.send().unwrap();
    assert_eq!(lp.run(RunMode::Default), Ok(false));
}
