//! What this kernel, or whatever poses as one, really does when it is asked for a clone.
//!
//! Invariant: an answer is found by trying, once for the process, and later spawns only ever turn a
//! yes into a no. Emulators and sandboxes accept flags that they do not honour (valgrind clones
//! without sharing memory; libuv#3520 lists others), so no version number is looked at.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU8, Ordering};

use super::calls;
use super::clone::{self, Request};
use super::signals::Blocked;
use super::stack::Stack;
use super::status::Status;
use crate::sys::wait::{self, How, Whom};

/// A thing that a kernel does or does not.
#[derive(Debug)]
pub(super) struct Fact(AtomicU8);

const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

impl Fact {
    const fn new() -> Fact {
        Fact(AtomicU8::new(UNKNOWN))
    }

    /// Unless it is known to be otherwise.
    pub(super) fn may_be(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NO
    }

    pub(super) fn deny(&self) {
        self.0.store(NO, Ordering::Relaxed);
    }

    /// Asks once. An answer that cannot be had now, for want of processes say, is asked for again.
    fn find_out(&self, ask: impl FnOnce() -> Option<bool>) -> bool {
        match self.0.load(Ordering::Relaxed) {
            YES => true,
            NO => false,
            _ => match ask() {
                Some(answer) => {
                    self.0.store(if answer { YES } else { NO }, Ordering::Relaxed);
                    answer
                }
                None => true,
            },
        }
    }
}

/// `clone3` with the flags that the fast path needs.
pub(super) static CLONE3: Fact = Fact::new();
/// `close_range` with `CLOSE_RANGE_UNSHARE`.
pub(super) static UNSHARE: Fact = Fact::new();
/// `CLONE_VM` shares memory and `CLONE_VFORK` waits.
pub(super) static MEMORY: Fact = Fact::new();
/// `CLONE_VFORK` alone waits, and the child sees a shared page.
pub(super) static PAGE: Fact = Fact::new();

/// Whether memory is really shared; finds out about `clone3` on the way.
pub(super) fn shares_memory(stack: &Stack, status: &Status) -> bool {
    MEMORY.find_out(|| ask(libc::CLONE_VM | libc::CLONE_VFORK, stack, status))
}

/// Whether a page is shared with a child that has memory of its own.
pub(super) fn shares_page(stack: &Stack, status: &Status) -> bool {
    PAGE.find_out(|| ask(libc::CLONE_VFORK, stack, status))
}

/// Whether `clone3` works at this moment, whatever was found before.
pub(super) fn clone3_works(stack: &Stack, status: &Status) -> bool {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    matches!(try_with(true, flags, stack, status), Ok(_) | Err(libc::EAGAIN | libc::ENOMEM))
}

#[cold]
fn ask(flags: c_int, stack: &Stack, status: &Status) -> Option<bool> {
    if CLONE3.may_be() {
        match try_with(true, flags, stack, status) {
            Ok(answer) => return Some(answer),
            Err(libc::ENOSYS | libc::EPERM | libc::EINVAL) => CLONE3.deny(),
            Err(_) => return None,
        }
    }
    match try_with(false, flags, stack, status) {
        Ok(answer) => Some(answer),
        Err(libc::ENOSYS | libc::EPERM | libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

/// A child that sets two marks with some yielding between them. The first shows that memory is
/// shared, the second, seen at once, that the clone waited.
fn try_with(clone3: bool, flags: c_int, stack: &Stack, status: &Status) -> Result<bool, c_int> {
    status.clear();
    let request = Request { clone3, flags, clear_sighand: clone3, cgroup: None, pidfd: false };
    let argument = (&raw const *status).cast_mut().cast::<c_void>();
    let cloned = {
        let _blocked = Blocked::new()?;
        // SAFETY: the stack is lent to us and was unused; `answer` wants a status, and this one
        // outlives the child, which is waited for below.
        unsafe { clone::run(&request, stack, answer, argument)? }
    };
    let works = status.started() && status.finished();
    // Whoever may have waited for it before us does no harm: only the marks count.
    let _ = wait::wait(Whom::Pid(cloned.pid), How::default());
    Ok(works)
}

extern "C" fn answer(status: *mut c_void) -> ! {
    // SAFETY: `try_with` passes a status that outlives this child.
    let status = unsafe { &*status.cast::<Status>() };
    status.start();
    for _ in 0..16 {
        calls::sched_yield();
    }
    status.finish();
    calls::exit(0)
}
