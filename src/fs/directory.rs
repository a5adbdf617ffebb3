//! Reading directories: all at once, sorted, or in batches as they come.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::stat::FileKind;
use crate::error::{Error, Result};
use crate::sys::directory::{Entry, Stream};
use crate::work::Operation;

/// One name in a directory (`uv_dirent_t`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DirectoryEntry {
    /// The name alone, as the file system has it.
    pub name: OsString,
    /// What it is; [`FileKind::Unknown`] where the file system does not say.
    pub kind: FileKind,
}

impl From<Entry> for DirectoryEntry {
    fn from(entry: Entry) -> DirectoryEntry {
        // DT_* are the types of a mode, shifted by as much as the permissions take.
        let kind = FileKind::from_mode(u32::from(entry.kind) << 12);
        DirectoryEntry { name: OsString::from_vec(entry.name.into_bytes()), kind }
    }
}

/// All names in a directory but `.` and `..`, sorted by their bytes (`uv_fs_scandir`).
///
/// ```
/// use blacklight::fs::{self, FileKind};
///
/// let entries = fs::scandir("src").run()?;
/// assert!(entries.iter().any(|entry| entry.name == "lib.rs" && entry.kind == FileKind::File));
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// # Errors
/// What opendir(3) says: `ENOENT`, `ENOTDIR`, `EACCES`, `EMFILE`.
pub fn scandir(path: impl AsRef<Path>) -> Operation<Result<Vec<DirectoryEntry>>> {
    Operation::on_path(path, |path, _| {
        let mut stream = Stream::open(&path)?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.next()? {
            entries.push(DirectoryEntry::from(entry));
        }
        stream.close()?;
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    })
}

/// Opens a directory to be read in batches (`uv_fs_opendir`).
///
/// # Errors
/// As [`scandir`].
pub fn opendir(path: impl AsRef<Path>) -> Operation<Result<Directory>> {
    Operation::on_path(path, |path, _| {
        Stream::open(&path).map(|stream| Directory(Arc::new(Mutex::new(Some(stream)))))
    })
}

/// An open directory (`uv_dir_t`): a reference, which may be cloned and sent to other threads.
///
/// It is closed by [`Directory::close`], or when the last reference is dropped and the last
/// operation over. Operations on one directory wait for each other.
#[derive(Clone)]
pub struct Directory(Arc<Mutex<Option<Stream>>>);

impl Directory {
    /// The next names, in the order in which the file system has them: `most` of them or fewer, and
    /// none at the end (`uv_fs_readdir`).
    ///
    /// # Errors
    /// `EINVAL` when `most` is 0, `EBADF` when the directory has been closed, what getdents(2)
    /// says: `ENOENT` for a directory that has been removed.
    pub fn read(&self, most: usize) -> Operation<Result<Vec<DirectoryEntry>>> {
        if most == 0 {
            return Operation::refuse(Error::EINVAL);
        }
        let directory = self.0.clone();
        Operation::call(move |_| {
            let mut stream = directory.lock().unwrap_or_else(PoisonError::into_inner);
            let stream = stream.as_mut().ok_or(Error::EBADF)?;
            let mut entries = Vec::new();
            while entries.len() < most
                && let Some(entry) = stream.next()?
            {
                entries.push(DirectoryEntry::from(entry));
            }
            Ok(entries)
        })
    }

    /// Closes the directory, for all references (`uv_fs_closedir`).
    ///
    /// # Errors
    /// `EBADF` when it has been closed before.
    pub fn close(&self) -> Operation<Result<()>> {
        let directory = self.0.clone();
        Operation::call(move |_| {
            let stream = directory.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or(Error::EBADF)?.close()
        })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory")
    }
}
