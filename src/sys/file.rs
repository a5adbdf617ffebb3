//! Calls on files, by path and by descriptor number.
//!
//! Numbers are plain here, not borrowed descriptors: a C interface passes on what it was given, and
//! a number that is open nowhere is the kernel's `EBADF`. Whoever gives a number of somebody
//! else's has promised, in an unsafe function of `fs`, that the owner agrees.

use std::ffi::{CStr, CString};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{check, retry};
use crate::error::{Error, Result};

/// Slices that one readv or writev takes (IOV_MAX).
pub(crate) const MOST_SLICES: usize = libc::UIO_MAXIOV as usize;

/// What is called with the result of the close.
type OnClose = Box<dyn FnOnce(Result<()>) + Send>;

/// A descriptor that is closed when the last of those who use it lets go, and then tells how that
/// went.
pub(crate) struct Descriptor {
    number: RawFd,
    /// Whether it is closed even if nobody has asked for it.
    owned: AtomicBool,
    #[cfg(feature = "io_uring")]
    has_offsets: std::sync::OnceLock<bool>,
    on_close: Mutex<Option<OnClose>>,
}

impl Descriptor {
    pub(crate) fn owned(fd: OwnedFd) -> Descriptor {
        Descriptor::of_kernel(fd.into_raw_fd())
    }

    /// One that the kernel has just made for us.
    pub(crate) fn of_kernel(number: RawFd) -> Descriptor {
        let mut descriptor = Descriptor::lent(number);
        *descriptor.owned.get_mut() = true;
        descriptor
    }

    /// Of somebody else's: it is closed only on request.
    pub(crate) fn lent(number: RawFd) -> Descriptor {
        Descriptor {
            number,
            owned: AtomicBool::new(false),
            #[cfg(feature = "io_uring")]
            has_offsets: std::sync::OnceLock::new(),
            on_close: Mutex::new(None),
        }
    }

    pub(crate) fn number(&self) -> RawFd {
        self.number
    }

    /// Whether reading and writing there may be left to io_uring, which takes no notice of an offset
    /// where there are none (in a pipe), instead of saying `ESPIPE`.
    #[cfg(feature = "io_uring")]
    pub(crate) fn suits_ring(&self, at: At) -> bool {
        // SAFETY: no pointers, and the position stays where it is.
        let ask = || unsafe { libc::lseek64(self.number, 0, libc::SEEK_CUR) } != -1;
        matches!(at, At::Current) || *self.has_offsets.get_or_init(ask)
    }

    #[cfg(not(feature = "io_uring"))]
    pub(crate) fn suits_ring(&self, _at: At) -> bool {
        false
    }

    /// It is somebody else's from now on; whether it was ours.
    pub(crate) fn disown(&self) -> bool {
        self.owned.swap(false, Ordering::Relaxed)
    }

    /// It is ours again.
    pub(crate) fn own(&self) {
        self.owned.store(true, Ordering::Relaxed);
    }

    /// The descriptor itself. The caller holds the only reference.
    pub(crate) fn into_owned(self) -> Option<OwnedFd> {
        let owned = self.owned.swap(false, Ordering::Relaxed);
        // SAFETY: it was an `OwnedFd` that this value alone has had, and it forgets it now.
        owned.then(|| unsafe { OwnedFd::from_raw_fd(self.number) })
    }

    /// To be closed, and `told` called, when the last user lets go.
    pub(crate) fn close_at_end(&self, told: OnClose) {
        let mut on_close = self.on_close.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *on_close = Some(told);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let on_close = self.on_close.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let told = on_close.take();
        if told.is_some() || *self.owned.get_mut() {
            let result = close(self.number);
            if let Some(told) = told {
                told(result);
            }
        }
    }
}

/// close(2). Never repeated: the descriptor is gone in any case, `EINTR` and `EINPROGRESS` say only
/// that the file system is busy with it still, and count as success.
pub(crate) fn close(number: RawFd) -> Result<()> {
    // SAFETY: no pointers; the number is its owner's to close.
    close_result(check(unsafe { libc::close(number) }))
}

/// What the answer of close(2) means.
pub(crate) fn close_result(answer: Result<i32>) -> Result<()> {
    match answer {
        Err(Error::EINTR) => Ok(()),
        Err(error) if error.errno() == Some(libc::EINPROGRESS) => Ok(()),
        other => other.map(drop),
    }
}

/// Where to read or write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// At the current position, which moves on.
    Current,
    Offset(i64),
}

