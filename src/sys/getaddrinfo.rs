//! The C library's resolver (getaddrinfo(3), getnameinfo(3)).
//!
//! Invariant: whatever number it answers with becomes an error value (libuv aborts on unknown ones,
//! libuv#2004).

use std::ffi::CStr;
use std::net::SocketAddr;
use std::ptr;

use socket2::SockAddr;

use crate::error::{Error, Result};

/// One result.
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    pub(crate) socket_type: i32,
    pub(crate) protocol: i32,
    pub(crate) flags: i32,
    pub(crate) canonical_name: Option<String>,
}

/// The library's list, freed when it is dropped.
struct List(*mut libc::addrinfo);

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: getaddrinfo made the list, and nothing refers to it any more.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// Looks up; `numbers` are flags, family, socket type and protocol. Results of families that are
/// not the Internet's are left out.
pub(crate) fn addresses(
    node: Option<&CStr>,
    service: Option<&CStr>,
    numbers: [i32; 4],
) -> Result<Vec<Found>> {
    // SAFETY: an all-zero addrinfo asks for everything.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol] = numbers;
    let mut list = List(ptr::null_mut());
    let text = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: both texts are NUL-terminated or null, and like the hints outlive the call, which
    // writes one pointer.
    let code =
        unsafe { libc::getaddrinfo(text(node), text(service), &raw const hints, &raw mut list.0) };
    if code != 0 {
        return Err(error(code));
    }
    let mut found = Vec::new();
    let mut at = list.0.cast_const();
    // SAFETY: the list is there until `list` is dropped; it ends with null.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ai_next;
        let Some(address) = address_of(entry) else { continue };
        let name = entry.ai_canonname;
        found.push(Found {
            address,
            socket_type: entry.ai_socktype,
            protocol: entry.ai_protocol,
            flags: entry.ai_flags,
            // SAFETY: a name that is there is NUL-terminated and lives as long as the list.
            canonical_name: (!name.is_null())
                .then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()),
        });
    }
    Ok(found)
}

fn address_of(entry: &libc::addrinfo) -> Option<SocketAddr> {
    let length = entry.ai_addrlen as usize;
    if entry.ai_addr.is_null() || length > size_of::<libc::sockaddr_storage>() {
        return None;
    }
    // SAFETY: the library has put `length` bytes there, which fit the storage, as was looked at.
    let copied = unsafe {
        SockAddr::try_init(|storage, room| {
            ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), storage.cast::<u8>(), length);
            *room = entry.ai_addrlen;
            Ok(())
        })
    };
    copied.ok().and_then(|((), address)| address.as_socket())
}

/// The names of an address and its port. The rooms are the system's own limits (`NI_MAXHOST`,
/// `NI_MAXSERV` in netdb.h); what does not fit is `EAI_OVERFLOW`.
pub(crate) fn names(address: &SocketAddr, flags: i32) -> Result<(String, String)> {
    let address = SockAddr::from(*address);
    let (mut host, mut service) = ([0u8; 1025], [0u8; 32]);
    // SAFETY: the address has its length, both rooms theirs, and all outlive the call.
    let code = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            service.as_mut_ptr().cast(),
            service.len() as libc::socklen_t,
            flags,
        )
    };
    if code != 0 {
        return Err(error(code));
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    Ok((text(&host), text(&service)))
}

/// libuv's error for one of the resolver's.
fn error(code: i32) -> Error {
    match code {
        libc::EAI_AGAIN => Error::EAI_AGAIN,
        libc::EAI_BADFLAGS => Error::EAI_BADFLAGS,
        libc::EAI_FAIL => Error::EAI_FAIL,
        libc::EAI_FAMILY => Error::EAI_FAMILY,
        libc::EAI_MEMORY => Error::EAI_MEMORY,
        libc::EAI_NODATA => Error::EAI_NODATA,
        libc::EAI_NONAME => Error::EAI_NONAME,
        libc::EAI_OVERFLOW => Error::EAI_OVERFLOW,
        libc::EAI_SERVICE => Error::EAI_SERVICE,
        libc::EAI_SOCKTYPE => Error::EAI_SOCKTYPE,
        libc::EAI_SYSTEM => super::last_error(),
        // Not in the libc crate; glibc's netdb.h.
        -9 => Error::EAI_ADDRFAMILY,
        -101 => Error::EAI_CANCELED,
        _ => Error::EAI_FAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_becomes_an_error() {
        for code in (-300..=300).chain([i32::MIN, i32::MAX]).filter(|code| *code != 0) {
            assert!(error(code).code() < 0, "{code}");
        }
        assert_eq!(error(libc::EAI_NONAME), Error::EAI_NONAME);
        assert_eq!(error(-9), Error::EAI_ADDRFAMILY);
        assert_eq!(error(-12345), Error::EAI_FAIL);
    }
}
