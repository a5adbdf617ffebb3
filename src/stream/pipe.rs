//! The `Pipe` handle: Unix sockets, pipes and FIFOs (`uv_pipe_t`).

use std::fs::Permissions;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use super::buf::{Buf, Bufs};
use super::ipc::{self, DescriptorKind};
use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use super::writing::{self, WriteId, Written};
use super::{listen, peer, report, write};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::sys::ancillary::Credentials;
use crate::sys::{fd, unix_socket};

/// A stream over a pipe, a FIFO or a Unix domain socket.
///
/// It is what a child's stdio is connected to, and a server or client under a name: a path in the
/// file system, or an abstract name, which begins with a NUL byte (unix(7)).
///
/// ```
/// use blacklight::{EventLoop, Handle, Pipe, Read, RunMode, Stream};
///
/// let lp = EventLoop::new()?;
/// let server = Pipe::new(&lp)?;
/// server.bind("")?; // an abstract name of the kernel's choice
/// server.listen(16, |server, result| {
///     result.expect("a connection");
///     let connection = server.accept().expect("it waits");
///     connection.write_and_forget("welcome").expect("there is room");
///     connection.close();
///     server.close();
/// })?;
///
/// let client = Pipe::new(&lp)?;
/// client.connect(&server.local_name()?, |client, result| {
///     result.expect("the server listens");
///     client
///         .read_start(|client, read| match read {
///             Read::Data(bytes) => assert_eq!(bytes, b"welcome"),
///             Read::Eof | Read::Error(_) => client.close(),
///         })
///         .expect("it is connected");
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Pipe(Rc<StreamNode>);

handle!(Pipe, StreamNode, |node| node.kind_of_handle() == HandleKind::NamedPipe);

impl AsStream for Pipe {
    #[allow(private_interfaces)]
    fn stream(&self) -> &Rc<StreamNode> {
        &self.0
    }

    #[allow(private_interfaces)]
    fn from_stream(node: Rc<StreamNode>) -> Pipe {
        Pipe(node)
    }
}

impl super::Stream for Pipe {}

