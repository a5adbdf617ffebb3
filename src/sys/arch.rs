//! The one file that depends on the processor: raw system calls, and the clone that runs a function
//! on a fresh stack.
//!
//! Invariant: nothing here touches thread-local storage on x86-64. A child that shares its parent's
//! memory also shares the parent's thread pointer, and libc's wrappers would write the parent's
//! `errno` there. A failed call returns the negated errno, as the kernel does.
//!
//! Other processors get the portable half below, which goes through libc and puts the parent's
//! `errno` back after the clone. It has no `clone3`. It is compiled on x86-64 too when the crate is
//! built with `--cfg blacklight_portable`, and that is the only way in which it was ever run.

use std::ffi::{c_int, c_long, c_void};

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(blacklight_portable)))]
pub(crate) use x86_64::{clone, clone3, syscall};

#[cfg(not(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(blacklight_portable)
)))]
pub(crate) use portable::{clone, clone3, syscall};

/// What a cloned child runs. It gets the pointer given to the clone and must not return.
pub(crate) type Entry = extern "C" fn(*mut c_void) -> !;

/// `struct clone_args` in its third version (include/uapi/linux/sched.h, `CLONE_ARGS_SIZE_VER2`).
///
/// Older kernels take the longer structure when the tail they do not know is zero.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// The result of a raw call as a `Result` with the positive errno.
pub(crate) fn outcome(returned: isize) -> Result<usize, c_int> {
    // The kernel's errnos end at 4095 (include/linux/err.h, MAX_ERRNO).
    if (-4095..0).contains(&returned) {
        Err(returned.wrapping_neg() as c_int)
    } else {
        Ok(returned as usize)
    }
}

/// Unused argument registers are zero, so that no stray value reaches the kernel.
#[inline(always)]
fn padded<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(blacklight_portable)))]
mod x86_64 {
    use super::{CloneArgs, Entry, c_int, c_long, c_void, padded};
    use std::arch::asm;

    /// One system call, not repeated on `EINTR`.
    ///
    /// # Safety
    /// The arguments must be what the call named by `number` asks for.
    #[inline(always)]
    pub(crate) unsafe fn syscall<const N: usize>(number: c_long, arguments: [usize; N]) -> isize {
        let [a, b, c, d, e, f] = padded(arguments);
        let returned;
        // SAFETY: the registers are those of the kernel's convention (syscall(2), "Architecture
        // calling conventions"); rcx and r11 are the two that it overwrites. The caller answers
        // for the arguments.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number as isize => returned,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
                lateout("rcx") _, lateout("r11") _,
                options(nostack, preserves_flags),
            );
        }
        returned
    }

    /// `clone3` with `entry(argument)` run by the child on the stack that `args` names.
    ///
    /// # Safety
    /// The stack must be unused until the child is gone or has executed a program, its end aligned
    /// to 16 bytes. `argument` must be what `entry` asks for, for as long as the child runs.
    pub(crate) unsafe fn clone3(args: &CloneArgs, entry: Entry, argument: *mut c_void) -> isize {
        let arguments = [&raw const *args as usize, size_of::<CloneArgs>(), 0, 0, 0];
        // SAFETY: the structure lives until the call returns; the caller answers for the rest.
        unsafe { enter(libc::SYS_clone3, arguments, entry, argument) }
    }

    /// The older `clone` with `entry(argument)` run by the child on the stack below `top`.
    ///
    /// # Safety
    /// As for [`clone3`]; `pidfd` must be writable when the flags hold `CLONE_PIDFD`.
    pub(crate) unsafe fn clone(
        flags: c_int,
        top: *mut u8,
        pidfd: *mut c_int,
        entry: Entry,
        argument: *mut c_void,
    ) -> isize {
        // On x86-64 the order is flags, stack, parent_tid (the pidfd's place), child_tid, tls
        // (clone(2), "C library/kernel differences").
        let arguments = [flags as u32 as usize, top as usize, pidfd as usize, 0, 0];
        // SAFETY: the caller answers for stack, pidfd, entry and argument.
        unsafe { enter(libc::SYS_clone, arguments, entry, argument) }
    }

    /// Both clones: the parent comes back with the result, the child calls the entry.
    ///
    /// # Safety
    /// As for [`clone3`].
    #[inline(never)]
    unsafe fn enter(
        number: c_long,
        [a, b, c, d, e]: [usize; 5],
        entry: Entry,
        argument: *mut c_void,
    ) -> isize {
        let returned;
        // SAFETY: the child never returns into this frame: on its own stack it pushes one return
        // address and calls the entry, which does not return. So the parent, woken later, finds its
        // frame and its registers as it left them, whether or not memory was shared.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                // A zero frame pointer ends a debugger's walk here.
                "xor ebp, ebp",
                "mov rdi, r12",
                "call r13",
                "ud2",
                "2:",
                inlateout("rax") number as isize => returned,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
                in("r12") argument, in("r13") entry,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        returned
    }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(blacklight_portable))))]
mod portable {
    use super::{CloneArgs, Entry, c_int, c_long, c_void, padded};

    /// One system call, not repeated on `EINTR`. It writes `errno` when it fails.
    ///
    /// # Safety
    /// The arguments must be what the call named by `number` asks for.
    pub(crate) unsafe fn syscall<const N: usize>(number: c_long, arguments: [usize; N]) -> isize {
        let [a, b, c, d, e, f] = padded(arguments);
        // SAFETY: the caller answers for the arguments.
        let returned = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if returned == -1 {
            // SAFETY: the location of errno is always valid.
            return unsafe { -(*libc::__errno_location() as isize) };
        }
        returned as isize
    }

    /// Not available without code for the processor: always `ENOSYS`.
    ///
    /// # Safety
    /// None is asked for; the signature is that of the other half.
    pub(crate) unsafe fn clone3(_: &CloneArgs, _: Entry, _: *mut c_void) -> isize {
        -(libc::ENOSYS as isize)
    }

    struct Start {
        entry: Entry,
        argument: *mut c_void,
    }

    extern "C" fn start(start: *mut c_void) -> c_int {
        // SAFETY: `clone` below passes a Start, and its frame outlives the child's use of it: the
        // child shares the memory and the parent waits (CLONE_VFORK), or has a copy.
        let Start { entry, argument } = unsafe { &*start.cast::<Start>() };
        entry(*argument)
    }

    /// `clone` through libc with `entry(argument)` run by the child on the stack below `top`.
    ///
    /// # Safety
    /// The stack must be unused until the child is gone or has executed a program, and the flags
    /// must hold `CLONE_VFORK` when they hold `CLONE_VM`. `argument` must be what `entry` asks for.
    pub(crate) unsafe fn clone(
        flags: c_int,
        top: *mut u8,
        pidfd: *mut c_int,
        entry: Entry,
        argument: *mut c_void,
    ) -> isize {
        let mut given = Start { entry, argument };
        // SAFETY: the location of errno is always valid; what the child writes there is undone. The
        // caller answers for the stack and the argument.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            let returned = libc::clone(start, top.cast(), flags, (&raw mut given).cast(), pidfd);
            let after = *errno;
            *errno = before;
            if returned == -1 { -(after as isize) } else { returned as isize }
        }
    }
}
