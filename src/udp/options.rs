//! Options of UDP sockets: what comes beside a datagram, how far datagrams go, how many may wait.

use super::Udp;
use crate::error::{Error, Result};
use crate::sys::{socket, udp};

impl Udp {
    /// Has each datagram tell the address it was sent to and the interface it came in by
    /// (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `ENOTSUP` when the kernel cannot.
    pub fn set_receive_destination(&self, on: bool) -> Result<()> {
        let family = self.family();
        self.0.with_fd(|fd| udp::receive_destination(fd, family, on))
    }

    /// Has each datagram tell its mark (`IP_RECVTOS`, `IPV6_RECVTCLASS`).
    ///
    /// # Errors
    /// As [`Udp::set_receive_destination`].
    pub fn set_receive_ecn(&self, on: bool) -> Result<()> {
        let family = self.family();
        self.0.with_fd(|fd| udp::receive_class(fd, family, on))
    }

    /// Lets the kernel put datagrams of one sender and one size together, up to 64 KiB (generic
    /// receive offload: `UDP_GRO`, Linux 5.0); [`UdpMeta::segment_size`](super::UdpMeta::segment_size)
    /// tells where to cut.
    ///
    /// # Errors
    /// As [`Udp::set_receive_destination`].
    pub fn set_receive_segments(&self, on: bool) -> Result<()> {
        self.0.with_fd(|fd| udp::receive_segments(fd, on))
    }

    /// Allows sending to broadcast addresses (`uv_udp_set_broadcast`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open.
    pub fn set_broadcast(&self, on: bool) -> Result<()> {
        self.0.with_fd(|fd| udp::broadcast(fd, on))
    }

    /// How far datagrams go, 1 to 255 (`uv_udp_set_ttl`).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `EINVAL` for another number.
    pub fn set_ttl(&self, ttl: u32) -> Result<()> {
        if !(1..=255).contains(&ttl) {
            return Err(Error::EINVAL);
        }
        let family = self.family();
        self.0.with_fd(|fd| udp::ttl(fd, family, ttl))
    }

    /// Bytes that the socket lets wait to be sent (`uv_send_buffer_size`); see
    /// [`Stream::send_buffer_size`](crate::Stream::send_buffer_size).
    ///
    /// # Errors
    /// `EBADF` when the socket is not open.
    pub fn send_buffer_size(&self) -> Result<usize> {
        self.0.with_fd(socket::send_buffer_size)
    }

    /// Sets the size that [`Udp::send_buffer_size`] tells.
    ///
    /// # Errors
    /// `EBADF` when the socket is not open, `EINVAL` for more than 2³¹ - 1 bytes.
    pub fn set_send_buffer_size(&self, bytes: usize) -> Result<()> {
        self.0.with_fd(|fd| socket::set_send_buffer_size(fd, bytes))
    }

    /// Bytes that the socket lets wait to be received (`uv_recv_buffer_size`). What does not fit
    /// is lost.
    ///
    /// # Errors
    /// As [`Udp::send_buffer_size`].
    pub fn recv_buffer_size(&self) -> Result<usize> {
        self.0.with_fd(socket::recv_buffer_size)
    }

    /// Sets the size that [`Udp::recv_buffer_size`] tells.
    ///
    /// # Errors
    /// As [`Udp::set_send_buffer_size`].
    pub fn set_recv_buffer_size(&self, bytes: usize) -> Result<()> {
        self.0.with_fd(|fd| socket::set_recv_buffer_size(fd, bytes))
    }
}
