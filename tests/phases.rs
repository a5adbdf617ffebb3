//! The phases of a turn, against written traces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::prelude::*;
use support::{Log, isolated};
use tools::{fill, raise};

/// A loop with something to do in every phase; the check hook stops it.
fn one_of_each(log: &Log) -> (EventLoop, Vec<Box<dyn std::any::Any>>) {
    let lp = EventLoop::new().unwrap();
    let (a, b) = Pipe::pair(&lp).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (idle, prepare, check) =
        (Idle::new(&lp).unwrap(), Prepare::new(&lp).unwrap(), Check::new(&lp).unwrap());
    let (due, late) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let poll = Poll::new(&lp, reader).unwrap();

    let l = log.clone();
    due.start(0, 0, move |_| l.add("timer")).unwrap();
    let l = log.clone();
    a.write("x", move |_, _| l.add("written before")).unwrap();
    let l = log.clone();
    idle.start(move |idle| {
        l.add("idle");
        idle.stop();
    })
    .unwrap();
    let l = log.clone();
    let late_timer = late.clone();
    prepare
        .start(move |prepare| {
            l.add("prepare");
            let l = l.clone();
            late_timer.start(0, 0, move |_| l.add("late timer")).unwrap();
            prepare.stop();
        })
        .unwrap();
    let l = log.clone();
    let other = b.clone();
    poll.start(PollEvents::READABLE, move |poll, _| {
        l.add("poll");
        let l = l.clone();
        other.write("y", move |_, _| l.add("written in poll")).unwrap();
        poll.stop();
    })
    .unwrap();
    let l = log.clone();
    let victim = late.clone();
    check
        .start(move |check| {
            l.add("check");
            check.stop();
            let l = l.clone();
            let extra = Timer::new(victim.event_loop()).unwrap();
            extra.close_with(move |_| l.add("closed")).unwrap();
            check.event_loop().stop();
        })
        .unwrap();
    std::io::Write::write_all(&mut &writer, b"z").unwrap();
    let kept: Vec<Box<dyn std::any::Any>> = vec![Box::new((a, b, writer, poll))];
    (lp, kept)
}

#[test]
fn a_default_run_begins_with_timers_and_ends_each_turn_with_them() {
    let log = Log::new();
    let (lp, _kept) = one_of_each(&log);
    lp.run(RunMode::Default).unwrap();
    assert_eq!(
        log.take(),
        [
            "timer",
            "written before",
            "idle",
            "prepare",
            "poll",
            "written in poll",
            "check",
            "closed",
            "late timer"
        ]
    );
}

#[test]
fn single_turns_run_timers_at_the_end_only() {
    for mode in [RunMode::Once, RunMode::NoWait] {
        let log = Log::new();
        let (lp, _kept) = one_of_each(&log);
        lp.run(mode).unwrap();
        assert_eq!(
            log.take(),
            [
                "written before",
                "idle",
                "prepare",
                "poll",
                "written in poll",
                "check",
                "closed",
                "timer",
                "late timer"
            ],
            "{mode:?}"
        );
    }
}

#[test]
fn only_the_first_turn_of_a_default_run_begins_with_timers() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (idle, timer) = (Idle::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let l = log.clone();
    timer.start(0, 1, move |_| l.add("timer")).unwrap();
    let l = log.clone();
    let turns = Rc::new(Cell::new(0));
    idle.start(move |idle| {
        l.add("idle");
        turns.set(turns.get() + 1);
        if turns.get() == 3 {
            idle.event_loop().stop();
        }
    })
    .unwrap();
    lp.run(RunMode::Default).unwrap();
    let trace = log.take();
    assert_eq!(trace[0], "timer");
    // Whatever the clock did, between two turns there is at most one timer phase.
    assert!(trace.windows(2).all(|pair| pair != ["timer", "timer"]), "{trace:?}");
}

#[test]
fn completions_get_one_round_before_polling_and_eight_after() {
    let lp = EventLoop::new().unwrap();
    let (a, b) = Pipe::pair(&lp).unwrap();
    let count = Rc::new(Cell::new(0u32));
    fn again(pipe: &Pipe, count: Rc<Cell<u32>>) {
        pipe.write("x", move |pipe, written| {
            written.result.unwrap();
            count.set(count.get() + 1);
            if count.get() < 30 {
                again(pipe, count);
            }
        })
        .unwrap();
    }
    again(&a, count.clone());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let check = Check::new(&lp).unwrap();
    check.unreference();
    let s = seen.clone();
    check.start(move |_| s.borrow_mut().push(count.get())).unwrap();
    lp.run(RunMode::Default).unwrap();
    assert_eq!(*seen.borrow(), [9, 18, 27, 30]);
    drop(b);
}

