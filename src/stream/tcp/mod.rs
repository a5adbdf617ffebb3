//! The `Tcp` handle: TCP servers and connections (`uv_tcp_t`).
//!
//! Invariant: there is a socket from the first call on that needs one (a bind, a connect, a listen,
//! a family named when the handle is made), and not before.

mod options;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use socket2::Type;

pub(super) use options::Early;
pub use options::{TcpFlags, TcpKeepAlive};

use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use super::{listen, report};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{Handle, HandleKind, handle};
use crate::sys::inet::AddressFamily;
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

/// Opens the socket, unless it is open.
fn ensure_open(node: &StreamNode, family: AddressFamily) -> Result<()> {
    match node.may_open() {
        Err(Error::EBUSY) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => node.attach(inet::socket(family, Type::STREAM)?, false, false, false),
    }
}

/// A socket that nothing was bound to is to listen: the kernel chooses a port of all IPv4 addresses.
pub(super) fn open_to_listen(node: &StreamNode) -> Result<()> {
    ensure_open(node, AddressFamily::Ipv4)
}

impl Tcp {
    /// Makes a handle whose socket is made when an address says of which family
    /// (`uv_tcp_init`).
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Tcp> {
        StreamNode::make(lp, HandleKind::Tcp).map(Tcp)
    }

