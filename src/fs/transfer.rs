//! Bytes into files and out of them: reading, writing, and sending from one to another.
//!
//! Invariant: a buffer goes with its operation and comes back with its end, whatever that is.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::buffer::{Bytes, BytesMut, Transferred};
use super::file::File;
use crate::error::{Error, Result};
use crate::event_loop::Facilities;
use crate::sys::copy::{self, slice};
use crate::sys::file::{self, At, Descriptor};
use crate::sys::io_uring::Submission;
use crate::work::{Go, Operation};

impl File {
    /// Reads into a buffer, from an offset or, without one, from the current position, which then
    /// moves on (`uv_fs_read`). Fewer bytes than fit do not mean the end; none do.
    ///
    /// # Errors
    /// In [`Transferred::result`] what read(2) says: `EISDIR`, `EINVAL`, `EIO`, `EBADF` for a file
    /// that is closed or was opened for writing, `ESPIPE` for an offset in a pipe. `EINTR` is
    /// passed on as in libuv, so that a reader who blocks can be interrupted; signals are blocked
    /// on the pool's threads.
    pub fn read<B: BytesMut>(&self, buffer: B, offset: Option<u64>) -> Operation<Transferred<B>> {
        let submission =
            |number, buffer: &mut B, at| Submission::read(number, buffer.bytes_mut(), at);
        self.transfer(buffer, offset, submission, |number, buffer: &mut B, at| {
            file::read(number, &mut [slice(buffer.bytes_mut())], at)
        })
    }

    /// As [`File::read`], into several buffers, one after the other (readv(2)).
    ///
    /// # Errors
    /// As [`File::read`], and `EINVAL` for no buffer at all. Of more than 1024 the first 1024 are
    /// filled, as in libuv.
    pub fn read_vectored<B: BytesMut>(
        &self,
        buffers: Vec<B>,
        offset: Option<u64>,
    ) -> Operation<Transferred<Vec<B>>> {
        let empty = buffers.is_empty().then_some(Error::EINVAL);
        let read = |number, buffers: &mut Vec<B>, at| {
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| slice(b.bytes_mut())).collect();
            file::read(number, &mut slices, at)
        };
        self.transfer(buffers, offset, |_, _, _| None, read).or_refused_by(empty)
    }

    /// Writes a buffer, at an offset or, without one, at the current position, which then moves on
    /// (`uv_fs_write`). All of it is written unless there is an error; fewer bytes in the result
    /// mean that one came after them.
    ///
    /// # Errors
    /// In [`Transferred::result`] what write(2) says: `ENOSPC`, `EDQUOT`, `EFBIG`, `EIO`, `EPIPE`,
    /// `EBADF` for a file that is closed or was opened for reading, `ESPIPE` for an offset in a
    /// pipe.
    pub fn write<B: Bytes>(&self, buffer: B, offset: Option<u64>) -> Operation<Transferred<B>> {
        let submission = |number, buffer: &mut B, at| Submission::write(number, buffer.bytes(), at);
        self.transfer(buffer, offset, submission, |number, buffer: &mut B, at| {
            file::write_all(number, &mut [slice_of(buffer.bytes())], at)
        })
    }

    /// As [`File::write`], several buffers of any number, one after the other (writev(2)).
    ///
    /// # Errors
    /// As [`File::write`], and `EINVAL` for no buffer at all.
    pub fn write_vectored<B: Bytes>(
        &self,
        buffers: Vec<B>,
        offset: Option<u64>,
    ) -> Operation<Transferred<Vec<B>>> {
        let empty = buffers.is_empty().then_some(Error::EINVAL);
        let write = |number, buffers: &mut Vec<B>, at| {
            let mut slices: Vec<_> = buffers.iter().map(|b| slice_of(b.bytes())).collect();
            file::write_all(number, &mut slices, at)
        };
        self.transfer(buffers, offset, |_, _, _| None, write).or_refused_by(empty)
    }

    fn transfer<B: Send + 'static>(
        &self,
        buffer: B,
        offset: Option<u64>,
        submission: impl Fn(RawFd, &mut B, At) -> Option<Submission> + Send + 'static,
        call: impl FnOnce(RawFd, &mut B, At) -> Result<usize> + Send + 'static,
    ) -> Operation<Transferred<B>> {
        let at = match offset.map(i64::try_from) {
            None => Ok(At::Current),
            Some(Ok(offset)) => Ok(At::Offset(offset)),
            Some(Err(_)) => Err(Error::EINVAL),
        };
        let target = self.share().and_then(|share| at.map(|at| (share, at)));
        let refused = target.as_ref().err().copied();
        let submission =
            move |(target, buffer): &mut (Result<(Arc<Descriptor>, At)>, B)| match target {
                Ok((share, at)) if share.suits_ring(*at) => submission(share.number(), buffer, *at),
                _ => None,
            };
        Operation::through_ring((target, buffer), submission, |(target, mut buffer), go| {
            let result = match (go, target) {
                (Go::Ended(answer), _) => answer.map(|n| n as usize),
                (Go::Run(_), Ok((share, at))) => call(share.number(), &mut buffer, at),
                (Go::Fail(error), _) | (_, Err(error)) => Err(error),
            };
            Transferred::new(result, buffer)
        })
        .refused_by(refused)
    }
}

impl<T: Send + 'static> Operation<T> {
    /// As [`Operation::refused_by`], unless it is refused for another reason.
    fn or_refused_by(self, error: Option<Error>) -> Operation<T> {
        match error {
            Some(_) => self.refused_by(error),
            None => self,
        }
    }
}

/// Bytes as the writing calls take them, which do not change them.
fn slice_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Copies bytes from one open file to another inside the kernel (`uv_fs_sendfile`): up to `length`
/// of them, from an offset of `from` to the current position of `to`. The result says how many
/// there were; fewer than asked for, but some, do not mean the end of `from`.
///
/// `to` may be a socket or a pipe. From what has no offsets (a pipe) bytes are read as they come.
///
/// # Errors
/// What sendfile(2), read(2) or write(2) say; `EINVAL` for an offset that an `i64` does not hold.
pub fn sendfile(from: &File, to: &File, offset: u64, length: usize) -> Operation<Result<usize>> {
    let offset = i64::try_from(offset).map_err(|_| Error::EINVAL);
    match (from.share(), to.share(), offset) {
        (Ok(from), Ok(to), Ok(offset)) => Operation::call(move |may| {
            let may = may.contains(Facilities::COPY_FILE_RANGE);
            copy::send(from.number(), to.number(), offset, length, may)
        }),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Operation::refuse(error),
    }
}
