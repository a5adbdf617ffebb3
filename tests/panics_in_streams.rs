//! A panic in each kind of a stream's callback, and in the middle of its queues.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use blacklight::prelude::*;
use blacklight::{Error, ReadInto};
use support::Log;
use tools::{Tokens, collect, fill, finish, run_panics};

const MESSAGE: &str = "on purpose";

#[test]
fn reading_into_the_buffer_of_the_loop() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let t = tokens.one();
    pipe.read_start(move |_, _| {
        t.keep();
        panic!("{MESSAGE}");
    })
    .unwrap();
    peer.write_and_forget("lost").unwrap();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!((pipe.is_active(), tokens.alive()), (false, 0));
    assert!(pipe.is_readable());
    // The loop has a buffer again, and the stream goes on.
    let bytes = collect(&pipe);
    peer.write_and_forget("found").unwrap();
    peer.close();
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"found");
}

#[test]
fn reading_into_buffers_of_the_caller() {
    for in_supply in [true, false] {
        let lp = EventLoop::new().unwrap();
        let tokens = Tokens::new();
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        let (s, t) = (tokens.one(), tokens.one());
        pipe.read_start_into(
            move |_, _| {
                s.keep();
                assert!(!in_supply, "{MESSAGE}");
                vec![0; 16]
            },
            move |_, _: ReadInto<Vec<u8>>| {
                t.keep();
                panic!("{MESSAGE}");
            },
        )
        .unwrap();
        peer.write_and_forget("text").unwrap();
        run_panics(&lp, RunMode::Default, MESSAGE);
        assert_eq!((pipe.is_active(), tokens.alive()), (false, 0));
        let bytes = collect(&pipe);
        peer.close();
        finish(&lp);
        let left: &[u8] = if in_supply { b"text" } else { b"" };
        assert_eq!(*bytes.borrow(), left);
    }
}

#[test]
fn at_the_end_of_reading() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.read_start(|_, read| {
        assert_eq!(read, Read::Eof);
        panic!("{MESSAGE}");
    })
    .unwrap();
    peer.close();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert!(!pipe.is_active());
    finish(&lp);
}

#[test]
fn writes_that_were_done_at_once() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    for i in 0..3 {
        let (l, t) = (log.clone(), tokens.one());
        pipe.write("x", move |_, written| {
            t.keep();
            l.add(format!("{i} {:?}", written.result));
            assert!(i != 1, "{MESSAGE}");
        })
        .unwrap();
    }
    let l = log.clone();
    peer.write("y", move |_, _| l.add("the next stream in the queue")).unwrap();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["0 Ok(())", "1 Ok(())"]);
    assert_eq!(tokens.alive(), 1);
    finish(&lp);
    assert_eq!(log.take(), ["the next stream in the queue", "2 Ok(())"]);
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn writes_that_were_queued() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    fill(&pipe);
    for i in 0..3 {
        let l = log.clone();
        pipe.write("x", move |_, written| {
            l.add(format!("{i} {:?}", written.result));
            assert!(i != 1, "{MESSAGE}");
        })
        .unwrap();
    }
    let l = log.clone();
    pipe.on_drain(move |_| l.add("drained")).unwrap();
    pipe.set_high_water_mark(0);
    pipe.write("y", |_, _| {}).unwrap();
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("shut down {result:?}"))).unwrap();
    let bytes = collect(&peer);
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["0 Ok(())", "1 Ok(())"]);
    finish(&lp);
    // Nothing may be written any more, so nobody is told that it may.
    assert_eq!(log.take(), ["2 Ok(())", "shut down Ok(())"]);
    assert!(bytes.borrow().ends_with(b"xxxy"));
}

#[test]
fn writes_cancelled_by_closing() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    fill(&pipe);
    for i in 0..3 {
        let l = log.clone();
        pipe.write("x", move |_, written| {
            l.add(format!("{i} {:?}", written.result));
            assert!(i != 1, "{MESSAGE}");
        })
        .unwrap();
    }
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("shutdown {result:?}"))).unwrap();
    let l = log.clone();
    pipe.close_with(move |_| l.add("closed")).unwrap();
    let (other, l) = (Timer::new(&lp).unwrap(), log.clone());
    other.close_with(move |_| l.add("timer closed")).unwrap();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), ["timer closed", "0 Err(ECANCELED)", "1 Err(ECANCELED)"]);
    assert!(!pipe.is_closed());
    finish(&lp);
    assert_eq!(log.take(), ["2 Err(ECANCELED)", "shutdown Err(ECANCELED)", "closed"]);
}

