//! UDP: sending at once and in order, receiving in all forms, errors where libuv has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tools.rs"]
mod tools;

mod errors;
mod receiving;
mod sending;
mod sockets;

use std::net::SocketAddr;

use blacklight::prelude::*;
use support::Log;

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
