//! The working directory and the mask of permissions: what paths and new files are relative to.
//! Both belong to the process, not to a thread.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::{procfs, umask};

/// The working directory (`uv_cwd`).
///
/// Node keeps what this said until the next `chdir`; here each call asks the kernel.
///
/// # Errors
/// `ENOENT` when the directory has been removed or cannot be reached from the root, `EACCES` when
/// one above it may not be read.
///
/// ```
/// assert_eq!(blacklight::os::cwd()?, std::env::current_dir()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cwd() -> Result<PathBuf> {
    std::env::current_dir().map_err(Error::from)
}

/// Changes the working directory, for all threads (`uv_chdir`).
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, `ENAMETOOLONG` or `ELOOP` from chdir(2), `EINVAL` for a path with
/// a NUL.
///
/// ```
/// use blacklight::{Error, os};
///
/// os::chdir("/")?;
/// assert_eq!(os::cwd()?, std::path::Path::new("/"));
/// assert_eq!(os::chdir("/no/such/directory"), Err(Error::ENOENT));
/// # Ok::<(), Error>(())
/// ```
pub fn chdir(path: impl AsRef<Path>) -> Result<()> {
    std::env::set_current_dir(path).map_err(Error::from)
}

/// The permissions that new files do not get, 0 to 0o777 (`process.umask()`).
///
/// It is read from /proc, so that no other thread creates a file under a changed mask meanwhile, as
/// it may in Node, which sets 0 and then the old one. Before Linux 4.7 there is only that way; then
/// the mask is 0o777 for the moment.
///
/// ```
/// assert!(blacklight::os::umask() <= 0o777);
/// ```
#[must_use]
pub fn umask() -> u32 {
    let status = procfs::read("/proc/self/status").ok();
    status.as_deref().and_then(mask_in).unwrap_or_else(umask::get)
}

/// The mask in the text of /proc/pid/status (proc_pid_status(5)): octal, after `Umask:`. The name
/// of the program, in the first line, may be anything but holds no line feed that is not escaped.
fn mask_in(status: &[u8]) -> Option<u32> {
    let lines = status.split(|byte| *byte == b'\n');
    let digits = lines.into_iter().find_map(|line| line.strip_prefix(b"Umask:"))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 8).ok()
}

/// Sets the permissions that new files do not get, for all threads, and returns those before
/// (`process.umask(mask)`).
///
/// # Errors
/// `EINVAL` for bits outside of 0o777, which Node and the kernel ignore.
///
/// ```
/// use blacklight::os;
///
/// let before = os::set_umask(0o027)?;
/// assert_eq!(os::umask(), 0o027);
/// os::set_umask(before)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn set_umask(mask: u32) -> Result<u32> {
    if mask > 0o777 {
        return Err(Error::EINVAL);
    }
    Ok(umask::set(mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::isolation::isolated;

    #[test]
    fn the_mask_is_found_by_its_name_at_the_start_of_a_line() {
        assert_eq!(mask_in(b"Name:\tUmask:\t0777\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(mask_in(b"Name:\ta\n"), None);
        assert_eq!(mask_in(b"Umask:\t99\n"), None);
    }

    #[test]
    fn both_ways_of_asking_agree_and_leave_the_mask_alone() {
        isolated(|| {
            for mask in [0, 0o022, 0o777] {
                set_umask(mask).unwrap();
                assert_eq!((umask(), umask::get(), umask()), (mask, mask, mask));
            }
        });
    }
}
