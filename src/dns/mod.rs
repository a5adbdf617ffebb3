//! Names and addresses: the C library's resolver, here or on the pool.
//!
//! What the machine's configuration says (`/etc/hosts`, nsswitch.conf, resolv.conf) holds, because
//! the C library is asked. It may wait for a server for many seconds and cannot be interrupted,
//! so these are slow works: in a [pool](crate::work::ThreadPool) they have at most half of the
//! threads. The functions return [`Operation`]s, to be run here or started on a loop.

mod idna;

use std::ffi::CString;
use std::net::SocketAddr;

use bitflags::bitflags;

use crate::error::{Error, Result};
use crate::sys::getaddrinfo as system;
use crate::work::{Go, Operation, RequestKind, WorkClass};

bitflags! {
    /// How [`getaddrinfo`] looks a name up, with the system's values (getaddrinfo(3)). Other bits are
    /// passed on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct LookupFlags: i32 {
        /// Without a node: addresses to bind to, all zero, instead of the loopback's.
        const PASSIVE = libc::AI_PASSIVE;
        /// The first result tells the canonical name.
        const CANONICAL_NAME = libc::AI_CANONNAME;
        /// The node is an address in figures, and no name is looked up.
        const NUMERIC_HOST = libc::AI_NUMERICHOST;
        /// The service is a number, and no name is looked up.
        const NUMERIC_SERVICE = libc::AI_NUMERICSERV;
        /// For IPv6 without an IPv6 address: the IPv4 ones, mapped.
        const V4_MAPPED = libc::AI_V4MAPPED;
        /// With `V4_MAPPED`: both.
        const ALL = libc::AI_ALL;
        /// Only families that the machine has an address of.
        const ADDRESS_CONFIGURED = libc::AI_ADDRCONFIG;

        const _ = !0;
    }

    /// How [`getnameinfo`] looks an address up, with the system's values (getnameinfo(3)). Other bits
    /// are passed on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct NameFlags: i32 {
        /// The address in figures, and none is looked up.
        const NUMERIC_HOST = libc::NI_NUMERICHOST;
        /// The port in figures, and none is looked up.
        const NUMERIC_SERVICE = libc::NI_NUMERICSERV;
        /// The name alone for machines of the own domain.
        const NO_DOMAIN = libc::NI_NOFQDN;
        /// `EAI_NONAME` if there is no name, instead of figures.
        const NAME_REQUIRED = libc::NI_NAMEREQD;
        /// The service for datagrams, where that is another one.
        const DATAGRAM = libc::NI_DGRAM;

        const _ = !0;
    }
}

/// What kind of addresses [`getaddrinfo`] is to find: the fields of `struct addrinfo`, 0 for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hints {
    /// `AF_INET`, `AF_INET6`, or 0 for both.
    pub family: i32,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, or 0 for a result of each.
    pub socket_type: i32,
    /// `IPPROTO_TCP`, `IPPROTO_UDP`, or 0.
    pub protocol: i32,
    /// How the name is looked up.
    pub flags: LookupFlags,
}

impl Hints {
    /// For connections over TCP.
    #[must_use]
    pub fn tcp() -> Hints {
        Hints { socket_type: libc::SOCK_STREAM, protocol: libc::IPPROTO_TCP, ..Hints::default() }
    }

    /// For datagrams over UDP.
    #[must_use]
    pub fn udp() -> Hints {
        Hints { socket_type: libc::SOCK_DGRAM, protocol: libc::IPPROTO_UDP, ..Hints::default() }
    }
}

/// One result of [`getaddrinfo`] (`struct addrinfo`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The address and port.
    pub address: SocketAddr,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, …
    pub socket_type: i32,
    /// `IPPROTO_TCP`, `IPPROTO_UDP`, …
    pub protocol: i32,
    /// The flags that the system gave back.
    pub flags: LookupFlags,
    /// In the first result, if it was asked for.
    pub canonical_name: Option<String>,
}

