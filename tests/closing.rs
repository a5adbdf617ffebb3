//! Closing handles, and dropping the references to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{AnyHandle, Error};
use support::{Log, isolated, open_fds};
use tools::{Tokens, fill, finish};

/// One handle of each kind that this file can start, all active, each closure with a token.
fn all_kinds(lp: &EventLoop, tokens: &Tokens) -> Vec<AnyHandle> {
    let mut all = Vec::new();
    let t = tokens.one();
    let timer = Timer::new(lp).unwrap();
    timer.start(1_000_000, 0, move |_| t.keep()).unwrap();
    all.push(timer.to_any());
    let (idle, t) = (Idle::new(lp).unwrap(), tokens.one());
    idle.start(move |_| t.keep()).unwrap();
    all.push(idle.to_any());
    let (prepare, t) = (Prepare::new(lp).unwrap(), tokens.one());
    prepare.start(move |_| t.keep()).unwrap();
    all.push(prepare.to_any());
    let (check, t) = (Check::new(lp).unwrap(), tokens.one());
    check.start(move |_| t.keep()).unwrap();
    all.push(check.to_any());
    let t = tokens.one();
    all.push(Async::new(lp, move |_| t.keep()).unwrap().to_any());
    let (reader, writer) = std::io::pipe().unwrap();
    let (poll, t) = (Poll::new(lp, reader).unwrap(), tokens.one());
    poll.start(PollEvents::READABLE, move |_, _| {
        t.keep();
        let _keeps = &writer;
    })
    .unwrap();
    all.push(poll.to_any());
    let (signal, t) = (Signal::new(lp).unwrap(), tokens.one());
    signal.start(libc::SIGWINCH, move |_, _| t.keep()).unwrap();
    all.push(signal.to_any());
    let (pipe, peer) = Pipe::pair(lp).unwrap();
    let t = tokens.one();
    pipe.read_start(move |_, _| {
        t.keep();
        let _keeps = &peer;
    })
    .unwrap();
    all.push(pipe.to_any());
    let (server, t) = (Pipe::new(lp).unwrap(), tokens.one());
    server.bind("").unwrap();
    server.listen(1, move |_, _| t.keep()).unwrap();
    all.push(server.to_any());
    all
}

#[test]
fn closing_stops_at_once_and_calls_back_in_the_closing_phase() {
    isolated(|| {
        let before = open_fds();
        let lp = EventLoop::new().unwrap();
        let tokens = Tokens::new();
        for handle in all_kinds(&lp, &tokens) {
            assert!(handle.is_active() && !handle.is_closing(), "{handle:?}");
            let log = Log::new();
            let (l, alive) = (log.clone(), tokens.alive());
            handle
                .close_with(move |handle| {
                    assert!(handle.is_closed() && handle.is_closing() && !handle.is_active());
                    l.add("closed");
                })
                .unwrap();
            assert!(!handle.is_active() && handle.is_closing() && !handle.is_closed());
            assert_eq!(tokens.alive(), alive - 1, "{handle:?}: its closure is dropped in close");
            assert_eq!(log.take(), [""; 0], "{handle:?}: not from inside close");
            handle.close();
            assert_eq!(handle.close_with(|_| panic!("the second")), Err(Error::EINVAL));
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(log.take(), ["closed"], "{handle:?}");
            assert!(handle.is_closed());
            handle.close();
            assert_eq!(handle.close_with(|_| panic!("too late")), Err(Error::EINVAL));
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(log.take(), [""; 0], "{handle:?}: nothing comes after the close callback");
        }
        assert!(!lp.is_alive());
        drop(lp);
        assert_eq!((open_fds(), tokens.alive()), (before, 0));
    });
}

#[test]
fn the_one_closed_last_is_called_first() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    for name in ["a", "b", "c"] {
        let (timer, l) = (Timer::new(&lp).unwrap(), log.clone());
        timer.close_with(move |_| l.add(name)).unwrap();
    }
    finish(&lp);
    assert_eq!(log.take(), ["c", "b", "a"]);
}

