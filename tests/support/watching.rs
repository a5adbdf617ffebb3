//! Folders to be watched, and a record of what was told of them.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{FsChange, FsChangeKind, FsEvent, FsEventFlags};

/// A folder of one's own, removed at the end with all that is in it.
pub struct Folder {
    outer: PathBuf,
    inner: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        Folder::at(super::tools::TempPath::new().path().to_owned())
    }

    /// In memory where that is to be had, for thousands of files.
    pub fn large() -> Folder {
        let path = super::tools::TempPath::new().path().to_owned();
        let name = path.file_name().expect("a name");
        let memory = Path::new("/dev/shm");
        Folder::at(if memory.is_dir() { memory.join(name) } else { path })
    }

    fn at(outer: PathBuf) -> Folder {
        let inner = outer.join("watched");
        std::fs::create_dir_all(&inner).expect("a folder");
        Folder { outer, inner }
    }

    pub fn path(&self) -> &Path {
        &self.inner
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.inner.join(name)
    }

    /// A path beside the folder, which is not watched.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.outer.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.outer);
    }
}

/// What a watcher was told, a line for each.
#[derive(Clone, Default)]
pub struct Seen {
    lines: Rc<RefCell<Vec<String>>>,
    last: Rc<RefCell<PathBuf>>,
    cookie: Rc<Cell<u32>>,
}

impl Seen {
    pub fn start(lp: &EventLoop, path: &Path, flags: FsEventFlags) -> (FsEvent, Seen) {
        let watcher = FsEvent::new(lp).unwrap();
        let seen = Seen::start_with(&watcher, path, flags);
        (watcher, seen)
    }

    pub fn start_with(watcher: &FsEvent, path: &Path, flags: FsEventFlags) -> Seen {
        let seen = Seen::default();
        let note = seen.clone();
        watcher.start(path, flags, move |_, change| note.note(change)).unwrap();
        seen
    }

    fn note(&self, change: blacklight::Result<&FsChange>) {
        let line = match change {
            Err(error) => error.name().to_owned(),
            Ok(change) => {
                let path = change.path.display();
                let directory = if change.is_directory { " /" } else { "" };
                *self.last.borrow_mut() = change.path.clone();
                match &change.kind {
                    FsChangeKind::Renamed { from, cookie } => {
                        self.cookie.set(*cookie);
                        format!("{path} Renamed from {}{directory}", from.display())
                    }
                    FsChangeKind::MovedFrom { cookie } => {
                        self.cookie.set(*cookie);
                        format!("{path} MovedFrom{directory}")
                    }
                    FsChangeKind::MovedTo { cookie } => {
                        self.cookie.set(*cookie);
                        format!("{path} MovedTo{directory}")
                    }
                    // Whether the kernel says so of the thing itself depends on its version.
                    FsChangeKind::SelfDeleted | FsChangeKind::Gone | FsChangeKind::SelfMoved => {
                        format!("{path} {:?}", change.kind)
                    }
                    kind => format!("{path} {kind:?}{directory}"),
                }
            }
        };
        self.lines.borrow_mut().push(line);
    }

    /// Lets the loop tell everything that has happened: changes are queued before the call that
    /// makes them returns, and new directories take a turn per level.
    pub fn settle(&self, lp: &EventLoop) {
        let mut before = usize::MAX;
        while before != self.lines.borrow().len() {
            before = self.lines.borrow().len();
            for _ in 0..4 {
                lp.run(RunMode::NoWait).unwrap();
            }
        }
    }

    pub fn take(&self) -> Vec<String> {
        self.lines.take()
    }

    /// The lines, sorted: for what has no order.
    pub fn sorted(&self) -> Vec<String> {
        let mut lines = self.take();
        lines.sort();
        lines
    }

    pub fn has(&self, text: &str) -> bool {
        self.lines.borrow().iter().any(|line| line.contains(text))
    }

    pub fn last_path(&self) -> PathBuf {
        self.last.borrow().clone()
    }

    pub fn cookie(&self) -> u32 {
        self.cookie.get()
    }
}

fn inotify_descriptors() -> Vec<i32> {
    let all = super::support::open_fds().into_iter();
    all.filter(|(_, target)| target.contains("inotify")).map(|(number, _)| number).collect()
}

/// The inotify instances of this process.
pub fn instances() -> usize {
    inotify_descriptors().len()
}

/// The kernel's watches of all of them.
pub fn watches() -> usize {
    let info = |fd: i32| std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let lines = |fd: i32| info(fd).lines().filter(|line| line.starts_with("inotify wd:")).count();
    inotify_descriptors().into_iter().map(lines).sum()
}
