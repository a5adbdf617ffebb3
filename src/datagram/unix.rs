//! What messages over Unix sockets bring and take: names, descriptors, credentials.

use std::os::fd::OwnedFd;

use super::{Event, EventInto};
use crate::error::Error;
use crate::sys::ancillary::Credentials;
use crate::sys::datagram::{Name, Received};

/// What came with a message over a Unix socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnixMeta {
    /// The name of the socket that sent it, empty if it has none; an abstract one begins with a
    /// NUL. Messages over a connection have none.
    pub from: Vec<u8>,
    /// Whether it was longer than the buffer, and its end is lost.
    pub truncated: bool,
    /// Descriptors that came along, up to 253; closed if nobody takes them.
    pub descriptors: Vec<OwnedFd>,
    /// Who sent it, as the kernel vouches for it, if that was asked for.
    pub credentials: Option<Credentials>,
}

impl UnixMeta {
    fn new(received: Received) -> UnixMeta {
        let from = match received.from {
            Some(Name::Unix(name)) => name,
            _ => Vec::new(),
        };
        let descriptors = received.descriptors;
        // Sent before the kernel was asked for them: it names nobody.
        let credentials = received.credentials.filter(|credentials| credentials.pid != 0);
        UnixMeta { from, truncated: received.truncated, descriptors, credentials }
    }
}

/// What a Unix socket that receives messages has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnixRead<'a> {
    /// A message, which may be of no bytes; lent for the call.
    Data(&'a [u8], UnixMeta),
    /// The peer has ended the connection. Receiving has stopped. Only a
    /// [`SeqPacket`](crate::SeqPacket) has an end.
    Eof,
    /// Receiving failed. It goes on all the same. `EMFILE` when descriptors came for which this
    /// process had no room: that message is lost.
    Error(Error),
}

impl<'a> UnixRead<'a> {
    pub(crate) fn new(event: Event<'a>) -> UnixRead<'a> {
        match event {
            Event::Message(_, received) if received.control_truncated => {
                UnixRead::Error(Error::EMFILE)
            }
            Event::Message(bytes, received) => UnixRead::Data(bytes, UnixMeta::new(received)),
            Event::Error(error) => UnixRead::Error(error),
            Event::End => UnixRead::Eof,
        }
    }
}

/// What a Unix socket that receives messages into buffers of its user's has to say; each buffer
/// comes back once.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnixReadInto<B> {
    /// A buffer, and how many bytes at its beginning are a message.
    Data(B, usize, UnixMeta),
    /// A buffer that nothing was received into.
    Unused(B),
    /// The end, as [`UnixRead::Eof`].
    Eof(B),
    /// Receiving failed, and goes on all the same; as [`UnixRead::Error`], and `ENOBUFS` when the
    /// buffer has no room.
    Error(Error, Option<B>),
}

impl<B> UnixReadInto<B> {
    pub(crate) fn new(event: EventInto<'_, B>) -> Option<UnixReadInto<B>> {
        Some(match event {
            EventInto::Message(buffer, _, received) if received.control_truncated => {
                UnixReadInto::Error(Error::EMFILE, Some(buffer))
            }
            EventInto::Message(buffer, length, received) => {
                UnixReadInto::Data(buffer, length, UnixMeta::new(received))
            }
            // Unix sockets receive one message at a time.
            EventInto::Piece(..) => return None,
            EventInto::Unused(buffer) => UnixReadInto::Unused(buffer),
            EventInto::Error(error, buffer) => UnixReadInto::Error(error, buffer),
            EventInto::End(buffer) => UnixReadInto::Eof(buffer),
        })
    }
}

