//! The primary: the process that forks the workers and listens for them.
//!
//! Invariant: everything the primary knows is in its `Core`, which lives as long as a worker does.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::super::channel::{ChannelError, ChannelOptions, Message};
use super::address::ListenAddress;
use super::core::Core;
use super::worker::Worker;
use crate::{Command, Exit, LoopRef, SpawnError};

/// Who accepts the connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The primary, which hands them to the workers in turn (Node's `SCHED_RR`).
    #[default]
    RoundRobin,
    /// The workers, from a socket that they share (Node's `SCHED_NONE`). UDP is always shared.
    Shared,
}

impl Policy {
    /// What `NODE_CLUSTER_SCHED_POLICY` says, `none` or `rr`; round-robin for anything else.
    ///
    /// ```
    /// use blacklight::child_process::cluster::Policy;
    ///
    /// println!("{:?}", Policy::from_env());
    /// ```
    #[must_use]
    pub fn from_env() -> Policy {
        match std::env::var("NODE_CLUSTER_SCHED_POLICY") {
            Ok(policy) if policy == "none" => Policy::Shared,
            _ => Policy::RoundRobin,
        }
    }
}

/// How often workers that have died are replaced at the most.
///
/// A program that ends as soon as it starts would otherwise keep the machine busy with starting it.
/// A replacement over the limit is not given up: it waits until the limit allows it.
///
/// ```
/// use blacklight::child_process::cluster::RestartLimit;
/// use std::time::Duration;
///
/// let patient = RestartLimit { most: 1, within: Duration::from_secs(1) };
/// assert_ne!(patient, RestartLimit::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartLimit {
    /// So many replacements …
    pub most: u32,
    /// … in any time so long.
    pub within: Duration,
}

impl Default for RestartLimit {
    /// 10 in 10 seconds: a whole small cluster at once, and one per second after that.
    fn default() -> RestartLimit {
        RestartLimit { most: 10, within: Duration::from_secs(10) }
    }
}

/// How a primary makes its workers.
///
/// ```
/// use blacklight::Command;
/// use blacklight::child_process::cluster::{ClusterOptions, Policy, RestartLimit};
///
/// let mut options = ClusterOptions::new(Command::new("node"));
/// options.policy = Policy::Shared;
/// options.restart = Some(RestartLimit::default());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The program of the workers. A node needs a script file: with `-e` it does not take part.
    pub command: Command,
    /// Who accepts connections; the primary, round-robin, unless it is said.
    pub policy: Policy,
    /// How the channels to the workers are set up; `json` unless it is said.
    pub channel: ChannelOptions,
    /// Whether workers that end without having been told to are replaced; not unless it is said.
    pub restart: Option<RestartLimit>,
}

impl ClusterOptions {
    /// Workers of this program, with Node's defaults.
    #[must_use]
    pub fn new(command: Command) -> ClusterOptions {
        ClusterOptions {
            command,
            policy: Policy::default(),
            channel: ChannelOptions::default(),
            restart: None,
        }
    }
}

/// What happens to a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// It runs, and has said so.
    Online,
    /// It serves an address, at the port that was found.
    Listening(ListenAddress),
    /// It has sent a message, and nobody listens to this worker's alone ([`Worker::on_message`]).
    Message(Message),
    /// Its channel has closed; it gets no more connections.
    Disconnected,
    /// It has ended. Nothing more is heard of it, but for its replacement.
    Exited(Exit),
    /// It has ended, and this worker is in its place.
    Replaced(Worker),
    /// It has ended, and starting another in its place has failed; that is tried again when the
    /// time of the [`RestartLimit`] has passed.
    RestartFailed(SpawnError),
    /// Something is wrong on its channel; see [`ChannelError`].
    Error(ChannelError),
}

/// Forks the workers of a cluster and listens on their behalf.
///
/// Workers are programs that use [`ClusterWorker`](super::ClusterWorker), or node scripts that
/// `require('cluster')`. The value is a reference; dropping it ends nothing. The loop runs as long as
/// a worker does.
///
/// It does what Node's primary does, and differs in this: connections that no worker wants are
/// offered again after 10 ms, where Node offers them without a pause; at most 128 accepted
/// connections per server wait for a worker, the rest stay in the kernel's backlog; a connection
/// whose worker died without a word about it goes to the next one; a worker cannot listen to a
/// descriptor of the primary's by its number (it gets `ENOTSUP`).
///
/// ```
/// use blacklight::child_process::cluster::{ClusterEvent, ClusterOptions, Primary};
/// use blacklight::{Command, EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// let mut command = Command::new("sh"); // speaks the protocol by hand
/// command.args(["-c", r#"echo '{"cmd":"NODE_CLUSTER","act":"online","seq":0}' >&3; read line <&3"#]);
/// let primary = Primary::new(&lp, ClusterOptions::new(command));
/// primary.on_event(|primary, worker, event| match event {
///     ClusterEvent::Online => primary.disconnect(|_| println!("all are gone")),
///     ClusterEvent::Exited(exit) => println!("worker {} ended: {exit}", worker.id()),
///     _ => {}
/// });
/// primary.fork()?;
/// lp.run(RunMode::Default)?;
/// assert!(primary.workers().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Primary(Rc<Core>);

impl Primary {
    /// Makes a primary without workers.
    #[must_use]
    pub fn new(lp: &LoopRef, options: ClusterOptions) -> Primary {
        Primary(Core::new(lp, options))
    }

    pub(super) fn from_core(core: Rc<Core>) -> Primary {
        Primary(core)
    }

    /// Forks a worker. Its id is 1 for the first, and is not used again; it finds it in
    /// `NODE_UNIQUE_ID`.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn fork(&self) -> Result<Worker, SpawnError> {
        self.0.fork()
    }

    /// Has `callback` called with what happens to the workers, in place of one that was given
    /// before.
    ///
    /// A panic in it drops it, and disconnects the worker that the event was about.
    pub fn on_event(&self, callback: impl FnMut(&Primary, &Worker, ClusterEvent) + 'static) {
        self.0.listen(Box::new(callback));
    }

    /// The workers that have not ended, in the order of their ids.
    #[must_use]
    pub fn workers(&self) -> Vec<Worker> {
        self.0.workers()
    }

    /// The worker with this id, unless it has ended.
    #[must_use]
    pub fn worker(&self, id: u32) -> Option<Worker> {
        self.0.worker(id)
    }

    /// Disconnects all workers, replaces none any more, and calls `callback` when all have ended.
    /// (Node calls it when all are disconnected, some perhaps still at work on their connections.)
    ///
    /// Workers that are forked afterwards are not concerned, but `callback` waits for them too.
    pub fn disconnect(&self, callback: impl FnOnce(&Primary) + 'static) {
        self.0.disconnect(Box::new(callback));
    }
}

impl fmt::Debug for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Primary").field("workers", &self.workers()).finish_non_exhaustive()
    }
}
