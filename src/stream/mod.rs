//! Streams: what pipes, and later TCP sockets and terminals, have in common (`uv_stream_t`).
//!
//! `node` has the state and the events of the descriptor, `read` and `write` the two directions,
//! `listen` servers and their connections; `pipe` is the first kind of stream.

mod buf;
mod descriptor;
mod ipc;
mod listen;
mod node;
mod pair;
pub(crate) mod peer;
mod pipe;
mod pty;
mod read;
mod report;
mod seqpacket_server;
mod tcp;
mod tty;
mod write;
mod writing;

use std::os::fd::{OwnedFd, RawFd};

pub use buf::Buf;
pub(crate) use buf::Bufs;
pub use ipc::DescriptorKind;
pub(crate) use node::StreamNode;
pub use pair::{SocketKind, pipe, socketpair};
pub use pipe::Pipe;
pub use pty::Pty;
pub use read::{Read, ReadInto};
pub use seqpacket_server::SeqPacketServer;
pub use tcp::{Tcp, TcpFlags, TcpKeepAlive};
pub use tty::{Tty, TtyModeGuard, VtermState};
pub use writing::{WriteId, Written};

use crate::error::Result;
use crate::handle::Handle;
use crate::sys::socket;

pub(crate) mod sealed {
    use super::StreamNode;
    use std::rc::Rc;

    /// The way from a public stream type to its node and back.
    pub trait AsStream: Sized {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn stream(&self) -> &Rc<StreamNode>;
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn from_stream(node: Rc<StreamNode>) -> Self;
    }
}

/// The operations of a stream of bytes (`uv_stream_t`).
///
/// ```
/// use blacklight::{EventLoop, Handle, Pipe, Read, RunMode, Stream};
///
/// let lp = EventLoop::new()?;
/// let (one, other) = Pipe::pair(&lp)?;
/// one.write("hello", |one, written| {
///     assert_eq!(written.result, Ok(()));
///     one.close();
/// })?;
/// other.read_start(|other, read| match read {
///     Read::Data(bytes) => assert_eq!(bytes, b"hello"),
///     Read::Eof | Read::Error(_) => other.close(),
/// })?;
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
pub trait Stream: Handle + sealed::AsStream {
    /// Calls `callback` with everything that arrives, until the end, an error, or
    /// [`Stream::read_stop`].
    ///
    /// The bytes lie in a buffer of the loop's (64 KiB) that is lent for the call: nothing is
    /// allocated. After [`Read::Eof`] or [`Read::Error`] reading has stopped. A stream gets at most
    /// 32 reads per turn, so that one that never dries up cannot starve the others.
    ///
    /// # Errors
    /// `EINVAL` when the stream is closing, `EALREADY` when it is reading, `ENOTCONN` when it is
    /// not readable: not open, not connected, opened for writing only, or failed before; and what
    /// epoll_ctl(2) says, `EPERM` for a regular file among it.
    fn read_start(&self, mut callback: impl FnMut(&Self, Read<'_>) + 'static) -> Result<()> {
        let call = read::LoopBuffer(move |node: &std::rc::Rc<StreamNode>, read: Read<'_>| {
            callback(&Self::from_stream(node.clone()), read);
        });
        read::start(self.stream(), Box::new(call))
    }

