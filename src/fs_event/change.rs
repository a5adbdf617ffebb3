//! What a watcher is told: [`FsChange`].

use std::path::PathBuf;

use bitflags::bitflags;

bitflags! {
    /// The two kinds of change that libuv knows (`uv_fs_event`), with its values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct FsEventKinds: u32 {
        /// Something has appeared, is gone, or has another name.
        const RENAME = 1;
        /// Contents or attributes have changed.
        const CHANGE = 2;
    }
}

bitflags! {
    /// How to watch (`uv_fs_event_flags`), with libuv's values. Those that do nothing on Linux,
    /// `UV_FS_EVENT_WATCH_ENTRY` and `UV_FS_EVENT_STAT`, are left out.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub struct FsEventFlags: u32 {
        /// A directory with everything below it. libuv takes the flag and ignores it on Linux.
        const RECURSIVE = 4;
    }
}

/// A change of what is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FsChange {
    /// What has changed: relative to the directory that is watched. The base name of what is
    /// watched when it is a file, or the directory itself; empty for [`FsChangeKind::Overflow`].
    pub path: PathBuf,
    /// What has happened to it.
    pub kind: FsChangeKind,
    /// Whether it is a directory.
    pub is_directory: bool,
}

impl FsChange {
    /// The change in libuv's terms; nothing for [`FsChangeKind::Overflow`], of which libuv's users
    /// are not told. What libuv reports as two, first `from` and then `path`, is one
    /// [`FsChangeKind::Renamed`] here.
    #[must_use]
    pub const fn events(&self) -> FsEventKinds {
        match self.kind {
            FsChangeKind::Modified | FsChangeKind::Attributes => FsEventKinds::CHANGE,
            FsChangeKind::Overflow => FsEventKinds::empty(),
            _ => FsEventKinds::RENAME,
        }
    }
}

/// What has happened, as closely as the kernel tells (inotify(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FsChangeKind {
    /// It is new.
    Created,
    /// It was written to or truncated.
    Modified,
    /// Its mode, owner, times, links or extended attributes have changed.
    Attributes,
    /// It is gone.
    Deleted,
    /// It has gone elsewhere, where it is not watched.
    MovedFrom {
        /// The kernel's number of the move.
        cookie: u32,
    },
    /// It has come from elsewhere, where it was not watched.
    MovedTo {
        /// The kernel's number of the move.
        cookie: u32,
    },
    /// It had another name within what is watched.
    Renamed {
        /// The path it had, relative as [`FsChange::path`] is.
        from: PathBuf,
        /// The kernel's number of the move.
        cookie: u32,
    },
    /// What is watched has been deleted.
    SelfDeleted,
    /// What is watched has another name now; the watch stays with it.
    SelfMoved,
    /// The file system of what is watched has been unmounted.
    Unmounted,
    /// The watch is over, because what was watched is gone: nothing more will come.
    Gone,
    /// The kernel has dropped events because there were too many at once
    /// (`/proc/sys/fs/inotify/max_queued_events`): anything may have changed.
    Overflow,
}