/// Looks up the addresses of a node and the port of a service (`uv_getaddrinfo`), in the order in
/// which they are best tried.
///
/// Labels of the node that are not ASCII are translated as in libuv: with Punycode (RFC 3492), and
/// without mapping upper to lower case first.
///
/// ```
/// use blacklight::dns::{self, Hints};
/// use blacklight::{EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// dns::getaddrinfo(Some("127.0.0.1"), Some("80"), Hints::tcp()).start(&lp, |found| {
///     let found = found.expect("figures need no server");
///     assert_eq!(found[0].address, "127.0.0.1:80".parse().expect("an address"));
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// From [`Operation::start`] too: `EINVAL` with neither node nor service; for a node that is
/// empty or longer than 255 bytes after translation; for a NUL in either. Otherwise `EAI_NONAME`,
/// `EAI_AGAIN`, `EAI_FAIL`, `EAI_SERVICE`, `EAI_FAMILY`, `EAI_SOCKTYPE`, `EAI_BADFLAGS`, …; an errno
/// where the system gives one; `EAI_CANCELED` when it was cancelled.
pub fn getaddrinfo(
    node: Option<&str>,
    service: Option<&str>,
    hints: Hints,
) -> Operation<Result<Vec<AddressInfo>>> {
    let text = |text: &str| CString::new(text).map_err(|_| Error::EINVAL);
    let asked = match (node, service) {
        (None, None) => Err(Error::EINVAL),
        (node, service) => node
            .map(|node| idna::to_ascii(node).and_then(|node| text(&node)))
            .transpose()
            .and_then(|node| Ok((node, service.map(text).transpose()?))),
    };
    let refused = asked.as_ref().err().copied();
    operation(move || {
        let (node, service) = asked?;
        let numbers = [hints.flags.bits(), hints.family, hints.socket_type, hints.protocol];
        let found = system::addresses(node.as_deref(), service.as_deref(), numbers)?;
        Ok(found
            .into_iter()
            .map(|found| AddressInfo {
                address: found.address,
                socket_type: found.socket_type,
                protocol: found.protocol,
                flags: LookupFlags::from_bits_retain(found.flags),
                canonical_name: found.canonical_name,
            })
            .collect())
    })
    .refused_by(refused)
    .of(RequestKind::GetAddrInfo, WorkClass::Slow)
}

/// The names of an address and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NameInfo {
    /// The machine's name, or its address in figures.
    pub host: String,
    /// The service's name, or the port in figures.
    pub service: String,
}

/// Looks up the names of an address and its port (`uv_getnameinfo`).
///
/// ```
/// use blacklight::dns::{self, NameFlags};
///
/// let numeric = NameFlags::NUMERIC_HOST | NameFlags::NUMERIC_SERVICE;
/// let names = dns::getnameinfo("[::1]:443".parse().expect("an address"), numeric).run()?;
/// assert_eq!((names.host.as_str(), names.service.as_str()), ("::1", "443"));
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// `EAI_NONAME` when a name is required and there is none; `EAI_AGAIN`, `EAI_FAIL`, `EAI_BADFLAGS`;
/// an errno where the system gives one; `EAI_CANCELED` when it was cancelled. libuv's `EINVAL` for
/// addresses of other families cannot be: there are none in a `SocketAddr`.
pub fn getnameinfo(address: SocketAddr, flags: NameFlags) -> Operation<Result<NameInfo>> {
    operation(move || {
        let (host, service) = system::names(&address, flags.bits())?;
        Ok(NameInfo { host, service })
    })
    .of(RequestKind::GetNameInfo, WorkClass::Slow)
}

/// A cancelled look-up says so in libuv's own words for the resolver.
fn operation<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Operation<Result<T>> {
    Operation::new(|go| match go {
        Go::Run(_) => call(),
        Go::Fail(Error::ECANCELED) => Err(Error::EAI_CANCELED),
        Go::Fail(error) | Go::Ended(Err(error)) => Err(error),
        Go::Ended(Ok(_)) => Err(Error::UNKNOWN),
    })
}
