//! What callbacks may do to the loop and its handles: anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::Error;
use blacklight::prelude::*;
use support::Log;
use tools::{Tokens, finish};

#[test]
fn run_inside_run_of_the_same_loop_is_ebusy() {
    let lp = Rc::new(EventLoop::new().unwrap());
    let (timer, idle) = (Timer::new(&lp).unwrap(), Idle::new(&lp).unwrap());
    let inner = Rc::downgrade(&lp);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let s = seen.clone();
    timer
        .start(0, 0, move |timer| {
            let lp = inner.upgrade().unwrap();
            for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
                s.borrow_mut().push(lp.run(mode));
            }
            assert_eq!(timer.event_loop().after_fork(), Err(Error::EBUSY));
        })
        .unwrap();
    let log = Log::new();
    let l = log.clone();
    idle.start(move |idle| {
        l.add("idle");
        idle.close();
    })
    .unwrap();
    assert_eq!(lp.run(RunMode::Default), Ok(false));
    assert_eq!(*seen.borrow(), [Err(Error::EBUSY); 3]);
    assert_eq!(log.take(), ["idle"], "the refusal does no harm");
}

#[test]
fn another_loop_runs_inside_a_callback() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let log = Log::new();
    let l = log.clone();
    pipe.read_start(move |pipe, read| {
        // Both read into the buffer of their loop, at the same time.
        let Read::Data(outer) = read else { return pipe.close() };
        let inner = EventLoop::new().unwrap();
        let (one, other) = Pipe::pair(&inner).unwrap();
        one.write_and_forget("inner bytes").unwrap();
        one.close();
        let l2 = l.clone();
        other
            .read_start(move |other, read| match read {
                Read::Data(bytes) => l2.add(String::from_utf8_lossy(bytes)),
                _ => other.close(),
            })
            .unwrap();
        assert_eq!(inner.run(RunMode::Default), Ok(false));
        l.add(String::from_utf8_lossy(outer));
        pipe.close();
    })
    .unwrap();
    peer.write_and_forget("outer bytes").unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["inner bytes", "outer bytes"]);
}

#[test]
fn a_callback_may_drop_the_last_reference_to_its_own_handle() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let all: Rc<RefCell<Vec<blacklight::AnyHandle>>> = Rc::default();
    let (a, t) = (all.clone(), tokens.one());
    let timer = Timer::new(&lp).unwrap();
    timer
        .start(0, 1, move |timer| {
            a.borrow_mut().clear();
            timer.stop();
            // Its closure runs still, and what it holds is there.
            t.keep();
        })
        .unwrap();
    let (a, t) = (all.clone(), tokens.one());
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.read_start(move |pipe, read| {
        a.borrow_mut().clear();
        pipe.read_stop();
        let Read::Data(bytes) = read else { panic!("{read:?}") };
        assert_eq!(bytes, b"text");
        t.keep();
    })
    .unwrap();
    peer.write_and_forget("text").unwrap();
    all.borrow_mut().extend([timer.to_any(), pipe.to_any()]);
    drop((timer, pipe));
    finish(&lp);
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn a_callback_may_close_every_handle_there_is() {
    for kind in ["timer", "idle", "prepare", "check", "async", "poll", "read", "write", "listen"] {
        let lp = EventLoop::new().unwrap();
        let tokens = Tokens::new();
        let (closing, closed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (begun, c) = (closing.clone(), closed.clone());
        let close_all = move |lp: &LoopRef| {
            lp.walk(|handle| {
                let c = c.clone();
                let first_time = handle.close_with(move |_| c.set(c.get() + 1)).is_ok();
                begun.set(begun.get() + i32::from(first_time));
            });
        };
        // Two of each, so that one is behind the one that closes all.
        for _ in 0..2 {
            let act = |me: &str| (me == kind).then(|| close_all.clone());
            let (timer, t, f) = (Timer::new(&lp).unwrap(), tokens.one(), act("timer"));
            let later = if kind == "timer" { 0 } else { 1_000_000 };
            timer
                .start(later, 1, move |timer| {
                    t.keep();
                    f.as_ref().unwrap()(timer.event_loop());
                })
                .unwrap();
            macro_rules! hook {
                ($hook:ident, $name:literal) => {{
                    let (hook, t, f) = ($hook::new(&lp).unwrap(), tokens.one(), act($name));
                    hook.start(move |hook| {
                        t.keep();
                        if let Some(f) = &f {
                            f(hook.event_loop());
                        }
                    })
                    .unwrap();
                }};
            }
            hook!(Idle, "idle");
            hook!(Prepare, "prepare");
            hook!(Check, "check");
            let (t, f) = (tokens.one(), act("async"));
            let wake = Async::new(&lp, move |wake| {
                t.keep();
                if let Some(f) = &f {
                    f(wake.event_loop());
                }
            });
            wake.unwrap().send().unwrap();
            let (reader, writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut &writer, b"x").unwrap();
            let (poll, t, f) = (Poll::new(&lp, reader).unwrap(), tokens.one(), act("poll"));
            poll.start(PollEvents::READABLE, move |poll, _| {
                t.keep();
                let _keeps = &writer;
                if let Some(f) = &f {
                    f(poll.event_loop());
                }
            })
            .unwrap();
            let (pipe, peer) = Pipe::pair(&lp).unwrap();
            let (t, f) = (tokens.one(), act("read"));
            pipe.read_start(move |pipe, _| {
                t.keep();
                if let Some(f) = &f {
                    f(pipe.event_loop());
                }
            })
            .unwrap();
            let (t, f) = (tokens.one(), act("write"));
            peer.write("x", move |peer, _| {
                t.keep();
                if let Some(f) = &f {
                    f(peer.event_loop());
                }
            })
            .unwrap();
            let server = Pipe::new(&lp).unwrap();
            server.bind("").unwrap();
            let (t, f) = (tokens.one(), act("listen"));
            server
                .listen(1, move |server, _| {
                    t.keep();
                    if let Some(f) = &f {
                        f(server.event_loop());
                    }
                })
                .unwrap();
            let client = Pipe::new(&lp).unwrap();
            client.connect(server.local_name().unwrap(), |_, _| {}).unwrap();
        }
        finish(&lp);
        assert!(closing.get() >= 10, "{kind}");
        assert_eq!((closed.get(), tokens.alive()), (closing.get(), 0), "{kind}");
    }
}

#[test]
fn timers_may_be_restarted_with_another_closure_from_their_own() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let timer = Timer::new(&lp).unwrap();
    let (l, t) = (log.clone(), tokens.one());
    let inner_tokens = tokens.clone();
    timer
        .start(0, 0, move |timer| {
            t.keep();
            l.add("first");
            // Started several times in one call, the last one counts.
            for name in ["second", "third"] {
                let (l, t) = (l.clone(), inner_tokens.one());
                timer
                    .start(0, 0, move |_| {
                        t.keep();
                        l.add(name);
                    })
                    .unwrap();
            }
            assert_eq!(inner_tokens.alive(), 2, "the running one and the last");
        })
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["first", "third"]);
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn reading_may_be_stopped_and_started_with_another_closure_from_its_own() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let (l, t) = (log.clone(), tokens.one());
    pipe.read_start(move |pipe, read| {
        t.keep();
        l.add(format!("first {read:?}"));
        assert_eq!(pipe.read_start(|_, _| {}), Err(Error::EALREADY));
        pipe.read_stop();
        assert!(!pipe.is_active());
        let l = l.clone();
        pipe.read_start(move |pipe, read| {
            l.add(format!("second {read:?}"));
            pipe.close();
        })
        .unwrap();
    })
    .unwrap();
    peer.write_and_forget("a").unwrap();
    lp.run(RunMode::Once).unwrap();
    assert_eq!((log.take(), tokens.alive()), (vec!["first Data([97])".to_owned()], 0));
    peer.write_and_forget("b").unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["second Data([98])"]);
}

