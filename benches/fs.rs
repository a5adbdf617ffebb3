//! Operations on files, with criterion: done here, by the pool, and through the ring.
//!
//! `cargo bench --bench fs --features io_uring`

#![allow(missing_docs, reason = "criterion's macros")]

use blacklight::Options;
use blacklight::fs::{self, OpenFlags};
use blacklight::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

/// Operations started together, where it is not one at a time.
const TOGETHER: usize = 100;

fn loops() -> [(&'static str, EventLoop); 2] {
    let with = |io_uring| {
        let options = Options { io_uring, ..Options::default() };
        EventLoop::with_options(options).expect("a loop")
    };
    [("by the pool", with(false)), ("through the ring", with(true))]
}

fn stats(c: &mut Criterion) {
    c.bench_function("stat done here", |b| {
        b.iter(|| fs::stat("/dev/null").run().expect("it is there"));
    });
    for (how, lp) in loops() {
        for count in [1, TOGETHER] {
            c.bench_function(&format!("{count} stats {how}"), |b| {
                b.iter(|| {
                    for _ in 0..count {
                        let stat = fs::stat("/dev/null");
                        stat.start(&lp, |stat| assert!(stat.is_ok())).expect("it starts");
                    }
                    lp.run(RunMode::Default).expect("it ends");
                });
            });
        }
    }
}

fn reads(c: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("blacklight-bench-{}", std::process::id()));
    std::fs::write(&path, vec![1; 1 << 20]).expect("a file");
    let file = fs::open(&path, OpenFlags::READ_ONLY, 0).run().expect("a file");
    std::fs::remove_file(&path).expect("it is there");
    c.bench_function("64 KiB read here", |b| {
        let mut buffer = vec![0; 1 << 16];
        b.iter(|| buffer = file.read(std::mem::take(&mut buffer), Some(0)).run().buffer);
    });
    for (how, lp) in loops() {
        c.bench_function(&format!("64 KiB read {how}"), |b| {
            b.iter(|| {
                let read = file.read(vec![0; 1 << 16], Some(0));
                read.start(&lp, |read| assert_eq!(read.result, Ok(1 << 16))).expect("it starts");
                lp.run(RunMode::Default).expect("it ends");
            });
        });
    }
}

criterion_group!(benches, stats, reads);
criterion_main!(benches);
