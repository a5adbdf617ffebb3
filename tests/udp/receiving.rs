//! Receiving: one datagram at a time and in batches, into lent and supplied buffers.

use std::cell::{Cell, RefCell};
use std::net::UdpSocket;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{AddressFamily, Buf, Error, UdpReadInto};

use crate::support::Log;
use crate::tools::{Tokens, finish, run_panics, run_until};
use crate::{any4, bound};

#[test]
fn datagrams_arrive_whole_with_their_sender_also_empty_ones() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let (sender, from) = bound(&lp);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let s = seen.clone();
    receiver
        .recv_start(move |receiver, read| {
            let UdpRead::Data(bytes, meta) = read else { panic!("{read:?}") };
            assert_eq!((meta.from, meta.truncated), (from, false));
            assert_eq!((meta.to, meta.ecn, meta.segment_size), (None, None, None), "not asked for");
            s.borrow_mut().push(bytes.to_vec());
            if s.borrow().len() == 4 {
                receiver.close();
            }
        })
        .unwrap();
    // 65,507 bytes are the most that UDP over IPv4 carries.
    let largest = vec![7; 65_507];
    sender.send("one", to, |_, result| result.unwrap()).unwrap();
    sender.send("", to, |_, result| result.unwrap()).unwrap();
    sender.send(largest.clone(), to, |_, result| result.unwrap()).unwrap();
    let pieces = vec![Buf::from("t"), Buf::from(""), Buf::from("wo")];
    sender.send_vectored(pieces, to, |_, result| result.unwrap()).unwrap();
    finish(&lp);
    assert_eq!(*seen.borrow(), [b"one".to_vec(), vec![], largest, b"two".to_vec()]);
}

#[test]
fn a_datagram_longer_than_the_buffer_says_so() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let sender = Udp::new(&lp).unwrap();
    let log = Log::new();
    let l = log.clone();
    receiver
        .recv_start_into(
            |_, suggested| {
                assert_eq!(suggested, 65_536);
                [0; 4]
            },
            move |receiver, read| match read {
                UdpReadInto::Data(buffer, length, meta) => {
                    l.add(format!("{:?} {}", &buffer[..length], meta.truncated));
                    if length == 0 {
                        receiver.close();
                    }
                }
                UdpReadInto::Unused(_) => {}
                other => panic!("{other:?}"),
            },
        )
        .unwrap();
    for text in ["abcdef", "abcd", ""] {
        sender.try_send(text.as_bytes(), to).unwrap();
    }
    finish(&lp);
    assert_eq!(log.take(), ["[97, 98, 99, 100] true", "[97, 98, 99, 100] false", "[] false"]);
}

/// Derived from libuv: each buffer that was asked for comes back once, unused ones too; one of no
/// size is ENOBUFS.
#[test]
fn each_supplied_buffer_comes_back_once() {
    for batches in [false, true] {
        let lp = EventLoop::new().unwrap();
        let receiver = Udp::new_with(&lp, None, batches).unwrap();
        assert_eq!(receiver.receives_batches(), batches);
        receiver.bind(any4()).unwrap();
        let to = receiver.local_address().unwrap();
        let sender = Udp::new(&lp).unwrap();
        let (out, back, chunks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Log::new());
        let (o, b, c) = (out.clone(), back.clone(), chunks.clone());
        receiver
            .recv_start_into(
                move |_, suggested| {
                    o.set(o.get() + 1);
                    // The second time there is no room.
                    vec![0u8; if o.get() == 2 { 0 } else { suggested * 3 }]
                },
                move |receiver, read| {
                    let returned = |_buffer: Vec<u8>| b.set(b.get() + 1);
                    match read {
                        UdpReadInto::Data(buffer, length, _) => {
                            c.add(String::from_utf8_lossy(&buffer[..length]));
                            returned(buffer);
                        }
                        UdpReadInto::Chunk(buffer, range, _) => {
                            assert_eq!(range.start % 65_536, 0);
                            c.add(String::from_utf8_lossy(&buffer[range]));
                        }
                        UdpReadInto::Unused(buffer) => returned(buffer),
                        UdpReadInto::Error(error, buffer) => {
                            c.add(format!("{error:?}"));
                            returned(buffer.unwrap());
                            receiver.close();
                        }
                        other => panic!("{other:?}"),
                    }
                },
            )
            .unwrap();
        for text in ["one", "two", "three", "four"] {
            sender.try_send(text.as_bytes(), to).unwrap();
        }
        finish(&lp);
        let expected: &[&str] =
            if batches { &["one", "two", "three", "ENOBUFS"] } else { &["one", "ENOBUFS"] };
        assert_eq!(chunks.take(), expected);
        assert_eq!((out.get(), back.get()), (2, 2), "batches: {batches}");
    }
}

