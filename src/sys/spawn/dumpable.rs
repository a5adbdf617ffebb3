//! Keeps the parent dumpable when a child changes its credentials in shared memory.
//!
//! Invariant: "dumpable" belongs to the memory, and the kernel clears it when credentials change
//! (kernel/cred.c, `commit_creds`; m: it clears the parent's). So it is read before and written
//! back after such a spawn, and there is one such spawn at a time, or one could read what another
//! has caused. Until it is written back the process's /proc files belong to root.

use super::calls;
use super::lock::{Held, ProcessLock};

static ALONE: ProcessLock = ProcessLock::new();

/// Puts the attribute back when it is dropped.
#[derive(Debug)]
pub(super) struct Dumpable {
    before: Option<usize>,
    _alone: Held,
}

impl Dumpable {
    pub(super) fn hold() -> Dumpable {
        let alone = ALONE.lock();
        Dumpable { before: calls::prctl(libc::PR_GET_DUMPABLE, 0).ok(), _alone: alone }
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        // 0 and 1 are all that may be set (prctl(2)); 2, "by root only", is what a change of
        // credentials leaves or lowers to 0, and cannot be put back.
        if let Some(before) = self.before.filter(|before| *before <= 1) {
            let _ = calls::prctl(libc::PR_SET_DUMPABLE, before);
        }
    }
}
