//! Operations on paths: how a path becomes what the kernel wants.
//!
//! Invariant: a path is copied when the operation is described, and whatever is wrong with its text
//! is known then.

use std::ffi::{CStr, CString};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::io_uring::Submission;
use crate::work::Operation;

/// Bytes that are kept in place, the NUL among them; most paths are shorter, and the memory of the
/// others is one thread's to allocate and another's to free.
const SHORT: usize = 64;

/// A path as the kernel wants it.
pub(super) enum CPath {
    Short([u8; SHORT]),
    Long(CString),
}

impl CPath {
    /// `EINVAL` when there is a NUL in it.
    pub(super) fn new(path: &Path) -> Result<CPath> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() >= SHORT {
            return CString::new(bytes).map(CPath::Long).map_err(|_| Error::EINVAL);
        }
        if bytes.contains(&0) {
            return Err(Error::EINVAL);
        }
        let mut short = [0; SHORT];
        short[..bytes.len()].copy_from_slice(bytes);
        Ok(CPath::Short(short))
    }
}

impl Deref for CPath {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        match self {
            CPath::Short(bytes) => CStr::from_bytes_until_nul(bytes).unwrap_or_default(),
            CPath::Long(path) => path,
        }
    }
}

impl<T: Send + 'static> Operation<Result<T>> {
    /// An operation on a path.
    pub(super) fn on_path(
        path: impl AsRef<Path>,
        call: impl FnOnce(CPath, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match CPath::new(path.as_ref()) {
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
        match CPath::new(path.as_ref()) {
            Ok(path) => Operation::call_or_ring(path, move |path| submission(path), call),
            Err(error) => Operation::refuse(error),
        }
    }

    /// An operation on two paths.
    pub(super) fn on_paths(
        paths: [&Path; 2],
        call: impl FnOnce([CPath; 2], Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match (CPath::new(paths[0]), CPath::new(paths[1])) {
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
        match (CPath::new(paths[0]), CPath::new(paths[1])) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_length_is_the_one_that_was_given() {
        for length in [0, 1, SHORT - 2, SHORT - 1, SHORT, SHORT + 1, 5000] {
            let path = "x".repeat(length);
            let kept = CPath::new(Path::new(&path)).unwrap();
            assert_eq!(kept.to_bytes(), path.as_bytes());
            let with_nul = CPath::new(Path::new(&format!("{path}\0"))).map(|path| path.to_owned());
            assert_eq!(with_nul, Err(Error::EINVAL), "{length}");
        }
    }
}
