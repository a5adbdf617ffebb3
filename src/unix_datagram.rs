//! The `UnixDatagram` handle: messages between processes of one machine (unix(7)). libuv has none
//! (libuv#1178).
//!
//! Invariant: a path that the socket was bound to goes with the handle.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crate::datagram::{self, DatagramNode, Flags, Request, SendCallback};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::stream::{Buf, Bufs};
use crate::sys::datagram::{Name, Outgoing};
use crate::sys::{ancillary, fd, socket, unix_socket};

/// A Unix socket for datagrams, which arrive whole, in order, and are not lost: a sender waits for
/// a receiver whose queue is full.
///
/// Names are paths, or abstract names, which begin with a NUL byte.
///
/// ```
/// use blacklight::{EventLoop, Handle, RunMode, UnixDatagram, UnixRead};
///
/// let lp = EventLoop::new()?;
/// let receiver = UnixDatagram::new(&lp)?;
/// receiver.bind("")?; // an abstract name of the kernel's choice
/// receiver.recv_start(|receiver, read| {
///     assert!(matches!(read, UnixRead::Data(b"hello", _)));
///     receiver.close();
/// })?;
/// let sender = UnixDatagram::new(&lp)?;
/// sender.send_to("hello", receiver.local_name()?, |_, result| assert_eq!(result, Ok(())))?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct UnixDatagram(Rc<DatagramNode>);

handle!(UnixDatagram, DatagramNode, |node| node.kind_of_handle() == HandleKind::UnixDatagram);

datagram::unix::message_socket!(UnixDatagram);

impl UnixDatagram {
    /// Makes a handle whose socket is made when it is bound, connected, or first sent from.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<UnixDatagram> {
        DatagramNode::make(lp, HandleKind::UnixDatagram).map(UnixDatagram)
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// As [`UnixDatagram::new`]; `EMFILE`, `ENFILE` or `ENOMEM` from socketpair(2).
    pub fn pair(lp: &LoopRef) -> Result<(UnixDatagram, UnixDatagram)> {
        let pair = (UnixDatagram::new(lp)?, UnixDatagram::new(lp)?);
        let (one, other) = unix_socket::pair_of(libc::SOCK_DGRAM, 0)?;
        for (socket, fd) in [(&pair.0, one), (&pair.1, other)] {
            socket.0.attach(fd)?;
            socket.0.put(Flags::CONNECTED, true);
        }
        Ok(pair)
    }

    /// Takes over a socket, connected or not. Its flags stay as they are: each call says that it
    /// must not block.
    ///
    /// # Errors
    /// `ENOTSOCK` when it is no socket, `EINVAL` when it is not a Unix datagram socket or the handle
    /// is closing, `EBUSY` when the handle is open. The descriptor is closed then.
    pub fn open(&self, socket: impl Into<OwnedFd>) -> Result<()> {
        let socket = socket.into();
        self.0.may_open()?;
        if fd::kind(socket.as_fd())? != fd::Kind::Socket {
            return Err(Error::ENOTSOCK);
        }
        if socket::family_and_type(socket.as_fd())? != (libc::AF_UNIX, libc::SOCK_DGRAM) {
            return Err(Error::EINVAL);
        }
        let connected = unix_socket::peer_name(socket.as_fd()).is_ok();
        self.0.attach(socket)?;
        self.0.put(Flags::CONNECTED, connected);
        Ok(())
    }

    fn ensure_open(&self) -> Result<()> {
        self.0.usable()?;
        if !self.0.is_open() {
            self.0.attach(unix_socket::socket_of(libc::SOCK_DGRAM)?)?;
        }
        Ok(())
    }

    /// Binds to a name: a path, which is removed when the handle is closed, an abstract name, or
    /// an empty one, which has the kernel choose an abstract name.
    ///
    /// # Errors
    /// `ENAMETOOLONG` over 107 bytes of path or 108 of abstract name, `EINVAL` for a path with a NUL
    /// inside, when the socket is bound, and when the handle is closing; `EADDRINUSE`, `ENOENT`,
    /// and the rest of bind(2).
    pub fn bind(&self, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        unix_socket::check_name(name)?;
        self.ensure_open()?;
        self.0.with_fd(|fd| unix_socket::bind(fd, name))?;
        if name.first().is_some_and(|&first| first != 0) {
            self.0.own_path(name);
        }
        Ok(())
    }

