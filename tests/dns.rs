//! Names and addresses, without a network: figures, the machine's own names, services, errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::channel;

use blacklight::dns::{self, AddressInfo, Hints, LookupFlags, NameFlags, NameInfo};
use blacklight::prelude::*;
use blacklight::work::{Operation, RequestKind, ThreadPool, WorkClass};
use blacklight::{Error, Options, Result};

use support::process::skip;
use tools::finish;

/// What comes of it here, which has to come of it on a loop too.
fn both<T>(operation: impl Fn() -> Operation<Result<T>>) -> Result<T>
where
    T: Send + PartialEq + std::fmt::Debug + 'static,
{
    let here = operation().run();
    let lp = EventLoop::new().unwrap();
    let there = Rc::new(RefCell::new(None));
    let got = there.clone();
    match operation().start(&lp, move |result| *got.borrow_mut() = Some(result)) {
        Ok(_) => finish(&lp),
        Err(error) => *there.borrow_mut() = Some(Err(error)),
    }
    assert_eq!(there.take().as_ref(), Some(&here));
    here
}

fn lookup(node: Option<&str>, service: Option<&str>, hints: Hints) -> Result<Vec<AddressInfo>> {
    both(|| dns::getaddrinfo(node, service, hints))
}

fn addresses(found: &[AddressInfo]) -> Vec<String> {
    found.iter().map(|info| info.address.to_string()).collect()
}

const NUMERIC: LookupFlags = LookupFlags::NUMERIC_HOST;

#[test]
fn figures_are_addresses() {
    let found = lookup(Some("127.0.0.1"), Some("8080"), Hints::tcp()).unwrap();
    assert_eq!(addresses(&found), ["127.0.0.1:8080"]);
    assert_eq!((found[0].socket_type, found[0].protocol), (libc::SOCK_STREAM, libc::IPPROTO_TCP));
    assert_eq!(found[0].canonical_name, None);
    let found = lookup(Some("2001:db8::7"), None, Hints::udp()).unwrap();
    assert_eq!(addresses(&found), ["[2001:db8::7]:0"]);
    assert_eq!((found[0].socket_type, found[0].protocol), (libc::SOCK_DGRAM, libc::IPPROTO_UDP));
    // One for each kind of socket.
    let found = lookup(Some("10.0.0.1"), Some("1"), Hints { flags: NUMERIC, ..Hints::default() });
    let kinds: Vec<_> = found.unwrap().iter().map(|info| info.socket_type).collect();
    assert_eq!(kinds, [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW]);
    let scoped = lookup(Some("fe80::1%lo"), None, Hints::tcp()).unwrap();
    match scoped[0].address {
        SocketAddr::V6(address) => assert_eq!(address.scope_id(), 1, "lo is the first"),
        SocketAddr::V4(_) => panic!("another family"),
    }
}

#[test]
fn without_a_node_addresses_are_to_connect_or_to_bind_to() {
    let ipv4 = Hints { family: libc::AF_INET, ..Hints::tcp() };
    assert_eq!(addresses(&lookup(None, Some("9"), ipv4).unwrap()), ["127.0.0.1:9"]);
    let bind = Hints { flags: LookupFlags::PASSIVE, ..ipv4 };
    assert_eq!(addresses(&lookup(None, Some("9"), bind).unwrap()), ["0.0.0.0:9"]);
    let mapped =
        Hints { family: libc::AF_INET6, flags: LookupFlags::V4_MAPPED | NUMERIC, ..Hints::tcp() };
    let found = lookup(Some("192.0.2.1"), None, mapped).unwrap();
    assert_eq!(addresses(&found), ["[::ffff:192.0.2.1]:0"]);
}