/// Derived from libuv: recvmmsg needs a buffer of 64 KiB at least (EINVAL).
#[test]
fn a_buffer_too_small_for_a_batch_is_refused() {
    let lp = EventLoop::new().unwrap();
    let receiver = Udp::new_with(&lp, Some(AddressFamily::Ipv4), true).unwrap();
    receiver.bind(any4()).unwrap();
    let log = Log::new();
    let l = log.clone();
    receiver
        .recv_start_into(
            |_, suggested| vec![0u8; suggested - 1],
            move |receiver, read| {
                let UdpReadInto::Error(error, Some(_)) = read else { panic!("{read:?}") };
                l.add(error.name());
                receiver.close();
            },
        )
        .unwrap();
    UdpSocket::bind(any4()).unwrap().send_to(b"x", receiver.local_address().unwrap()).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["EINVAL"]);
}

#[test]
fn a_flood_leaves_the_turn_to_others() {
    for (batches, per_turn) in [(false, 32), (true, 128)] {
        let lp = EventLoop::new().unwrap();
        let receiver = Udp::new_with(&lp, None, batches).unwrap();
        receiver.bind(any4()).unwrap();
        receiver.set_recv_buffer_size(4 << 20).unwrap();
        let count = Rc::new(Cell::new(0));
        let c = count.clone();
        receiver
            .recv_start(move |_, read| {
                assert!(matches!(read, UdpRead::Data(b"x", _)));
                c.set(c.get() + 1);
            })
            .unwrap();
        let sender = UdpSocket::bind(any4()).unwrap();
        for _ in 0..150 {
            sender.send_to(b"x", receiver.local_address().unwrap()).unwrap();
        }
        lp.run(RunMode::NoWait).unwrap();
        assert_eq!(count.get(), per_turn);
        run_until(&lp, || count.get() == 150);
        receiver.close();
        finish(&lp);
    }
}

#[test]
fn receiving_can_be_stopped_started_and_closed_in_its_callback() {
    for batches in [false, true] {
        let lp = EventLoop::new().unwrap();
        let receiver = Udp::new_with(&lp, None, batches).unwrap();
        receiver.bind(any4()).unwrap();
        let to = receiver.local_address().unwrap();
        let (log, tokens) = (Log::new(), Tokens::new());
        let (l, token) = (log.clone(), tokens.one());
        receiver
            .recv_start(move |receiver, read| {
                token.keep();
                l.add(format!("first {read:?}").split(' ').next().unwrap_or_default());
                receiver.recv_stop();
                let l = l.clone();
                receiver
                    .recv_start(move |receiver, _| {
                        l.add("second");
                        receiver.close();
                    })
                    .unwrap();
            })
            .unwrap();
        assert_eq!(receiver.recv_start(|_, _| panic!()), Err(Error::EALREADY));
        let sender = UdpSocket::bind(any4()).unwrap();
        for _ in 0..3 {
            sender.send_to(b"x", to).unwrap();
        }
        run_until(&lp, || tokens.alive() == 0);
        // Of a batch, the rest may have gone with the first closure.
        sender.send_to(b"x", to).unwrap();
        finish(&lp);
        assert_eq!(log.take(), ["first", "second"]);
        assert!(receiver.is_closed());
    }
}

#[test]
fn a_panic_in_a_callback_stops_receiving_and_nothing_else() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let tokens = Tokens::new();
    let token = tokens.one();
    receiver
        .recv_start(move |_, _| {
            token.keep();
            panic!("on purpose")
        })
        .unwrap();
    let sender = Udp::new(&lp).unwrap();
    let sent = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let sent = sent.clone();
        sender.send("x", to, move |_, _| sent.set(sent.get() + 1)).unwrap();
    }
    run_panics(&lp, RunMode::Default, "on purpose");
    assert_eq!((tokens.alive(), receiver.is_active()), (0, false));
    finish(&lp);
    assert_eq!(sent.get(), 2);
    receiver.recv_start(|receiver, _| receiver.close()).unwrap();
    finish(&lp);
}
