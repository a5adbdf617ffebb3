//! A server of a worker's: whatever the primary's policy, connections come to one callback.
//!
//! Invariant: after a server was closed its callback gets no connection any more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::UdpSocket;
use std::rc::{Rc, Weak};

use super::super::channel::ReceivedHandle;
use super::address::{ListenAddress, ListenKind};
use super::own::Own;
use crate::handle::{OnUnwind, Slot};
use crate::{DescriptorKind, Error, Handle, LoopRef, Pipe, Result, Stream, Tcp};

/// A connection that the worker has got.
#[derive(Debug, Clone)]
pub enum Connection {
    /// Over TCP.
    Tcp(Tcp),
    /// Over a Unix socket.
    Pipe(Pipe),
}

impl Connection {
    pub(super) fn new(handle: ReceivedHandle, lp: &LoopRef) -> Result<Connection> {
        match DescriptorKind::of(&handle.descriptor) {
            DescriptorKind::Tcp => handle.into_tcp(lp).map(Connection::Tcp),
            DescriptorKind::Pipe => handle.into_pipe(lp).map(Connection::Pipe),
            _ => Err(Error::EINVAL),
        }
    }

    /// Closes it.
    pub fn close(&self) {
        match self {
            Connection::Tcp(tcp) => tcp.close(),
            Connection::Pipe(pipe) => pipe.close(),
        }
    }
}

/// What happens to a server of a worker's.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// It listens; with the port that was found.
    Listening(ListenAddress),
    /// A connection, which is the worker's now.
    Connection(Connection),
    /// The socket of a UDP address, shared with the other workers; it does not block, and comes
    /// before [`ServerEvent::Listening`].
    Datagrams(UdpSocket),
    /// It cannot listen (`EADDRINUSE`, `EACCES`, what the primary says), or, where the socket is
    /// shared, a connection could not be accepted.
    Failed(Error),
    /// It has been closed from outside: the worker is being disconnected.
    Closed,
}

/// What it listens with.
enum Listening {
    Not,
    /// The primary does.
    Remotely,
    Tcp(Tcp),
    Pipe(Pipe),
}

type EventCallback = dyn FnMut(&ClusterServer, ServerEvent);

struct Inner {
    own: Weak<Own>,
    address: ListenAddress,
    index: u32,
    key: RefCell<Option<String>>,
    listening: RefCell<Listening>,
    closed: Cell<bool>,
    refusing: Cell<bool>,
    /// Where the socket is shared: a connection was announced and left where it is.
    held: Cell<bool>,
    on_event: Slot<EventCallback>,
}

/// A server of a [`ClusterWorker`](super::ClusterWorker); the value is a reference, and dropping it
/// closes nothing.
///
/// ```
/// use blacklight::child_process::cluster::{ClusterServer, Connection, ServerEvent};
///
/// // A callback for `ClusterWorker::listen`: serves one connection at a time.
/// let mut open: Vec<Connection> = Vec::new();
/// let callback = move |server: &ClusterServer, event: ServerEvent| match event {
///     ServerEvent::Connection(connection) => {
///         server.refuse(true);
///         open.push(connection);
///     }
///     ServerEvent::Failed(error) => eprintln!("{error}"),
///     _ => {}
/// };
/// # let _: Box<dyn FnMut(&ClusterServer, ServerEvent)> = Box::new(callback);
/// ```
#[derive(Clone)]
pub struct ClusterServer(Rc<Inner>);

impl ClusterServer {
    pub(super) fn new(
        own: Weak<Own>,
        address: ListenAddress,
        index: u32,
        callback: Box<EventCallback>,
    ) -> ClusterServer {
        let server = ClusterServer(Rc::new(Inner {
            own,
            address,
            index,
            key: RefCell::default(),
            listening: RefCell::new(Listening::Not),
            closed: Cell::new(false),
            refusing: Cell::new(false),
            held: Cell::new(false),
            on_event: Slot::empty(),
        }));
        drop(server.0.on_event.set(callback));
        server
    }

