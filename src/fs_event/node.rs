//! One watcher: what an event means to it, and how its tree of directories is kept.
//!
//! Invariant: a directory is watched first and looked into then, so that nothing can appear in it
//! unseen; what is found in a new one is reported, and its own event, if it comes too, is not.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::FsEvent;
use super::change::{FsChange, FsChangeKind, FsEventFlags};
use super::tree::{Tree, join};
use super::watches::{Fetched, FsEvents};
use crate::error::{Error, Result};
use crate::event_loop::LoopInner;
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot};
use crate::sys::inotify::{
    IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_DONT_FOLLOW, IN_IGNORED, IN_ISDIR,
    IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_ONLYDIR, IN_UNMOUNT,
};

pub(super) type Callback = dyn FnMut(&FsEvent, Result<&FsChange>);

/// What is watched between start and stop.
pub(super) struct Watch {
    pub(super) path: PathBuf,
    start: u64,
    /// What is watched, without the directories before it.
    name: OsString,
    /// The watch of the path itself; `None` when it is over.
    root: Option<i32>,
    /// The directories of a recursive watch, the root among them, and where they begin.
    tree: Option<(PathBuf, Tree)>,
}

pub(crate) struct FsEventNode {
    pub(super) base: Base,
    pub(super) callback: Slot<Callback>,
    pub(super) watch: RefCell<Option<Box<Watch>>>,
    /// The number of the move that was told as one; its second half says nothing new.
    told_move: Cell<u32>,
    pub(super) most_directories: Cell<usize>,
}

impl FsEventNode {
    pub(super) fn new(base: Base) -> FsEventNode {
        FsEventNode {
            base,
            callback: Slot::empty(),
            watch: RefCell::new(None),
            told_move: Cell::new(0),
            most_directories: Cell::new(usize::MAX),
        }
    }

    fn events(&self) -> &FsEvents {
        &self.base.lp().inner().fs_events
    }

    pub(super) fn start_number(&self) -> u64 {
        self.watch.borrow().as_ref().map_or(0, |watch| watch.start)
    }

    fn is_started(&self, start: u64) -> bool {
        self.base.is_active() && self.start_number() == start
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watch.borrow().as_ref().is_some_and(|watch| watch.root.is_some())
    }

    /// Begins to watch; after an error nothing is left.
    pub(super) fn begin(self: &Rc<Self>, path: &Path, flags: FsEventFlags) -> Result<()> {
        let lp = self.base.lp().inner();
        let recursive = flags.contains(FsEventFlags::RECURSIVE) && path.is_dir();
        let tree = match recursive {
            // The process may change its directory while it watches.
            true => Some((std::path::absolute(path)?, Tree::default())),
            false => None,
        };
        let watch = Watch {
            path: path.to_owned(),
            start: self.events().next_start(),
            name: path.file_name().unwrap_or(path.as_os_str()).to_owned(),
            root: None,
            tree,
        };
        *self.watch.borrow_mut() = Some(Box::new(watch));
        let begun = self.watch_all(lp);
        if begun.is_err() {
            self.leave();
        }
        begun
    }

    /// Watches the path, and in a tree every directory that is there.
    fn watch_all(self: &Rc<Self>, lp: &LoopInner) -> Result<()> {
        let path = self.watch.borrow().as_ref().map(|watch| watch.path.clone());
        let root = self.events().add(lp, self, &path.unwrap_or_default(), 0);
        // An instance that was made for nothing is closed.
        let root = root.inspect_err(|_| self.events().close_if_unused(lp))?;
        let beginning: Rc<Path> = Path::new("").into();
        if let Some(watch) = &mut *self.watch.borrow_mut() {
            watch.root = Some(root);
            match &mut watch.tree {
                None => return Ok(()),
                Some((_, tree)) => {
                    *tree = Tree::default();
                    tree.insert(beginning.clone(), root);
                }
            }
        }
        let mut rest = self.list(&beginning)?;
        while let Some((path, is_directory)) = rest.pop() {
            let path: Rc<Path> = path.into();
            if is_directory && self.watch_directory(lp, &path)?.is_some() {
                rest.extend(self.list(&path)?);
            }
        }
        Ok(())
    }

