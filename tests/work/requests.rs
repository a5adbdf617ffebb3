//! What becomes of a request: its result, its cancellation, its place in the turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use blacklight::prelude::*;
use blacklight::work::{RequestKind, WorkError};
use blacklight::{Error, RunMode};

use super::{Gate, is_canceled, loop_with};
use crate::tools::{Tokens, finish, run_panics, run_until};

/// uv_queue_work: the work runs on another thread, the callback on the loop's.
#[test]
fn work_runs_on_another_thread_and_its_result_comes_back_to_this_one() {
    let lp = EventLoop::new().unwrap();
    let here = thread::current().id();
    let result = Rc::new(Cell::new(None));
    let got = result.clone();
    let request = lp
        .queue_work(
            || thread::current().id(),
            move |there| {
                assert_eq!(thread::current().id(), here);
                got.set(Some(there.unwrap()));
            },
        )
        .unwrap();
    assert!(lp.is_alive() && request.is_pending());
    assert_eq!((request.kind(), request.kind().name()), (RequestKind::Work, "work"));
    assert_eq!(result.get(), None, "never inside the call");
    finish(&lp);
    assert!(result.get().is_some_and(|there| there != here));
    assert!(!request.is_pending() && !lp.is_alive());
    assert_eq!(request.cancel(), Err(Error::EBUSY), "it is over");
}

/// libuv's documentation of the pool: callbacks run on the loop, in the order of completion.
#[test]
fn results_come_in_the_order_in_which_works_end() {
    let lp = loop_with(3);
    let order = Rc::new(RefCell::new(Vec::new()));
    let (mut ends, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (end, wait) = channel::<()>();
        ends.push(end);
        waits.push(wait);
    }
    for (i, wait) in waits.into_iter().enumerate() {
        let order = order.clone();
        let work = move || wait.recv().unwrap();
        lp.queue_work(work, move |_| order.borrow_mut().push(i)).unwrap();
    }
    for (count, i) in [2, 0, 1].into_iter().enumerate() {
        ends[i].send(()).unwrap();
        run_until(&lp, || order.borrow().len() > count);
    }
    assert_eq!(*order.borrow(), [2, 0, 1]);
    finish(&lp);
}

#[test]
fn a_panic_is_a_result_and_the_thread_goes_on() {
    let lp = loop_with(1);
    let threads = Rc::new(RefCell::new(Vec::new()));
    let seen = threads.clone();
    lp.queue_work(|| thread::current().id(), move |id| seen.borrow_mut().push(id.unwrap()))
        .unwrap();
    let panicked = Rc::new(Cell::new(false));
    let saw = panicked.clone();
    lp.queue_work(
        || panic!("on purpose"),
        move |result: Result<(), WorkError>| match result {
            Err(WorkError::Panicked(panic)) => {
                assert_eq!(panic.message(), "on purpose");
                assert!(panic.take_payload().is_some());
                saw.set(true);
            }
            other => panic!("{other:?}"),
        },
    )
    .unwrap();
    let seen = threads.clone();
    lp.queue_work(|| thread::current().id(), move |id| seen.borrow_mut().push(id.unwrap()))
        .unwrap();
    finish(&lp);
    assert!(panicked.get());
    let threads = threads.borrow();
    assert_eq!(threads.len(), 2);
    assert_eq!(threads[0], threads[1], "the pool has one thread, and still the same");
}

/// uv_cancel: 0 only while queued, then the callback gets `UV_ECANCELED`; else `UV_EBUSY`.
#[test]
fn work_can_be_cancelled_while_it_waits_and_not_later() {
    let lp = loop_with(1);
    let mut gate = Gate::new();
    let running = gate.hold(&lp, 1).remove(0);
    let canceled = Rc::new(Cell::new(false));
    let (owned, saw) = (Arc::new(()), canceled.clone());
    let with_work = owned.clone();
    let waiting = lp
        .queue_work(
            move || unreachable!("cancelled work is not done {with_work:?}"),
            move |result| saw.set(is_canceled::<()>(result)),
        )
        .unwrap();
    assert_eq!(running.cancel(), Err(Error::EBUSY));
    assert_eq!(waiting.cancel(), Ok(()));
    assert_eq!(Arc::strong_count(&owned), 1, "what the work owned is dropped at once");
    assert_eq!(waiting.cancel(), Err(Error::EBUSY), "twice");
    assert!(waiting.is_pending() && !canceled.get(), "told in a later phase");
    lp.run(RunMode::Once).unwrap();
    assert!(canceled.get() && running.is_pending());
    gate.open();
    finish(&lp);
    assert_eq!(running.cancel(), Err(Error::EBUSY));
}

