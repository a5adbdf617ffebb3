//! The `SeqPacketServer` handle: servers of [`SeqPacket`](crate::SeqPacket) connections, which are
//! announced and accepted as those of streams are.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::listen;
use super::node::StreamNode;
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{Handle, HandleKind, handle};
use crate::seqpacket::SeqPacket;
use crate::sys::unix_socket;

/// A server on a Unix socket whose connections keep the boundaries of messages.
///
/// ```
/// use blacklight::{EventLoop, Handle, RunMode, SeqPacket, SeqPacketServer, UnixRead};
///
/// let lp = EventLoop::new()?;
/// let server = SeqPacketServer::new(&lp)?;
/// server.bind("")?; // an abstract name of the kernel's choice
/// server.listen(16, |server, result| {
///     result.expect("a connection");
///     let connection = server.accept().expect("it waits");
///     connection.send_and_forget("welcome").expect("there is room");
///     connection.close();
///     server.close();
/// })?;
///
/// let client = SeqPacket::new(&lp)?;
/// client.connect(server.local_name()?, |_, result| assert_eq!(result, Ok(())))?;
/// client.recv_start(|client, read| match read {
///     UnixRead::Data(bytes, _) => assert_eq!(bytes, b"welcome"),
///     _ => client.close(),
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct SeqPacketServer(Rc<StreamNode>);

handle!(SeqPacketServer, StreamNode, |node| node.kind_of_handle() == HandleKind::SeqPacketServer);

impl SeqPacketServer {
    /// Makes a server that is not bound.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<SeqPacketServer> {
        StreamNode::make(lp, HandleKind::SeqPacketServer).map(SeqPacketServer)
    }

    /// Binds to a name: a path, which is removed when the handle is closed, an abstract name, or
    /// an empty one, which has the kernel choose an abstract name.
    ///
    /// # Errors
    /// As [`Pipe::bind`](crate::Pipe::bind), but `ENOENT` where the directory does not exist.
    pub fn bind(&self, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        unix_socket::check_name(name)?;
        match self.0.may_open() {
            Err(Error::EBUSY) => return Err(Error::EINVAL),
            other => other?,
        }
        let socket = unix_socket::socket_of(libc::SOCK_SEQPACKET)?;
        unix_socket::bind(socket.as_fd(), name)?;
        self.0.attach(socket, false, false, false)?;
        if name.first().is_some_and(|&first| first != 0) {
            listen::remember_path(&self.0, name);
        }
        Ok(())
    }

    /// Waits for connections and calls `callback` for each; as
    /// [`Stream::listen`](crate::Stream::listen).
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing or not bound, what listen(2) says.
    pub fn listen(
        &self,
        backlog: i32,
        mut callback: impl FnMut(&SeqPacketServer, Result<()>) + 'static,
    ) -> Result<()> {
        let callback = move |node: &Rc<StreamNode>, result: Result<()>| {
            callback(&SeqPacketServer(node.clone()), result);
        };
        listen::start(&self.0, backlog, Box::new(callback))
    }

    /// The connection that was announced last. [`SeqPacket::accept`] takes it into a handle that
    /// exists.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EINVAL` when the loop is gone.
    pub fn accept(&self) -> Result<SeqPacket> {
        let connection = SeqPacket::new(self.event_loop())?;
        connection.accept(self).map(|()| connection)
    }

    pub(crate) fn take_connection(&self) -> Result<OwnedFd> {
        listen::take(&self.0)
    }

    /// The name the server is bound to; an abstract one begins with a NUL.
    ///
    /// # Errors
    /// `EBADF` when it is not bound.
    pub fn local_name(&self) -> Result<Vec<u8>> {
        self.0.with_fd(unix_socket::local_name)
    }

    /// The number of the descriptor, which stays the server's.
    ///
    /// # Errors
    /// `EBADF` when there is none.
    pub fn fileno(&self) -> Result<RawFd> {
        self.0.fileno()
    }
}
