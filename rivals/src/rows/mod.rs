//! Every row, a file for each subject.

mod accept;
mod files;
mod lifetime;
mod many;
mod memory;
mod messages;
mod ping_pong;
mod pool;
mod pump;
mod spawn;
mod timers;
mod turn;
mod udp;
mod wake;

use crate::row::Row;

pub(crate) fn all() -> Vec<Row> {
    [
        spawn::rows(),
        many::rows(),
        turn::rows(),
        lifetime::rows(),
        timers::rows(),
        wake::rows(),
        ping_pong::rows(),
        pump::rows(),
        accept::rows(),
        udp::rows(),
        pool::rows(),
        files::rows(),
        memory::rows(),
        messages::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Tokio as the other loops are: one thread, and the kernel asked in every turn.
fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .build()
        .expect("a runtime")
}
