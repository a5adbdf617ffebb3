//! What is given to a stream to write: [`Buf`], bytes that are owned, shared or static.
//!
//! Invariant: the bytes of a `Buf` stay where they are and do not change until it is dropped, so
//! that a write that cannot be done at once need not copy them.

#![allow(unsafe_code)]

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes to write, taken over without copying.
///
/// ```
/// use blacklight::Buf;
///
/// let bufs = [Buf::from("static"), Buf::from(vec![1, 2, 3]), Buf::from(String::from("owned"))];
/// assert_eq!(bufs[1].as_ref(), [1, 2, 3]);
/// ```
pub struct Buf(Bytes);

enum Bytes {
    Static(&'static [u8]),
    Vec(Vec<u8>),
    Rc(Rc<[u8]>),
    Arc(Arc<[u8]>),
    Raw(*const u8, usize),
}

impl Buf {
    /// Bytes at an address, owned by the caller: what a C interface is given.
    ///
    /// # Safety
    /// The `length` bytes at `start` must stay readable and unchanged until the request that the
    /// buffer went into has completed, which its callback tells, or the buffer is dropped. `start`
    /// must not be null, even for no bytes.
    ///
    /// ```
    /// use blacklight::Buf;
    ///
    /// static BYTES: [u8; 3] = [1, 2, 3];
    /// // SAFETY: a static lives for ever and this one does not change.
    /// let buf = unsafe { Buf::from_raw_parts(BYTES.as_ptr(), BYTES.len()) };
    /// assert_eq!(buf.as_ref(), BYTES);
    /// ```
    #[must_use]
    pub const unsafe fn from_raw_parts(start: *const u8, length: usize) -> Buf {
        Buf(Bytes::Raw(start, length))
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Static(bytes) => bytes,
            Bytes::Vec(bytes) => bytes,
            Bytes::Rc(bytes) => bytes,
            Bytes::Arc(bytes) => bytes,
            // SAFETY: the caller of `from_raw_parts` keeps the bytes readable and unchanged.
            Bytes::Raw(start, length) => unsafe { std::slice::from_raw_parts(*start, *length) },
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} bytes)", self.as_ref().len())
    }
}

macro_rules! from {
    ($($from:ty, $bytes:ident => $make:expr;)*) => {$(
        impl From<$from> for Buf {
            fn from($bytes: $from) -> Buf {
                Buf($make)
            }
        }
    )*};
}

from! {
    &'static [u8], bytes => Bytes::Static(bytes);
    &'static str, text => Bytes::Static(text.as_bytes());
    Vec<u8>, bytes => Bytes::Vec(bytes);
    String, text => Bytes::Vec(text.into_bytes());
    Box<[u8]>, bytes => Bytes::Vec(bytes.into_vec());
    Rc<[u8]>, bytes => Bytes::Rc(bytes);
    Arc<[u8]>, bytes => Bytes::Arc(bytes);
}

impl<const N: usize> From<&'static [u8; N]> for Buf {
    fn from(bytes: &'static [u8; N]) -> Buf {
        Buf(Bytes::Static(bytes))
    }
}

/// One buffer or several, without an allocation for one.
pub(crate) enum Bufs {
    One(Buf),
    Many(Vec<Buf>),
}

impl Bufs {
    pub(crate) fn as_slice(&self) -> &[Buf] {
        match self {
            Bufs::One(buf) => std::slice::from_ref(buf),
            Bufs::Many(bufs) => bufs,
        }
    }

    /// Bytes in all of them; `None` when that cannot be counted.
    pub(crate) fn total(&self) -> Option<usize> {
        self.as_slice().iter().try_fold(0usize, |sum, buf| sum.checked_add(buf.as_ref().len()))
    }
}
