//! Sending datagrams: queued with a callback or without, or now or never.

use std::io::IoSlice;

use super::{AddressFamily, Outgoing, Transmit, Udp, UdpFlags};
use crate::datagram::{self, Flags, Request, SendCallback, SendControl};
use crate::error::{Error, Result};
use crate::stream::{Buf, Bufs};
use crate::sys::datagram::{self as messages, Name, To};

impl Udp {
    /// `EISCONN` for an address beside a peer, `EDESTADDRREQ` for neither (libuv's rules); makes the
    /// socket if there is none.
    fn before_send(&self, transmit: &Transmit) -> Result<()> {
        self.0.usable()?;
        match (transmit.to, self.0.has(Flags::CONNECTED)) {
            (Some(_), true) => Err(Error::EISCONN),
            (None, false) => Err(Error::EDESTADDRREQ),
            (Some(to), false) => self.ensure_bound(AddressFamily::of(&to), UdpFlags::empty()),
            (None, true) => Ok(()),
        }
    }

    fn queue(&self, bufs: Bufs, transmit: Transmit, callback: Option<SendCallback>) -> Result<()> {
        self.before_send(&transmit)?;
        let control =
            if transmit.is_plain() { None } else { Some(transmit.control(self.family())?) };
        let request = Request {
            bufs,
            to: transmit.to.map(Name::Inet),
            control: control.map(Box::new),
            descriptors: Vec::new(),
            callback,
        };
        datagram::start(&self.0, request).map_err(|error| transmit.explain(error))
    }

    /// Sends a datagram (`uv_udp_send`) and calls `callback` when that is done, or has failed.
    ///
    /// It is tried at once if nothing is queued; else it waits behind what is, and several go out
    /// with one call, as with [`Udp::try_send_batch`]. The callback is called from `run`, in the order
    /// of the sends. A socket that is not open is made and bound to a free port.
    ///
    /// # Errors
    /// `EISCONN` for an address when the socket has a peer, `EDESTADDRREQ` for neither, `EINVAL`
    /// when the handle is closing, for no buffers or more than 2²⁰, more than 2³¹ - 1 bytes, and a
    /// source of another family. What sending itself says is for the callback: `EMSGSIZE`,
    /// `EACCES` for a broadcast that was not allowed, `ECONNREFUSED` of an earlier datagram,
    /// `ENOTSUP` when the device cannot cut datagrams, …
    pub fn send(
        &self,
        buf: impl Into<Buf>,
        to: impl Into<Transmit>,
        callback: impl FnOnce(&Udp, Result<()>) + 'static,
    ) -> Result<()> {
        let to = to.into();
        self.queue(Bufs::One(buf.into()), to, Some(with_udp(to, callback)))
    }

    /// As [`Udp::send`], of a datagram in several buffers that follow each other.
    ///
    /// # Errors
    /// As [`Udp::send`].
    pub fn send_vectored(
        &self,
        bufs: Vec<Buf>,
        to: impl Into<Transmit>,
        callback: impl FnOnce(&Udp, Result<()>) + 'static,
    ) -> Result<()> {
        let to = to.into();
        self.queue(Bufs::Many(bufs), to, Some(with_udp(to, callback)))
    }

    /// As [`Udp::send`], without a callback.
    ///
    /// # Errors
    /// As [`Udp::send`], and what the first attempt says. The error of a later attempt is kept for
    /// [`Udp::take_send_error`].
    pub fn send_and_forget(&self, buf: impl Into<Buf>, to: impl Into<Transmit>) -> Result<()> {
        self.queue(Bufs::One(buf.into()), to.into(), None)
    }

    /// The first error of a send without callback that was not reported yet.
    pub fn take_send_error(&self) -> Option<Error> {
        self.0.take_send_error()
    }

    /// Sends a datagram now, or not at all (`uv_udp_try_send`). Returns its length.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room or something is queued; else as [`Udp::send`], and what
    /// sending says.
    pub fn try_send(&self, bytes: &[u8], to: impl Into<Transmit>) -> Result<usize> {
        self.try_send_vectored(&[IoSlice::new(bytes)], to)
    }

