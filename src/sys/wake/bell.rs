//! The descriptor that wakes a loop out of its poll: an eventfd, and what loom puts in its place.
//!
//! Invariant: once [`Bell::ring`] has returned, the descriptor is readable until the next
//! [`Bell::silence`] begins, and an edge-triggered watch has an event more. `ring` is
//! async-signal-safe and leaves errno as it was, because it runs inside signal handlers. Under loom
//! a flag stands for the eventfd, so that the list above it is checked against the same two
//! operations; there `silence` also stands for the fetch of an edge, which takes a lock of the
//! kernel's too (fs/eventpoll.c).

#[cfg(all(loom, test))]
pub(super) use modelled::Bell;
#[cfg(not(all(loom, test)))]
pub(super) use real::Bell;

#[cfg(not(all(loom, test)))]
mod real {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    use crate::error::Result;
    use crate::sys::{check, retry};

    #[derive(Debug)]
    pub(in super::super) struct Bell(OwnedFd);

    impl Bell {
        pub(in super::super) fn new() -> Result<Bell> {
            // SAFETY: no pointers are passed.
            let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
            // SAFETY: the kernel has just handed out this descriptor and nobody else knows it.
            Ok(Bell(unsafe { OwnedFd::from_raw_fd(fd) }))
        }

        pub(in super::super) fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        pub(in super::super) fn ring(&self) {
            // SAFETY: errno is this thread's own and always there.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: as above; nothing else refers to it while it is read.
            let before = unsafe { *errno };
            let one = 1u64.to_ne_bytes();
            // The only failure is EAGAIN for a counter at its end: then it is readable already.
            // SAFETY: the buffer holds the eight bytes and outlives the call.
            unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            // SAFETY: as above.
            unsafe { *errno = before };
        }

        pub(in super::super) fn silence(&self) {
            let mut count = [0u8; 8];
            // EAGAIN says that it was silent: somebody drained without having been woken.
            // SAFETY: the buffer takes the eight bytes and outlives the call.
            let _ = retry(|| unsafe {
                libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len())
                    as libc::c_long
            });
        }

        /// A new eventfd under the old number: the child of a fork shares the old one with its
        /// parent, and would wake it.
        pub(in super::super) fn renew(&self) -> Result<()> {
            let fresh = Bell::new()?;
            let (from, to) = (fresh.0.as_raw_fd(), self.0.as_raw_fd());
            // SAFETY: both descriptors are open and ours; the number keeps its owner.
            retry(|| unsafe { libc::dup3(from, to, libc::O_CLOEXEC) }).map(drop)
        }
    }
}

#[cfg(all(loom, test))]
mod modelled {
    use loom::sync::atomic::{AtomicBool, Ordering};

    #[derive(Debug)]
    pub(in super::super) struct Bell(AtomicBool);

    impl Bell {
        pub(in super::super) fn new() -> crate::error::Result<Bell> {
            Ok(Bell(AtomicBool::new(false)))
        }

        // Release and acquire are what the kernel gives: the write and the read of an eventfd take
        // the same spin lock (fs/eventfd.c), so a read that consumes a write comes after it.
        pub(in super::super) fn ring(&self) {
            self.0.swap(true, Ordering::AcqRel);
        }

        pub(in super::super) fn silence(&self) {
            self.0.swap(false, Ordering::AcqRel);
        }

        // What is modelled is the list. No model makes a loop, which alone asks for these.
        pub(in super::super) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
            unreachable!("a model has no descriptor")
        }

        pub(in super::super) fn renew(&self) -> crate::error::Result<()> {
            unreachable!("a model does not fork")
        }

        pub(in super::super) fn is_rung(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }
    }
}
