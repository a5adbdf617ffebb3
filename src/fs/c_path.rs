//! Operations on paths: how a path becomes what the kernel wants.
//!
//! Invariant: a path is copied when the operation is described, and whatever is wrong with its text
//! is known then.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Result;
use crate::event_loop::Facilities;
use crate::sys::c_path::CPath;
use crate::sys::io_uring::Submission;
use crate::work::Operation;

/// A path as the kernel wants it; `EINVAL` when there is a NUL in it.
pub(super) fn c_path(path: &Path) -> Result<CPath> {
    CPath::new(path.as_os_str().as_bytes())
}

impl<T: Send + 'static> Operation<Result<T>> {
    /// An operation on a path.
    pub(super) fn on_path(
        path: impl AsRef<Path>,
        call: impl FnOnce(CPath, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match c_path(path.as_ref()) {
            Ok(path) => Operation::call(move |facilities| call(path, facilities)),
            Err(error) => Operation::refuse(error),
        }
    }

    /// An operation on a path that the kernel may do by itself.
    pub(super) fn on_path_or_ring(
        path: impl AsRef<Path>,
        submission: impl Fn(&CStr) -> Option<Submission> + Send + 'static,
        call: impl FnOnce(CPath, Option<i32>, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match c_path(path.as_ref()) {
            Ok(path) => Operation::call_or_ring(path, move |path| submission(path), call),
            Err(error) => Operation::refuse(error),
        }
    }

    /// An operation on two paths.
    pub(super) fn on_paths(
        paths: [&Path; 2],
        call: impl FnOnce([CPath; 2], Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match (c_path(paths[0]), c_path(paths[1])) {
            (Ok(one), Ok(other)) => {
                Operation::call(move |facilities| call([one, other], facilities))
            }
            (Err(error), _) | (_, Err(error)) => Operation::refuse(error),
        }
    }
}

impl Operation<Result<()>> {
    /// As [`Operation::on_path_or_ring`], where the answer is the result.
    pub(super) fn plain(
        path: impl AsRef<Path>,
        submission: impl Fn(&CStr) -> Option<Submission> + Send + 'static,
        call: impl FnOnce(&CStr) -> Result<()> + Send + 'static,
    ) -> Self {
        Operation::on_path_or_ring(path, submission, |path, done, _| match done {
            Some(_) => Ok(()),
            None => call(&path),
        })
    }

    /// As [`Operation::plain`], on two paths.
    pub(super) fn plain_paths(
        paths: [&Path; 2],
        submission: fn(&CStr, &CStr) -> Option<Submission>,
        call: fn(&CStr, &CStr) -> Result<()>,
    ) -> Self {
        match (c_path(paths[0]), c_path(paths[1])) {
            (Ok(one), Ok(other)) => Operation::call_or_ring(
                [one, other],
                move |[one, other]| submission(one, other),
                move |[one, other], done, _| match done {
                    Some(_) => Ok(()),
                    None => call(&one, &other),
                },
            ),
            (Err(error), _) | (_, Err(error)) => Operation::refuse(error),
        }
    }
}
