//! Copying a whole file.
//!
//! Invariant: after an error there is no target that looks like a copy: what was begun is removed.
//! Nothing is touched before it is known that the source can be copied at all.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use bitflags::bitflags;

use super::stat::{FileKind, FileTime, Stat, times};
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::statx::Whom;
use crate::sys::{copy, fd, file};
use crate::work::Operation;

bitflags! {
    /// How [`copyfile`] copies, with libuv's values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct CopyFlags: i32 {
        /// `EEXIST` if the target is there.
        const EXCLUSIVE = 1;
        /// Let both share their blocks where the file system can, else copy.
        const CLONE = 2;
        /// Let both share their blocks, or fail.
        const CLONE_FORCE = 4;
    }
}

/// Copies a file (`uv_fs_copyfile`): content, permissions, and as far as the process may, owner and
/// group. A target that is there is written over; one that is the source itself is left alone.
///
/// Files without a size, as in /proc, are copied up to their end; libuv makes empty copies of them.
///
/// # Errors
/// What open(2) says of either; `EEXIST` with [`CopyFlags::EXCLUSIVE`]; `EISDIR` for a directory;
/// `EINVAL` for flags that do not exist; with [`CopyFlags::CLONE_FORCE`] `ENOTSUP`, `EXDEV` or
/// `EINVAL` where blocks cannot be shared; `ENOSPC`, `EIO`. The target is gone then, unless it
/// could not be opened.
pub fn copyfile(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    flags: CopyFlags,
) -> Operation<Result<()>> {
    if flags.bits() & !CopyFlags::all().bits() != 0 {
        return Operation::refuse(Error::EINVAL);
    }
    Operation::on_paths([from.as_ref(), to.as_ref()], move |[from, to], may| {
        copy_file(&from, &to, flags, may)
    })
}

fn copy_file(from: &CStr, to: &CStr, flags: CopyFlags, may: Facilities) -> Result<()> {
    let source = fd::open(from, libc::O_RDONLY, 0)?;
    let facts = Stat::of(Whom::Open(source.as_raw_fd()), may)?;
    if facts.kind() == FileKind::Directory {
        return Err(Error::EISDIR);
    }
    let exclusive = if flags.contains(CopyFlags::EXCLUSIVE) { libc::O_EXCL } else { 0 };
    let mode = libc::O_WRONLY | libc::O_CREAT | exclusive;
    let target = fd::open(to, mode, facts.permissions())?;
    if exclusive == 0 {
        let there = Stat::of(Whom::Open(target.as_raw_fd()), may)?;
        if (there.dev, there.ino) == (facts.dev, facts.ino) {
            return Ok(());
        }
    }
    let copied = fill(&source, &target, &facts, flags, may);
    let closed = file::close(target.into_raw_fd());
    let result = copied.and(closed);
    if result.is_err() {
        // The error that there is already matters more.
        let _removed = file::unlink(to);
    }
    result
}

fn fill(
    source: &OwnedFd,
    target: &OwnedFd,
    facts: &Stat,
    flags: CopyFlags,
    may: Facilities,
) -> Result<()> {
    let (source, target) = (source.as_raw_fd(), target.as_raw_fd());
    file::truncate(target, 0)?;
    // As in libuv the times go first, so that writing moves that of modification; and as in cp -p
    // neither they nor the owner matter enough for an error.
    let as_before = times(FileTime::At(facts.accessed), FileTime::At(facts.modified));
    let _times = file::set_times_of(target, &as_before);
    let _owner = file::change_owner_of(target, facts.uid, facts.gid);
    file::change_mode_of(target, facts.permissions())?;
    if flags.intersects(CopyFlags::CLONE | CopyFlags::CLONE_FORCE) {
        match copy::clone(source, target) {
            Err(error) if flags.contains(CopyFlags::CLONE_FORCE) => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
    // A file that grows meanwhile is copied as long as it was.
    let limit = if facts.size == 0 { u64::MAX } else { facts.size };
    let may = may.contains(Facilities::COPY_FILE_RANGE);
    let mut done = 0;
    while done < limit {
        let offset = i64::try_from(done).map_err(|_| Error::EFBIG)?;
        let step = usize::try_from(limit - done).unwrap_or(copy::MOST_BYTES);
        match copy::send(source, target, offset, step, may)? {
            0 => break,
            n => done += n as u64,
        }
    }
    Ok(())
}
