//! Messages over an IPC channel, from this crate to this crate and from node to node.
//!
//! Each round is a child with a channel, and the time of its messages alone; in a row of its own the
//! child is node for both. The floor of a round trip
//! is two programs that only read and write as many bytes: it says how much of the time is waking
//! the other process up. Without a node on the machine its entries are left out.

use blacklight::child_process::Serialization;

use crate::messages::{Kind, Messages, has_node};
use crate::row::{Goal, Group, Row, Who};

/// Of handles as many as node's listen backlog holds.
const HANDLES: u64 = 400;

pub(super) fn rows() -> Vec<Row> {
    let has_node = has_node();
    let mut rows = Vec::new();
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let kinds = [(Kind::OneWay, 20_000), (Kind::RoundTrip, 5_000), (Kind::Handles, HANDLES)];
        for (kind, count) in kinds {
            let size = if kind == Kind::Handles { 0 } else { 64 };
            let bytes = if size == 0 { "" } else { ", 64 bytes" };
            let name = format!("IPC, {} {}{bytes}, each", serialization.name(), kind.name());
            let entry = |measure: fn(Messages) -> f64| {
                move || {
                    move |units: u64| {
                        let count = u32::try_from(units).unwrap_or(u32::MAX);
                        1e9 / measure(Messages { kind, serialization, count, size })
                    }
                }
            };
            let mut row = Row::new(Group::Messages, name)
                .units(count)
                .rounds(11)
                .goal(Goal::Against(Who::Node, 0.2))
                .entry(Who::Blacklight, entry(Messages::ours_with_ours));
            if has_node {
                row = row.entry(Who::Node, entry(Messages::node_with_node));
            }
            if kind == Kind::RoundTrip {
                row = row.entry(Who::Floor, entry(Messages::floor));
            }
            rows.push(row);
            if has_node && kind == Kind::OneWay {
                let name =
                    format!("IPC to node, {} {}{bytes}, each", serialization.name(), kind.name());
                let to_node = Row::new(Group::Messages, name)
                    .units(count)
                    .rounds(11)
                    .entry(Who::Blacklight, entry(Messages::ours_with_node))
                    .entry(Who::Node, entry(Messages::node_with_node));
                rows.push(to_node);
            }
        }
    }
    rows
}
