//! Random bytes, here and by the pool.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::work::{RequestKind, ThreadPool};
use blacklight::{Error, Options, random};

use tools::finish;

#[test]
fn buffers_of_any_size_are_filled() {
    let lp = EventLoop::new().unwrap();
    let count = Rc::new(Cell::new(0));
    // getrandom(2) may stop after 256 bytes, and after 32 MiB it does.
    for size in [0, 1, 255, 257, 100_000, (33 << 20) + 1] {
        let check = move |filled: blacklight::fs::Transferred<Vec<u8>>| {
            assert_eq!((filled.result, filled.buffer.len()), (Ok(size), size));
            if size > 1000 {
                let tail = &filled.buffer[size - 1000..];
                assert!(tail.iter().any(|&byte| byte != 0), "filled to the end");
            }
        };
        check(random(vec![0; size]).run());
        let count = count.clone();
        random(vec![0; size])
            .start(&lp, move |filled| {
                check(filled);
                count.set(count.get() + 1);
            })
            .unwrap();
    }
    finish(&lp);
    assert_eq!(count.get(), 6);
}

/// libuv: more than 2^31 - 1 bytes are `UV_E2BIG`, at once.
#[test]
fn too_many_bytes_are_e2big() {
    // Zeros that are never touched cost no memory.
    let lp = EventLoop::new().unwrap();
    let started = random(vec![0u8; 1 << 31]).start(&lp, |_| panic!("called"));
    assert_eq!(started.map(drop), Err(Error::E2BIG));
    assert_eq!(random(vec![0u8; 1 << 31]).run().result, Err(Error::E2BIG));
}

#[test]
fn a_cancelled_request_gives_the_buffer_back() {
    let pool = ThreadPool::builder().threads(1).build().unwrap();
    let options = Options { thread_pool: Some(pool), ..Options::from_env().unwrap() };
    let lp = EventLoop::with_options(options).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    lp.queue_work(move || wait.recv().is_ok(), |_| {}).unwrap();
    let told = Rc::new(Cell::new(false));
    let saw = told.clone();
    let request = random(vec![7; 5])
        .start(&lp, move |filled| {
            assert_eq!((filled.result, filled.buffer), (Err(Error::ECANCELED), vec![7; 5]));
            saw.set(true);
        })
        .unwrap();
    assert_eq!((request.kind(), request.kind().name()), (RequestKind::Random, "random"));
    request.cancel().unwrap();
    go.send(()).unwrap();
    finish(&lp);
    assert!(told.get());
}
