//! What a primary listens to on behalf of its workers: round-robin, or a shared socket.
//!
//! Invariants: an accepted connection is with one worker, or waits here, or is closed with the
//! server; a worker gets its next connection when it has answered for the last.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Weak;

use socket2::{Domain, Socket, Type};

use super::super::channel::HandleType;
use super::super::value::Value;
use super::address::{ListenAddress, ListenKind};
use super::core::Core;
use crate::{Error, Handle, LoopRef, Pipe, Result, Stream, Tcp, TcpFlags};

/// Connections that wait here for a worker; when there are more, they stay in the kernel's
/// backlog, where they cost this process no descriptor.
const MOST_WAITING: usize = 128;

/// A connection that waits for a worker.
pub(super) struct Waiting {
    pub(super) descriptor: OwnedFd,
    /// Workers that did not want it.
    pub(super) refused_by: Vec<u32>,
}

/// What is bound.
pub(super) enum Bound {
    Tcp(Tcp),
    Pipe(Pipe),
    Udp(OwnedFd),
}

impl Bound {
    pub(super) fn handle_type(&self) -> HandleType {
        match self {
            Bound::Tcp(_) | Bound::Pipe(_) => HandleType::Native,
            Bound::Udp(_) => HandleType::NativeDatagram,
        }
    }

    pub(super) fn duplicate(&self) -> Result<OwnedFd> {
        match self {
            Bound::Tcp(tcp) => tcp.duplicate_fd(),
            Bound::Pipe(pipe) => pipe.duplicate_fd(),
            Bound::Udp(socket) => Ok(socket.as_fd().try_clone_to_owned()?),
        }
    }

    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        if let Bound::Tcp(tcp) = self { tcp.local_address().ok() } else { None }
    }

    /// The connection that was announced.
    fn accept(&self) -> Result<OwnedFd> {
        match self {
            Bound::Tcp(tcp) => tcp.accept()?.take_fd(),
            Bound::Pipe(pipe) => pipe.accept()?.take_fd(),
            Bound::Udp(_) => Err(Error::EINVAL),
        }
    }

    fn listen(&self, backlog: i32, key: &str, core: &Weak<Core>) -> Result<()> {
        let (core, key) = (core.clone(), key.to_owned());
        let announced = move |result: Result<()>| {
            // What cannot be accepted is not there to be handed out.
            if result.is_ok()
                && let Some(core) = core.upgrade()
            {
                core.connection_waits(&key);
            }
        };
        match self {
            Bound::Tcp(tcp) => tcp.listen(backlog, move |_, result| announced(result)),
            Bound::Pipe(pipe) => pipe.listen(backlog, move |_, result| announced(result)),
            Bound::Udp(_) => Err(Error::EINVAL),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        match self {
            Bound::Tcp(tcp) => tcp.close(),
            Bound::Pipe(pipe) => pipe.close(),
            Bound::Udp(_) => {}
        }
    }
}

/// Binds as the worker asks.
fn bind(lp: &LoopRef, address: &ListenAddress) -> Result<Bound> {
    match address.kind() {
        ListenKind::Tcp(socket) => bind_tcp(lp, *socket, address.is_only_v6()),
        ListenKind::AnyTcp(port) => {
            let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            bind_tcp(lp, v6, address.is_only_v6()).or_else(|error| match error {
                // There is no IPv6 on this machine.
                Error::EAFNOSUPPORT | Error::EADDRNOTAVAIL => {
                    bind_tcp(lp, (Ipv4Addr::UNSPECIFIED, *port).into(), false)
                }
                error => Err(error),
            })
        }
        ListenKind::Path(path) => {
            let pipe = Bound::Pipe(Pipe::new(lp)?);
            if let Bound::Pipe(pipe) = &pipe {
                pipe.bind(shortest(path))?;
                let (readable, writable) = address.open_to_all();
                if readable || writable {
                    pipe.chmod(readable, writable)?;
                }
            }
            Ok(pipe)
        }
        ListenKind::Udp(socket) => {
            let udp = Socket::new(Domain::for_address(*socket), Type::DGRAM, None)?;
            udp.set_nonblocking(true)?;
            if socket.is_ipv6() {
                udp.set_only_v6(address.is_only_v6())?;
            }
            if address.reuses_address() {
                udp.set_reuse_address(true)?;
            }
            udp.bind(&(*socket).into())?;
            Ok(Bound::Udp(udp.into()))
        }
    }
}

