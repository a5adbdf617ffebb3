//! The queue of a stream's writes: back-pressure, cancelling, and the shutdown behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, WriteId, Written};
use support::Log;
use tools::{collect, fill, finish, finish_writes, noise};

/// 64 MiB through a pair, the writer held back by the high-water mark.
#[test]
fn a_long_stream_with_back_pressure_arrives_byte_for_byte() {
    const TOTAL: usize = 64 << 20;
    const CHUNK: usize = 100_000;
    const MARK: usize = 256 * 1024;
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let data: Rc<[u8]> = noise(TOTAL).into();
    pipe.set_high_water_mark(MARK);
    let (sent, drains) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let send = {
        let (data, sent) = (data.clone(), sent.clone());
        move |pipe: &Pipe| {
            while !pipe.wants_drain() && sent.get() < TOTAL {
                let end = TOTAL.min(sent.get() + CHUNK);
                pipe.write_and_forget(data[sent.get()..end].to_vec()).unwrap();
                sent.set(end);
                assert!(pipe.write_queue_size() < MARK + CHUNK);
            }
            if sent.get() == TOTAL {
                // Refused the second time: once is enough.
                let _again = pipe.shutdown(|pipe, _| pipe.close());
            }
        }
    };
    send(&pipe);
    assert!(pipe.wants_drain(), "the peer has not read anything yet");
    let d = drains.clone();
    pipe.on_drain(move |pipe| {
        assert_eq!((pipe.write_queue_size(), pipe.wants_drain()), (0, false));
        d.set(d.get() + 1);
        send(pipe);
    })
    .unwrap();
    let position = Rc::new(Cell::new(0));
    let (p, expected) = (position.clone(), data.clone());
    peer.read_start(move |peer, read| match read {
        Read::Data(bytes) => {
            let at = p.get();
            assert!(bytes == &expected[at..at + bytes.len()], "differs after {at} bytes");
            p.set(at + bytes.len());
        }
        Read::Eof => peer.close(),
        Read::Error(error) => panic!("{error}"),
    })
    .unwrap();
    finish(&lp);
    assert_eq!(position.get(), TOTAL);
    assert!(drains.get() > 1);
}

#[test]
fn the_drain_event_comes_once_for_each_time_the_mark_is_reached() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let drains = Rc::new(Cell::new(0));
    let d = drains.clone();
    pipe.on_drain(move |_| d.set(d.get() + 1)).unwrap();
    fill(&pipe);
    pipe.set_high_water_mark(10);
    pipe.write_and_forget("123456789").unwrap();
    assert!(!pipe.wants_drain(), "below the mark");
    peer.read_start(|_, _| {}).unwrap();
    finish_writes(&lp, &pipe);
    assert_eq!(drains.get(), 0);
    peer.read_stop();
    for round in 1..4 {
        fill(&pipe);
        pipe.write_and_forget("123456789").unwrap();
        pipe.write("0", |pipe, _| assert!(pipe.wants_drain(), "before its event")).unwrap();
        assert!(pipe.wants_drain());
        pipe.write_and_forget("more").unwrap();
        peer.read_start(|_, _| {}).unwrap();
        finish_writes(&lp, &pipe);
        peer.read_stop();
        assert_eq!((drains.get(), pipe.wants_drain()), (round, false));
    }
}

