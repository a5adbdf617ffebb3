//! Operations on paths: how a path becomes what the kernel wants.
//!
//! Invariant: a path is copied when the operation is described, and whatever is wrong with its text
//! is known then.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::work::Operation;

impl<T: 'static> Operation<Result<T>> {
    /// An operation on a path.
    pub(super) fn on_path(
        path: impl AsRef<Path>,
        call: impl FnOnce(CString, Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match c_path(path.as_ref()) {
            Ok(path) => Operation::call(move |facilities| call(path, facilities)),
            Err(error) => Operation::refuse(error),
        }
    }

    /// An operation on two paths.
    pub(super) fn on_paths(
        paths: [&Path; 2],
        call: impl FnOnce([CString; 2], Facilities) -> Result<T> + Send + 'static,
    ) -> Self {
        match (c_path(paths[0]), c_path(paths[1])) {
            (Ok(one), Ok(other)) => {
                Operation::call(move |facilities| call([one, other], facilities))
            }
            (Err(error), _) | (_, Err(error)) => Operation::refuse(error),
        }
    }
}

/// A path as the kernel wants it; `EINVAL` when there is a NUL in it.
fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::EINVAL)
}
