//! Operations on files through io_uring(7), where the feature and the kernel have it.
//!
//! No thread of the kernel's polls for submissions (libuv#4308: such a thread takes a processor for
//! itself); what was pushed is handed over by [`Ring::flush`], once per turn of the loop.
//!
//! Invariant: the memory that a [`Submission`] points to belongs to the closure that is pushed with
//! it, which the ring keeps until the kernel has answered; moving the closure leaves the memory in
//! place. A ring that is dropped under operations is emptied by a thread of its own first.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use slab::Slab;

use super::copy::MOST_BYTES;
use super::file::At;
use super::statx::{MASK, StatRoom, Whom, arguments};
use crate::error::{Error, Result};

/// Operations that one loop has in flight at most; the pool takes what is more. The completion
/// queue has room for twice as many, so that it cannot overflow.
const ENTRIES: u32 = 256;

/// Marks the answer to a cancellation.
const CANCEL: u64 = 1 << 63;

/// One operation as the kernel wants it. Its pointers are good for as long as the closure that it is
/// pushed with.
pub(crate) struct Submission(squeue::Entry);

// SAFETY: it is plain data; its pointers are used by the kernel alone, while the closure that owns
// what they point to, which can be sent as well, is kept beside it.
unsafe impl Send for Submission {}

const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

fn offset(at: At) -> u64 {
    match at {
        // To the kernel: the current position (Linux 5.6).
        At::Current => u64::MAX,
        At::Offset(offset) => offset as u64,
    }
}

fn length(length: usize) -> u32 {
    // MOST_BYTES fits; more than that is never done at once.
    length.min(MOST_BYTES) as u32
}

impl Submission {
    fn of(entry: squeue::Entry) -> Option<Submission> {
        Some(Submission(entry))
    }

    pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Option<Submission> {
        let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
        Self::of(opcode::OpenAt::new(HERE, path.as_ptr()).flags(flags).mode(mode).build())
    }

    pub(crate) fn close(number: RawFd) -> Option<Submission> {
        Self::of(opcode::Close::new(types::Fd(number)).build())
    }

    pub(crate) fn read(number: RawFd, to: &mut [u8], at: At) -> Option<Submission> {
        let entry = opcode::Read::new(types::Fd(number), to.as_mut_ptr(), length(to.len()));
        Self::of(entry.offset(offset(at)).build())
    }

    pub(crate) fn write(number: RawFd, from: &[u8], at: At) -> Option<Submission> {
        let entry = opcode::Write::new(types::Fd(number), from.as_ptr(), length(from.len()));
        Self::of(entry.offset(offset(at)).build())
    }

    pub(crate) fn sync(number: RawFd, only_data: bool) -> Option<Submission> {
        let flags =
            if only_data { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        Self::of(opcode::Fsync::new(types::Fd(number)).flags(flags).build())
    }

    pub(crate) fn stat(whom: Whom<'_>, room: &mut StatRoom) -> Option<Submission> {
        let (fd, path, flags) = arguments(whom);
        let entry = opcode::Statx::new(types::Fd(fd), path, room.as_mut_ptr().cast());
        Self::of(entry.flags(flags).mask(MASK).build())
    }

    pub(crate) fn unlink(path: &CStr) -> Option<Submission> {
        Self::of(opcode::UnlinkAt::new(HERE, path.as_ptr()).build())
    }

    pub(crate) fn remove_directory(path: &CStr) -> Option<Submission> {
        let entry = opcode::UnlinkAt::new(HERE, path.as_ptr()).flags(libc::AT_REMOVEDIR);
        Self::of(entry.build())
    }

    pub(crate) fn rename(from: &CStr, to: &CStr) -> Option<Submission> {
        Self::of(opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build())
    }

    pub(crate) fn link(from: &CStr, to: &CStr) -> Option<Submission> {
        Self::of(opcode::LinkAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build())
    }

    pub(crate) fn symbolic_link(target: &CStr, name: &CStr) -> Option<Submission> {
        Self::of(opcode::SymlinkAt::new(HERE, target.as_ptr(), name.as_ptr()).build())
    }

    pub(crate) fn make_directory(path: &CStr, mode: u32) -> Option<Submission> {
        Self::of(opcode::MkDirAt::new(HERE, path.as_ptr()).mode(mode).build())
    }
}

/// What a kernel must know for this to be used: the youngest are of Linux 5.15.
const CODES: [u8; 12] = [
    opcode::OpenAt::CODE,
    opcode::Close::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Fsync::CODE,
    opcode::Statx::CODE,
    opcode::UnlinkAt::CODE,
    opcode::RenameAt::CODE,
    opcode::LinkAt::CODE,
    opcode::SymlinkAt::CODE,
    opcode::MkDirAt::CODE,
    opcode::AsyncCancel::CODE,
];

/// What is done with the kernel's answer.
type Finish = Box<dyn FnOnce(Result<i32>) + Send>;

/// An operation that has ended: its closure, and the answer.
pub(crate) struct Ended {
    pub(crate) finish: Finish,
    pub(crate) result: Result<i32>,
}

/// A loop's ring.
pub(crate) struct Ring {
    ring: IoUring,
    in_flight: Slab<Finish>,
    ended: VecDeque<Ended>,
    /// Pushed and not handed over.
    unflushed: bool,
}

impl Ring {
    /// A ring, if the kernel has one with all that is needed and lets us use it.
    pub(crate) fn new() -> Result<Ring> {
        // In a forked child the memory is not there, so that it cannot disturb the parent's.
        let ring = IoUring::builder().dontfork().setup_clamp().build(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let knows_all = CODES.iter().all(|code| probe.is_supported(*code));
        if !knows_all || !ring.params().is_feature_nodrop() {
            return Err(Error::ENOSYS);
        }
        Ok(Ring { ring, in_flight: Slab::new(), ended: VecDeque::new(), unflushed: false })
    }

    /// Readable when operations have ended.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring has the descriptor open for as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < ENTRIES as usize
    }

