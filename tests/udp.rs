//! UDP: sending at once and in order, receiving in all forms, errors where libuv has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{AddressFamily, Buf, Error, Outgoing, Result, Transmit, UdpFlags, UdpReadInto};
use socket2::Socket;
use support::Log;
use tools::{Tokens, finish, run_panics, run_until};

fn any4() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn bound(lp: &EventLoop) -> (Udp, SocketAddr) {
    let udp = Udp::new(lp).unwrap();
    udp.bind(any4()).unwrap();
    let address = udp.local_address().unwrap();
    (udp, address)
}

/// What comes, as text, until the text "end" comes.
fn collect(udp: &Udp) -> Log {
    let log = Log::new();
    let into = log.clone();
    udp.recv_start(move |udp, read| match read {
        UdpRead::Data(b"end", _) => udp.close(),
        UdpRead::Data(bytes, meta) => {
            let cut = if meta.truncated { " (cut)" } else { "" };
            into.add(format!("{}{cut}", String::from_utf8_lossy(bytes)));
        }
        other => into.add(format!("{other:?}")),
    })
    .unwrap();
    log
}

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

#[test]
fn flags_of_bind_and_open_do_their_work() {
    let lp = EventLoop::new().unwrap();
    let udp = Udp::new(&lp).unwrap();
    assert_eq!(udp.bind_with(any4(), UdpFlags::IPV6_ONLY), Err(Error::EINVAL));
    let (first, address) = bound(&lp);
    assert_eq!(first.bind(any4()), Err(Error::EINVAL), "it is bound");
    assert_eq!(Udp::new(&lp).unwrap().bind(address), Err(Error::EADDRINUSE));
    for flag in [UdpFlags::REUSE_ADDRESS, UdpFlags::REUSE_PORT] {
        let (one, other) = (Udp::new(&lp).unwrap(), Udp::new(&lp).unwrap());
        one.bind_with(any4(), flag).unwrap();
        other.bind_with(one.local_address().unwrap(), flag).unwrap();
    }
    let v6 = Udp::new_with(&lp, Some(AddressFamily::Ipv6), false).unwrap();
    assert_eq!(v6.bind(any4()), Err(Error::EINVAL), "another family");
    v6.bind_with("[::]:0".parse().unwrap(), UdpFlags::IPV6_ONLY).unwrap();
    assert!(Socket::from(v6.duplicate_fd().unwrap()).only_v6().unwrap());

    // Derived from libuv: uv_udp_open sets SO_REUSEADDR, uv_udp_open_ex what it is told.
    let open = |flags: Option<UdpFlags>| {
        let udp = Udp::new(&lp).unwrap();
        let socket = UdpSocket::bind(any4()).unwrap();
        match flags {
            None => udp.open(socket).unwrap(),
            Some(flags) => udp.open_with(socket, flags).unwrap(),
        }
        let socket = Socket::from(udp.duplicate_fd().unwrap());
        (socket.reuse_address().unwrap(), socket.reuse_port().unwrap())
    };
    assert_eq!(open(None), (true, false));
    assert_eq!(open(Some(UdpFlags::empty())), (false, false));
    assert_eq!(open(Some(UdpFlags::REUSE_PORT)), (false, true));
    let bad = Udp::new(&lp).unwrap();
    let socket = UdpSocket::bind(any4()).unwrap();
    assert_eq!(bad.open_with(socket, UdpFlags::LINUX_RECVERR), Err(Error::EINVAL));
}

