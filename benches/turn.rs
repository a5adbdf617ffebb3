//! The loop itself, with criterion: making one, and a turn.
//!
//! `cargo bench --bench turn`

#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;

use blacklight::Options;
use blacklight::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

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

criterion_group!(benches, loops);
criterion_main!(benches);
