//! Open files: [`File`], and the operations on one.
//!
//! Invariant: a descriptor is closed when nobody uses it, never under an operation: each operation
//! has a share in it, and whoever lets go last closes. The number cannot belong to somebody else
//! while an operation is on its way to the kernel with it.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitflags::bitflags;

use super::stat::{self, FileTime, Stat, times};
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::fd;
use crate::sys::file::{self, Descriptor};
use crate::sys::io_uring::Submission;
use crate::sys::statx::Whom;
use crate::work::{Go, Operation};

bitflags! {
    /// How a file is opened, with the system's values (open(2)). Bits that have no name here are
    /// passed on ([`OpenFlags::from_bits_retain`]).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct OpenFlags: i32 {
        /// For reading alone; this is 0.
        const READ_ONLY = libc::O_RDONLY;
        /// For writing alone.
        const WRITE_ONLY = libc::O_WRONLY;
        /// For both.
        const READ_WRITE = libc::O_RDWR;
        /// Made if it is not there.
        const CREATE = libc::O_CREAT;
        /// With `CREATE`: `EEXIST` if it is there.
        const EXCLUSIVE = libc::O_EXCL;
        /// Emptied if it is there.
        const TRUNCATE = libc::O_TRUNC;
        /// Each write goes to the end.
        const APPEND = libc::O_APPEND;
        /// `ENOTDIR` if it is no directory.
        const DIRECTORY = libc::O_DIRECTORY;
        /// `ELOOP` if it is a symbolic link.
        const NO_FOLLOW = libc::O_NOFOLLOW;
        /// Opening a FIFO does not wait for the other side.
        const NONBLOCK = libc::O_NONBLOCK;
        /// Writes return when data is on the disk.
        const DATA_SYNC = libc::O_DSYNC;
        /// Writes return when data and what is needed to find it are on the disk.
        const SYNC = libc::O_SYNC;
        /// Past the cache of the kernel, where the file system can.
        const DIRECT = libc::O_DIRECT;
        /// The time of access stays as it is.
        const NO_ACCESS_TIME = libc::O_NOATIME;
        /// A file without a name in the directory that is opened.
        const TEMPORARY = libc::O_TMPFILE;

        const _ = !0;
    }
}

/// Opens a file (`uv_fs_open`); `mode` is for one that is made, less the process's umask.
///
/// The descriptor is close-on-exec, and a terminal does not become the controlling one.
///
/// ```
/// use blacklight::fs::{self, OpenFlags};
///
/// let file = fs::open("/dev/zero", OpenFlags::READ_ONLY, 0).run()?;
/// let read = file.read(vec![1; 3], None).run();
/// assert_eq!(read.into_bytes()?, [0; 3]);
/// file.close().run()?;
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// What open(2) says: `ENOENT`, `EACCES`, `EEXIST`, `EISDIR`, `EMFILE`, and more.
pub fn open(path: impl AsRef<Path>, flags: OpenFlags, mode: u32) -> Operation<Result<File>> {
    let flags = flags.bits();
    let submission = move |path: &CStr| Submission::open(path, flags, mode);
    Operation::on_path_or_ring(path, submission, move |path, done, _| match done {
        Some(number) => Ok(File::new(Descriptor::of_kernel(number))),
        None => fd::open(&path, flags, mode).map(File::from),
    })
}

/// An open file: a reference, which may be cloned and sent to other threads.
///
/// Its descriptor is closed by [`File::close`], or, with no word about errors, when the last
/// reference is dropped; in both cases after the last operation on it has ended. Operations
/// of one file may run at the same time on several threads of the pool; with an offset given they
/// do not disturb each other.
#[derive(Clone)]
pub struct File(Arc<Mutex<Option<Arc<Descriptor>>>>);

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::new(Descriptor::owned(fd))
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from(OwnedFd::from(file))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.fileno()).finish()
    }
}

impl File {
    fn new(descriptor: Descriptor) -> File {
        File(Arc::new(Mutex::new(Some(Arc::new(descriptor)))))
    }