#[test]
fn an_open_socket_keeps_its_flags_and_its_peer() {
    let lp = EventLoop::new().unwrap();
    let (peer, to) = bound(&lp);
    let socket = UdpSocket::bind(any4()).unwrap();
    socket.connect(to).unwrap();
    let copy = socket.try_clone().unwrap();
    let udp = Udp::new(&lp).unwrap();
    udp.open(socket).unwrap();
    assert_eq!(udp.peer_address(), Ok(to));
    assert_eq!(udp.try_send(b"end", None), Ok(3));
    udp.recv_start(|_, _| panic!("nothing comes")).unwrap();
    udp.unreference();
    let log = collect(&peer);
    finish(&lp);
    assert!(log.take().is_empty());
    udp.recv_stop();
    let number = udp.fileno().unwrap();
    let taken = udp.take_fd().unwrap();
    assert_eq!((taken.as_raw_fd(), udp.fileno()), (number, Err(Error::EBADF)));
    let status = does_not_block(&copy);
    assert!(!status, "O_NONBLOCK was never set");
    // The handle can be opened anew.
    udp.open(taken).unwrap();
    assert_eq!(udp.peer_address(), Ok(to));
}

/// Whether the description does not block.
fn does_not_block(socket: &UdpSocket) -> bool {
    let path = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    i32::from_str_radix(flags, 8).unwrap() & libc::O_NONBLOCK != 0
}

#[test]
fn a_refused_datagram_is_told_to_a_socket_with_a_peer() {
    let lp = EventLoop::new().unwrap();
    let nobody = UdpSocket::bind(any4()).unwrap().local_addr().unwrap();
    let sender = Udp::new(&lp).unwrap();
    sender.connect(nobody).unwrap();
    let log = Log::new();
    let l = log.clone();
    sender
        .recv_start(move |sender, read| {
            l.add(format!("{read:?}"));
            assert!(sender.is_active(), "an error does not end receiving");
            sender.close();
        })
        .unwrap();
    sender.try_send(b"x", None).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Error(ECONNREFUSED)"]);
}

