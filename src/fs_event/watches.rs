//! The loop's side of all its file watchers: one inotify instance for all of them.
//!
//! Invariants: what has been fetched and not been told (the batch of events, the calls that are
//! due, the directories to be looked into) belongs to the loop, so that a panic or a halt loses
//! nothing; a call is for the very start that its watcher was in when the event was worked off. The
//! instance is made with the first watch and closed with the last.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::{Rc, Weak};

use super::change::FsChange;
use super::node::FsEventNode;
use crate::error::{Error, Result};
use crate::event_loop::{LoopInner, Target, WatcherKey};
use crate::sys::epoll;
use crate::sys::inotify::{self, IN_IGNORED, IN_MOVED_FROM, IN_MOVED_TO, IN_Q_OVERFLOW, Inotify};

/// Bytes of events fetched at once: some 2000 of them.
const BATCH: usize = 64 * 1024;

/// Batches per wake; the rest waits for the next turn, so that a storm of changes lets the others
/// have theirs.
const BATCHES_PER_WAKE: u32 = 4;

/// New directories looked into per wake. Each costs a few system calls and some per entry.
const DIRECTORIES_PER_WAKE: u32 = 64;

/// How far behind the first half of a move the second is looked for. The kernel queues them one
/// after the other, but other processes may get events in between.
const LOOK_AHEAD: usize = 16;

/// An event, taken out of the batch.
pub(super) struct Fetched {
    pub(super) wd: i32,
    pub(super) mask: u32,
    pub(super) cookie: u32,
    pub(super) name: OsString,
    /// Of the first half of a move: watch and name of the second, if it has come.
    pub(super) destination: Option<(i32, OsString)>,
}

impl Fetched {
    pub(super) fn has(&self, bits: u32) -> bool {
        self.mask & bits != 0
    }
}

/// A call that is due.
struct Delivery {
    node: Weak<FsEventNode>,
    start: u64,
    change: Result<FsChange>,
}

/// A directory that has appeared in a tree, to be watched and looked into.
struct Errand {
    node: Weak<FsEventNode>,
    start: u64,
    path: Rc<Path>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    length: usize,
    position: usize,
    /// Where what may be worked off ends; behind it is the beginning of a move.
    limit: usize,
}

pub(crate) struct FsEvents {
    inotify: RefCell<Option<Rc<Inotify>>>,
    watcher: Cell<WatcherKey>,
    by_watch: RefCell<HashMap<i32, Vec<Weak<FsEventNode>>>>,
    batch: RefCell<Batch>,
    deliveries: RefCell<VecDeque<Delivery>>,
    errands: RefCell<VecDeque<Errand>>,
    /// Entries that were found in new directories and reported, whose own events may still be in
    /// the kernel's queue: by start, watch and name. Empty when the queue has been.
    found: RefCell<HashSet<(u64, i32, OsString)>>,
    starts: Cell<u64>,
}

impl Default for FsEvents {
    fn default() -> FsEvents {
        FsEvents {
            inotify: RefCell::default(),
            watcher: Cell::new(WatcherKey::NONE),
            by_watch: RefCell::default(),
            batch: RefCell::default(),
            deliveries: RefCell::default(),
            errands: RefCell::default(),
            found: RefCell::default(),
            starts: Cell::new(0),
        }
    }
}

impl FsEvents {
    /// A number for the next start of a watcher.
    pub(super) fn next_start(&self) -> u64 {
        self.starts.set(self.starts.get() + 1);
        self.starts.get()
    }

    fn inotify(&self, lp: &LoopInner) -> Result<Rc<Inotify>> {
        if let Some(inotify) = &*self.inotify.borrow() {
            return Ok(inotify.clone());
        }
        let inotify = Rc::new(Inotify::new()?);
        self.watcher.set(lp.watchers.add(inotify.as_fd(), epoll::IN, Target::FileWatches)?);
        *self.inotify.borrow_mut() = Some(inotify.clone());
        Ok(inotify)
    }