    /// Watches a directory of the tree; its watch if it was not watched yet.
    fn watch_directory(self: &Rc<Self>, lp: &LoopInner, path: &Rc<Path>) -> Result<Option<i32>> {
        let full = match self.watch.borrow().as_ref().and_then(|watch| watch.tree.as_ref()) {
            Some((root, _)) => root.join(path),
            None => return Ok(None),
        };
        let wd = match self.events().add(lp, self, &full, IN_ONLYDIR | IN_DONT_FOLLOW) {
            Ok(wd) => wd,
            // Gone or something else by now, which events say, or not for our eyes.
            Err(Error::ENOENT | Error::ENOTDIR | Error::EACCES | Error::ELOOP) => return Ok(None),
            Err(error) => return Err(error),
        };
        let known = self.with_tree(|tree| tree.path_of(wd));
        match known {
            Some(known) if known == *path => Ok(None),
            // It has moved here, and what was said of it before was said of another directory; or
            // it is mounted twice, and is watched under one name.
            Some(known) => {
                self.with_tree(|tree| tree.rename(&known, path));
                Ok(None)
            }
            None if self.with_tree(|tree| tree.len()) >= self.most_directories.get() => {
                self.events().remove(lp, self, [wd]);
                Err(Error::ENOSPC)
            }
            None => {
                self.with_tree(|tree| tree.insert(path.clone(), wd));
                Ok(Some(wd))
            }
        }
    }