/// The names of this machine, as its files have them.
#[test]
fn names_of_the_hosts_file_are_found() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let line = hosts.lines().find(|line| line.split_whitespace().any(|word| word == "localhost"));
    let Some(line) = line else { return skip("no localhost in /etc/hosts") };
    let address = line.split_whitespace().next().unwrap();
    let hints = Hints { flags: LookupFlags::CANONICAL_NAME, ..Hints::tcp() };
    let found = lookup(Some("localhost"), Some("80"), hints).unwrap();
    let ip = address.parse::<std::net::IpAddr>().unwrap();
    assert!(found.iter().any(|info| info.address.ip() == ip || info.address.ip().is_loopback()));
    assert!(found[0].canonical_name.is_some(), "{found:?}");
    let names = both(|| dns::getnameinfo("127.0.0.1:0".parse().unwrap(), NameFlags::empty()));
    assert!(hosts.contains(&names.unwrap().host));
}

#[test]
fn services_are_found_by_name_and_told_by_number() {
    if !std::fs::read_to_string("/etc/services").unwrap_or_default().contains("http") {
        return skip("no services in /etc/services");
    }
    let ipv4 = Hints { family: libc::AF_INET, ..Hints::tcp() };
    assert_eq!(addresses(&lookup(None, Some("http"), ipv4).unwrap()), ["127.0.0.1:80"]);
    let numeric = NameFlags::NUMERIC_HOST;
    let names = both(|| dns::getnameinfo("1.2.3.4:80".parse().unwrap(), numeric)).unwrap();
    assert_eq!((names.host.as_str(), names.service.as_str()), ("1.2.3.4", "http"));
}

#[test]
fn addresses_in_figures_come_back_as_figures() {
    let numeric = NameFlags::NUMERIC_HOST | NameFlags::NUMERIC_SERVICE;
    for (address, host, port) in [
        ("127.0.0.1:80", "127.0.0.1", "80"),
        ("[::1]:65535", "::1", "65535"),
        ("[fe80::1%1]:0", "fe80::1%lo", "0"),
    ] {
        let names = both(|| dns::getnameinfo(address.parse().unwrap(), numeric));
        let NameInfo { host: a, service: b, .. } = names.unwrap();
        assert_eq!((a.as_str(), b.as_str()), (host, port));
    }
}

/// libuv: node and service both NULL, an empty or too long name: `UV_EINVAL` at once; the rest is
/// the resolver's, translated.
#[test]
fn what_cannot_be_asked_is_an_error() {
    let any = Hints::default();
    let numeric = Hints { flags: NUMERIC, ..Hints::tcp() };
    let lp = EventLoop::new().unwrap();
    let long = "a".repeat(256);
    let refused: [(Option<&str>, Option<&str>); 6] = [
        (None, None),
        (Some(""), None),
        (Some("a\0b"), None),
        (Some("127.0.0.1"), Some("8\0")),
        (Some(&long), None),
        (Some(""), Some("80")),
    ];
    for (node, service) in refused {
        assert_eq!(lookup(node, service, any), Err(Error::EINVAL), "{node:?} {service:?}");
        let started = dns::getaddrinfo(node, service, any).start(&lp, |_| panic!("called"));
        assert_eq!(started.map(drop), Err(Error::EINVAL));
    }
    assert!(!lp.is_alive());
    let numeric_service = Hints { flags: NUMERIC | LookupFlags::NUMERIC_SERVICE, ..Hints::tcp() };
    let strange_flags = Hints { flags: LookupFlags::from_bits_retain(1 << 30), ..Hints::tcp() };
    let cases = [
        (Some("no.figures"), None, numeric, Error::EAI_NONAME),
        (Some("1.2.3.4"), Some("x"), numeric_service, Error::EAI_NONAME),
        (Some("1.2.3.4"), None, Hints { family: 77, ..numeric }, Error::EAI_FAMILY),
        (Some("1.2.3.4"), None, Hints { socket_type: 77, ..numeric }, Error::EAI_SOCKTYPE),
        (Some("1.2.3.4"), Some("no such service"), numeric, Error::EAI_SERVICE),
        (Some("1.2.3.4"), None, strange_flags, Error::EAI_BADFLAGS),
    ];
    for (node, service, hints, error) in cases {
        assert_eq!(lookup(node, service, hints), Err(error), "{node:?} {service:?} {hints:?}");
    }
    let address = "1.2.3.4:5".parse().unwrap();
    let strange = NameFlags::from_bits_retain(1 << 30);
    assert_eq!(both(|| dns::getnameinfo(address, strange)), Err(Error::EAI_BADFLAGS));
    let contradiction = NameFlags::NUMERIC_HOST | NameFlags::NAME_REQUIRED;
    assert_eq!(both(|| dns::getnameinfo(address, contradiction)), Err(Error::EAI_NONAME));
}

