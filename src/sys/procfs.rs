//! What the kernel tells about this process in /proc/self/stat.
//!
//! Invariant: the text is bytes, not UTF-8, because the name of the program in it may be anything,
//! also spaces and parentheses; the fields are counted from the last `)` (proc_pid_stat(5)).

use crate::error::{Error, Result};

/// A whole file, which the kernel makes as it is read.
pub(crate) fn read(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::from)
}

/// Numeric fields of /proc/self/stat, numbered from 1 as in proc_pid_stat(5); of 4 and more, as the
/// third is a letter.
pub(crate) fn stat_fields<const N: usize>(numbers: [usize; N]) -> Result<[u64; N]> {
    fields(&read("/proc/self/stat")?, numbers)
}

fn fields<const N: usize>(stat: &[u8], numbers: [usize; N]) -> Result<[u64; N]> {
    let end = stat.iter().rposition(|byte| *byte == b')').ok_or(Error::EINVAL)?;
    let rest = std::str::from_utf8(&stat[end + 1..]).map_err(|_| Error::EINVAL)?;
    let mut found = [0; N];
    for (place, number) in found.iter_mut().zip(numbers) {
        // The one after the name is the third.
        let field = rest.split_ascii_whitespace().nth(number - 3).ok_or(Error::EINVAL)?;
        *place = field.parse().map_err(|_| Error::EINVAL)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_fields_does_not_confuse() {
        let stat = b"12 (a) R 1 2 \xff) S 34 56 -1 78\n";
        assert_eq!(fields(stat, [4, 5, 7]), Ok([34, 56, 78]));
        assert_eq!(fields(stat, [6]), Err(Error::EINVAL), "negative");
        assert_eq!(fields(stat, [8]), Err(Error::EINVAL), "missing");
        assert_eq!(fields(b"12 cat", [4]), Err(Error::EINVAL));
    }

    #[test]
    fn the_parents_number_is_the_fourth_field() {
        assert_eq!(stat_fields([4]), Ok([u64::from(std::os::unix::process::parent_id())]));
    }
}
