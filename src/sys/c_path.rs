//! Paths as the kernel wants them, most of them without an allocation.
//!
//! Invariant: there is one NUL in a path, and it is the last byte.

use std::ffi::{CStr, CString};
use std::ops::Deref;

use crate::error::{Error, Result};

/// Bytes that are kept in place, the NUL among them: most paths are shorter. The memory of the others
/// is one thread's to allocate and another's to free, which is dear.
const SHORT: usize = 64;

pub(crate) enum CPath {
    /// The bytes, all zero after the path, and the length of the path.
    Short([u8; SHORT], u8),
    Long(CString),
}

impl CPath {
    /// `EINVAL` when there is a NUL in it.
    pub(crate) fn new(path: &[u8]) -> Result<CPath> {
        let length = path.len();
        if length >= SHORT {
            return CString::new(path).map(CPath::Long).map_err(|_| Error::EINVAL);
        }
        // The C library's is several times as fast as the comparison of each byte.
        // SAFETY: `length` bytes are there to be read.
        let nul = unsafe { libc::memchr(path.as_ptr().cast(), 0, length) };
        if !nul.is_null() {
            return Err(Error::EINVAL);
        }
        let mut short = [0; SHORT];
        short[..length].copy_from_slice(path);
        Ok(CPath::Short(short, length as u8))
    }
}

impl Deref for CPath {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        match self {
            CPath::Short(bytes, length) => {
                let with_nul = &bytes[..=usize::from(*length)];
                // SAFETY: `new` found no NUL in the path and left one behind it, and nobody else
                // makes or changes a short path.
                unsafe { CStr::from_bytes_with_nul_unchecked(with_nul) }
            }
            CPath::Long(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_length_is_the_one_that_was_given() {
        for length in [0, 1, SHORT - 2, SHORT - 1, SHORT, SHORT + 1, 5000] {
            let path = vec![b'x'; length];
            let kept = CPath::new(&path).unwrap();
            assert_eq!(kept.to_bytes(), path);
            // SAFETY: a path of our own, which is to have a NUL at its end.
            assert_eq!(unsafe { *kept.as_ptr().add(length) }, 0);
            for at in 0..=length.min(70) {
                let mut with_nul = path.clone();
                with_nul.insert(at, 0);
                assert!(CPath::new(&with_nul).is_err(), "{length}, {at}");
            }
        }
    }
}
