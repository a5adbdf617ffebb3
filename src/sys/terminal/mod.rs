//! Terminals as the kernel shows them: attributes, size, foreground group (termios(3),
//! ioctl_tty(2)).
//!
//! Invariant: nothing in here stops the process. What the kernel would answer with SIGTTOU is
//! refused with `EIO` before it is tried; see [`Attributes::apply`].

mod remembered;

use std::os::fd::{AsRawFd, BorrowedFd};

pub(crate) use remembered::{Hold, reset, reset_at_exit};

use super::{check, retry};
use crate::error::{Error, Result};

/// How a terminal treats what goes through it (`uv_tty_mode_t`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TtyMode {
    /// As it was found: usually lines that can be edited, echo, and keys that send signals.
    #[default]
    Normal,
    /// Each key at once, without echo and without signals; output is still processed, so that a
    /// newline begins a line (`UV_TTY_MODE_RAW`).
    Raw,
    /// Bytes as they are, both ways (cfmakeraw(3); `UV_TTY_MODE_IO`).
    Io,
    /// The same as [`TtyMode::Raw`] on Linux (`UV_TTY_MODE_RAW_VT`).
    RawVt,
}

/// The size of a terminal, as its programs are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
    /// Pixels from left to right; 0 when unknown.
    pub width: u16,
    /// Pixels from top to bottom; 0 when unknown.
    pub height: u16,
}

impl WindowSize {
    /// A size in characters.
    #[must_use]
    pub const fn new(columns: u16, rows: u16) -> WindowSize {
        WindowSize { columns, rows, width: 0, height: 0 }
    }
}

/// The attributes of a terminal (`struct termios`).
#[derive(Clone, Copy)]
pub(crate) struct Attributes(libc::termios);

impl Attributes {
    /// Those that the terminal has now; of a master, those of its slave.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Attributes> {
        // SAFETY: all zeros is a valid termios for the call to write over.
        let mut termios: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `termios` outlives the call.
        retry(|| unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut termios) })?;
        Ok(Attributes(termios))
    }

    /// What these become in a mode.
    pub(crate) fn in_mode(mut self, mode: TtyMode) -> Attributes {
        let termios = &mut self.0;
        match mode {
            TtyMode::Normal => {}
            TtyMode::Raw | TtyMode::RawVt => {
                termios.c_iflag &=
                    !(libc::BRKINT | libc::ICRNL | libc::INPCK | libc::ISTRIP | libc::IXON);
                termios.c_oflag |= libc::ONLCR;
                termios.c_cflag |= libc::CS8;
                termios.c_lflag &= !(libc::ECHO | libc::ICANON | libc::IEXTEN | libc::ISIG);
                termios.c_cc[libc::VMIN] = 1;
                termios.c_cc[libc::VTIME] = 0;
            }
            // SAFETY: the pointer is that of a termios of our own.
            TtyMode::Io => unsafe { libc::cfmakeraw(&raw mut *termios) },
        }
        self
    }

    /// The same, with echo or without.
    pub(crate) fn with_echo(mut self, on: bool) -> Attributes {
        let echo = libc::ECHO | libc::ECHOE | libc::ECHOK;
        // Without the last, a newline would be echoed alone.
        self.0.c_lflag &= !(echo | libc::ECHONL);
        if on {
            self.0.c_lflag |= echo;
        }
        self
    }

    /// The byte that ends the input of a terminal that reads lines; `None` for one that does not.
    pub(crate) fn end_of_input(&self) -> Option<u8> {
        let byte = self.0.c_cc[libc::VEOF];
        // 0 is the "no such character" of termios(3).
        (self.0.c_lflag & libc::ICANON != 0 && byte != 0).then_some(byte)
    }

    /// Gives the terminal these attributes, at once. Async-signal-safe.
    ///
    /// From a background process group of the terminal's session this is `EIO`, unless the thread
    /// blocks or the process ignores SIGTTOU and so says that it means it: the kernel would stop
    /// the process.
    pub(crate) fn apply(&self, fd: BorrowedFd<'_>) -> Result<()> {
        if is_background(fd) && !ttou_is_harmless() {
            return Err(Error::EIO);
        }
        // Another process may put us into the background just now.
        let before = block_ttou();
        // SAFETY: the attributes outlive the call, which only reads them.
        let applied =
            retry(|| unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &raw const self.0) });
        restore_mask(&before);
        applied.map(drop)
    }
}

/// Whether it is the controlling terminal of this process, and another group has it.
fn is_background(fd: BorrowedFd<'_>) -> bool {
    let (mut session, mut group): (libc::pid_t, libc::pid_t) = (0, 0);
    // SAFETY: each call writes one pid_t, or asks for a number that is always there.
    unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::TIOCGSID, &raw mut session) == 0
            && session == libc::getsid(0)
            && libc::ioctl(fd.as_raw_fd(), libc::TIOCGPGRP, &raw mut group) == 0
            && group != libc::getpgrp()
    }
}

fn ttou_is_harmless() -> bool {
    // SAFETY: all zeros are valid values, which the calls write over; both only ask.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut mask: libc::sigset_t = std::mem::zeroed();
        let asked = libc::sigaction(libc::SIGTTOU, std::ptr::null(), &raw mut action) == 0;
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask);
        asked && action.sa_sigaction == libc::SIG_IGN
            || libc::sigismember(&raw const mask, libc::SIGTTOU) == 1
    }
}

fn block_ttou() -> libc::sigset_t {
    // SAFETY: all zeros are valid sets, which the calls write over.
    unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
        before
    }
}

fn restore_mask(mask: &libc::sigset_t) {
    // SAFETY: the mask is one that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *mask, std::ptr::null_mut()) };
}

/// Whether this is a terminal, the master of one included.
pub(crate) fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::isatty(fd.as_raw_fd()) == 1 }
}

/// The device number of a terminal, also where it was opened as `/dev/tty`. `ENOTTY` for what is
/// none.
pub(crate) fn device(fd: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGDEV (Linux 2.6.37) writes one unsigned int.
    retry(|| unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGDEV, &raw mut number) })?;
    Ok(number)
}

pub(crate) fn size(fd: BorrowedFd<'_>) -> Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    retry(|| unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(WindowSize {
        columns: size.ws_col,
        rows: size.ws_row,
        width: size.ws_xpixel,
        height: size.ws_ypixel,
    })
}

pub(crate) fn set_size(fd: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    retry(|| unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// The process group in the foreground, `None` when there is none (tcgetpgrp(3)).
pub(crate) fn foreground_group(fd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let mut group: libc::pid_t = 0;
    // SAFETY: TIOCGPGRP writes one pid_t.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGPGRP, &raw mut group) })?;
    Ok((group > 0).then_some(group))
}
