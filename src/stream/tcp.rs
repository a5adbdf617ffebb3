//! The `Tcp` handle: TCP servers and connections (`uv_tcp_t`).

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use socket2::Type;

use super::node::{Flags, StreamNode};
use super::report;
use super::sealed::AsStream;
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{Handle, HandleKind, handle};
use crate::sys::{fd, inet};

/// A stream over TCP.
///
/// ```
/// use blacklight::{EventLoop, Handle, Read, RunMode, Stream, Tcp};
///
/// let lp = EventLoop::new()?;
/// let server = Tcp::new(&lp)?;
/// server.bind("127.0.0.1:0".parse()?)?;
/// server.listen(128, |server, result| {
///     result.expect("a connection");
///     let connection = server.accept().expect("it waits");
///     connection.write_and_forget("welcome").expect("there is room");
///     connection.close();
///     server.close();
/// })?;
///
/// let client = Tcp::new(&lp)?;
/// client.connect(server.local_address()?, |client, result| {
///     result.expect("the server listens");
///     client
///         .read_start(|client, read| match read {
///             Read::Data(bytes) => assert_eq!(bytes, b"welcome"),
///             Read::Eof | Read::Error(_) => client.close(),
///         })
///         .expect("it is connected");
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tcp(Rc<StreamNode>);

handle!(Tcp, StreamNode, |node| node.kind_of_handle() == HandleKind::Tcp);

impl AsStream for Tcp {
    #[allow(private_interfaces)]
    fn stream(&self) -> &Rc<StreamNode> {
        &self.0
    }

    #[allow(private_interfaces)]
    fn from_stream(node: Rc<StreamNode>) -> Tcp {
        Tcp(node)
    }
}

impl super::Stream for Tcp {}

impl Tcp {
    /// Makes a socket that is not open.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Tcp> {
        StreamNode::make(lp, HandleKind::Tcp).map(Tcp)
    }

    /// Takes over a socket, connected, listening or neither (`uv_tcp_open`). Its flags stay as
    /// they are; see [`Pipe::open`](crate::Pipe::open).
    ///
    /// # Errors
    /// `ENOTSOCK` when it is no socket, `EBUSY` when this one is open, `EINVAL` when it is closing.
    /// The descriptor is closed then.
    pub fn open(&self, socket: impl Into<OwnedFd>) -> Result<()> {
        let socket = socket.into();
        if fd::kind(socket.as_fd())? != fd::Kind::Socket {
            return Err(Error::ENOTSOCK);
        }
        self.0.open(socket)
    }

    /// Opens the socket for the address's family, unless it is open.
    fn ensure_open(&self, address: &SocketAddr) -> Result<()> {
        match self.0.may_open() {
            Err(Error::EBUSY) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let socket = inet::socket(address, Type::STREAM)?;
                self.0.attach(socket, false, false, false)
            }
        }
    }

    /// Binds to an address; port 0 has the kernel choose one.
    ///
    /// `SO_REUSEADDR` is set, so that a server can be started again at once.
    ///
    /// # Errors
    /// `EINVAL` when the socket is bound or closing, `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, and
    /// the rest of bind(2). libuv keeps `EADDRINUSE` back until the socket listens or connects.
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.bind_with(address, false, false)
    }

    /// As [`Tcp::bind`], for IPv6 clients only (`IPV6_V6ONLY`; `UV_TCP_IPV6ONLY`) or sharing the
    /// port with other sockets (`SO_REUSEPORT`; `UV_TCP_REUSEPORT`).
    ///
    /// # Errors
    /// As [`Tcp::bind`]; `EINVAL` for `only_v6` with an IPv4 address.
    pub fn bind_with(&self, address: SocketAddr, only_v6: bool, reuse_port: bool) -> Result<()> {
        if only_v6 && address.is_ipv4() {
            return Err(Error::EINVAL);
        }
        self.ensure_open(&address)?;
        self.0.with_fd(|fd| {
            if address.is_ipv6() {
                inet::only_v6(fd, only_v6)?;
            }
            if reuse_port {
                inet::reuse_port(fd)?;
            }
            inet::bind(fd, &address)
        })
    }

    /// Connects to an address and calls `callback` with the outcome (`uv_tcp_connect`).
    ///
    /// Writes may be queued before that; they are cancelled if it fails.
    ///
    /// # Errors
    /// `EINVAL` when the socket is closing, `EALREADY` while it is connecting, `EISCONN` when it is
    /// connected; `EMFILE` and the like from socket(2). What connect(2) says is for the callback:
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …
    pub fn connect(
        &self,
        address: SocketAddr,
        callback: impl FnOnce(&Tcp, Result<()>) + 'static,
    ) -> Result<()> {
        if self.0.has(Flags::CONNECTING) {
            return Err(Error::EALREADY);
        }
        if self.0.is_readable() || self.0.is_writable() {
            return Err(Error::EISCONN);
        }
        self.ensure_open(&address)?;
        let result = self.0.with_fd(|fd| inet::connect(fd, &address));
        let callback = Box::new(move |node: &Rc<StreamNode>, result| {
            callback(&Tcp(node.clone()), result);
        });
        self.0.put(Flags::READABLE | Flags::WRITABLE, true);
        match result {
            Ok(false) => {
                let begun = report::connecting(&self.0, callback);
                if begun.is_err() {
                    self.0.give_up();
                }
                begun
            }
            Ok(true) => {
                report::connected(&self.0, callback, Ok(()));
                Ok(())
            }
            Err(error) => {
                report::connected(&self.0, callback, Err(error));
                Ok(())
            }
        }
    }

    /// The address the socket is bound to (`uv_tcp_getsockname`).
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.0.with_fd(inet::local_address)
    }

    /// The address of the peer (`uv_tcp_getpeername`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `ENOTCONN` when there is no peer.
    pub fn peer_address(&self) -> Result<SocketAddr> {
        self.0.with_fd(inet::peer_address)
    }

    /// Sends small pieces at once instead of collecting them (`TCP_NODELAY`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open.
    pub fn no_delay(&self, on: bool) -> Result<()> {
        self.0.with_fd(|fd| inet::no_delay(fd, on))
    }

    /// Has the kernel probe a connection that is silent for `idle`, every `interval`, and give it
    /// up after `probes` of them; `None` ends that (`uv_tcp_keepalive_ex`). Whole seconds count.
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `EINVAL` for times that the kernel does not take.
    pub fn keep_alive(&self, settings: Option<(Duration, Duration, u32)>) -> Result<()> {
        self.0.with_fd(|fd| inet::keep_alive(fd, settings))
    }

    /// Closes with a reset instead of an orderly end (`uv_tcp_close_reset`): what was not sent is
    /// forgotten, and the port is free at once.
    ///
    /// # Errors
    /// `EINVAL` when the socket is being shut down or closing, `EBADF` when it is not open.
    pub fn close_reset(&self) -> Result<()> {
        if self.0.has(Flags::SHUT) || self.is_closing() {
            return Err(Error::EINVAL);
        }
        self.0.with_fd(inet::reset_on_close)?;
        self.close();
        Ok(())
    }
}