    /// What is in a directory of the tree: paths in the tree, and which are directories.
    fn list(&self, path: &Path) -> Result<Vec<(PathBuf, bool)>> {
        let watch = self.watch.borrow();
        let Some((root, _)) = watch.as_ref().and_then(|watch| watch.tree.as_ref()) else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(join(root, path)).map_err(Error::from) {
            Ok(entries) => entries,
            Err(Error::ENOENT | Error::ENOTDIR | Error::EACCES) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let entry = |entry: std::fs::DirEntry| {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            (path.join(entry.file_name()), is_directory)
        };
        Ok(entries.flatten().map(entry).collect())
    }

    /// A directory has appeared in the tree: watches it, and reports what is in it.
    pub(super) fn look_into(self: &Rc<Self>, lp: &LoopInner, start: u64, path: &Rc<Path>) {
        if !self.is_started(start) {
            return;
        }
        let events = self.events();
        let looked = self.watch_directory(lp, path).and_then(|wd| match wd {
            None => Ok(()),
            Some(wd) => {
                for (path, is_directory) in self.list(path)? {
                    if let Some(name) = path.file_name() {
                        events.note_found(start, wd, name);
                    }
                    if is_directory {
                        events.look_into(self, start, path.as_path().into());
                    }
                    let kind = FsChangeKind::Created;
                    events.deliver(self, start, Ok(FsChange { path, kind, is_directory }));
                }
                Ok(())
            }
        });
        if let Err(error) = looked {
            events.deliver(self, start, Err(error));
        }
    }

    /// Finds out what an event means to this watcher, and has it told.
    pub(super) fn translate(self: &Rc<Self>, events: &FsEvents, event: &Fetched) {
        let is_directory = event.has(IN_ISDIR);
        let Some((start, directory, is_root)) = self.place(event.wd) else { return };
        let tell = |path: PathBuf, kind: FsChangeKind| {
            events.deliver(self, start, Ok(FsChange { path, kind, is_directory }));
        };
        if event.name.is_empty() {
            if event.has(IN_IGNORED) {
                self.watch_ended(event.wd);
            }
            // Of a directory within the tree, the one above it says the same.
            if let (true, Some(kind)) = (is_root, about_itself(event)) {
                let name = self.watch.borrow().as_ref().map(|watch| watch.name.clone());
                tell(name.unwrap_or_default().into(), kind);
            }
            return;
        }
        let path = directory.join(&event.name);
        let cookie = event.cookie;
        if event.has(IN_CREATE) {
            if events.take_found(start, event.wd, &event.name) {
                return;
            }
            self.appeared(events, start, &path, is_directory);
            tell(path, FsChangeKind::Created);
        } else if event.has(IN_DELETE) {
            events.take_found(start, event.wd, &event.name);
            tell(path, FsChangeKind::Deleted);
        } else if event.has(IN_MOVED_FROM) {
            events.take_found(start, event.wd, &event.name);
            let destination = event.destination.as_ref();
            let to = destination.and_then(|(wd, name)| Some(self.place(*wd)?.1.join(name)));
            match to {
                Some(to) => {
                    if is_directory {
                        self.directory_renamed(&path, &to);
                    }
                    self.appeared(events, start, &to, is_directory);
                    self.told_move.set(cookie);
                    tell(to, FsChangeKind::Renamed { from: path, cookie });
                }
                None => {
                    if is_directory {
                        self.directory_gone(&path);
                    }
                    tell(path, FsChangeKind::MovedFrom { cookie });
                }
            }
        } else if event.has(IN_MOVED_TO) {
            if self.told_move.get() != cookie {
                self.appeared(events, start, &path, is_directory);
                tell(path, FsChangeKind::MovedTo { cookie });
            }
        } else if event.has(IN_MODIFY) {
            tell(path, FsChangeKind::Modified);
        } else if event.has(IN_ATTRIB) {
            tell(path, FsChangeKind::Attributes);
        }
    }

    /// The start, and the directory that a watch is of; whether it is the path itself.
    fn place(&self, wd: i32) -> Option<(u64, Rc<Path>, bool)> {
        let watch = self.watch.borrow();
        let watch = watch.as_ref()?;
        let is_root = watch.root == Some(wd);
        let directory = match &watch.tree {
            Some((_, tree)) => tree.path_of(wd)?,
            None if is_root => Path::new("").into(),
            None => return None,
        };
        Some((watch.start, directory, is_root))
    }

    fn appeared(self: &Rc<Self>, events: &FsEvents, start: u64, path: &Path, is_directory: bool) {
        let in_tree = self.watch.borrow().as_ref().is_some_and(|watch| watch.tree.is_some());
        if is_directory && in_tree {
            events.look_into(self, start, path.into());
        }
    }

    fn with_tree<R: Default>(&self, change: impl FnOnce(&mut Tree) -> R) -> R {
        let mut watch = self.watch.borrow_mut();
        let tree = watch.as_mut().and_then(|watch| watch.tree.as_mut());
        tree.map(|(_, tree)| change(tree)).unwrap_or_default()
    }

    fn directory_renamed(&self, from: &Path, to: &Path) {
        self.with_tree(|tree| tree.rename(from, to));
    }

    fn directory_gone(&self, path: &Path) {
        let watches = self.with_tree(|tree| tree.remove_below(path));
        self.events().remove(self.base.lp().inner(), self, watches);
    }

    /// The kernel has ended a watch.
    fn watch_ended(&self, wd: i32) {
        self.with_tree(|tree| tree.remove(wd));
        if let Some(watch) = &mut *self.watch.borrow_mut()
            && watch.root == Some(wd)
        {
            watch.root = None;
        }
    }

    /// Events have been lost: says so, and looks through the tree for what is new in it.
    pub(super) fn overflown(self: &Rc<Self>, lp: &LoopInner) {
        let start = self.start_number();
        let (path, kind, is_directory) = (PathBuf::new(), FsChangeKind::Overflow, false);
        self.events().deliver(self, start, Ok(FsChange { path, kind, is_directory }));
        let before = self.with_tree(|tree| Some(tree.watches().collect::<Vec<i32>>()));
        let Some(before) = before else { return };
        if let Err(error) = self.watch_all(lp) {
            self.events().deliver(self, start, Err(error));
        }
        let gone: Vec<i32> = before.into_iter().filter(|&wd| self.place(wd).is_none()).collect();
        self.events().remove(lp, self, gone);
    }

    /// In a forked child, whose inotify instance is new.
    pub(super) fn watch_anew(self: &Rc<Self>, lp: &LoopInner) {
        if let Some(watch) = &mut *self.watch.borrow_mut() {
            watch.root = None;
        }
        if let Err(error) = self.watch_all(lp) {
            self.events().deliver(self, self.start_number(), Err(error));
        }
    }

    /// Calls the closure, if the watcher is still in the start that this is about.
    pub(super) fn tell(self: Rc<Self>, start: u64, change: &Result<FsChange>) {
        if !self.is_started(start) {
            return;
        }
        self.base.lp().inner().counters.callback();
        let handle = FsEvent(self);
        let stopping = OnUnwind::new(|| handle.stop());
        handle.0.callback.call(|callback| callback(&handle, change.as_ref().map_err(|e| *e)));
        stopping.passed();
        if !handle.0.base.is_active() {
            drop(handle.0.callback.clear());
        }
    }

    /// Ends what is watched; the closure stays for the caller to drop.
    pub(super) fn leave(&self) {
        let Some(watch) = self.watch.take() else { return };
        let mut watches: Vec<i32> = watch.root.into_iter().collect();
        if let Some((_, tree)) = &watch.tree {
            watches.extend(tree.watches());
        }
        self.events().remove(self.base.lp().inner(), self, watches);
    }
}

/// What an event says of what is watched itself.
fn about_itself(event: &Fetched) -> Option<FsChangeKind> {
    let kinds = [
        (IN_IGNORED, FsChangeKind::Gone),
        (IN_UNMOUNT, FsChangeKind::Unmounted),
        (IN_DELETE_SELF, FsChangeKind::SelfDeleted),
        (IN_MOVE_SELF, FsChangeKind::SelfMoved),
        (IN_MODIFY, FsChangeKind::Modified),
        (IN_ATTRIB, FsChangeKind::Attributes),
    ];
    kinds.into_iter().find(|(bit, _)| event.has(*bit)).map(|(_, kind)| kind)
}

impl Node for FsEventNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::FsEvent
    }

    fn stop(&self) {
        self.leave();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}
