//! Descriptors as such: flags, duplicates, kinds, and reading and writing that never blocks.
//!
//! Invariant: the flags of an open file description that this crate did not create are never
//! changed, because every process that shares it would see the change. [`Transfer`] finds for each
//! kind of description a way to do without `O_NONBLOCK`.

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use super::{check, retry};
use crate::error::{Error, Result};

/// Puts a copy of `source` under the number of `target`, close-on-exec, in place of what was there.
pub(crate) fn replace(target: BorrowedFd<'_>, source: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: both descriptors are open for the call; the number of `target` stays open, so its
    // owner goes on owning it.
    retry(|| unsafe { libc::dup3(source.as_raw_fd(), target.as_raw_fd(), libc::O_CLOEXEC) })
        .map(drop)
}

/// A copy of the descriptor, close-on-exec.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(Error::from)
}

/// The status flags (`F_GETFL`).
pub(crate) fn status_flags(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

/// Sets or clears `O_NONBLOCK` on a description that this crate created.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let mut value: libc::c_int = on.into();
    // SAFETY: FIONBIO reads one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut value) }).map(drop)
}

/// What a descriptor refers to, as far as a stream cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A pipe or a named FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A character device, terminals among them.
    Character,
    /// Block devices, and what has no file type (epoll sets, pidfds, …).
    Other,
}

/// The [`Kind`] that fstat(2) tells.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Result<Kind> {
    // SAFETY: an all-zero `stat` is a valid value for the kernel to write over.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    retry(|| unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    Ok(match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => Kind::Fifo,
        libc::S_IFSOCK => Kind::Socket,
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFCHR => Kind::Character,
        _ => Kind::Other,
    })
}