impl Pipe {
    /// Makes a pipe that is not open.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Pipe> {
        StreamNode::make(lp, HandleKind::NamedPipe).map(Pipe)
    }

    /// Makes a pipe in IPC mode, over which descriptors travel beside the bytes (`uv_pipe_init` with
    /// `ipc`); once open it must be a Unix socket.
    ///
    /// ```
    /// use blacklight::{DescriptorKind, EventLoop, Handle, Pipe, Read, RunMode, Stream};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, other) = Pipe::ipc_pair(&lp)?;
    /// one.write_with_descriptors("a pipe", [std::io::pipe()?.0.into()], |one, _| one.close())?;
    /// other.read_start(|other, read| match read {
    ///     Read::Data(bytes) => {
    ///         assert_eq!((bytes, other.pending_count()), (b"a pipe".as_slice(), 1));
    ///         assert_eq!(other.pending_kind(), Some(DescriptorKind::Pipe));
    ///         let descriptor = other.accept_descriptor().expect("one has come");
    ///         drop(descriptor);
    ///     }
    ///     Read::Eof | Read::Error(_) => other.close(),
    /// })?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pipe::new`].
    pub fn new_ipc(lp: &LoopRef) -> Result<Pipe> {
        let pipe = Pipe::new(lp)?;
        let _first = pipe.0.rare().ipc.set(ipc::Ipc::new());
        Ok(pipe)
    }

    /// As [`Pipe::pair`], both in IPC mode.
    ///
    /// # Errors
    /// As [`Pipe::pair`].
    pub fn ipc_pair(lp: &LoopRef) -> Result<(Pipe, Pipe)> {
        Pipe::connect_pair(Pipe::new_ipc(lp)?, Pipe::new_ipc(lp)?)
    }

    /// Makes two pipes that are connected to each other, both ways (`uv_socketpair`).
    ///
    /// # Errors
    /// As [`Pipe::new`]; `EMFILE`, `ENFILE` or `ENOMEM` from socketpair(2).
    pub fn pair(lp: &LoopRef) -> Result<(Pipe, Pipe)> {
        Pipe::connect_pair(Pipe::new(lp)?, Pipe::new(lp)?)
    }

    fn connect_pair(one: Pipe, other: Pipe) -> Result<(Pipe, Pipe)> {
        let pair = (one, other);
        let (one, other) = unix_socket::pair()?;
        for (pipe, fd) in [(&pair.0, one), (&pair.1, other)] {
            fd::set_nonblocking(fd.as_fd(), true)?;
            pipe.0.attach(fd, true, true, false)?;
        }
        Ok(pair)
    }

    /// Takes over a descriptor (`uv_pipe_open`): a pipe, a FIFO, a socket, a character device.
    ///
    /// Which directions it has follows from its access mode. Unlike libuv, this does not set
    /// `O_NONBLOCK`, which everyone who shares the descriptor would notice: it reads and writes
    /// with `MSG_DONTWAIT` (sockets), `RWF_NOWAIT` (pipes, Linux 6.4), or through a description of
    /// its own that it opens under `/proc/self/fd`. If none of that works, it asks poll(2) before
    /// each call, and can still block when another process reads or writes the same pipe.
    ///
    /// # Errors
    /// `EBUSY` when the pipe is open; `EINVAL` when it is closing, and for a regular file or a
    /// directory, which are always ready and which epoll does not take (libuv finds out at the first
    /// read). The descriptor is closed then.
    pub fn open(&self, fd: impl Into<OwnedFd>) -> Result<()> {
        self.0.open(fd.into())
    }

    /// Binds to a name (`uv_pipe_bind2`): a path, an abstract name beginning with a NUL, or an
    /// empty one, which has the kernel choose an abstract name.
    ///
    /// A path is removed when the pipe is closed.
    ///
    /// # Errors
    /// `ENAMETOOLONG` over 107 bytes of path or 108 of abstract name (libuv cuts them unless told
    /// not to), `EINVAL` for a path with a NUL inside, or when the pipe is open or closing,
    /// `EACCES` when the directory does not exist (libuv's translation), `EADDRINUSE`, and the
    /// rest of bind(2).
    pub fn bind(&self, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        unix_socket::check_name(name)?;
        match self.0.may_open() {
            Err(Error::EBUSY) => return Err(Error::EINVAL),
            other => other?,
        }
        let socket = unix_socket::socket()?;
        unix_socket::bind(socket.as_fd(), name).map_err(|error| match error {
            Error::ENOENT => Error::EACCES,
            other => other,
        })?;
        self.0.attach(socket, false, false, false)?;
        if name.first().is_some_and(|&first| first != 0) {
            listen::remember_path(&self.0, name);
        }
        Ok(())
    }

    /// Connects to a name and calls `callback` with the outcome (`uv_pipe_connect2`).
    ///
    /// Writes may be queued before that; they are cancelled if it fails.
    ///
    /// # Errors
    /// `ENAMETOOLONG` and `EINVAL` as in [`Pipe::bind`], `EINVAL` also for an empty name and a
    /// closing pipe, `EISCONN` when it is connected, `EALREADY` while it is connecting; `EMFILE`
    /// and the like from socket(2). What connect(2) says is for the callback: `ENOENT`,
    /// `ECONNREFUSED`, `EACCES`, or `EAGAIN` when the server's queue is full.
    pub fn connect(
        &self,
        name: impl AsRef<[u8]>,
        callback: impl FnOnce(&Pipe, Result<()>) + 'static,
    ) -> Result<()> {
        let name = name.as_ref();
        unix_socket::check_name(name)?;
        if name.is_empty() || self.0.base.is_closing() {
            return Err(Error::EINVAL);
        }
        self.0.base.lp().inner().usable()?;
        if self.0.has(Flags::CONNECTING) {
            return Err(Error::EALREADY);
        }
        if self.0.is_readable() || self.0.is_writable() {
            return Err(Error::EISCONN);
        }
        if !self.0.is_open() {
            self.0.attach(unix_socket::socket()?, false, false, false)?;
        }
        let result = self.0.with_fd(|fd| unix_socket::connect(fd, name));
        self.0.put(Flags::READABLE | Flags::WRITABLE, true);
        report::connected(
            &self.0,
            Box::new(move |node, result| callback(&Pipe(node.clone()), result)),
            result,
        );
        Ok(())
    }

    /// Whether the pipe is in IPC mode.
    #[must_use]
    pub fn is_ipc(&self) -> bool {
        self.0.ipc().is_some()
    }

    /// Writes a buffer with descriptors that travel with its first byte (`uv_write2`, which takes
    /// one). They are closed here when they have been sent, or the write has failed.
    ///
    /// To send one that is still needed, give a copy ([`OwnedFd::try_clone`]).
    ///
    /// # Errors
    /// `EINVAL` when the pipe is not in IPC mode, for an empty buffer, and for more than 253
    /// descriptors (`SCM_MAX_FD`); else as [`Stream::write`](super::Stream::write). The callback
    /// may get `ETOOMANYREFS` when too many of this user's descriptors are in flight: that write
    /// has failed, those behind it go on.
    pub fn write_with_descriptors(
        &self,
        buf: impl Into<Buf>,
        descriptors: impl IntoIterator<Item = OwnedFd>,
        callback: impl FnOnce(&Pipe, Written) + 'static,
    ) -> Result<WriteId> {
        let descriptors: Vec<OwnedFd> = descriptors.into_iter().collect();
        let (bufs, callback) = (Bufs::One(buf.into()), writing::callback(callback));
        write::start_with(&self.0, bufs, descriptors, Some(callback))
    }

    /// Writes what can be written now, with descriptors that travel with the first byte, and returns
    /// how many bytes; queues nothing (`uv_try_write2`, which takes one descriptor). A number means
    /// that the descriptors were sent, an error that they were not; the caller keeps its own.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    ///
    /// use blacklight::{EventLoop, Pipe, Read, RunMode, Stream};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, other) = Pipe::ipc_pair(&lp)?;
    /// let file = std::fs::File::open("/dev/null")?;
    /// assert_eq!(one.try_write_with_descriptors(b"take it", &[file.as_fd()])?, 7);
    /// other.read_start(|other, read| {
    ///     assert_eq!(read, Read::Data(b"take it"));
    ///     other.accept_descriptor().expect("it came along");
    ///     other.read_stop();
    /// })?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` when the pipe is not in IPC mode, for no bytes, and for more than 253 descriptors;
    /// `ETOOMANYREFS` when too many of this user's are in flight; else as
    /// [`Stream::try_write`](super::Stream::try_write).
    pub fn try_write_with_descriptors(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<usize> {
        write::try_write_with(&self.0, &[IoSlice::new(bytes)], descriptors)
    }

    /// How many descriptors have been received and not accepted (`uv_pipe_pending_count`).
    #[must_use]
    pub fn pending_count(&self) -> usize {
        ipc::pending_count(&self.0)
    }

    /// What the next of them is (`uv_pipe_pending_type`).
    #[must_use]
    pub fn pending_kind(&self) -> Option<DescriptorKind> {
        ipc::pending_kind(&self.0)
    }

    /// Takes the next descriptor that has been received, in the order they came (`uv_accept`).
    ///
    /// Those that arrive with the bytes of a read are there when its callback is called. The ones
    /// that nobody accepts are closed with the pipe. When descriptors were sent for which this
    /// process had no room, reading ends with `EMFILE`; with more than 4096 that nobody accepts,
    /// with `ENOBUFS`.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EINVAL` when the pipe is not in IPC mode.
    pub fn accept_descriptor(&self) -> Result<OwnedFd> {
        ipc::accept(&self.0)
    }

    /// Has the kernel say with each message who sent it, for [`Pipe::peer_credentials`]. The pipe
    /// must be in IPC mode and open.
    ///
    /// # Errors
    /// `EINVAL` when the pipe is not in IPC mode, `EBADF` when it is not open.
    pub fn pass_credentials(&self, on: bool) -> Result<()> {
        ipc::pass_credentials(&self.0, on)
    }

    /// Who sent the message that was read last, if [`Pipe::pass_credentials`] is on.
    #[must_use]
    pub fn peer_credentials(&self) -> Option<Credentials> {
        ipc::credentials(&self.0)
    }

    /// Who was at the other end of the socket when the connection was made, as the kernel vouches
    /// for it (`SO_PEERCRED`, unix(7)). Of a pair, who made it.
    ///
    /// ```
    /// use blacklight::{EventLoop, Pipe};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, _other) = Pipe::pair(&lp)?;
    /// assert_eq!(one.connected_credentials()?.pid as u32, std::process::id());
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EBADF` when the pipe is not open, `ENOTSOCK` when it is no socket, `ENOTCONN` when there is
    /// no peer.
    pub fn connected_credentials(&self) -> Result<Credentials> {
        self.0.with_fd(peer::credentials)
    }

    /// A pidfd of that process (`SO_PEERPIDFD`): it can be waited for and signalled without mistaking
    /// another process for it.
    ///
    /// # Errors
    /// As [`Pipe::connected_credentials`]; `ENOTSUP` before Linux 6.5, `ESRCH` when the process is
    /// gone and has been waited for (Linux 6.16 gives a pidfd of it all the same).
    pub fn peer_pidfd(&self) -> Result<OwnedFd> {
        self.0.with_fd(peer::pidfd)
    }

    /// The label that a security module has given that process (`SO_PEERSEC`).
    ///
    /// # Errors
    /// As [`Pipe::connected_credentials`]; `ENOTSUP` when there is no module that labels.
    pub fn peer_security(&self) -> Result<Vec<u8>> {
        self.0.with_fd(peer::security)
    }

    /// The name the pipe is bound to, empty if it is not (`uv_pipe_getsockname`).
    ///
    /// # Errors
    /// `EBADF` when the pipe is not open, `ENOTSOCK` when it is no socket.
    pub fn local_name(&self) -> Result<Vec<u8>> {
        self.0.with_fd(unix_socket::local_name)
    }

    /// The name the peer is bound to, empty if it is not (`uv_pipe_getpeername`).
    ///
    /// # Errors
    /// As [`Pipe::local_name`]; `ENOTCONN` when there is no peer.
    pub fn peer_name(&self) -> Result<Vec<u8>> {
        self.0.with_fd(unix_socket::peer_name)
    }

    /// Lets every user read from, write to, or connect to the path that the pipe is bound to
    /// (`uv_pipe_chmod`).
    ///
    /// # Errors
    /// `EINVAL` when neither is asked for or the name is no path, and what chmod(2) says.
    pub fn chmod(&self, readable: bool, writable: bool) -> Result<()> {
        let name = self.local_name()?;
        let is_path = name.first().is_some_and(|&first| first != 0);
        if !(readable || writable) || !is_path {
            return Err(Error::EINVAL);
        }
        let path = std::ffi::OsStr::from_bytes(&name);
        let mut mode = std::fs::metadata(path)?.permissions().mode();
        mode |= if readable { 0o444 } else { 0 } | if writable { 0o222 } else { 0 };
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::from)
    }
}
