//! The floor below a spawn with attributes: clone(2) with the same system calls in the child and
//! nothing else.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::os::fd::RawFd;

use crate::poll::check;

/// What the child is to do before it executes the program.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes {
    /// User and group 65534, and no other groups.
    pub(crate) uid_gid: bool,
    /// The other groups: 65534 alone.
    pub(crate) groups: bool,
    /// The root folder.
    pub(crate) cwd: bool,
    /// A session of its own.
    pub(crate) detached: bool,
}

impl Attributes {
    pub(crate) const NOBODY: u32 = 65534;

    pub(crate) fn none(self) -> bool {
        !(self.uid_gid || self.groups || self.cwd || self.detached)
    }
}

struct Orders<'a> {
    path: &'a CStr,
    attributes: Attributes,
    /// What becomes descriptors 0, 1 and 2; negative for what they are.
    slots: [RawFd; 3],
}

/// The exit status of a child that could not do it.
pub(crate) const FAILED: i32 = 127;

/// clone(2) with shared memory, the attributes, execve(2); the child's number.
pub(crate) fn spawn(path: &CStr, attributes: Attributes, slots: [RawFd; 3]) -> i32 {
    thread_local! {
        static STACK: RefCell<Vec<u128>> = RefCell::new(vec![0; 4096]);
    }
    let orders = Orders { path, attributes, slots };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    STACK.with_borrow_mut(|stack| {
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let orders = (&raw const orders).cast_mut().cast();
        // SAFETY: the stack is the child's until it executes or exits, and so long this thread is
        // suspended; the orders live as long.
        let pid = check(unsafe { libc::clone(child, top, flags, orders) });
        if attributes.uid_gid {
            // SAFETY: no pointers. The change of user in memory that is ours too has made this
            // process undumpable.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
        }
        pid
    })
}

extern "C" fn child(orders: *mut c_void) -> libc::c_int {
    // SAFETY: `spawn` passes its orders.
    let orders = unsafe { &*orders.cast::<Orders<'_>>() };
    let Attributes { uid_gid, groups, cwd, detached } = orders.attributes;
    // SAFETY: system calls on plain numbers, and on strings and arrays that outlive them. The bare
    // form of those that change the user, because libc's would do it for every thread.
    unsafe {
        let (mut failed, nobody) = (false, Attributes::NOBODY);
        if detached {
            failed |= libc::syscall(libc::SYS_setsid) < 0;
        }
        for (slot, &source) in orders.slots.iter().enumerate() {
            failed |= source >= 0 && libc::syscall(libc::SYS_dup3, source, slot, 0) < 0;
        }
        if cwd {
            failed |= libc::syscall(libc::SYS_chdir, c"/".as_ptr()) < 0;
        }
        if groups {
            failed |= libc::syscall(libc::SYS_setgroups, 1, &raw const nobody) < 0;
        }
        if uid_gid {
            failed |= libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) < 0;
            failed |= libc::syscall(libc::SYS_setgid, Attributes::NOBODY) < 0;
            failed |= libc::syscall(libc::SYS_setuid, Attributes::NOBODY) < 0;
        }
        if !failed {
            let path = orders.path.as_ptr();
            let (argv, envp) = ([path, std::ptr::null()], [std::ptr::null::<libc::c_char>()]);
            libc::syscall(libc::SYS_execve, path, argv.as_ptr(), envp.as_ptr());
        }
        libc::syscall(libc::SYS_exit_group, FAILED);
    }
    FAILED
}
