//! What a slot of a child's descriptor table is filled with: [`Stdio`].

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::stream::sealed::AsStream;
use crate::stream::{Pipe, Pty, Stream, StreamNode};
use crate::sys::fd;

/// How one descriptor of a child comes about: a slot of its stdio.
///
/// ```
/// use blacklight::{Command, EventLoop, Handle, Pipe, Read, RunMode, Stdio, Stream};
///
/// let lp = EventLoop::new()?;
/// let both = Pipe::new(&lp)?;
/// Command::new("sh")
///     .args(["-c", "echo out; echo err >&2"])
///     .stdin(Stdio::null())
///     .stdout(Stdio::pipe(&both))
///     .stderr(Stdio::same_as(1))
///     .spawn(&lp, |_, exit| assert!(exit.success()))?;
/// both.read_start(|both, read| match read {
///     Read::Data(bytes) => print!("{}", String::from_utf8_lossy(bytes)),
///     Read::Eof | Read::Error(_) => both.close(),
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stdio {
    pub(super) source: Source,
    pub(super) blocking: bool,
}

#[derive(Clone)]
pub(super) enum Source {
    Ignore,
    Inherit,
    Descriptor(Arc<OwnedFd>),
    Number(RawFd),
    Stream(Rc<StreamNode>),
    Pipe { node: Rc<StreamNode>, direction: Direction, socket: bool },
    Terminal(Rc<StreamNode>),
    SameAs(u32),
    File { path: Result<CString>, flags: i32, mode: u32 },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Ignore => f.write_str("Ignore"),
            Source::Inherit => f.write_str("Inherit"),
            Source::Descriptor(fd) => write!(f, "Descriptor({fd:?})"),
            Source::Number(number) => write!(f, "Number({number})"),
            Source::Stream(_) => f.write_str("Stream"),
            Source::Pipe { direction, socket, .. } => {
                write!(f, "Pipe({direction:?}, socket: {socket})")
            }
            Source::Terminal(_) => f.write_str("Terminal"),
            Source::SameAs(slot) => write!(f, "SameAs({slot})"),
            Source::File { path, .. } => write!(f, "File({path:?})"),
        }
    }
}

/// Which way a new pipe goes, as the child sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The child reads slot 0 and writes the others.
    BySlot,
    ChildReads,
    ChildWrites,
    Both,
}

impl Stdio {
    fn from_source(source: Source) -> Stdio {
        Stdio { source, blocking: false }
    }

    /// Nothing of ours: `/dev/null` for slots 0 to 2, no descriptor at all for the others
    /// (libuv's `UV_IGNORE`).
    #[must_use]
    pub fn ignore() -> Stdio {
        Stdio::from_source(Source::Ignore)
    }

    /// `/dev/null`, for reading and writing, in any slot.
    #[must_use]
    pub fn null() -> Stdio {
        Stdio::open("/dev/null", libc::O_RDWR, 0)
    }

    /// The descriptor that has the slot's number in this process when the child is spawned. None
    /// is `EBADF`.
    #[must_use]
    pub fn inherit() -> Stdio {
        Stdio::from_source(Source::Inherit)
    }

    /// A copy of a descriptor, made now; the original may be closed as soon as this returns.
    ///
    /// # Errors
    /// `EMFILE` when no descriptor is left for the copy.
    pub fn from_fd(fd: impl AsFd) -> Result<Stdio> {
        fd::duplicate(fd.as_fd()).map(Stdio::from)
    }

    /// The descriptor of that number in this process, whoever owns it.
    ///
    /// # Safety
    /// It must be open, and stay so, until the spawn has returned (the callback of
    /// [`Command::spawn_off_loop`](super::Command::spawn_off_loop) has been called). A number that
    /// is not open is an `EBADF` error of the spawn.
    ///
    /// ```
    /// use blacklight::{Command, EventLoop, RunMode, Stdio};
    ///
    /// let lp = EventLoop::new()?;
    /// let mut command = Command::new("true");
    /// // SAFETY: descriptor 2 is open for the whole life of this program.
    /// command.stdio(7, unsafe { Stdio::from_raw_number(2) });
    /// command.spawn(&lp, |_, exit| assert!(exit.success()))?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    #[must_use]
    #[allow(unsafe_code)]
    pub unsafe fn from_raw_number(number: RawFd) -> Stdio {
        Stdio::from_source(Source::Number(number))
    }