    /// Takes an operation over; `finish` owns the memory that it points to. There is room.
    pub(crate) fn push(&mut self, submission: &Submission, finish: Finish) -> usize {
        let token = self.in_flight.insert(finish);
        self.put(submission.0.clone().user_data(token as u64));
        token
    }

    fn put(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what the entry points to is kept in `in_flight` until the answer is here.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                self.unflushed = true;
                return;
            }
            // Full: handing over makes room. There are never more than fit (see `has_room`), but
            // for cancellations.
            self.flush();
        }
    }

    /// Hands over what was pushed. What the kernel does not take now is offered again.
    pub(crate) fn flush(&mut self) {
        while self.unflushed {
            match self.ring.submit().map_err(Error::from) {
                Ok(_) => self.unflushed = !self.ring.submission().is_empty(),
                Err(Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Whether it must be flushed again soon.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unflushed || !self.ended.is_empty()
    }

    /// The next operation that has ended.
    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        self.collect(None);
        self.ended.pop_front()
    }

    /// Takes over what the kernel has answered; whether the cancellation of a token is among it and
    /// was in time.
    fn collect(&mut self, canceled: Option<usize>) -> bool {
        let mut was_in_time = false;
        let answers: Vec<_> = self.ring.completion().map(|a| (a.user_data(), a.result())).collect();
        for (data, code) in answers {
            if data & CANCEL != 0 {
                was_in_time |=
                    canceled.map(|token| token as u64 | CANCEL) == Some(data) && code == 0;
                continue;
            }
            let Some(finish) = self.in_flight.try_remove(data as usize) else { continue };
            let result = if code < 0 { Err(Error::from_errno(-code)) } else { Ok(code) };
            self.ended.push_back(Ended { finish, result });
        }
        was_in_time
    }

    /// Cancels an operation; whether it was in time. It ends with `ECANCELED` then.
    pub(crate) fn cancel(&mut self, token: usize) -> bool {
        self.flush();
        self.collect(None);
        if !self.in_flight.contains(token) {
            return false;
        }
        let entry = opcode::AsyncCancel::new(token as u64).build();
        self.put(entry.user_data(token as u64 | CANCEL));
        // The kernel cancels within this call, or says that it cannot.
        self.flush();
        self.collect(Some(token))
    }

    /// Nobody waits any more. What is in flight is cancelled, and what cannot be is waited for by a
    /// thread, because the kernel writes to its memory.
    pub(crate) fn abandon(mut self) {
        self.collect(None);
        if self.in_flight.is_empty() {
            return;
        }
        let ring = std::mem::ManuallyDrop::new(self);
        let builder = std::thread::Builder::new().name("blacklight-ring".into());
        // Without a thread the ring and what it points to stay for ever.
        let _thread = builder.spawn(move || {
            super::sigmask::block_all_in_this_thread();
            std::mem::ManuallyDrop::into_inner(ring).drain();
        });
    }

    fn drain(mut self) {
        let tokens: Vec<usize> = self.in_flight.iter().map(|(token, _)| token).collect();
        for token in tokens {
            self.cancel(token);
        }
        loop {
            while let Some(Ended { finish, result }) = self.next_ended() {
                finish(result);
            }
            if self.in_flight.is_empty() {
                return;
            }
            match self.ring.submit_and_wait(1).map_err(Error::from) {
                Ok(_) | Err(Error::EINTR | Error::EAGAIN | Error::EBUSY) => {}
                Err(_) => {
                    std::mem::forget(self);
                    return;
                }
            }
        }
    }

    /// In a forked child: the ring is the parent's. Its memory is not there, and must not be
    /// unmapped in place of something else; only this process's copy of the descriptor is closed.
    pub(crate) fn forget(self) {
        let number = self.ring.as_raw_fd();
        std::mem::forget(self);
        // SAFETY: the ring that owned the number has just been forgotten.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("fd", &self.fd().as_fd()).finish_non_exhaustive()
    }
}