    /// A file for a descriptor that somebody else owns, by its number: what a C interface is
    /// given. It is not closed when the last reference is dropped, only by [`File::close`]. A
    /// number that is open nowhere gives `EBADF` with each operation.
    ///
    /// # Safety
    /// The owner must agree to what is done with the descriptor through this file, and keep it open
    /// until the last operation on it has ended.
    #[allow(unsafe_code, reason = "the promise is what makes the numbers of `sys::file` sound")]
    #[must_use]
    pub unsafe fn from_raw(number: RawFd) -> File {
        File::new(Descriptor::lent(number))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Descriptor>>> {
        lock(&self.0)
    }

    pub(super) fn share(&self) -> Result<Arc<Descriptor>> {
        self.lock().clone().ok_or(Error::EBADF)
    }

    /// The number of the descriptor.
    ///
    /// # Errors
    /// `EBADF` after closing.
    pub fn fileno(&self) -> Result<RawFd> {
        self.share().map(|share| share.number())
    }

    /// Gives the descriptor back as it is.
    ///
    /// # Errors
    /// `EBADF` after closing and for one of [`File::from_raw`]; `EBUSY` when there are other
    /// references, or operations that have not ended, and then the file is as before.
    pub fn into_owned_fd(self) -> Result<OwnedFd> {
        if Arc::strong_count(&self.0) > 1 {
            return Err(Error::EBUSY);
        }
        let descriptor = self.lock().take().ok_or(Error::EBADF)?;
        let descriptor = Arc::try_unwrap(descriptor).map_err(|shared| {
            *self.lock() = Some(shared);
            Error::EBUSY
        })?;
        descriptor.into_owned().ok_or(Error::EBADF)
    }

    /// Gives the number of the descriptor to somebody who will close it: what a C interface hands
    /// out. The file stays usable, as one of [`File::from_raw`].
    ///
    /// # Errors
    /// `EBADF` after closing.
    pub fn disown(&self) -> Result<RawFd> {
        let share = self.share()?;
        let _was_ours = share.disown();
        Ok(share.number())
    }

    /// An operation with a share in the descriptor.
    fn operation<T: Send + 'static>(
        &self,
        call: impl FnOnce(RawFd, Facilities) -> Result<T> + Send + 'static,
    ) -> Operation<Result<T>> {
        match self.share() {
            Ok(share) => Operation::call(move |facilities| call(share.number(), facilities)),
            Err(error) => Operation::refuse(error),
        }
    }

    /// As [`File::operation`], one that the kernel may do by itself.
    fn plain(
        &self,
        submission: fn(RawFd) -> Option<Submission>,
        call: fn(RawFd) -> Result<()>,
    ) -> Operation<Result<()>> {
        match self.share() {
            Ok(share) => Operation::call_or_ring(
                share,
                move |share| submission(share.number()),
                move |share, done, _| match done {
                    Some(_) => Ok(()),
                    None => call(share.number()),
                },
            ),
            Err(error) => Operation::refuse(error),
        }
    }

    /// The facts about the file (`uv_fs_fstat`).
    ///
    /// # Errors
    /// `EBADF` for a file that is closed.
    pub fn stat(&self) -> Operation<Result<Stat>> {
        match self.share() {
            Ok(share) => stat::operation(share, |share| Whom::Open(share.number())),
            Err(error) => Operation::refuse(error),
        }
    }

    /// Returns when all that was written is on the disk (`uv_fs_fsync`).
    ///
    /// # Errors
    /// What fsync(2) says: `EIO`, `ENOSPC`, `EINVAL` for what has no disk, `EBADF`.
    pub fn sync(&self) -> Operation<Result<()>> {
        self.plain(|number| Submission::sync(number, false), file::sync)
    }

    /// As [`File::sync`], but for facts that are not needed to read the data (`uv_fs_fdatasync`).
    ///
    /// # Errors
    /// As [`File::sync`].
    pub fn sync_data(&self) -> Operation<Result<()>> {
        self.plain(|number| Submission::sync(number, true), file::sync_data)
    }

