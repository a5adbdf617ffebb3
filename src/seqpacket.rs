//! The `SeqPacket` handle: messages over a connection (unix(7)). libuv has none (libuv#4989).
//!
//! Invariant: the kernel is always asked for credentials, because a message of no bytes and the end
//! look alike but for them.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crate::datagram::{self, DatagramNode, Flags, Request, SendCallback};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::stream::{Buf, Bufs, SeqPacketServer, peer};
use crate::sys::ancillary::{self, Credentials};
use crate::sys::datagram::{Outgoing, To};
use crate::sys::{fd, socket, unix_socket};

/// A connection over a Unix socket that keeps the boundaries of messages.
///
/// ```
/// use blacklight::{EventLoop, Handle, RunMode, SeqPacket, UnixRead};
///
/// let lp = EventLoop::new()?;
/// let (one, other) = SeqPacket::pair(&lp)?;
/// one.send("first", |_, result| assert_eq!(result, Ok(())))?;
/// one.send("second", |one, _| one.close())?;
/// let mut messages = Vec::new();
/// other.recv_start(move |other, read| match read {
///     UnixRead::Data(bytes, _) => messages.push(bytes.to_vec()),
///     _ => {
///         assert_eq!(messages, [b"first".to_vec(), b"second".to_vec()]);
///         other.close();
///     }
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct SeqPacket(Rc<DatagramNode>);

handle!(SeqPacket, DatagramNode, |node| node.kind_of_handle() == HandleKind::SeqPacket);

datagram::unix::message_socket!(SeqPacket);

impl SeqPacket {
    /// Makes a handle that is not open.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<SeqPacket> {
        let node = DatagramNode::make(lp, HandleKind::SeqPacket)?;
        node.put(Flags::HAS_END, true);
        Ok(SeqPacket(node))
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// As [`SeqPacket::new`]; `EMFILE`, `ENFILE` or `ENOMEM` from socketpair(2).
    pub fn pair(lp: &LoopRef) -> Result<(SeqPacket, SeqPacket)> {
        let pair = (SeqPacket::new(lp)?, SeqPacket::new(lp)?);
        let (one, other) = unix_socket::pair_of(libc::SOCK_SEQPACKET, 0)?;
        pair.0.attach(one)?;
        pair.1.attach(other)?;
        Ok(pair)
    }

    /// Takes over a connection that is there.
    pub(crate) fn attach(&self, fd: OwnedFd) -> Result<()> {
        ancillary::pass_credentials(fd.as_fd(), true)?;
        self.0.attach(fd)?;
        self.0.put(Flags::CONNECTED, true);
        Ok(())
    }

    /// Takes over a connected socket. Its flags stay as they are: each call says that it must not
    /// block.
    ///
    /// # Errors
    /// `ENOTSOCK` when it is no socket, `EINVAL` when it is not a Unix socket of this type or the
    /// handle is closing, `EBUSY` when the handle is open, `ENOTCONN` when the socket has no peer.
    /// The descriptor is closed then.
    pub fn open(&self, socket: impl Into<OwnedFd>) -> Result<()> {
        let socket = socket.into();
        self.0.may_open()?;
        if fd::kind(socket.as_fd())? != fd::Kind::Socket {
            return Err(Error::ENOTSOCK);
        }
        if socket::family_and_type(socket.as_fd())? != (libc::AF_UNIX, libc::SOCK_SEQPACKET) {
            return Err(Error::EINVAL);
        }
        unix_socket::peer_name(socket.as_fd())?;
        self.attach(socket)
    }

    /// Takes the connection that a server has announced.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EINVAL` when the handle is closing, `EBUSY` when it is open.
    pub fn accept(&self, server: &SeqPacketServer) -> Result<()> {
        self.0.may_open()?;
        self.attach(server.take_connection()?)
    }

    /// Connects to the name of a server and calls `callback` with the outcome.
    ///
    /// # Errors
    /// `ENAMETOOLONG` and `EINVAL` for names that cannot be, `EINVAL` for a closing handle,
    /// `EISCONN` when it is open; `EMFILE` and the like from socket(2). What connect(2) says is for
    /// the callback: `ENOENT`, `ECONNREFUSED`, `EACCES`, `EPROTOTYPE` for a socket of another type, or
    /// `EAGAIN` when the server's queue is full. The handle is not open then.
    pub fn connect(
        &self,
        name: impl AsRef<[u8]>,
        callback: impl FnOnce(&SeqPacket, Result<()>) + 'static,
    ) -> Result<()> {
        let name = name.as_ref();
        unix_socket::check_name(name)?;
        if name.is_empty() {
            return Err(Error::EINVAL);
        }
        self.0.may_open().map_err(|error| match error {
            Error::EBUSY => Error::EISCONN,
            other => other,
        })?;
        let socket = unix_socket::socket_of(libc::SOCK_SEQPACKET)?;
        let result = unix_socket::connect(socket.as_fd(), name);
        if result.is_ok() {
            self.attach(socket)?;
        }
        datagram::connected(&self.0, with_socket(callback), result);
        Ok(())
    }