/// The methods that sockets for messages have in common.
macro_rules! message_socket {
    ($handle:ident) => {
        impl $handle {
            /// Calls `callback` with each message that comes, until
            #[doc = concat!("[`", stringify!($handle), "::recv_stop`].")]
            ///
            /// The bytes lie in a buffer of the loop's (64 KiB) that is lent for the call; for
            /// longer messages supply buffers. At most 32 messages are received per turn.
            ///
            /// # Errors
            /// `EALREADY` when it is receiving, `EINVAL` when the handle is closing, `EBADF` when
            /// it is not open.
            pub fn recv_start(
                &self,
                mut callback: impl FnMut(&$handle, $crate::datagram::unix::UnixRead<'_>) + 'static,
            ) -> $crate::error::Result<()> {
                self.before_receive()?;
                let receiver = $crate::datagram::LoopBuffer::new(
                    move |node: &Rc<DatagramNode>, event: $crate::datagram::Event<'_>| {
                        let read = $crate::datagram::unix::UnixRead::new(event);
                        callback(&$handle(node.clone()), read);
                    },
                );
                $crate::datagram::recv_start(&self.0, Box::new(receiver))
            }

            /// As
            #[doc = concat!("[`", stringify!($handle), "::recv_start`],")]
            /// into buffers that the caller supplies: `supply` is asked for one before each attempt,
            /// with a suggested size in bytes, and it comes back in the event.
            ///
            /// # Errors
            /// As there.
            pub fn recv_start_into<B: AsMut<[u8]> + 'static>(
                &self,
                mut supply: impl FnMut(&$handle, usize) -> B + 'static,
                mut callback: impl FnMut(&$handle, $crate::datagram::unix::UnixReadInto<B>)
                + 'static,
            ) -> $crate::error::Result<()> {
                self.before_receive()?;
                let receiver = $crate::datagram::Supplied::new(
                    move |node: &Rc<DatagramNode>, size| supply(&$handle(node.clone()), size),
                    move |node: &Rc<DatagramNode>, event: $crate::datagram::EventInto<'_, B>| {
                        if let Some(read) = $crate::datagram::unix::UnixReadInto::new(event) {
                            callback(&$handle(node.clone()), read);
                        }
                    },
                );
                $crate::datagram::recv_start(&self.0, Box::new(receiver))
            }

            fn before_receive(&self) -> $crate::error::Result<()> {
                self.0.usable()?;
                self.0.with_fd(|_| Ok(()))
            }

            /// Ends receiving and drops the closure. Stopping a socket that does not receive does
            /// nothing.
            pub fn recv_stop(&self) {
                $crate::datagram::recv_stop(&self.0);
            }

            /// The first error of a send without callback that was not reported yet.
            pub fn take_send_error(&self) -> Option<$crate::error::Error> {
                self.0.take_send_error()
            }

            /// Bytes of messages whose sending has not been reported.
            #[must_use]
            pub fn send_queue_size(&self) -> usize {
                self.0.send_queue_size()
            }

            /// How many messages that are.
            #[must_use]
            pub fn send_queue_count(&self) -> usize {
                self.0.send_queue_count()
            }

            /// The name the socket is bound to, empty if to none; an abstract one begins with a NUL.
            ///
            /// # Errors
            /// `EBADF` when it is not open.
            pub fn local_name(&self) -> $crate::error::Result<Vec<u8>> {
                self.0.with_fd($crate::sys::unix_socket::local_name)
            }

            /// The name of the peer, empty if it has none.
            ///
            /// # Errors
            /// `EBADF` when the socket is not open, `ENOTCONN` when there is no peer.
            pub fn peer_name(&self) -> $crate::error::Result<Vec<u8>> {
                self.0.with_fd($crate::sys::unix_socket::peer_name)
            }

            /// Bytes that the socket lets wait to be sent (`SO_SNDBUF`), which is also the length of
            /// the longest message there can be, more or less.
            ///
            /// # Errors
            /// `EBADF` when the socket is not open.
            pub fn send_buffer_size(&self) -> $crate::error::Result<usize> {
                self.0.with_fd($crate::sys::socket::send_buffer_size)
            }

            /// Sets the size that is told by
            #[doc = concat!("[`", stringify!($handle), "::send_buffer_size`].")]
            ///
            /// # Errors
            /// `EBADF` when the socket is not open, `EINVAL` for more than 2³¹ - 1 bytes.
            pub fn set_send_buffer_size(&self, bytes: usize) -> $crate::error::Result<()> {
                self.0.with_fd(|fd| $crate::sys::socket::set_send_buffer_size(fd, bytes))
            }

            /// The number of the descriptor (`uv_fileno`), which stays the handle's.
            ///
            /// # Errors
            /// `EBADF` when there is none.
            pub fn fileno(&self) -> $crate::error::Result<std::os::fd::RawFd> {
                self.0.fileno()
            }

            /// A copy of the descriptor, which shares its open file description.
            ///
            /// # Errors
            /// `EBADF` when there is none, `EMFILE` when no number is left for the copy.
            pub fn duplicate_fd(&self) -> $crate::error::Result<OwnedFd> {
                self.0.duplicate_fd()
            }

            /// Gives the descriptor back and leaves the handle not open.
            ///
            /// # Errors
            /// `EBUSY` while it receives or has sends in flight, `EBADF` when there is none.
            pub fn take_fd(&self) -> $crate::error::Result<OwnedFd> {
                self.0.take_fd()
            }
        }
    };
}
pub(crate) use message_socket;