    /// Makes the file this long, with zeros where it grows (`uv_fs_ftruncate`).
    ///
    /// # Errors
    /// What ftruncate(2) says: `EINVAL` for what is no file or not open for writing, and for more
    /// bytes than an `i64` counts; `EFBIG`, `EBADF`.
    pub fn truncate(&self, length: u64) -> Operation<Result<()>> {
        let length = i64::try_from(length).map_err(|_| Error::EINVAL);
        self.operation(move |number, _| file::truncate(number, length?))
    }

    /// Sets the permissions (`uv_fs_fchmod`).
    ///
    /// # Errors
    /// What fchmod(2) says: `EPERM`, `EROFS`, `EBADF`.
    pub fn chmod(&self, mode: u32) -> Operation<Result<()>> {
        self.operation(move |number, _| file::change_mode_of(number, mode))
    }

    /// Sets the owner and the group (`uv_fs_fchown`); `u32::MAX` leaves one as it is.
    ///
    /// # Errors
    /// What fchown(2) says: `EPERM`, `EROFS`, `EBADF`.
    pub fn chown(&self, uid: u32, gid: u32) -> Operation<Result<()>> {
        self.operation(move |number, _| file::change_owner_of(number, uid, gid))
    }

    /// Sets the times of access and of modification (`uv_fs_futime`).
    ///
    /// # Errors
    /// What utimensat(2) says: `EPERM`, `EACCES`, `EROFS`, `EINVAL` for too many nanoseconds,
    /// `EBADF`.
    pub fn set_times(&self, accessed: FileTime, modified: FileTime) -> Operation<Result<()>> {
        self.operation(move |number, _| file::set_times_of(number, &times(accessed, modified)))
    }

    /// Closes the file, for all references (`uv_fs_close`): no other operation can begin, and when
    /// those that have begun are over the descriptor is closed, and the result told.
    ///
    /// A cancelled close leaves the file open.
    ///
    /// # Errors
    /// `EBADF` when it has been closed before; what close(2) says of data that could not be
    /// written: `EIO`, `ENOSPC`, `EDQUOT`. The descriptor is gone then, too.
    pub fn close(&self) -> Operation<Result<()>> {
        let closed = self.share().err();
        let (file, in_ring) = (self.clone(), self.clone());
        // With the ring until it answers, and with nobody else.
        let taken = Arc::new(Mutex::new(None));
        let with_ring = taken.clone();
        let submission = move || {
            let sole = Sole::take(&in_ring)?;
            let submission = Submission::close(sole.0.number());
            *lock(&with_ring) = Some(sole);
            submission
        };
        Operation::later(submission, move |go, answer| {
            let share = match go {
                Go::Run(_) => file.lock().take().ok_or(Error::EBADF),
                Go::Fail(error) => Err(error),
                Go::Ended(code) => {
                    let taken: Option<Sole> = lock(&taken).take();
                    return answer(Sole::ended(taken, &file, code));
                }
            };
            match share {
                Ok(share) => share.close_at_end(answer),
                Err(error) => answer(Err(error)),
            }
        })
        .refused_by(closed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor that nobody else uses, while the kernel closes it; and whether it was owned.
struct Sole(Descriptor, bool);

impl Sole {
    fn take(file: &File) -> Option<Sole> {
        let mut open = file.lock();
        match Arc::try_unwrap(open.take()?) {
            Ok(descriptor) => {
                let owned = descriptor.disown();
                Some(Sole(descriptor, owned))
            }
            Err(shared) => {
                *open = Some(shared);
                None
            }
        }
    }

    /// The kernel has answered: a close that was cancelled leaves the file open.
    fn ended(taken: Option<Sole>, file: &File, code: Result<i32>) -> Result<()> {
        if let (Some(Sole(descriptor, owned)), Err(Error::ECANCELED)) = (taken, code) {
            if owned {
                descriptor.own();
            }
            *file.lock() = Some(Arc::new(descriptor));
        }
        file::close_result(code)
    }
}
