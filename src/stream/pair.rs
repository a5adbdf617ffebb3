//! Two connected descriptors: socketpair(2) and pipe(2), for programs that want the ends themselves
//! (`uv_socketpair`, `uv_pipe`). [`Pipe::pair`](crate::Pipe::pair) makes handles of them at once.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::Result;
use crate::sys::{fd, unix_socket};

/// The kinds of Unix socket (unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// A stream of bytes (`SOCK_STREAM`).
    Stream,
    /// Messages, each for itself (`SOCK_DGRAM`).
    Datagram,
    /// Messages over a connection (`SOCK_SEQPACKET`).
    SeqPacket,
}

impl SocketKind {
    pub(crate) const fn number(self) -> libc::c_int {
        match self {
            SocketKind::Stream => libc::SOCK_STREAM,
            SocketKind::Datagram => libc::SOCK_DGRAM,
            SocketKind::SeqPacket => libc::SOCK_SEQPACKET,
        }
    }
}

/// Makes two Unix sockets that are connected to each other (`uv_socketpair`), close-on-exec, each
/// of them non-blocking or not. `protocol` is 0 for everything that Linux has.
///
/// ```
/// use blacklight::{SocketKind, socketpair};
/// use std::os::unix::net::UnixDatagram;
///
/// let (one, other) = socketpair(SocketKind::Datagram, 0, true, false)?;
/// let (one, other) = (UnixDatagram::from(one), UnixDatagram::from(other));
/// one.send(b"hello")?;
/// assert_eq!(other.recv(&mut [0; 8])?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`; `EPROTONOSUPPORT` for another protocol.
pub fn socketpair(
    kind: SocketKind,
    protocol: i32,
    first_nonblocking: bool,
    second_nonblocking: bool,
) -> Result<(OwnedFd, OwnedFd)> {
    let ends = unix_socket::pair_of(kind.number(), protocol)?;
    nonblocking(ends, first_nonblocking, second_nonblocking)
}

/// Makes a pipe (`uv_pipe`): the end to read from and the end to write to, close-on-exec, each of
/// them non-blocking or not.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (reader, writer) = blacklight::pipe(false, true)?;
/// let (mut reader, mut writer) = (std::fs::File::from(reader), std::fs::File::from(writer));
/// writer.write_all(b"hello")?;
/// assert_eq!(reader.read(&mut [0; 8])?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe(read_nonblocking: bool, write_nonblocking: bool) -> Result<(OwnedFd, OwnedFd)> {
    nonblocking(fd::pipe()?, read_nonblocking, write_nonblocking)
}

fn nonblocking(ends: (OwnedFd, OwnedFd), first: bool, second: bool) -> Result<(OwnedFd, OwnedFd)> {
    for (end, on) in [(&ends.0, first), (&ends.1, second)] {
        if on {
            fd::set_nonblocking(end.as_fd(), true)?;
        }
    }
    Ok(ends)
}
