//! Random timers against a model: they fire in the order of deadline and start, and never early.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use blacklight::prelude::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Starts this timer, due in so many nanoseconds.
    Start(usize, u64),
    Restart(usize, u64),
    Stop(usize),
    Close(usize),
    /// Lets the loop's time move on.
    Update,
}

fn steps(timers: usize, most: usize) -> impl Strategy<Value = Vec<Step>> {
    // Few distinct times, so that many deadlines are equal.
    let time = prop_oneof![Just(0u64), 0u64..5, (0u64..8).prop_map(|step| step * 250_000)];
    let step = prop_oneof![
        8 => (0..timers, time.clone()).prop_map(|(timer, time)| Step::Start(timer, time)),
        2 => (0..timers, time).prop_map(|(timer, time)| Step::Restart(timer, time)),
        2 => (0..timers).prop_map(Step::Stop),
        1 => (0..timers).prop_map(Step::Close),
        1 => Just(Step::Update),
    ];
    prop::collection::vec(step, 1..most)
}

/// What the loop ought to do: running timers as deadline, number of the start, timer.
#[derive(Default)]
struct Model {
    running: Vec<(Duration, usize, usize)>,
    closed: Vec<bool>,
    starts: usize,
}

impl Model {
    fn stop(&mut self, timer: usize) -> bool {
        let before = self.running.len();
        self.running.retain(|entry| entry.2 != timer);
        self.running.len() < before
    }

    fn start(&mut self, timer: usize, due: Duration) {
        self.stop(timer);
        self.running.push((due, self.starts, timer));
        self.starts += 1;
    }
}

fn check(timers: usize, steps: &[Step]) {
    let lp = EventLoop::new().unwrap();
    let fired = Rc::new(RefCell::new(Vec::new()));
    let handles: Vec<Timer> = (0..timers).map(|_| Timer::new(&lp).unwrap()).collect();
    let dues = Rc::new(RefCell::new(vec![Duration::ZERO; timers]));
    let mut model = Model { closed: vec![false; timers], ..Model::default() };
    for step in steps {
        let now = lp.now_duration();
        match *step {
            Step::Start(timer, time) => {
                let due = now + Duration::from_nanos(time);
                let (fired, dues_seen) = (fired.clone(), dues.clone());
                let started = handles[timer].start_duration(
                    Duration::from_nanos(time),
                    Duration::ZERO,
                    move |handle| {
                        let due = dues_seen.borrow()[timer];
                        assert!(handle.event_loop().now_duration() >= due, "early");
                        fired.borrow_mut().push(timer);
                    },
                );
                assert_eq!(started.is_ok(), !model.closed[timer]);
                if started.is_ok() {
                    dues.borrow_mut()[timer] = due;
                    model.start(timer, due);
                }
            }
            Step::Restart(timer, time) => {
                let due = now + Duration::from_nanos(time);
                let running = model.stop(timer);
                let restarted = handles[timer].restart(Duration::from_nanos(time));
                assert_eq!(restarted.is_ok(), running);
                if running {
                    dues.borrow_mut()[timer] = due;
                    model.start(timer, due);
                }
            }
            Step::Stop(timer) => {
                handles[timer].stop();
                model.stop(timer);
            }
            Step::Close(timer) => {
                handles[timer].close();
                model.stop(timer);
                model.closed[timer] = true;
            }
            Step::Update => lp.update_time(),
        }
        assert_eq!(handles.iter().filter(|t| t.is_active()).count(), model.running.len());
    }
    assert_eq!(lp.run(RunMode::Default), Ok(false));
    model.running.sort_unstable();
    let expected: Vec<usize> = model.running.iter().map(|entry| entry.2).collect();
    assert_eq!(*fired.borrow(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_few_timers_ends_in_the_order_of_the_model(steps in steps(12, 200)) {
        check(12, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ten_thousand_random_timers_fire_in_order(
        times in prop::collection::vec(0u64..3_000_000, 10_000),
        stopped in prop::collection::vec(any::<bool>(), 10_000),
    ) {
        let lp = EventLoop::new().unwrap();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let mut expected = Vec::new();
        let mut handles = Vec::new();
        for (i, &time) in times.iter().enumerate() {
            let timer = Timer::new(&lp).unwrap();
            let f = fired.clone();
            let due = lp.now_duration() + Duration::from_nanos(time);
            timer
                .start_duration(Duration::from_nanos(time), Duration::ZERO, move |timer| {
                    assert!(timer.event_loop().now_duration() >= due, "early");
                    f.borrow_mut().push(i);
                })
                .unwrap();
            handles.push(timer);
            expected.push((time, i));
        }
        for (timer, _) in handles.iter().zip(&stopped).filter(|(_, stopped)| **stopped) {
            timer.stop();
        }
        expected.retain(|&(_, i)| !stopped[i]);
        expected.sort_unstable();
        prop_assert_eq!(lp.run(RunMode::Default), Ok(false));
        let expected: Vec<usize> = expected.into_iter().map(|(_, i)| i).collect();
        prop_assert_eq!(&*fired.borrow(), &expected);
    }
}
