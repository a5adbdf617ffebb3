//! How a child finds its channel: `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE`.

#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use super::super::value::Serialization;
use crate::{DescriptorKind, Error, Result};

/// The number of the channel's descriptor in the child.
pub(crate) const FD_VARIABLE: &str = "NODE_CHANNEL_FD";
/// `json` or `advanced`; `json` when it is missing.
pub(crate) const MODE_VARIABLE: &str = "NODE_CHANNEL_SERIALIZATION_MODE";
/// Set by a parent of this crate: any descriptor may travel to it.
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
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(Some((copy, serialization, peer.is_some())))
}
