//! Changes of files as the kernel reports them (inotify(7)).
//!
//! Invariants: every watch of the process's handles has the same [`MASK`], because the kernel has
//! one watch per file and a later mask replaces the earlier one; what the kernel hands over is
//! parsed by a function of bytes that never looks beyond them.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, retry};
use crate::error::Result;

pub(crate) use libc::{
    IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_DONT_FOLLOW, IN_IGNORED, IN_ISDIR,
    IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_ONLYDIR, IN_Q_OVERFLOW, IN_UNMOUNT,
};

/// What every watch is for: libuv's set.
const MASK: u32 = IN_ATTRIB
    | IN_CREATE
    | IN_MODIFY
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_MOVED_FROM
    | IN_MOVED_TO;

/// Bytes before the name in an event (`struct inotify_event`): watch, mask, cookie, length.
const HEADER: usize = 16;

/// Room for any event: a name has at most 255 bytes (`NAME_MAX`), and a NUL.
pub(crate) const LARGEST_EVENT: usize = HEADER + 256;

/// An inotify instance.
#[derive(Debug)]
pub(crate) struct Inotify(OwnedFd);

impl Inotify {
    /// `EMFILE` when the user has too many (`/proc/sys/fs/inotify/max_user_instances`).
    pub(crate) fn new() -> Result<Inotify> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Inotify(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a file or directory; the same watch as before if it is watched. `flags` may have
    /// `IN_ONLYDIR` and `IN_DONT_FOLLOW`.
    pub(crate) fn add(&self, path: &CStr, flags: u32) -> Result<i32> {
        let fd = self.0.as_raw_fd();
        // SAFETY: `path` is terminated and outlives the call.
        retry(|| unsafe { libc::inotify_add_watch(fd, path.as_ptr(), MASK | flags) })
    }

    /// Ends a watch. One that the kernel has ended itself does no harm.
    pub(crate) fn remove(&self, wd: i32) {
        // SAFETY: no pointers. The only error is that there is no such watch.
        unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), wd) };
    }

    /// Whole events, as many as there are and fit; `EAGAIN` when there are none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        let (at, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `at` points to `room` writable bytes.
        retry(|| unsafe { libc::read(self.0.as_raw_fd(), at, room) } as libc::c_long)
            .map(|n| n as usize)
    }

    /// Puts a new instance without watches under the same descriptor number, for a forked child,
    /// whose copy of the old one is its parent's.
    pub(crate) fn renew(&self) -> Result<()> {
        let fresh = Inotify::new()?;
        super::fd::replace(self.0.as_fd(), fresh.0.as_fd())
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The watch; -1 for the overflow of the queue.
    pub(crate) wd: i32,
    pub(crate) mask: u32,
    /// The same in the two events of one move.
    pub(crate) cookie: u32,
    /// The entry of the watched directory; empty when the event is about what is watched itself.
    pub(crate) name: &'a [u8],
}

impl Event<'_> {
    pub(crate) fn has(&self, bits: u32) -> bool {
        self.mask & bits != 0
    }
}

/// The first event and how many bytes it takes; `None` when there is not a whole one.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (wd, mask, cookie, length) = (word(0)?, word(4)?, word(8)?, word(12)?);
    let end = HEADER.checked_add(usize::try_from(length).ok()?)?;
    let padded = bytes.get(HEADER..end)?;
    let name = padded.split(|&byte| byte == 0).next().unwrap_or_default();
    Some((Event { wd: wd.cast_signed(), mask, cookie, name }, end))
}

/// All whole events of a buffer.
pub(crate) fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let (event, length) = parse(bytes)?;
        bytes = bytes.get(length..)?;
        Some(event)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(wd: i32, mask: u32, cookie: u32, name: &[u8], length: u32) -> Vec<u8> {
        let words = [wd.cast_unsigned(), mask, cookie, length];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(name);
        bytes
    }

    #[test]
    fn events_follow_each_other_with_padded_names() {
        let mut bytes = encode(1, IN_CREATE, 0, b"a\xffb\0\0\0\0\0", 8);
        bytes.extend(encode(-1, IN_Q_OVERFLOW, 0, b"", 0));
        bytes.extend(encode(2, IN_MOVED_TO | IN_ISDIR, 7, b"full", 4));
        let all: Vec<Event<'_>> = events(&bytes).collect();
        let wanted = [
            Event { wd: 1, mask: IN_CREATE, cookie: 0, name: b"a\xffb" },
            Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: b"" },
            Event { wd: 2, mask: IN_MOVED_TO | IN_ISDIR, cookie: 7, name: b"full" },
        ];
        assert_eq!(all, wanted);
    }

    #[test]
    fn what_is_cut_off_or_claims_too_much_is_no_event() {
        let whole = encode(1, IN_CREATE, 0, b"name\0\0\0\0", 8);
        for length in 0..whole.len() {
            assert_eq!(events(&whole[..length]).count(), 0, "{length}");
        }
        assert_eq!(parse(&encode(1, 2, 3, b"name", u32::MAX)), None);
        assert_eq!(parse(&whole).map(|(_, length)| length), Some(whole.len()));
    }
}
