//! What travels beside datagrams: marks, addresses, segments, groups.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Ecn, Error, MulticastInterface, Transmit, UdpFlags, UdpMeta};
use support::process::{skip, watchdog};
use tools::{finish, run_until};

fn bound(lp: &EventLoop, local: &str, batches: bool) -> (Udp, SocketAddr) {
    watchdog();
    let udp = Udp::new_with(lp, None, batches).unwrap();
    udp.bind(local.parse().unwrap()).unwrap();
    let address = udp.local_address().unwrap();
    (udp, address)
}

/// Receives one datagram.
fn one(lp: &EventLoop, receiver: &Udp) -> (Vec<u8>, UdpMeta) {
    let got = Rc::new(RefCell::new(None));
    let g = got.clone();
    receiver
        .recv_start(move |receiver, read| {
            let UdpRead::Data(bytes, meta) = read else { panic!("{read:?}") };
            g.replace(Some((bytes.to_vec(), meta)));
            receiver.recv_stop();
        })
        .unwrap();
    run_until(lp, || got.borrow().is_some());
    got.take().unwrap()
}

const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

#[test]
fn marks_travel_with_each_datagram_in_both_families() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        for batches in [false, true] {
            let lp = EventLoop::new().unwrap();
            let (receiver, to) = bound(&lp, local, batches);
            let (sender, _) = bound(&lp, local, false);
            receiver.set_receive_ecn(true).unwrap();
            for ecn in ALL {
                sender.try_send(b"x", Transmit::to(to).ecn(ecn)).unwrap();
                assert_eq!(one(&lp, &receiver).1.ecn, Some(ecn), "{local} {batches}");
            }
            // Through the queue, where they are sent together.
            let log = Rc::new(RefCell::new(Vec::new()));
            let seen = log.clone();
            receiver
                .recv_start(move |_, read| {
                    let UdpRead::Data(_, meta) = read else { panic!("{read:?}") };
                    seen.borrow_mut().push(meta.ecn.unwrap());
                })
                .unwrap();
            for ecn in ALL {
                let transmit = Transmit::to(to).ecn(ecn);
                sender.send("x", transmit, |_, result| result.unwrap()).unwrap();
            }
            run_until(&lp, || log.borrow().len() == ALL.len());
            assert_eq!(*log.borrow(), ALL);
            receiver.recv_stop();
            receiver.set_receive_ecn(false).unwrap();
            sender.try_send(b"x", to).unwrap();
            assert_eq!(one(&lp, &receiver).1.ecn, None);
        }
    }
}

#[test]
fn an_ipv6_socket_speaks_ipv4_in_ipv4_s_terms() {
    let lp = EventLoop::new().unwrap();
    let (receiver, at) = bound(&lp, "[::]:0", false);
    let (sender, _) = bound(&lp, "[::]:0", false);
    receiver.set_receive_ecn(true).unwrap();
    receiver.set_receive_destination(true).unwrap();
    let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), at.port());
    let source = IpAddr::from([127, 0, 0, 3]);
    sender.try_send(b"x", Transmit::to(mapped).ecn(Ecn::Ce).source(source)).unwrap();
    let (_, meta) = one(&lp, &receiver);
    assert_eq!((meta.ecn, meta.to), (Some(Ecn::Ce), Some(Ipv4Addr::LOCALHOST.into())));
    assert_eq!(meta.from.ip().to_canonical(), source);
}

#[test]
fn each_datagram_tells_where_it_was_sent_to_and_can_say_where_from() {
    let lp = EventLoop::new().unwrap();
    for (local, destination) in
        [("0.0.0.0:0", IpAddr::from([127, 0, 0, 9])), ("[::]:0", "::1".parse().unwrap())]
    {
        for batches in [false, true] {
            let (receiver, at) = bound(&lp, local, batches);
            receiver.set_receive_destination(true).unwrap();
            let (sender, _) = bound(&lp, local, false);
            let to = SocketAddr::new(destination, at.port());
            let source: IpAddr = match destination {
                IpAddr::V4(_) => [127, 0, 0, 7].into(),
                IpAddr::V6(_) => "::1".parse().unwrap(),
            };
            let transmit = Transmit::to(to).source(source);
            sender.try_send(b"x", transmit).unwrap();
            let (_, meta) = one(&lp, &receiver);
            assert_eq!(meta.to, Some(destination));
            assert_eq!(meta.from.ip(), source);
            let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex");
            if let Ok(lo) = lo {
                let index: u32 = lo.trim().parse().unwrap();
                assert_eq!(meta.interface, Some(index));
                sender.try_send(b"x", Transmit::to(to).interface(index)).unwrap();
                one(&lp, &receiver);
            }
        }
    }
    // An address of the other family cannot be that of an IPv4 socket.
    let (sender, to) = bound(&lp, "127.0.0.1:0", false);
    let transmit = Transmit::to(to).source("::1".parse().unwrap());
    assert_eq!(sender.try_send(b"x", transmit), Err(Error::EINVAL));
    // Nor one that is nobody's here.
    let transmit = Transmit::to(to).source([192, 0, 2, 77].into());
    assert!(sender.try_send(b"x", transmit).is_err());
}

