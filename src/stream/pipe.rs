//! The `Pipe` handle: Unix sockets, pipes and FIFOs (`uv_pipe_t`).

use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use super::{listen, write};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
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

    /// Makes two pipes that are connected to each other, both ways (`uv_socketpair`).
    ///
    /// # Errors
    /// As [`Pipe::new`]; `EMFILE`, `ENFILE` or `ENOMEM` from socketpair(2).
    pub fn pair(lp: &LoopRef) -> Result<(Pipe, Pipe)> {
        let pair = (Pipe::new(lp)?, Pipe::new(lp)?);
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
    /// `EBUSY` when the pipe is open, `EINVAL` when it is closing. The descriptor is closed then.
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
        write::connected(
            &self.0,
            Box::new(move |node, result| callback(&Pipe(node.clone()), result)),
            result,
        );
        Ok(())
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
