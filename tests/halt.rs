//! Halting a loop: no callback after the one that runs, whatever else is due in the turn.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use blacklight::prelude::*;
use support::Log;

#[test]
fn a_timer_due_in_the_same_turn_is_not_called() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    for name in ["a", "b", "c"] {
        let log = log.clone();
        let timer = Timer::new(&lp).unwrap();
        timer
            .start(0, 0, move |timer| {
                log.add(name);
                if name == "b" {
                    timer.event_loop().halt();
                }
            })
            .unwrap();
    }
    assert!(lp.run(RunMode::Default).unwrap(), "c is active still");
    assert_eq!(log.take(), ["a", "b"]);
    assert!(lp.is_halted());
    assert!(lp.run(RunMode::Default).unwrap());
    assert!(lp.run(RunMode::Once).unwrap());
    assert!(log.take().is_empty(), "it stays halted");
}

#[test]
fn every_phase_ends_with_the_callback_that_halts() {
    // Two hooks of each kind: whichever is called first halts.
    for phase in ["idle", "prepare", "check", "close", "async"] {
        let lp = EventLoop::new().unwrap();
        let calls = Rc::new(Cell::new(0));
        let halt = {
            let calls = calls.clone();
            move |lp: &LoopRef| {
                calls.set(calls.get() + 1);
                lp.halt();
            }
        };
        for _ in 0..2 {
            let halt = halt.clone();
            match phase {
                "idle" => Idle::new(&lp).unwrap().start(move |h| halt(h.event_loop())).unwrap(),
                "prepare" => {
                    Prepare::new(&lp).unwrap().start(move |h| halt(h.event_loop())).unwrap();
                }
                "check" => {
                    // Makes the turn not wait.
                    Idle::new(&lp).unwrap().start(|_| {}).unwrap();
                    Check::new(&lp).unwrap().start(move |h| halt(h.event_loop())).unwrap();
                }
                "close" => {
                    Timer::new(&lp).unwrap().close_with(move |h| halt(h.event_loop())).unwrap();
                }
                _ => Async::new(&lp, move |h| halt(h.event_loop())).unwrap().send().unwrap(),
            }
        }
        lp.run(RunMode::Default).unwrap();
        assert_eq!(calls.get(), 1, "{phase}");
    }
}

#[test]
fn a_stream_that_has_more_is_not_read_on() {
    let lp = EventLoop::new().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    // More than one buffer of the loop's, so that one event is several reads.
    let chunk = vec![b'x'; 100_000];
    let sent = ours.write(&chunk).unwrap();
    assert!(sent > 65_536);
    drop(ours);
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(OwnedFd::from(theirs)).unwrap();
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    pipe.read_start(move |pipe, _| {
        counted.set(counted.get() + 1);
        pipe.event_loop().halt();
    })
    .unwrap();
    lp.run(RunMode::Default).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn writes_that_are_done_are_not_reported_any_more() {
    let lp = EventLoop::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(OwnedFd::from(ours)).unwrap();
    let calls = Rc::new(Cell::new(0));
    let token = Rc::new(());
    for _ in 0..3 {
        let (counted, token) = (calls.clone(), token.clone());
        pipe.write("x", move |pipe, _| {
            let _token = &token;
            counted.set(counted.get() + 1);
            pipe.event_loop().halt();
        })
        .unwrap();
    }
    lp.run(RunMode::Default).unwrap();
    assert_eq!(calls.get(), 1);
    drop(lp);
    assert_eq!(Rc::strong_count(&token), 1, "the loop dropped the other closures");
}

#[test]
fn an_exit_is_not_reported_after_another_halted() {
    let lp = EventLoop::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let counted = calls.clone();
        Command::new("true")
            .spawn(&lp, move |process, _| {
                counted.set(counted.get() + 1);
                process.event_loop().halt();
            })
            .unwrap();
    }
    lp.run(RunMode::Default).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn another_thread_halts_a_loop_that_waits_and_one_that_spins() {
    for spin in [false, true] {
        let lp = EventLoop::new().unwrap();
        let _for_ever = Async::new(&lp, |_| {}).unwrap();
        if spin {
            Idle::new(&lp).unwrap().start(|_| {}).unwrap();
        }
        let halter = lp.halter().unwrap();
        let thread = std::thread::spawn(move || halter.halt());
        assert!(lp.run(RunMode::Default).unwrap());
        thread.join().unwrap();
    }
}

#[test]
fn a_loop_halted_before_it_runs_calls_nothing() {
    let lp = EventLoop::new().unwrap();
    let halter = lp.halter().unwrap();
    assert!(!halter.is_halted());
    halter.halt();
    assert!(halter.is_halted() && halter.clone().is_halted());
    Timer::new(&lp).unwrap().start(0, 0, |_| unreachable!()).unwrap();
    Idle::new(&lp).unwrap().start(|_| unreachable!()).unwrap();
    for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
        assert!(lp.run(mode).unwrap());
    }
}

#[test]
fn a_halter_outlives_its_loop_and_keeps_none_alive() {
    let lp = EventLoop::new().unwrap();
    let halter = lp.halter().unwrap();
    assert!(!lp.run(RunMode::Default).unwrap(), "nothing to do");
    drop(lp);
    halter.halt();
}
