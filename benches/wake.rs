//! Wake-ups, with criterion: from the loop's own thread, and there and back with other threads.
//!
//! `cargo bench --bench wake`

#![allow(missing_docs, reason = "criterion's macros")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use blacklight::Halter;
use blacklight::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

fn same_thread(c: &mut Criterion) {
    c.bench_function("wake-up from the same thread", |b| {
        let lp = EventLoop::new().expect("a loop");
        let wake = Async::new(&lp, |_| {}).expect("a handle");
        b.iter(|| {
            wake.send().expect("it is open");
            lp.run(RunMode::Once).expect("a turn");
        });
    });
    c.bench_function("wake-up already sent, sent again", |b| {
        let lp = EventLoop::new().expect("a loop");
        let wake = Async::new(&lp, |_| {}).expect("a handle");
        let sender = wake.sender().expect("it is open");
        b.iter(|| sender.send().expect("it is open"));
    });
}

/// A thread with a loop that wakes whoever woke it.
struct Answering {
    wake: AsyncSender,
    halter: Halter,
    thread: JoinHandle<()>,
}

impl Answering {
    fn spawn(back: AsyncSender) -> Answering {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let lp = EventLoop::new().expect("a loop");
            let answer = move |_: &Async| back.send().expect("it is open");
            let wake = Async::new(&lp, answer).expect("a handle");
            let ends = (wake.sender().expect("it is open"), lp.halter().expect("a descriptor"));
            tell.send(ends).expect("somebody waits");
            lp.run(RunMode::Default).expect("the loop runs");
        });
        let (wake, halter) = told.recv().expect("the thread tells");
        Answering { wake, halter, thread }
    }

    fn end(self) {
        self.halter.halt();
        self.thread.join().expect("it ended well");
    }
}

/// The time is for one wake-up there and one back; all threads are kept busy.
fn threads(c: &mut Criterion) {
    for count in [1, 8] {
        c.bench_function(&format!("wake-up round trip with {count} threads"), |b| {
            let lp = EventLoop::new().expect("a loop");
            let left = Rc::new(Cell::new(0u64));
            let threads: Vec<Answering> = (0..count)
                .map(|_| {
                    let again: Rc<Cell<Option<AsyncSender>>> = Rc::default();
                    let (target, left) = (again.clone(), left.clone());
                    let woken = move |back: &Async| {
                        left.set(left.get().saturating_sub(1));
                        if left.get() == 0 {
                            back.event_loop().stop();
                        } else if let Some(thread) = target.take() {
                            thread.send().expect("it is open");
                            target.set(Some(thread));
                        }
                    };
                    let back = Async::new(&lp, woken).expect("a handle");
                    let thread = Answering::spawn(back.sender().expect("it is open"));
                    again.set(Some(thread.wake.clone()));
                    thread
                })
                .collect();
            b.iter_custom(|iterations| {
                left.set(iterations);
                let begun = Instant::now();
                for thread in &threads {
                    thread.wake.send().expect("it is open");
                }
                lp.run(RunMode::Default).expect("the loop runs");
                begun.elapsed()
            });
            threads.into_iter().for_each(Answering::end);
        });
    }
}

criterion_group!(benches, same_thread, threads);
criterion_main!(benches);
