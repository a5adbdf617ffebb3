//! Copying from one descriptor to another inside the kernel, and through memory where it cannot.
//!
//! Invariant: each way says how many bytes went over, and "cannot" only if none did, so that the
//! next way begins where the last one ended.

use std::os::fd::RawFd;

use super::file::{self, At};
use super::retry;
use crate::error::{Error, Result};

/// Bytes of one step through memory.
const CHUNK: usize = 64 * 1024;

/// The most that one read or write moves (MAX_RW_COUNT in the kernel's include/linux/fs.h).
pub(crate) const MOST_BYTES: usize = 0x7fff_f000;

/// Makes `to` share its blocks with `from` (ioctl_ficlone(2)).
pub(crate) fn clone(from: RawFd, to: RawFd) -> Result<()> {
    // SAFETY: the argument is a descriptor number.
    retry(|| unsafe { libc::ioctl(to, libc::FICLONE, from) }).map(drop)
}

/// Copies up to `length` bytes from an offset of `from` to the current position of `to`, and
/// says how many it were: fewer where `from` ends.
///
/// copy_file_range(2), then sendfile(2), then reading and writing, whichever works first.
pub(crate) fn send(
    from: RawFd,
    to: RawFd,
    offset: i64,
    length: usize,
    may_use_copy_file_range: bool,
) -> Result<usize> {
    let length = length.min(MOST_BYTES);
    if may_use_copy_file_range {
        match copy_file_range(from, to, offset, length) {
            // Files of /proc and the like have no size, and it takes them to be empty.
            Ok(0) if length > 0 => {}
            Err(error) if is_no_way(error) => {}
            sent => return sent,
        }
    }
    match sendfile(from, to, offset, length) {
        Err(error) if is_no_way(error) => through_memory(from, to, offset, length),
        sent => sent,
    }
}

/// Whether an error is about this way of copying rather than about the files: other file systems,
/// other kinds of descriptor, kernels and sandboxes without the call.
fn is_no_way(error: Error) -> bool {
    // EBADF: the target is open for appending. EPERM, EACCES: CIFS and CephFS say so
    // (libuv#3117, libuv#3322). If it is about the file after all, reading and writing will say so.
    let codes = [
        Error::ENOSYS,
        Error::EXDEV,
        Error::EINVAL,
        Error::ENOTSUP,
        Error::EPERM,
        Error::EACCES,
        Error::EIO,
        Error::EBADF,
        Error::EISDIR,
        Error::ESPIPE,
        Error::ENOTSOCK,
        Error::EOVERFLOW,
        Error::ETXTBSY,
    ];
    codes.contains(&error)
}

fn copy_file_range(from: RawFd, to: RawFd, offset: i64, length: usize) -> Result<usize> {
    let mut offset = offset;
    let at = &raw mut offset;
    let null = std::ptr::null_mut();
    // SAFETY: the offset outlives the call; with null the target's position is used.
    retry(|| unsafe { libc::copy_file_range(from, at, to, null, length, 0) as libc::c_long })
        .map(|n| n as usize)
}

fn sendfile(from: RawFd, to: RawFd, offset: i64, length: usize) -> Result<usize> {
    let mut offset = offset;
    // SAFETY: the offset outlives the call.
    retry(|| unsafe { libc::sendfile64(to, from, &raw mut offset, length) as libc::c_long })
        .map(|n| n as usize)
}

/// What was read has to be written, or be an error: it is not there any more, if `from` is a pipe.
/// A failed read after some bytes is their number; the next call will meet the error again.
fn through_memory(from: RawFd, to: RawFd, offset: i64, length: usize) -> Result<usize> {
    let mut buffer = vec![0u8; CHUNK.min(length)];
    let (mut sent, mut positional) = (0, true);
    while sent < length {
        let room = buffer.len().min(length - sent);
        let at = if positional { At::Offset(offset + sent as i64) } else { At::Current };
        let mut slices = [slice(&mut buffer[..room])];
        let n = match file::read(from, &mut slices, at) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Error::EINTR) => continue,
            // A pipe or a terminal has a current position only.
            Err(Error::ESPIPE | Error::EIO) if positional && sent == 0 => {
                positional = false;
                continue;
            }
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        };
        let mut written = 0;
        while written < n {
            let mut slices = [slice(&mut buffer[written..n])];
            match file::write_all(to, &mut slices, At::Current) {
                Ok(0) => return Err(Error::EIO),
                Ok(more) => written += more,
                Err(Error::EAGAIN) => file::until_writable(to)?,
                Err(error) => return Err(error),
            }
        }
        sent += n;
    }
    Ok(sent)
}

/// A slice as the calls take it.
pub(crate) fn slice(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}
