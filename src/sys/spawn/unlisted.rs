//! Marks every descriptor that no slot lists close-on-exec, in the child.
//!
//! Invariant: this works on the child's own table only; it runs after the table was copied or
//! unshared. One `close_range` per run of unlisted numbers is the way (5.11 for its
//! `CLOSE_RANGE_CLOEXEC`). Where that is missing every number below the table's size is tried,
//! which no open descriptor can be above; without /proc, every number below the soft limit, which
//! misses what was opened before a limit was lowered.
//!
//! Rejected: listing `/proc/self/fd`. The kernel makes a directory entry for each, which takes
//! ten times as long as trying a number (m: 60 ms and 6 ms for 10,000 descriptors).

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::calls;
use super::descriptors::Gap;

/// One call for each gap. `end` is the number from which on the table is empty but for what this
/// child has made, close-on-exec, itself.
pub(super) fn mark(gaps: &[Gap], end: Option<u32>) -> Result<(), c_int> {
    for gap in gaps.iter().filter(|gap| end.is_none_or(|end| gap.first < end)) {
        calls::close_range(gap.first, gap.last, libc::CLOSE_RANGE_CLOEXEC)?;
    }
    Ok(())
}

/// One call for each number. `soft` is the limit under which the descriptors were opened, when that
/// is not the present one.
pub(super) fn mark_one_by_one(gaps: &[Gap], soft: Option<u64>) -> Result<(), c_int> {
    let end = match (table_size(), soft) {
        (Some(size), _) => size,
        (None, Some(soft)) => u32::try_from(soft).unwrap_or(u32::MAX),
        (None, None) => {
            let soft = calls::soft_limit(libc::RLIMIT_NOFILE)?;
            u32::try_from(soft).unwrap_or(u32::MAX)
        }
    };
    for gap in gaps {
        for number in gap.first..end.min(gap.last.saturating_add(1)) {
            // EBADF is the only error it has, and means that there is nothing to mark.
            let _ = calls::fcntl(number as RawFd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// How many numbers the table has room for (proc(5), `FDSize`).
fn table_size() -> Option<u32> {
    // The line is the eleventh, and those before it are short.
    let mut buffer = [0u8; 1024];
    let status = calls::openat(libc::AT_FDCWD, c"/proc/self/status", libc::O_RDONLY).ok()?;
    let length = calls::read(status, &mut buffer);
    calls::close(status);
    let text = buffer.get(..length.ok()?)?;
    text.split(|byte| *byte == b'\n').find_map(|line| number(line.strip_prefix(b"FDSize:\t")?))
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_size_is_found_and_bounds_the_open_descriptors() {
        let size = table_size().unwrap();
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let highest = names.map(|name| name.parse::<u32>().unwrap()).max().unwrap();
        assert!(highest < size, "{highest} {size}");
    }

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(number(b"256"), Some(256));
        assert_eq!(number(b"25x"), None);
        assert_eq!(number(b"99999999999"), None);
    }
}
