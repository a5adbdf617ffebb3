//! The kernel's readiness queue: epoll_create1(2), epoll_ctl(2), epoll_pwait2(2).
//!
//! Invariant: a [`Registration`] is deleted before its descriptor is closed. Where a copy of the
//! descriptor lives on in a child, the kernel would go on reporting a registration that nobody
//! can delete any more.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{check, retry};
use crate::error::{Error, Result};

/// Readable, and what a peer's half-close looks like.
pub(crate) const IN: u32 = libc::EPOLLIN as u32;
/// Writable.
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
/// Exceptional data, such as TCP's urgent byte.
pub(crate) const PRI: u32 = libc::EPOLLPRI as u32;
/// The peer closed its writing side. Reported only when asked for.
pub(crate) const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// Reported once for each change, not for as long as it lasts.
pub(crate) const ET: u32 = libc::EPOLLET as u32;
/// An error condition. Always reported.
pub(crate) const ERR: u32 = libc::EPOLLERR as u32;
/// Hang-up. Always reported.
pub(crate) const HUP: u32 = libc::EPOLLHUP as u32;

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

/// A descriptor that is, or was, in the set; whoever owns the descriptor keeps it open until the
/// registration has been deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registration(RawFd);

impl Registration {
    /// The registration that `fd` has or will have.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Registration {
        Registration(fd.as_raw_fd())
    }
}

/// One event as the kernel reports it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    /// No event.
    pub(crate) const NONE: Event = Event(libc::epoll_event { events: 0, u64: 0 });

    /// What happened, as a set of the constants of this module.
    pub(crate) fn events(self) -> u32 {
        self.0.events
    }

    /// The number that the registration was made with.
    pub(crate) fn token(self) -> u64 {
        self.0.u64
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({:#x}, {:#x})", self.events(), self.token())
    }
}

/// Set once the kernel has said that it does not know epoll_pwait2 (before 5.11).
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

impl Epoll {
    pub(crate) fn new() -> Result<Epoll> {
        // SAFETY: no pointers; the descriptor returned is new and ours.
        let fd = unsafe { check(libc::epoll_create1(libc::EPOLL_CLOEXEC))? };
        // SAFETY: as above.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn control(&self, op: i32, target: Registration, events: u32, token: u64) -> Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` outlives the call, which only reads it.
        let done = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, target.0, &raw mut event) };
        check(done).map(drop)
    }

    /// Puts a descriptor into the set. `EEXIST` when it is there, `EPERM` for a regular file.
    pub(crate) fn add(&self, target: Registration, events: u32, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, target, events, token)
    }

    /// Changes what a descriptor is watched for. `ENOENT` when it is not in the set.
    pub(crate) fn modify(&self, target: Registration, events: u32, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, target, events, token)
    }

    /// Takes a descriptor out of the set. `ENOENT` when it is not in the set.
    pub(crate) fn delete(&self, target: Registration) -> Result<()> {
        self.control(libc::EPOLL_CTL_DEL, target, 0, 0)
    }

    /// Waits up to `timeout` nanoseconds, for ever with `None`. `EINTR` is handed on: only the
    /// caller knows how much of its time is left.
    ///
    /// `fine` asks for epoll_pwait2 with its nanoseconds; without it, or where the kernel lacks
    /// it, milliseconds are used, rounded up so that nothing is woken early.
    pub(crate) fn wait(
        &self,
        events: &[Cell<Event>],
        timeout: Option<u64>,
        fine: bool,
        mask: Option<&libc::sigset_t>,
    ) -> Result<usize> {
        let mask = mask.map_or(ptr::null(), ptr::from_ref);
        let limit = match timeout {
            None => -1,
            Some(0) => 0,
            // Whole milliseconds say the same in both calls.
            Some(t) if fine && t % 1_000_000 != 0 && !NO_PWAIT2.load(Ordering::Relaxed) => {
                match self.wait_fine(events, t, mask) {
                    Err(Error::ENOSYS | Error::EPERM) => NO_PWAIT2.store(true, Ordering::Relaxed),
                    other => return other,
                }
                milliseconds(t)
            }
            Some(t) => milliseconds(t),
        };
        self.wait_coarse(events, limit, mask)
    }

    /// As [`Epoll::wait`], for ever.
    #[inline]
    pub(crate) fn wait_for_ever(&self, events: &[Cell<Event>]) -> Result<usize> {
        self.wait_coarse(events, -1, ptr::null())
    }

    #[inline]
    fn wait_coarse(
        &self,
        events: &[Cell<Event>],
        limit: i32,
        mask: *const libc::sigset_t,
    ) -> Result<usize> {
        let (at, room) = room(events);
        // SAFETY: `at` has room for `room` events, which the cells let change; the mask outlives the
        // call or is null.
        let n = unsafe { libc::epoll_pwait(self.0.as_raw_fd(), at, room, limit, mask) };
        check(n).map(|n| n as usize)
    }

    #[inline(never)]
    fn wait_fine(
        &self,
        events: &[Cell<Event>],
        timeout: u64,
        mask: *const libc::sigset_t,
    ) -> Result<usize> {
        let (at, room) = room(events);
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: (timeout % 1_000_000_000) as libc::c_long,
        };
        // The wrapper came with glibc 2.35 only, so the call is made by number.
        // SAFETY: as in `wait_coarse`; `limit` outlives the call; 8 is the size of the kernel's sigset_t.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                at,
                room,
                &raw const limit,
                mask,
                8usize,
            )
        };
        check(n).map(|n| n as usize)
    }

    /// Puts a new, empty set under the same descriptor number: what a forked child needs, whose
    /// copy of the old one still is its parent's.
    pub(crate) fn renew(&self) -> Result<()> {
        let fresh = Epoll::new()?;
        super::fd::replace(self.0.as_fd(), fresh.0.as_fd())
    }
}

/// What the kernel is told of the room for events; `Event` has the layout of `epoll_event`.
#[inline]
fn room(events: &[Cell<Event>]) -> (*mut libc::epoll_event, i32) {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    (events.as_ptr().cast_mut().cast(), room)
}

/// Nanoseconds in milliseconds, rounded up.
fn milliseconds(t: u64) -> i32 {
    i32::try_from(t.div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What poll(2) says of one descriptor right now.
pub(crate) fn ready_now(fd: BorrowedFd<'_>, events: i16) -> Result<i16> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    retry(|| unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    if entry.revents & libc::POLLNVAL != 0 { Err(Error::EBADF) } else { Ok(entry.revents) }
}

/// Waits until poll(2) says one of these things of a descriptor, or that it has failed.
pub(crate) fn wait_for(fd: BorrowedFd<'_>, events: i16) -> Result<()> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    retry(|| unsafe { libc::poll(&raw mut entry, 1, -1) }).map(drop)
}

/// Waits until one of the descriptors is readable, for at most `limit` milliseconds.
pub(crate) fn wait_for_any(fds: &[BorrowedFd<'_>], limit: Option<u64>) -> Result<()> {
    let entry =
        |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let limit = limit.map_or(-1, |limit| i32::try_from(limit).unwrap_or(i32::MAX));
    let count = entries.len() as libc::nfds_t;
    // SAFETY: `count` entries, which outlive the call.
    retry(|| unsafe { libc::poll(entries.as_mut_ptr(), count, limit) }).map(drop)
}