fn bind_tcp(lp: &LoopRef, address: SocketAddr, only_v6: bool) -> Result<Bound> {
    let tcp = Tcp::new(lp)?;
    // Dropped unbound, it closes itself.
    let flags = if only_v6 && address.is_ipv6() { TcpFlags::IPV6_ONLY } else { TcpFlags::empty() };
    tcp.bind_with(address, flags)?;
    Ok(Bound::Tcp(tcp))
}

/// A path as it is from the working directory, if that is how it is shorter: a socket's name has
/// room for 107 bytes only. Node does so too.
fn shortest(path: &str) -> &str {
    let here = std::env::current_dir().ok();
    let here = here.as_ref().and_then(|here| here.to_str());
    here.and_then(|here| path.strip_prefix(here)?.strip_prefix('/')).unwrap_or(path)
}

/// One address that workers serve.
pub(super) struct Server {
    pub(super) bound: Bound,
    /// Whether the primary accepts; else the workers do.
    pub(super) round_robin: bool,
    /// What the first worker that had something to say said; every reply carries it.
    pub(super) data: Value,
    workers: Vec<u32>,
    /// Workers that wait for a connection, the one that waits longest first.
    free: VecDeque<u32>,
    /// Connections that wait for a worker.
    waiting: VecDeque<Waiting>,
    /// Connections that no worker wanted, to be offered again in a while.
    unwanted: Vec<Waiting>,
    /// A connection has been announced and was left where it is, for lack of room.
    held: bool,
}

impl Server {
    /// Binds, and listens where connections are to be handed out.
    pub(super) fn start(
        core: &Weak<Core>,
        lp: &LoopRef,
        address: &ListenAddress,
        key: &str,
        round_robin: bool,
    ) -> Result<Server> {
        let bound = bind(lp, address)?;
        if round_robin {
            bound.listen(address.listen_backlog(), key, core)?;
        }
        Ok(Server {
            bound,
            round_robin,
            data: Value::Null,
            workers: Vec::new(),
            free: VecDeque::new(),
            waiting: VecDeque::new(),
            unwanted: Vec::new(),
            held: false,
        })
    }

    /// One more worker, which is free.
    pub(super) fn add(&mut self, worker: u32) {
        if !self.workers.contains(&worker) {
            self.workers.push(worker);
            self.offer_again();
            self.is_free(worker);
        }
    }

    /// Takes the worker off; true when nobody serves the address any more.
    pub(super) fn remove(&mut self, worker: u32) -> bool {
        self.free.retain(|id| *id != worker);
        self.workers.retain(|id| *id != worker);
        // What waited for this one alone is the others' again, whatever they said before.
        self.waiting.iter_mut().for_each(|connection| connection.refused_by.clear());
        self.offer_again();
        self.workers.is_empty()
    }

    /// The worker is free for another connection.
    pub(super) fn is_free(&mut self, worker: u32) {
        if self.round_robin && self.workers.contains(&worker) && !self.free.contains(&worker) {
            self.free.push_back(worker);
        }
    }

    /// A connection has been announced: takes it if there is room.
    pub(super) fn take(&mut self) {
        self.held = self.waiting.len() + self.unwanted.len() >= MOST_WAITING;
        if !self.held
            && let Ok(descriptor) = self.bound.accept()
        {
            self.waiting.push_back(Waiting { descriptor, refused_by: Vec::new() });
        }
    }

    /// The next connection, and the worker that gets it.
    pub(super) fn next(&mut self) -> Option<(u32, Waiting)> {
        if self.free.is_empty() {
            return None;
        }
        for place in 0..self.waiting.len() {
            let refused_by = &self.waiting.get(place)?.refused_by;
            let Some(at) = self.free.iter().position(|id| !refused_by.contains(id)) else {
                continue;
            };
            let next = (self.free.remove(at)?, self.waiting.remove(place)?);
            if self.held {
                self.take();
            }
            return Some(next);
        }
        None
    }

    /// A worker did not take a connection: it is the next one's. True when all have refused it, so
    /// that it is to be offered again later.
    pub(super) fn give_back(&mut self, connection: Waiting) -> bool {
        let unwanted = self.workers.iter().all(|id| connection.refused_by.contains(id));
        if unwanted {
            self.unwanted.push(connection);
        } else {
            self.waiting.push_front(connection);
        }
        unwanted
    }

    /// Offers what nobody wanted to everybody again.
    pub(super) fn offer_again(&mut self) {
        for mut connection in self.unwanted.drain(..).rev() {
            connection.refused_by.clear();
            self.waiting.push_front(connection);
        }
    }
}
