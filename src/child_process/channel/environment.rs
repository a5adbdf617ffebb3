//! How a child finds its channel: `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE`.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::super::value::Serialization;
use crate::{DescriptorKind, Error, Result};

/// The number of the channel's descriptor in the child.
pub(crate) const FD_VARIABLE: &str = "NODE_CHANNEL_FD";
/// `json` or `advanced`; `json` when it is missing.
pub(crate) const MODE_VARIABLE: &str = "NODE_CHANNEL_SERIALIZATION_MODE";
/// The process id of a parent of this crate: any descriptor may travel to it. A node in between
/// hands it on to children of its own, so it counts only if that process made the socket.
pub(crate) const PEER_VARIABLE: &str = "BLACKLIGHT_CHANNEL";

/// Takes the variables out of the environment, and the descriptor over.
///
/// # Safety
/// As [`std::env::remove_var`]; and nobody else owns the descriptor.
pub(super) unsafe fn take() -> Result<Option<(OwnedFd, Serialization, bool)>> {
    let take = |name: &str| {
        let value = std::env::var(name).ok();
        // SAFETY: the caller keeps other threads from the environment.
        unsafe { std::env::remove_var(name) };
        value.filter(|value| !value.is_empty())
    };
    let (number, mode, peer) = (take(FD_VARIABLE), take(MODE_VARIABLE), take(PEER_VARIABLE));
    let Some(number) = number else { return Ok(None) };
    let number: i32 = number.parse().map_err(|_| Error::EINVAL)?;
    if number < 0 {
        return Err(Error::EINVAL);
    }
    let serialization = match mode {
        None => Serialization::Json,
        Some(name) => Serialization::from_name(&name).ok_or(Error::EINVAL)?,
    };
    // A copy is close-on-exec, and tells whether there is such a descriptor.
    // SAFETY: any number may be borrowed to be copied at once: the kernel refuses what is not open.
    let copy = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()?;
    if DescriptorKind::of(&copy) != DescriptorKind::Pipe {
        return Err(Error::ENOTSOCK);
    }
    // SAFETY: it is open, and the caller says that nobody else owns it.
    let original = unsafe { OwnedFd::from_raw_fd(number) };
    if number <= libc::STDERR_FILENO {
        // A standard number that is free would go to the next descriptor that is opened, and what
        // is printed to it.
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        // SAFETY: two open descriptors; the second is ours and is replaced in one step.
        let replaced = unsafe { libc::dup2(null.as_raw_fd(), number) };
        std::mem::forget(original);
        if replaced < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    } else {
        drop(original);
    }
    let from_us = peer.is_some_and(|peer| peer.parse() == Ok(maker_of(copy.as_fd())));
    Ok(Some((copy, serialization, from_us)))
}

/// The process that made a pair of sockets (`SO_PEERCRED`, unix(7)); 0 if it is unknown.
fn maker_of(socket: BorrowedFd<'_>) -> libc::pid_t {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: room for the answer, which is as long as it says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { credentials.pid } else { 0 }
}
