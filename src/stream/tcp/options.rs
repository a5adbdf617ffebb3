//! Options of TCP sockets, and what is remembered of them while there is no socket yet.
//!
//! Invariant: what was set before the socket was there holds as soon as it is, however it came:
//! made for a bind or a connect, opened, or accepted.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use bitflags::bitflags;

use crate::error::{Error, Result};
use crate::stream::node::StreamNode;
use crate::sys::inet;

bitflags! {
    /// How a TCP socket is bound, with libuv's values (`uv_tcp_flags`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct TcpFlags: u32 {
        /// No IPv4 clients on an IPv6 address (`IPV6_V6ONLY`; `UV_TCP_IPV6ONLY`).
        const IPV6_ONLY = 1;
        /// Several sockets share the port (`SO_REUSEPORT`; `UV_TCP_REUSEPORT`).
        const REUSE_PORT = 2;
        /// `EADDRINUSE` is no error of the bind but of what comes after it: listen, connect, the
        /// question for the socket's name. So libuv always does; it has no flag for it.
        const DELAY_ADDRESS_IN_USE = 1 << 31;
    }
}

/// When a silent connection is probed, and given up (`uv_tcp_keepalive_ex`). Whole seconds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpKeepAlive {
    /// How long it is left alone (`TCP_KEEPIDLE`), 1 to 32,767 seconds.
    pub idle: Duration,
    /// The time between probes (`TCP_KEEPINTVL`), 1 to 32,767 seconds.
    pub interval: Duration,
    /// Unanswered probes after which it is given up (`TCP_KEEPCNT`), 1 to 127.
    pub probes: u32,
}

impl TcpKeepAlive {
    /// Probes after this time, every second, ten of them (`uv_tcp_keepalive`).
    #[must_use]
    pub const fn after(idle: Duration) -> TcpKeepAlive {
        TcpKeepAlive { idle, interval: Duration::from_secs(1), probes: 10 }
    }

    /// The kernel's limits (`MAX_TCP_KEEPIDLE` and its like, include/net/tcp.h), asked for here so
    /// that a socket that is not there yet refuses the same.
    fn check(&self) -> Result<()> {
        let seconds = 1..=32_767;
        let fits = seconds.contains(&self.idle.as_secs())
            && seconds.contains(&self.interval.as_secs())
            && (1..=127).contains(&self.probes);
        if fits { Ok(()) } else { Err(Error::EINVAL) }
    }
}

/// What was set while there was no socket.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::stream) struct Early {
    no_delay: bool,
    keep_alive: Option<TcpKeepAlive>,
}

impl Early {
    /// A socket is there.
    pub(in crate::stream) fn apply(self, fd: BorrowedFd<'_>) -> Result<()> {
        if self.no_delay {
            inet::no_delay(fd, true)?;
        }
        match self.keep_alive {
            Some(_) => set_keep_alive(fd, self.keep_alive),
            None => Ok(()),
        }
    }
}

fn set_keep_alive(fd: BorrowedFd<'_>, settings: Option<TcpKeepAlive>) -> Result<()> {
    inet::keep_alive(fd, settings.map(|s| (s.idle, s.interval, s.probes)))
}

/// Remembers a setting for the socket to come.
fn remember(node: &StreamNode, set: impl FnOnce(&mut Early)) -> Result<()> {
    node.may_open()?;
    let place = &node.rare().early;
    let mut early = place.take().unwrap_or_default();
    set(&mut early);
    place.set(Some(early));
    Ok(())
}

pub(super) fn no_delay(node: &StreamNode, on: bool) -> Result<()> {
    if node.is_open() {
        return node.with_fd(|fd| inet::no_delay(fd, on));
    }
    remember(node, |early| early.no_delay = on)
}

pub(super) fn keep_alive(node: &StreamNode, settings: Option<TcpKeepAlive>) -> Result<()> {
    settings.map_or(Ok(()), |settings| settings.check())?;
    if node.is_open() {
        return node.with_fd(|fd| set_keep_alive(fd, settings));
    }
    remember(node, |early| early.keep_alive = settings)
}
