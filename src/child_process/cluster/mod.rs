//! Node's cluster: one process listens, several serve.
//!
//! A [`Primary`] forks [`Worker`]s and listens for them; a [`ClusterWorker`] is a worker's own end.
//! Both speak Node's protocol over the channel, so that workers may be node scripts that
//! `require('cluster')`, and the primary of a worker may be a node. `message` and `address` have the
//! messages, `server` what is listened to; `primary`, `core`, `handing` and `worker` are the
//! primary's side, `own` and `serving` the worker's. Invariant: each message is answered once, and
//! each connection is with one process in the end.

mod address;
mod core;
mod handing;
mod message;
mod own;
mod primary;
mod server;
mod serving;
mod worker;

pub use address::{ListenAddress, ListenKind};
pub use own::ClusterWorker;
pub use primary::{ClusterEvent, ClusterOptions, Policy, Primary, RestartLimit};
pub use serving::{ClusterServer, Connection, ServerEvent};
pub use worker::{Worker, WorkerState};
