//! Files and directories: every operation once, to be done now or by another thread.
//!
//! Each function here describes an operation and does nothing yet. The [`Operation`] that it
//! returns is then either [run](Operation::run), which does it on this very thread and needs no
//! loop, or [started](Operation::start) on a loop: a thread of the [pool](crate::work) does it, and
//! a closure gets the result.
//!
//! ```
//! use blacklight::{EventLoop, RunMode, fs};
//!
//! let now = fs::stat("Cargo.toml").run()?;
//!
//! let lp = EventLoop::new()?;
//! fs::stat("Cargo.toml").start(&lp, move |later| {
//!     assert_eq!(later.map(|stat| stat.size), Ok(now.size));
//! })?;
//! lp.run(RunMode::Default)?;
//! # Ok::<(), blacklight::Error>(())
//! ```
//!
//! Paths are bytes, as the kernel has them; a path with a NUL in it is `EINVAL`. All calls but
//! close(2) are repeated when a signal interrupts them.

mod buffer;
mod c_path;
mod copyfile;
mod directory;
mod file;
mod path;
mod stat;
mod transfer;

pub use crate::work::Operation;
pub use buffer::{Bytes, BytesMut, RawBuffer, Transferred};
pub use copyfile::{CopyFlags, copyfile};
pub use directory::{Directory, DirectoryEntry, opendir, scandir};
pub use file::{File, OpenFlags, open};
pub use path::{
    Access, access, chmod, chown, lchown, link, lutime, mkdir, mkdtemp, mkstemp, readlink,
    realpath, rename, rmdir, symlink, unlink, utime,
};
pub use stat::{FileKind, FileSystemStat, FileTime, Stat, Timestamp, lstat, stat, statfs};
pub use transfer::sendfile;