/// Derived from libuv's UV_UDP_LINUX_RECVERR: errors of the network are told with who reported them.
#[test]
fn kept_errors_are_told_with_their_origin() {
    for (batches, local) in [(false, "127.0.0.1:0"), (true, "127.0.0.1:0"), (false, "[::1]:0")] {
        let lp = EventLoop::new().unwrap();
        let local: SocketAddr = local.parse().unwrap();
        let nobody = UdpSocket::bind(local).unwrap().local_addr().unwrap();
        let sender = Udp::new_with(&lp, None, batches).unwrap();
        sender.bind_with(local, UdpFlags::LINUX_RECVERR).unwrap();
        let seen = Rc::new(Cell::new(0));
        let s = seen.clone();
        sender
            .recv_start(move |sender, read| {
                // The error as such may be told before what is known of it.
                let UdpRead::Queued(queued, bytes) = read else { return };
                assert_eq!(queued.error, Error::ECONNREFUSED);
                assert_eq!(queued.offender.unwrap().ip(), local.ip());
                assert_eq!(queued.destination, nobody);
                // Destination unreachable, port unreachable (RFC 792, RFC 4443).
                let expected = if local.is_ipv4() { (2, 3, 3) } else { (3, 1, 4) };
                assert_eq!((queued.origin, queued.kind, queued.code), expected);
                assert_eq!(bytes, b"to nobody");
                s.set(s.get() + 1);
                sender.close();
            })
            .unwrap();
        sender.try_send(b"to nobody", nobody).unwrap();
        finish(&lp);
        assert_eq!(seen.get(), 1, "{local}, batches: {batches}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let lp = EventLoop::new().unwrap();
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let udp = Udp::new(&lp).unwrap();
        udp.bind(local.parse().unwrap()).unwrap();
        // Derived from libuv: 1 to 255, and for groups 0 to 255.
        for (ttl, unicast, multicast) in [
            (0, Err(Error::EINVAL), Ok(())),
            (1, Ok(()), Ok(())),
            (255, Ok(()), Ok(())),
            (256, Err(Error::EINVAL), Err(Error::EINVAL)),
        ] {
            assert_eq!(udp.set_ttl(ttl), unicast, "{local} {ttl}");
            assert_eq!(udp.set_multicast_ttl(ttl), multicast, "{local} {ttl}");
        }
        udp.set_ttl(7).unwrap();
        udp.set_multicast_ttl(9).unwrap();
        let socket = Socket::from(udp.duplicate_fd().unwrap());
        let (ttl, multicast) = if local.starts_with('[') {
            (socket.unicast_hops_v6().unwrap(), socket.multicast_hops_v6().unwrap())
        } else {
            (socket.ttl_v4().unwrap(), socket.multicast_ttl_v4().unwrap())
        };
        assert_eq!((ttl, multicast), (7, 9));
        udp.set_recv_buffer_size(16 * 1024).unwrap();
        udp.set_send_buffer_size(32 * 1024).unwrap();
        // socket(7): the kernel doubles them.
        assert_eq!((udp.recv_buffer_size(), udp.send_buffer_size()), (Ok(32768), Ok(65536)));
        assert_eq!(udp.set_send_buffer_size(usize::MAX), Err(Error::EINVAL));
    }
    let (udp, to) = bound(&lp);
    assert_eq!(udp.send_vectored(vec![], to, |_, _| panic!()), Err(Error::EINVAL));
    assert_eq!(udp.try_send_vectored(&[], to), Err(Error::EINVAL));
}

#[test]
fn every_call_on_a_handle_that_is_gone_is_an_error() {
    fn to() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }
    fn group() -> std::net::IpAddr {
        "239.255.0.1".parse().unwrap()
    }
    type Call = (&'static str, fn(&Udp) -> Result<()>, Error, Error);
    // Not open (UNKNOWN: it makes a socket), and closing.
    let calls: [Call; 25] = [
        ("bind", |u| u.bind("127.0.0.1:0".parse().unwrap()), Error::UNKNOWN, Error::EINVAL),
        (
            "open",
            |u| u.open(UdpSocket::bind("127.0.0.1:0").unwrap()),
            Error::UNKNOWN,
            Error::EINVAL,
        ),
        ("connect", |u| u.connect(to()), Error::UNKNOWN, Error::EINVAL),
        ("disconnect", |u| u.disconnect(), Error::ENOTCONN, Error::ENOTCONN),
        ("send", |u| u.send("x", to(), |_, _| panic!()), Error::UNKNOWN, Error::EINVAL),
        (
            "send to peer",
            |u| u.send("x", None, |_, _| panic!()),
            Error::EDESTADDRREQ,
            Error::EINVAL,
        ),
        ("send_and_forget", |u| u.send_and_forget("x", to()), Error::UNKNOWN, Error::EINVAL),
        ("try_send", |u| u.try_send(b"x", to()).map(drop), Error::UNKNOWN, Error::EINVAL),
        ("recv_start", |u| u.recv_start(|_, _| panic!()), Error::UNKNOWN, Error::EINVAL),
        ("join", |u| u.join(group(), 0), Error::UNKNOWN, Error::EINVAL),
        ("leave", |u| u.leave(group(), 0), Error::UNKNOWN, Error::EINVAL),
        ("join_source", |u| u.join_source(group(), to().ip(), 0), Error::UNKNOWN, Error::EINVAL),
        ("set_broadcast", |u| u.set_broadcast(true), Error::EBADF, Error::EBADF),
        ("set_ttl", |u| u.set_ttl(1), Error::EBADF, Error::EBADF),
        ("set_multicast_ttl", |u| u.set_multicast_ttl(1), Error::EBADF, Error::EBADF),
        ("set_multicast_loop", |u| u.set_multicast_loop(true), Error::EBADF, Error::EBADF),
        ("set_multicast_interface", |u| u.set_multicast_interface(0), Error::EBADF, Error::EBADF),
        ("set_receive_ecn", |u| u.set_receive_ecn(true), Error::EBADF, Error::EBADF),
        ("set_receive_segments", |u| u.set_receive_segments(true), Error::EBADF, Error::EBADF),
        ("local_address", |u| u.local_address().map(drop), Error::EBADF, Error::EBADF),
        ("peer_address", |u| u.peer_address().map(drop), Error::EBADF, Error::EBADF),
        ("send_buffer_size", |u| u.send_buffer_size().map(drop), Error::EBADF, Error::EBADF),
        ("set_recv_buffer_size", |u| u.set_recv_buffer_size(1), Error::EBADF, Error::EBADF),
        ("duplicate_fd", |u| u.duplicate_fd().map(drop), Error::EBADF, Error::EBADF),
        ("take_fd", |u| u.take_fd().map(drop), Error::EBADF, Error::EBADF),
    ];
    let lp = EventLoop::new().unwrap();
    let gone = EventLoop::new().unwrap();
    let orphan = Udp::new(&gone).unwrap();
    drop(gone);
    for (name, call, not_open, closing) in calls {
        if not_open != Error::UNKNOWN {
            assert_eq!(call(&Udp::new(&lp).unwrap()), Err(not_open), "{name}, not open");
        }
        let (udp, _) = bound(&lp);
        udp.close();
        assert_eq!(call(&udp), Err(closing), "{name}, closing");
        lp.run(RunMode::NoWait).unwrap();
        assert!(udp.is_closed());
        assert_eq!(call(&udp), Err(closing), "{name}, closed");
        assert!(call(&orphan).is_err(), "{name}, of a loop that is gone");
        udp.recv_stop();
    }
    finish(&lp);
}

#[test]
fn a_descriptor_of_the_wrong_type_is_refused() {
    let lp = EventLoop::new().unwrap();
    let udp = Udp::new(&lp).unwrap();
    let cases: [(OwnedFd, Error); 4] = [
        (std::fs::File::open("/dev/null").unwrap().into(), Error::ENOTSOCK),
        (std::io::pipe().unwrap().0.into(), Error::ENOTSOCK),
        (std::net::TcpListener::bind(any4()).unwrap().into(), Error::EINVAL),
        (std::os::unix::net::UnixDatagram::unbound().unwrap().into(), Error::EINVAL),
    ];
    for (descriptor, error) in cases {
        assert_eq!(udp.open(descriptor), Err(error));
    }
    udp.bind(any4()).unwrap();
    assert_eq!(udp.open(UdpSocket::bind(any4()).unwrap()), Err(Error::EBUSY));
}

#[test]
fn a_loop_that_is_dropped_closes_sockets_and_drops_closures() {
    let tokens = Tokens::new();
    let lp = EventLoop::new().unwrap();
    let (udp, to) = bound(&lp);
    let (one, two) = (tokens.one(), tokens.one());
    udp.recv_start(move |_, _| one.keep()).unwrap();
    udp.send("x", to, move |_, _| two.keep()).unwrap();
    let copy = UdpSocket::from(udp.duplicate_fd().unwrap());
    drop(lp);
    assert_eq!(tokens.alive(), 0);
    assert_eq!(udp.fileno(), Err(Error::EBADF));
    drop(copy);
    UdpSocket::bind(to).expect("the address is free");
}

#[test]
fn a_socket_travels_over_a_pipe_and_is_a_handle_there() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = Pipe::ipc_pair(&lp).unwrap();
    let (udp, address) = bound(&lp);
    let copy = udp.duplicate_fd().unwrap();
    one.write_with_descriptors("a socket", [copy], |one, _| one.close()).unwrap();
    udp.close();
    let log = Log::new();
    let l = log.clone();
    other
        .read_start(move |pipe, read| {
            let Read::Data(_) = read else { return pipe.close() };
            assert_eq!(pipe.pending_kind(), Some(blacklight::DescriptorKind::Udp));
            let received = Udp::new(pipe.event_loop()).unwrap();
            received.open(pipe.accept_descriptor().unwrap()).unwrap();
            let l = l.clone();
            received
                .recv_start(move |received, read| {
                    l.add(format!("{}", matches!(read, UdpRead::Data(b"there?", _))));
                    received.close();
                })
                .unwrap();
            UdpSocket::bind(any4()).unwrap().send_to(b"there?", address).unwrap();
        })
        .unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["true"]);
}
