//! How a process ended: status, signal, resource usage.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::signal_name::signal_name;
use crate::sys::wait::Change;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code, 0 to 255.
    Exited(i32),
    /// A signal killed it.
    Signaled {
        /// The number of the signal.
        signum: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// It has ended, but someone else in this process waited for it, or had SIGCHLD ignored, and
    /// the kernel (before 6.15) keeps no note; or it was never a child of this process.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Exited(code) => write!(f, "exit code {code}"),
            ExitStatus::Signaled { signum, core_dumped } => {
                match signal_name(signum) {
                    Some(name) => write!(f, "killed by {name}")?,
                    None => write!(f, "killed by signal {signum}")?,
                }
                f.write_str(if core_dumped { " (core dumped)" } else { "" })
            }
            ExitStatus::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// What a process or thread used (getrusage(2)); of an ended child, with the children that it had
/// waited for itself.
///
/// These are the sixteen fields of Node's `process.resourceUsage()`; those that Linux does not keep
/// are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// Processor time spent in the program.
    pub user_time: Duration,
    /// Processor time spent in the kernel.
    pub system_time: Duration,
    /// The most memory that was resident at a time, in bytes.
    pub max_rss: u64,
    /// Page faults that needed no input.
    pub minor_faults: u64,
    /// Page faults that needed input.
    pub major_faults: u64,
    /// Times that input was made from a file system, in blocks of 512 bytes.
    pub blocks_in: u64,
    /// Times that output was made to a file system, in blocks of 512 bytes.
    pub blocks_out: u64,
    /// Times that it waited for something.
    pub voluntary_switches: u64,
    /// Times that another process took its place.
    pub involuntary_switches: u64,
    /// Not kept by Linux.
    pub shared_memory_size: u64,
    /// Not kept by Linux.
    pub unshared_data_size: u64,
    /// Not kept by Linux.
    pub unshared_stack_size: u64,
    /// Times that all of it was swapped out; not kept by Linux.
    pub swaps: u64,
    /// Messages sent over sockets; not kept by Linux.
    pub messages_sent: u64,
    /// Messages received over sockets; not kept by Linux.
    pub messages_received: u64,
    /// Signals received; not kept by Linux.
    pub signals: u64,
}

impl ResourceUsage {
    pub(crate) fn from_raw(raw: &libc::rusage) -> ResourceUsage {
        let time = |t: libc::timeval| {
            Duration::from_secs(t.tv_sec.unsigned_abs())
                + Duration::from_micros(t.tv_usec.unsigned_abs())
        };
        ResourceUsage {
            user_time: time(raw.ru_utime),
            system_time: time(raw.ru_stime),
            // The kernel counts kibibytes.
            max_rss: raw.ru_maxrss.unsigned_abs() * 1024,
            minor_faults: raw.ru_minflt.unsigned_abs(),
            major_faults: raw.ru_majflt.unsigned_abs(),
            blocks_in: raw.ru_inblock.unsigned_abs(),
            blocks_out: raw.ru_oublock.unsigned_abs(),
            voluntary_switches: raw.ru_nvcsw.unsigned_abs(),
            involuntary_switches: raw.ru_nivcsw.unsigned_abs(),
            shared_memory_size: raw.ru_ixrss.unsigned_abs(),
            unshared_data_size: raw.ru_idrss.unsigned_abs(),
            unshared_stack_size: raw.ru_isrss.unsigned_abs(),
            swaps: raw.ru_nswap.unsigned_abs(),
            messages_sent: raw.ru_msgsnd.unsigned_abs(),
            messages_received: raw.ru_msgrcv.unsigned_abs(),
            signals: raw.ru_nsignals.unsigned_abs(),
        }
    }
}

/// The end of a process: what its exit callback gets.
///
/// ```
/// use blacklight::{Command, EventLoop, ExitStatus, RunMode};
///
/// let lp = EventLoop::new()?;
/// Command::new("sh").args(["-c", "exit 3"]).spawn(&lp, |process, exit| {
///     assert_eq!(exit.status, ExitStatus::Exited(3));
///     println!("{} ended: {exit}", process.pid());
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// What it used; `None` when someone else waited for it.
    pub usage: Option<ResourceUsage>,
}

impl Exit {
    pub(crate) const UNKNOWN: Exit = Exit { status: ExitStatus::Unknown, usage: None };

    pub(crate) fn new(change: Change, usage: Option<&libc::rusage>) -> Exit {
        let status = match change {
            Change::Exited(code) => ExitStatus::Exited(code),
            Change::Killed { signal: signum, core_dumped } => {
                ExitStatus::Signaled { signum, core_dumped }
            }
            // Not an end; nobody asks for these together with ends.
            Change::Stopped(_) | Change::Continued => ExitStatus::Unknown,
        };
        Exit { status, usage: usage.map(ResourceUsage::from_raw) }
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        matches!(self.status, ExitStatus::Exited(0))
    }

    /// The exit code, if it exited.
    #[must_use]
    pub const fn code(&self) -> Option<i32> {
        match self.status {
            ExitStatus::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The number of the signal that killed it, if one did.
    #[must_use]
    pub const fn signal(&self) -> Option<i32> {
        match self.status {
            ExitStatus::Signaled { signum, .. } => Some(signum),
            _ => None,
        }
    }

    /// Whether it left a core dump.
    #[must_use]
    pub const fn core_dumped(&self) -> bool {
        matches!(self.status, ExitStatus::Signaled { core_dumped: true, .. })
    }

    /// The standard library's form; `None` when the status is unknown.
    #[must_use]
    pub fn to_std(&self) -> Option<std::process::ExitStatus> {
        // wait(2): the code in the second byte, or the signal in the low seven bits and bit 7 for
        // a core dump.
        let raw = match self.status {
            ExitStatus::Exited(code) => (code & 0xff) << 8,
            ExitStatus::Signaled { signum, core_dumped } => {
                (signum & 0x7f) | if core_dumped { 0x80 } else { 0 }
            }
            ExitStatus::Unknown => return None,
        };
        Some(std::process::ExitStatus::from_raw(raw))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.fmt(f)
    }
}
