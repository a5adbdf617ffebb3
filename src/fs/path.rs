//! Operations on paths: permissions, owners, names, links, times.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use bitflags::bitflags;

use super::file::File;
use super::stat::{FileTime, times};
use crate::error::Result;
use crate::sys::file;
use crate::sys::io_uring::Submission;
use crate::work::Operation;

bitflags! {
    /// What [`access`] asks for, with the system's values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Access: i32 {
        /// Whether it is there; this is 0.
        const EXISTS = libc::F_OK;
        /// Whether it may be read.
        const READ = libc::R_OK;
        /// Whether it may be written.
        const WRITE = libc::W_OK;
        /// Whether it may be executed; for a directory, passed through.
        const EXECUTE = libc::X_OK;

        const _ = !0;
    }
}

fn path_buf(name: CString) -> PathBuf {
    PathBuf::from(OsString::from_vec(name.into_bytes()))
}

/// Whether the process's real user may do this with what the path leads to (`uv_fs_access`).
///
/// # Errors
/// What access(2) says: `EACCES` if not, `ENOENT`, `ENOTDIR`, `ELOOP`, `EROFS`.
pub fn access(path: impl AsRef<Path>, mode: Access) -> Operation<Result<()>> {
    Operation::on_path(path, move |path, _| file::access(&path, mode.bits()))
}

/// Sets the permissions of what the path leads to (`uv_fs_chmod`).
///
/// # Errors
/// What chmod(2) says: `EPERM`, `ENOENT`, `EACCES`, `EROFS`.
pub fn chmod(path: impl AsRef<Path>, mode: u32) -> Operation<Result<()>> {
    Operation::on_path(path, move |path, _| file::change_mode(&path, mode))
}

/// Sets owner and group of what the path leads to (`uv_fs_chown`); `u32::MAX` leaves one as it is.
///
/// # Errors
/// What chown(2) says: `EPERM`, `ENOENT`, `EACCES`, `EROFS`.
pub fn chown(path: impl AsRef<Path>, uid: u32, gid: u32) -> Operation<Result<()>> {
    Operation::on_path(path, move |path, _| file::change_owner(&path, uid, gid))
}

/// As [`chown`], but of a symbolic link itself (`uv_fs_lchown`).
///
/// # Errors
/// As [`chown`].
pub fn lchown(path: impl AsRef<Path>, uid: u32, gid: u32) -> Operation<Result<()>> {
    Operation::on_path(path, move |path, _| file::change_owner_of_link(&path, uid, gid))
}

/// Gives a file another name (`uv_fs_link`).
///
/// # Errors
/// What link(2) says: `EEXIST`, `ENOENT`, `EXDEV`, `EPERM` for a directory, `EMLINK`.
pub fn link(file: impl AsRef<Path>, name: impl AsRef<Path>) -> Operation<Result<()>> {
    Operation::plain_paths([file.as_ref(), name.as_ref()], Submission::link, file::link)
}

/// Makes a symbolic link with the name `name` that says `target` (`uv_fs_symlink`, whose flags are
/// for Windows).
///
/// # Errors
/// What symlink(2) says: `EEXIST`, `ENOENT`, `EACCES`, `EROFS`.
pub fn symlink(target: impl AsRef<Path>, name: impl AsRef<Path>) -> Operation<Result<()>> {
    let paths = [target.as_ref(), name.as_ref()];
    Operation::plain_paths(paths, Submission::symbolic_link, file::symbolic_link)
}

/// Gives a file another name instead of its own, in place of what has it (`uv_fs_rename`).
///
/// # Errors
/// What rename(2) says: `ENOENT`, `EXDEV`, `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EINVAL` for a
/// directory into itself.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Operation<Result<()>> {
    Operation::plain_paths([from.as_ref(), to.as_ref()], Submission::rename, file::rename)
}

