//! The `FsEvent` handle: tells of changes of files and directories (`uv_fs_event_t`).
//!
//! `node` is one watcher, `watches` what all of a loop share, `tree` the directories of a recursive
//! one, `change` what is told.

mod change;
mod node;
mod tree;
mod watches;

use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use change::{FsChange, FsChangeKind, FsEventFlags, FsEventKinds};
use node::FsEventNode;
pub(crate) use watches::FsEvents;

use crate::error::{Error, Result};
use crate::event_loop::LoopRef;
use crate::handle::{create, handle};

/// Watches a file, a directory, or a directory with everything below it.
///
/// All watchers of a loop share one inotify instance; any number may watch the same path.
///
/// ```
/// use blacklight::{EventLoop, FsChangeKind, FsEvent, FsEventFlags, Handle, RunMode};
///
/// # let directory = std::env::temp_dir().join(format!("blacklight-doc-{}", std::process::id()));
/// # std::fs::create_dir(&directory)?;
/// let lp = EventLoop::new()?;
/// let watcher = FsEvent::new(&lp)?;
/// watcher.start(&directory, FsEventFlags::empty(), |watcher, change| {
///     let change = change.expect("nothing went wrong");
///     assert_eq!(change.kind, FsChangeKind::Created);
///     assert_eq!(change.path.to_str(), Some("news"));
///     watcher.close();
/// })?;
/// std::fs::write(directory.join("news"), "")?;
/// lp.run(RunMode::Default)?;
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is told, and what is not
/// The kernel merges events that are the same, and drops them when there are too many, of which
/// [`FsChangeKind::Overflow`] tells. Changes are those of inotify(7): of memory-mapped files and of
/// what another machine does on a network file system there is nothing to see, and
/// [`FsPoll`](crate::FsPoll) is for those.
///
/// When what is watched is deleted, the last thing told is [`FsChangeKind::Gone`]; the handle stays
/// active, as in libuv, until it is stopped, closed, or started on something else. Editors that
/// replace a file rather than write to it do that to a watcher of the file: watch its directory.
///
/// # Recursive watches
/// With [`FsEventFlags::RECURSIVE`] every directory below the path is watched, new ones as they
/// appear. What is in a new one by the time it can be watched is reported as created, once.
/// Directories that may not be read are left out, symbolic links are not followed. When the kernel
/// allows no further watch (`/proc/sys/fs/inotify/max_user_watches`), or
/// [`FsEvent::limit_directories`] does not, starting fails with `ENOSPC`; later the closure gets the
/// error for each directory that is not watched, and all others still are. After an overflow the
/// tree is looked through anew, on the loop's thread as at the start.
///
/// A recursive watcher whose own directory gets another name ([`FsChangeKind::SelfMoved`]) tells on
/// of what it watches, but does not find new directories: start it anew.
#[derive(Clone)]
pub struct FsEvent(Rc<FsEventNode>);

handle!(FsEvent, FsEventNode, |_| true);

impl FsEvent {
    /// Makes a watcher that watches nothing.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
    pub fn new(lp: &LoopRef) -> Result<FsEvent> {
        create(lp, FsEventNode::new).map(FsEvent)
    }

    /// Watches a path from now on; a symbolic link is followed to what it leads to. Flags are for
    /// directories.
    ///
    /// `callback` gets each change, or an error: `ENOSPC`, `ENOMEM`, `ENAMETOOLONG` when a new
    /// directory of a recursive watch cannot be watched, and in a forked child whatever the path
    /// says there. It may stop and close this watcher and any other.
    ///
    /// # Errors
    /// `EINVAL` when it watches already, is closing, or there is a NUL in the path; `ENOENT`,
    /// `EACCES`, `ENOTDIR`, … for the path; `ENOSPC` when no more can be watched, `EMFILE` when the
    /// user has too many inotify instances.
    pub fn start(
        &self,
        path: impl AsRef<Path>,
        flags: FsEventFlags,
        callback: impl FnMut(&FsEvent, Result<&FsChange>) + 'static,
    ) -> Result<()> {
        let node = &self.0;
        if node.base.is_closing() || node.base.is_active() {
            return Err(Error::EINVAL);
        }
        node.base.lp().inner().usable()?;
        node.begin(path.as_ref(), flags)?;
        node.base.activate();
        drop(node.callback.set(Box::new(callback)));
        Ok(())
    }

    /// Ends the watch and drops the closure. Changes that were fetched are not told any more.
    pub fn stop(&self) {
        self.0.leave();
        self.0.base.deactivate();
        drop(self.0.callback.clear());
    }

    /// The path that was given to [`FsEvent::start`] (`uv_fs_event_getpath`).
    ///
    /// # Errors
    /// `EINVAL` when it watches nothing.
    pub fn path(&self) -> Result<PathBuf> {
        self.0.watch.borrow().as_ref().map(|watch| watch.path.clone()).ok_or(Error::EINVAL)
    }

    /// Whether changes can come: it has been started, and what it watches is not
    /// [gone](FsChangeKind::Gone).
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.0.is_watching()
    }

    /// Watches at most so many directories, the first included, in recursive watches; as many as
    /// the kernel allows unless this is called.
    pub fn limit_directories(&self, most: usize) {
        self.0.most_directories.set(most);
    }
}
