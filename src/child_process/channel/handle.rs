//! Handles on their way through a channel: what is sent, what arrives, and Node's names for them.
//!
//! A handle on the wire is a descriptor with a name for what the receiver is to make of it.
//! Invariant: a descriptor is captured when it is given to the channel, not when its turn comes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use super::super::value::Value;
use super::state::State;
use super::{outgoing, protocol};
use crate::{DescriptorKind, Error, LoopRef, Pipe, Result, Stream, Tcp};

/// What a handle is, in Node's words (`type` of `NODE_HANDLE`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleType {
    /// `net.Socket`: a connection, TCP or Unix.
    Socket,
    /// `net.Server`: a listening socket, TCP or Unix.
    Server,
    /// `net.Native`: a stream as it is, such as Node's cluster sends.
    Native,
    /// `dgram.Socket`: a UDP socket; `udp4` or `udp6`.
    Datagram {
        /// Whether it is an IPv6 socket.
        v6: bool,
    },
    /// `dgram.Native`: a UDP socket as it is.
    NativeDatagram,
    /// Any descriptor, between two programs of this crate.
    Descriptor,
}

impl HandleType {
    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            HandleType::Socket => "net.Socket",
            HandleType::Server => "net.Server",
            HandleType::Native => "net.Native",
            HandleType::Datagram { .. } => "dgram.Socket",
            HandleType::NativeDatagram => "dgram.Native",
            HandleType::Descriptor => "blacklight.Descriptor",
        }
    }

    pub(super) fn datagram_family(&self) -> Option<&'static str> {
        match self {
            HandleType::Datagram { v6: false } => Some("udp4"),
            HandleType::Datagram { v6: true } => Some("udp6"),
            _ => None,
        }
    }

    /// The type that an envelope names.
    pub(super) fn of_envelope(envelope: &Value) -> Option<HandleType> {
        let family = envelope.get("dgramType").and_then(|family| family.as_str());
        Some(match envelope.get("type")?.as_str()? {
            "net.Socket" => HandleType::Socket,
            "net.Server" => HandleType::Server,
            "net.Native" => HandleType::Native,
            "dgram.Socket" => HandleType::Datagram { v6: family == Some("udp6") },
            "dgram.Native" => HandleType::NativeDatagram,
            "blacklight.Descriptor" => HandleType::Descriptor,
            _ => return None,
        })
    }

    /// Whether Node sends it again when it was not received: connections only.
    pub(super) fn is_retried(&self) -> bool {
        *self == HandleType::Socket
    }
}

/// A handle to be sent with a message.
#[derive(Debug)]
pub struct SendHandle {
    pub(super) kind: HandleType,
    pub(super) descriptor: OwnedFd,
    pub(super) key: Option<String>,
}

impl SendHandle {
    /// A connection, which is given away: `stream` is not open afterwards, and the peer sees only
    /// the receiver's copy when the message has been acknowledged.
    ///
    /// # Errors
    /// `EBUSY` when the stream reads or has requests in flight, `EBADF` when it is not open.
    pub fn socket(stream: &impl Stream) -> Result<SendHandle> {
        Ok(SendHandle::new(HandleType::Socket, stream.take_fd()?))
    }

    /// A copy of a connection, which stays open here (Node's `keepOpen`).
    ///
    /// # Errors
    /// `EBADF` when the stream is not open, `EMFILE` when no descriptor is left for the copy.
    pub fn socket_kept_open(stream: &impl Stream) -> Result<SendHandle> {
        Ok(SendHandle::new(HandleType::Socket, stream.duplicate_fd()?))
    }

    /// A copy of a listening socket: both sides accept its connections from now on.
    ///
    /// # Errors
    /// As [`SendHandle::socket_kept_open`].
    pub fn server(stream: &impl Stream) -> Result<SendHandle> {
        Ok(SendHandle::new(HandleType::Server, stream.duplicate_fd()?))
    }

    /// A descriptor under a type of one's own choice.
    #[must_use]
    pub fn new(kind: HandleType, descriptor: impl Into<OwnedFd>) -> SendHandle {
        SendHandle { kind, descriptor: descriptor.into(), key: None }
    }

