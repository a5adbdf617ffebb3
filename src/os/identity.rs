//! Who this process is and belongs to, and the names of the system it runs on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::error::Result;
use crate::sys::identity;

/// The number of this process (`uv_os_getpid`).
///
/// ```
/// assert_eq!(blacklight::os::pid(), std::process::id() as i32);
/// ```
#[must_use]
pub fn pid() -> i32 {
    std::process::id().cast_signed()
}

/// The number of the process that is now its parent (`uv_os_getppid`); 0 when that is outside of
/// its namespace.
///
/// ```
/// assert_ne!(blacklight::os::ppid(), blacklight::os::pid());
/// ```
#[must_use]
pub fn ppid() -> i32 {
    std::os::unix::process::parent_id().cast_signed()
}

/// A user, as the user data base has it (`uv_passwd_t`, passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserInfo {
    /// The login name.
    pub username: OsString,
    /// The number of the user.
    pub uid: u32,
    /// The number of the user's first group.
    pub gid: u32,
    /// The shell; may be empty.
    pub shell: PathBuf,
    /// The home directory. Unlike [`homedir`] it does not heed `HOME`.
    pub homedir: PathBuf,
}

/// The user this process acts as, by its effective user number (`uv_os_get_passwd`).
///
/// # Errors
/// `ENOENT` when the data base does not have it, and what reading that says.
///
/// ```
/// let me = blacklight::os::user_info()?;
/// println!("{} lives in {}", me.username.display(), me.homedir.display());
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn user_info() -> Result<UserInfo> {
    user_info_of(identity::effective_uid())
}

/// The user with this number (`uv_os_get_passwd2`).
///
/// # Errors
/// `ENOENT` when the data base does not have it, and what reading that says.
///
/// ```
/// assert_eq!(blacklight::os::user_info_of(0)?.username, "root");
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn user_info_of(uid: u32) -> Result<UserInfo> {
    let entry = identity::passwd(uid)?;
    Ok(UserInfo {
        username: entry.name,
        uid: entry.uid,
        gid: entry.gid,
        shell: entry.shell.into(),
        homedir: entry.home.into(),
    })
}

/// A group, as the group data base has it (`uv_group_t`, group(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// The name of the group.
    pub name: OsString,
    /// Its number.
    pub gid: u32,
    /// The login names of those who are listed as members; those whose first group it is need not
    /// be.
    pub members: Vec<OsString>,
}

/// The group with this number (`uv_os_get_group`).
///
/// # Errors
/// `ENOENT` when the data base does not have it, and what reading that says.
///
/// ```
/// assert_eq!(blacklight::os::group_info(0)?.name, "root");
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn group_info(gid: u32) -> Result<GroupInfo> {
    let entry = identity::group(gid)?;
    Ok(GroupInfo { name: entry.name, gid: entry.gid, members: entry.members })
}

/// The user's home directory (`uv_os_homedir`): what `HOME` says, also if that is nothing, else
/// that of [`user_info`].
///
/// # Errors
/// Without `HOME`, those of [`user_info`].
///
/// ```
/// println!("at home in {}", blacklight::os::homedir()?.display());
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn homedir() -> Result<PathBuf> {
    match std::env::var_os("HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(user_info()?.homedir),
    }
}

/// The directory for temporary files (`uv_os_tmpdir`): the first of `TMPDIR`, `TMP`, `TEMP` and
/// `TEMPDIR` that says something, else `/tmp`; without the slash at its end.
///
/// libuv takes an empty variable for an answer; Node does not, and so does this not.
///
/// ```
/// assert!(!blacklight::os::tmpdir().as_os_str().is_empty());
/// ```
#[must_use]
pub fn tmpdir() -> PathBuf {
    let set = ["TMPDIR", "TMP", "TEMP", "TEMPDIR"].into_iter().filter_map(std::env::var_os);
    let found = set.into_iter().find(|value| !value.is_empty());
    let mut path = found.unwrap_or_else(|| OsStr::new("/tmp").to_owned()).into_vec();
    if path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    OsString::from_vec(path).into()
}

/// The name of the host (`uv_os_gethostname`).
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// assert!(!blacklight::os::hostname()?.is_empty());
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn hostname() -> Result<OsString> {
    Ok(identity::uname()?.node)
}

/// The names of the system (`uv_utsname_t`, uname(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uname {
    /// The kernel: `"Linux"`. Node's `os.type`.
    pub sysname: OsString,
    /// Its release, such as `"6.1.0-18-amd64"`.
    pub release: OsString,
    /// Its version: when and how it was built.
    pub version: OsString,
    /// The kind of machine, such as `"x86_64"`.
    pub machine: OsString,
}

/// The names of the system (`uv_os_uname`). The host's is [`hostname`].
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// assert_eq!(blacklight::os::uname()?.sysname, "Linux");
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn uname() -> Result<Uname> {
    let names = identity::uname()?;
    Ok(Uname {
        sysname: names.system,
        release: names.release,
        version: names.version,
        machine: names.machine,
    })
}
