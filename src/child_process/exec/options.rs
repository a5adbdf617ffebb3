//! What `exec` and `exec_file` are told beside the command: limits, and what is done about them.

/// Bytes of each output that are kept unless more are asked for: 1 MiB, as in Node.
const MAX_BUFFER: usize = 1024 * 1024;

/// How [`exec`](super::exec) and [`exec_file`](super::exec_file) run a child; the names are Node's.
///
/// ```
/// use blacklight::{EventLoop, RunMode};
/// use blacklight::child_process::{ExecCause, ExecOptions, exec};
///
/// let lp = EventLoop::new()?;
/// exec(&lp, "echo 123456", ExecOptions::new().max_buffer(5), |outcome| {
///     assert_eq!(outcome.stdout, b"12345");
///     assert_eq!(outcome.error.unwrap().cause, ExecCause::MaxBuffer("stdout"));
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ExecOptions {
    pub(super) timeout: u64,
    pub(super) kill_signal: i32,
    pub(super) max_buffer: usize,
}

impl Default for ExecOptions {
    fn default() -> ExecOptions {
        ExecOptions::new()
    }
}

impl ExecOptions {
    /// No timeout, 1 MiB of each output.
    #[must_use]
    pub fn new() -> ExecOptions {
        ExecOptions { timeout: 0, kill_signal: libc::SIGTERM, max_buffer: MAX_BUFFER }
    }

    /// Milliseconds until the child is sent the kill signal and its outputs are closed, counted
    /// from the call; 0 for ever, as it is unless set.
    ///
    /// A child that exits with 0 all the same has not failed (Node's rule).
    pub fn timeout(&mut self, milliseconds: u64) -> &mut ExecOptions {
        self.timeout = milliseconds;
        self
    }

    /// The signal that ends the child when a limit is reached or it is aborted, 1 to 64; SIGTERM
    /// unless set. A child that survives it is waited for.
    pub fn kill_signal(&mut self, signum: i32) -> &mut ExecOptions {
        self.kill_signal = signum;
        self
    }

    /// Bytes that each output may have, 1 MiB unless set; `usize::MAX` for any number.
    ///
    /// When there are more, the child is killed, and so many are kept: 0 means none. (In
    /// [`SyncOptions::max_buffer`](crate::child_process::SyncOptions::max_buffer) it does not, there
    /// the limit is for all together, and nothing is cut: Node's rules all.)
    pub fn max_buffer(&mut self, bytes: usize) -> &mut ExecOptions {
        self.max_buffer = bytes;
        self
    }
}
