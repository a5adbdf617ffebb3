//! Random bytes (getrandom(2), Linux 3.17).

use super::retry;
use crate::error::Result;

/// Fills all of it. Waits until the kernel has gathered enough, which is over soon after it has
/// started.
pub(crate) fn fill(buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let (at, room) = (rest.as_mut_ptr().cast(), rest.len());
        // SAFETY: `room` bytes may be written for as long as the call lasts.
        let n = retry(|| unsafe { libc::getrandom(at, room, 0) as libc::c_long })?;
        done += n as usize;
    }
    Ok(())
}