#[test]
fn one_closed_in_a_close_callback_waits_for_the_next_turn() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (first, second) = (Timer::new(&lp).unwrap(), Timer::new(&lp).unwrap());
    let l = log.clone();
    first
        .close_with(move |first| {
            l.add(format!("first {}", first.event_loop().metrics().turns));
            let l = l.clone();
            second
                .close_with(move |second| {
                    l.add(format!("second {}", second.event_loop().metrics().turns));
                })
                .unwrap();
        })
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["first 1", "second 2"]);
}

#[test]
fn requests_end_with_ecanceled_before_the_close_callback() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    fill(&pipe);
    let log = Log::new();
    let record = |what: &'static str| {
        let l = log.clone();
        move |_: &Pipe, written: blacklight::Written| l.add(format!("{what} {written:?}"))
    };
    // Done, and not reported yet: it says what is true.
    peer.write("ok", record("done")).unwrap();
    pipe.write("abc", record("one")).unwrap();
    pipe.write("de", record("two")).unwrap();
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("shutdown {result:?}"))).unwrap();
    pipe.read_start(|_, _| panic!("closed before its turn")).unwrap();
    for (pipe, name) in [(&pipe, "pipe closed"), (&peer, "peer closed")] {
        let l = log.clone();
        pipe.close_with(move |_| l.add(name)).unwrap();
    }
    assert_eq!(log.take(), [""; 0]);
    finish(&lp);
    assert_eq!(
        log.take(),
        [
            "done Written { bytes: 2, result: Ok(()) }",
            "peer closed",
            "one Written { bytes: 0, result: Err(ECANCELED) }",
            "two Written { bytes: 0, result: Err(ECANCELED) }",
            "shutdown Err(ECANCELED)",
            "pipe closed",
        ]
    );
}

#[test]
fn a_connect_that_is_not_reported_yet_ends_with_ecanceled() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    server.unreference();
    let client = Pipe::new(&lp).unwrap();
    let l = log.clone();
    client
        .connect(server.local_name().unwrap(), move |_, result| l.add(format!("{result:?}")))
        .unwrap();
    let l = log.clone();
    client.write("x", move |_, written| l.add(format!("{:?}", written.result))).unwrap();
    let l = log.clone();
    client.close_with(move |_| l.add("closed")).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Err(ECANCELED)", "Err(ECANCELED)", "closed"]);
}

#[test]
fn handles_refuse_everything_while_closing_and_closed() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (timer, hook) = (Timer::new(&lp).unwrap(), Idle::new(&lp).unwrap());
        let (signal, (pipe, _peer)) = (Signal::new(&lp).unwrap(), Pipe::pair(&lp).unwrap());
        let poll = Poll::new(&lp, std::io::pipe().unwrap().0).unwrap();
        let server = Pipe::new(&lp).unwrap();
        server.bind("").unwrap();
        for handle in [timer.to_any(), hook.to_any(), signal.to_any(), pipe.to_any(), poll.to_any()]
        {
            handle.close();
        }
        server.close();
        let einval = Err(Error::EINVAL);
        for _ in 0..2 {
            assert_eq!(timer.start(0, 0, |_| panic!()), einval);
            assert_eq!(timer.again(), einval);
            assert_eq!(timer.restart(std::time::Duration::ZERO), einval);
            timer.stop();
            assert_eq!(hook.start(|_| panic!()), einval);
            hook.stop();
            assert_eq!(signal.start(libc::SIGUSR1, |_, _| panic!()), einval);
            assert_eq!(signal.start_oneshot(libc::SIGUSR1, |_, _| panic!()), einval);
            signal.stop();
            assert_eq!(poll.start(PollEvents::READABLE, |_, _| panic!()), einval);
            assert_eq!(poll.fileno(), Err(Error::EBADF));
            poll.stop();
            assert_eq!(pipe.read_start(|_, _| panic!()), einval);
            pipe.read_stop();
            assert_eq!(pipe.write("x", |_, _| panic!()), Err(Error::EBADF));
            assert_eq!(pipe.write_and_forget("x"), Err(Error::EBADF));
            assert_eq!(pipe.try_write(b"x"), Err(Error::EBADF));
            assert_eq!(pipe.shutdown(|_, _| panic!()), Err(Error::EBADF));
            assert_eq!(pipe.on_drain(|_| panic!()), einval);
            assert_eq!(pipe.take_fd().map(drop), Err(Error::EBADF));
            assert_eq!(pipe.fileno(), Err(Error::EBADF));
            assert_eq!(pipe.local_name(), Err(Error::EBADF));
            assert_eq!(pipe.open(std::io::pipe().unwrap().0), einval);
            assert_eq!(pipe.bind(""), einval);
            assert_eq!(pipe.connect("/x", |_, _| panic!()), einval);
            assert!(!pipe.is_readable() && !pipe.is_writable());
            assert_eq!(server.listen(1, |_, _| panic!()), einval);
            assert!(server.accept().is_err());
            finish(&lp);
        }
    });
}

