//! The descriptors that the loop watches, and the batch of events it is working off.
//!
//! A watcher lives in a slab; its epoll registration carries the slab key and a generation, so that
//! an event fetched for a watcher that is gone, or whose place another one took, is dropped and
//! counted. Invariants: the first registration is made at once, so that its error is the result
//! of the start; changes of interest wait for [`Watchers::flush`]; a registration is deleted in
//! [`Watchers::remove`], which comes before the descriptor's close.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::error::{Error, Result};
use crate::handle::Node;
use crate::sys::epoll::{Epoll, Event, Registration};

/// Events fetched with one system call. libuv fetches as many.
pub(crate) const BATCH: usize = 1024;

/// Whom an event is for.
#[derive(Clone)]
pub(crate) enum Target {
    /// A handle. It is not kept alive by being watched.
    Handle(Weak<dyn Node>),
    /// The list of handles that other threads have woken.
    Wake,
    /// The ring: operations in it have ended.
    Ring,
    /// The signal pipe.
    Signals,
    /// The events of files.
    FileWatches,
    /// A child that no handle waits for any more; its place among the loop's orphans.
    Orphan(usize),
}

/// Whom a fetched event turns out to be for.
pub(crate) enum Whom {
    Handle(Rc<dyn Node>),
    /// The watcher, or its handle, is gone.
    Gone,
    /// The loop itself.
    Loop(Target),
}

struct Watcher {
    registration: Registration,
    generation: u32,
    /// What is wanted, and what the kernel has been told; 0 is "not in the set".
    wanted: u32,
    registered: u32,
    /// Waits in `changed` for the next flush.
    queued: bool,
    target: Target,
}

/// The place of a watcher in the slab; [`WatcherKey::NONE`] is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatcherKey(u32);

impl WatcherKey {
    pub(crate) const NONE: WatcherKey = WatcherKey(u32::MAX);

    pub(crate) fn is_none(self) -> bool {
        self == WatcherKey::NONE
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

pub(crate) struct Watchers {
    /// Gone when the loop has been dropped.
    epoll: RefCell<Option<Rc<Epoll>>>,
    slab: RefCell<Slab<Watcher>>,
    /// Slab keys whose interest the kernel has not been told of, each with its generation.
    changed: RefCell<Vec<(u32, u32)>>,
    next_generation: Cell<u32>,
    /// The events fetched last, and how far they have been worked off.
    batch: OnceCell<Box<[Cell<Event>; BATCH]>>,
    position: Cell<usize>,
    fetched: Cell<usize>,
    /// How many batches have been fetched.
    batches: Cell<u64>,
    /// Somebody outside was given the set to wait on.
    shown: Cell<bool>,
}

fn token(key: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(key)
}

impl Watchers {
    pub(crate) fn new() -> Result<Watchers> {
        Ok(Watchers {
            epoll: RefCell::new(Some(Rc::new(Epoll::new()?))),
            slab: RefCell::new(Slab::new()),
            changed: RefCell::new(Vec::new()),
            next_generation: Cell::new(0),
            batch: OnceCell::new(),
            position: Cell::new(0),
            fetched: Cell::new(0),
            batches: Cell::new(0),
            shown: Cell::new(false),
        })
    }

    /// A share in the set; `EBADF` when the loop has been dropped.
    pub(crate) fn epoll(&self) -> Result<Rc<Epoll>> {
        self.epoll.borrow().clone().ok_or(Error::EBADF)
    }

    /// The set is given to somebody outside, to wait on.
    pub(crate) fn show(&self) {
        self.shown.set(true);
    }

    /// Whether it ever was.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown.get()
    }

    /// The loop is gone: closes the set.
    pub(crate) fn close(&self) {
        drop(self.epoll.take());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.borrow().is_empty()
    }

    /// Begins to watch a descriptor, which must stay open until [`Watchers::remove`]. `EEXIST` when
    /// the loop watches it already, `EPERM` for what epoll cannot watch, such as a regular file.
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        wanted: u32,
        target: Target,
    ) -> Result<WatcherKey> {
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        let registration = Registration::of(fd);
        let mut slab = self.slab.borrow_mut();
        let entry = slab.vacant_entry();
        // More watchers than descriptor numbers cannot be.
        let key = u32::try_from(entry.key()).map_err(|_| Error::EMFILE)?;
        if wanted != 0 {
            self.epoll()?.add(registration, wanted, token(key, generation))?;
        }
        let (registered, queued) = (wanted, false);
        entry.insert(Watcher { registration, generation, wanted, registered, queued, target });
        Ok(WatcherKey(key))
    }

    /// What the watcher is to be watched for from now on, 0 for nothing. Only an addition to the
    /// set is made at once and can fail.
    pub(crate) fn set(&self, key: WatcherKey, wanted: u32) -> Result<()> {
        let mut slab = self.slab.borrow_mut();
        let Some(watcher) = slab.get_mut(key.index()) else { return Err(Error::EBADF) };
        if watcher.registered == 0 && wanted != 0 {
            let token = token(key.0, watcher.generation);
            self.epoll()?.add(watcher.registration, wanted, token)?;
            watcher.registered = wanted;
        }
        watcher.wanted = wanted;
        if watcher.registered != wanted && !watcher.queued {
            watcher.queued = true;
            self.changed.borrow_mut().push((key.0, watcher.generation));
        }
        Ok(())
    }

