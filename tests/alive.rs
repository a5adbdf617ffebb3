//! What keeps a loop alive, and what does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use blacklight::prelude::*;
use support::Log;
use tools::{TempPath, fill, finish};

#[test]
fn an_empty_loop_is_not_alive_and_run_returns() {
    let lp = EventLoop::new().unwrap();
    for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
        assert_eq!(lp.run(mode), Ok(false));
    }
    assert!(!lp.is_alive());
    assert_eq!(lp.metrics().turns, 0);
}

#[test]
fn handles_keep_the_loop_alive_while_active_and_referenced() {
    let lp = EventLoop::new().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let timer = Timer::new(&lp).unwrap();
    let hooks = (Idle::new(&lp).unwrap(), Prepare::new(&lp).unwrap(), Check::new(&lp).unwrap());
    let poll = Poll::new(&lp, reader).unwrap();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    assert!(!lp.is_alive(), "made, but not started");

    macro_rules! alive_while_started {
        ($handle:expr, $start:expr, $stop:expr) => {{
            let handle = $handle;
            $start;
            assert!(handle.is_active() && lp.is_alive(), "{handle:?}");
            for _ in 0..2 {
                handle.unreference();
                assert!(!handle.has_reference() && !lp.is_alive(), "{handle:?}");
            }
            assert!(handle.is_active());
            for _ in 0..2 {
                handle.reference();
                assert!(handle.has_reference() && lp.is_alive(), "{handle:?}");
            }
            $stop;
            assert!(!handle.is_active() && !lp.is_alive(), "{handle:?}");
            // The flag may be changed while it is stopped.
            handle.unreference();
            $start;
            assert!(!lp.is_alive(), "{handle:?}");
            $stop;
            handle.reference();
            assert!(!lp.is_alive(), "{handle:?}");
        }};
    }
    alive_while_started!(&timer, timer.start(1, 0, |_| {}).unwrap(), timer.stop());
    alive_while_started!(&hooks.0, hooks.0.start(|_| {}).unwrap(), hooks.0.stop());
    alive_while_started!(&hooks.1, hooks.1.start(|_| {}).unwrap(), hooks.1.stop());
    alive_while_started!(&hooks.2, hooks.2.start(|_| {}).unwrap(), hooks.2.stop());
    alive_while_started!(&poll, poll.start(PollEvents::READABLE, |_, _| {}).unwrap(), poll.stop());
    alive_while_started!(&pipe, pipe.read_start(|_, _| {}).unwrap(), pipe.read_stop());
    let wake = Async::new(&lp, |_| {}).unwrap();
    assert!(wake.is_active() && lp.is_alive());
    wake.unreference();
    assert!(!lp.is_alive());
    server.listen(1, |_, _| {}).unwrap();
    assert!(server.is_active() && lp.is_alive());
    server.unreference();
    assert_eq!(lp.run(RunMode::Default), Ok(false));
}

#[test]
fn a_signal_watcher_keeps_the_loop_alive() {
    support::isolated(|| {
        let lp = EventLoop::new().unwrap();
        let signal = Signal::new(&lp).unwrap();
        assert!(!lp.is_alive());
        signal.start(libc::SIGUSR1, |_, _| {}).unwrap();
        assert!(signal.is_active() && lp.is_alive());
        assert_eq!(signal.signum(), libc::SIGUSR1);
        signal.unreference();
        assert!(!lp.is_alive());
        signal.reference();
        signal.stop();
        assert!(!signal.is_active() && !lp.is_alive());
        assert_eq!(signal.signum(), 0);
    });
}

#[test]
fn requests_keep_the_loop_alive_though_their_handle_is_unreferenced() {
    let lp = EventLoop::new().unwrap();
    let (a, b) = Pipe::pair(&lp).unwrap();
    a.unreference();
    a.write("done at once", |_, _| {}).unwrap();
    assert!(!a.is_active() && lp.is_alive(), "a completion to report");
    finish(&lp);

    fill(&a);
    let log = Log::new();
    let l = log.clone();
    a.write("queued", move |_, _| l.add("written")).unwrap();
    assert!(lp.is_alive(), "a queued write");
    b.read_start(|_, _| {}).unwrap();
    b.unreference();
    finish(&lp);
    assert_eq!(log.take(), ["written"]);

    let l = log.clone();
    a.shutdown(move |_, _| l.add("shut down")).unwrap();
    assert!(lp.is_alive(), "a shutdown");
    finish(&lp);

    let path = TempPath::new();
    let client = Pipe::new(&lp).unwrap();
    client.unreference();
    let l = log.clone();
    client.connect(path.bytes(), move |_, result| l.add(result.unwrap_err().name())).unwrap();
    assert!(lp.is_alive(), "a connect");
    finish(&lp);
    assert_eq!(log.take(), ["shut down", "ENOENT"]);
}

#[test]
fn a_closing_handle_keeps_the_loop_alive_until_its_callback_has_run() {
    let lp = EventLoop::new().unwrap();
    let timer = Timer::new(&lp).unwrap();
    timer.unreference();
    let log = Log::new();
    let l = log.clone();
    timer
        .close_with(move |timer| {
            assert!(timer.is_closed());
            l.add("closed");
        })
        .unwrap();
    assert!(lp.is_alive() && timer.is_closing() && !timer.is_closed());
    finish(&lp);
    assert_eq!(log.take(), ["closed"]);
    assert!(!lp.is_alive());
}

#[test]
fn a_loop_does_not_wait_for_an_unreferenced_timer() {
    let lp = EventLoop::new().unwrap();
    let (due, far) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    far.start(u64::MAX, 0, |_| panic!("the end of time")).unwrap();
    far.unreference();
    due.start(1, 0, |_| {}).unwrap();
    finish(&lp);
    assert!(far.is_active());
}

#[test]
fn a_guard_keeps_the_loop_alive_as_a_handle_would() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = (lp.keep_alive(), lp.keep_alive());
    assert!(lp.is_alive());
    assert_eq!(lp.backend_timeout(), None, "it waits, and does not spin");
    drop(one);
    assert!(lp.is_alive());
    let timer = Timer::new(&lp).unwrap();
    let other = std::cell::Cell::new(Some(other));
    timer.start(1, 0, move |_| drop(other.take())).unwrap();
    assert_eq!(lp.run(RunMode::Default), Ok(false));
    // One that outlives the loop does nothing.
    let late = lp.keep_alive();
    drop(lp);
    drop(late);
}
