//! Receiving datagrams: into the loop's buffer or the caller's, one by one or in batches.

use std::rc::Rc;

use super::{AddressFamily, Udp, UdpFlags, UdpRead, UdpReadInto};
use crate::datagram::{self, DatagramNode, LoopBuffer, Supplied};
use crate::error::Result;

impl Udp {
    /// Calls `callback` with each datagram that comes (`uv_udp_recv_start`), until
    /// [`Udp::recv_stop`].
    ///
    /// The bytes lie in a buffer of the loop's that is lent for the call; it has room for the
    /// largest datagram there is. A datagram may be of no bytes. An error does not end receiving. A
    /// socket that is not open is made, of IPv4, and bound to a free port. Datagrams that were
    /// received in a batch with one whose callback stops receiving are lost.
    ///
    /// # Errors
    /// `EALREADY` when it is receiving, `EINVAL` when the handle is closing.
    pub fn recv_start(&self, mut callback: impl FnMut(&Udp, UdpRead<'_>) + 'static) -> Result<()> {
        self.before_receive()?;
        let receiver =
            LoopBuffer::new(move |node: &Rc<DatagramNode>, event: datagram::Event<'_>| {
                callback(&Udp(node.clone()), UdpRead::new(event));
            });
        datagram::recv_start(&self.0, Box::new(receiver))
    }

    /// As [`Udp::recv_start`], into buffers that the caller supplies: `supply` is asked for one
    /// before each attempt, with a suggested size in bytes, and it comes back in an event: once
    /// more than datagrams came, as [`UdpReadInto::Unused`]. One of no size is an `ENOBUFS` error.
    ///
    /// A handle that receives in batches cuts the buffer into pieces of 64 KiB, for a datagram
    /// each.
    ///
    /// ```
    /// use blacklight::{EventLoop, Handle, RunMode, Udp, UdpReadInto};
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, other) = (Udp::new(&lp)?, Udp::new(&lp)?);
    /// other.bind("127.0.0.1:0".parse()?)?;
    /// other.recv_start_into(
    ///     |_, suggested| vec![0; suggested.min(1500)],
    ///     |other, read| match read {
    ///         UdpReadInto::Data(buffer, length, meta) => {
    ///             assert_eq!((&buffer[..length], meta.truncated), (b"hello".as_slice(), false));
    ///             other.close();
    ///         }
    ///         other => println!("{other:?}"),
    ///     },
    /// )?;
    /// one.try_send(b"hello", other.local_address()?)?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Udp::recv_start`].
    pub fn recv_start_into<B: AsMut<[u8]> + 'static>(
        &self,
        mut supply: impl FnMut(&Udp, usize) -> B + 'static,
        mut callback: impl FnMut(&Udp, UdpReadInto<'_, B>) + 'static,
    ) -> Result<()> {
        self.before_receive()?;
        let receiver = Supplied::new(
            move |node: &Rc<DatagramNode>, size| supply(&Udp(node.clone()), size),
            move |node: &Rc<DatagramNode>, event: datagram::EventInto<'_, B>| {
                callback(&Udp(node.clone()), UdpReadInto::new(event));
            },
        );
        datagram::recv_start(&self.0, Box::new(receiver))
    }

    fn before_receive(&self) -> Result<()> {
        self.0.usable()?;
        self.ensure_bound(AddressFamily::Ipv4, UdpFlags::empty())
    }

    /// Ends receiving and drops the closure (`uv_udp_recv_stop`). Stopping a socket that does not
    /// receive does nothing.
    pub fn recv_stop(&self) {
        datagram::recv_stop(&self.0);
    }
}