    /// Ends the watch. The descriptor may be closed when this has returned.
    ///
    /// `touch` is false in a forked child, whose set is its parent's too.
    pub(crate) fn remove(&self, key: WatcherKey, touch: bool) {
        let mut slab = self.slab.borrow_mut();
        let Some(watcher) = slab.try_remove(key.index()) else { return };
        if watcher.registered != 0
            && touch
            && let Ok(epoll) = self.epoll()
        {
            // Failure means that it is not in the set, which is what was wanted.
            let _gone = epoll.delete(watcher.registration);
        }
    }

    /// Whether there are changes of interest that the kernel has not been told of.
    #[inline]
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.borrow().is_empty()
    }

    /// Tells the kernel every change of interest that it has not been told of.
    #[inline]
    pub(crate) fn flush(&self) {
        if self.has_changes() {
            self.tell_changes();
        }
    }

    #[inline(never)]
    fn tell_changes(&self) {
        let Ok(epoll) = self.epoll() else { return };
        let mut slab = self.slab.borrow_mut();
        for (key, generation) in self.changed.borrow_mut().drain(..) {
            let Some(watcher) = slab.get_mut(key as usize) else { continue };
            if watcher.generation != generation || !watcher.queued {
                continue;
            }
            watcher.queued = false;
            if watcher.wanted == watcher.registered {
                continue;
            }
            let (target, token) = (watcher.registration, token(key, generation));
            let done = if watcher.wanted == 0 {
                epoll.delete(target)
            } else {
                match epoll.modify(target, watcher.wanted, token) {
                    // Someone who was given the epoll descriptor has taken it out.
                    Err(Error::ENOENT) => epoll.add(target, watcher.wanted, token),
                    other => other,
                }
            };
            // A change that fails leaves the kernel with what it was told before: level-triggered
            // events go on, and the handle drops those it does not want.
            if done.is_ok() || watcher.wanted == 0 {
                watcher.registered = watcher.wanted;
            }
        }
    }

    /// Whether events of the batch are still to be worked off.
    #[inline]
    pub(crate) fn has_batch(&self) -> bool {
        self.position.get() < self.fetched.get()
    }

    /// The number of the batch that was fetched last.
    pub(crate) fn batch_number(&self) -> u64 {
        self.batches.get()
    }

    #[cold]
    fn make_batch() -> Box<[Cell<Event>; BATCH]> {
        Box::new([const { Cell::new(Event::NONE) }; BATCH])
    }

    /// Fetches a new batch; the old one has been worked off. Returns how many there are.
    pub(crate) fn fetch(
        &self,
        timeout: Option<u64>,
        fine: bool,
        mask: Option<&libc::sigset_t>,
    ) -> Result<usize> {
        self.fetch_by(|epoll, batch| epoll.wait(batch, timeout, fine, mask))
    }

    /// As [`Watchers::fetch`], waiting for ever.
    #[inline]
    pub(crate) fn fetch_some(&self) -> Result<usize> {
        self.fetch_by(Epoll::wait_for_ever)
    }

    #[inline]
    fn fetch_by(
        &self,
        wait: impl FnOnce(&Epoll, &[Cell<Event>]) -> Result<usize>,
    ) -> Result<usize> {
        debug_assert!(!self.has_batch());
        let batch = self.batch.get_or_init(Watchers::make_batch);
        let epoll = self.epoll.borrow();
        let n = wait(epoll.as_ref().ok_or(Error::EBADF)?, &batch[..])?;
        self.position.set(0);
        self.fetched.set(n);
        self.batches.set(self.batches.get() + 1);
        Ok(n)
    }

    /// The next event of the batch and whom it is for; the caller has asked whether there is one.
    #[inline]
    pub(crate) fn next(&self) -> Option<(Whom, u32)> {
        debug_assert!(self.has_batch());
        let at = self.position.get();
        self.position.set(at + 1);
        let event = self.batch.get()?.get(at)?.get();
        let (key, generation) = (event.token() as u32, (event.token() >> 32) as u32);
        let slab = self.slab.borrow();
        let whom = match slab.get(key as usize) {
            Some(watcher) if watcher.generation == generation => match &watcher.target {
                Target::Handle(handle) => handle.upgrade().map_or(Whom::Gone, Whom::Handle),
                target => Whom::Loop(target.clone()),
            },
            _ => Whom::Gone,
        };
        Some((whom, event.events()))
    }

    /// In a forked child: a set of its own, with everything that is watched in it again.
    pub(crate) fn renew(&self) -> Result<()> {
        let epoll = self.epoll()?;
        epoll.renew()?;
        self.position.set(0);
        self.fetched.set(0);
        self.changed.borrow_mut().clear();
        for (key, watcher) in self.slab.borrow_mut().iter_mut() {
            watcher.queued = false;
            watcher.registered = 0;
            if watcher.wanted != 0 {
                let token = token(key as u32, watcher.generation);
                epoll.add(watcher.registration, watcher.wanted, token)?;
                watcher.registered = watcher.wanted;
            }
        }
        Ok(())
    }
}