#[test]
fn of_ten_thousand_works_each_is_told_of_exactly_once_also_when_cancelled() {
    const WORKS: usize = 10_000;
    let lp = loop_with(4);
    let counts = Rc::new(Cell::new((0, 0)));
    let requests: Vec<_> = (0..WORKS)
        .map(|i| {
            let counts = counts.clone();
            lp.queue_work(
                move || i,
                move |result| {
                    let (done, canceled) = counts.get();
                    counts.set(match result {
                        Ok(result) if result == i => (done + 1, canceled),
                        Err(WorkError::Canceled) => (done, canceled + 1),
                        other => panic!("{other:?}"),
                    });
                },
            )
            .unwrap()
        })
        .collect();
    // The newest first, which are the likelier to wait still.
    let canceled = requests.iter().rev().filter(|request| request.cancel().is_ok()).count();
    finish(&lp);
    assert_eq!(counts.get(), (WORKS - canceled, canceled));
}

#[test]
fn works_queued_by_callbacks_are_done_too() {
    fn next(lp: &LoopRef, left: u32, last: Rc<Cell<bool>>) {
        let again = lp.clone();
        lp.queue_work(
            move || left,
            move |left| match left.unwrap() {
                0 => last.set(true),
                left => next(&again, left - 1, last),
            },
        )
        .unwrap();
    }
    let lp = EventLoop::new().unwrap();
    let last = Rc::new(Cell::new(false));
    next(&lp, 100, last.clone());
    finish(&lp);
    assert!(last.get());
}

#[test]
fn a_callback_that_cancels_and_queues_for_ever_does_not_hold_the_turn_up() {
    fn again(lp: &LoopRef, count: Rc<Cell<u32>>) {
        let next = lp.clone();
        let request = lp
            .queue_work(
                || {},
                move |result| {
                    assert!(is_canceled(result));
                    count.set(count.get() + 1);
                    again(&next, count);
                },
            )
            .unwrap();
        request.cancel().unwrap();
    }
    let lp = loop_with(1);
    let mut gate = Gate::new();
    gate.hold(&lp, 1);
    let count = Rc::new(Cell::new(0));
    again(&lp, count.clone());
    for _ in 0..3 {
        let before = count.get();
        lp.run(RunMode::Once).unwrap();
        // Before and after asking the kernel.
        assert!((1..=2).contains(&(count.get() - before)));
    }
}

#[test]
fn a_panic_in_one_callback_leaves_the_others_to_the_next_run() {
    let lp = loop_with(1);
    let (tokens, count) = (Tokens::new(), Rc::new(Cell::new(0)));
    let mut gate = Gate::new();
    gate.hold(&lp, 1);
    // Cancelled works are told of together, in one turn.
    let requests: Vec<_> = (0..3)
        .map(|i| {
            let (token, count) = (tokens.one(), count.clone());
            lp.queue_work(
                || {},
                move |_| {
                    token.keep();
                    count.set(count.get() + 1);
                    assert!(i != 0, "first");
                },
            )
            .unwrap()
        })
        .collect();
    requests.iter().for_each(|request| request.cancel().unwrap());
    run_panics(&lp, RunMode::Once, "first");
    assert_eq!((count.get(), tokens.alive()), (1, 2));
    gate.open();
    finish(&lp);
    assert_eq!((count.get(), tokens.alive()), (3, 0));
}

#[test]
fn a_halted_loop_tells_of_no_more_results() {
    let lp = loop_with(1);
    let mut gate = Gate::new();
    gate.hold(&lp, 1);
    let count = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let (count, halting) = (count.clone(), LoopRef::clone(&lp));
        let request = lp.queue_work(
            || {},
            move |_| {
                count.set(count.get() + 1);
                halting.halt();
            },
        );
        request.unwrap().cancel().unwrap();
    }
    lp.run(RunMode::Default).unwrap();
    assert_eq!(count.get(), 1);
}

#[test]
fn requests_carry_a_pointer_of_the_user_s() {
    let lp = EventLoop::new().unwrap();
    let mut value = 7;
    let request = lp.queue_work(|| {}, |_| {}).unwrap();
    assert!(request.user_data().is_null());
    request.set_user_data((&raw mut value).cast());
    assert_eq!(request.clone().user_data(), (&raw mut value).cast());
    assert!(request.event_loop() == &LoopRef::clone(&lp));
    finish(&lp);
}
