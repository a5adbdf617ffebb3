//! The `Timer` handle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::Error;
use blacklight::prelude::*;
use support::Log;
use tools::{Tokens, finish};

/// Spends at least this long.
fn work_for(duration: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < duration {}
}

#[test]
fn fires_by_deadline_then_by_start() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    for (name, timeout) in [("c", 3), ("a", 1), ("b", 1), ("0", 0)] {
        let log = log.clone();
        let timer = Timer::new(&lp).unwrap();
        timer.start(timeout, 0, move |_| log.add(name)).unwrap();
    }
    assert!(!lp.run(RunMode::Default).unwrap());
    assert_eq!(log.take(), ["0", "a", "b", "c"]);
}

/// libuv#4773 (B30): milliseconds that are cut off make timers early.
#[test]
fn is_never_early_not_even_by_nanoseconds() {
    let lp = EventLoop::new().unwrap();
    for nanoseconds in [1, 999, 100_000, 999_999, 1_000_001, 2_500_000] {
        let asked = Duration::from_nanos(nanoseconds);
        let timer = Timer::new(&lp).unwrap();
        let fired = Rc::new(Cell::new(false));
        let f = fired.clone();
        lp.update_time();
        let (clock, now) = (Instant::now(), lp.now_duration());
        timer
            .start_duration(asked, Duration::ZERO, move |timer| {
                f.set(true);
                assert!(timer.event_loop().now_duration() >= now + asked);
            })
            .unwrap();
        finish(&lp);
        // The loop's time was taken before the clock was read, so a part of a microsecond may lie
        // between them.
        assert!(clock.elapsed() + Duration::from_millis(1) > asked);
        assert!(fired.get());
    }
}

/// libuv#4250 (B30): a wait that is rounded down to nothing turns the loop into a busy one.
#[test]
fn waiting_for_a_fraction_of_a_millisecond_does_not_spin() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    timer.start_duration(Duration::from_micros(20_700), Duration::ZERO, |_| {}).unwrap();
    finish(&lp);
    assert!(lp.metrics().turns <= 3, "{} turns", lp.metrics().turns);
}

#[test]
fn started_again_with_nothing_to_wait_it_runs_in_the_next_turn() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    let turns = Rc::new(RefCell::new(Vec::new()));
    let t = turns.clone();
    fn again(timer: &Timer, turns: Rc<RefCell<Vec<u64>>>) {
        let t = turns.clone();
        timer
            .start(0, 0, move |timer| {
                t.borrow_mut().push(timer.event_loop().metrics().turns);
                if t.borrow().len() < 4 {
                    again(timer, t.clone());
                }
            })
            .unwrap();
    }
    again(&timer, t);
    finish(&lp);
    assert_eq!(*turns.borrow(), [0, 1, 2, 3]);
}

#[test]
fn one_that_an_earlier_callback_stops_does_not_run_though_it_is_due() {
    for by_closing in [false, true] {
        let lp = EventLoop::new().unwrap();
        let (first, second) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
        let victim = second.clone();
        first
            .start(0, 0, move |_| match by_closing {
                true => victim.close(),
                false => victim.stop(),
            })
            .unwrap();
        second.start(0, 0, |_| panic!("it was stopped")).unwrap();
        finish(&lp);
    }
}

#[test]
fn one_that_an_earlier_callback_starts_anew_waits_for_its_new_time() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (first, second) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let (l, other) = (log.clone(), second.clone());
    first
        .start(0, 0, move |timer| {
            l.add(format!("first {}", timer.event_loop().metrics().turns));
            let l = l.clone();
            other
                .start(0, 0, move |timer| {
                    l.add(format!("new second {}", timer.event_loop().metrics().turns));
                })
                .unwrap();
        })
        .unwrap();
    second.start(0, 0, |_| panic!("its closure was replaced")).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["first 0", "new second 1"]);
}

#[test]
fn among_many_that_are_due_each_can_stop_and_start_those_behind_it() {
    // Two that are far off for each that is due, or none: those due leave the heap in other ways.
    for far in [0, 2, 40] {
        let lp = EventLoop::new().unwrap();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let timers: Vec<Timer> = (0..300).map(|_| Timer::new(&lp).unwrap()).collect();
        let others: Vec<Timer> = (0..far * 300).map(|_| Timer::new(&lp).unwrap()).collect();
        for other in &others {
            other.start(1_000_000, 0, |_| panic!("it is far off")).unwrap();
            other.unreference();
        }
        for (i, timer) in timers.iter().enumerate() {
            let (f, behind) = (fired.clone(), timers.get(i + 1..i + 3).map(<[Timer]>::to_vec));
            let due = Duration::from_nanos((i / 7) as u64);
            let fire = move |_: &Timer| {
                f.borrow_mut().push(i);
                if let (Some(behind), 0) = (&behind, i % 3) {
                    behind[0].stop();
                    assert_eq!(behind[1].due_in(), 0);
                    let f = f.clone();
                    behind[1].start(0, 0, move |_| f.borrow_mut().push(i + 1_000)).unwrap();
                }
            };
            timer.start_duration(due, Duration::ZERO, fire).unwrap();
        }
        work_for(Duration::from_millis(1));
        finish(&lp);
        let first = (0..300).step_by(3);
        let again = first.clone().map(|i| i + 1_000);
        let expected: Vec<usize> = first.chain(again).collect();
        assert_eq!(*fired.borrow(), expected, "{far}");
    }
}

