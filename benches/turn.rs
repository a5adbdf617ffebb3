//! The loop itself, with criterion: making one, a turn, timers, wake-ups, a pipe.
//!
//! `cargo bench --bench turn`

#![allow(missing_docs, reason = "criterion's macros")]

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use blacklight::Options;
use blacklight::prelude::*;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn loops(c: &mut Criterion) {
    c.bench_function("loop made and dropped", |b| {
        b.iter(|| black_box(EventLoop::with_options(Options::default()).expect("a loop")));
    });
    c.bench_function("turn with nothing to do", |b| {
        let lp = EventLoop::new().expect("a loop");
        b.iter(|| lp.run(RunMode::NoWait).expect("a turn"));
    });
    c.bench_function("turn with idle, prepare and check", |b| {
        let lp = EventLoop::new().expect("a loop");
        let hooks = (
            Idle::new(&lp).expect("a hook"),
            Prepare::new(&lp).expect("a hook"),
            Check::new(&lp).expect("a hook"),
        );
        hooks.0.start(|_| {}).expect("it starts");
        hooks.1.start(|_| {}).expect("it starts");
        hooks.2.start(|_| {}).expect("it starts");
        b.iter(|| lp.run(RunMode::NoWait).expect("a turn"));
    });
}

fn timers(c: &mut Criterion) {
    c.bench_function("100,000 timers started, fired, closed", |b| {
        b.iter_batched(
            || {
                let lp = EventLoop::new().expect("a loop");
                let timers: Vec<Timer> =
                    (0..100_000).map(|_| Timer::new(&lp).expect("a timer")).collect();
                (lp, timers)
            },
            |(lp, timers)| {
                for (i, timer) in timers.iter().enumerate() {
                    let timeout = (i as u64 * 7919) % 16;
                    timer.start(timeout, 0, |timer| timer.close()).expect("it starts");
                }
                lp.run(RunMode::Default).expect("the loop runs");
                (lp, timers)
            },
            BatchSize::LargeInput,
        );
    });
    c.bench_function("timer started and stopped among 10,000", |b| {
        let lp = EventLoop::new().expect("a loop");
        let others: Vec<Timer> = (0..10_000u64)
            .map(|i| {
                let timer = Timer::new(&lp).expect("a timer");
                timer.start(1_000_000 + i * 7919 % 10_000, 0, |_| {}).expect("it starts");
                timer
            })
            .collect();
        let timer = Timer::new(&lp).expect("a timer");
        b.iter(|| {
            timer.start(1_005_000, 0, |_| {}).expect("it starts");
            timer.stop();
        });
        drop(others);
    });
}

fn wake_ups(c: &mut Criterion) {
    c.bench_function("wake-up from the same thread", |b| {
        let lp = EventLoop::new().expect("a loop");
        let wake = Async::new(&lp, |_| {}).expect("a handle");
        b.iter(|| {
            wake.send().expect("it is open");
            lp.run(RunMode::Once).expect("a turn");
        });
    });
}

fn pipes(c: &mut Criterion) {
    c.bench_function("pipe ping-pong, 64 bytes", |b| {
        let lp = EventLoop::new().expect("a loop");
        let (one, other) = Pipe::pair(&lp).expect("a pair");
        let rounds = Rc::new(Cell::new(0u64));
        other
            .read_start(|other, read| {
                if let Read::Data(bytes) = read {
                    other.try_write(bytes).expect("there is room");
                }
            })
            .expect("it reads");
        let left = rounds.clone();
        one.read_start(move |one, _| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                one.event_loop().stop();
            } else {
                one.try_write(&[0; 64]).expect("there is room");
            }
        })
        .expect("it reads");
        b.iter_custom(|iterations| {
            rounds.set(iterations);
            let begun = std::time::Instant::now();
            one.try_write(&[0; 64]).expect("there is room");
            lp.run(RunMode::Default).expect("the loop runs");
            begun.elapsed()
        });
    });
}

criterion_group!(benches, loops, timers, wake_ups, pipes);
criterion_main!(benches);
