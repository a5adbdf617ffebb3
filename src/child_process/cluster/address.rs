//! What a worker asks to listen to, as Node's messages describe it.
//!
//! Invariant: what `fields` writes, `from_query` reads back.

use std::net::{IpAddr, SocketAddr};

use super::super::value::Value;
use super::message::text;
use crate::{Error, Result};

/// Connections that may wait for a server that asks for no number of its own (Node's 511).
const DEFAULT_BACKLOG: i32 = 511;

/// libuv's `UV_TCP_IPV6ONLY` and `UV_UDP_IPV6ONLY`, as Node passes them in `flags`.
const IPV6_ONLY: u32 = 1;
/// libuv's `UV_UDP_REUSEADDR`.
const REUSE_ADDRESS: u32 = 4;

/// What kind of address is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenKind {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A TCP port on every address: IPv6 and IPv4 where there is IPv6, else IPv4 alone (Node's
    /// `listen(port)`).
    AnyTcp(u16),
    /// A path in the file system, or an abstract name, which begins with a NUL.
    Path(String),
    /// A UDP address, which is always shared.
    Udp(SocketAddr),
}

/// An address that a worker of a cluster listens to.
///
/// ```
/// use blacklight::child_process::cluster::{ListenAddress, ListenKind};
///
/// let address = ListenAddress::tcp("127.0.0.1:0".parse()?).backlog(16);
/// assert!(matches!(address.kind(), ListenKind::Tcp(address) if address.port() == 0));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    kind: ListenKind,
    backlog: i32,
    only_v6: bool,
    reuse_address: bool,
    readable_all: bool,
    writable_all: bool,
}

impl ListenAddress {
    fn new(kind: ListenKind) -> ListenAddress {
        ListenAddress {
            kind,
            backlog: 0,
            only_v6: false,
            reuse_address: false,
            readable_all: false,
            writable_all: false,
        }
    }