#[test]
fn a_repetition_is_set_before_the_callback_and_never_catches_up() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    timer
        .start(0, 3, move |timer| {
            c.set(c.get() + 1);
            assert!(timer.is_active());
            assert_eq!(timer.due_in(), 3, "counted from the loop's time");
            if c.get() == 3 {
                timer.stop();
            } else {
                // Longer than several repetitions: one call is due after it, not four.
                work_for(Duration::from_millis(12));
            }
        })
        .unwrap();
    finish(&lp);
    assert_eq!(count.get(), 3);
    // One turn each, after the first: those that were missed are not made up for in one turn.
    assert!(lp.metrics().turns >= 2);
}

#[test]
fn the_repeat_value_can_be_changed_from_inside() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    assert_eq!(timer.repeat(), 0);
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    timer
        .start(0, 1, move |timer| {
            c.set(c.get() + 1);
            // The next deadline has been set before; this ends the one after that.
            timer.set_repeat(0);
        })
        .unwrap();
    assert_eq!(timer.repeat(), 1);
    finish(&lp);
    assert_eq!((count.get(), timer.repeat()), (2, 0));
    timer.set_repeat_duration(Duration::from_nanos(1_999_999));
    assert_eq!(timer.repeat(), 1, "rounded down");
    assert_eq!(timer.repeat_duration(), Duration::from_nanos(1_999_999));
}

#[test]
fn again_wants_a_closure_and_does_nothing_without_a_repeat_value() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    assert_eq!(timer.again(), Err(Error::EINVAL), "never started");
    timer.start(50, 0, |_| {}).unwrap();
    let due = timer.due_in_duration();
    assert_eq!(timer.again(), Ok(()));
    assert_eq!(timer.due_in_duration(), due, "no repeat value: nothing happens");
    timer.set_repeat(70);
    assert_eq!(timer.again(), Ok(()));
    assert_eq!(timer.due_in(), 70);
    timer.stop();
    assert_eq!(timer.again(), Err(Error::EINVAL), "stopping drops the closure");

    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    timer
        .start(0, 0, move |timer| {
            c.set(c.get() + 1);
            if c.get() == 1 {
                timer.set_repeat(1);
                timer.again().unwrap();
                timer.set_repeat(0);
            }
        })
        .unwrap();
    finish(&lp);
    assert_eq!(count.get(), 2, "again brings a one-shot timer back from inside its callback");
}

#[test]
fn restart_keeps_the_closure() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let timer = Timer::new(&lp).unwrap();
    assert_eq!(timer.restart(Duration::ZERO), Err(Error::EINVAL), "never started");
    let count = Rc::new(Cell::new(0));
    let (c, token) = (count.clone(), tokens.one());
    timer
        .start(u64::MAX, 0, move |timer| {
            token.keep();
            c.set(c.get() + 1);
            if c.get() < 3 {
                timer.restart(Duration::from_nanos(1)).unwrap();
            }
        })
        .unwrap();
    timer.restart(Duration::ZERO).unwrap();
    finish(&lp);
    assert_eq!((count.get(), tokens.alive()), (3, 0));
    assert_eq!(timer.restart(Duration::ZERO), Err(Error::EINVAL), "it is over");
}

#[test]
fn times_past_the_end_of_time_never_come() {
    let lp = EventLoop::new().unwrap();
    let timers: Vec<Timer> = (0..3).map(|_| Timer::new(&lp).unwrap()).collect();
    let never = |_: &Timer| panic!("the end of time");
    timers[0].start(u64::MAX, u64::MAX, never).unwrap();
    timers[1].start_duration(Duration::MAX, Duration::MAX, never).unwrap();
    timers[2].start(u64::MAX / 1_000_000 + 1, 0, never).unwrap();
    let ends = Timer::new(&lp).unwrap();
    let c = timers.clone();
    ends.start(1, 0, move |_| {
        for timer in &c {
            assert!(timer.due_in() > 1_000_000_000_000);
            timer.stop();
        }
    })
    .unwrap();
    finish(&lp);
    timers[0].start(0, u64::MAX, |timer| assert!(timer.is_active())).unwrap();
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
}

#[test]
fn due_in_counts_down_by_the_time_of_the_loop() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    assert_eq!(timer.due_in(), 0, "not running");
    timer.start(10_000, 0, |_| {}).unwrap();
    assert_eq!(timer.due_in(), 10_000);
    work_for(Duration::from_micros(10));
    assert_eq!(timer.due_in_duration(), Duration::from_secs(10), "the loop's time stands still");
    lp.update_time();
    assert!(timer.due_in_duration() < Duration::from_secs(10));
    assert_eq!(timer.due_in(), timer.due_in_duration().as_nanos().div_ceil(1_000_000) as u64);
    timer.start_duration(Duration::ZERO, Duration::ZERO, |_| {}).unwrap();
    assert_eq!(timer.due_in(), 0);
    timer.stop();
}

#[test]
fn starting_a_running_one_replaces_time_and_closure() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let timer = Timer::new(&lp).unwrap();
    let token = tokens.one();
    timer
        .start(0, 0, move |_| {
            token.keep();
            panic!("replaced");
        })
        .unwrap();
    let log = Log::new();
    let (token, l) = (tokens.one(), log.clone());
    timer
        .start(1, 0, move |_| {
            token.keep();
            l.add("second");
        })
        .unwrap();
    assert_eq!(tokens.alive(), 1, "the first closure was dropped in start");
    finish(&lp);
    assert_eq!((log.take(), tokens.alive()), (vec!["second".to_owned()], 0));
}

#[test]
fn a_single_turn_waits_for_the_first_timer_and_runs_it() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (near, far) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    far.start(u64::MAX, 0, |_| panic!("the end of time")).unwrap();
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
    let l = log.clone();
    near.start(5, 0, move |_| l.add("near")).unwrap();
    assert_eq!(lp.run(RunMode::Once), Ok(true));
    assert_eq!(log.take(), ["near"]);
}