#[test]
fn one_send_is_cut_into_datagrams_and_put_together_again() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        for batches in [false, true] {
            let lp = EventLoop::new().unwrap();
            let (receiver, to) = bound(&lp, local, batches);
            receiver.set_recv_buffer_size(1 << 20).unwrap();
            let sender = Udp::new(&lp).unwrap();
            let bytes: Vec<u8> = (0..5500u32).map(|n| n as u8).collect();
            let sizes = Rc::new(RefCell::new(Vec::new()));
            let all = Rc::new(RefCell::new(Vec::new()));
            let (s, a) = (sizes.clone(), all.clone());
            let transmit = Transmit::to(to).segment_size(1000);
            match sender.try_send(&bytes, transmit) {
                Err(Error::ENOTSUP) => return skip("this kernel cannot cut datagrams"),
                sent => assert_eq!(sent, Ok(5500)),
            }
            receiver
                .recv_start(move |_, read| {
                    let UdpRead::Data(bytes, meta) = read else { panic!("{read:?}") };
                    s.borrow_mut().push((bytes.len(), meta.segment_size));
                    a.borrow_mut().extend_from_slice(bytes);
                })
                .unwrap();
            run_until(&lp, || all.borrow().len() == 5500);
            let mut expected = vec![(1000, None); 5];
            expected.push((500, None));
            assert_eq!(*sizes.borrow(), expected);
            assert_eq!(*all.borrow(), bytes);

            receiver.set_receive_segments(true).unwrap();
            sizes.take();
            all.take();
            sender.send(bytes.clone(), transmit, |_, result| result.unwrap()).unwrap();
            run_until(&lp, || all.borrow().len() == 5500);
            // How many are put together is the kernel's choice; where to cut it says.
            for (length, segment) in sizes.borrow().iter() {
                assert!(*length <= 1000 || *segment == Some(1000), "{length} {segment:?}");
            }
            assert_eq!(*all.borrow(), bytes);
            receiver.close();
            finish(&lp);
        }
    }
}

#[test]
fn a_group_is_joined_heard_and_left() {
    let lp = EventLoop::new().unwrap();
    let group: IpAddr = "239.255.77.1".parse().unwrap();
    let receiver = Udp::new(&lp).unwrap();
    // Without a socket, one is made and bound so that others can listen too.
    receiver.join(group, Ipv4Addr::LOCALHOST).unwrap();
    assert_eq!(receiver.join(group, Ipv4Addr::LOCALHOST), Err(Error::EADDRINUSE));
    let to = SocketAddr::new(group, receiver.local_address().unwrap().port());
    let second = Udp::new(&lp).unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], to.port()));
    second.bind_with(everywhere, UdpFlags::REUSE_ADDRESS).unwrap();
    second.join(group, Ipv4Addr::LOCALHOST).unwrap();

    let (sender, from) = bound(&lp, "127.0.0.1:0", false);
    sender.set_multicast_interface(Ipv4Addr::LOCALHOST).unwrap();
    sender.set_multicast_ttl(0).unwrap();
    sender.try_send(b"to all", to).unwrap();
    for udp in [&receiver, &second] {
        let (bytes, meta) = one(&lp, udp);
        assert_eq!((bytes.as_slice(), meta.from), (b"to all".as_slice(), from));
    }
    // A member that has left, and one that is not to hear its own machine.
    second.leave(group, Ipv4Addr::LOCALHOST).unwrap();
    assert_eq!(second.leave(group, Ipv4Addr::LOCALHOST), Err(Error::EADDRNOTAVAIL));
    // The loopback device brings everything back, so what is set is asked for.
    let socket = socket2::Socket::from(sender.duplicate_fd().unwrap());
    for on in [false, true] {
        sender.set_multicast_loop(on).unwrap();
        assert_eq!(socket.multicast_loop_v4().unwrap(), on);
    }
}

