//! The `Udp` handle: datagrams over IP (`uv_udp_t`).
//!
//! `send` and `receive` are the two directions, with `transmit` and `meta` for what goes with a
//! datagram, `options` and `multicast` the settings. The queues and the events are those of the core
//! ([`crate::datagram`]). Invariant: there is a socket
//! from the first call on that needs one, bound to a free port unless it is to be bound.

mod meta;
mod multicast;
mod options;
mod receive;
mod send;
mod transmit;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;

use bitflags::bitflags;
use socket2::Type;

pub use meta::{QueuedError, UdpMeta, UdpRead, UdpReadInto};
pub use multicast::MulticastInterface;
pub use transmit::{Ecn, Outgoing, Transmit};

use crate::datagram::{DatagramNode, Flags};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::sys::inet::{self, AddressFamily};
use crate::sys::{fd, socket, udp};

bitflags! {
    /// How a UDP socket is bound or opened, with libuv's values (`uv_udp_flags`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct UdpFlags: u32 {
        /// No IPv4 datagrams on an IPv6 address (`IPV6_V6ONLY`; `UV_UDP_IPV6ONLY`).
        const IPV6_ONLY = 1;
        /// Others that set it too may have the same address (`SO_REUSEADDR`; `UV_UDP_REUSEADDR`).
        /// What is sent to a group all of them get, anything else the last one.
        const REUSE_ADDRESS = 4;
        /// Errors that the network reports are kept and told (`IP_RECVERR`;
        /// `UV_UDP_LINUX_RECVERR`).
        const LINUX_RECVERR = 32;
        /// Several sockets share the port, and the kernel spreads senders over them
        /// (`SO_REUSEPORT`; `UV_UDP_REUSEPORT`).
        const REUSE_PORT = 64;
    }
}

/// A socket for datagrams over IP.
///
/// ```
/// use blacklight::{EventLoop, Handle, RunMode, Udp, UdpRead};
///
/// let lp = EventLoop::new()?;
/// let server = Udp::new(&lp)?;
/// server.bind("127.0.0.1:0".parse()?)?;
/// server.recv_start(|server, read| {
///     if let UdpRead::Data(bytes, meta) = read {
///         server.send_and_forget(bytes.to_vec(), meta.from).expect("it can be sent");
///         server.close();
///     }
/// })?;
///
/// let client = Udp::new(&lp)?;
/// client.connect(server.local_address()?)?;
/// client.send("hello", None, |_, result| assert_eq!(result, Ok(())))?;
/// client.recv_start(|client, read| {
///     assert!(matches!(read, UdpRead::Data(b"hello", _)));
///     client.close();
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Udp(pub(crate) Rc<DatagramNode>);

handle!(Udp, DatagramNode, |node| node.kind_of_handle() == HandleKind::Udp);

impl Udp {
    /// Makes a handle whose socket is made when an address says of which family (`uv_udp_init`).
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<Udp> {
        DatagramNode::make(lp, HandleKind::Udp).map(Udp)
    }

    /// Makes a handle that, with `batches`, receives several datagrams with one call
    /// (`UV_UDP_RECVMMSG`), and with a socket at once if a family is named (`uv_udp_init_ex`).
    ///
    /// Batches are of 32 datagrams, and 128 are received per turn of the loop at most (32 without
    /// them). A handle that receives them has a buffer of its own of 2 MiB, of which only what is
    /// received into takes memory.
    ///
    /// # Errors
    /// As [`Udp::new`]; `EMFILE`, `EAFNOSUPPORT` and the like from socket(2).
    pub fn new_with(lp: &LoopRef, family: Option<AddressFamily>, batches: bool) -> Result<Udp> {
        let udp = Udp::new(lp)?;
        udp.0.put(Flags::BATCHES, batches);
        if let Some(family) = family {
            udp.make_socket(family)?;
        }
        Ok(udp)
    }

    /// Whether several datagrams are received with one call (`uv_udp_using_recvmmsg`).
    #[must_use]
    pub fn receives_batches(&self) -> bool {
        self.0.has(Flags::BATCHES)
    }

    /// Takes over a socket (`uv_udp_open`), connected or not, and sets `SO_REUSEADDR` as libuv
    /// does. Other flags stay as they are, `O_NONBLOCK` among them: each call says that it must not
    /// block.
    ///
    /// # Errors
    /// `ENOTSOCK` when it is no socket, `EINVAL` when it is not a datagram socket of an Internet
    /// family or the handle is closing, `EBUSY` when the handle is open. The descriptor is closed
    /// then.
    pub fn open(&self, socket: impl Into<OwnedFd>) -> Result<()> {
        self.open_with(socket, UdpFlags::REUSE_ADDRESS)
    }

