//! Reasons for a loop to stay alive that are no handle: [`KeepAlive`].
//!
//! Invariant: each guard counts as one active and referenced handle, from its making to its drop.

use std::fmt;

use super::LoopRef;

/// Keeps a loop alive until it is dropped, as an active handle would.
///
/// For work that comes back to the loop by a way that does not count by itself, such as an
/// unreferenced [`Async`](crate::Async). It does not keep the loop from being dropped.
///
/// ```
/// use blacklight::{EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// let kept = lp.keep_alive();
/// assert!(lp.run(RunMode::NoWait)?, "alive");
/// drop(kept);
/// assert!(!lp.run(RunMode::Default)?);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[must_use = "the loop is kept alive until this is dropped"]
pub struct KeepAlive(LoopRef);

impl KeepAlive {
    pub(super) fn new(lp: &LoopRef) -> KeepAlive {
        lp.inner().count_active(true);
        KeepAlive(lp.clone())
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.0.inner().count_active(false);
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepAlive")
    }
}