#[test]
fn a_write_that_completes_while_polling_is_reported_in_the_same_turn() {
    let lp = EventLoop::new().unwrap();
    let (a, b) = Pipe::pair(&lp).unwrap();
    fill(&a);
    let log = Log::new();
    let l = log.clone();
    a.write("last", move |_, _| l.add("written")).unwrap();
    let check = Check::new(&lp).unwrap();
    let l = log.clone();
    check.start(move |_| l.add("check")).unwrap();
    // The reader makes room in the first turn, so the writer has it in the second.
    b.read_start(|b, _| b.read_stop()).unwrap();
    for _ in 0..100 {
        lp.run(RunMode::NoWait).unwrap();
        let trace = log.take();
        if trace.contains(&"written".to_owned()) {
            assert_eq!(trace, ["written", "check"]);
            return;
        }
        let _more = b.read_start(|b, _| b.read_stop());
    }
    panic!("never written");
}

#[test]
fn signals_come_after_all_other_descriptors_of_the_batch() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let signal = Signal::new(&lp).unwrap();
        let l = log.clone();
        // Started, and caught, before the others: the kernel lists the signal pipe first.
        signal.start(libc::SIGUSR1, move |_, _| l.add("signal")).unwrap();
        raise(libc::SIGUSR1);
        let mut kept = Vec::new();
        for name in ["one", "two"] {
            let (reader, writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut &writer, b"x").unwrap();
            let poll = Poll::new(&lp, reader).unwrap();
            let l = log.clone();
            poll.start(PollEvents::READABLE, move |poll, _| {
                l.add(name);
                poll.stop();
            })
            .unwrap();
            kept.push((poll, writer));
        }
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(log.take(), ["one", "two", "signal"]);
    });
}

#[test]
fn stop_before_run_returns_at_once_and_only_once() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (idle, timer) = (Idle::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let l = log.clone();
    idle.start(move |idle| {
        l.add("idle");
        idle.stop();
    })
    .unwrap();
    let l = log.clone();
    timer.start(0, 0, move |_| l.add("timer")).unwrap();
    for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
        lp.stop();
        assert_eq!(lp.run(mode), Ok(true));
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(lp.metrics().turns, 0, "stopped, {mode:?} does not even poll");
    }
    assert_eq!(lp.run(RunMode::Default), Ok(false));
    assert_eq!(log.take(), ["timer", "idle"]);
}

#[test]
fn stop_inside_a_callback_lets_the_turn_end() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (prepare, check) = (Prepare::new(&lp).unwrap(), Check::new(&lp).unwrap());
    let l = log.clone();
    prepare
        .start(move |prepare| {
            l.add("prepare");
            prepare.event_loop().stop();
        })
        .unwrap();
    let l = log.clone();
    check.start(move |_| l.add("check")).unwrap();
    assert_eq!(lp.run(RunMode::Default), Ok(true));
    assert_eq!(log.take(), ["prepare", "check"]);
}

#[test]
fn an_idle_hook_or_a_completion_keeps_a_single_turn_from_waiting() {
    let lp = EventLoop::new().unwrap();
    let never = Timer::new(&lp).unwrap();
    never.start(u64::MAX, 0, |_| panic!("the end of time")).unwrap();
    let idle = Idle::new(&lp).unwrap();
    // It stops itself: what counts is that it was there when the turn began.
    idle.start(|idle| idle.stop()).unwrap();
    assert_eq!(lp.run(RunMode::Once), Ok(true));

    let (a, _b) = Pipe::pair(&lp).unwrap();
    a.write("x", |_, _| {}).unwrap();
    assert_eq!(lp.run(RunMode::Once), Ok(true));
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
}

#[test]
fn the_time_stands_still_in_callbacks_and_moves_between_them() {
    let lp = EventLoop::new().unwrap();
    let idle = Idle::new(&lp).unwrap();
    let before = lp.now_duration();
    idle.start(move |idle| {
        let lp = idle.event_loop();
        let now = lp.now_duration();
        let clock = std::time::Instant::now();
        while clock.elapsed().is_zero() {}
        assert_eq!(lp.now_duration(), now);
        lp.update_time();
        assert!(lp.now_duration() > now);
        idle.stop();
    })
    .unwrap();
    lp.run(RunMode::Default).unwrap();
    assert!(lp.now_duration() > before);
    assert_eq!(lp.now(), lp.now_duration().as_millis() as u64);
}
