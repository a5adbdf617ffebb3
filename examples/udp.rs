//! UDP with what goes beside the datagrams: a sink that says what it gets, and a sender.
//!
//! ```text
//! cargo run --example udp -- 127.0.0.1:7000
//! cargo run --example udp -- --send 127.0.0.1:7000 hello
//! ```
//!
//! The sink receives in batches, asks for the address each datagram was sent to and for its mark,
//! lets the kernel put datagrams together, and answers each sender. The sender marks its datagrams,
//! and sends the text once as it is and once cut into pieces of one byte.

use std::net::SocketAddr;
use std::process::ExitCode;

use blacklight::prelude::*;
use blacklight::{Ecn, Error, Result, Transmit};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [address] => address.parse().map(sink),
        ["--send", address, text] => address.parse().map(|address| send(address, text)),
        _ => {
            eprintln!("usage: udp ADDRESS:PORT\n       udp --send ADDRESS:PORT TEXT");
            return ExitCode::from(2);
        }
    };
    match done.unwrap_or(Err(Error::EINVAL)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sink(address: SocketAddr) -> Result<()> {
    let lp = EventLoop::new()?;
    let udp = Udp::new_with(&lp, None, true)?;
    udp.bind(address)?;
    udp.set_receive_destination(true)?;
    udp.set_receive_ecn(true)?;
    // Kernels before 5.0 cannot; the datagrams come one by one then.
    if udp.set_receive_segments(true).is_err() {
        eprintln!("udp: no segments here");
    }
    udp.recv_start(|udp, read| match read {
        UdpRead::Data(bytes, meta) => {
            let size = meta.segment_size.unwrap_or(bytes.len()).max(1);
            let count = bytes.len().div_ceil(size);
            let to = meta.to.map_or("somewhere".to_owned(), |to| to.to_string());
            let mark = meta.ecn.unwrap_or(Ecn::NotEct);
            println!("{count} to {to}, {mark:?}: {}", String::from_utf8_lossy(bytes));
            // From the address that the sender knows.
            let mut answer = Transmit::to(meta.from);
            if let Some(to) = meta.to {
                answer = answer.source(to);
            }
            let answered = udp.send_and_forget(format!("got {} bytes", bytes.len()), answer);
            if let Err(error) = answered {
                eprintln!("udp: {error}");
            }
        }
        other => eprintln!("udp: {other:?}"),
    })?;
    println!("listening on {}", udp.local_address()?);
    let signal = Signal::new(&lp)?;
    signal.start(libc::SIGINT, |signal, _| signal.event_loop().walk(|handle| handle.close()))?;
    lp.run(RunMode::Default).map(drop)
}

fn send(address: SocketAddr, text: &str) -> Result<()> {
    let lp = EventLoop::new()?;
    let udp = Udp::new(&lp)?;
    udp.connect(address)?;
    let whole = Transmit::to_peer().ecn(Ecn::Ect0);
    udp.send(text.to_owned(), whole, |udp, result| {
        if let Err(error) = result {
            eprintln!("udp: {error}");
            udp.close();
        }
    })?;
    let pieces = Transmit::to_peer().ecn(Ecn::Ect1).segment_size(1);
    udp.send(text.to_owned(), pieces, |udp, result| match result {
        Ok(()) => {}
        Err(Error::ENOTSUP) => eprintln!("udp: this kernel cannot cut datagrams"),
        Err(error) => {
            eprintln!("udp: {error}");
            udp.close();
        }
    })?;
    // Twice the whole text has been received when the answers say so.
    let (mut left, mut hanging) = (2 * text.len(), Some(Timer::new(&lp)?));
    let waiting = udp.clone();
    if let Some(timer) = &hanging {
        timer.start(2000, 0, move |_| {
            eprintln!("udp: no answer");
            waiting.close();
        })?;
    }
    udp.recv_start(move |udp, read| {
        let UdpRead::Data(bytes, _) = read else {
            eprintln!("udp: {read:?}");
            return;
        };
        let answer = String::from_utf8_lossy(bytes);
        println!("{answer}");
        let count = answer.split(' ').nth(1).and_then(|count| count.parse().ok());
        left = left.saturating_sub(count.unwrap_or(0));
        if left == 0 {
            udp.close();
            if let Some(timer) = hanging.take() {
                timer.close();
            }
        }
    })?;
    lp.run(RunMode::Default).map(drop)
}
