//! The title of the process: what ps(1) shows, kept where the kernel put the arguments.
//!
//! The kernel shows the memory between `arg_start` and `arg_end` of the process as its command line
//! (fs/proc/base.c, `get_mm_cmdline`). Libraries with a C `main` overwrite it through `argv`, which
//! Rust does not give out; the two addresses are fields 48 and 49 of /proc/self/stat.
//!
//! Invariant: only bytes between these two addresses are written, and the last of them stays NUL,
//! so that whoever follows a pointer of `argv` still finds the end of a string inside the area.
//!
//! Why that is sound although the memory is not ours: nothing in a Rust program has a reference to
//! it. The standard library keeps the pointers of `argv` and copies the strings at each call of
//! [`std::env::args_os`]; `crate::os::arguments` copies them before the first write. What is not
//! ruled out is such a call, or C code that reads `argv`, at the very moment of the write: it
//! measures a string and then copies as many bytes, all inside the area, and gets a mixture of old
//! and new text. Because the kernel does the writing (/proc/self/mem), a wrong address is an error
//! value and not a fault, and no reference to that memory ever exists here.
//!
//! Rejected: `PR_SET_MM_ARG_START`, which would show memory of our own, needs `CAP_SYS_RESOURCE`.
//! `PR_SET_MM_MAP` does not, but sets the program break too, to what it was a moment ago: another
//! thread that allocates meanwhile loses its heap.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::procfs;
use crate::error::{Error, Result};

/// The longest name of a thread, without the NUL (include/linux/sched.h, `TASK_COMM_LEN`).
const NAME: usize = 15;

/// Bytes of a title that fit, which is one less than the arguments had room for. `ENOBUFS` when
/// there is no room at all: the program was executed with an empty `argv`.
fn area() -> Result<(u64, usize)> {
    let [start, end] = procfs::stat_fields([48, 49])?;
    let size = end.checked_sub(start).filter(|size| start != 0 && *size > 0);
    let size = size.ok_or(Error::ENOBUFS)?;
    Ok((start, usize::try_from(size).map_err(|_| Error::ENOBUFS)?))
}

/// Writes as much of `title` as fits, and says how much that was. The process's name, that of its
/// first thread, becomes the first bytes of it.
///
/// The arguments have been copied by whoever wants them later.
pub(crate) fn set(title: &[u8]) -> Result<usize> {
    let (start, size) = area()?;
    let length = title.len().min(size - 1);
    let mut memory = vec![0; size];
    memory[..length].copy_from_slice(&title[..length]);
    let open = OpenOptions::new().write(true).open("/proc/self/mem");
    open.and_then(|file| file.write_all_at(&memory, start)).map_err(Error::from)?;
    // This file is that of the thread group's leader, whichever thread writes (proc_pid_comm(5)).
    let name = &memory[..length.clamp(1, NAME).min(size)];
    let open = OpenOptions::new().write(true).open("/proc/self/comm");
    open.and_then(|mut file| file.write_all(name)).map_err(Error::from)?;
    Ok(length)
}
