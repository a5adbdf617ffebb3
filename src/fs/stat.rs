//! The facts about files and file systems: [`Stat`] and [`FileSystemStat`].

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::c_path::c_path;
use crate::error::Result;
use crate::event_loop::Facilities;
use crate::sys::c_path::CPath;
use crate::sys::file::Times;
use crate::sys::io_uring::Submission;
use crate::sys::statx::{self, Facts, StatRoom, Whom};
use crate::work::Operation;

/// A point in time as file systems keep it: since 1970, seconds are negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> SystemTime {
        let seconds = Duration::from_secs(time.seconds.unsigned_abs());
        let whole = if time.seconds < 0 {
            SystemTime::UNIX_EPOCH - seconds
        } else {
            SystemTime::UNIX_EPOCH + seconds
        };
        whole + Duration::from_nanos(time.nanoseconds.into())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        // Beyond 292 billion years is as good as there.
        let seconds = |of: Duration| i64::try_from(of.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp { seconds: seconds(after), nanoseconds: after.subsec_nanos() },
            Err(before) => match before.duration() {
                before if before.subsec_nanos() == 0 => {
                    Timestamp { seconds: -seconds(before), nanoseconds: 0 }
                }
                before => Timestamp {
                    seconds: -seconds(before) - 1,
                    nanoseconds: 1_000_000_000 - before.subsec_nanos(),
                },
            },
        }
    }
}

/// A time to set a file's to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileTime {
    /// This time.
    At(Timestamp),
    /// The time when it is set, by the kernel's clock (`UV_FS_UTIME_NOW`).
    Now,
    /// What it is (`UV_FS_UTIME_OMIT`).
    Omit,
}

impl From<SystemTime> for FileTime {
    fn from(time: SystemTime) -> FileTime {
        FileTime::At(time.into())
    }
}

impl FileTime {
    /// libuv's form: seconds with a fraction, infinity for now, and what is no number for a time
    /// that is left as it is. The fraction is good for a microsecond or so.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> FileTime {
        if seconds.is_nan() {
            return FileTime::Omit;
        }
        if seconds.is_infinite() {
            return FileTime::Now;
        }
        let whole = seconds.floor();
        let nanoseconds = ((seconds - whole) * 1e9) as u32;
        FileTime::At(Timestamp { seconds: whole as i64, nanoseconds: nanoseconds.min(999_999_999) })
    }

    fn to_timespec(self) -> libc::timespec {
        let (tv_sec, tv_nsec) = match self {
            // Greater numbers are the system's words for now and leaving it; this one is `EINVAL`.
            FileTime::At(time) => (time.seconds, i64::from(time.nanoseconds.min(1_000_000_000))),
            FileTime::Now => (0, libc::UTIME_NOW),
            FileTime::Omit => (0, libc::UTIME_OMIT),
        };
        libc::timespec { tv_sec, tv_nsec }
    }
}

/// Both times as the system takes them.
pub(super) fn times(accessed: FileTime, modified: FileTime) -> Times {
    [accessed.to_timespec(), modified.to_timespec()]
}

/// What kind of file it is (`uv_dirent_type_t`, and the type in a mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// The file system does not say in its directories; [`lstat`] will.
    Unknown,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    Character,
    /// A block device.
    Block,
}

impl FileKind {
    pub(super) fn from_mode(mode: u32) -> FileKind {
        match mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Link,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFCHR => FileKind::Character,
            libc::S_IFBLK => FileKind::Block,
            _ => FileKind::Unknown,
        }
    }
}

/// The facts about a file (`uv_stat_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Stat {
    /// The device that it is on.
    pub dev: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names that it has.
    pub nlink: u64,
    /// The user that owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// The device that it is, if it is one.
    pub rdev: u64,
    /// Its number in its file system.
    pub ino: u64,
    /// Bytes in it.
    pub size: u64,
    /// Bytes to read or write at a time for best effect.
    pub blksize: u64,
    /// Blocks of 512 bytes that it takes on the disk.
    pub blocks: u64,
    /// Always zero on Linux, as in libuv.
    pub flags: u64,
    /// Always zero on Linux, as in libuv.
    pub generation: u64,
    /// When it was last read, as far as the file system keeps count.
    pub accessed: Timestamp,
    /// When its content last changed.
    pub modified: Timestamp,
    /// When its content or any of these facts last changed.
    pub changed: Timestamp,
    /// When it was made; `None` where the file system does not know, or the kernel has no statx(2)
    /// (libuv repeats the time of change then).
    pub born: Option<Timestamp>,
}

