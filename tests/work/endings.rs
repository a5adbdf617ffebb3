//! Loops that end, and processes that fork, while work is in flight.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use blacklight::prelude::*;
use blacklight::work::ThreadPool;
use blacklight::{Error, fs};

use super::{Gate, loop_with};
use crate::support::process::{in_fork, until};
use crate::support::{isolated, open_fds};
use crate::tools::{OnDrop, Tokens, finish};

/// libuv refuses to close such a loop (`UV_EBUSY`); here the owner can drop it at any time.
#[test]
fn a_loop_dropped_with_work_in_flight_waits_for_nothing_and_calls_nothing() {
    let tokens = Tokens::new();
    let lp = loop_with(1);
    let mut gate = Gate::new();
    let running = {
        let token = tokens.one();
        lp.queue_work(gate.work(), move |_| token.keep()).unwrap()
    };
    gate.until_begun(1);
    let (owned, token) = (Arc::new(()), tokens.one());
    let with_work = owned.clone();
    let waiting = lp.queue_work(move || drop(with_work), move |_| token.keep()).unwrap();
    let keeps_pool = lp.thread_pool().unwrap();
    drop(lp);
    assert_eq!(tokens.alive(), 0, "closures are dropped uncalled");
    assert_eq!(Arc::strong_count(&owned), 1, "what waited is dropped");
    assert!(!running.is_pending() && !waiting.is_pending());
    assert_eq!(running.cancel(), Err(Error::EINVAL));
    gate.open();
    // The thread survives having nobody to tell.
    let other = super::with_pool(keeps_pool);
    other.queue_work(|| 5, |five| assert_eq!(five.unwrap(), 5)).unwrap();
    finish(&other);
}

#[test]
fn a_result_that_nobody_waits_for_is_dropped_even_if_that_panics() {
    struct Panics(Arc<AtomicBool>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
            panic!("on purpose");
        }
    }
    let lp = loop_with(1);
    let pool = lp.thread_pool().unwrap();
    let (begun, has_begun) = channel();
    let (go, wait) = channel::<()>();
    let dropped = Arc::new(AtomicBool::new(false));
    let result = dropped.clone();
    let work = move || {
        begun.send(()).unwrap();
        let _gone = wait.recv();
        Panics(result)
    };
    lp.queue_work(work, |_| {}).unwrap();
    has_begun.recv().unwrap();
    drop(lp);
    drop(go);
    until(|| dropped.load(Ordering::Acquire));
    let other = super::with_pool(pool);
    other.queue_work(|| 5, |five| assert_eq!(five.unwrap(), 5)).unwrap();
    finish(&other);
}

#[test]
fn nothing_is_left_open_by_a_loop_that_had_work() {
    isolated(|| {
        let before = open_fds();
        for _ in 0..50 {
            let lp = EventLoop::new().unwrap();
            lp.queue_work(|| {}, |_| {}).unwrap();
            fs::stat("/").start(&lp, |_| {}).unwrap();
            lp.run(RunMode::NoWait).unwrap();
        }
        until(|| open_fds() == before);
    });
}

#[test]
fn a_closure_dropped_with_the_loop_may_use_the_loop() {
    let lp = loop_with(1);
    let mut gate = Gate::new();
    gate.hold(&lp, 1);
    let refused = Rc::new(Cell::new(false));
    let (saw, of) = (refused.clone(), LoopRef::clone(&lp));
    let on_drop = OnDrop(move || {
        saw.set(of.queue_work(|| {}, |_| {}).map(drop) == Err(Error::EINVAL));
    });
    lp.queue_work(|| {}, move |_| on_drop.keep()).unwrap();
    drop(lp);
    assert!(refused.get());
}

#[test]
fn a_dropped_loop_takes_no_work() {
    let lp = EventLoop::new().unwrap();
    let gone = LoopRef::clone(&lp);
    drop(lp);
    assert_eq!(gone.queue_work(|| {}, |_| {}).map(drop), Err(Error::EINVAL));
    assert_eq!(fs::stat("/").start(&gone, |_| {}).map(drop), Err(Error::EINVAL));
    assert_eq!(gone.thread_pool().map(drop), Err(Error::EINVAL));
}

/// libuv: the pool is restarted lazily in a fork child.
#[test]
fn a_forked_child_has_a_pool_after_after_fork_and_none_before() {
    isolated(|| {
        for own_pool in [false, true] {
            let lp = if own_pool { loop_with(2) } else { EventLoop::new().unwrap() };
            let tokens = Tokens::new();
            let mut gate = Gate::new();
            // As many as there may be, so that one is running and others wait during the fork.
            let requests: Vec<_> = (0..5)
                .map(|_| {
                    let token = tokens.one();
                    lp.queue_work(gate.work(), move |_| token.keep()).unwrap()
                })
                .collect();
            gate.until_begun(2);
            in_fork(|| {
                assert_eq!(lp.queue_work(|| {}, |_| {}).map(drop), Err(Error::ESTALE));
                assert_eq!(requests[4].cancel(), Err(Error::ESTALE));
                assert_eq!(lp.thread_pool().map(drop), Err(Error::ESTALE));
                lp.after_fork().unwrap();
                assert_eq!(tokens.alive(), 0, "what was in flight is the parent's");
                assert!(!requests[0].is_pending() && !lp.is_alive());
                let done = Rc::new(Cell::new(0));
                for _ in 0..10 {
                    let done = done.clone();
                    lp.queue_work(|| {}, move |_| done.set(done.get() + 1)).unwrap();
                }
                finish(&lp);
                assert_eq!(done.get(), 10);
                0
            });
            gate.open();
            finish(&lp);
            assert_eq!(tokens.alive(), 0);
        }
    });
}

#[test]
fn a_forked_child_that_drops_its_copy_waits_for_nobody() {
    isolated(|| {
        let pool = ThreadPool::builder().threads(1).build().unwrap();
        let lp = super::with_pool(pool.clone());
        let mut gate = Gate::new();
        gate.hold(&lp, 1);
        let waits = lp.queue_work(|| {}, |_| {}).unwrap();
        let (mut lp, mut pool) = (Some(lp), Some(pool));
        in_fork(|| {
            assert_eq!(pool.as_ref().unwrap().statistics(), Default::default());
            drop(lp.take());
            drop(pool.take());
            0
        });
        assert!(waits.is_pending());
        gate.open();
        finish(lp.as_ref().unwrap());
    });
}