    /// A TCP address; all workers that ask for port 0 of one address share the port that is found.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> ListenAddress {
        ListenAddress::new(ListenKind::Tcp(address))
    }

    /// A TCP port on every address of the machine.
    #[must_use]
    pub fn any(port: u16) -> ListenAddress {
        ListenAddress::new(ListenKind::AnyTcp(port))
    }

    /// A path, which should be absolute: the primary may have another working directory.
    #[must_use]
    pub fn path(path: impl Into<String>) -> ListenAddress {
        ListenAddress::new(ListenKind::Path(path.into()))
    }

    /// A UDP address.
    #[must_use]
    pub fn udp(address: SocketAddr) -> ListenAddress {
        ListenAddress::new(ListenKind::Udp(address))
    }

    /// How many connections may wait in the kernel; 511 as in Node unless it is said.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> ListenAddress {
        self.backlog = connections;
        self
    }

    /// No IPv4 on an IPv6 address (Node's `ipv6Only`).
    #[must_use]
    pub fn only_v6(mut self) -> ListenAddress {
        self.only_v6 = true;
        self
    }

    /// Takes a UDP address even if another socket has it (Node's `reuseAddr`).
    #[must_use]
    pub fn reuse_address(mut self) -> ListenAddress {
        self.reuse_address = true;
        self
    }

    /// Lets every user connect to a path (Node's `readableAll` and `writableAll`).
    #[must_use]
    pub fn for_all_users(mut self) -> ListenAddress {
        (self.readable_all, self.writable_all) = (true, true);
        self
    }

    /// What is listened to.
    #[must_use]
    pub fn kind(&self) -> &ListenKind {
        &self.kind
    }

    pub(super) fn is_udp(&self) -> bool {
        matches!(self.kind, ListenKind::Udp(_))
    }

    pub(super) fn listen_backlog(&self) -> i32 {
        if self.backlog > 0 { self.backlog } else { DEFAULT_BACKLOG }
    }

    pub(super) fn is_only_v6(&self) -> bool {
        self.only_v6
    }

    pub(super) fn reuses_address(&self) -> bool {
        self.reuse_address
    }

    pub(super) fn open_to_all(&self) -> (bool, bool) {
        (self.readable_all, self.writable_all)
    }

    /// The port that was asked for, if it was a certain one.
    pub(super) fn port(&self) -> Option<u16> {
        let port = match &self.kind {
            ListenKind::Tcp(address) | ListenKind::Udp(address) => address.port(),
            ListenKind::AnyTcp(port) => *port,
            ListenKind::Path(_) => 0,
        };
        (port != 0).then_some(port)
    }

    /// The same, at the port that was found.
    pub(super) fn at_port(mut self, port: u16) -> ListenAddress {
        match &mut self.kind {
            ListenKind::Tcp(address) | ListenKind::Udp(address) => address.set_port(port),
            ListenKind::AnyTcp(any) => *any = port,
            ListenKind::Path(_) => {}
        }
        self
    }

    /// Reads a worker's request. `EINVAL` when it makes no sense, `ENOTSUP` for a descriptor of the
    /// primary's by its number.
    pub(super) fn from_query(query: &Value) -> Result<ListenAddress> {
        let int = |name: &str| query.get(name).and_then(Value::as_i64);
        let address = match query.get("address") {
            None | Some(Value::Null | Value::Undefined) => None,
            Some(address) => Some(address.as_str().ok_or(Error::EINVAL)?),
        };
        let port = u16::try_from(int("port").unwrap_or(0));
        let ip = |v6: bool| -> Result<SocketAddr> {
            let any = if v6 { "::" } else { "0.0.0.0" };
            let ip: IpAddr = address.unwrap_or(any).parse().map_err(|_| Error::EINVAL)?;
            Ok(SocketAddr::new(ip, port.map_err(|_| Error::EINVAL)?))
        };
        let family = (int("addressType"), text(query, "addressType"));
        let kind = match family {
            (Some(4 | 6), _) if address.is_none() => {
                ListenKind::AnyTcp(port.map_err(|_| Error::EINVAL)?)
            }
            (Some(4 | 6), _) => ListenKind::Tcp(ip(family.0 == Some(6))?),
            (Some(-1), _) => ListenKind::Path(address.ok_or(Error::EINVAL)?.to_owned()),
            (None, Some("udp4")) => ListenKind::Udp(ip(false)?),
            (None, Some("udp6")) => ListenKind::Udp(ip(true)?),
            _ => return Err(Error::ENOTSUP),
        };
        let flags = int("flags").and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        let is = |name: &str| query.get(name).and_then(Value::as_bool) == Some(true);
        Ok(ListenAddress {
            backlog: int("backlog").and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
            only_v6: flags & IPV6_ONLY != 0,
            reuse_address: flags & REUSE_ADDRESS != 0,
            readable_all: is("readableAll"),
            writable_all: is("writableAll"),
            kind,
        })
    }

    /// The fields of a request, in Node's order.
    pub(super) fn fields(&self, index: u32) -> Vec<(&'static str, Value)> {
        let (address, port, family) = match &self.kind {
            ListenKind::Tcp(address) => (
                Value::from(address.ip().to_string()),
                i32::from(address.port()),
                Value::from(if address.is_ipv6() { 6 } else { 4 }),
            ),
            ListenKind::AnyTcp(port) => (Value::Null, i32::from(*port), Value::from(4)),
            ListenKind::Path(path) => (Value::from(path.as_str()), -1, Value::from(-1)),
            ListenKind::Udp(address) => (
                Value::from(address.ip().to_string()),
                i32::from(address.port()),
                Value::from(if address.is_ipv6() { "udp6" } else { "udp4" }),
            ),
        };
        let mut fields = vec![
            ("index", Value::from(index)),
            ("data", Value::Null),
            ("address", address),
            ("port", Value::from(port)),
            ("addressType", family),
        ];
        if self.is_udp() {
            fields.push(("fd", Value::from(-1)));
        }
        if !matches!(self.kind, ListenKind::Path(_)) {
            let flags = if self.only_v6 { IPV6_ONLY } else { 0 };
            let reuse = if self.is_udp() && self.reuse_address { REUSE_ADDRESS } else { 0 };
            fields.push(("flags", Value::from(flags | reuse)));
        }
        if !self.is_udp() {
            fields.push(("backlog", Value::from(self.backlog)));
        }
        for (name, on) in [("readableAll", self.readable_all), ("writableAll", self.writable_all)] {
            if on {
                fields.push((name, Value::from(true)));
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let addresses = [
            ListenAddress::tcp("127.0.0.1:80".parse().unwrap()).backlog(7),
            ListenAddress::tcp("[::1]:80".parse().unwrap()).only_v6(),
            ListenAddress::any(80),
            ListenAddress::path("/tmp/a b").for_all_users(),
            ListenAddress::udp("[::1]:80".parse().unwrap()).reuse_address(),
        ];
        for address in addresses {
            let query = Value::object(address.fields(0));
            assert_eq!(ListenAddress::from_query(&query), Ok(address));
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let query = |fields: Vec<(&'static str, Value)>| {
            ListenAddress::from_query(&Value::object(fields)).unwrap_err()
        };
        let family = ("addressType", Value::from(4));
        let local = ("address", Value::from("127.0.0.1"));
        assert_eq!(query(vec![]), Error::ENOTSUP);
        assert_eq!(query(vec![("addressType", Value::from(-1))]), Error::EINVAL);
        assert_eq!(query(vec![("port", Value::from(65536)), family.clone(), local]), Error::EINVAL);
        assert_eq!(query(vec![("address", Value::from(7)), family.clone()]), Error::EINVAL);
        assert_eq!(query(vec![("address", Value::from("nowhere")), family]), Error::EINVAL);
    }
}
