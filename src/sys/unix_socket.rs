//! Unix domain sockets: names, bind, connect, accept, pairs, shutdown.
//!
//! Every socket made here is close-on-exec and non-blocking from its creation, except a pair, one
//! end of which may be meant for a child that expects it to block.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::{SockAddr, SockAddrStorage};

use super::{check, retry};
use crate::error::{Error, Result};

/// Bytes of a name: what `sun_path` holds (unix(7)).
const ROOM: usize = 108;

/// An address as bind(2) and connect(2) take it.
#[derive(Debug)]
struct Address {
    raw: libc::sockaddr_un,
    length: libc::socklen_t,
}

const fn header() -> usize {
    mem::offset_of!(libc::sockaddr_un, sun_path)
}

impl Address {
    /// A path, an abstract name (beginning with a NUL), or nothing at all, which lets bind choose
    /// an abstract name. `ENAMETOOLONG` when it does not fit, `EINVAL` for a path with a NUL.
    fn new(name: &[u8]) -> Result<Address> {
        let is_path = name.first().is_some_and(|&first| first != 0);
        if is_path && name.contains(&0) {
            return Err(Error::EINVAL);
        }
        // A path needs its NUL, an abstract name is as long as it says.
        if name.len() + usize::from(is_path) > ROOM {
            return Err(Error::ENAMETOOLONG);
        }
        // SAFETY: an all-zero sockaddr_un is a valid value.
        let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        let length = header() + name.len() + usize::from(is_path);
        Ok(Address { raw, length: length as libc::socklen_t })
    }

    fn name(&self) -> Vec<u8> {
        let length = (self.length as usize).saturating_sub(header()).min(ROOM);
        let mut name: Vec<u8> = self.raw.sun_path[..length].iter().map(|&c| c as u8).collect();
        if name.first().is_some_and(|&first| first != 0) {
            // The kernel counts the NUL of a path, and not always just one.
            name.truncate(name.iter().position(|&c| c == 0).unwrap_or(length));
        }
        name
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }
}

/// The address of a name, in the form that all families have.
pub(crate) fn raw_address(name: &[u8]) -> Result<SockAddr> {
    let address = Address::new(name)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than the address and aligned for it, and any bytes are one.
    unsafe { *storage.view_as::<libc::sockaddr_un>() = address.raw };
    // SAFETY: an address of this length has just been put there.
    Ok(unsafe { SockAddr::new(storage, address.length) })
}

/// The name in an address of this family.
pub(crate) fn name_of_raw(raw: &SockAddr) -> Vec<u8> {
    // SAFETY: the storage is larger than the address and aligned for it, and any bytes are one.
    let inner = unsafe { *raw.as_ptr().cast::<libc::sockaddr_un>() };
    Address { raw: inner, length: raw.len() }.name()
}

/// A stream socket that is not bound.
pub(crate) fn socket() -> Result<OwnedFd> {
    socket_of(libc::SOCK_STREAM)
}

/// A socket of a type that is not bound.
pub(crate) fn socket_of(kind: libc::c_int) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Two connected stream sockets, close-on-exec and blocking.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    pair_of(libc::SOCK_STREAM, 0)
}

/// Two connected sockets of a type, close-on-exec and blocking.
pub(crate) fn pair_of(kind: libc::c_int, protocol: libc::c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: room for the two numbers the kernel writes.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, protocol, ends.as_mut_ptr()) })?;
    // SAFETY: the kernel just made both for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// bind(2).
pub(crate) fn bind(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let address = Address::new(name)?;
    // SAFETY: the address outlives the call and is as long as it says.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr(), address.length) }).map(drop)
}

/// connect(2): done when it returns, or refused; a stream socket of this family is never "in
/// progress". `EAGAIN` when the listener's queue is full.
pub(crate) fn connect(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let address = Address::new(name)?;
    // SAFETY: the address outlives the call and is as long as it says.
    retry(|| unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr(), address.length) }).map(drop)
}

/// Whether `name` can be an address at all.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    Address::new(name).map(drop)
}

/// listen(2).
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2): the connection, close-on-exec and non-blocking.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let null = std::ptr::null_mut();
    // SAFETY: the peer's address is not asked for.
    let fd = retry(|| unsafe { libc::accept4(fd.as_raw_fd(), null, null.cast(), flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// shutdown(2) of the writing side.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_of(fd: BorrowedFd<'_>, call: NameCall) -> Result<Vec<u8>> {
    let mut address = Address::new(b"")?;
    address.length = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: room for `length` bytes of address, and for the length itself.
    let done =
        unsafe { call(fd.as_raw_fd(), (&raw mut address.raw).cast(), &raw mut address.length) };
    check(done)?;
    Ok(address.name())
}

/// The name the socket is bound to, empty if to none; an abstract one begins with a NUL.
pub(crate) fn local_name(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    name_of(fd, libc::getsockname)
}

/// The name the peer is bound to, empty if to none.
pub(crate) fn peer_name(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    name_of(fd, libc::getpeername)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused_and_not_cut() {
        assert!(check_name(&[b'a'; 107]).is_ok());
        assert_eq!(check_name(&[b'a'; 108]), Err(Error::ENAMETOOLONG));
        let mut abstract_name = vec![b'a'; 108];
        abstract_name[0] = 0;
        assert!(check_name(&abstract_name).is_ok());
        abstract_name.push(b'a');
        assert_eq!(check_name(&abstract_name), Err(Error::ENAMETOOLONG));
        assert_eq!(check_name(b"a\0b"), Err(Error::EINVAL));
    }
}