    /// Names the server that a connection comes from: the receiver counts the connections under
    /// each such key. It answers the messages `NODE_SOCKET_GET_COUNT` and
    /// `NODE_SOCKET_NOTIFY_CLOSE`, if they are sent with that `key`, by `NODE_SOCKET_COUNT` and
    /// `NODE_SOCKET_ALL_CLOSED`, which [`Channel::on_internal_message`] gets.
    ///
    /// [`Channel::on_internal_message`]: super::Channel::on_internal_message
    ///
    /// ```
    /// use blacklight::child_process::SendHandle;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let _client = std::net::TcpStream::connect(server.local_addr()?)?;
    /// let _handle = SendHandle::from(server.accept()?.0).with_key("4:127.0.0.1:0");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> SendHandle {
        SendHandle { key: Some(key.into()), ..self }
    }

    /// Any descriptor. To a node it goes as what it is, if a node can take it.
    #[must_use]
    pub fn descriptor(descriptor: impl Into<OwnedFd>) -> SendHandle {
        SendHandle::new(HandleType::Descriptor, descriptor)
    }

    /// Makes it fit for a node; `EINVAL` for what would end or poison the node that received it.
    pub(super) fn for_node(self) -> Result<SendHandle> {
        let stream = |kind: &HandleType| {
            matches!(kind, HandleType::Socket | HandleType::Server | HandleType::Native)
        };
        // To listen on a connection, or on a pipe, is an error that a node dies of.
        let socket = socket2::SockRef::from(&self.descriptor);
        if self.kind == HandleType::Server
            && (socket.peer_addr().is_ok() || socket.local_addr().is_err())
        {
            return Err(Error::EINVAL);
        }
        let kind = match (DescriptorKind::of(&self.descriptor), self.kind) {
            (DescriptorKind::Tcp | DescriptorKind::Pipe, HandleType::Descriptor) => {
                HandleType::Native
            }
            (DescriptorKind::Udp, HandleType::Descriptor) => HandleType::NativeDatagram,
            (DescriptorKind::Tcp | DescriptorKind::Pipe, kind) if stream(&kind) => kind,
            (
                DescriptorKind::Udp,
                kind @ (HandleType::Datagram { .. } | HandleType::NativeDatagram),
            ) => kind,
            _ => return Err(Error::EINVAL),
        };
        Ok(SendHandle { kind, ..self })
    }
}

impl From<UdpSocket> for SendHandle {
    fn from(socket: UdpSocket) -> SendHandle {
        let v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        SendHandle::new(HandleType::Datagram { v6 }, socket)
    }
}

impl From<TcpStream> for SendHandle {
    fn from(socket: TcpStream) -> SendHandle {
        SendHandle::new(HandleType::Socket, socket)
    }
}

impl From<TcpListener> for SendHandle {
    fn from(socket: TcpListener) -> SendHandle {
        SendHandle::new(HandleType::Server, socket)
    }
}

/// Stands for a connection of a node's server for as long as it lives: the node counts it
/// (`server.getConnections`), and its `server.close` waits for it. Keep it beside the connection.
#[derive(Clone)]
pub struct SocketToken(#[allow(dead_code, reason = "its end is what counts")] Rc<Token>);

impl fmt::Debug for SocketToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketToken")
    }
}

struct Token {
    key: String,
    state: Weak<State>,
}

impl Drop for Token {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        if state.tokens.forget(&self.key) {
            let key = Value::from(self.key.as_str());
            let answer = protocol::about_sockets(protocol::ALL_CLOSED, key, None);
            // A channel that is closed does not owe an answer.
            let _closed = outgoing::send_internal(&state, &answer);
        }
    }
}

/// How many connections came under each key and are alive, and whether the end of the last is to
/// be told.
#[derive(Default)]
pub(super) struct Tokens(RefCell<HashMap<String, (usize, bool)>>);

impl Tokens {
    pub(super) fn make(&self, state: &Rc<State>, key: &str) -> SocketToken {
        self.0.borrow_mut().entry(key.to_owned()).or_default().0 += 1;
        SocketToken(Rc::new(Token { key: key.to_owned(), state: Rc::downgrade(state) }))
    }

    pub(super) fn count(&self, key: &str) -> usize {
        self.0.borrow().get(key).map_or(0, |(count, _)| *count)
    }

    /// Whether none is alive; if one is, the end of the last will be told.
    pub(super) fn is_over(&self, key: &str) -> bool {
        match self.0.borrow_mut().get_mut(key) {
            Some((_, tell)) => {
                *tell = true;
                false
            }
            None => true,
        }
    }

    /// One has ended; whether that is to be told.
    fn forget(&self, key: &str) -> bool {
        let mut tokens = self.0.borrow_mut();
        let Some((count, tell)) = tokens.get_mut(key) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        let tell = *tell;
        tokens.remove(key);
        tell
    }
}

/// A handle that came with a message.
#[derive(Debug)]
pub struct ReceivedHandle {
    /// What the sender says it is.
    pub kind: HandleType,
    /// The descriptor, close-on-exec; the sender may share its open file description.
    pub descriptor: OwnedFd,
    /// For a connection of a node's server: to be kept as long as the connection.
    pub token: Option<SocketToken>,
}

impl ReceivedHandle {
    /// The descriptor as a TCP handle of the loop: a connection, or a server to listen with.
    ///
    /// # Errors
    /// As [`Tcp::open`]; `EINVAL` when it is no TCP socket.
    pub fn into_tcp(self, lp: &LoopRef) -> Result<Tcp> {
        if DescriptorKind::of(&self.descriptor) != DescriptorKind::Tcp {
            return Err(Error::EINVAL);
        }
        let tcp = Tcp::new(lp)?;
        tcp.open(self.descriptor)?;
        Ok(tcp)
    }

    /// The descriptor as a pipe handle of the loop.
    ///
    /// # Errors
    /// As [`Pipe::open`]; `EINVAL` when it is neither a pipe nor a Unix stream socket.
    pub fn into_pipe(self, lp: &LoopRef) -> Result<Pipe> {
        if DescriptorKind::of(&self.descriptor) != DescriptorKind::Pipe {
            return Err(Error::EINVAL);
        }
        let pipe = Pipe::new(lp)?;
        pipe.open(self.descriptor)?;
        Ok(pipe)
    }
}

impl AsFd for ReceivedHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
