//! Dropping a loop: every descriptor is closed, every closure dropped, every handle left closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::Error;
use blacklight::prelude::*;
use support::{Log, isolated, open_fds};
use tools::{OnDrop, TempPath, Tokens, fill};

#[test]
fn drops_closures_of_every_kind_and_calls_none() {
    isolated(|| {
        let before = open_fds();
        let tokens = Tokens::new();
        let path = TempPath::new();
        let lp = EventLoop::new().unwrap();
        let timer = Timer::new(&lp).unwrap();
        let t = tokens.one();
        timer.start(0, 0, move |_| t.keep()).unwrap();
        let closing = Timer::new(&lp).unwrap();
        let t = tokens.one();
        closing.close_with(move |_| t.keep()).unwrap();
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        fill(&pipe);
        for _ in 0..3 {
            let t = tokens.one();
            pipe.write("queued", move |_, _| drop(t)).unwrap();
        }
        let t = tokens.one();
        peer.write("done", move |_, _| drop(t)).unwrap();
        let t = tokens.one();
        pipe.shutdown(move |_, _| drop(t)).unwrap();
        let t = tokens.one();
        pipe.on_drain(move |_| t.keep()).unwrap();
        let t = tokens.one();
        pipe.read_start(move |_, _| t.keep()).unwrap();
        let (s, t) = (tokens.one(), tokens.one());
        peer.read_start_into(
            move |_, _| {
                s.keep();
                [0; 8]
            },
            move |_, _| t.keep(),
        )
        .unwrap();
        let server = Pipe::new(&lp).unwrap();
        server.bind(path.bytes()).unwrap();
        let t = tokens.one();
        server.listen(1, move |_, _| t.keep()).unwrap();
        let client = Pipe::new(&lp).unwrap();
        let t = tokens.one();
        client.connect(path.bytes(), move |_, _| drop(t)).unwrap();
        let signal = Signal::new(&lp).unwrap();
        let t = tokens.one();
        signal.start(libc::SIGUSR1, move |_, _| t.keep()).unwrap();
        tools::raise(libc::SIGUSR1);
        let t = tokens.one();
        let wake = Async::new(&lp, move |_| t.keep()).unwrap();
        wake.send().unwrap();
        assert_eq!(tokens.alive(), 15);
        drop(lp);
        assert_eq!(tokens.alive(), 0);
        assert_eq!(open_fds(), before, "though references to the handles live on");
        assert!(!path.path().exists(), "the server's path goes with it");
        for handle in [timer.to_any(), closing.to_any(), pipe.to_any(), signal.to_any()] {
            assert!(handle.is_closed() && !handle.is_active(), "{handle:?}");
        }
        drop((timer, pipe, peer, server, client, signal, wake));
    });
}

#[test]
fn frees_loops_of_references() {
    let tokens = Tokens::new();
    let lp = EventLoop::new().unwrap();
    let (a, b) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let (one, other) = Pipe::pair(&lp).unwrap();
    // Each closure holds the other's handle, and its own.
    for (me, you) in [(&a, &b), (&b, &a)] {
        let (held, t) = ((me.clone(), you.clone()), tokens.one());
        me.start(1, 1, move |_| {
            t.keep();
            let _held = &held;
        })
        .unwrap();
    }
    for (me, you) in [(&one, &other), (&other, &one)] {
        let (held, t) = ((me.clone(), you.clone(), a.clone()), tokens.one());
        me.read_start(move |_, _| {
            t.keep();
            let _held = &held;
        })
        .unwrap();
    }
    drop((a, b, one, other));
    assert_eq!(tokens.alive(), 4);
    drop(lp);
    assert_eq!(tokens.alive(), 0);
}