/// libuv#2051: a write that is taken back says how far it got.
#[test]
fn a_cancelled_write_says_how_much_was_written_and_writes_no_more() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let results: Rc<RefCell<Vec<(usize, Written)>>> = Rc::default();
    let ids: Vec<WriteId> = (0..4)
        .map(|i| {
            let results = results.clone();
            let bytes = vec![b'a' + i as u8; if i == 0 { 8 << 20 } else { 10 }];
            pipe.write(bytes, move |_, written| results.borrow_mut().push((i, written))).unwrap()
        })
        .collect();
    // The first has been begun, the others have not.
    let begun = pipe.bytes_written(ids[0]).unwrap();
    assert!(begun > 0 && begun < 8 << 20);
    assert_eq!(pipe.bytes_written(ids[2]), Some(0));
    assert_eq!(pipe.write_queue_size(), (8 << 20) - begun + 30);
    assert_eq!(pipe.cancel_write(ids[0]), Ok(()));
    assert_eq!(pipe.cancel_write(ids[2]), Ok(()));
    assert_eq!(pipe.cancel_write(ids[2]), Err(Error::ENOENT), "twice");
    assert_eq!(pipe.cancel_write(WriteId::from_u64(99)), Err(Error::ENOENT));
    assert_eq!((pipe.write_queue_size(), pipe.bytes_written(ids[0])), (20, None));
    assert!(results.borrow().is_empty(), "not from inside the call");
    let bytes = collect(&peer);
    finish_writes(&lp, &pipe);
    assert_eq!(pipe.cancel_write(ids[1]), Err(Error::ENOENT), "it is done");
    pipe.close();
    finish(&lp);
    let outcome: Vec<_> =
        results.borrow().iter().map(|(i, written)| (*i, written.bytes, written.result)).collect();
    assert_eq!(
        outcome,
        [
            (0, begun, Err(Error::ECANCELED)),
            (2, 0, Err(Error::ECANCELED)),
            (1, 10, Ok(())),
            (3, 10, Ok(()))
        ]
    );
    assert_eq!(bytes.borrow().len(), begun + 20);
    assert!(bytes.borrow().ends_with(b"abbbbbbbbbbdddddddddd"));
}

#[test]
fn cancelling_the_last_write_lets_the_shutdown_behind_it_go_on() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let before = fill(&pipe);
    let log = Log::new();
    let l = log.clone();
    let id = pipe.write("x", move |_, written| l.add(format!("{:?}", written.result))).unwrap();
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("shutdown {result:?}"))).unwrap();
    pipe.cancel_write(id).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Err(ECANCELED)", "shutdown Ok(())"]);
    let bytes = collect(&peer);
    finish(&lp);
    assert_eq!(bytes.borrow().len(), before);
}

#[test]
fn shutdown_comes_after_all_that_is_queued_and_the_peer_reads_the_end() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let log = Log::new();
    let before = fill(&pipe);
    let l = log.clone();
    pipe.write("last", move |_, _| l.add("written")).unwrap();
    let l = log.clone();
    pipe.shutdown(move |pipe, result| {
        l.add(format!("shut down {result:?}"));
        assert!(pipe.is_readable() && !pipe.is_writable());
    })
    .unwrap();
    assert!(!pipe.is_writable());
    assert_eq!(pipe.write("x", |_, _| panic!()), Err(Error::EPIPE));
    assert_eq!(pipe.write_and_forget("x"), Err(Error::EPIPE));
    assert_eq!(pipe.try_write(b"x"), Err(Error::EPIPE));
    assert_eq!(pipe.shutdown(|_, _| panic!()), Err(Error::ENOTCONN));
    // The other direction stays open.
    let answer = Rc::new(RefCell::new(Vec::new()));
    let a = answer.clone();
    pipe.read_start(move |pipe, read| match read {
        Read::Data(bytes) => a.borrow_mut().extend_from_slice(bytes),
        _ => pipe.close(),
    })
    .unwrap();
    let (l, count) = (log.clone(), Rc::new(Cell::new(0)));
    peer.read_start(move |peer, read| match read {
        Read::Data(bytes) => count.set(count.get() + bytes.len()),
        _ => {
            l.add(format!("end: {}", count.get() == before + 4));
            peer.write("answer", |peer, _| peer.close()).unwrap();
        }
    })
    .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["written", "shut down Ok(())", "end: true"]);
    assert_eq!(*answer.borrow(), b"answer");
    assert_eq!(pipe.shutdown(|_, _| panic!()), Err(Error::EBADF));
}

#[test]
fn shutdown_with_nothing_queued_calls_back_from_run() {
    let lp = EventLoop::new().unwrap();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    let log = Log::new();
    let l = log.clone();
    pipe.shutdown(move |_, result| l.add(format!("{result:?}"))).unwrap();
    assert_eq!(log.take(), [""; 0]);
    finish(&lp);
    assert_eq!(log.take(), ["Ok(())"]);
    // A real pipe has no writing side of its own: its end is closed.
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, output) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    input.open(reader).unwrap();
    output.open(writer).unwrap();
    output.write("x", |_, _| {}).unwrap();
    let bytes = collect(&input);
    output
        .shutdown(|output, result| {
            result.unwrap();
            assert_eq!(output.fileno(), Err(Error::EBADF));
        })
        .unwrap();
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"x");
}