/// One read of as many bytes as there are. Not repeated after a signal, as in libuv: whoever sent
/// it may want a reader that blocks to give up.
pub(crate) fn read(number: RawFd, slices: &mut [libc::iovec], at: At) -> Result<usize> {
    let count = slices.len().min(MOST_SLICES) as libc::c_int;
    let from = slices.as_ptr();
    // One slice alone is less work for the kernel without the list.
    let n = match (&*slices, at) {
        // SAFETY: the caller's slices describe memory that may be written, for as long as the call
        // lasts; `count` of them are there. So it is below.
        ([one], At::Current) => unsafe { libc::read(number, one.iov_base, one.iov_len) },
        // SAFETY: as above.
        ([one], At::Offset(offset)) => unsafe {
            libc::pread64(number, one.iov_base, one.iov_len, offset)
        },
        // SAFETY: as above.
        (_, At::Current) => unsafe { libc::readv(number, from, count) },
        // SAFETY: as above.
        (_, At::Offset(offset)) => unsafe { libc::preadv64(number, from, count, offset) },
    };
    check(n as libc::c_long).map(|n| n as usize)
}

/// Writes all of the slices, unless an error or a full disk comes first; then how many bytes were
/// written is the result, if there were any.
pub(crate) fn write_all(number: RawFd, slices: &mut [libc::iovec], at: At) -> Result<usize> {
    let (mut total, mut at, mut first) = (0, at, 0);
    loop {
        let written = match write(number, &slices[first..], at) {
            Err(_) if total > 0 => return Ok(total),
            written => written?,
        };
        total += written;
        if let At::Offset(offset) = &mut at {
            *offset = offset.saturating_add(written as i64);
        }
        let mut left = written;
        while first < slices.len() && slices[first].iov_len <= left {
            left -= slices[first].iov_len;
            first += 1;
        }
        if written == 0 || first == slices.len() {
            return Ok(total);
        }
        slices[first].iov_base = slices[first].iov_base.wrapping_byte_add(left);
        slices[first].iov_len -= left;
    }
}

fn write(number: RawFd, slices: &[libc::iovec], at: At) -> Result<usize> {
    let (from, count) = (slices.as_ptr(), slices.len().min(MOST_SLICES) as libc::c_int);
    retry(|| match (slices, at) {
        // SAFETY: the caller's slices describe memory that may be read, for as long as the call
        // lasts; `count` of them are there. So it is below.
        ([one], At::Current) => unsafe {
            libc::write(number, one.iov_base, one.iov_len) as libc::c_long
        },
        // SAFETY: as above.
        ([one], At::Offset(offset)) => unsafe {
            libc::pwrite64(number, one.iov_base, one.iov_len, offset) as libc::c_long
        },
        // SAFETY: as above.
        (_, At::Current) => unsafe { libc::writev(number, from, count) as libc::c_long },
        // SAFETY: as above.
        (_, At::Offset(offset)) => unsafe {
            libc::pwritev64(number, from, count, offset) as libc::c_long
        },
    })
    .map(|n| n as usize)
}

/// A call that takes a descriptor and no pointers.
macro_rules! on_descriptor {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) = $call:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(number: RawFd $(, $argument: $kind)*) -> Result<()> {
            // SAFETY: no pointers.
            retry(|| unsafe { libc::$call(number $(, $argument)*) }).map(drop)
        }
    )*};
}

on_descriptor! {
    /// fsync(2).
    sync() = fsync;
    /// fdatasync(2).
    sync_data() = fdatasync;
    /// ftruncate(2).
    truncate(length: i64) = ftruncate64;
    /// fchmod(2).
    change_mode_of(mode: u32) = fchmod;
    /// fchown(2).
    change_owner_of(uid: u32, gid: u32) = fchown;
}

/// A call that takes a path, and perhaps numbers.
macro_rules! on_path {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) = $call:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(path: &CStr $(, $argument: $kind)*) -> Result<()> {
            // SAFETY: the path is NUL-terminated and outlives the call.
            retry(|| unsafe { libc::$call(path.as_ptr() $(, $argument)*) }).map(drop)
        }
    )*};
}

on_path! {
    /// access(2).
    access(mode: i32) = access;
    /// chmod(2).
    change_mode(mode: u32) = chmod;
    /// chown(2).
    change_owner(uid: u32, gid: u32) = chown;
    /// lchown(2).
    change_owner_of_link(uid: u32, gid: u32) = lchown;
    /// mkdir(2).
    make_directory(mode: u32) = mkdir;
    /// rmdir(2).
    remove_directory() = rmdir;
    /// unlink(2).
    unlink() = unlink;
}