#[test]
fn the_last_write_with_a_shutdown_behind_it() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.write("x", |_, _| panic!("{MESSAGE}")).unwrap();
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("shut down {result:?}"))).unwrap();
    let bytes = collect(&peer);
    run_panics(&lp, RunMode::Default, MESSAGE);
    finish(&lp);
    assert_eq!(log.take(), ["shut down Ok(())"]);
    assert_eq!((bytes.borrow().as_slice(), peer.is_closed()), (b"x".as_slice(), true));
}

#[test]
fn the_shutdown_itself_after_which_there_is_no_drain() {
    let lp = EventLoop::new().unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.set_high_water_mark(1);
    fill(&pipe);
    pipe.write_and_forget("queued").unwrap();
    assert!(pipe.wants_drain());
    let (l, t) = (log.clone(), tokens.one());
    pipe.on_drain(move |_| {
        t.keep();
        l.add("drained");
    })
    .unwrap();
    pipe.shutdown(|_, _| panic!("{MESSAGE}")).unwrap();
    let _bytes = collect(&peer);
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!(log.take(), [""; 0]);
    finish(&lp);
    assert_eq!(log.take(), [""; 0]);
    pipe.close();
    assert_eq!(lp.run(RunMode::NoWait), Ok(false));
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn the_drain_event() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.set_high_water_mark(1);
    fill(&pipe);
    pipe.write_and_forget("queued").unwrap();
    let t = tokens.one();
    pipe.on_drain(move |_| {
        t.keep();
        panic!("{MESSAGE}");
    })
    .unwrap();
    let bytes = collect(&peer);
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!((tokens.alive(), pipe.wants_drain()), (0, false));
    pipe.write_and_forget("more").unwrap();
    pipe.close();
    finish(&lp);
    assert!(bytes.borrow().ends_with(b"queuedmore"));
}

#[test]
fn a_connect_with_writes_behind_it() {
    for fails in [false, true] {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let server = Pipe::new(&lp).unwrap();
        server.bind("").unwrap();
        let name = server.local_name().unwrap();
        if !fails {
            server.listen(1, |_, _| {}).unwrap();
        }
        server.unreference();
        let client = Pipe::new(&lp).unwrap();
        client.connect(&name, |_, _| panic!("{MESSAGE}")).unwrap();
        let l = log.clone();
        client.write("x", move |_, written| l.add(format!("{:?}", written.result))).unwrap();
        run_panics(&lp, RunMode::Default, MESSAGE);
        finish(&lp);
        assert_eq!(log.take(), [if fails { "Err(ECANCELED)" } else { "Ok(())" }]);
        // The connect is over either way.
        let again = client.connect(&name, |_, _| {});
        assert_eq!(again, if fails { Ok(()) } else { Err(Error::EISCONN) });
        finish(&lp);
    }
}

#[test]
fn an_announced_connection() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    let t = tokens.one();
    server
        .listen(8, move |_, _| {
            t.keep();
            panic!("{MESSAGE}");
        })
        .unwrap();
    let clients: Vec<Pipe> = (0..2)
        .map(|_| {
            let client = Pipe::new(&lp).unwrap();
            client.connect(server.local_name().unwrap(), |_, result| result.unwrap()).unwrap();
            client
        })
        .collect();
    run_panics(&lp, RunMode::Default, MESSAGE);
    assert_eq!((server.is_active(), tokens.alive()), (false, 0));
    finish(&lp);
    // The connection that was announced waits still, and so does the one behind it.
    let first = server.accept().unwrap();
    assert!(matches!(server.accept(), Err(Error::EAGAIN)));
    server
        .listen(8, |server, result| {
            result.unwrap();
            server.accept().unwrap().write_and_forget("second").unwrap();
            server.close();
        })
        .unwrap();
    first.write_and_forget("first").unwrap();
    first.close();
    let bytes: Vec<_> = clients.iter().map(collect).collect();
    finish(&lp);
    assert_eq!(*bytes[0].borrow(), b"first");
    assert_eq!(*bytes[1].borrow(), b"second");
}
