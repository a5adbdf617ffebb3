//! Threads: their names, and the processors they run on. Everything else about threads is in the
//! standard library.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};
use crate::sys::{affinity, procfs};

/// A thread of this process, by the number that the kernel gave it (gettid(2)).
///
/// libuv's functions take a `uv_thread_t`, which dangles when the thread has been joined; a number
/// whose thread has ended is `ESRCH`, or the next thread that gets it. Its nice value is
/// [`priority`](super::priority) of that number (`uv_thread_getpriority`).
///
/// ```
/// use blacklight::os::Thread;
///
/// let worker = std::thread::spawn(|| {
///     let thread = Thread::current();
///     thread.set_name("indexer")?;
///     thread.set_affinity(thread.affinity()?)?;
///     thread.name()
/// });
/// assert_eq!(worker.join().expect("it does not panic")?, "indexer");
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thread(i32);

impl Thread {
    /// The calling thread (`uv_thread_self`).
    #[must_use]
    pub fn current() -> Thread {
        Thread(affinity::thread_id())
    }

    /// The thread with this number.
    ///
    /// # Errors
    /// `EINVAL` unless the number is positive.
    pub fn from_id(id: i32) -> Result<Thread> {
        if id > 0 { Ok(Thread(id)) } else { Err(Error::EINVAL) }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> i32 {
        self.0
    }

    /// What the thread is called in ps(1) and debuggers (`uv_thread_getname`).
    ///
    /// # Errors
    /// `ESRCH` when there is no such thread in this process; what reading /proc says.
    pub fn name(self) -> Result<OsString> {
        let mut name = procfs::read(&self.comm()).map_err(gone)?;
        if name.last() == Some(&b'\n') {
            name.pop();
        }
        Ok(OsString::from_vec(name))
    }

    /// Calls it something else (`uv_thread_setname`); the kernel cuts the name after 15 bytes.
    ///
    /// The name of the first thread is that of the process in ps(1) and killall(1).
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL in it, `ESRCH` when there is no such thread in this process.
    pub fn set_name(self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref().as_bytes();
        if name.contains(&0) {
            return Err(Error::EINVAL);
        }
        // Opened, not created: a file that is not there is a thread that is gone.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.comm())
            .map_err(|error| gone(error.into()))?;
        // Nothing written is nothing changed; a NUL is an empty name.
        let name = if name.is_empty() { b"\0" } else { name };
        std::io::Write::write_all(&mut file, name).map_err(|error| gone(error.into()))
    }

    /// The processors that it may run on, counted from 0, in order (`uv_thread_getaffinity`).
    ///
    /// There is no limit on their number, hence no `uv_cpumask_size`.
    ///
    /// # Errors
    /// `ESRCH` when there is no such thread.
    pub fn affinity(self) -> Result<Vec<usize>> {
        affinity::get(self.0)
    }

    /// Lets it run on these processors only (`uv_thread_setaffinity`). Those that are not there are
    /// left out.
    ///
    /// # Errors
    /// `EINVAL` when none of them is there, or for a number of 65,536 and more; `ESRCH` when there is
    /// no such thread, `EPERM` when it is another user's.
    pub fn set_affinity(self, processors: impl IntoIterator<Item = usize>) -> Result<()> {
        let processors: Vec<usize> = processors.into_iter().collect();
        affinity::set(self.0, &affinity::to_set(&processors)?)
    }

    fn comm(self) -> String {
        format!("/proc/self/task/{}/comm", self.0)
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({})", self.0)
    }
}

/// /proc says `ENOENT` where the calls say `ESRCH`.
fn gone(error: Error) -> Error {
    if error == Error::ENOENT { Error::ESRCH } else { error }
}

/// The processor that the calling thread runs on at this moment (`uv_thread_getcpu`).
///
/// # Errors
/// `ENOSYS` where the kernel cannot tell.
///
/// ```
/// let allowed = blacklight::os::Thread::current().affinity()?;
/// assert!(allowed.contains(&blacklight::os::current_processor()?));
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn current_processor() -> Result<usize> {
    affinity::current_processor()
}