    /// Ties the socket to a peer: it is sent to without a name, and nobody else may send here.
    ///
    /// # Errors
    /// `EISCONN` when it has a peer, `EINVAL` for an empty name or a closing handle,
    /// `ENAMETOOLONG`, and what connect(2) says: `ENOENT`, `ECONNREFUSED`, `EPERM` for a peer that
    /// is tied to somebody else, …
    pub fn connect(&self, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(Error::EINVAL);
        }
        unix_socket::check_name(name)?;
        self.0.usable()?;
        if self.0.has(Flags::CONNECTED) {
            return Err(Error::EISCONN);
        }
        self.ensure_open()?;
        self.0.with_fd(|fd| unix_socket::connect(fd, name))?;
        self.0.put(Flags::CONNECTED, true);
        Ok(())
    }

    fn queue(
        &self,
        buf: Buf,
        to: Option<&[u8]>,
        descriptors: Vec<OwnedFd>,
        callback: Option<SendCallback>,
    ) -> Result<()> {
        let to = self.destination(to)?;
        let bufs = Bufs::One(buf);
        datagram::start(&self.0, Request { bufs, to, control: None, descriptors, callback })
    }

    /// `EISCONN` for a name beside a peer, `EDESTADDRREQ` for neither, as with
    /// [`Udp`](crate::Udp).
    fn destination(&self, to: Option<&[u8]>) -> Result<Option<Name>> {
        self.0.usable()?;
        match (to, self.0.has(Flags::CONNECTED)) {
            (Some(_), true) => Err(Error::EISCONN),
            (None, false) => Err(Error::EDESTADDRREQ),
            (Some([]), false) => Err(Error::EINVAL),
            (Some(name), false) => {
                unix_socket::check_name(name)?;
                self.ensure_open()?;
                Ok(Some(Name::Unix(name.to_vec())))
            }
            (None, true) => Ok(None),
        }
    }

    /// Sends a message to the peer and calls `callback` when that is done, or has failed. It is
    /// tried at once if nothing is queued; the callback is called from `run` all the same, in the
    /// order of the sends.
    ///
    /// # Errors
    /// `EDESTADDRREQ` when there is no peer, `EINVAL` when the handle is closing. What sending says
    /// is for the callback: `ECONNREFUSED` when the peer is gone, `EMSGSIZE` for a message that is
    /// longer than the buffer for sending, …
    pub fn send(
        &self,
        buf: impl Into<Buf>,
        callback: impl FnOnce(&UnixDatagram, Result<()>) + 'static,
    ) -> Result<()> {
        self.queue(buf.into(), None, Vec::new(), Some(with_socket(callback)))
    }

    /// As [`UnixDatagram::send`], to a name.
    ///
    /// # Errors
    /// `EISCONN` when there is a peer, `ENAMETOOLONG` and `EINVAL` for names that cannot be; else
    /// as [`UnixDatagram::send`]. The callback gets `ENOENT` when nobody has the path.
    pub fn send_to(
        &self,
        buf: impl Into<Buf>,
        name: impl AsRef<[u8]>,
        callback: impl FnOnce(&UnixDatagram, Result<()>) + 'static,
    ) -> Result<()> {
        self.queue(buf.into(), Some(name.as_ref()), Vec::new(), Some(with_socket(callback)))
    }

    /// As [`UnixDatagram::send`] to the peer, or with a name as [`UnixDatagram::send_to`], with
    /// descriptors that travel along. They are closed here when they have been sent, or sending has
    /// failed.
    ///
    /// # Errors
    /// As there; `EINVAL` for more than 253 descriptors (`SCM_MAX_FD`). The callback may get
    /// `ETOOMANYREFS` when too many of this user's descriptors are in flight.
    pub fn send_with_descriptors(
        &self,
        buf: impl Into<Buf>,
        name: Option<&[u8]>,
        descriptors: impl IntoIterator<Item = OwnedFd>,
        callback: impl FnOnce(&UnixDatagram, Result<()>) + 'static,
    ) -> Result<()> {
        let descriptors = descriptors.into_iter().collect();
        self.queue(buf.into(), name, descriptors, Some(with_socket(callback)))
    }

    /// As [`UnixDatagram::send`], or with a name as [`UnixDatagram::send_to`], without a callback.
    ///
    /// # Errors
    /// As there, and what the first attempt says. The error of a later attempt is kept for
    /// [`UnixDatagram::take_send_error`].
    pub fn send_and_forget(&self, buf: impl Into<Buf>, name: Option<&[u8]>) -> Result<()> {
        self.queue(buf.into(), name, Vec::new(), None)
    }

    /// Sends a message now, or not at all. Returns its length.
    ///
    /// # Errors
    /// `EAGAIN` when the receiver's queue is full or something is queued here; else as
    /// [`UnixDatagram::send_and_forget`].
    pub fn try_send(&self, bytes: &[u8], name: Option<&[u8]>) -> Result<usize> {
        let to = self.destination(name)?.as_ref().map(Name::to_raw).transpose()?;
        let slices = [std::io::IoSlice::new(bytes)];
        let message = Outgoing { slices: &slices, to: to.as_ref().into(), control: &[] };
        datagram::try_many(&self.0, &[message])?;
        Ok(bytes.len())
    }

    /// Has the kernel say with each message who sent it (`SO_PASSCRED`): in
    /// [`UnixMeta::credentials`](crate::UnixMeta::credentials). A socket without a name gets an
    /// abstract one when it sends then.
    ///
    /// # Errors
    /// `EBADF` when the socket is not open.
    pub fn pass_credentials(&self, on: bool) -> Result<()> {
        self.0.with_fd(|fd| ancillary::pass_credentials(fd, on))
    }
}

/// Fits a callback that wants the public type.
fn with_socket(callback: impl FnOnce(&UnixDatagram, Result<()>) + 'static) -> SendCallback {
    Box::new(move |node, result| callback(&UnixDatagram(node.clone()), result))
}