#[test]
fn dropping_the_references_of_an_active_handle_does_not_stop_it() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let tokens = Tokens::new();
        let count = all_kinds(&lp, &tokens).len();
        assert_eq!(tokens.alive(), count);
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(tokens.alive(), count);
        // They can be had back.
        let all: Rc<RefCell<Vec<AnyHandle>>> = Rc::default();
        lp.walk(|handle| all.borrow_mut().push(handle.clone()));
        all.borrow_mut().retain(|handle| handle.is_active());
        assert_eq!(all.borrow().len(), count);
        drop(lp);
        assert_eq!(tokens.alive(), 0);
    });
}

#[test]
fn dropping_the_last_reference_of_an_idle_handle_closes_its_descriptor_at_once() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        // What the loop makes at first use stays with it.
        drop(Async::new(&lp, |_| {}).unwrap());
        lp.walk(|handle| handle.close());
        finish(&lp);
        let before = open_fds();
        let (one, other) = Pipe::pair(&lp).unwrap();
        one.read_start(|_, _| {}).unwrap();
        one.read_stop();
        assert_eq!(open_fds().len(), before.len() + 2);
        let clone = one.clone();
        drop(one);
        assert_eq!(open_fds().len(), before.len() + 2);
        drop(clone);
        assert_eq!(open_fds().len(), before.len() + 1);
        drop(other);
        assert_eq!(open_fds(), before);
        let (reader, writer) = std::io::pipe().unwrap();
        let poll = Poll::new(&lp, reader).unwrap();
        poll.start(PollEvents::READABLE, |_, _| {}).unwrap();
        poll.stop();
        drop((poll, writer));
        assert_eq!(open_fds(), before);
        let server = Pipe::new(&lp).unwrap();
        server.bind("").unwrap();
        drop(server);
        assert_eq!(open_fds(), before);
        assert!(!lp.is_alive());
        let mut left = 0;
        lp.walk(|_| left += 1);
        assert_eq!(left, 0);
    });
}

#[test]
fn a_queued_write_keeps_the_stream_and_is_written_though_nobody_refers_to_it() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let filled = fill(&pipe);
    pipe.write_and_forget("the end").unwrap();
    drop(pipe);
    let bytes = tools::collect(&peer);
    // The stream goes with its last write, and that is what the peer reads as the end.
    finish(&lp);
    assert_eq!(bytes.borrow().len(), filled + 7);
    assert!(bytes.borrow().ends_with(b"the end"));
    assert!(peer.is_closed());
}

/// The descriptor of a copy elsewhere keeps its description open; a registration that outlived its
/// descriptor could not be deleted any more and would report for ever.
#[test]
fn registrations_go_before_their_descriptors_though_copies_live_on() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        // With nothing to watch the loop would not ask the kernel at all.
        let _watched = Async::new(&lp, |_| {}).unwrap();
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        // SAFETY: duplicates a descriptor that is open; it lives to the end of this process.
        assert!(unsafe { libc::dup(pipe.fileno().unwrap()) } >= 0);
        pipe.read_start(|_, _| panic!("closed")).unwrap();
        pipe.close();
        peer.write_and_forget("x").unwrap();
        for _ in 0..3 {
            lp.run(RunMode::NoWait).unwrap();
        }
        assert_eq!(lp.metrics().events, 0);
    });
}
