//! What stands in the place of `io_uring.rs` where the feature is off: nothing is ever submitted, and
//! there is never a ring.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, RawFd};

use super::file::At;
use super::statx::{StatRoom, Whom};
use crate::error::{Error, Result};

pub(crate) struct Submission(Infallible);

macro_rules! none {
    ($($name:ident($($kind:ty),*);)*) => {
        impl Submission {
            $(pub(crate) fn $name($(_: $kind),*) -> Option<Submission> {
                None
            })*
        }
    };
}

none! {
    open(&CStr, i32, u32);
    close(RawFd);
    read(RawFd, &mut [u8], At);
    write(RawFd, &[u8], At);
    sync(RawFd, bool);
    stat(Whom<'_>, &mut StatRoom);
    unlink(&CStr);
    remove_directory(&CStr);
    rename(&CStr, &CStr);
    link(&CStr, &CStr);
    symbolic_link(&CStr, &CStr);
    make_directory(&CStr, u32);
}

type Finish = Box<dyn FnOnce(Result<i32>) + Send>;

pub(crate) struct Ended {
    pub(crate) finish: Finish,
    pub(crate) result: Result<i32>,
}

#[derive(Debug)]
pub(crate) struct Ring(Infallible);

impl Ring {
    pub(crate) fn new() -> Result<Ring> {
        Err(Error::ENOSYS)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }

    pub(crate) fn has_room(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn push(&mut self, submission: &Submission, _: Finish) -> usize {
        match submission.0 {}
    }

    pub(crate) fn flush(&mut self) {
        match self.0 {}
    }

    pub(crate) fn is_waiting(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        match self.0 {}
    }

    pub(crate) fn cancel(&mut self, _: usize) -> bool {
        match self.0 {}
    }

    pub(crate) fn abandon(self) {
        match self.0 {}
    }

    pub(crate) fn forget(self) {
        match self.0 {}
    }
}
