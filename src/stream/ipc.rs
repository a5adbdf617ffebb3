//! Descriptors over a stream: what a pipe in IPC mode receives beside the bytes (`uv_pipe_t.ipc`).
//!
//! Invariants: a descriptor that arrives is owned by the stream until it is accepted, and closed
//! with the stream if it is not; such a stream is only ever read with recvmsg, because read(2)
//! would drop what came along; descriptors are given out in the order they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use super::node::StreamNode;
use crate::error::{Error, Result};
use crate::sys::ancillary::{self, Credentials};
use crate::sys::{fd, socket, terminal};

/// Descriptors that wait to be accepted on one stream. A sender needs one message for 253 at the
/// most; whoever lets this many wait does not mean to accept them.
const MOST_PENDING: usize = 4096;

/// What a descriptor that was received is (`uv_guess_handle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DescriptorKind {
    /// A TCP socket: a stream socket of the Internet families.
    Tcp,
    /// A UDP socket: a datagram socket of the Internet families.
    Udp,
    /// A Unix stream socket, a pipe or a FIFO.
    Pipe,
    /// A terminal; the master of a pseudo-terminal is one too.
    Tty,
    /// A regular file, or a character device that is no terminal.
    File,
    /// Anything else: a directory, another kind of socket, an event descriptor.
    Unknown,
}

impl DescriptorKind {
    /// What the descriptor is (`uv_guess_handle`).
    ///
    /// ```
    /// use blacklight::DescriptorKind;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// assert_eq!(DescriptorKind::of(&reader), DescriptorKind::Pipe);
    /// assert_eq!(DescriptorKind::of(std::fs::File::open("/dev/null")?), DescriptorKind::File);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn of(descriptor: impl AsFd) -> DescriptorKind {
        let descriptor = descriptor.as_fd();
        match fd::kind(descriptor) {
            Ok(fd::Kind::Fifo) => DescriptorKind::Pipe,
            Ok(fd::Kind::File) => DescriptorKind::File,
            Ok(fd::Kind::Character) if terminal::is_terminal(descriptor) => DescriptorKind::Tty,
            Ok(fd::Kind::Character) => DescriptorKind::File,
            Ok(fd::Kind::Socket) => match socket::family_and_type(descriptor) {
                Ok((libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM)) => DescriptorKind::Tcp,
                Ok((libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM)) => DescriptorKind::Udp,
                Ok((libc::AF_UNIX, libc::SOCK_STREAM)) => DescriptorKind::Pipe,
                _ => DescriptorKind::Unknown,
            },
            _ => DescriptorKind::Unknown,
        }
    }
}

/// The receiving side of a pipe in IPC mode.
pub(crate) struct Ipc {
    pending: RefCell<VecDeque<OwnedFd>>,
    /// For what one read brings beside bytes.
    room: RefCell<Box<ancillary::Room>>,
    credentials: Cell<Option<Credentials>>,
    cut_short: Cell<bool>,
}

impl Ipc {
    pub(super) fn new() -> Ipc {
        Ipc {
            pending: RefCell::default(),
            room: RefCell::new(Box::new(ancillary::Room::new())),
            credentials: Cell::new(None),
            cut_short: Cell::new(false),
        }
    }

    /// Whether there may be more behind the last read although it did not fill its buffer: the
    /// kernel ends one behind a segment with descriptors, and before one of another sender where
    /// credentials are passed; behind nothing else (`unix_stream_read_generic`, net/unix/af_unix.c).
    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short.get()
    }

    /// Closes what nobody has accepted.
    pub(super) fn close(&self) {
        drop(self.pending.take());
    }
}

/// Reads bytes and keeps what came with them.
#[inline(never)]
pub(super) fn receive(node: &StreamNode, ipc: &Ipc, buffer: &mut [u8]) -> Result<usize> {
    let received = {
        let mut room = ipc.room.borrow_mut();
        node.with_fd(|fd| ancillary::receive(fd, buffer, &mut room))?
    };
    ipc.cut_short.set(!received.descriptors.is_empty() || received.credentials.is_some());
    if let Some(credentials) = received.credentials {
        ipc.credentials.set(Some(credentials));
    }
    let mut pending = ipc.pending.borrow_mut();
    if !received.descriptors.is_empty() {
        pending.extend(received.descriptors);
    }
    if received.truncated {
        // There was room for all that one message can bring, so the process had none.
        return Err(Error::EMFILE);
    }
    if pending.len() > MOST_PENDING {
        return Err(Error::ENOBUFS);
    }
    Ok(received.bytes)
}

fn ipc(node: &StreamNode) -> Result<&Ipc> {
    node.ipc().ok_or(Error::EINVAL)
}

pub(super) fn pending_count(node: &StreamNode) -> usize {
    node.ipc().map_or(0, |ipc| ipc.pending.borrow().len())
}

pub(super) fn pending_kind(node: &StreamNode) -> Option<DescriptorKind> {
    node.ipc()?.pending.borrow().front().map(DescriptorKind::of)
}

pub(super) fn accept(node: &StreamNode) -> Result<OwnedFd> {
    ipc(node)?.pending.borrow_mut().pop_front().ok_or(Error::EAGAIN)
}

pub(super) fn credentials(node: &StreamNode) -> Option<Credentials> {
    node.ipc().and_then(|ipc| ipc.credentials.get())
}

pub(super) fn pass_credentials(node: &StreamNode, on: bool) -> Result<()> {
    ipc(node)?;
    node.with_fd(|fd| ancillary::pass_credentials(fd, on))
}