/// Closures whose drop does everything that can be done with handles of the loop being dropped.
#[test]
fn closures_may_use_other_handles_of_the_loop_while_they_are_dropped() {
    isolated(|| {
        let before = open_fds();
        let log = Log::new();
        let tokens = Tokens::new();
        let lp = EventLoop::new().unwrap();
        let lp_ref = (*lp).clone();
        let timers: Vec<Timer> = (0..6).map(|_| Timer::new(&lp).unwrap()).collect();
        let hooks: Vec<Idle> = (0..4).map(|_| Idle::new(&lp).unwrap()).collect();
        let pairs: Vec<(Pipe, Pipe)> = (0..4).map(|_| Pipe::pair(&lp).unwrap()).collect();
        let queued: Vec<_> = pairs
            .iter()
            .map(|(pipe, _)| {
                fill(pipe);
                let t = tokens.one();
                pipe.write("x", move |_, _| drop(t)).unwrap()
            })
            .collect();
        let busybody = {
            let (timers, hooks, pairs) = (timers.clone(), hooks.clone(), pairs.clone());
            let (log, lp) = (log.clone(), lp_ref.clone());
            move || {
                log.add("dropped");
                assert_eq!(timers[0].start(0, 0, |_| {}), Err(Error::EINVAL));
                assert!(timers[0].again().is_err());
                assert_eq!(hooks[0].start(|_| {}), Err(Error::EINVAL));
                assert!(matches!(Timer::new(&lp), Err(Error::EINVAL)));
                assert!(matches!(Async::new(&lp, |_| {}), Err(Error::EINVAL)));
                assert!(matches!(Pipe::pair(&lp), Err(Error::EINVAL)));
                for ((pipe, peer), id) in pairs.iter().zip(&queued) {
                    assert!(pipe.write("x", |_, _| {}).is_err());
                    assert!(pipe.write_and_forget("x").is_err());
                    assert!(peer.try_write(b"x").is_err());
                    assert!(pipe.shutdown(|_, _| {}).is_err());
                    let _too_late = pipe.cancel_write(*id);
                    assert!(peer.read_start(|_, _| {}).is_err());
                    peer.read_stop();
                    let _maybe = peer.take_fd();
                }
                let mut seen = 0;
                lp.walk(|_| seen += 1);
                for timer in &timers {
                    timer.stop();
                    timer.close();
                    let _closed = timer.close_with(|_| panic!("called"));
                }
                for hook in &hooks {
                    hook.close();
                    hook.unreference();
                    hook.reference();
                }
                for (pipe, peer) in &pairs {
                    pipe.close();
                    peer.close();
                }
            }
        };
        for i in [0, 3, 5] {
            let keeper = OnDrop(busybody.clone());
            timers[i].start(1, 0, move |_| keeper.keep()).unwrap();
        }
        for i in [1, 2] {
            let keeper = OnDrop(busybody.clone());
            hooks[i].start(move |_| keeper.keep()).unwrap();
        }
        for i in [0, 2] {
            let keeper = OnDrop(busybody.clone());
            pairs[i].1.read_start(move |_, _| keeper.keep()).unwrap();
            let keeper = OnDrop(busybody.clone());
            pairs[i].0.on_drain(move |_| keeper.keep()).unwrap();
        }
        let keeper = OnDrop(busybody.clone());
        timers[4].close_with(move |_| keeper.keep()).unwrap();
        let keeper = OnDrop(busybody.clone());
        pairs[1].1.write("x", move |_, _| keeper.keep()).unwrap();
        drop((timers, hooks, pairs));
        drop(busybody);
        drop(lp);
        assert_eq!(log.take().len(), 11);
        assert_eq!(tokens.alive(), 0);
        assert!(!lp_ref.is_alive());
        drop(lp_ref);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn handles_of_a_dropped_loop_give_error_values() {
    let lp = EventLoop::new().unwrap();
    let lp_ref = (*lp).clone();
    let (timer, hook) = (Timer::new(&lp).unwrap(), Check::new(&lp).unwrap());
    let (signal, (pipe, _peer)) = (Signal::new(&lp).unwrap(), Pipe::pair(&lp).unwrap());
    let poll = Poll::new(&lp, std::io::pipe().unwrap().0).unwrap();
    let wake = Async::new(&lp, |_| {}).unwrap();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    timer.start(0, 0, |_| panic!("called")).unwrap();
    drop(lp);
    assert!(timer.start(0, 0, |_| {}).is_err());
    assert!(timer.again().is_err());
    assert_eq!((timer.due_in(), timer.repeat()), (0, 0));
    timer.stop();
    assert!(hook.start(|_| {}).is_err());
    assert!(signal.start(libc::SIGWINCH, |_, _| {}).is_err());
    assert!(poll.start(PollEvents::READABLE, |_, _| {}).is_err());
    assert!(wake.send().is_err());
    assert!(pipe.read_start(|_, _| {}).is_err());
    assert!(pipe.write("x", |_, _| {}).is_err());
    assert!(pipe.try_write(b"x").is_err());
    assert!(pipe.shutdown(|_, _| {}).is_err());
    assert!(pipe.take_fd().is_err());
    assert!(pipe.open(std::io::pipe().unwrap().0).is_err());
    assert!(pipe.bind("").is_err());
    assert!(pipe.connect("x", |_, _| {}).is_err());
    assert!(server.accept().is_err());
    assert!(server.listen(1, |_, _| {}).is_err());
    assert!(timer.close_with(|_| {}).is_err());
    timer.close();
    timer.unreference();
    assert!(Timer::new(&lp_ref).is_err());
    assert!(Pipe::new(&lp_ref).is_err());
    assert!(Signal::new(&lp_ref).is_err());
    assert_eq!(lp_ref.after_fork(), Err(Error::EINVAL));
    assert!(!lp_ref.is_alive(), "there is nothing to run");
    let _time = (lp_ref.now(), lp_ref.backend_timeout());
    lp_ref.update_time();
    lp_ref.stop();
    lp_ref.walk(|handle| panic!("{handle:?} is left"));
}

#[test]
fn a_loop_may_be_dropped_after_a_panic_in_the_middle_of_everything() {
    isolated(|| {
        let before = open_fds();
        let tokens = Tokens::new();
        let lp = EventLoop::new().unwrap();
        let wakes: Rc<RefCell<Vec<Async>>> = Rc::default();
        for i in 0..3 {
            let t = tokens.one();
            let (reader, writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut &writer, b"x").unwrap();
            let poll = Poll::new(&lp, reader).unwrap();
            poll.start(PollEvents::READABLE, move |_, _| {
                t.keep();
                let _keeps = &writer;
                panic!("poll");
            })
            .unwrap();
            let t = tokens.one();
            let wake = Async::new(&lp, move |_| t.keep()).unwrap();
            wake.send().unwrap();
            wakes.borrow_mut().push(wake);
            let timer = Timer::new(&lp).unwrap();
            let t = tokens.one();
            timer.close_with(move |_| t.keep()).unwrap();
            let idle = Idle::new(&lp).unwrap();
            let t = tokens.one();
            idle.start(move |_| {
                t.keep();
                assert_ne!(i, 1, "idle");
            })
            .unwrap();
        }
        tools::unwinds(|| lp.run(RunMode::Default));
        tools::unwinds(|| lp.run(RunMode::Default));
        drop(lp);
        assert_eq!((tokens.alive(), open_fds()), (0, before));
    });
}