/// Opens the description's file anew through /proc, non-blocking, in the given access mode: a
/// description of our own on the same pipe, FIFO or terminal.
pub(crate) fn reopen_nonblocking(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let access = status_flags(fd)? & libc::O_ACCMODE;
    let mut path = [0u8; 32];
    write_proc_path(&mut path, fd.as_raw_fd())?;
    let flags = access | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    let opened = retry(|| unsafe { libc::open(path.as_ptr().cast(), flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

fn write_proc_path(path: &mut [u8; 32], number: RawFd) -> Result<()> {
    use std::io::Write;
    // "/proc/self/fd/" and ten digits leave room for the NUL that the array ends with.
    let end = path.len() - 1;
    write!(&mut path[..end], "/proc/self/fd/{number}").map_err(Error::from)
}

/// open(2), close-on-exec and without making a terminal the controlling one.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    let fd = retry(|| unsafe { libc::open(path.as_ptr(), flags, mode) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pipe: reading end, writing end; both close-on-exec and blocking.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for the two numbers the kernel writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just made both for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// How to read and write a description without ever blocking in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// The description has `O_NONBLOCK`: read(2) and write(2).
    Plain,
    /// A socket: `MSG_DONTWAIT` with each call, whatever its flags; and `MSG_NOSIGNAL`, so that a
    /// peer that is gone is `EPIPE` and not a signal to the whole process.
    Socket,
    /// A pipe without it: `RWF_NOWAIT` with each call (pipes know it since Linux 6.4).
    NoWait,
    /// Neither is to be had: one call after poll(2) has said that it will not block, writing at
    /// most `PIPE_BUF` bytes, which is what poll promises room for. If another reader is faster,
    /// the call blocks after all.
    AfterPoll,
}

/// How sockets are written to (send(2)).
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// poll(2) promises room for this many bytes in a pipe that it calls writable (pipe(7)).
const PIPE_BUF: usize = libc::PIPE_BUF;

/// One recv(2) that does not wait.
#[inline]
pub(super) fn receive(number: RawFd, buffer: &mut [u8]) -> Result<usize> {
    let (at, room) = (buffer.as_mut_ptr().cast::<libc::c_void>(), buffer.len());
    // SAFETY: `at` points to `room` writable bytes for as long as the call lasts.
    let n = unsafe { libc::recv(number, at, room, libc::MSG_DONTWAIT) };
    if n < 0 { receive_again(number, buffer) } else { Ok(n as usize) }
}

/// A call that failed: whether it was interrupted, which one that does not wait hardly is.
#[cold]
fn receive_again(number: RawFd, buffer: &mut [u8]) -> Result<usize> {
    match super::last_error() {
        Error::EINTR => receive(number, buffer),
        error => Err(error),
    }
}

/// One send(2) that neither waits nor raises a signal.
#[inline]
pub(super) fn send(number: RawFd, bytes: &[u8]) -> Result<usize> {
    let (base, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: `base` points to `len` readable bytes for as long as the call lasts.
    let n = unsafe { libc::send(number, base, len, SEND_FLAGS) };
    if n < 0 { send_again(number, bytes) } else { Ok(n as usize) }
}

/// As [`receive_again`].
#[cold]
fn send_again(number: RawFd, bytes: &[u8]) -> Result<usize> {
    match super::last_error() {
        Error::EINTR => send(number, bytes),
        error => Err(error),
    }
}

impl Transfer {
    /// One readv: bytes read, 0 at the end, `EAGAIN` when there is nothing.
    pub(crate) fn read(self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
        let number = fd.as_raw_fd();
        let (at, room) = (buffer.as_mut_ptr().cast::<libc::c_void>(), buffer.len());
        match self {
            // SAFETY: `at` points to `room` writable bytes for as long as the call lasts. So it
            // does in the arms below.
            Transfer::Plain => size(|| unsafe { libc::read(number, at, room) }),
            Transfer::Socket => receive(number, buffer),
            Transfer::NoWait => {
                let slices = [IoSliceMut::new(buffer)];
                // SAFETY: an `IoSliceMut` has the layout of an iovec; -1 reads at the current
                // position, as a pipe needs.
                size(|| unsafe {
                    libc::preadv2(number, slices.as_ptr().cast(), 1, -1, libc::RWF_NOWAIT)
                })
            }
            Transfer::AfterPoll => {
                if super::epoll::ready_now(fd, libc::POLLIN)? == 0 {
                    return Err(Error::EAGAIN);
                }
                // SAFETY: as above.
                size(|| unsafe { libc::read(number, at, room) })
            }
        }
    }

    /// One writev: bytes written, at least one unless all slices are empty; `EAGAIN` when there is
    /// no room.
    pub(crate) fn write(self, fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize> {
        let number = fd.as_raw_fd();
        let count = slices.len().min(libc::UIO_MAXIOV as usize);
        let (at, n) = (slices.as_ptr().cast::<libc::iovec>(), count as libc::c_int);
        match self {
            Transfer::Plain if count == 1 => {
                let (base, len) = (slices[0].as_ptr().cast(), slices[0].len());
                // SAFETY: `base` points to `len` readable bytes for as long as the call lasts.
                size(|| unsafe { libc::write(number, base, len) })
            }
            // SAFETY: an `IoSlice` has the layout of an iovec; `n` of them are there.
            Transfer::Plain => size(|| unsafe { libc::writev(number, at, n) }),
            Transfer::Socket if count == 1 => send(number, &slices[0]),
            Transfer::Socket => {
                // SAFETY: an all-zero msghdr has no name, no control data and no flags.
                let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                message.msg_iov = at.cast_mut();
                message.msg_iovlen = count;
                // SAFETY: the message refers to `n` iovecs that outlive the call, which only
                // reads them.
                size(|| unsafe { libc::sendmsg(number, &raw const message, SEND_FLAGS) })
            }
            Transfer::NoWait => {
                // SAFETY: as for writev; -1 writes at the current position, as a pipe needs.
                size(|| unsafe { libc::pwritev2(number, at, n, -1, libc::RWF_NOWAIT) })
            }
            Transfer::AfterPoll => {
                if super::epoll::ready_now(fd, libc::POLLOUT)? == 0 {
                    return Err(Error::EAGAIN);
                }
                let Some(slice) = slices.iter().find(|s| !s.is_empty()) else { return Ok(0) };
                let (base, len) = (slice.as_ptr().cast(), slice.len().min(PIPE_BUF));
                // SAFETY: `base` points to `len` readable bytes for as long as the call lasts.
                size(|| unsafe { libc::write(number, base, len) })
            }
        }
    }
}

#[inline]
fn size(mut call: impl FnMut() -> isize) -> Result<usize> {
    retry(|| call() as libc::c_long).map(|n| n as usize)
}

/// Whether this is a terminal with a path of its own, as opposed to the master of one.
pub(crate) fn is_slave(fd: BorrowedFd<'_>) -> bool {
    if !super::terminal::is_terminal(fd) {
        return false;
    }
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    let master = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    check(master).is_err()
}

/// Whether `RWF_NOWAIT` may work for this description: the kernel knows it for pipes (6.4), and
/// this is one that pipe(2) made. Named FIFOs do not know it, and what was opened under /proc
/// does not either, but that can only be told by trying.
pub(crate) fn knows_nowait(fd: BorrowedFd<'_>) -> bool {
    static KERNEL_KNOWS: OnceLock<bool> = OnceLock::new();
    // SAFETY: an all-zero `statfs` is a valid value for the kernel to write over.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    let on_pipefs = retry(|| unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut stat) }).is_ok()
        && stat.f_type == PIPEFS_MAGIC;
    on_pipefs && *KERNEL_KNOWS.get_or_init(kernel_knows_nowait)
}

/// linux/magic.h; the libc crate does not have it.
const PIPEFS_MAGIC: libc::__fsword_t = 0x5049_5045;

/// Asks with an empty pipe of our own: a kernel that knows the flag has nothing to read.
fn kernel_knows_nowait() -> bool {
    let Ok((reader, _writer)) = pipe() else { return false };
    Transfer::NoWait.read(reader.as_fd(), &mut [0]) == Err(Error::EAGAIN)
}
