//! What happens to SIGCHLD while an entry runs: what that entry has set, and nobody else's wish.
//!
//! Disposition is the process's, so a handler that one library has installed would interrupt the
//! waits of all others. Invariant: outside of [`ChildSignal::during`] it is the default one, as in a
//! new process; within, it is what the same implementation left behind, in whichever row.

use crate::row::Who;

pub(crate) struct ChildSignal {
    left: [libc::sigaction; Who::ALL.len()],
}

impl ChildSignal {
    pub(crate) fn new() -> ChildSignal {
        // SAFETY: zeros are SIG_DFL without flags and mask.
        ChildSignal { left: [unsafe { std::mem::zeroed() }; Who::ALL.len()] }
    }

    /// Does what is to be done for `who`.
    pub(crate) fn during<T>(&mut self, who: Who, work: impl FnOnce() -> T) -> T {
        let left = &mut self.left[who as usize];
        exchange(left);
        let result = work();
        // SAFETY: as in `new`.
        *left = unsafe { std::mem::zeroed() };
        exchange(left);
        result
    }
}

/// Sets the disposition, and keeps the one before.
fn exchange(action: &mut libc::sigaction) {
    let wanted = *action;
    // SAFETY: what is set is the default or was set by its owner, whose code is still there.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const wanted, action) };
}