    /// Makes a handle with a socket of a family (`uv_tcp_init_ex`).
    ///
    /// ```
    /// use blacklight::{AddressFamily, EventLoop, Stream, Tcp};
    ///
    /// let lp = EventLoop::new()?;
    /// let tcp = Tcp::new_of(&lp, AddressFamily::Ipv4)?;
    /// assert!(tcp.fileno().is_ok());
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tcp::new`]; `EMFILE`, `EAFNOSUPPORT` and the like from socket(2).
    pub fn new_of(lp: &LoopRef, family: AddressFamily) -> Result<Tcp> {
        let tcp = Tcp::new(lp)?;
        ensure_open(&tcp.0, family)?;
        Ok(tcp)
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

    /// Binds to an address; port 0 has the kernel choose one.
    ///
    /// `SO_REUSEADDR` is set, so that a server can be started again at once.
    ///
    /// # Errors
    /// `EINVAL` when the socket is bound, closing, or an IPv6 one and the address not, `ENOPROTOOPT`
    /// the other way round, `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, and the rest of bind(2). libuv keeps `EADDRINUSE` back until the
    /// socket listens or connects: [`TcpFlags::DELAY_ADDRESS_IN_USE`].
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.bind_with(address, TcpFlags::empty())
    }

    /// As [`Tcp::bind`], with flags.
    ///
    /// # Errors
    /// As [`Tcp::bind`]; `EINVAL` for [`TcpFlags::IPV6_ONLY`] with an IPv4 address.
    pub fn bind_with(&self, address: SocketAddr, flags: TcpFlags) -> Result<()> {
        let only_v6 = flags.contains(TcpFlags::IPV6_ONLY);
        if only_v6 && address.is_ipv4() {
            return Err(Error::EINVAL);
        }
        ensure_open(&self.0, AddressFamily::of(&address))?;
        let bound = self.0.with_fd(|fd| {
            inet::reuse_address(fd)?;
            if flags.contains(TcpFlags::REUSE_PORT) {
                inet::reuse_port(fd)?;
            }
            if address.is_ipv6() {
                inet::only_v6(fd, only_v6)?;
            }
            inet::bind(fd, &address)
        });
        let delayed = flags.contains(TcpFlags::DELAY_ADDRESS_IN_USE);
        let in_use = delayed && bound == Err(Error::EADDRINUSE);
        self.0.put(Flags::IN_USE, in_use);
        if in_use { Ok(()) } else { bound }
    }

    /// Connects to an address and calls `callback` with the outcome (`uv_tcp_connect`).
    ///
    /// Writes may be queued before that; they are cancelled if it fails.
    ///
    /// # Errors
    /// `EINVAL` when the socket is closing, `EALREADY` while it is connecting, `EISCONN` when it is
    /// connected; `EMFILE` and the like from socket(2); and what connect(2) says at once:
    /// `ENETUNREACH`, `EADDRNOTAVAIL`, `EAFNOSUPPORT` for an address of another family, … What
    /// shows only when the peer has been asked is for the callback: `ETIMEDOUT`, `EHOSTUNREACH`,
    /// and `ECONNREFUSED` whenever it is known.
    pub fn connect(
        &self,
        address: SocketAddr,
        callback: impl FnOnce(&Tcp, Result<()>) + 'static,
    ) -> Result<()> {
        let node = &self.0;
        if node.has(Flags::CONNECTING) {
            return Err(Error::EALREADY);
        }
        if node.is_readable() || node.is_writable() {
            return Err(Error::EISCONN);
        }
        ensure_open(node, AddressFamily::of(&address))?;
        let result = if node.has(Flags::IN_USE) {
            Err(Error::EADDRINUSE)
        } else {
            match node.with_fd(|fd| inet::connect(fd, &address)) {
                Err(error) if error != Error::ECONNREFUSED => return Err(error),
                result => result,
            }
        };
        let callback = Box::new(move |node: &Rc<StreamNode>, result| {
            callback(&Tcp(node.clone()), result);
        });
        node.put(Flags::READABLE | Flags::WRITABLE, true);
        match result {
            Ok(false) => {
                let begun = report::connecting(node, callback);
                if begun.is_err() {
                    node.give_up();
                }
                begun
            }
            Ok(true) => {
                report::connected(node, callback, Ok(()));
                Ok(())
            }
            Err(error) => {
                report::connected(node, callback, Err(error));
                Ok(())
            }
        }
    }

    /// The address the socket is bound to (`uv_tcp_getsockname`).
    ///
    /// # Errors
    /// `EBADF` when it is not open, `EADDRINUSE` when that was delayed.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.not_in_use()?;
        self.0.with_fd(inet::local_address)
    }

    /// The address of the peer (`uv_tcp_getpeername`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `ENOTCONN` when there is no peer, `EADDRINUSE` when
    /// that was delayed.
    pub fn peer_address(&self) -> Result<SocketAddr> {
        self.not_in_use()?;
        self.0.with_fd(inet::peer_address)
    }

    fn not_in_use(&self) -> Result<()> {
        if self.0.has(Flags::IN_USE) { Err(Error::EADDRINUSE) } else { Ok(()) }
    }

    /// Sends small pieces at once instead of collecting them (`TCP_NODELAY`). Without a socket, it
    /// is remembered for the one to come, as in libuv.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing.
    pub fn no_delay(&self, on: bool) -> Result<()> {
        options::no_delay(&self.0, on)
    }

    /// Has the kernel probe a connection that is silent; `None` ends that
    /// (`uv_tcp_keepalive_ex`). Without a socket, it is remembered for the one to come (libuv then
    /// forgets the times).
    ///
    /// ```
    /// use blacklight::{EventLoop, TcpKeepAlive, Tcp};
    /// use std::time::Duration;
    ///
    /// let lp = EventLoop::new()?;
    /// let tcp = Tcp::new(&lp)?;
    /// tcp.keep_alive(Some(TcpKeepAlive::after(Duration::from_secs(60))))?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` for times and numbers out of their range, and when the handle is closing.
    pub fn keep_alive(&self, settings: Option<TcpKeepAlive>) -> Result<()> {
        options::keep_alive(&self.0, settings)
    }

    /// Lets a server take up to 32 connections per turn, or one (`uv_tcp_simultaneous_accepts`).
    ///
    /// One at a time shares the connections fairly among the processes that listen on one socket;
    /// many at a time spare a turn of the loop for each. A server begins with many if nobody else
    /// can have its socket: it was bound or made here, its descriptor was neither asked for nor
    /// copied, and the loop has not come over a fork. Where a parent goes on listening beside the
    /// children it has forked, it should ask for one itself. On Windows this is how many
    /// connections are asked for at once, and libuv does nothing here elsewhere.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing.
    pub fn simultaneous_accepts(&self, on: bool) -> Result<()> {
        if self.is_closing() {
            return Err(Error::EINVAL);
        }
        listen::set_simultaneous(&self.0, on);
        Ok(())
    }

    /// Closes with a reset instead of an orderly end (`uv_tcp_close_reset`): what was not sent is
    /// forgotten, and the port is free at once.
    ///
    /// # Errors
    /// `EINVAL` while the socket is being shut down and when it is closing, `EBADF` when it is not
    /// open. It is not closed then.
    pub fn close_reset(&self) -> Result<()> {
        self.prepare_reset()?;
        self.close();
        Ok(())
    }

    /// As [`Tcp::close_reset`], with a close callback as in [`Handle::close_with`].
    ///
    /// # Errors
    /// As [`Tcp::close_reset`].
    pub fn close_reset_with(&self, callback: impl FnOnce(&Tcp) + 'static) -> Result<()> {
        self.prepare_reset()?;
        self.close_with(callback)
    }

    fn prepare_reset(&self) -> Result<()> {
        if self.is_closing() || self.0.is_shutting_down() {
            return Err(Error::EINVAL);
        }
        self.0.with_fd(inet::reset_on_close)
    }
}
