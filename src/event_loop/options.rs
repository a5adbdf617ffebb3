//! How a loop is set up: [`Options`], and the switches that turn facilities of the kernel off.
//!
//! Every run-time fallback has a switch here, so that each can be tested on a kernel that does not
//! need it. The environment variables set the defaults of all loops of a process; a word in them
//! that means nothing is an error of [`Options::from_env`], not a silent default.

use bitflags::bitflags;

use crate::error::{Error, Result};
use crate::process::SpawnPath;
use crate::work::ThreadPool;

bitflags! {
    /// Facilities of the kernel that the crate uses when they are there and can do without.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Facilities: u32 {
        /// clone3(2), Linux 5.3. Without it the older clone(2).
        const CLONE3 = 1;
        /// close_range(2), Linux 5.9. Without it each open descriptor is marked by itself, and the
        /// descriptor table is copied.
        const CLOSE_RANGE = 2;
        /// A pidfd with each child, Linux 5.2. Without it children are reaped after SIGCHLD, and
        /// signals are sent by number.
        const PIDFD = 4;
        /// `CLONE_CLEAR_SIGHAND`, Linux 5.5. Without it the child resets each signal itself.
        const CLEAR_SIGHAND = 8;
        /// epoll_pwait2(2), Linux 5.11. Without it waits are rounded up to milliseconds.
        const EPOLL_PWAIT2 = 16;
        /// `RWF_NOWAIT` on pipes, Linux 6.4. Without it a pipe that somebody else made is opened
        /// anew.
        const RWF_NOWAIT = 32;
        /// `PIDFD_GET_INFO`, Linux 6.15. Without it the status of a child that someone else has
        /// waited for is unknown.
        const PIDFD_INFO = 64;
        /// A descriptor table shared until the child has unshared it (`CLONE_FILES` and
        /// `CLOSE_RANGE_UNSHARE`, Linux 5.9). Without it the table is copied.
        const SHARED_TABLE = 128;
        /// statx(2), Linux 4.11, which sandboxes may refuse. Without it there are no birth times.
        const STATX = 256;
        /// copy_file_range(2), Linux 4.5. Without it copies go through sendfile(2).
        const COPY_FILE_RANGE = 512;
        /// io_uring(7), Linux 5.15 for all that is needed. It is used only if
        /// [`Options::io_uring`] asks for it.
        const IO_URING = 1024;
        /// `UDP_SEGMENT`, Linux 4.18: datagrams of one length to one receiver are handed over as
        /// one message, which the kernel cuts. Without it each is handed over by itself. That
        /// [`Transmit::segment_size`](crate::Transmit::segment_size) asks for it has nothing to do
        /// with this.
        const UDP_SEGMENT = 2048;
    }
}

/// Where the loop learns that a child has ended (DESIGN: reaping).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reaping {
    /// By the child's pidfd; a child for which none is to be had falls to SIGCHLD.
    #[default]
    Auto,
    /// By the child's pidfd; a spawn that cannot have one fails.
    Pidfd,
    /// By SIGCHLD through a signal pipe, after which every child of the loop is looked at. While
    /// such children live, the loop also looks after at most 100 ms, because the signal may be
    /// blocked or handled by someone else.
    Sigchld,
}

/// How a loop is made.
///
/// ```
/// use blacklight::{EventLoop, Options, Reaping, SpawnPath};
///
/// let options = Options { reaping: Reaping::Sigchld, ..Options::default() };
/// let lp = EventLoop::with_options(options)?;
/// # drop(lp);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The way children are made. `Auto` takes the fastest that works.
    pub spawn_path: SpawnPath,
    /// Where the loop learns that a child has ended.
    pub reaping: Reaping,
    /// What the loop uses; a bit taken out is a facility that is not even tried.
    pub facilities: Facilities,
    /// Whether [`Metrics::idle_time`](crate::Metrics::idle_time) is kept: one more reading of the
    /// clock per turn, no system call.
    pub metrics_idle_time: bool,
    /// Whether SIGPROF is blocked while the loop waits, so that a profiler does not wake it
    /// (libuv's `UV_LOOP_BLOCK_SIGNAL`).
    pub block_sigprof: bool,
    /// The pool that works for the loop; `None` is [`ThreadPool::global`].
    pub thread_pool: Option<ThreadPool>,
    /// Whether operations on files go through io_uring(7) where it is to be had: opening, closing,
    /// reading and writing one buffer, syncing, stat, unlink, rmdir, rename, link, symlink, mkdir.
    /// Needs the feature `io_uring`; without it, or where the kernel or a sandbox refuses, the pool
    /// does all. They begin when the loop next asks the kernel for events, 256 at most at a time.
    ///
    /// Off by default: system calls in a ring are seen neither by seccomp filters nor by strace
    /// (libuv turned its own off, libuv#4492). A write to
    /// something else than a regular file may end early without an error, as write(2) itself.
    pub io_uring: bool,
}

impl Default for Options {
    /// Everything on, everything chosen at run time.
    fn default() -> Options {
        Options {
            spawn_path: SpawnPath::Auto,
            reaping: Reaping::Auto,
            facilities: Facilities::all(),
            metrics_idle_time: false,
            block_sigprof: false,
            thread_pool: None,
            io_uring: false,
        }
    }
}

impl Options {
    /// The defaults, changed by what the environment says; this is what [`EventLoop::new`] uses.
    ///
    /// - `BLACKLIGHT_SPAWN_PATH`: `auto`, `shared-memory`, `vfork-page` or `fork`.
    /// - `BLACKLIGHT_REAPING`: `auto`, `pidfd` or `sigchld`.
    /// - `BLACKLIGHT_IO_URING`: `on` or `off`.
    /// - `BLACKLIGHT_WITHOUT`: names of [`Facilities`] to do without, in any case, separated by
    ///   commas.
    ///
    /// # Errors
    /// `EINVAL` for a word that is none of these.
    ///
    /// [`EventLoop::new`]: crate::EventLoop::new
    pub fn from_env() -> Result<Options> {
        let mut options = Options::default();
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(path) = get("BLACKLIGHT_SPAWN_PATH") {
            options.spawn_path = match path.as_str() {
                "auto" => SpawnPath::Auto,
                "shared-memory" => SpawnPath::SharedMemory,
                "vfork-page" => SpawnPath::VforkPage,
                "fork" => SpawnPath::Fork,
                _ => return Err(Error::EINVAL),
            };
        }
        if let Some(reaping) = get("BLACKLIGHT_REAPING") {
            options.reaping = match reaping.as_str() {
                "auto" => Reaping::Auto,
                "pidfd" => Reaping::Pidfd,
                "sigchld" => Reaping::Sigchld,
                _ => return Err(Error::EINVAL),
            };
        }
        if let Some(ring) = get("BLACKLIGHT_IO_URING") {
            options.io_uring = match ring.as_str() {
                "on" => true,
                "off" => false,
                _ => return Err(Error::EINVAL),
            };
        }
        if let Some(list) = get("BLACKLIGHT_WITHOUT") {
            for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let name = name.to_ascii_uppercase().replace('-', "_");
                let facility = Facilities::from_name(&name).ok_or(Error::EINVAL)?;
                options.facilities.remove(facility);
            }
        }
        Ok(options)
    }
}