    /// Watches a path for a watcher, which may have that very watch already.
    pub(super) fn add(
        &self,
        lp: &LoopInner,
        node: &Rc<FsEventNode>,
        path: &Path,
        flags: u32,
    ) -> Result<i32> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::EINVAL)?;
        let wd = self.inotify(lp)?.add(&path, flags)?;
        let mut by_watch = self.by_watch.borrow_mut();
        let nodes = by_watch.entry(wd).or_default();
        if !nodes.iter().any(|other| std::ptr::eq(other.as_ptr(), &raw const **node)) {
            nodes.push(Rc::downgrade(node));
        }
        Ok(wd)
    }

    /// Ends watches of a watcher. Those that no other watcher has are taken from the kernel; in a
    /// forked child they are the parent's too and stay.
    pub(super) fn remove(
        &self,
        lp: &LoopInner,
        node: &FsEventNode,
        watches: impl IntoIterator<Item = i32>,
    ) {
        let mut unused = Vec::new();
        for wd in watches {
            let mut by_watch = self.by_watch.borrow_mut();
            let Some(nodes) = by_watch.get_mut(&wd) else { continue };
            nodes.retain(|other| !std::ptr::eq(other.as_ptr(), node));
            if nodes.is_empty() {
                by_watch.remove(&wd);
                unused.push(wd);
            }
        }
        self.close_if_unused(lp);
        if let Some(inotify) = &*self.inotify.borrow()
            && lp.is_ours()
        {
            unused.into_iter().for_each(|wd| inotify.remove(wd));
        }
    }

    pub(super) fn close_if_unused(&self, lp: &LoopInner) {
        if self.by_watch.borrow().is_empty() {
            lp.unwatch(&self.watcher);
            drop(self.inotify.take());
            drop(self.batch.take());
            self.found.borrow_mut().clear();
        }
    }

    pub(super) fn deliver(&self, node: &Rc<FsEventNode>, start: u64, change: Result<FsChange>) {
        node.base.lp().inner().chores.add_errand();
        let node = Rc::downgrade(node);
        self.deliveries.borrow_mut().push_back(Delivery { node, start, change });
    }

    pub(super) fn look_into(&self, node: &Rc<FsEventNode>, start: u64, path: Rc<Path>) {
        node.base.lp().inner().chores.add_errand();
        let node = Rc::downgrade(node);
        self.errands.borrow_mut().push_back(Errand { node, start, path });
    }

    pub(super) fn note_found(&self, start: u64, wd: i32, name: &OsStr) {
        self.found.borrow_mut().insert((start, wd, name.to_owned()));
    }

    /// Whether the entry has been reported because it was found; from now on it has not.
    pub(super) fn take_found(&self, start: u64, wd: i32, name: &OsStr) -> bool {
        let mut found = self.found.borrow_mut();
        !found.is_empty() && found.remove(&(start, wd, name.to_owned()))
    }

    /// Whether there is something to do without an event of the descriptor.
    pub(crate) fn has_work(&self) -> bool {
        let batch = self.batch.borrow();
        batch.position < batch.length
            || !self.deliveries.borrow().is_empty()
            || !self.errands.borrow().is_empty()
    }

    /// Works off what has been fetched, and fetches more, within limits.
    pub(crate) fn work(&self, lp: &LoopInner) {
        let (mut batches, mut directories) = (0, 0);
        while !lp.is_halted() {
            let delivery = self.deliveries.borrow_mut().pop_front();
            if let Some(Delivery { node, start, change }) = delivery {
                if let Some(node) = node.upgrade() {
                    node.tell(start, &change);
                }
                continue;
            }
            let errand = self.errands.borrow_mut().pop_front();
            if let Some(Errand { node, start, path }) = errand {
                if directories == DIRECTORIES_PER_WAKE {
                    self.errands.borrow_mut().push_front(Errand { node, start, path });
                    break;
                }
                directories += 1;
                if let Some(node) = node.upgrade() {
                    node.look_into(lp, start, &path);
                }
                continue;
            }
            if let Some(event) = self.next_event() {
                self.work_off(lp, &event);
                continue;
            }
            batches += 1;
            if batches > BATCHES_PER_WAKE || !self.fetch() {
                break;
            }
        }
        self.close_if_unused(lp);
    }

    /// Fetches the next batch; whether there is something to be worked off now.
    fn fetch(&self) -> bool {
        let Some(inotify) = self.inotify.borrow().clone() else { return false };
        let batch = &mut *self.batch.borrow_mut();
        batch.bytes.resize(BATCH + LOOK_AHEAD * inotify::LARGEST_EVENT, 0);
        // The beginning of a move that was held back.
        batch.bytes.copy_within(batch.position..batch.length, 0);
        let held = batch.length - batch.position;
        (batch.position, batch.length, batch.limit) = (0, held, held);
        let Some(room) = batch.bytes.get_mut(held..) else { return held > 0 };
        match inotify.read(room) {
            Ok(n) => batch.length += n.min(room.len()),
            Err(_) => {
                self.found.borrow_mut().clear();
                return held > 0;
            }
        }
        batch.limit = match open_move(&batch.bytes[..batch.length]) {
            // What was held back before is waited for no longer.
            Some(begins) if begins >= held => begins,
            _ => batch.length,
        };
        true
    }

    fn next_event(&self) -> Option<Fetched> {
        let mut batch = self.batch.borrow_mut();
        if batch.position >= batch.limit {
            return None;
        }
        let rest = batch.bytes.get(batch.position..batch.length)?;
        let Some((event, length)) = inotify::parse(rest) else {
            // The kernel does not hand out parts of events.
            (batch.position, batch.limit) = (batch.length, batch.length);
            return None;
        };
        let destination = if event.has(IN_MOVED_FROM) {
            let mut behind = inotify::events(rest.get(length..)?).take(LOOK_AHEAD);
            let other = behind.find(|to| to.has(IN_MOVED_TO) && to.cookie == event.cookie);
            other.map(|to| (to.wd, OsStr::from_bytes(to.name).to_owned()))
        } else {
            None
        };
        let (wd, mask, cookie) = (event.wd, event.mask, event.cookie);
        let name = OsStr::from_bytes(event.name).to_owned();
        batch.position += length;
        Some(Fetched { wd, mask, cookie, name, destination })
    }

    /// Finds out for whom an event is and what it means to each; nobody is called yet.
    fn work_off(&self, lp: &LoopInner, event: &Fetched) {
        if event.has(IN_Q_OVERFLOW) {
            self.all().iter().for_each(|node| node.overflown(lp));
            return;
        }
        let nodes = self.by_watch.borrow().get(&event.wd).map(|nodes| upgrade(nodes));
        if event.has(IN_IGNORED) {
            self.by_watch.borrow_mut().remove(&event.wd);
        }
        nodes.unwrap_or_default().iter().for_each(|node| node.translate(self, event));
    }

    /// All watchers that have a watch.
    fn all(&self) -> Vec<Rc<FsEventNode>> {
        let mut all: Vec<Rc<FsEventNode>> = Vec::new();
        let mut seen = HashSet::new();
        for node in self.by_watch.borrow().values().flatten().filter_map(Weak::upgrade) {
            if seen.insert(Rc::as_ptr(&node)) {
                all.push(node);
            }
        }
        // By their starts, so that their order is not that of a hash map.
        all.sort_by_key(|node| node.start_number());
        all
    }

    /// In a forked child: an instance of its own, with everything watched again. What cannot be
    /// is reported to its watcher.
    pub(crate) fn after_fork(&self, lp: &LoopInner) -> Result<()> {
        let Some(inotify) = self.inotify.borrow().clone() else { return Ok(()) };
        let all = self.all();
        inotify.renew()?;
        self.by_watch.borrow_mut().clear();
        drop(self.batch.take());
        self.errands.borrow_mut().clear();
        self.found.borrow_mut().clear();
        all.iter().for_each(|node| node.watch_anew(lp));
        Ok(())
    }
}

fn upgrade(nodes: &[Weak<FsEventNode>]) -> Vec<Rc<FsEventNode>> {
    nodes.iter().filter_map(Weak::upgrade).collect()
}

/// Where near the end the first half of a move is whose second half may come with the next batch.
fn open_move(bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut count, mut open) = (bytes, 0, None);
    while let Some((event, length)) = inotify::parse(rest) {
        count += 1;
        if event.has(IN_MOVED_FROM) {
            open = Some((bytes.len() - rest.len(), count, event.cookie));
        } else if open.is_some_and(|(.., cookie)| event.has(IN_MOVED_TO) && cookie == event.cookie)
        {
            open = None;
        }
        rest = rest.get(length..)?;
    }
    open.filter(|(_, at, _)| at + LOOK_AHEAD > count).map(|(begins, ..)| begins)
}
