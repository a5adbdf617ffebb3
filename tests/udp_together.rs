//! Datagrams of one length that are sent together: the kernel gets them as one message and cuts it
//! (`UDP_SEGMENT`), and nobody can tell but a receiver that asks for whole messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Facilities, Options, Outgoing, Transmit, UdpFlags};
use support::process::{skip, watchdog};
use tools::run_until;

type Datagrams = Rc<RefCell<Vec<Vec<u8>>>>;

fn with_facility(on: bool) -> EventLoop {
    watchdog();
    let mut options = Options::default();
    options.facilities.set(Facilities::UDP_SEGMENT, on);
    EventLoop::with_options(options).unwrap()
}

fn bound(lp: &EventLoop, local: &str, batches: bool) -> (Udp, SocketAddr) {
    let udp = Udp::new_with(lp, None, batches).unwrap();
    udp.bind(local.parse().unwrap()).unwrap();
    udp.set_recv_buffer_size(4 << 20).unwrap();
    let address = udp.local_address().unwrap();
    (udp, address)
}

/// What comes, with the length in each message at which it is to be cut.
fn collect(receiver: &Udp) -> (Datagrams, Rc<RefCell<Vec<Option<usize>>>>) {
    let (all, cuts) = (Datagrams::default(), Rc::new(RefCell::new(Vec::new())));
    let (a, c) = (all.clone(), cuts.clone());
    receiver
        .recv_start(move |_, read| {
            let UdpRead::Data(bytes, meta) = read else { panic!("{read:?}") };
            a.borrow_mut().push(bytes.to_vec());
            c.borrow_mut().push(meta.segment_size);
        })
        .unwrap();
    (all, cuts)
}

/// Datagrams of these lengths, each of other bytes.
fn of_lengths(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().enumerate().map(|(n, &length)| vec![n as u8; length]).collect()
}

fn send_all(
    sender: &Udp,
    datagrams: &[Vec<u8>],
    to: impl Into<Transmit>,
) -> blacklight::Result<usize> {
    let transmit = to.into();
    let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|d| [IoSlice::new(d)]).collect();
    let batch: Vec<Outgoing<'_>> =
        slices.iter().map(|slices| Outgoing { slices, transmit }).collect();
    sender.try_send_batch(&batch)
}

/// Whether a batch of three arrives as one message at a receiver that takes such.
fn goes_together(lp: &EventLoop, sender: &Udp) -> bool {
    let (receiver, to) = bound(lp, "127.0.0.1:0", false);
    receiver.set_receive_segments(true).unwrap();
    let (all, cuts) = collect(&receiver);
    let three = of_lengths(&[100, 100, 50]);
    assert_eq!(send_all(sender, &three, to), Ok(3));
    let whole = three.concat();
    run_until(lp, || all.borrow().concat().len() == whole.len());
    assert_eq!(all.borrow().concat(), whole);
    receiver.close();
    let together = cuts.borrow().as_slice() == [Some(100)];
    assert!(together || cuts.borrow().as_slice() == [None; 3], "{cuts:?}");
    together
}

fn kernel_cuts() -> bool {
    let lp = with_facility(true);
    let sender = Udp::new(&lp).unwrap();
    let (_receiver, to) = bound(&lp, "127.0.0.1:0", false);
    sender.try_send(&[0; 8], Transmit::to(to).segment_size(4)) != Err(Error::ENOTSUP)
}

fn set_option(udp: &Udp, level: i32, name: i32, value: i32) {
    let fd: OwnedFd = udp.duplicate_fd().unwrap();
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value outlives the call and is as long as it says.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    assert_eq!(done, 0);
}

