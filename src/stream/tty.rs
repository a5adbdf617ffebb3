//! The `Tty` handle: a terminal, read and written as a stream (`uv_tty_t`).
//!
//! Invariant: neither the descriptor nor its open file description changes for those who share it;
//! the mode of the terminal itself does, and is put back when the last handle that changed it is
//! closed.

use std::cell::Cell;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use super::ipc::DescriptorKind;
use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::sys::terminal::{self, Hold, TtyMode, WindowSize};
use crate::sys::{epoll, fd};

/// What a stream keeps if it is a terminal.
pub(crate) struct Terminal {
    hold: Hold,
    master: bool,
    /// Whether nobody else has the description.
    own: bool,
    /// The byte that was written last.
    last: Cell<Option<u8>>,
}

impl Terminal {
    /// Makes an open stream a terminal.
    pub(super) fn of(node: &StreamNode, master: bool, own: bool) {
        let terminal = Terminal { hold: Hold::default(), master, own, last: Cell::new(None) };
        let _first = node.rare().terminal.set(terminal);
        node.put(Flags::BOUND, false);
    }

    pub(super) fn is_master(&self) -> bool {
        self.master
    }

    pub(super) fn last_byte(&self) -> Option<u8> {
        self.last.get()
    }

    pub(super) fn release(&self, fd: BorrowedFd<'_>) {
        self.hold.release(fd);
    }

    /// Looks at the outcome of a write. Of a master without a slave epoll says for ever that it is
    /// hung up, and never that there is room: waiting for it would be a busy loop without an end.
    pub(super) fn wrote(
        &self,
        fd: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        wrote: Result<usize>,
    ) -> Result<usize> {
        if !self.master {
            return wrote;
        }
        match wrote {
            Ok(n) => {
                if let Some(at) = n.checked_sub(1) {
                    self.last.set(slices.iter().flat_map(|slice| slice.iter()).nth(at).copied());
                }
                Ok(n)
            }
            Err(Error::EAGAIN) if epoll::ready_now(fd, 0)? & libc::POLLHUP != 0 => Err(Error::EIO),
            other => other,
        }
    }
}

/// Whether the terminal understands escape sequences (`uv_tty_vtermstate_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VtermState {
    /// It does.
    Supported,
    /// It does not.
    Unsupported,
}

/// A stream over a terminal.
///
/// ```
/// use blacklight::{EventLoop, Handle, Pty, Read, RunMode, Stream, Tty, TtyMode, WindowSize};
///
/// let lp = EventLoop::new()?;
/// let pty = Pty::new(&lp, WindowSize::new(80, 24))?; // a terminal to play with
/// let tty = Tty::new(&lp, pty.open_slave()?)?;
/// assert_eq!(tty.window_size()?.columns, 80);
///
/// tty.set_mode(TtyMode::Raw)?; // keys one by one
/// tty.read_start(|tty, read| {
///     assert_eq!(read, Read::Data(b"q"));
///     tty.close(); // and the terminal is as it was
/// })?;
/// pty.write_and_forget("q")?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Tty(Rc<StreamNode>);

handle!(Tty, StreamNode, |node| node.kind_of_handle() == HandleKind::Tty);

impl AsStream for Tty {
    #[allow(private_interfaces)]
    fn stream(&self) -> &Rc<StreamNode> {
        &self.0
    }

    #[allow(private_interfaces)]
    fn from_stream(node: Rc<StreamNode>) -> Tty {
        Tty(node)
    }
}

impl super::Stream for Tty {}

impl Tty {
    /// A stream over the terminal that a descriptor refers to (`uv_tty_init`): `std::io::stdin()`,
    /// a `File` of `/dev/tty`. The descriptor stays the caller's and may be closed.
    ///
    /// The terminal is opened anew, under `/proc/self/fd`, because `O_NONBLOCK` on the caller's
    /// description would be seen by every process that shares it. Where that cannot be done (the
    /// master of a pseudo-terminal, a terminal of another user's) the handle has a copy of the
    /// descriptor and asks poll(2) before each call; a write may then block for as long as the
    /// terminal takes nothing. libuv puts the new description under the caller's number, and makes
    /// a master non-blocking.
    ///
    /// A pipe or a socket is taken as well, as in libuv, but has no modes and no size.
    ///
    /// Reading a terminal from a background process group stops the process (SIGTTIN), and so does
    /// writing to one that is set to that (`stty tostop`), as with any program.
    ///
    /// # Errors
    /// `EINVAL` for a regular file, a directory, a device that is no terminal (`/dev/null`), and
    /// when the loop has been dropped; `ESTALE` in a forked child, `EMFILE` when no descriptor is
    /// left.
    pub fn new(lp: &LoopRef, terminal: impl AsFd) -> Result<Tty> {
        let node = StreamNode::make(lp, HandleKind::Tty)?;
        let fd = terminal.as_fd();
        match DescriptorKind::of(fd) {
            DescriptorKind::File | DescriptorKind::Unknown => return Err(Error::EINVAL),
            DescriptorKind::Tty => open(&node, fd)?,
            _ => node.open(fd::duplicate(fd)?)?,
        }
        Ok(Tty(node))
    }

    /// Whether the terminal could be opened anew, so that a write never blocks (libuv marks a handle
    /// whose writes may with a flag).
    #[must_use]
    pub fn has_own_description(&self) -> bool {
        self.0.terminal().is_some_and(|terminal| terminal.own)
    }

