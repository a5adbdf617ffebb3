//! On which processors a thread may run, and on which one it does: sched_setaffinity(2), getcpu(2).

use super::check;
use crate::error::{Error, Result};

/// More processors than any kernel is built for (`CONFIG_NR_CPUS` ends at 8,192).
const MOST: usize = 1 << 16;

const WORD: usize = usize::BITS as usize;

/// The kernel's form of a set: bit n is processor n, in native words. `EINVAL` for no processor at
/// all, and for a number that none has.
pub(crate) fn to_set(processors: &[usize]) -> Result<Vec<u8>> {
    let highest = *processors.iter().max().ok_or(Error::EINVAL)?;
    if highest >= MOST {
        return Err(Error::EINVAL);
    }
    let mut words = vec![0_usize; highest / WORD + 1];
    for processor in processors {
        words[processor / WORD] |= 1 << (processor % WORD);
    }
    Ok(words.into_iter().flat_map(usize::to_ne_bytes).collect())
}

/// The processors of a thread, in order; 0 stands for the calling one. `ESRCH`.
pub(crate) fn get(thread: i32) -> Result<Vec<usize>> {
    // Room for 1,024 processors, as in the C library's `cpu_set_t`; the kernel says EINVAL when its
    // own sets are larger.
    let mut words = vec![0_usize; 1024 / WORD];
    loop {
        let size = size_of_val(words.as_slice());
        // SAFETY: the kernel writes at most `size` bytes to `words`, which outlives the call.
        let written = check(unsafe {
            libc::syscall(libc::SYS_sched_getaffinity, thread, size, words.as_mut_ptr())
        });
        match written {
            Ok(_) => break,
            Err(Error::EINVAL) if words.len() < MOST / WORD => words.resize(words.len() * 2, 0),
            Err(error) => return Err(error),
        }
    }
    let is_in = |number: &usize| words[number / WORD] & (1 << (number % WORD)) != 0;
    Ok((0..words.len() * WORD).filter(is_in).collect())
}

/// Sets it. `ESRCH`, `EPERM`, `EINVAL` when none of the processors is there.
pub(crate) fn set(thread: i32, set: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads `set.len()` bytes of `set`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, thread, set.len(), set.as_ptr()) })
        .map(drop)
}

/// The processor that the calling thread runs on.
pub(crate) fn current_processor() -> Result<usize> {
    // SAFETY: no pointers.
    let number = check(unsafe { libc::sched_getcpu() })?;
    usize::try_from(number).map_err(|_| Error::EINVAL)
}

/// The calling thread's number.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: no pointers; gettid(2) never fails.
    unsafe { libc::gettid() }
}
