//! Walking over the handles of a loop, and what every handle has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;

use blacklight::prelude::*;
use blacklight::{AnyHandle, HandleKind};
use tools::finish;

fn kinds(lp: &EventLoop) -> Vec<&'static str> {
    let mut all = Vec::new();
    lp.walk(|handle| all.push(handle.kind().name()));
    all
}

#[test]
fn visits_every_handle_in_the_order_they_were_made() {
    let lp = EventLoop::new().unwrap();
    assert_eq!(kinds(&lp), [""; 0]);
    let timer = Timer::new(&lp).unwrap();
    let idle = Idle::new(&lp).unwrap();
    let wake = Async::new(&lp, |_| {}).unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    let signal = Signal::new(&lp).unwrap();
    let poll = Poll::new(&lp, std::io::pipe().unwrap().0).unwrap();
    let hooks = (Prepare::new(&lp).unwrap(), Check::new(&lp).unwrap());
    assert_eq!(
        kinds(&lp),
        ["timer", "idle", "async", "pipe", "signal", "poll", "prepare", "check"],
        "active or not, and none of the loop's own"
    );
    drop((idle, hooks));
    timer.close();
    assert_eq!(kinds(&lp), ["timer", "async", "pipe", "signal", "poll"], "closing, not closed");
    wake.close();
    finish(&lp);
    assert_eq!(kinds(&lp), ["pipe", "signal", "poll"]);
    drop((timer, wake, pipe, signal, poll));
    assert_eq!(kinds(&lp), [""; 0]);
}

#[test]
fn the_visitor_may_close_and_drop_all_and_make_new_ones() {
    let lp = EventLoop::new().unwrap();
    for _ in 0..4 {
        let timer = Timer::new(&lp).unwrap();
        timer.start(1_000_000, 0, |_| {}).unwrap();
    }
    let visited = Cell::new(0);
    lp.walk(|handle| {
        visited.set(visited.get() + 1);
        let made = Timer::new(handle.event_loop()).unwrap();
        made.start(0, 0, |_| {}).unwrap();
        handle.event_loop().walk(|handle| {
            if handle.downcast::<Timer>().unwrap().due_in() > 0 {
                handle.close();
            }
        });
    });
    assert_eq!(visited.get(), 4, "the new ones are not visited");
    finish(&lp);
    assert_eq!(kinds(&lp), [""; 0]);
}

#[test]
fn a_handle_of_any_kind_is_what_it_is() {
    let lp = EventLoop::new().unwrap();
    let idle = Idle::new(&lp).unwrap();
    let any: AnyHandle = idle.to_any();
    assert_eq!(any.kind(), HandleKind::Idle);
    assert!(any.downcast::<Idle>().unwrap().is_same(&idle));
    // Three kinds of one node type.
    assert!(any.downcast::<Prepare>().is_none() && any.downcast::<Check>().is_none());
    assert!(any.downcast::<Timer>().is_none() && any.downcast::<Pipe>().is_none());
    assert!(!any.is_internal());
    assert!(*any.event_loop() == *lp);
    let other = EventLoop::new().unwrap();
    assert!(*any.event_loop() != *other);
    assert!(!any.is_same(&Idle::new(&lp).unwrap()));
}

#[test]
fn user_data_stays_with_the_handle() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    assert!(timer.user_data().is_null());
    let mut value = 7;
    timer.set_user_data((&raw mut value).cast());
    let other = timer.clone();
    assert_eq!(other.user_data(), (&raw mut value).cast());
    lp.walk(|handle| assert_eq!(handle.user_data(), (&raw mut value).cast()));
    timer.close();
    finish(&lp);
    assert_eq!(timer.user_data(), (&raw mut value).cast());
}

#[test]
fn user_data_stays_with_the_loop() {
    let lp = EventLoop::new().unwrap();
    assert!(lp.user_data().is_null());
    let mut word = 7;
    lp.set_user_data((&raw mut word).cast());
    assert_eq!(lp.user_data(), (&raw mut word).cast());
}
