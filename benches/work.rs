//! The thread pool, with criterion: from the loop to a thread and back.
//!
//! `cargo bench --bench work`

#![allow(missing_docs, reason = "criterion's macros")]

use blacklight::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

fn works(c: &mut Criterion) {
    let lp = EventLoop::new().expect("a loop");
    for count in [1, 100] {
        c.bench_function(&format!("{count} works queued, done and told of"), |b| {
            b.iter(|| {
                for _ in 0..count {
                    lp.queue_work(|| {}, |_| {}).expect("it is queued");
                }
                lp.run(RunMode::Default).expect("it ends");
            });
        });
    }
    c.bench_function("a thread of the standard library, for comparison", |b| {
        b.iter(|| std::thread::spawn(|| {}).join().expect("it ends"));
    });
}

criterion_group!(benches, works);
criterion_main!(benches);
