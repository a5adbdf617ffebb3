//! The mask of permissions for new files: umask(2).
//!
//! The call can only exchange the mask, so asking with it leaves a moment in which another thread
//! may create a file with the wrong permissions. Asking is for /proc (`crate::os::umask`); what is
//! here for kernels without that takes a lock, which at least keeps two who ask apart.

use std::sync::{Mutex, PoisonError};

use super::per_process::PerProcess;

static EXCHANGING: PerProcess<Mutex<()>> = PerProcess::new();

/// Sets the mask and returns the one before.
pub(crate) fn set(mask: u32) -> u32 {
    let _alone = EXCHANGING.get().lock().unwrap_or_else(PoisonError::into_inner);
    exchange(mask)
}

/// The mask, found out by setting another for a moment: the strictest, so that a file created
/// meanwhile has too few permissions rather than too many.
pub(crate) fn get() -> u32 {
    let _alone = EXCHANGING.get().lock().unwrap_or_else(PoisonError::into_inner);
    let mask = exchange(0o777);
    exchange(mask);
    mask
}

fn exchange(mask: u32) -> u32 {
    // SAFETY: no pointers; the call cannot fail.
    unsafe { libc::umask(mask) }
}
