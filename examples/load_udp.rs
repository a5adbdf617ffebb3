//! Many datagrams over the loopback: one by one, in batches, and cut and put together by the kernel.
//!
//! ```text
//! cargo run --release --example load_udp -- [DATAGRAMS]
//! ```
//!
//! A sender and a receiver on one loop. UDP has no flow control, and what finds the receiver's buffer
//! full is lost; so the sender never has more under way than surely fit, and what is missing at the
//! end is counted.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use blacklight::prelude::*;
use blacklight::{Error, Outgoing, Result, Transmit};

/// Bytes of a datagram.
const SIZE: usize = 100;

/// Datagrams under way. The kernel accounts up to 1280 bytes for each of this size
/// (`skb->truesize`), and lets 208 KiB wait if nothing else is set (`rmem_default`).
const WINDOW: usize = 128;

/// Datagrams in a batch.
const BATCH: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    OneByOne,
    Batches,
    Segments,
}

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    for mode in [Mode::OneByOne, Mode::Batches, Mode::Segments] {
        match run(mode, count) {
            Ok(()) => {}
            Err(Error::ENOTSUP) => println!("{mode:?}: this kernel cannot"),
            Err(error) => {
                eprintln!("load_udp: {mode:?}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn run(mode: Mode, count: usize) -> Result<()> {
    let lp = EventLoop::new()?;
    let receiver = Udp::new_with(&lp, None, mode != Mode::OneByOne)?;
    receiver.bind("127.0.0.1:0".parse().map_err(|_| Error::EINVAL)?)?;
    if mode == Mode::Segments {
        receiver.set_receive_segments(true)?;
    }
    let received = Rc::new(Cell::new(0));
    let counting = received.clone();
    receiver.recv_start(move |receiver, read| {
        let UdpRead::Data(bytes, meta) = read else {
            eprintln!("load_udp: {read:?}");
            return;
        };
        let size = meta.segment_size.unwrap_or(bytes.len()).max(1);
        counting.set(counting.get() + bytes.len().div_ceil(size));
        if counting.get() >= count {
            receiver.close();
        }
    })?;

    let sender = Udp::new(&lp)?;
    sender.connect(receiver.local_address()?)?;
    let begun = Instant::now();
    let (mut sent, mut quiet) = (0, 0);
    while received.get() < count {
        let before = received.get();
        while sent < count && sent - received.get() + BATCH <= WINDOW {
            match send(mode, &sender, BATCH.min(count - sent)) {
                Ok(went) => sent += went,
                Err(Error::EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        lp.run(RunMode::NoWait)?;
        // Nothing is on the way any more when many turns bring nothing.
        quiet = if received.get() == before { quiet + 1 } else { 0 };
        if quiet == 100_000 {
            break;
        }
    }
    let per_second = received.get() as f64 / begun.elapsed().as_secs_f64();
    let lost = sent - received.get();
    println!("{mode:?}: {} received, {lost} lost, {per_second:.0} per second", received.get());
    lp.walk(|handle| handle.close());
    lp.run(RunMode::Default).map(drop)
}

/// Sends up to `count` datagrams; how many went.
fn send(mode: Mode, sender: &Udp, count: usize) -> Result<usize> {
    let data = [0; SIZE * BATCH];
    let to_peer = Transmit::to_peer();
    match mode {
        Mode::OneByOne => sender.try_send(&data[..SIZE], to_peer).map(|_| 1),
        Mode::Batches => {
            let slices = [std::io::IoSlice::new(&data[..SIZE])];
            let batch = [Outgoing { slices: &slices, transmit: to_peer }; BATCH];
            sender.try_send_batch(&batch[..count])
        }
        Mode::Segments => {
            let cut = to_peer.segment_size(SIZE as u16);
            sender.try_send(&data[..SIZE * count], cut).map(|_| count)
        }
    }
}
