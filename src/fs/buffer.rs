//! Memory that other threads read into and write from while nobody else touches it.
//!
//! Invariant: the bytes of a buffer stay where they are while the buffer itself is moved, so that
//! the kernel may work on them while their owner waits in an operation.

#![allow(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// What [`File::write`](super::File::write) takes: bytes that may wait on another thread.
///
/// # Safety
/// The slice must stay valid, in place and unchanged for as long as the value exists and nobody
/// uses it, also while the value is moved.
pub unsafe trait Bytes: Send + 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// What [`File::read`](super::File::read) takes: room that another thread may fill. A vector is
/// filled up to its length, not its capacity.
///
/// # Safety
/// The slice must stay valid and in place for as long as the value exists and nobody uses it, also
/// while the value is moved.
pub unsafe trait BytesMut: Send + 'static {
    /// The room.
    fn bytes_mut(&mut self) -> &mut [u8];
}

macro_rules! bytes {
    ($($(#[$why:meta])* $kind:ty => $bytes:ident;)*) => {$(
        // SAFETY: the bytes are on the heap, or in a static, where moving the value leaves them;
        // without the value nobody can change them.
        unsafe impl Bytes for $kind {
            fn bytes(&self) -> &[u8] {
                self.$bytes()
            }
        }
    )*};
}

bytes! {
    Vec<u8> => as_slice;
    Box<[u8]> => as_ref;
    Arc<[u8]> => as_ref;
    String => as_bytes;
    &'static str => as_bytes;
    &'static [u8] => as_ref;
}

// SAFETY: as above.
unsafe impl<const N: usize> Bytes for &'static [u8; N] {
    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

// SAFETY: as above.
unsafe impl BytesMut for Vec<u8> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

// SAFETY: as above.
unsafe impl BytesMut for Box<[u8]> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// Memory at an address, owned by the caller: what a C interface is given.
pub struct RawBuffer(*mut u8, usize);

// SAFETY: whoever made it has promised that the memory may be used from any thread.
unsafe impl Send for RawBuffer {}

impl RawBuffer {
    /// Names `length` bytes at `start`.
    ///
    /// # Safety
    /// The bytes must stay readable, and for reading into also writable, from any thread, and be
    /// used by nobody else, until the value is dropped. An operation hands it to its closure; if
    /// the loop is dropped before, the buffer ends on a thread of the pool, and nobody tells when.
    /// `start` must not be null, even for no bytes.
    ///
    /// ```
    /// use blacklight::fs::{Bytes, RawBuffer};
    ///
    /// static BYTES: [u8; 3] = [1, 2, 3];
    /// // SAFETY: a static lives for ever, and this buffer is not read into.
    /// let buffer = unsafe { RawBuffer::from_raw_parts(BYTES.as_ptr().cast_mut(), BYTES.len()) };
    /// assert_eq!(buffer.bytes(), BYTES);
    /// ```
    #[must_use]
    pub const unsafe fn from_raw_parts(start: *mut u8, length: usize) -> RawBuffer {
        RawBuffer(start, length)
    }
}

// SAFETY: the caller of `from_raw_parts` has promised as much.
unsafe impl Bytes for RawBuffer {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the caller of `from_raw_parts` keeps the bytes readable and unchanged.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

// SAFETY: the caller of `from_raw_parts` has promised as much.
unsafe impl BytesMut for RawBuffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the caller of `from_raw_parts` keeps the bytes writable and to this buffer.
        unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
    }
}

impl fmt::Debug for RawBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBuffer({} bytes)", self.1)
    }
}

/// How reading or writing ended, and the buffer that was lent for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred<B> {
    /// Bytes that were read or written; for reading, 0 is the end of the file.
    pub result: Result<usize>,
    /// What was read into or written from: one buffer, or the vector of them.
    pub buffer: B,
}

impl<B> Transferred<B> {
    pub(crate) fn new(result: Result<usize>, buffer: B) -> Transferred<B> {
        Transferred { result, buffer }
    }
}

impl Transferred<Vec<u8>> {
    /// The bytes that were read, and no others.
    ///
    /// # Errors
    /// That of reading; the buffer is lost then.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        let mut bytes = self.buffer;
        bytes.truncate(self.result?);
        Ok(bytes)
    }
}