impl Stat {
    /// What kind of file it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode)
    }

    /// The permissions alone.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    pub(super) fn of(whom: Whom<'_>, facilities: Facilities) -> Result<Stat> {
        let facts = statx::stat(whom, facilities.contains(Facilities::STATX))?;
        Ok(match facts {
            Facts::New(new) => Stat::from_statx(&new),
            Facts::Old(old) => Stat::from_stat(&old),
        })
    }

    pub(super) fn from_statx(facts: &libc::statx) -> Stat {
        let time =
            |t: libc::statx_timestamp| Timestamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
        let knows_birth = facts.stx_mask & libc::STATX_BTIME != 0;
        Stat {
            dev: libc::makedev(facts.stx_dev_major, facts.stx_dev_minor),
            mode: facts.stx_mode.into(),
            nlink: facts.stx_nlink.into(),
            uid: facts.stx_uid,
            gid: facts.stx_gid,
            rdev: libc::makedev(facts.stx_rdev_major, facts.stx_rdev_minor),
            ino: facts.stx_ino,
            size: facts.stx_size,
            blksize: facts.stx_blksize.into(),
            blocks: facts.stx_blocks,
            flags: 0,
            generation: 0,
            accessed: time(facts.stx_atime),
            modified: time(facts.stx_mtime),
            changed: time(facts.stx_ctime),
            born: knows_birth.then(|| time(facts.stx_btime)),
        }
    }

    #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
    fn from_stat(facts: &libc::stat64) -> Stat {
        let time = |seconds: i64, nanoseconds: i64| Timestamp {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        Stat {
            dev: facts.st_dev,
            mode: facts.st_mode,
            nlink: facts.st_nlink as u64,
            uid: facts.st_uid,
            gid: facts.st_gid,
            rdev: facts.st_rdev,
            ino: facts.st_ino,
            size: facts.st_size as u64,
            blksize: facts.st_blksize as u64,
            blocks: facts.st_blocks as u64,
            flags: 0,
            generation: 0,
            accessed: time(facts.st_atime as i64, facts.st_atime_nsec as i64),
            modified: time(facts.st_mtime as i64, facts.st_mtime_nsec as i64),
            changed: time(facts.st_ctime as i64, facts.st_ctime_nsec as i64),
            born: None,
        }
    }
}

/// Asks about `what`, which names itself; the room is there only for the kernel to answer into.
pub(super) fn operation<S: Send + 'static>(
    what: S,
    whom: fn(&S) -> Whom<'_>,
) -> Operation<Result<Stat>> {
    let submission = move |(what, room): &mut (S, Option<StatRoom>)| {
        Submission::stat(whom(what), room.get_or_insert_with(StatRoom::new))
    };
    Operation::call_or_ring((what, None), submission, move |(what, room), done, may| {
        match (done, room) {
            (Some(_), Some(room)) => Ok(Stat::from_statx(room.facts())),
            _ => Stat::of(whom(&what), may),
        }
    })
}

fn on_path(path: &Path, whom: fn(&CPath) -> Whom<'_>) -> Operation<Result<Stat>> {
    match c_path(path) {
        Ok(path) => operation(path, whom),
        Err(error) => Operation::refuse(error),
    }
}

/// The facts about what a path leads to (`uv_fs_stat`).
///
/// ```
/// use blacklight::fs::{self, FileKind};
///
/// assert_eq!(fs::stat("/").run()?.kind(), FileKind::Directory);
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// What stat(2) says: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`.
pub fn stat(path: impl AsRef<Path>) -> Operation<Result<Stat>> {
    on_path(path.as_ref(), |path| Whom::Path(path))
}

/// The facts about what a path names; if that is a symbolic link, about the link (`uv_fs_lstat`).
///
/// # Errors
/// As [`stat`].
pub fn lstat(path: impl AsRef<Path>) -> Operation<Result<Stat>> {
    on_path(path.as_ref(), |path| Whom::Link(path))
}

/// The facts about a file system (`uv_statfs_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct FileSystemStat {
    /// What file system it is (statfs(2) has the list of numbers).
    pub kind: u64,
    /// Bytes to read or write at a time for best effect.
    pub bsize: u64,
    /// Blocks of [`frsize`](FileSystemStat::frsize) bytes that it has.
    pub blocks: u64,
    /// Blocks that are free.
    pub bfree: u64,
    /// Blocks that are free for users without privilege.
    pub bavail: u64,
    /// Files that it can hold.
    pub files: u64,
    /// Files that it can hold in addition.
    pub ffree: u64,
    /// Bytes of a block.
    pub frsize: u64,
}

/// The facts about the file system that a path is on (`uv_fs_statfs`).
///
/// # Errors
/// What statfs(2) says: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENOSYS`.
#[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
pub fn statfs(path: impl AsRef<Path>) -> Operation<Result<FileSystemStat>> {
    Operation::on_path(path, |path, _| {
        let facts = statx::statfs(&path)?;
        Ok(FileSystemStat {
            kind: facts.f_type as u64,
            bsize: facts.f_bsize as u64,
            blocks: facts.f_blocks as u64,
            bfree: facts.f_bfree as u64,
            bavail: facts.f_bavail as u64,
            files: facts.f_files as u64,
            ffree: facts.f_ffree as u64,
            // Kernels before 2.6.36 leave it zero; then blocks are counted in the other size.
            frsize: if facts.f_frsize == 0 { facts.f_bsize as u64 } else { facts.f_frsize as u64 },
        })
    })
}
