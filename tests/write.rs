//! Writing to streams: the order of writes, several buffers at a time, `try_write`, errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, WriteId};
use support::Log;
use tools::{Tokens, all_written, collect, fill, finish, finish_writes, noise};

#[test]
fn the_callback_comes_from_run_although_the_write_is_done_at_once() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let l = log.clone();
    let id = pipe.write("text", move |_, written| l.add(format!("{written:?}"))).unwrap();
    assert_eq!(
        (id, pipe.write_queue_size(), pipe.bytes_written(id)),
        (WriteId::from_u64(0), 0, None)
    );
    assert_eq!(log.take(), [""; 0]);
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Written { bytes: 4, result: Ok(()) }"]);
    pipe.close();
    let bytes = collect(&peer);
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"text");
}

#[test]
fn a_thousand_queued_writes_arrive_and_complete_in_order() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let before = fill(&pipe);
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut expected = Vec::new();
    for i in 0..1000usize {
        // Sizes from nothing to far more than fits, so that many are written in parts.
        let bytes = noise(match i % 50 {
            7 => 0,
            49 => 300_000,
            _ => i,
        });
        expected.extend_from_slice(&bytes);
        let (o, length) = (order.clone(), bytes.len());
        let id = pipe
            .write(bytes, move |_, written| {
                all_written(written, length);
                o.borrow_mut().push(i);
            })
            .unwrap();
        assert_eq!(id.as_u64(), i as u64);
    }
    assert_eq!(pipe.write_queue_size(), expected.len());
    pipe.shutdown(|pipe, result| {
        result.unwrap();
        pipe.close();
    })
    .unwrap();
    let bytes = collect(&peer);
    finish(&lp);
    let order = order.take();
    let wrong = order.iter().enumerate().find(|(at, i)| at != *i);
    assert_eq!((wrong, order.len()), (None, 1000));
    assert!(bytes.borrow()[before..] == expected[..]);
}

#[test]
fn vectored_writes_of_all_kinds_of_buffers_are_one_write() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let mut bufs = vec![
        Buf::from("static "),
        Buf::from(b"bytes "),
        Buf::from(vec![b'v']),
        Buf::from(String::from("ec ")),
        Buf::from(Rc::<[u8]>::from(*b"rc ")),
        Buf::from(std::sync::Arc::<[u8]>::from(*b"arc ")),
        Buf::from(Box::<[u8]>::from(*b"box ")),
        Buf::from(""),
    ];
    // More than go into one system call.
    bufs.extend((0..2000).map(|_| Buf::from(".")));
    let total = 7 + 6 + 4 + 3 + 4 + 4 + 2000;
    pipe.write_vectored(bufs, move |pipe, written| {
        all_written(written, total);
        pipe.close();
    })
    .unwrap();
    let bytes = collect(&peer);
    finish(&lp);
    assert!(bytes.borrow().starts_with(b"static bytes vec rc arc box ...."));
    assert_eq!(bytes.borrow().len(), total);
}

#[test]
fn the_number_of_buffers_is_bounded() {
    let lp = EventLoop::new().unwrap();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    let many = |n| (0..n).map(|_| Buf::from("")).collect::<Vec<_>>();
    assert_eq!(pipe.write_vectored(many(0), |_, _| panic!()), Err(Error::EINVAL));
    assert_eq!(pipe.write_vectored(many((1 << 20) + 1), |_, _| panic!()), Err(Error::EINVAL));
    assert!(!lp.is_alive());
    pipe.write_vectored(many(1 << 20), |_, written| all_written(written, 0)).unwrap();
    pipe.write("", |_, written| all_written(written, 0)).unwrap();
    finish(&lp);
}

#[test]
fn try_write_queues_nothing_and_stands_behind_what_is_queued() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    assert_eq!(pipe.try_write(b"ab"), Ok(2));
    let slices = [IoSlice::new(b"c"), IoSlice::new(b""), IoSlice::new(b"de")];
    assert_eq!(pipe.try_write_vectored(&slices), Ok(3));
    assert_eq!(pipe.try_write(b""), Ok(0));
    // More than fits: as much as fits.
    let large = vec![b'.'; 64 << 20];
    let n = pipe.try_write(&large).unwrap();
    assert!(n > 0 && n < large.len());
    fill(&pipe);
    assert_eq!(pipe.try_write(b"x"), Err(Error::EAGAIN));
    assert_eq!((pipe.write_queue_size(), lp.is_alive()), (0, false));
    pipe.write("queued", |_, _| {}).unwrap();
    assert_eq!(pipe.try_write(b"x"), Err(Error::EAGAIN));
    assert_eq!(pipe.try_write(b""), Err(Error::EAGAIN));
    let bytes = collect(&peer);
    finish_writes(&lp, &pipe);
    assert_eq!(pipe.try_write(b"!"), Ok(1));
    pipe.close();
    finish(&lp);
    assert!(bytes.borrow().starts_with(b"abcde.") && bytes.borrow().ends_with(b"queued!"));

    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    server.unreference();
    let client = Pipe::new(&lp).unwrap();
    assert_eq!(client.try_write(b"x"), Err(Error::EBADF));
    client.connect(server.local_name().unwrap(), |_, _| {}).unwrap();
    assert_eq!(client.try_write(b"x"), Err(Error::EAGAIN), "connecting");
    finish(&lp);
    assert_eq!(client.try_write(b"x"), Ok(1));
}

#[test]
fn a_peer_that_is_gone_fails_every_write_in_order() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let (log, tokens) = (Log::new(), Tokens::new());
    fill(&pipe);
    for i in 0..40 {
        let (l, t) = (log.clone(), tokens.one());
        pipe.write("x", move |_, written| {
            t.keep();
            l.add(format!("{i} {:?}", written.result));
        })
        .unwrap();
    }
    pipe.write_and_forget("x").unwrap();
    peer.close();
    finish(&lp);
    let expected: Vec<String> = (0..40).map(|i| format!("{i} Err(EPIPE)")).collect();
    assert_eq!((log.take(), tokens.alive()), (expected, 0));
    assert_eq!(pipe.write_queue_size(), 0);
    assert_eq!(pipe.take_write_error(), Some(Error::EPIPE));
    assert_eq!(pipe.take_write_error(), None);
    // The first attempt's error is the call's own for a write without callback, else the
    // callback's.
    assert_eq!(pipe.write_and_forget("x"), Err(Error::EPIPE));
    let l = log.clone();
    pipe.write("x", move |_, written| l.add(format!("{:?}", written.result))).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Err(EPIPE)"]);
    assert_eq!(pipe.take_write_error(), None);
}

#[test]
fn buffers_are_dropped_when_their_write_is_over_and_not_before() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let shared: Rc<[u8]> = Rc::from(*b"shared");
    pipe.write_and_forget(shared.clone()).unwrap();
    assert_eq!(Rc::strong_count(&shared), 1, "done at once");
    fill(&pipe);
    let id = pipe.write(shared.clone(), |_, _| {}).unwrap();
    pipe.write_and_forget(shared.clone()).unwrap();
    assert_eq!(Rc::strong_count(&shared), 3);
    pipe.cancel_write(id).unwrap();
    assert_eq!(Rc::strong_count(&shared), 2);
    peer.read_start(|_, _| {}).unwrap();
    finish_writes(&lp, &pipe);
    assert_eq!(Rc::strong_count(&shared), 1);
}
