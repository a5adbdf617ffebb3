//! Network interfaces: getifaddrs(3) and if_indextoname(3).
//!
//! Invariant: what the library allocated is freed in this file, whatever happens on the way.

use std::ffi::{CStr, OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

use super::{check, last_error};
use crate::error::Result;

/// One entry of the list.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    /// `IFF_*`, netdevice(7).
    pub(crate) flags: u32,
    pub(crate) address: Address,
    pub(crate) netmask: Option<IpAddr>,
}

/// What an entry is about.
#[derive(Debug)]
pub(crate) enum Address {
    /// An address, and for IPv6 the scope.
    Ip(IpAddr, u32),
    /// The hardware's address, the first six bytes of it (packet(7)).
    Hardware([u8; 6]),
}

/// The list, freed when dropped.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it came from `getifaddrs` and is freed here alone; null is an empty list.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

pub(crate) fn entries() -> Result<Vec<Entry>> {
    let mut list = List(std::ptr::null_mut());
    // SAFETY: the place outlives the call.
    check(unsafe { libc::getifaddrs(&raw mut list.0) })?;
    let mut entries = Vec::new();
    let mut next = list.0.cast_const();
    // SAFETY: each pointer of the list is null or an entry that lives until the list is freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the addresses of an entry are null or complete for their family (getifaddrs(3)).
        let (address, netmask) = unsafe { (address(entry.ifa_addr), address(entry.ifa_netmask)) };
        let Some(address) = address else { continue };
        // SAFETY: the name is a NUL-terminated string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        entries.push(Entry {
            name: OsStr::from_bytes(name.to_bytes()).to_owned(),
            flags: entry.ifa_flags,
            address,
            netmask: match netmask {
                Some(Address::Ip(mask, _)) => Some(mask),
                _ => None,
            },
        });
    }
    Ok(entries)
}

/// # Safety
/// Null, or an address that is complete for its family.
unsafe fn address(pointer: *const libc::sockaddr) -> Option<Address> {
    // SAFETY: the caller's promise; every family begins with the family. The structs are read
    // where they are, unaligned, as the library promises no alignment.
    unsafe {
        if pointer.is_null() {
            return None;
        }
        match i32::from((&raw const (*pointer).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let v4 = pointer.cast::<libc::sockaddr_in>().read_unaligned();
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(Address::Ip(address.into(), 0))
            }
            libc::AF_INET6 => {
                let v6 = pointer.cast::<libc::sockaddr_in6>().read_unaligned();
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(Address::Ip(address.into(), v6.sin6_scope_id))
            }
            libc::AF_PACKET => {
                let link = pointer.cast::<libc::sockaddr_ll>().read_unaligned();
                let mut hardware = [0; 6];
                let length = usize::from(link.sll_halen).min(hardware.len());
                hardware[..length].copy_from_slice(&link.sll_addr[..length]);
                Some(Address::Hardware(hardware))
            }
            _ => None,
        }
    }
}

/// The name of the interface with this number; `ENXIO` when there is none.
pub(crate) fn name(index: u32) -> Result<OsString> {
    let mut buffer = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as large as the function asks for and outlives the call.
    if unsafe { libc::if_indextoname(index, buffer.as_mut_ptr()) }.is_null() {
        return Err(last_error());
    }
    // SAFETY: the call has succeeded and put a NUL-terminated string there.
    let name = unsafe { CStr::from_ptr(buffer.as_ptr()) };
    Ok(OsStr::from_bytes(name.to_bytes()).to_owned())
}