#[test]
fn an_end_may_be_answered_by_reading_another_descriptor_with_the_same_handle() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let (next_reader, next_writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &writer, b"one").unwrap();
    drop(writer);
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(reader).unwrap();
    let (l, mut next) = (log.clone(), Some(next_reader));
    pipe.read_start(move |pipe, read| {
        l.add(format!("{read:?}"));
        // The event says that the first one was hung up; the second one was not.
        let Some(next) = next.take() else { return };
        pipe.read_stop();
        drop(pipe.take_fd().unwrap());
        pipe.open(next).unwrap();
        let l = l.clone();
        pipe.read_start(move |_, read| l.add(format!("next {read:?}"))).unwrap();
    })
    .unwrap();
    lp.run(RunMode::NoWait).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Data([111, 110, 101])"]);
    std::io::Write::write_all(&mut &next_writer, b"2").unwrap();
    drop(next_writer);
    finish(&lp);
    assert_eq!(log.take(), ["next Data([50])", "next Eof"]);
}

#[test]
fn dropping_a_closure_may_use_its_handle() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let timer = Timer::new(&lp).unwrap();
    for start_anew in [false, true] {
        let (t, l) = (timer.clone(), log.clone());
        let keeper = tools::OnDrop(move || {
            l.add(format!("active: {}", t.is_active()));
            if start_anew {
                let l = l.clone();
                t.start(0, 0, move |_| l.add("started while dropped")).unwrap();
            }
        });
        timer.start(0, 0, move |_| keeper.keep()).unwrap();
        timer.stop();
    }
    finish(&lp);
    assert_eq!(log.take(), ["active: false", "active: false", "started while dropped"]);

    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let (p, l) = (pipe.clone(), log.clone());
    let keeper = tools::OnDrop(move || {
        l.add(format!("reading: {}", p.is_active()));
        p.close();
    });
    pipe.read_start(move |_, _| keeper.keep()).unwrap();
    drop((pipe, peer));
    finish(&lp);
    assert_eq!(log.take(), ["reading: false"]);
}

#[test]
fn handles_may_be_made_and_started_in_any_phase() {
    let lp = EventLoop::new().unwrap();
    let count = Rc::new(Cell::new(0));
    fn spread(lp: &LoopRef, depth: u32, count: &Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        if depth == 0 {
            return;
        }
        let timer = Timer::new(lp).unwrap();
        let c = count.clone();
        timer.start(0, 0, move |timer| spread(timer.event_loop(), depth - 1, &c)).unwrap();
        macro_rules! hook {
            ($hook:ident) => {{
                let (hook, c) = ($hook::new(lp).unwrap(), count.clone());
                hook.start(move |hook| {
                    hook.stop();
                    spread(hook.event_loop(), depth - 1, &c);
                })
                .unwrap();
            }};
        }
        hook!(Idle);
        hook!(Prepare);
        hook!(Check);
        let (pipe, peer) = Pipe::pair(lp).unwrap();
        let c = count.clone();
        pipe.write("x", move |pipe, _| spread(pipe.event_loop(), depth - 1, &c)).unwrap();
        let c = count.clone();
        peer.close_with(move |peer| spread(peer.event_loop(), depth - 1, &c)).unwrap();
    }
    spread(&lp, 3, &count);
    finish(&lp);
    // 1 + 6 + 36 + 216
    assert_eq!(count.get(), 259);
}
