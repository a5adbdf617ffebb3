//! Messages and handles per second over an IPC channel: node with node, this crate with this crate,
//! and the two with each other, in one run on one machine.
//!
//! `cargo bench --all-features --bench ipc -- [MESSAGES] [WORD]...`, with words for the lines that
//! are wanted (`json`, `trip`), and `alone` for this crate's own figures without node. Each figure is
//! the best of three runs, the competitors taking turns, so that what else the machine does hits all
//! of them. "floor" is what two programs reach that do nothing but read and write as many bytes, back
//! and forth.

mod messages;

use blacklight::child_process::Serialization;
use messages::{Kind, Messages};

/// The best of this many counts.
const RUNS: u32 = 3;

/// The most handles that are passed in one run.
const HANDLES: u32 = 400;

fn main() {
    if messages::play_role() || std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let (mut count, mut words, mut alone) = (100_000, Vec::new(), false);
    for arg in std::env::args().skip(1).filter(|arg| !arg.starts_with('-')) {
        match arg.parse() {
            Ok(number) => count = number,
            Err(_) if arg == "alone" => alone = true,
            Err(_) => words.push(arg),
        }
    }
    let has_node = !alone && messages::has_node();
    println!(
        "{:<26}{:>12}{:>12}{:>12}{:>8}{:>8}{:>12}",
        "per second", "node-node", "ours-ours", "ours-node", "ratio", "ratio", "floor"
    );
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let kinds = [
            (Kind::OneWay, count, [64, 1024].as_slice()),
            (Kind::RoundTrip, count / 5, &[64, 1024]),
            (Kind::Handles, HANDLES.min(count), &[0]),
        ];
        for (kind, count, sizes) in kinds {
            for &size in sizes {
                let bytes = if size == 0 { String::new() } else { format!(" {size} B") };
                let title = format!("{} {}{bytes}", serialization.name(), kind.name());
                if words.iter().all(|word| title.contains(word.as_str())) {
                    line(&title, has_node, Messages { kind, serialization, count, size });
                }
            }
        }
    }
}

fn line(title: &str, has_node: bool, messages: Messages) {
    let (mut ours, mut nodes, mut mixed, mut least) = (0f64, 0f64, 0f64, 0f64);
    for _ in 0..RUNS {
        ours = ours.max(messages.ours_with_ours());
        if messages.kind == Kind::RoundTrip {
            least = least.max(messages.floor());
        }
        if has_node {
            nodes = nodes.max(messages.node_with_node());
            mixed = mixed.max(messages.ours_with_node());
        }
    }
    let least =
        if messages.kind == Kind::RoundTrip { format!("{least:.0}") } else { String::new() };
    if !has_node {
        println!("{title:<26}{:>12}{ours:>12.0}{:>28}{least:>12}", "no node", "");
        return;
    }
    println!(
        "{title:<26}{nodes:>12.0}{ours:>12.0}{mixed:>12.0}{:>8.1}{:>8.1}{least:>12}",
        ours / nodes,
        mixed / nodes
    );
}