/// Removes a name of a file, and the file with its last one (`uv_fs_unlink`).
///
/// # Errors
/// What unlink(2) says: `ENOENT`, `EISDIR` for a directory, `EACCES`, `EBUSY`, `EROFS`.
pub fn unlink(path: impl AsRef<Path>) -> Operation<Result<()>> {
    Operation::plain(path, Submission::unlink, file::unlink)
}

/// Makes a directory (`uv_fs_mkdir`), with these permissions less the process's umask.
///
/// # Errors
/// What mkdir(2) says: `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`, `EROFS`.
pub fn mkdir(path: impl AsRef<Path>, mode: u32) -> Operation<Result<()>> {
    Operation::plain(
        path,
        move |path| Submission::make_directory(path, mode),
        move |path| file::make_directory(path, mode),
    )
}

/// Removes an empty directory (`uv_fs_rmdir`).
///
/// # Errors
/// What rmdir(2) says: `ENOTEMPTY`, `ENOENT`, `ENOTDIR`, `EINVAL` for `.`, `EBUSY`.
pub fn rmdir(path: impl AsRef<Path>) -> Operation<Result<()>> {
    Operation::plain(path, Submission::remove_directory, file::remove_directory)
}

/// What a symbolic link says (`uv_fs_readlink`).
///
/// # Errors
/// What readlink(2) says: `EINVAL` for what is no link, `ENOENT`, `EACCES`.
pub fn readlink(path: impl AsRef<Path>) -> Operation<Result<PathBuf>> {
    Operation::on_path(path, |path, _| {
        file::read_link(&path).map(|text| PathBuf::from(OsString::from_vec(text)))
    })
}

/// The path from the root to what a path leads to, without links and dots (`uv_fs_realpath`).
///
/// # Errors
/// What realpath(3) says: `ENOENT`, `ELOOP`, `EACCES`, `ENOTDIR`, `ENAMETOOLONG`.
pub fn realpath(path: impl AsRef<Path>) -> Operation<Result<PathBuf>> {
    Operation::on_path(path, |path, _| file::real_path(&path).map(path_buf))
}

/// Makes a directory with a name that nothing had, and permissions for its owner alone
/// (`uv_fs_mkdtemp`). The result is the name: the template, with letters for its last six `X`.
///
/// # Errors
/// `EINVAL` when the template does not end in `XXXXXX`; `EEXIST` when no name was free; what
/// mkdir(2) says.
pub fn mkdtemp(template: impl AsRef<Path>) -> Operation<Result<PathBuf>> {
    Operation::on_path(template, |template, _| {
        file::make_temporary_directory(template.to_owned()).map(path_buf)
    })
}

/// Makes and opens a file with a name that nothing had, for its owner alone (`uv_fs_mkstemp`). The
/// name is the template, with letters for its last six `X`.
///
/// # Errors
/// `EINVAL` when the template does not end in `XXXXXX`; `EEXIST` when no name was free; what
/// open(2) says.
pub fn mkstemp(template: impl AsRef<Path>) -> Operation<Result<(File, PathBuf)>> {
    Operation::on_path(template, |template, _| {
        let (fd, name) = file::make_temporary_file(template.to_owned())?;
        Ok((File::from(fd), path_buf(name)))
    })
}

/// Sets the times of access and of modification of what a path leads to (`uv_fs_utime`).
///
/// # Errors
/// What utimensat(2) says: `EPERM`, `EACCES`, `ENOENT`, `EROFS`, `EINVAL` for too many nanoseconds.
pub fn utime(
    path: impl AsRef<Path>,
    accessed: FileTime,
    modified: FileTime,
) -> Operation<Result<()>> {
    let times = times(accessed, modified);
    Operation::on_path(path, move |path, _| file::set_times(&path, &times, true))
}

/// As [`utime`], but of a symbolic link itself (`uv_fs_lutime`).
///
/// # Errors
/// As [`utime`].
pub fn lutime(
    path: impl AsRef<Path>,
    accessed: FileTime,
    modified: FileTime,
) -> Operation<Result<()>> {
    let times = times(accessed, modified);
    Operation::on_path(path, move |path, _| file::set_times(&path, &times, false))
}