/// A call that takes two paths.
macro_rules! on_paths {
    ($($(#[$doc:meta])* $name:ident = $call:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(from: &CStr, to: &CStr) -> Result<()> {
            // SAFETY: both paths are NUL-terminated and outlive the call.
            retry(|| unsafe { libc::$call(from.as_ptr(), to.as_ptr()) }).map(drop)
        }
    )*};
}

on_paths! {
    /// link(2).
    link = link;
    /// rename(2).
    rename = rename;
    /// symlink(2).
    symbolic_link = symlink;
}

/// Times of access and of modification, as utimensat(2) takes them.
pub(crate) type Times = [libc::timespec; 2];

/// futimens(3).
pub(crate) fn set_times_of(number: RawFd, times: &Times) -> Result<()> {
    // SAFETY: two times are there and outlive the call.
    retry(|| unsafe { libc::futimens(number, times.as_ptr()) }).map(drop)
}

/// utimensat(2), on what the path leads to or on what it names.
pub(crate) fn set_times(path: &CStr, times: &Times, follow: bool) -> Result<()> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: the path is NUL-terminated, two times are there, both outlive the call.
    retry(|| unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), flags) })
        .map(drop)
}

/// Where a symbolic link leads. `ERANGE` cannot be: a link is shorter than a page.
pub(crate) fn read_link(path: &CStr) -> Result<Vec<u8>> {
    let mut text = vec![0u8; libc::PATH_MAX as usize];
    let (to, room) = (text.as_mut_ptr().cast(), text.len());
    // SAFETY: the path is NUL-terminated, `room` bytes may be written, both outlive the call.
    let n = retry(|| unsafe { libc::readlink(path.as_ptr(), to, room) as libc::c_long })?;
    text.truncate(n as usize);
    Ok(text)
}

/// realpath(3).
pub(crate) fn real_path(path: &CStr) -> Result<CString> {
    loop {
        // SAFETY: the path is NUL-terminated; with null the result is allocated by malloc.
        let real = unsafe { libc::realpath(path.as_ptr(), std::ptr::null_mut()) };
        if real.is_null() {
            match super::last_error() {
                Error::EINTR => continue,
                error => return Err(error),
            }
        }
        // SAFETY: realpath has made a NUL-terminated string.
        let copy = unsafe { CStr::from_ptr(real) }.to_owned();
        // SAFETY: it came from malloc, and nothing refers to it any more.
        unsafe { libc::free(real.cast()) };
        return Ok(copy);
    }
}

/// What the last bytes of a template must be.
const TEMPLATE_END: &[u8] = b"XXXXXX";

fn check_template(template: &CStr) -> Result<()> {
    if template.to_bytes().ends_with(TEMPLATE_END) { Ok(()) } else { Err(Error::EINVAL) }
}

/// mkdtemp(3): the name of the directory that it made.
pub(crate) fn make_temporary_directory(template: CString) -> Result<CString> {
    check_template(&template)?;
    let template = template.into_raw();
    // SAFETY: a NUL-terminated string of our own, of which the call changes six bytes to letters.
    let made = unsafe { libc::mkdtemp(template) };
    let error = super::last_error();
    // SAFETY: it came from `into_raw`, and its length is what it was.
    let name = unsafe { CString::from_raw(template) };
    if made.is_null() { Err(error) } else { Ok(name) }
}

/// mkostemp(3), close-on-exec: the file and the name of it.
pub(crate) fn make_temporary_file(template: CString) -> Result<(OwnedFd, CString)> {
    check_template(&template)?;
    let template = template.into_raw();
    // SAFETY: as in `make_temporary_directory`.
    let made = check(unsafe { libc::mkostemp(template, libc::O_CLOEXEC) });
    // SAFETY: as in `make_temporary_directory`.
    let name = unsafe { CString::from_raw(template) };
    // SAFETY: the kernel just made this descriptor for us.
    made.map(|number| (unsafe { OwnedFd::from_raw_fd(number) }, name))
}

/// Waits until something can be written to the descriptor, for as long as it takes.
pub(crate) fn until_writable(number: RawFd) -> Result<()> {
    let mut poll = libc::pollfd { fd: number, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd is there and outlives the call.
    retry(|| unsafe { libc::poll(&raw mut poll, 1, -1) })?;
    if poll.revents & !libc::POLLOUT == 0 { Ok(()) } else { Err(Error::EIO) }
}