    /// The descriptor of a stream of a loop of this thread, as it is when the child is spawned
    /// (libuv's `UV_INHERIT_STREAM`). It stays as it is: if it is non-blocking, the child's is
    /// too, unless [`Stdio::blocking`] is asked for.
    #[must_use]
    pub fn stream(stream: &impl Stream) -> Stdio {
        Stdio::from_source(Source::Stream(stream.stream().clone()))
    }

    /// A new pipe, whose other end `pipe` becomes; it must not be open.
    ///
    /// In slot 0 the child reads what is written to `pipe`, in the others it writes what `pipe`
    /// reads. One way is a pipe(2), both ways ([`Stdio::duplex`]) a socket pair; libuv makes socket
    /// pairs always, for which there is [`Stdio::socket`]. The child's end blocks, ours does not.
    /// If the spawn fails, `pipe` is as it was.
    #[must_use]
    pub fn pipe(pipe: &Pipe) -> Stdio {
        let node = pipe.stream().clone();
        let (direction, socket) = (Direction::BySlot, false);
        Stdio::from_source(Source::Pipe { node, direction, socket })
    }

    fn direct(mut self, wanted: Direction) -> Stdio {
        if let Source::Pipe { direction, .. } = &mut self.source {
            *direction = wanted;
        }
        self
    }

    /// Of a new pipe: the child reads, in whatever slot.
    #[must_use]
    pub fn child_reads(self) -> Stdio {
        self.direct(Direction::ChildReads)
    }

    /// Of a new pipe: the child writes, in whatever slot.
    #[must_use]
    pub fn child_writes(self) -> Stdio {
        self.direct(Direction::ChildWrites)
    }

    /// Of a new pipe: both ways, over a socket pair.
    #[must_use]
    pub fn duplex(self) -> Stdio {
        self.direct(Direction::Both)
    }

    /// Of a new pipe: a socket pair even if it goes one way, as libuv and Node make them.
    #[must_use]
    pub fn socket(mut self) -> Stdio {
        if let Source::Pipe { socket, .. } = &mut self.source {
            *socket = true;
        }
        self
    }

    /// The slave of a pseudo-terminal, opened when the child is spawned and closed here when that is
    /// done, so that the child and its children alone decide when the terminal's end has come.
    ///
    /// [`Command::pty`](super::Command::pty) fills slots 0 to 2 with it.
    #[must_use]
    pub fn pty(pty: &Pty) -> Stdio {
        Stdio::from_source(Source::Terminal(pty.stream().clone()))
    }

    /// The same as another slot: `Stdio::same_as(1)` for slot 2 is the shell's `2>&1`. The other
    /// slot must be one that the command lists.
    #[must_use]
    pub fn same_as(slot: u32) -> Stdio {
        Stdio::from_source(Source::SameAs(slot))
    }

    /// A file, opened for reading by this process when the child is spawned: a relative path is
    /// relative to this process's directory. An error names the slot
    /// ([`SpawnStep::Open`](super::SpawnStep::Open)).
    #[must_use]
    pub fn read_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::open(path, libc::O_RDONLY, 0)
    }

    /// As [`Stdio::read_file`], for writing: created if it is not there (mode 0666, less the
    /// umask), emptied if it is.
    #[must_use]
    pub fn write_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o666)
    }

    /// As [`Stdio::write_file`], writing at the end of what is there.
    #[must_use]
    pub fn append_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND, 0o666)
    }

    /// A file opened with the flags and mode of open(2); `O_NOCTTY` and `O_CLOEXEC` are added, the
    /// second of which does not concern the child's copy.
    #[must_use]
    pub fn open(path: impl AsRef<Path>, flags: i32, mode: u32) -> Stdio {
        let path = CString::new(path.as_ref().as_os_str().as_bytes()).map_err(|_| Error::EINVAL);
        Stdio::from_source(Source::File { path, flags, mode })
    }

    /// Clears `O_NONBLOCK` on the descriptor, for a child that cannot cope with it.
    ///
    /// The flag is not the descriptor's but that of the open file description: everyone who shares
    /// it, this process included, sees it change. That is why it is not done unless asked for
    /// (libuv does it always).
    #[must_use]
    pub fn blocking(mut self, on: bool) -> Stdio {
        self.blocking = on;
        self
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio::from_source(Source::Descriptor(Arc::new(fd)))
    }
}

impl From<std::fs::File> for Stdio {
    fn from(file: std::fs::File) -> Stdio {
        Stdio::from(OwnedFd::from(file))
    }
}

/// The bytes of a string of the user's, for the kernel; `EINVAL` when there is a NUL in it.
pub(super) fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::EINVAL)
}