#[test]
fn datagrams_sent_together_arrive_one_by_one_in_order() {
    let many: Vec<usize> = vec![1000; 150];
    let cases: [&[usize]; 8] = [
        &[64; 16],
        &[100, 100, 100, 30],
        &[100, 30, 30, 100, 100, 101, 1],
        &[0, 0, 5, 5, 0, 5],
        &[1, 1],
        &[30_000, 30_000, 30_000],
        &[40_000, 40_000],
        &many,
    ];
    for on in [true, false] {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            for (batches, connected) in [(false, false), (true, false), (true, true)] {
                let lp = with_facility(on);
                let (receiver, to) = bound(&lp, local, batches);
                let sender = Udp::new(&lp).unwrap();
                if connected {
                    sender.connect(to).unwrap();
                }
                let target = Some(to).filter(|_| !connected);
                let (all, cuts) = collect(&receiver);
                for lengths in cases {
                    let datagrams = of_lengths(lengths);
                    assert_eq!(send_all(&sender, &datagrams, target), Ok(datagrams.len()));
                    run_until(&lp, || all.borrow().len() == datagrams.len());
                    assert!(all.take() == datagrams, "{local} {lengths:?}");
                    // Through the queue, where all but the first are sent together.
                    let done = Rc::new(Cell::new(0));
                    for datagram in &datagrams {
                        let done = done.clone();
                        let count = move |_: &Udp, result: blacklight::Result<()>| {
                            result.unwrap();
                            done.set(done.get() + 1);
                        };
                        sender.send(datagram.clone(), target, count).unwrap();
                    }
                    run_until(&lp, || all.borrow().len() == datagrams.len());
                    assert!(all.take() == datagrams, "{local} {lengths:?}, queued");
                    run_until(&lp, || done.get() == datagrams.len());
                }
                assert!(cuts.borrow().iter().all(Option::is_none));
            }
        }
    }
}

