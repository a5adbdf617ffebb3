//! The directories of a recursive watch: which watch is which path.
//!
//! Invariant: both maps say the same: a path has one watch, and the watch that has a path is the
//! one that the path names.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Paths are relative to the root, whose own is empty. They sort by components, so that what is
/// below a directory follows it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    by_watch: HashMap<i32, Rc<Path>>,
    by_path: BTreeMap<Rc<Path>, i32>,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.by_watch.len()
    }

    pub(super) fn path_of(&self, wd: i32) -> Option<Rc<Path>> {
        self.by_watch.get(&wd).cloned()
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = i32> + '_ {
        self.by_watch.keys().copied()
    }

    /// The path is that watch's from now on; nothing else has it.
    pub(super) fn insert(&mut self, path: Rc<Path>, wd: i32) {
        self.remove(wd);
        // A watch that had the path is of a directory that is gone: its end is on its way.
        if let Some(before) = self.by_path.insert(path.clone(), wd) {
            self.by_watch.remove(&before);
        }
        self.by_watch.insert(wd, path);
    }

    pub(super) fn remove(&mut self, wd: i32) {
        if let Some(path) = self.by_watch.remove(&wd) {
            self.by_path.remove(&path);
        }
    }

    fn below(&self, path: &Path) -> Vec<(Rc<Path>, i32)> {
        let range = self.by_path.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        let inside = range.take_while(|(at, _)| at.starts_with(path));
        inside.map(|(at, wd)| (at.clone(), *wd)).collect()
    }

    /// Takes out a directory with all below it, and returns their watches.
    pub(super) fn remove_below(&mut self, path: &Path) -> Vec<i32> {
        let gone = self.below(path);
        gone.iter().for_each(|(_, wd)| self.remove(*wd));
        gone.into_iter().map(|(_, wd)| wd).collect()
    }

    /// A directory has another name, and so has all below it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        let moved = self.below(from);
        moved.iter().for_each(|(_, wd)| self.remove(*wd));
        for (path, wd) in moved {
            let Ok(rest) = path.strip_prefix(from) else { continue };
            self.insert(join(to, rest).into(), wd);
        }
    }
}

/// As `Path::join`, but without the slash that an empty path would leave behind.
pub(super) fn join(directory: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { directory.to_owned() } else { directory.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (wd, path) in paths.iter().enumerate() {
            tree.insert(Path::new(path).into(), i32::try_from(wd).unwrap());
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<(String, i32)> {
        for (path, wd) in &tree.by_path {
            assert_eq!(tree.by_watch.get(wd), Some(path));
        }
        assert_eq!(tree.by_path.len(), tree.by_watch.len());
        tree.by_path.iter().map(|(path, wd)| (path.display().to_string(), *wd)).collect()
    }

    #[test]
    fn renaming_takes_along_what_is_below_and_nothing_else() {
        let mut tree = tree(&["", "a", "a/x", "a-b", "a/x/y", "b"]);
        tree.rename(Path::new("a"), Path::new("b/new"));
        let wanted =
            [("", 0), ("a-b", 3), ("b", 5), ("b/new", 1), ("b/new/x", 2), ("b/new/x/y", 4)];
        assert_eq!(paths(&tree), wanted.map(|(path, wd)| (path.to_owned(), wd)));
        assert_eq!(tree.path_of(4).as_deref(), Some(Path::new("b/new/x/y")));
    }

    #[test]
    fn a_path_that_another_watch_gets_is_not_taken_away_by_the_end_of_the_first() {
        let mut tree = tree(&["", "a", "b"]);
        tree.rename(Path::new("a"), Path::new("b"));
        tree.remove(2);
        assert_eq!(paths(&tree), [(String::new(), 0), ("b".to_owned(), 1)]);
        tree.insert(Path::new("c").into(), 1);
        assert_eq!(paths(&tree), [(String::new(), 0), ("c".to_owned(), 1)]);
    }

    #[test]
    fn taking_out_a_directory_takes_out_all_below_it() {
        let mut tree = tree(&["", "a", "a/x", "ab", "a/x/y"]);
        assert_eq!(tree.remove_below(Path::new("a")), [1, 2, 4]);
        assert_eq!(tree.len(), 2);
        assert_eq!(tree.remove_below(Path::new("")), [0, 3]);
        assert_eq!(tree.watches().count(), 0);
    }
}