/// Names that are not ASCII reach the resolver translated: untranslated it would say otherwise.
#[test]
fn full_stops_of_other_scripts_separate_labels() {
    let found = lookup(Some("127。0．0｡1"), None, Hints { flags: NUMERIC, ..Hints::tcp() });
    assert_eq!(addresses(&found.unwrap()), ["127.0.0.1:0"]);
    let translated = lookup(Some("bücher"), None, Hints { flags: NUMERIC, ..Hints::tcp() });
    assert_eq!(translated, Err(Error::EAI_NONAME), "a name, and no figures");
}

/// libuv: a look-up that is cancelled ends with `UV_EAI_CANCELED`.
#[test]
fn look_ups_can_be_cancelled_while_they_wait() {
    let pool = ThreadPool::builder().threads(1).build().unwrap();
    let options = Options { thread_pool: Some(pool), ..Options::from_env().unwrap() };
    let lp = EventLoop::with_options(options).unwrap();
    let (go, wait) = channel::<()>();
    lp.queue_work(move || wait.recv().is_ok(), |_| {}).unwrap();
    let count = Rc::new(Cell::new(0));
    let (one, other) = (count.clone(), count.clone());
    let addresses = dns::getaddrinfo(Some("127.0.0.1"), None, Hints::tcp())
        .start(&lp, move |found| {
            assert_eq!(found, Err(Error::EAI_CANCELED));
            one.set(one.get() + 1);
        })
        .unwrap();
    let names = dns::getnameinfo("127.0.0.1:1".parse().unwrap(), NameFlags::NUMERIC_HOST)
        .start(&lp, move |names| {
            assert_eq!(names, Err(Error::EAI_CANCELED));
            other.set(other.get() + 1);
        })
        .unwrap();
    assert_eq!(addresses.kind(), RequestKind::GetAddrInfo);
    assert_eq!((names.kind(), names.kind().name()), (RequestKind::GetNameInfo, "getnameinfo"));
    addresses.cancel().unwrap();
    names.cancel().unwrap();
    assert_eq!(addresses.cancel(), Err(Error::EBUSY));
    go.send(()).unwrap();
    finish(&lp);
    assert_eq!(count.get(), 2);
}

/// Of which a pool does no more at a time than half of its threads can (see the tests of the rule).
#[test]
fn look_ups_are_slow_work() {
    let pool = ThreadPool::builder().threads(2).build().unwrap();
    let options = Options { thread_pool: Some(pool.clone()), ..Options::from_env().unwrap() };
    let lp = EventLoop::with_options(options).unwrap();
    let done = Rc::new(Cell::new(0));
    for i in 0..500 {
        let done = done.clone();
        let count = move || done.set(done.get() + 1);
        if i % 2 == 0 {
            let operation = dns::getaddrinfo(Some("127.0.0.1"), Some("80"), Hints::tcp());
            operation.start(&lp, move |_| count()).unwrap();
        } else {
            let numeric = NameFlags::NUMERIC_HOST | NameFlags::NUMERIC_SERVICE;
            let operation = dns::getnameinfo("127.0.0.1:1".parse().unwrap(), numeric);
            operation.start(&lp, move |_| count()).unwrap();
        }
        assert!(pool.statistics().class(WorkClass::Slow).running <= 1);
    }
    finish(&lp);
    assert_eq!(done.get(), 500);
    assert_eq!(pool.statistics().class(WorkClass::Slow).begun, 500);
}