    /// As [`Stream::read_start`], into buffers that the caller supplies: `supply` is asked for one
    /// before a read, with a suggested size in bytes, and it comes back in the event. A buffer that
    /// nothing was read into is kept for the next read; one of no size is an `ENOBUFS` error.
    ///
    /// ```
    /// use blacklight::{EventLoop, Handle, Pipe, ReadInto, RunMode, Stream};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, other) = Pipe::pair(&lp)?;
    /// one.write_and_forget("hello")?;
    /// one.close();
    /// other.read_start_into(
    ///     |_, suggested| vec![0; suggested.min(1024)],
    ///     |other, read| match read {
    ///         ReadInto::Data(buffer, length) => assert_eq!(&buffer[..length], b"hello"),
    ///         ReadInto::Eof(_) | ReadInto::Error(..) => other.close(),
    ///     },
    /// )?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Stream::read_start`].
    fn read_start_into<B: AsMut<[u8]> + 'static>(
        &self,
        mut supply: impl FnMut(&Self, usize) -> B + 'static,
        mut callback: impl FnMut(&Self, ReadInto<B>) + 'static,
    ) -> Result<()> {
        let call = read::Supplied::new(
            move |node: &std::rc::Rc<StreamNode>, size| {
                supply(&Self::from_stream(node.clone()), size)
            },
            move |node: &std::rc::Rc<StreamNode>, read| {
                callback(&Self::from_stream(node.clone()), read);
            },
        );
        read::start(self.stream(), Box::new(call))
    }

    /// Ends reading and drops the closure. Stopping a stream that does not read does nothing.
    fn read_stop(&self) {
        read::stop(self.stream());
    }

    /// Writes a buffer and calls `callback` when that is done, or has failed.
    ///
    /// What the descriptor takes at once is written at once, but the callback is called from `run`
    /// all the same, in the order of the writes; the rest is queued, without a copy and without a
    /// limit of its own: see [`Stream::write_queue_size`] and [`Stream::set_high_water_mark`].
    ///
    /// # Errors
    /// `EBADF` when the stream has no descriptor, `EPIPE` when it is not writable, was shut down or
    /// is closing, `EINVAL` for more bytes than can be counted. What writing itself says is for the
    /// callback, `EPIPE` among it. A socket never raises SIGPIPE; a pipe does, in a program that
    /// does not ignore it as Rust programs do.
    fn write(
        &self,
        buf: impl Into<Buf>,
        callback: impl FnOnce(&Self, Written) + 'static,
    ) -> Result<WriteId> {
        let bufs = buf::Bufs::One(buf.into());
        write::start(self.stream(), bufs, Some(writing::callback(callback)))
    }

    /// As [`Stream::write`], for several buffers that follow each other.
    ///
    /// # Errors
    /// As [`Stream::write`]; `EINVAL` for none or more than 2²⁰ buffers (libuv's limit).
    fn write_vectored(
        &self,
        bufs: Vec<Buf>,
        callback: impl FnOnce(&Self, Written) + 'static,
    ) -> Result<WriteId> {
        write::start(self.stream(), buf::Bufs::Many(bufs), Some(writing::callback(callback)))
    }

    /// As [`Stream::write`], without a callback: a write that is done at once costs nothing more.
    ///
    /// # Errors
    /// As [`Stream::write`], and what the first attempt says. The error of a later attempt is kept
    /// for [`Stream::take_write_error`].
    fn write_and_forget(&self, buf: impl Into<Buf>) -> Result<()> {
        write::start(self.stream(), buf::Bufs::One(buf.into()), None).map(drop)
    }

    /// The first error of a write without callback that was not reported yet.
    fn take_write_error(&self) -> Option<crate::Error> {
        writing::take_error(self.stream())
    }

    /// Writes what can be written now and returns how many bytes; queues nothing.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room, or writes are queued, or the stream is connecting; else as
    /// [`Stream::write`].
    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        write::try_write_one(self.stream(), bytes)
    }

    /// As [`Stream::try_write`], for several slices that follow each other.
    ///
    /// # Errors
    /// As [`Stream::try_write`].
    fn try_write_vectored(&self, slices: &[std::io::IoSlice<'_>]) -> Result<usize> {
        write::try_write(self.stream(), slices)
    }

    /// Takes a write off the queue (`uv_cancel` on a write): its callback gets `ECANCELED` and how
    /// many bytes had been written. Of a write that was begun, the rest is not written.
    ///
    /// # Errors
    /// `ENOENT` when the write is done, or was never one of this stream's: too late.
    fn cancel_write(&self, id: WriteId) -> Result<()> {
        write::cancel(self.stream(), id)
    }

    /// Bytes of a queued write that have been written so far (`uv_write_nwritten`); `None` when it
    /// is not queued.
    fn bytes_written(&self, id: WriteId) -> Option<usize> {
        writing::progress(self.stream(), id)
    }

    /// Bytes that are queued and not written yet (`uv_stream_get_write_queue_size`).
    fn write_queue_size(&self) -> usize {
        writing::queue_size(self.stream())
    }

    /// The number of queued bytes from which on [`Stream::wants_drain`] asks the writer to wait;
    /// 64 KiB at first.
    fn set_high_water_mark(&self, bytes: usize) {
        writing::set_high_water_mark(self.stream(), bytes);
    }

    /// Whether the queue has reached the high-water mark and has not run empty since: time to wait
    /// for the drain event.
    fn wants_drain(&self) -> bool {
        writing::wants_drain(self.stream())
    }

    /// Has `callback` called whenever the queue, having reached the high-water mark, has run empty
    /// while the stream is writable: not after a shutdown.
    ///
    /// # Errors
    /// `EINVAL` when the stream is closing.
    fn on_drain(&self, mut callback: impl FnMut(&Self) + 'static) -> Result<()> {
        writing::on_drain(
            self.stream(),
            Box::new(move |node| callback(&Self::from_stream(node.clone()))),
        )
    }

    /// Ends the writing side when everything queued has been written, and calls `callback` then.
    ///
    /// The peer reads the end. A real pipe has no writing side of its own to end, so its
    /// descriptor is closed; the handle still wants to be.
    ///
    /// # Errors
    /// `EBADF` when the stream has no descriptor, `ENOTCONN` when it is not writable, has been
    /// shut down, or is closing.
    fn shutdown(&self, callback: impl FnOnce(&Self, Result<()>) + 'static) -> Result<()> {
        report::shutdown(
            self.stream(),
            Box::new(move |node, result| callback(&Self::from_stream(node.clone()), result)),
        )
    }

    /// Whether the stream can be read from: it is open for that, and has not failed.
    fn is_readable(&self) -> bool {
        self.stream().is_readable()
    }

    /// Whether the stream can be written to: it is open for that, has not failed, and has not been
    /// shut down.
    fn is_writable(&self) -> bool {
        self.stream().is_writable()
    }

    /// Takes reading for possible, whatever the access mode of the descriptor says, so that
    /// [`Stream::read_start`] can be used to learn of a hang-up on one that is only written to.
    fn assume_readable(&self) {
        self.stream().assume_readable();
    }

    /// Waits for connections and calls `callback` for each; it takes them with
    /// [`Stream::accept`]. A connection that is not taken holds up those behind it.
    ///
    /// An error is reported in the callback, and listening goes on. When the process has run out
    /// of descriptors, connections that wait are accepted and closed, so that the peers learn of
    /// it, and the callback gets `EMFILE`.
    ///
    /// # Errors
    /// `EINVAL` when the stream is closing or not bound (a TCP socket is bound to a port of the
    /// kernel's choice then), what listen(2) says; `EADDRINUSE` also when the bind left it to be said
    /// here.
    fn listen(
        &self,
        backlog: i32,
        mut callback: impl FnMut(&Self, Result<()>) + 'static,
    ) -> Result<()> {
        listen::start(
            self.stream(),
            backlog,
            Box::new(move |node, result| callback(&Self::from_stream(node.clone()), result)),
        )
    }

    /// The connection that was announced last, as a new stream.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EINVAL` when the stream is closing or the loop gone.
    fn accept(&self) -> Result<Self> {
        let client = Self::from_stream(StreamNode::make(self.event_loop(), self.kind())?);
        listen::accept_into(self.stream(), client.stream()).map(|()| client)
    }

    /// As [`Stream::accept`], into a stream that exists and is not open.
    ///
    /// # Errors
    /// As [`Stream::accept`]; `EBUSY` when `client` is open.
    fn accept_into(&self, client: &Self) -> Result<()> {
        listen::accept_into(self.stream(), client.stream())
    }

    /// Has each write done when the call returns (`uv_stream_set_blocking`), however long that
    /// takes; callbacks come from `run` all the same. Writes behind queued ones still wait for
    /// them, and reading is as ever.
    ///
    /// libuv makes the descriptor itself blocking, for everyone who shares it; here only this
    /// stream waits.
    ///
    /// # Errors
    /// `EBADF` when the stream has no descriptor.
    fn set_blocking(&self, on: bool) -> Result<()> {
        let node = self.stream();
        node.with_fd(|_| Ok(()))?;
        node.put(node::Flags::WRITES_BLOCK, on);
        Ok(())
    }

    /// Bytes that the socket lets wait to be sent (`uv_send_buffer_size`, `SO_SNDBUF`). Linux
    /// doubles what is set, and says so.
    ///
    /// # Errors
    /// `EBADF` when the stream has no descriptor, `ENOTSOCK` for a pipe that is no socket,
    /// `ENOTSUP` for a stream of another kind.
    fn send_buffer_size(&self) -> Result<usize> {
        self.stream().with_socket(socket::send_buffer_size)
    }

    /// Sets the size that [`Stream::send_buffer_size`] tells.
    ///
    /// # Errors
    /// As there; `EINVAL` for more than 2³¹ - 1 bytes. The kernel has limits of its own, to which it
    /// cuts sizes silently (socket(7)).
    fn set_send_buffer_size(&self, bytes: usize) -> Result<()> {
        self.stream().with_socket(|fd| socket::set_send_buffer_size(fd, bytes))
    }

    /// Bytes that the socket lets wait to be received (`uv_recv_buffer_size`, `SO_RCVBUF`).
    ///
    /// # Errors
    /// As [`Stream::send_buffer_size`].
    fn recv_buffer_size(&self) -> Result<usize> {
        self.stream().with_socket(socket::recv_buffer_size)
    }

    /// Sets the size that [`Stream::recv_buffer_size`] tells.
    ///
    /// # Errors
    /// As [`Stream::set_send_buffer_size`].
    fn set_recv_buffer_size(&self, bytes: usize) -> Result<()> {
        self.stream().with_socket(|fd| socket::set_recv_buffer_size(fd, bytes))
    }

    /// The number of the descriptor (`uv_fileno`), which stays the stream's.
    ///
    /// # Errors
    /// `EBADF` when there is none.
    fn fileno(&self) -> Result<RawFd> {
        self.stream().fileno()
    }

    /// A copy of the descriptor, which shares its open file description.
    ///
    /// # Errors
    /// `EBADF` when there is none, `EMFILE` when no number is left for the copy.
    fn duplicate_fd(&self) -> Result<OwnedFd> {
        self.stream().duplicate_fd()
    }

    /// Gives the descriptor back and leaves the stream not open. It may be non-blocking.
    ///
    /// # Errors
    /// `EBUSY` when the stream reads, listens, or has requests in flight; `EBADF` when there is
    /// no descriptor.
    fn take_fd(&self) -> Result<OwnedFd> {
        self.stream().take_fd()
    }
}