    /// As [`Udp::open`], with flags (`uv_udp_open_ex`).
    ///
    /// # Errors
    /// As [`Udp::open`]; `EINVAL` for flags other than [`UdpFlags::REUSE_ADDRESS`] and
    /// [`UdpFlags::REUSE_PORT`].
    pub fn open_with(&self, socket: impl Into<OwnedFd>, flags: UdpFlags) -> Result<()> {
        let socket = socket.into();
        if !(UdpFlags::REUSE_ADDRESS | UdpFlags::REUSE_PORT).contains(flags) {
            return Err(Error::EINVAL);
        }
        self.0.may_open()?;
        if fd::kind(socket.as_fd())? != fd::Kind::Socket {
            return Err(Error::ENOTSOCK);
        }
        let v6 = match socket::family_and_type(socket.as_fd())? {
            (libc::AF_INET, libc::SOCK_DGRAM) => false,
            (libc::AF_INET6, libc::SOCK_DGRAM) => true,
            _ => return Err(Error::EINVAL),
        };
        if flags.contains(UdpFlags::REUSE_ADDRESS) {
            inet::reuse_address(socket.as_fd())?;
        }
        if flags.contains(UdpFlags::REUSE_PORT) {
            inet::reuse_port(socket.as_fd())?;
        }
        let connected = inet::peer_address(socket.as_fd()).is_ok();
        self.0.attach(socket)?;
        self.0.put(Flags::IPV6, v6);
        self.0.put(Flags::CONNECTED, connected);
        Ok(())
    }

    fn make_socket(&self, family: AddressFamily) -> Result<()> {
        self.0.attach(inet::socket(family, Type::DGRAM)?)?;
        self.0.put(Flags::IPV6, family == AddressFamily::Ipv6);
        Ok(())
    }

    fn family(&self) -> AddressFamily {
        if self.0.has(Flags::IPV6) { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 }
    }

    /// Makes a socket and binds it to a free port, unless there is one.
    fn ensure_bound(&self, family: AddressFamily, flags: UdpFlags) -> Result<()> {
        if self.0.is_open() { Ok(()) } else { self.bind_with(family.unspecified(), flags) }
    }

    /// Binds to an address (`uv_udp_bind`); port 0 has the kernel choose one.
    ///
    /// # Errors
    /// `EINVAL` when the socket is bound, closing, or of another family, `EADDRINUSE`,
    /// `EADDRNOTAVAIL`, `EACCES`, and the rest of bind(2).
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.bind_with(address, UdpFlags::empty())
    }

    /// As [`Udp::bind`], with flags.
    ///
    /// # Errors
    /// As [`Udp::bind`]; `EINVAL` for [`UdpFlags::IPV6_ONLY`] with an IPv4 address.
    pub fn bind_with(&self, address: SocketAddr, flags: UdpFlags) -> Result<()> {
        self.0.usable()?;
        let only_v6 = flags.contains(UdpFlags::IPV6_ONLY);
        if only_v6 && address.is_ipv4() {
            return Err(Error::EINVAL);
        }
        if !self.0.is_open() {
            self.make_socket(AddressFamily::of(&address))?;
        }
        self.0.with_fd(|fd| {
            if flags.contains(UdpFlags::LINUX_RECVERR) {
                udp::keep_errors(fd, AddressFamily::of(&address))?;
                self.0.reset_joining();
            }
            if flags.contains(UdpFlags::REUSE_ADDRESS) {
                inet::reuse_address(fd)?;
            }
            if flags.contains(UdpFlags::REUSE_PORT) {
                inet::reuse_port(fd)?;
            }
            if only_v6 {
                inet::only_v6(fd, true)?;
            }
            inet::bind(fd, &address)
        })
    }

    /// Ties the socket to a peer (`uv_udp_connect`): it is sent to without an address, and nobody
    /// else's datagrams are received.
    ///
    /// # Errors
    /// `EISCONN` when it has a peer, `EINVAL` when the handle is closing, and what connect(2)
    /// says: `ENETUNREACH`, `EACCES` for a broadcast address, …
    pub fn connect(&self, address: SocketAddr) -> Result<()> {
        self.0.usable()?;
        if self.0.has(Flags::CONNECTED) {
            return Err(Error::EISCONN);
        }
        self.ensure_bound(AddressFamily::of(&address), UdpFlags::empty())?;
        self.0.with_fd(|fd| inet::connect(fd, &address))?;
        self.0.put(Flags::CONNECTED, true);
        Ok(())
    }

    /// Dissolves the tie to the peer (`uv_udp_connect` without an address).
    ///
    /// # Errors
    /// `ENOTCONN` when there is none.
    pub fn disconnect(&self) -> Result<()> {
        if !self.0.has(Flags::CONNECTED) {
            return Err(Error::ENOTCONN);
        }
        self.0.with_fd(inet::disconnect)?;
        self.0.put(Flags::CONNECTED, false);
        Ok(())
    }

    /// The address the socket is bound to (`uv_udp_getsockname`).
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.0.with_fd(inet::local_address)
    }

    /// The address of the peer (`uv_udp_getpeername`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `ENOTCONN` when there is no peer.
    pub fn peer_address(&self) -> Result<SocketAddr> {
        self.0.with_fd(inet::peer_address)
    }

    /// The number of the descriptor (`uv_fileno`), which stays the handle's.
    ///
    /// # Errors
    /// `EBADF` when there is none.
    pub fn fileno(&self) -> Result<RawFd> {
        self.0.fileno()
    }

    /// A copy of the descriptor, which shares its open file description.
    ///
    /// # Errors
    /// `EBADF` when there is none, `EMFILE` when no number is left for the copy.
    pub fn duplicate_fd(&self) -> Result<OwnedFd> {
        self.0.duplicate_fd()
    }

    /// Gives the descriptor back and leaves the handle not open. It may be non-blocking.
    ///
    /// # Errors
    /// `EBUSY` while it receives or has sends in flight, `EBADF` when there is no descriptor.
    pub fn take_fd(&self) -> Result<OwnedFd> {
        self.0.take_fd()
    }
}
