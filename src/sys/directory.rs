//! Directory streams (opendir(3), readdir(3)).

use std::ffi::{CStr, CString};
use std::ptr::NonNull;

use super::check;
use crate::error::{Error, Result};

/// An open directory, closed when it is dropped.
pub(crate) struct Stream(NonNull<libc::DIR>);

// SAFETY: the C library keeps a stream's state in the stream; what it forbids is use by two threads
// at a time, which `&mut self` excludes.
unsafe impl Send for Stream {}

/// One entry: its name, and what the directory says that it is (`DT_*`).
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) kind: u8,
}

impl Stream {
    pub(crate) fn open(path: &CStr) -> Result<Stream> {
        loop {
            // SAFETY: the path is NUL-terminated and outlives the call.
            let stream = unsafe { libc::opendir(path.as_ptr()) };
            match NonNull::new(stream) {
                Some(stream) => return Ok(Stream(stream)),
                None => match super::last_error() {
                    Error::EINTR => {}
                    error => return Err(error),
                },
            }
        }
    }

    /// The next entry that is neither `.` nor `..`; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            // SAFETY: errno is this thread's; it tells the end from an error below.
            unsafe { *libc::__errno_location() = 0 };
            // SAFETY: the stream is open and nobody else's.
            let entry = unsafe { libc::readdir64(self.0.as_ptr()) };
            if entry.is_null() {
                // SAFETY: as above.
                return match unsafe { *libc::__errno_location() } {
                    0 => Ok(None),
                    libc::EINTR => continue,
                    errno => Err(Error::from_errno(errno)),
                };
            }
            // SAFETY: readdir gave an entry that stays until the next call on this stream; only
            // the used part of its name need exist, and it ends with a NUL.
            let (name, kind) =
                unsafe { (CStr::from_ptr((&raw const (*entry).d_name).cast()), (*entry).d_type) };
            if name != c"." && name != c".." {
                return Ok(Some(Entry { name: name.to_owned(), kind }));
            }
        }
    }

    /// closedir(3).
    pub(crate) fn close(self) -> Result<()> {
        let stream = self.0.as_ptr();
        std::mem::forget(self);
        // SAFETY: the stream was open, and is used by nobody after this.
        match check(unsafe { libc::closedir(stream) }) {
            Err(Error::EINTR) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and is used by nobody after this.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}
