//! Sending: at once and in order, alone and in batches.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};

use blacklight::prelude::*;
use blacklight::{Error, Outgoing, Transmit};

use crate::support::Log;
use crate::tools::finish;
use crate::{bound, collect};

/// Derived from libuv: the first send is tried at once, the callback comes later, and size and
/// count of the queue drop right before it.
#[test]
fn callbacks_come_from_run_in_order_with_the_queue_counted_down_before() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let sender = Udp::new(&lp).unwrap();
    let log = Log::new();
    for (text, left) in [("a", 2), ("bb", 1), ("ccc", 0)] {
        let log = log.clone();
        sender
            .send(text, to, move |sender, result| {
                result.unwrap();
                assert_eq!(sender.send_queue_count(), left);
                log.add(format!("{text} {}", sender.send_queue_size()));
            })
            .unwrap();
    }
    assert!(log.take().is_empty());
    assert_eq!((sender.send_queue_size(), sender.send_queue_count()), (6, 3));
    assert!(sender.is_active(), "with sends to report");
    assert_eq!(sender.try_send(b"x", to), Err(Error::EAGAIN), "not past the queue");
    assert_eq!(sender.take_fd().map(drop), Err(Error::EBUSY));
    let first = UdpSocket::from(receiver.duplicate_fd().unwrap());
    let mut buffer = [0; 8];
    assert_eq!(first.recv(&mut buffer).unwrap(), 1, "the first has gone");
    finish(&lp);
    assert_eq!(log.take(), ["a 5", "bb 3", "ccc 0"]);
    assert!(!sender.is_active());
    assert_eq!(first.recv(&mut buffer).unwrap(), 2);
    assert_eq!(first.recv(&mut buffer).unwrap(), 3);
    assert_eq!(sender.try_send(b"x", to), Ok(1));
}

/// Derived from libuv: EISCONN for an address beside a peer, EDESTADDRREQ for neither, EISCONN for
/// a second connect, ENOTCONN for a disconnect without one.
#[test]
fn a_peer_takes_the_place_of_addresses() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    let sender = Udp::new(&lp).unwrap();
    let refused = |error| {
        assert_eq!(sender.send("x", None, |_, _| panic!()), Err(error));
        assert_eq!(sender.try_send(b"x", None), Err(error));
    };
    refused(Error::EDESTADDRREQ);
    assert_eq!(sender.disconnect(), Err(Error::ENOTCONN));
    sender.connect(to).unwrap();
    assert_eq!(sender.connect(to), Err(Error::EISCONN));
    assert_eq!(sender.peer_address(), Ok(to));
    assert_eq!(sender.send("x", to, |_, _| panic!()), Err(Error::EISCONN));
    assert_eq!(sender.try_send(b"x", to), Err(Error::EISCONN));
    assert_eq!(sender.try_send(b"one", Transmit::to_peer()), Ok(3));
    sender.disconnect().unwrap();
    assert_eq!(sender.peer_address(), Err(Error::ENOTCONN));
    refused(Error::EDESTADDRREQ);
    assert_eq!(sender.try_send(b"two", to), Ok(3));
    assert_eq!(sender.try_send(b"end", to), Ok(3));
    let log = collect(&receiver);
    finish(&lp);
    assert_eq!(log.take(), ["one", "two"]);
}

#[test]
fn closing_cancels_what_is_queued_and_reports_what_went() {
    let lp = EventLoop::new().unwrap();
    let (_receiver, to) = bound(&lp);
    let sender = Udp::new(&lp).unwrap();
    let log = Log::new();
    for text in ["went", "waits"] {
        let log = log.clone();
        sender.send(text, to, move |_, result| log.add(format!("{text} {result:?}"))).unwrap();
    }
    sender.send_and_forget("nobody asks", to).unwrap();
    let l = log.clone();
    sender
        .close_with(move |sender| {
            assert_eq!((sender.send_queue_count(), sender.send_queue_size()), (0, 0));
            l.add("closed");
        })
        .unwrap();
    assert!(log.take().is_empty());
    finish(&lp);
    assert_eq!(log.take(), ["went Ok(())", "waits Err(ECANCELED)", "closed"]);
}

#[test]
fn what_sending_says_is_for_the_callback_or_kept() {
    let lp = EventLoop::new().unwrap();
    let (_receiver, to) = bound(&lp);
    let sender = Udp::new(&lp).unwrap();
    let log = Log::new();
    let (l, m) = (log.clone(), log.clone());
    // One byte more than UDP over IPv4 carries.
    sender.send(vec![0; 65_508], to, move |_, result| l.add(format!("{result:?}"))).unwrap();
    sender.send(vec![0; 65_508], to, move |_, result| m.add(format!("{result:?}"))).unwrap();
    sender.send_and_forget(vec![0; 65_508], to).unwrap();
    sender.send("behind", to, |_, result| result.unwrap()).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Err(EMSGSIZE)", "Err(EMSGSIZE)"]);
    assert_eq!(sender.take_send_error(), Some(Error::EMSGSIZE));
    assert_eq!(sender.take_send_error(), None);
    assert_eq!(sender.send_and_forget(vec![0; 65_508], to), Err(Error::EMSGSIZE), "at once");
    assert_eq!(sender.try_send(&[0; 65_508], to), Err(Error::EMSGSIZE));
    // Broadcasting must be allowed (EACCES), which is a matter of the socket.
    let everybody = "127.255.255.255:9".parse::<SocketAddr>().unwrap();
    assert_eq!(sender.try_send(b"x", everybody), Err(Error::EACCES));
    sender.set_broadcast(true).unwrap();
    assert_eq!(sender.try_send(b"x", everybody), Ok(1));
}

/// Derived from libuv's uv_udp_try_send2: how many went is told, an error only if none did.
#[test]
fn a_batch_goes_with_few_calls() {
    let lp = EventLoop::new().unwrap();
    let (receiver, to) = bound(&lp);
    receiver.set_recv_buffer_size(4 << 20).unwrap();
    let sender = Udp::new(&lp).unwrap();
    let texts: Vec<String> = (0..100).map(|n| format!("number {n}")).collect();
    let slices: Vec<[IoSlice<'_>; 2]> = texts
        .iter()
        .map(|text| [IoSlice::new(&text.as_bytes()[..3]), IoSlice::new(&text.as_bytes()[3..])])
        .collect();
    let mut batch: Vec<Outgoing<'_>> =
        slices.iter().map(|slices| Outgoing { slices, transmit: to.into() }).collect();
    assert_eq!(sender.try_send_batch(&batch), Ok(100));
    let long = vec![0; 65_508];
    let long = [IoSlice::new(&long)];
    batch[40].slices = &long;
    assert_eq!(sender.try_send_batch(&batch), Ok(40), "up to the one that does not go");
    assert_eq!(sender.try_send_batch(&batch[40..]), Err(Error::EMSGSIZE));
    assert_eq!(sender.try_send_batch(&[]), Err(Error::EINVAL));
    batch[1].transmit = Transmit::to_peer();
    assert_eq!(sender.try_send_batch(&batch), Err(Error::EDESTADDRREQ), "before anything goes");
    sender.try_send(b"end", to).unwrap();
    let log = collect(&receiver);
    finish(&lp);
    let expected: Vec<_> = texts.iter().chain(&texts[..40]).cloned().collect();
    assert_eq!(log.take(), expected);
}