#[test]
fn a_group_can_be_joined_for_one_source() {
    let lp = EventLoop::new().unwrap();
    let group: IpAddr = "232.255.77.2".parse().unwrap();
    let (wanted, from) = bound(&lp, "127.0.0.1:0", false);
    let (unwanted, _) = bound(&lp, "127.0.0.2:0", false);
    let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").ok();
    let lo = lo.and_then(|text| text.trim().parse().ok()).unwrap_or(1u32);
    for interface in [MulticastInterface::Address(Ipv4Addr::LOCALHOST), lo.into()] {
        let receiver = Udp::new(&lp).unwrap();
        receiver.join_source(group, from.ip(), interface).unwrap();
        let to = SocketAddr::new(group, receiver.local_address().unwrap().port());
        for sender in [&unwanted, &wanted] {
            sender.set_multicast_interface(Ipv4Addr::LOCALHOST).unwrap();
            sender.try_send(b"x", to).unwrap();
        }
        assert_eq!(one(&lp, &receiver).1.from, from);
        receiver.leave_source(group, from.ip(), interface).unwrap();
        let again = receiver.leave_source(group, from.ip(), interface);
        // ip(7) has the one, the kernel says the other where it knows nothing of the group.
        assert!(matches!(again, Err(Error::EADDRNOTAVAIL | Error::EINVAL)), "{again:?}");
    }
}

#[test]
fn ipv6_groups_go_by_the_number_of_the_interface() {
    let lp = EventLoop::new().unwrap();
    let Ok(lo) = std::fs::read_to_string("/sys/class/net/lo/ifindex") else {
        return skip("sysfs is not mounted");
    };
    let lo: u32 = lo.trim().parse().unwrap();
    let group: IpAddr = "ff11::77:3".parse().unwrap();
    let receiver = Udp::new(&lp).unwrap();
    receiver.join(group, lo).unwrap();
    let port = receiver.local_address().unwrap().port();
    let (sender, _) = bound(&lp, "[::1]:0", false);
    sender.set_multicast_interface(lo).unwrap();
    sender.set_multicast_loop(true).unwrap();
    match sender.try_send(b"hello", SocketAddr::new(group, port)) {
        Err(Error::ENETUNREACH) => skip("no route to IPv6 groups on the loopback"),
        sent => {
            assert_eq!(sent, Ok(5));
            assert_eq!(one(&lp, &receiver).0, b"hello");
        }
    }
    receiver.leave(group, lo).unwrap();
    let source: IpAddr = "::1".parse().unwrap();
    receiver.join_source(group, source, lo).unwrap();
    receiver.leave_source(group, source, lo).unwrap();
}

#[test]
fn groups_that_cannot_be_are_refused() {
    let lp = EventLoop::new().unwrap();
    let udp = Udp::new(&lp).unwrap();
    let (v4, v6): (IpAddr, IpAddr) = ("239.0.0.1".parse().unwrap(), "ff11::1".parse().unwrap());
    let any = MulticastInterface::Any;
    assert_eq!(udp.join("127.0.0.1".parse().unwrap(), any), Err(Error::EINVAL), "no group");
    assert_eq!(udp.join_source(v4, "::1".parse().unwrap(), any), Err(Error::EINVAL));
    assert_eq!(udp.join_source(v6, "127.0.0.1".parse().unwrap(), any), Err(Error::EINVAL));
    let udp = Udp::new(&lp).unwrap();
    assert_eq!(udp.join(v6, Ipv4Addr::LOCALHOST), Err(Error::EINVAL), "an IPv4 interface");
    assert_eq!(udp.join(v6, u32::MAX), Err(Error::ENODEV));
    let (udp, _) = bound(&lp, "127.0.0.1:0", false);
    assert_eq!(
        udp.set_multicast_interface(Ipv4Addr::from([192, 0, 2, 77])),
        Err(Error::EADDRNOTAVAIL)
    );
    let count = Rc::new(Cell::new(0));
    // igmp_max_memberships is 20 at first.
    for last in 1..=255u8 {
        match udp.join([239, 255, 78, last].into(), Ipv4Addr::LOCALHOST) {
            Ok(()) => count.set(count.get() + 1),
            Err(error) => {
                assert_eq!(error, Error::ENOBUFS);
                break;
            }
        }
    }
    assert!(count.get() > 0);
}