    /// Puts the terminal into a mode, at once (`uv_tty_set_mode`).
    ///
    /// How it was before the first handle of this process changed it is remembered. It becomes that
    /// again with [`TtyMode::Normal`], with [`Tty::reset_mode`], and when the last handle is closed
    /// or dropped that holds it in another mode. Of several handles on one terminal the last call
    /// decides; libuv takes what it finds at each handle's first change for normal, and restores
    /// only the first terminal.
    ///
    /// # Errors
    /// `ENOTTY` when it is no terminal; `EBADF` when the handle is closed; `EIO` from a background
    /// process group, where the kernel would stop the whole process with SIGTTOU (and does, in
    /// libuv): whoever blocks or ignores that signal may change the terminal all the same.
    pub fn set_mode(&self, mode: TtyMode) -> Result<()> {
        self.0.base.lp().inner().usable()?;
        let mode = if mode == TtyMode::RawVt { TtyMode::Raw } else { mode };
        self.0.with_fd(|fd| match self.0.terminal() {
            Some(terminal) => terminal.hold.set(fd, mode),
            None => Err(Error::ENOTTY),
        })
    }

    /// The mode that this handle has put the terminal into.
    #[must_use]
    pub fn mode(&self) -> TtyMode {
        self.0.terminal().map_or(TtyMode::Normal, |terminal| terminal.hold.mode())
    }

    /// As [`Tty::set_mode`], until the guard is dropped, by a panic for instance: then the mode is
    /// again what it was.
    ///
    /// # Errors
    /// As [`Tty::set_mode`].
    pub fn mode_guard(&self, mode: TtyMode) -> Result<TtyModeGuard> {
        let before = self.mode();
        self.set_mode(mode)?;
        Ok(TtyModeGuard { tty: self.clone(), before })
    }

    /// Makes every terminal what it was before handles of this process changed its mode
    /// (`uv_tty_reset_mode`): for programs about to end. The handles may be used on.
    ///
    /// Async-signal-safe: a handler of a signal that ends the program may call it. libuv restores
    /// one terminal, we all.
    ///
    /// # Errors
    /// `EBUSY` when a mode is being changed at the moment, by the thread that a signal has
    /// interrupted or by another; `EIO` from a background process group, as [`Tty::set_mode`].
    pub fn reset_mode() -> Result<()> {
        terminal::reset()
    }

    /// Has [`Tty::reset_mode`] called when this process ends by exit(3): by `std::process::exit`
    /// or at the end of `main`, but not by a signal or abort(3).
    ///
    /// # Errors
    /// `ENOMEM` from atexit(3).
    pub fn reset_mode_at_exit() -> Result<()> {
        terminal::reset_at_exit()
    }

    /// The size of the terminal's window (`uv_tty_get_winsize`). A
    /// [`Signal`](crate::Signal) of SIGWINCH tells of changes.
    ///
    /// # Errors
    /// `ENOTTY` when it is no terminal, `EBADF` when the handle is closed.
    pub fn window_size(&self) -> Result<WindowSize> {
        self.0.with_fd(terminal::size)
    }

    /// Whether terminals understand escape sequences (`uv_tty_get_vterm_state`): a question that
    /// only Windows answers.
    ///
    /// # Errors
    /// `ENOTSUP`, always.
    pub fn vterm_state() -> Result<VtermState> {
        Err(Error::ENOTSUP)
    }

    /// Does nothing (`uv_tty_set_vterm_state`): what a terminal understands is its own affair, but
    /// on Windows.
    pub fn set_vterm_state(_state: VtermState) {}
}

/// Opens the terminal anew, or makes do with the description that there is.
fn open(node: &Rc<StreamNode>, fd: BorrowedFd<'_>) -> Result<()> {
    let flags = fd::status_flags(fd)?;
    let access = flags & libc::O_ACCMODE;
    let (readable, writable) = (access != libc::O_WRONLY, access != libc::O_RDONLY);
    // Opening a master anew would make another pseudo-terminal.
    let slave = fd::is_slave(fd);
    let opened = if slave { fd::reopen_nonblocking(fd).ok() } else { None };
    let own = opened.is_some();
    let (fd, transfer) = match opened {
        Some(opened) => (opened, fd::Transfer::Plain),
        None if flags & libc::O_NONBLOCK != 0 => (fd::duplicate(fd)?, fd::Transfer::Plain),
        None => (fd::duplicate(fd)?, fd::Transfer::AfterPoll),
    };
    node.attach_with(fd, transfer, readable, writable, false)?;
    Terminal::of(node, !slave, own);
    Ok(())
}

/// Keeps a terminal in a mode for as long as it lives; see [`Tty::mode_guard`].
///
/// ```
/// use blacklight::{EventLoop, Pty, Tty, TtyMode, WindowSize};
///
/// let lp = EventLoop::new()?;
/// let pty = Pty::new(&lp, WindowSize::new(80, 24))?;
/// let tty = Tty::new(&lp, pty.open_slave()?)?;
/// let raw = tty.mode_guard(TtyMode::Raw)?;
/// assert_eq!(tty.mode(), TtyMode::Raw);
/// drop(raw);
/// assert_eq!(tty.mode(), TtyMode::Normal);
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the mode"]
pub struct TtyModeGuard {
    tty: Tty,
    before: TtyMode,
}

impl Drop for TtyModeGuard {
    fn drop(&mut self) {
        // Of a handle that was closed meanwhile, closing has restored the terminal.
        let _restored = self.tty.set_mode(self.before);
    }
}
