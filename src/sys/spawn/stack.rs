//! The memory a child runs in: a stack of its own with a guard page, and a page shared with it.
//!
//! Invariant: a mapping is unmapped exactly once, when its owner goes. The stack is not shared by
//! two children: whoever clones holds the spawner exclusively until the child has left the stack.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::status::Status;
use crate::error::Result;
use crate::sys::last_error;

/// Ample for a straight-line child: its largest object is a buffer of 1 KiB.
const STACK: usize = 64 * 1024;

/// A multiple of every page size that Linux has on the processors in question (4, 16 or 64 KiB).
const GUARD: usize = 64 * 1024;

#[derive(Debug)]
struct Mapping {
    address: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and only its owner hands it out.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(length: usize, protection: i32, flags: i32) -> Result<Mapping> {
        let flags = flags | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(last_error());
        }
        NonNull::new(address)
            .map(|address| Mapping { address, length })
            .ok_or(crate::error::Error::ENOMEM)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of our own mmap, and the owner is going.
        unsafe { libc::munmap(self.address.as_ptr(), self.length) };
    }
}

/// A stack with a guard below it.
#[derive(Debug)]
pub(super) struct Stack(Mapping);

impl Stack {
    #[cold]
    pub(super) fn new() -> Result<Stack> {
        // Inaccessible first: what is not made writable is the guard.
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_STACK;
        let mapping = Mapping::new(GUARD + STACK, libc::PROT_NONE, flags)?;
        let stack = Stack(mapping);
        // SAFETY: the range lies within our own mapping, which nobody uses yet.
        let done = unsafe {
            libc::mprotect(stack.bottom().cast(), STACK, libc::PROT_READ | libc::PROT_WRITE)
        };
        crate::sys::check(done)?;
        Ok(stack)
    }

    pub(super) fn bottom(&self) -> *mut u8 {
        self.0.address.as_ptr().cast::<u8>().wrapping_add(GUARD)
    }

    pub(super) fn size(&self) -> usize {
        STACK
    }

    pub(super) fn top(&self) -> *mut u8 {
        self.bottom().wrapping_add(STACK)
    }
}

/// A page that a child without our memory still shares. It must not be used on both sides of a
/// fork of the whole process: such a child makes a spawner of its own.
#[derive(Debug)]
pub(super) struct SharedPage(Mapping);

impl SharedPage {
    pub(super) fn new() -> Result<SharedPage> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Mapping::new(size_of::<Status>(), protection, libc::MAP_SHARED).map(SharedPage)
    }

    pub(super) fn status(&self) -> &Status {
        // SAFETY: the mapping is zeroed, which is a valid Status, is aligned to a page, is larger
        // than a Status, and lives as long as the borrow; all access is through atomics.
        unsafe { self.0.address.cast::<Status>().as_ref() }
    }
}
