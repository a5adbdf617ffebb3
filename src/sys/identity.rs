//! Who and where: the user and group data bases, and the names of the system (uname(2)).

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::check;
use crate::error::{Error, Result};

/// An entry of the user data base (getpwuid(3)).
#[derive(Debug)]
pub(crate) struct Passwd {
    pub(crate) name: OsString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) shell: OsString,
    pub(crate) home: OsString,
}

/// An entry of the group data base (getgrgid(3)).
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: OsString,
    pub(crate) gid: u32,
    pub(crate) members: Vec<OsString>,
}

/// Where the buffer for an entry begins (libuv's number), and where it ends: a data base that wants
/// more than this is broken.
const FIRST_BUFFER: usize = 2000;
const LAST_BUFFER: usize = 16 << 20;

/// A copy of a C string.
///
/// # Safety
/// Null, or a NUL-terminated string that lives for the call.
unsafe fn text(pointer: *const libc::c_char) -> OsString {
    if pointer.is_null() {
        return OsString::new();
    }
    // SAFETY: the caller's promise.
    OsStr::from_bytes(unsafe { CStr::from_ptr(pointer) }.to_bytes()).to_owned()
}

/// Calls `look_up` with a buffer until that is large enough. The calls return an errno, and `None`
/// inside when there is no such entry, which is `ENOENT` here as in libuv.
fn with_buffer<T>(
    mut look_up: impl FnMut(&mut [libc::c_char]) -> std::result::Result<Option<T>, i32>,
) -> Result<T> {
    let mut size = FIRST_BUFFER;
    loop {
        let mut buffer = vec![0; size];
        match look_up(&mut buffer) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => return Err(Error::ENOENT),
            Err(libc::EINTR) => {}
            Err(libc::ERANGE) if size < LAST_BUFFER => size *= 2,
            // getpwnam(3) lists what some systems say for "no such entry".
            Err(0 | libc::ENOENT | libc::ESRCH) => return Err(Error::ENOENT),
            Err(errno) => return Err(Error::from_errno(errno)),
        }
    }
}

pub(crate) fn passwd(uid: u32) -> Result<Passwd> {
    with_buffer(|buffer| {
        // SAFETY: an all-zero `passwd` is a valid value for the library to write over.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        let (at, size) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: all three places outlive the call, and `size` is that of the buffer.
        let errno = unsafe { libc::getpwuid_r(uid, &raw mut entry, at, size, &raw mut found) };
        if errno != 0 {
            return Err(errno);
        }
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: the call has succeeded, so the strings are in `buffer`, which is alive.
        Ok(Some(unsafe {
            Passwd {
                name: text(entry.pw_name),
                uid: entry.pw_uid,
                gid: entry.pw_gid,
                shell: text(entry.pw_shell),
                home: text(entry.pw_dir),
            }
        }))
    })
}

pub(crate) fn group(gid: u32) -> Result<Group> {
    with_buffer(|buffer| {
        // SAFETY: an all-zero `group` is a valid value for the library to write over.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        let (at, size) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: all three places outlive the call, and `size` is that of the buffer.
        let errno = unsafe { libc::getgrgid_r(gid, &raw mut entry, at, size, &raw mut found) };
        if errno != 0 {
            return Err(errno);
        }
        if found.is_null() {
            return Ok(None);
        }
        let mut members = Vec::new();
        let mut next = entry.gr_mem;
        // SAFETY: the call has succeeded, so `gr_mem` is null or an array in `buffer` that a null
        // pointer ends, of strings in it.
        unsafe {
            while !next.is_null() && !(*next).is_null() {
                members.push(text(*next));
                next = next.add(1);
            }
            Ok(Some(Group { name: text(entry.gr_name), gid: entry.gr_gid, members }))
        }
    })
}

/// The effective user of this process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: no pointers; the call cannot fail.
    unsafe { libc::geteuid() }
}

/// The names of the system.
pub(crate) struct Names {
    pub(crate) system: OsString,
    pub(crate) node: OsString,
    pub(crate) release: OsString,
    pub(crate) version: OsString,
    pub(crate) machine: OsString,
}

pub(crate) fn uname() -> Result<Names> {
    // SAFETY: an all-zero `utsname` is a valid value for the kernel to write over.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` outlives the call.
    check(unsafe { libc::uname(&raw mut names) })?;
    // SAFETY: the kernel ends each of the strings with a NUL (include/uapi/linux/utsname.h).
    Ok(unsafe {
        Names {
            system: text(names.sysname.as_ptr()),
            node: text(names.nodename.as_ptr()),
            release: text(names.release.as_ptr()),
            version: text(names.version.as_ptr()),
            machine: text(names.machine.as_ptr()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_until_the_entry_fits_and_not_for_ever() {
        let mut sizes = Vec::new();
        let found = with_buffer(|buffer| {
            sizes.push(buffer.len());
            if buffer.len() < 10_000 { Err(libc::ERANGE) } else { Ok(Some(buffer.len())) }
        });
        assert_eq!((found, sizes.len()), (Ok(16_000), 4));
        assert_eq!(with_buffer(|_| Err::<Option<()>, _>(libc::ERANGE)), Err(Error::ERANGE));
    }

    #[test]
    fn interruptions_are_not_errors_and_nothing_found_is_enoent() {
        let mut calls = 0;
        let found = with_buffer(|_| {
            calls += 1;
            if calls < 3 { Err(libc::EINTR) } else { Ok(Some(calls)) }
        });
        assert_eq!(found, Ok(3));
        assert_eq!(with_buffer(|_| Ok(None::<()>)), Err(Error::ENOENT));
        assert_eq!(with_buffer(|_| Err::<Option<()>, _>(libc::EIO)), Err(Error::EIO));
    }
}
