//! The terminals that this process has put into a mode of its own, and how they were before.
//!
//! Invariants: what is remembered of a terminal is how it was before the first handle changed it,
//! and it is remembered for as long as any handle holds it in another mode than normal. A signal
//! handler may restore everything: it takes the lock only if that is free, and allocates nothing.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::{Attributes, TtyMode, device};
use crate::error::{Error, Result};
use crate::sys::per_process::PerProcess;
use crate::sys::{errno, fd, fork_mark, set_errno};

/// A terminal that is not as it was found.
struct Entry {
    device: u32,
    /// A copy of our own, so that it is there whichever handle goes first.
    fd: OwnedFd,
    original: Attributes,
    mode: TtyMode,
    /// Handles that hold it in another mode than normal.
    holders: usize,
}

/// A forked child begins with an empty list: the terminals are its parent's to restore.
static ENTRIES: PerProcess<Mutex<Vec<Entry>>> = PerProcess::new();

fn entries() -> MutexGuard<'static, Vec<Entry>> {
    // Nothing panics with the lock held.
    ENTRIES.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one handle has done to its terminal.
#[derive(Default)]
pub(crate) struct Hold {
    mode: Cell<TtyMode>,
    original: Cell<Option<Attributes>>,
    /// The terminal, which a hang-up keeps from telling its number.
    device: Cell<u32>,
    /// The process in whose list it counts as a holder.
    counted_in: Cell<Option<u32>>,
}

impl Hold {
    pub(crate) fn mode(&self) -> TtyMode {
        self.mode.get()
    }

    fn is_counted(&self) -> bool {
        self.counted_in.get().is_some_and(fork_mark::is_current)
    }

    /// Puts the terminal into a mode. Where several handles have one terminal, the last call
    /// decides.
    pub(crate) fn set(&self, terminal: BorrowedFd<'_>, mode: TtyMode) -> Result<()> {
        let (device, mark) = (device(terminal)?, fork_mark::current()?);
        let mut entries = entries();
        let place = entries.iter().position(|entry| entry.device == device);
        let now = place.map_or(TtyMode::Normal, |place| entries[place].mode);
        if self.mode.get() == mode && now == mode {
            return Ok(());
        }
        let original = match (place, self.original.get()) {
            (Some(place), _) => entries[place].original,
            (None, Some(original)) => original,
            (None, None) => Attributes::of(terminal)?,
        };
        let place = match place {
            None if mode == TtyMode::Normal => None,
            None => {
                let fd = fd::duplicate(terminal)?;
                let mode = TtyMode::Normal;
                entries.push(Entry { device, fd, original, mode, holders: 0 });
                Some(entries.len() - 1)
            }
            place => place,
        };
        let applied = original.in_mode(mode).apply(terminal);
        if let Some(place) = place {
            let entry = &mut entries[place];
            if applied.is_ok() {
                entry.mode = mode;
                let (was, is) = (self.is_counted(), mode != TtyMode::Normal);
                entry.holders = entry.holders.saturating_sub(was.into()) + usize::from(is);
                self.counted_in.set(is.then_some(mark));
            }
            if entry.holders == 0 {
                entries.swap_remove(place);
            }
        }
        if applied.is_ok() {
            self.device.set(device);
            self.mode.set(mode);
            self.original.set((mode != TtyMode::Normal).then_some(original));
        }
        applied
    }

    /// The handle is done with the terminal: restores it, if no other handle holds it.
    pub(crate) fn release(&self, terminal: BorrowedFd<'_>) {
        if self.mode.replace(TtyMode::Normal) == TtyMode::Normal || !self.is_counted() {
            return;
        }
        self.counted_in.set(None);
        let mut entries = entries();
        let place = entries.iter().position(|entry| entry.device == self.device.get());
        let Some(place) = place else { return };
        let entry = &mut entries[place];
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            // In the background the terminal is someone else's, who has set it as they want it.
            let _restored = entry.original.apply(terminal);
            entries.swap_remove(place);
        }
    }
}

/// Restores every terminal; async-signal-safe. `EBUSY` when the list is being changed at the
/// moment, by this very thread perhaps.
pub(crate) fn reset() -> Result<()> {
    let Some(entries) = ENTRIES.get_if_made() else { return Ok(()) };
    let mut entries = match entries.try_lock() {
        Ok(entries) => entries,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(Error::EBUSY),
    };
    // A signal handler must leave errno as it was.
    let before = errno();
    let mut result = Ok(());
    for entry in entries.iter_mut() {
        match entry.original.apply(entry.fd.as_fd()) {
            Ok(()) => entry.mode = TtyMode::Normal,
            Err(error) => result = result.and(Err(error)),
        }
    }
    set_errno(before);
    result
}

/// Has exit(3) restore every terminal, from now on.
pub(crate) fn reset_at_exit() -> Result<()> {
    extern "C" fn at_exit() {
        // Nobody is left to be told.
        let _restored = reset();
    }
    // A function that is registered twice is called twice, which does no harm.
    static REGISTERED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // SAFETY: the function cannot unwind and stays where it is.
    let registered = *REGISTERED.get_or_init(|| unsafe { libc::atexit(at_exit) } == 0);
    if registered { Ok(()) } else { Err(Error::ENOMEM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_being_changed_is_not_waited_for() {
        let held = entries();
        assert_eq!(reset(), Err(Error::EBUSY));
        drop(held);
    }
}
