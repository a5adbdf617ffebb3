//! What the memory controller of this process's control group says (cgroups(7)).
//!
//! A system has the controller in a hierarchy of its own (version 1), in the common one (version
//! 2), or not at all; /proc/self/cgroup tells which. libuv takes the first line of that file for
//! the answer and so misses version 2 where other hierarchies exist beside it; here the controller
//! is looked for by its name first.

use std::path::{Path, PathBuf};

/// Where the hierarchies are mounted on every system that follows the convention.
const MOUNTS: &str = "sys/fs/cgroup";

/// The names of the files of one version.
struct Files {
    hard: &'static str,
    soft: &'static str,
    used: &'static str,
}

const V1: Files = Files {
    hard: "memory.limit_in_bytes",
    soft: "memory.soft_limit_in_bytes",
    used: "memory.usage_in_bytes",
};

const V2: Files = Files { hard: "memory.max", soft: "memory.high", used: "memory.current" };

/// The directory of a group whose files can be read.
pub(super) struct MemoryGroup {
    directory: PathBuf,
    files: &'static Files,
}

impl MemoryGroup {
    /// The group of this process.
    pub(super) fn own() -> Option<MemoryGroup> {
        MemoryGroup::below(Path::new("/"))
    }

    /// The same for a system whose root is elsewhere.
    fn below(root: &Path) -> Option<MemoryGroup> {
        let text = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = root.join(MOUNTS);
        // Each line is id:controllers:path.
        let mut lines = text.lines().map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next().unwrap_or("");
            (controllers, parts.next().unwrap_or("").trim_start_matches('/'))
        });
        let v1 = lines.clone().find(|(names, _)| names.split(',').any(|name| name == "memory"));
        let (candidates, files) = match v1 {
            // In a container the path may be that of the host; then the mount itself is ours.
            Some((_, path)) => (vec![mounts.join("memory").join(path), mounts.join("memory")], &V1),
            None => {
                let (_, path) = lines.find(|(names, _)| names.is_empty())?;
                (vec![mounts.join(path), mounts.join("unified").join(path)], &V2)
            }
        };
        let mut groups = candidates.into_iter().map(|directory| MemoryGroup { directory, files });
        groups.find(|group| group.limit().is_some())
    }

    /// The lower one of the hard and the soft limit, in bytes; `u64::MAX` when there is none, and
    /// `None` when one of them cannot be read, or is 0, as in libuv.
    pub(super) fn limit(&self) -> Option<u64> {
        let hard = self.read(self.files.hard).filter(|limit| *limit != 0)?;
        let soft = self.read(self.files.soft).filter(|limit| *limit != 0)?;
        Some(hard.min(soft))
    }

    /// Bytes in use by the group.
    pub(super) fn used(&self) -> u64 {
        self.read(self.files.used).unwrap_or(0)
    }

    fn read(&self, name: &str) -> Option<u64> {
        /// Version 1 writes "no limit" as the largest signed number that is whole pages
        /// (include/linux/page_counter.h, `PAGE_COUNTER_MAX`); no page is larger than this.
        const LARGEST_PAGE: u64 = 1 << 20;
        let text = std::fs::read_to_string(self.directory.join(name)).ok()?;
        if text.trim() == "max" {
            return Some(u64::MAX);
        }
        let bytes: u64 = text.trim().parse().ok()?;
        let unlimited = i64::MAX.unsigned_abs() - LARGEST_PAGE;
        Some(if bytes > unlimited { u64::MAX } else { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system of files, removed when dropped.
    struct System(PathBuf);

    impl System {
        fn new(name: &str, cgroup: &str, files: &[(&str, &str)]) -> System {
            let unique = format!("blacklight-cgroup-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(unique);
            let put = |path: &Path, text: &str| {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            };
            put(&root.join("proc/self/cgroup"), cgroup);
            for (path, text) in files {
                put(&root.join(MOUNTS).join(path), text);
            }
            System(root)
        }

        fn limit(&self) -> Option<u64> {
            MemoryGroup::below(&self.0)?.limit()
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_2_has_the_lower_of_two_limits() {
        let files = [("a/b/memory.max", "2000\n"), ("a/b/memory.high", "1000\n")];
        assert_eq!(System::new("v2", "0::/a/b\n", &files).limit(), Some(1000));
        let files = [("memory.max", "2000\n"), ("memory.high", "max\n")];
        assert_eq!(System::new("v2root", "0::/\n", &files).limit(), Some(2000));
        let files = [("memory.max", "max\n"), ("memory.high", "max\n")];
        assert_eq!(System::new("v2none", "0::/\n", &files).limit(), Some(u64::MAX));
    }

    #[test]
    fn version_1_is_found_by_its_controller_wherever_the_line_is() {
        let cgroup = "9:name=systemd:/x\n4:cpu,memory:/a\n0::/y\n";
        let files = [
            ("memory/a/memory.limit_in_bytes", "4096\n"),
            ("memory/a/memory.soft_limit_in_bytes", "9223372036854771712\n"),
            ("memory/a/memory.usage_in_bytes", "1000\n"),
        ];
        let system = System::new("v1", cgroup, &files);
        assert_eq!(system.limit(), Some(4096));
        assert_eq!(MemoryGroup::below(&system.0).unwrap().used(), 1000);
    }

    #[test]
    fn version_1_falls_back_to_the_mount_when_the_path_is_the_hosts() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.soft_limit_in_bytes", "9223372036854771712\n"),
        ];
        let system = System::new("v1host", "4:memory:/docker/1234\n", &files);
        assert_eq!(system.limit(), Some(u64::MAX));
    }

    #[test]
    fn version_2_beside_other_hierarchies_is_found() {
        let cgroup = "1:name=systemd:/x\n0::/a\n";
        let files = [("unified/a/memory.max", "7\n"), ("unified/a/memory.high", "max\n")];
        assert_eq!(System::new("hybrid", cgroup, &files).limit(), Some(7));
    }

    #[test]
    fn what_cannot_be_read_is_no_limit_that_is_known() {
        assert_eq!(System::new("empty", "", &[]).limit(), None);
        assert_eq!(System::new("nofiles", "0::/a\n", &[]).limit(), None);
        assert_eq!(System::new("odd", "nonsense\n::\n", &[]).limit(), None);
        let files = [("memory.max", "words\n"), ("memory.high", "1\n")];
        assert_eq!(System::new("words", "0::/\n", &files).limit(), None);
    }
}