    fn queue(
        &self,
        buf: Buf,
        descriptors: Vec<OwnedFd>,
        callback: Option<SendCallback>,
    ) -> Result<()> {
        self.before_send()?;
        let bufs = Bufs::One(buf);
        datagram::start(&self.0, Request { bufs, to: None, control: None, descriptors, callback })
    }

    fn before_send(&self) -> Result<()> {
        self.0.usable()?;
        if !self.0.has(Flags::CONNECTED) {
            return Err(Error::ENOTCONN);
        }
        if self.0.has(Flags::SHUT) { Err(Error::EPIPE) } else { Ok(()) }
    }

    /// Sends a message and calls `callback` when that is done, or has failed. It is tried at once
    /// if nothing is queued; the callback is called from `run` all the same, in the order of the
    /// sends.
    ///
    /// # Errors
    /// `ENOTCONN` when there is no peer, `EPIPE` after a shutdown, `EINVAL` when the handle is
    /// closing. What sending says is for the callback: `EPIPE` or `ECONNRESET` when the peer is gone,
    /// `EMSGSIZE` for a message that is longer than the buffer for sending, …
    pub fn send(
        &self,
        buf: impl Into<Buf>,
        callback: impl FnOnce(&SeqPacket, Result<()>) + 'static,
    ) -> Result<()> {
        self.queue(buf.into(), Vec::new(), Some(with_socket(callback)))
    }

    /// As [`SeqPacket::send`], with descriptors that travel along. They are closed here when they
    /// have been sent, or sending has failed.
    ///
    /// # Errors
    /// As there; `EINVAL` for more than 253 descriptors (`SCM_MAX_FD`). The callback may get
    /// `ETOOMANYREFS` when too many of this user's descriptors are in flight.
    pub fn send_with_descriptors(
        &self,
        buf: impl Into<Buf>,
        descriptors: impl IntoIterator<Item = OwnedFd>,
        callback: impl FnOnce(&SeqPacket, Result<()>) + 'static,
    ) -> Result<()> {
        let descriptors = descriptors.into_iter().collect();
        self.queue(buf.into(), descriptors, Some(with_socket(callback)))
    }

    /// As [`SeqPacket::send`], without a callback.
    ///
    /// # Errors
    /// As there, and what the first attempt says. The error of a later attempt is kept for
    /// [`SeqPacket::take_send_error`].
    pub fn send_and_forget(&self, buf: impl Into<Buf>) -> Result<()> {
        self.queue(buf.into(), Vec::new(), None)
    }

    /// Sends a message now, or not at all. Returns its length.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room or something is queued; else as
    /// [`SeqPacket::send_and_forget`].
    pub fn try_send(&self, bytes: &[u8]) -> Result<usize> {
        self.before_send()?;
        let slices = [std::io::IoSlice::new(bytes)];
        datagram::try_many(&self.0, &[Outgoing { slices: &slices, to: To::Peer, control: &[] }])?;
        Ok(bytes.len())
    }

    /// Ends the sending side when everything queued has gone, and calls `callback` then. The peer
    /// reads the end.
    ///
    /// # Errors
    /// `EBADF` when the handle is not open, `ENOTCONN` when it has no peer or has been shut down,
    /// `EINVAL` when it is closing.
    pub fn shutdown(&self, callback: impl FnOnce(&SeqPacket, Result<()>) + 'static) -> Result<()> {
        datagram::shutdown(&self.0, with_socket(callback))
    }

    /// Who was at the other end when the connection was made; see
    /// [`Pipe::connected_credentials`](crate::Pipe::connected_credentials).
    ///
    /// # Errors
    /// `EBADF` when the handle is not open.
    pub fn connected_credentials(&self) -> Result<Credentials> {
        self.0.with_fd(peer::credentials)
    }

    /// A pidfd of that process; see [`Pipe::peer_pidfd`](crate::Pipe::peer_pidfd).
    ///
    /// # Errors
    /// As there.
    pub fn peer_pidfd(&self) -> Result<OwnedFd> {
        self.0.with_fd(peer::pidfd)
    }

    /// The label that a security module has given that process; see
    /// [`Pipe::peer_security`](crate::Pipe::peer_security).
    ///
    /// # Errors
    /// As there.
    pub fn peer_security(&self) -> Result<Vec<u8>> {
        self.0.with_fd(peer::security)
    }
}

/// Fits a callback that wants the public type.
fn with_socket(callback: impl FnOnce(&SeqPacket, Result<()>) + 'static) -> SendCallback {
    Box::new(move |node, result| callback(&SeqPacket(node.clone()), result))
}
