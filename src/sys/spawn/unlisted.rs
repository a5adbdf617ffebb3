//! Marks every descriptor that no slot lists close-on-exec, in the child.
//!
//! Invariant: this works on the child's own table only; it runs after the table was copied or
//! unshared. One `close_range` per run of unlisted numbers is the way (5.11 for its
//! `CLOSE_RANGE_CLOEXEC`). Where that is missing the open numbers come from `/proc/self/fd`, and
//! without /proc every number below the soft limit is tried: then one above a limit that was
//! lowered while it was open is missed.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::calls;
use super::descriptors::Gap;

/// One call for each gap.
pub(super) fn mark(gaps: &[Gap]) -> Result<(), c_int> {
    for gap in gaps {
        calls::close_range(gap.first, gap.last, libc::CLOSE_RANGE_CLOEXEC)?;
    }
    Ok(())
}

/// One call for each descriptor. `soft` is the limit under which they were opened.
pub(super) fn mark_one_by_one(gaps: &[Gap], soft: u64) -> Result<(), c_int> {
    match mark_listed(gaps) {
        Ok(()) => Ok(()),
        Err(_) => {
            let end = u32::try_from(soft).unwrap_or(u32::MAX);
            for gap in gaps.iter().filter(|gap| gap.first < end) {
                for number in gap.first..=gap.last.min(end) {
                    mark_number(number);
                }
            }
            Ok(())
        }
    }
}

fn mark_number(number: u32) {
    // EBADF is the only error it has, and means that there is nothing to mark.
    let _ = calls::fcntl(number as RawFd, libc::F_SETFD, libc::FD_CLOEXEC);
}

fn mark_listed(gaps: &[Gap]) -> Result<(), c_int> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let directory = calls::openat(libc::AT_FDCWD, c"/proc/self/fd", flags)?;
    let done = mark_entries(directory, gaps);
    calls::close(directory);
    done
}

fn mark_entries(directory: RawFd, gaps: &[Gap]) -> Result<(), c_int> {
    let mut buffer = [0u8; 2048];
    loop {
        let length = calls::getdents(directory, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..length).unwrap_or(&[]);
        // struct linux_dirent64 (getdents64(2)): inode 8, offset 8, length 2, type 1, name.
        while let Some(&[low, high]) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let number = rest.get(19..length).and_then(number);
            if let Some(number) = number.filter(|n| gaps.iter().any(|gap| gap.contains(*n))) {
                mark_number(number);
            }
            rest = rest.get(length.max(1)..).unwrap_or(&[]);
        }
    }
}

/// A NUL-ended decimal number; `None` for `.` and `..`.
fn number(name: &[u8]) -> Option<u32> {
    let mut number = 0u32;
    for &byte in name.iter().take_while(|&&byte| byte != 0) {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u32::from(byte.wrapping_sub(b'0')));
    }
    Some(number)
}
