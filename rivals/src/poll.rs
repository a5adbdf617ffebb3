//! The floor below an event loop: epoll(7), read(2), write(2), and nothing around them.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub(crate) struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub(crate) fn new() -> Epoll {
        // SAFETY: no pointers; the kernel just made the descriptor for us.
        let set = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))) };
        Epoll { set, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] }
    }

    /// Watches `fd`, level-triggered, under its number.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, events: libc::c_int) {
        self.control(libc::EPOLL_CTL_ADD, fd, events);
    }

    pub(crate) fn change(&self, fd: BorrowedFd<'_>, events: libc::c_int) {
        self.control(libc::EPOLL_CTL_MOD, fd, events);
    }

    pub(crate) fn forget(&self, fd: BorrowedFd<'_>) {
        self.control(libc::EPOLL_CTL_DEL, fd, 0);
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd<'_>, events: libc::c_int) {
        let number = fd.as_raw_fd();
        let mut event = libc::epoll_event { events: events as u32, u64: number as u64 };
        // SAFETY: the event outlives the call.
        unsafe {
            check(libc::epoll_ctl(self.set.as_raw_fd(), operation, number, &raw mut event));
        }
    }

    /// The descriptors that are ready. `timeout` is in milliseconds, -1 for ever.
    pub(crate) fn wait(&mut self, timeout: libc::c_int) -> impl Iterator<Item = (RawFd, u32)> {
        let (at, room) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: room for as many events as we say.
        let ready =
            unsafe { libc::epoll_pwait(self.set.as_raw_fd(), at, room, timeout, std::ptr::null()) };
        let ready = if ready < 0 { 0 } else { ready as usize };
        self.events[..ready].iter().map(|event| (event.u64 as RawFd, event.events))
    }
}

/// Fails the measurement on an error.
#[track_caller]
pub(crate) fn check(result: libc::c_int) -> libc::c_int {
    assert!(result >= 0, "{}", Error::last_os_error());
    result
}

/// read(2): `None` when there is nothing yet.
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is as long as we say.
    count(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// write(2): `None` when there is no room.
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the bytes are there for the call.
    count(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

fn count(result: isize) -> Option<usize> {
    if result < 0 {
        let error = Error::last_os_error();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        return None;
    }
    Some(result as usize)
}

/// eventfd(2), closed on exec and never blocking.
pub(crate) fn eventfd() -> OwnedFd {
    // SAFETY: no pointers; the kernel just made the descriptor for us.
    unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))) }
}
