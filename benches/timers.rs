//! Timers, with criterion: started and stopped among others, and a million that are due.
//!
//! `cargo bench --bench timers`

#![allow(missing_docs, reason = "criterion's macros")]

use std::time::{Duration, Instant};

use blacklight::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

fn started_and_stopped(c: &mut Criterion) {
    for others in [0, 10_000, 1_000_000] {
        c.bench_function(&format!("timer started and stopped among {others}"), |b| {
            let lp = EventLoop::new().expect("a loop");
            let start = |i: u64| {
                let timer = Timer::new(&lp).expect("a timer");
                timer.start(1_000_000 + i * 7919 % 10_000, 0, |_| {}).expect("it starts");
                timer
            };
            let _others: Vec<Timer> = (0..others).map(start).collect();
            let timer = Timer::new(&lp).expect("a timer");
            b.iter(|| {
                timer.start(1_005_000, 0, |_| {}).expect("it starts");
                timer.stop();
            });
        });
    }
}

fn started_anew(c: &mut Criterion) {
    c.bench_function("timer started anew among 10,000", |b| {
        let lp = EventLoop::new().expect("a loop");
        let timers: Vec<Timer> = (0..10_000).map(|_| Timer::new(&lp).expect("a timer")).collect();
        for timer in &timers {
            timer.start(1_000_000, 0, |_| {}).expect("it starts");
        }
        let mut next = timers.iter().cycle();
        b.iter(|| {
            let timer = next.next().expect("a cycle has no end");
            timer.restart(Duration::from_secs(1_000)).expect("it has a callback");
        });
    });
}

/// All are due when the loop runs, in 16 different milliseconds; the time is for each of them.
fn million(c: &mut Criterion) {
    const TIMERS: u64 = 1_000_000;
    let mut group = c.benchmark_group("one million timers");
    group.sample_size(10);
    group.throughput(criterion::Throughput::Elements(TIMERS));
    group.bench_function("started, fired, closed", |b| {
        b.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            for _ in 0..iterations {
                let lp = EventLoop::new().expect("a loop");
                let make = |_| Timer::new(&lp).expect("a timer");
                let timers: Vec<Timer> = (0..TIMERS).map(make).collect();
                let begun = Instant::now();
                for (i, timer) in (0..).zip(&timers) {
                    timer.start(i * 7919 % 16, 0, |timer| timer.close()).expect("it starts");
                }
                lp.run(RunMode::Default).expect("the loop runs");
                taken += begun.elapsed();
            }
            taken
        });
    });
    group.finish();
}

criterion_group!(benches, started_and_stopped, started_anew, million);
criterion_main!(benches);