#[test]
fn each_receiver_gets_its_own() {
    let lp = with_facility(true);
    let (one, to_one) = bound(&lp, "127.0.0.1:0", true);
    let (other, to_other) = bound(&lp, "127.0.0.1:0", true);
    let sender = Udp::new(&lp).unwrap();
    let logs = [collect(&one).0, collect(&other).0];
    // Which of the two each goes to.
    let receivers = [0, 0, 0, 1, 0, 1, 1, 1, 0, 0];
    let datagrams = of_lengths(&[20; 10]);
    let slices: Vec<[IoSlice<'_>; 2]> =
        datagrams.iter().map(|d| [IoSlice::new(&d[..7]), IoSlice::new(&d[7..])]).collect();
    let batch: Vec<Outgoing<'_>> = slices
        .iter()
        .zip(receivers)
        .map(|(slices, at)| Outgoing { slices, transmit: [to_one, to_other][at].into() })
        .collect();
    assert_eq!(sender.try_send_batch(&batch), Ok(10));
    run_until(&lp, || logs[0].borrow().len() + logs[1].borrow().len() == 10);
    for (at, log) in logs.iter().enumerate() {
        let expected: Vec<Vec<u8>> = datagrams
            .iter()
            .zip(receivers)
            .filter(|(_, to)| *to == at)
            .map(|(d, _)| d.clone())
            .collect();
        assert_eq!(log.take(), expected);
    }
}

#[test]
fn equal_datagrams_are_one_message_for_the_kernel_unless_that_is_switched_off() {
    if !kernel_cuts() {
        return skip("this kernel cannot cut datagrams");
    }
    for on in [true, false] {
        let lp = with_facility(on);
        let sender = Udp::new(&lp).unwrap();
        assert_eq!(goes_together(&lp, &sender), on);
    }
}

#[test]
fn a_socket_that_cannot_have_them_cut_sends_one_by_one() {
    if !kernel_cuts() {
        return skip("this kernel cannot cut datagrams");
    }
    let lp = with_facility(true);
    let (sender, _) = bound(&lp, "127.0.0.1:0", false);
    assert!(goes_together(&lp, &sender));
    // Without a checksum the kernel refuses to cut.
    set_option(&sender, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
    assert!(!goes_together(&lp, &sender));
    set_option(&sender, libc::SOL_SOCKET, libc::SO_NO_CHECK, 0);
    assert!(!goes_together(&lp, &sender), "it is not tried again");

    // The same through the queue: nothing is lost, nothing comes twice.
    let (sender, _) = bound(&lp, "127.0.0.1:0", false);
    set_option(&sender, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
    let (receiver, to) = bound(&lp, "127.0.0.1:0", false);
    let (all, _) = collect(&receiver);
    let datagrams = of_lengths(&[10; 50]);
    for datagram in &datagrams {
        sender.send(datagram.clone(), to, |_, result| result.unwrap()).unwrap();
    }
    run_until(&lp, || sender.send_queue_count() == 0 && all.borrow().len() >= 50);
    assert_eq!(all.take(), datagrams);
}

#[test]
fn a_socket_that_cuts_by_itself_or_keeps_errors_sends_one_by_one() {
    if !kernel_cuts() {
        return skip("this kernel cannot cut datagrams");
    }
    let lp = with_facility(true);
    let keeps = Udp::new(&lp).unwrap();
    keeps.bind_with("127.0.0.1:0".parse().unwrap(), UdpFlags::LINUX_RECVERR).unwrap();
    assert!(!goes_together(&lp, &keeps));

    let (receiver, to) = bound(&lp, "127.0.0.1:0", false);
    let (cuts, _) = bound(&lp, "127.0.0.1:0", false);
    set_option(&cuts, libc::SOL_UDP, libc::UDP_SEGMENT, 60);
    let (all, _) = collect(&receiver);
    assert_eq!(send_all(&cuts, &of_lengths(&[100, 100]), to), Ok(2));
    run_until(&lp, || all.borrow().len() == 4);
    let lengths: Vec<usize> = all.borrow().iter().map(Vec::len).collect();
    assert_eq!(lengths, [60, 40, 60, 40]);
}

#[test]
fn a_batch_is_counted_up_to_the_datagram_that_does_not_go() {
    for on in [true, false] {
        let lp = with_facility(on);
        let (receiver, to) = bound(&lp, "127.0.0.1:0", true);
        let sender = Udp::new(&lp).unwrap();
        let (all, _) = collect(&receiver);
        let mut lengths = vec![100; 70];
        lengths[67] = 65_508;
        let datagrams = of_lengths(&lengths);
        assert_eq!(send_all(&sender, &datagrams, to), Ok(67));
        assert_eq!(send_all(&sender, &datagrams[67..], to), Err(Error::EMSGSIZE));
        run_until(&lp, || all.borrow().len() == 67);
        assert_eq!(all.take(), datagrams[..67]);

        // The third of five goes to a port that nobody can have.
        let nowhere = SocketAddr::new(to.ip(), 0);
        let datagrams = of_lengths(&[9; 5]);
        let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|d| [IoSlice::new(d)]).collect();
        let mut batch: Vec<Outgoing<'_>> =
            slices.iter().map(|slices| Outgoing { slices, transmit: to.into() }).collect();
        batch[2].transmit = nowhere.into();
        assert_eq!(sender.try_send_batch(&batch), Ok(2));
        // A refusal that is the receiver's fault says nothing of sending together.
        batch.iter_mut().for_each(|datagram| datagram.transmit = nowhere.into());
        assert_eq!(sender.try_send_batch(&batch), Err(Error::EINVAL));
        assert_eq!(goes_together(&lp, &sender), on && kernel_cuts());
    }
}

#[test]
fn a_refused_batch_is_told_to_a_socket_with_a_peer() {
    for on in [true, false] {
        let lp = with_facility(on);
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let nobody = UdpSocket::bind(local).unwrap().local_addr().unwrap();
        let sender = Udp::new(&lp).unwrap();
        sender.connect(nobody).unwrap();
        // How many went before the refusal came is a matter of time.
        let went = send_all(&sender, &of_lengths(&[30; 5]), None).unwrap();
        assert!((1..=5).contains(&went));
        assert_eq!(send_all(&sender, &of_lengths(&[30; 5]), None), Err(Error::ECONNREFUSED));

        // Each send in the queue is reported, and the refusal is told to one at least.
        let results = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..6 {
            let results = results.clone();
            sender.send("x", None, move |_, result| results.borrow_mut().push(result)).unwrap();
        }
        run_until(&lp, || results.borrow().len() == 6);
        let refused = Err(Error::ECONNREFUSED);
        assert!(results.borrow().contains(&refused), "{results:?}");
        assert!(results.borrow().iter().all(|result| result.is_ok() || *result == refused));
    }
}