    /// What was asked for.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.0.address
    }

    /// Takes no more connections, or takes them again: what a worker does that has as many as it
    /// wants (Node's `maxConnections`).
    ///
    /// Where the primary hands connections out, it is told that they are not taken, and gives them
    /// to other workers; where the socket is shared, they stay in its backlog.
    pub fn refuse(&self, on: bool) {
        self.0.refusing.set(on);
        if !on && self.0.held.replace(false) {
            self.take_held();
        }
    }

    /// Closes the server, without an event. Connections that were taken go on.
    pub fn close(&self) {
        self.shut();
        drop(self.0.on_event.clear());
    }

    /// Closes the server, whose callback has something to hear yet.
    pub(super) fn shut(&self) {
        if self.0.closed.replace(true) {
            return;
        }
        match self.0.listening.replace(Listening::Not) {
            Listening::Tcp(tcp) => tcp.close(),
            Listening::Pipe(pipe) => pipe.close(),
            Listening::Not | Listening::Remotely => {}
        }
        let key = self.0.key.borrow_mut().take();
        if let (Some(key), Some(own)) = (key, self.0.own.upgrade()) {
            own.closed(self, &key);
        }
    }

    /// Whether it has been closed, or has failed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    pub(super) fn index(&self) -> u32 {
        self.0.index
    }

    pub(super) fn accepts(&self) -> bool {
        !self.is_closed() && !self.0.refusing.get()
    }

    pub(super) fn set_key(&self, key: &str) {
        self.0.key.replace(Some(key.to_owned()));
    }

    /// Calls the callback. One that panics is dropped, and the server closed.
    pub(super) fn tell(&self, event: ServerEvent) {
        let stop = OnUnwind::new(|| {
            self.close();
        });
        self.0.on_event.call(|callback| callback(self, event));
        stop.passed();
    }

    pub(super) fn is_listening(&self, address: ListenAddress) {
        if !self.is_closed() {
            self.tell(ServerEvent::Listening(address));
        }
    }

    /// It could not be opened.
    pub(super) fn fail(&self, error: Error) {
        self.0.closed.set(true);
        self.tell(ServerEvent::Failed(error));
        drop(self.0.on_event.clear());
    }

    pub(super) fn tell_closed(&self) {
        self.tell(ServerEvent::Closed);
        drop(self.0.on_event.clear());
    }

    /// The primary has opened it: listens, if it has sent the socket for that. Gives the port.
    pub(super) fn open(
        &self,
        lp: &LoopRef,
        handle: Option<ReceivedHandle>,
        port: Option<u16>,
    ) -> Result<Option<u16>> {
        let Some(handle) = handle else {
            // Node's rule: a primary that listens to another port has none of ours.
            if let Some(asked) = self.0.address.port()
                && port != Some(asked)
            {
                return Err(Error::EADDRINUSE);
            }
            self.0.listening.replace(Listening::Remotely);
            return Ok(port);
        };
        let backlog = self.0.address.listen_backlog();
        match self.0.address.kind() {
            ListenKind::Udp(_) => {
                if DescriptorKind::of(&handle.descriptor) != DescriptorKind::Udp {
                    return Err(Error::EINVAL);
                }
                let socket = UdpSocket::from(handle.descriptor);
                let port = socket.local_addr()?.port();
                self.tell(ServerEvent::Datagrams(socket));
                Ok(Some(port))
            }
            ListenKind::Path(_) => {
                let pipe = handle.into_pipe(lp)?;
                self.0.listening.replace(Listening::Pipe(pipe.clone()));
                let server = Rc::downgrade(&self.0);
                pipe.listen(backlog, move |pipe, result| {
                    if let Some(inner) = server.upgrade() {
                        ClusterServer(inner)
                            .announced(result, || pipe.accept().map(Connection::Pipe));
                    }
                })?;
                Ok(None)
            }
            ListenKind::Tcp(_) | ListenKind::AnyTcp(_) => {
                let tcp = handle.into_tcp(lp)?;
                // libuv keeps EADDRINUSE back until it listens, so a node may have sent a socket
                // that is not bound; listening would bind it to any port.
                let bound = tcp.local_address()?.port();
                if self.0.address.port().is_some_and(|asked| asked != bound) {
                    tcp.close();
                    return Err(Error::EADDRINUSE);
                }
                self.0.listening.replace(Listening::Tcp(tcp.clone()));
                let server = Rc::downgrade(&self.0);
                tcp.listen(backlog, move |tcp, result| {
                    if let Some(inner) = server.upgrade() {
                        ClusterServer(inner)
                            .announced(result, || tcp.accept().map(Connection::Tcp));
                    }
                })?;
                Ok(Some(tcp.local_address()?.port()))
            }
        }
    }

    fn announced(&self, result: Result<()>, accept: impl FnOnce() -> Result<Connection>) {
        if result.is_ok() && self.0.refusing.get() {
            self.0.held.set(true);
            return;
        }
        match result.and_then(|()| accept()) {
            Ok(connection) => self.tell(ServerEvent::Connection(connection)),
            Err(error) => self.tell(ServerEvent::Failed(error)),
        }
    }

    /// Takes the connection that was left where it is.
    fn take_held(&self) {
        let accepted = match &*self.0.listening.borrow() {
            Listening::Tcp(tcp) => tcp.accept().map(Connection::Tcp),
            Listening::Pipe(pipe) => pipe.accept().map(Connection::Pipe),
            Listening::Not | Listening::Remotely => return,
        };
        // Callbacks are called from `run` only.
        let (server, own) = (self.clone(), self.0.own.upgrade());
        if let (Ok(connection), Some(own)) = (accepted, own) {
            own.soon(move || server.tell(ServerEvent::Connection(connection)));
        }
    }
}

impl fmt::Debug for ClusterServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterServer")
            .field("address", &self.0.address)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
