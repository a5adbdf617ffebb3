//! The `Pty` handle: the master of a pseudo-terminal, on whose slave children run (pty(7)).
//!
//! Invariant: the handle never keeps the slave open. Each spawn opens it for its child, so that the
//! end of the stream is the end of the last process that has the terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use super::buf::{Buf, Bufs};
use super::node::{Flags, StreamNode};
use super::sealed::AsStream;
use super::tty::Terminal;
use super::{report, write};
use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{HandleKind, handle};
use crate::sys::terminal::{self, Attributes, WindowSize};
use crate::sys::{fd, pty};

/// A pseudo-terminal: a stream of what the programs on it write, and of the keys that they read.
///
/// [`Command::pty`](crate::Command::pty) puts a child on it. What is written here arrives as if it
/// were typed: `\r` is Enter, `\x03` is Ctrl-C, lines are edited and echoed unless the program has
/// set its terminal otherwise.
///
/// The end ([`Read::Eof`](crate::Read::Eof)) comes when the last process that had the terminal open
/// has closed it, and after everything they wrote; before the first child there is none. Nothing
/// that a child wrote is lost by its exit, but the exit may be reported before the output is read,
/// or after the end: wait for both. A process left in the background holds up the end, not the exit.
/// After the end, another child may be spawned and reading started anew.
///
/// Closing the handle is what pulling the plug is: the session gets a SIGHUP. A child that has come
/// to its end may live a little longer than its descriptors, so closing at the end of the stream
/// could still kill it; there is no need to, because a stream that has ended keeps nothing alive.
///
/// ```
/// use blacklight::{Command, EventLoop, Pty, Read, RunMode, Stream, WindowSize};
///
/// let lp = EventLoop::new()?;
/// let pty = Pty::new(&lp, WindowSize::new(80, 24))?;
/// Command::new("cat").pty(&pty).spawn(&lp, |_, exit| assert!(exit.success()))?;
/// pty.set_echo(false)?;
/// pty.write_and_forget("hello\n")?;
/// pty.shutdown(|_, result| result.expect("it is a Ctrl-D"))?;
/// pty.read_start(|_, read| match read {
///     Read::Data(bytes) => assert_eq!(bytes, b"hello\r\n"),
///     Read::Eof => {}
///     Read::Error(error) => panic!("{error}"),
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Pty(Rc<StreamNode>);

handle!(Pty, StreamNode, |node| node.kind_of_handle() == HandleKind::Pty);

impl AsStream for Pty {
    #[allow(private_interfaces)]
    fn stream(&self) -> &Rc<StreamNode> {
        &self.0
    }

    #[allow(private_interfaces)]
    fn from_stream(node: Rc<StreamNode>) -> Pty {
        Pty(node)
    }
}

impl super::Stream for Pty {
    /// Types the key that ends the input, Ctrl-D as a rule, when everything queued has been
    /// written; twice when the line was begun, because the first one only ends the line.
    ///
    /// # Errors
    /// `ENOTSUP` when the terminal does not read lines at the moment, so that no key has that
    /// meaning; `EBADF` when the handle is closed, `ENOTCONN` when it has been shut down.
    fn shutdown(&self, callback: impl FnOnce(&Self, Result<()>) + 'static) -> Result<()> {
        let node = &self.0;
        if node.is_open() && (!node.is_writable() || node.has(Flags::SHUT)) {
            return Err(Error::ENOTCONN);
        }
        let attributes = node.with_fd(Attributes::of)?;
        let key = attributes.end_of_input().ok_or(Error::ENOTSUP)?;
        let keys = match self.last_byte() {
            None | Some(b'\n' | b'\r') => vec![key],
            Some(_) => vec![key, key],
        };
        write::start(node, Bufs::One(Buf::from(keys)), None)?;
        report::shutdown(node, Box::new(move |node, result| callback(&Pty(node.clone()), result)))
    }
}

impl Pty {
    /// Makes a pseudo-terminal of that size, with the kernel's settings: lines, echo, signals.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child; `EMFILE`, `ENFILE`,
    /// `ENOSPC` when there are no more pseudo-terminals, `ENOENT` where devpts is not mounted.
    pub fn new(lp: &LoopRef, size: WindowSize) -> Result<Pty> {
        let node = StreamNode::make(lp, HandleKind::Pty)?;
        let master = pty::open()?;
        terminal::set_size(master.as_fd(), size)?;
        node.attach_with(master, fd::Transfer::Plain, true, true, false)?;
        Terminal::of(&node, true, true);
        Ok(Pty(node))
    }

    /// The byte that will be, or was, written last.
    fn last_byte(&self) -> Option<u8> {
        let queued = self.0.writing.get().and_then(|writing| {
            let queue = writing.queue.borrow();
            let bufs = queue.back()?.bufs.as_slice();
            bufs.iter().rev().find_map(|buf| buf.as_ref().last().copied())
        });
        queued.or_else(|| self.0.terminal().and_then(|terminal| terminal.last_byte()))
    }

    /// Gives the terminal the settings of another one: that of the user, for a program that shows
    /// one terminal inside another.
    ///
    /// Others can be set with whatever crate through a [duplicate](super::Stream::duplicate_fd) of
    /// the descriptor, as tcsetattr(3) of a master is that of its slave.
    ///
    /// # Errors
    /// `ENOTTY` when `terminal` is none, `EBADF` when the handle is closed.
    pub fn copy_settings(&self, terminal: impl AsFd) -> Result<()> {
        let settings = Attributes::of(terminal.as_fd())?;
        self.0.with_fd(|fd| settings.apply(fd))
    }

    /// Has what is typed shown, as new pseudo-terminals do, or not.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed.
    pub fn set_echo(&self, on: bool) -> Result<()> {
        self.0.with_fd(|fd| Attributes::of(fd)?.with_echo(on).apply(fd))
    }

    /// The size that programs on the terminal are told.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed.
    pub fn window_size(&self) -> Result<WindowSize> {
        self.0.with_fd(terminal::size)
    }

    /// Changes the size; the foreground process group gets a SIGWINCH if it is another than before.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed.
    pub fn set_window_size(&self, size: WindowSize) -> Result<()> {
        self.0.with_fd(|fd| terminal::set_size(fd, size))
    }

    /// The path of the slave, for programs that open it by name.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed.
    pub fn slave_name(&self) -> Result<PathBuf> {
        self.0.with_fd(pty::name)
    }

    /// A new descriptor of the slave, which is a terminal like any other. For as long as it is open
    /// the end does not come.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed, `EMFILE` when no descriptor is left.
    pub fn open_slave(&self) -> Result<OwnedFd> {
        self.0.with_fd(pty::slave)
    }

    /// The process group in the foreground of the terminal, the one that Ctrl-C reaches; `None`
    /// when no session has it.
    ///
    /// # Errors
    /// `EBADF` when the handle is closed.
    pub fn foreground_group(&self) -> Result<Option<i32>> {
        self.0.with_fd(terminal::foreground_group)
    }
}
