//! Control messages as bytes: built for sendmsg(2), read after recvmsg(2) (cmsg(3)).
//!
//! Invariants: a buffer is aligned as the headers in it must be, and never holds half a message;
//! reading takes any bytes at all and ends at the first message that does not fit.

use std::mem::{offset_of, size_of};

/// The header of a control message is aligned to a word (`CMSG_ALIGN`, include/linux/socket.h).
const ALIGN: usize = size_of::<usize>();
const HEADER: usize = size_of::<libc::cmsghdr>();

/// Bytes that a message with this much data takes.
pub(crate) const fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(ALIGN)
}

/// Room for control messages.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
pub(crate) struct Control<const ROOM: usize> {
    bytes: [u8; ROOM],
    used: usize,
}

impl<const ROOM: usize> Control<ROOM> {
    pub(crate) const fn new() -> Control<ROOM> {
        Control { bytes: [0; ROOM], used: 0 }
    }

    /// Adds a message; false when there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(self.used..self.used + space(data.len())) else {
            return false;
        };
        let length = HEADER + data.len();
        place[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        let mut put = |at: usize, value: i32| {
            place[at..at + size_of::<i32>()].copy_from_slice(&value.to_ne_bytes());
        };
        put(offset_of!(libc::cmsghdr, cmsg_level), level);
        put(offset_of!(libc::cmsghdr, cmsg_type), kind);
        place[HEADER..length].copy_from_slice(data);
        self.used += space(data.len());
        true
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// All of the room, for the kernel to write to.
    pub(crate) fn room(&mut self) -> &mut [u8; ROOM] {
        &mut self.bytes
    }
}

/// The messages in control data: level, type, data.
pub(crate) fn entries(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let word = |at: usize| -> Option<i32> {
            let bytes = control.get(at..at + size_of::<i32>())?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let length = control.get(..size_of::<usize>())?;
        let length = usize::from_ne_bytes(length.try_into().ok()?);
        let level = word(offset_of!(libc::cmsghdr, cmsg_level))?;
        let kind = word(offset_of!(libc::cmsghdr, cmsg_type))?;
        let data = control.get(HEADER..length)?;
        let next = length.checked_next_multiple_of(ALIGN)?;
        control = control.get(next..).unwrap_or_default();
        Some((level, kind, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_what_is_read() {
        let mut control = Control::<64>::new();
        assert!(control.push(1, 2, b"abc"));
        assert!(control.push(3, 4, b""));
        assert!(!control.push(5, 6, &[0; 17]), "no room");
        let read: Vec<_> = entries(control.as_slice()).collect();
        assert_eq!(read, [(1, 2, b"abc".as_slice()), (3, 4, b"".as_slice())]);
    }

    #[test]
    fn broken_control_data_ends_the_reading() {
        assert_eq!(entries(&[1; 7]).count(), 0);
        assert_eq!(entries(&[0xff; 64]).count(), 0);
        // A length shorter than the header it is in.
        assert_eq!(entries(&[0; 64]).count(), 0);
    }
}