    /// As [`Udp::try_send`], of a datagram in several slices that follow each other.
    ///
    /// # Errors
    /// As [`Udp::try_send`].
    pub fn try_send_vectored(
        &self,
        slices: &[IoSlice<'_>],
        to: impl Into<Transmit>,
    ) -> Result<usize> {
        let transmit = to.into();
        self.try_send_batch(&[Outgoing { slices, transmit }])?;
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    /// Sends several datagrams now, 32 with each call, and returns how many went
    /// (`uv_udp_try_send2`): those behind the first that did not go have not been tried.
    ///
    /// Datagrams that follow each other, go to one receiver, are of one length (the last may be
    /// shorter) and have nothing set in their [`Transmit`] are handed to the kernel as one message,
    /// which it cuts: a fraction of the work. Receivers see no difference. A firewall counts one
    /// packet, and a peer that refuses them does it once. `Facilities::UDP_SEGMENT` is the
    /// switch; a socket with [`UdpFlags::LINUX_RECVERR`] sends one by one.
    ///
    /// ```
    /// use blacklight::{EventLoop, Outgoing, Transmit, Udp};
    /// use std::io::IoSlice;
    ///
    /// let lp = EventLoop::new()?;
    /// let (one, other) = (Udp::new(&lp)?, Udp::new(&lp)?);
    /// other.bind("127.0.0.1:0".parse()?)?;
    /// let transmit = Transmit::to(other.local_address()?);
    /// let (first, second) = ([IoSlice::new(b"first")], [IoSlice::new(b"second")]);
    /// let batch = [Outgoing { slices: &first, transmit }, Outgoing { slices: &second, transmit }];
    /// assert_eq!(one.try_send_batch(&batch)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If none went, as [`Udp::try_send`]; `EINVAL` for no datagrams.
    pub fn try_send_batch(&self, datagrams: &[Outgoing<'_>]) -> Result<usize> {
        let first = datagrams.first().ok_or(Error::EINVAL)?;
        for datagram in datagrams {
            let lengths = datagram.slices.iter().map(|slice| slice.len());
            let total = lengths.into_iter().try_fold(0usize, usize::checked_add);
            self.before_send(&datagram.transmit)?;
            datagram::check_slices(datagram.slices.len(), total)?;
        }
        datagram::may_try(&self.0)?;
        let family = self.family();
        let mut controls = Vec::new();
        if !datagrams.iter().all(|datagram| datagram.transmit.is_plain()) {
            controls.reserve_exact(datagrams.len());
            for Outgoing { transmit, .. } in datagrams {
                controls.push(transmit.control(family)?);
            }
        }
        let sent = match datagrams {
            [one] => datagram::try_many(&self.0, &[outgoing(one, controls.first())]),
            _ => {
                let each = datagrams.iter().enumerate();
                let all: Vec<_> = each.map(|(at, one)| outgoing(one, controls.get(at))).collect();
                datagram::try_many(&self.0, &all)
            }
        };
        sent.map_err(|error| first.transmit.explain(error))
    }

    /// Bytes of datagrams whose sending has not been reported
    /// (`uv_udp_get_send_queue_size`).
    #[must_use]
    pub fn send_queue_size(&self) -> usize {
        self.0.send_queue_size()
    }

    /// How many datagrams that are (`uv_udp_get_send_queue_count`).
    #[must_use]
    pub fn send_queue_count(&self) -> usize {
        self.0.send_queue_count()
    }
}

fn outgoing<'a>(
    datagram: &'a Outgoing<'_>,
    control: Option<&'a SendControl>,
) -> messages::Outgoing<'a> {
    messages::Outgoing {
        slices: datagram.slices,
        to: datagram.transmit.to.map_or(To::Peer, To::Inet),
        control: control.map_or(&[], SendControl::as_slice),
    }
}

/// Fits a callback that wants the public type.
fn with_udp(transmit: Transmit, callback: impl FnOnce(&Udp, Result<()>) + 'static) -> SendCallback {
    Box::new(move |node, result| {
        callback(&Udp(node.clone()), result.map_err(|error| transmit.explain(error)));
    })
}
