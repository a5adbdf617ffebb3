//! The `Async` handle: waking a loop from other threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use blacklight::Error;
use blacklight::prelude::*;
use tools::{Tokens, finish};

/// libuv#619: one call stands for all sends that come before it begins.
#[test]
fn sends_before_the_callback_become_one_call() {
    let lp = EventLoop::new().unwrap();
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    let wake = Async::new(&lp, move |_| c.set(c.get() + 1)).unwrap();
    let sender = wake.sender().unwrap();
    for _ in 0..10 {
        wake.send().unwrap();
        sender.send().unwrap();
    }
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
    assert_eq!(count.get(), 1);
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
    assert_eq!(count.get(), 1, "nothing was sent since");
    wake.send().unwrap();
    assert_eq!(lp.run(RunMode::NoWait), Ok(true));
    assert_eq!(count.get(), 2);
}

#[test]
fn a_send_inside_the_callback_makes_another_call() {
    let lp = EventLoop::new().unwrap();
    let mut count = 0;
    let wake = Async::new(&lp, move |wake| {
        count += 1;
        match count {
            1..5 => wake.send().unwrap(),
            _ => wake.close(),
        }
    })
    .unwrap();
    wake.send().unwrap();
    finish(&lp);
}

/// libuv#824 (B29): a wake-up must not be lost, and what was written before it must be seen.
#[test]
fn every_send_of_eight_threads_is_followed_by_a_call_that_sees_it() {
    const SENDS: usize = 2_000;
    let lp = EventLoop::new().unwrap();
    let (wakes, totals): (Vec<Async>, Vec<Arc<AtomicUsize>>) = (0..2)
        .map(|_| {
            let total = Arc::new(AtomicUsize::new(0));
            let t = total.clone();
            let wake = Async::new(&lp, move |wake| {
                if t.load(Ordering::Relaxed) == 4 * SENDS {
                    wake.close();
                }
            });
            (wake.unwrap(), total)
        })
        .unzip();
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let (sender, total) = (wakes[i % 2].sender().unwrap(), totals[i % 2].clone());
            thread::spawn(move || {
                for _ in 0..SENDS {
                    total.fetch_add(1, Ordering::Relaxed);
                    // Closed only after the last one, which may be another thread's.
                    sender.send().unwrap();
                }
            })
        })
        .collect();
    // Ends only if the last call comes after the last sends and sees their counts.
    finish(&lp);
    for thread in threads {
        // A sender may find the handle closed between its count and its send.
        let _sent = thread.join();
    }
}

#[test]
fn a_send_wakes_a_loop_that_is_waiting() {
    let lp = EventLoop::new().unwrap();
    let wake = Async::new(&lp, |wake| wake.close()).unwrap();
    let sender = wake.sender().unwrap();
    let (tell, told) = mpsc::channel();
    let prepare = Prepare::new(&lp).unwrap();
    prepare
        .start(move |prepare| {
            tell.send(()).unwrap();
            prepare.stop();
        })
        .unwrap();
    let thread = thread::spawn(move || {
        told.recv().unwrap();
        // The loop has nothing but this to wake for: it waits, or is about to.
        sender.send()
    });
    finish(&lp);
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn calls_come_in_the_order_of_the_sends() {
    let lp = EventLoop::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let wakes: Vec<Async> = (0..5)
        .map(|i| {
            let order = order.clone();
            Async::new(&lp, move |_| order.borrow_mut().push(i)).unwrap()
        })
        .collect();
    for i in [3, 1, 4, 1, 0] {
        wakes[i].send().unwrap();
    }
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(*order.borrow(), [3, 1, 4, 0]);
}

/// libuv#2226 (B29): a late send touched a freed handle.
#[test]
fn senders_outlive_the_handle_and_the_loop() {
    let lp = EventLoop::new().unwrap();
    let wake = Async::new(&lp, |_| panic!("closed before its turn")).unwrap();
    let other = Async::new(&lp, |_| panic!("the loop is dropped before its turn")).unwrap();
    let (closed, dropped) = (wake.sender().unwrap(), other.sender().unwrap());
    wake.send().unwrap();
    wake.close();
    assert_eq!(closed.send(), Err(Error::EINVAL));
    assert_eq!(wake.send(), Err(Error::EINVAL));
    assert!(matches!(wake.sender(), Err(Error::EINVAL)));
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(closed.clone().send(), Err(Error::EINVAL));
    drop(wake);
    assert_eq!(dropped.send(), Ok(()));
    drop(lp);
    assert_eq!(dropped.send(), Err(Error::EINVAL));
    assert_eq!(other.send(), Err(Error::EINVAL));
    drop(other);
    for sender in [closed, dropped] {
        let thread = thread::spawn(move || sender.send());
        assert_eq!(thread.join().unwrap(), Err(Error::EINVAL));
    }
}

#[test]
fn threads_may_send_while_the_handle_is_closed_and_the_loop_dropped() {
    for _ in 0..50 {
        let lp = EventLoop::new().unwrap();
        let wake = Async::new(&lp, |_| {}).unwrap();
        let (sender, (tell, told)) = (wake.sender().unwrap(), mpsc::channel());
        let thread = thread::spawn(move || {
            tell.send(()).unwrap();
            while sender.send().is_ok() {}
            sender.send()
        });
        told.recv().unwrap();
        lp.run(RunMode::NoWait).unwrap();
        drop(wake);
        drop(lp);
        assert_eq!(thread.join().unwrap(), Err(Error::EINVAL));
    }
}

#[test]
fn it_stays_with_the_loop_when_its_references_are_dropped() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let token = tokens.one();
    let wake = Async::new(&lp, move |wake| {
        token.keep();
        wake.close();
    })
    .unwrap();
    let sender = wake.sender().unwrap();
    drop(wake);
    assert_eq!((tokens.alive(), lp.is_alive()), (1, true));
    sender.send().unwrap();
    finish(&lp);
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn one_closed_by_an_earlier_callback_of_the_batch_is_not_called() {
    let lp = EventLoop::new().unwrap();
    let other: Rc<RefCell<Option<Async>>> = Rc::default();
    let o = other.clone();
    let first = Async::new(&lp, move |first| {
        o.borrow_mut().take().unwrap().close();
        first.close();
    })
    .unwrap();
    let second = Async::new(&lp, |_| panic!("closed before its turn")).unwrap();
    first.send().unwrap();
    second.send().unwrap();
    *other.borrow_mut() = Some(second);
    finish(&lp);
}
