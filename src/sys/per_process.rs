//! Process-wide state that a forked child does not take over.
//!
//! The parent's children are not the child's, and a lock that another thread held during the fork
//! would never be released. Invariant: in a forked child the first use finds fresh state; the old
//! one is forgotten, not dropped, because nobody knows what state it is in.

use std::sync::OnceLock;

use super::fork_mark;

/// A lazily made value for each process of a line of forks.
///
/// Each generation has a node that is leaked and points to the next one; a process that has not
/// called fork reads one node.
pub(crate) struct PerProcess<T: 'static> {
    first: OnceLock<&'static Generation<T>>,
}

struct Generation<T: 'static> {
    mark: Option<u32>,
    value: T,
    next: OnceLock<&'static Generation<T>>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { first: OnceLock::new() }
    }

    pub(crate) fn get(&self) -> &'static T {
        // Without a page to mark the process with, all of them are taken for one.
        let mark = fork_mark::current().ok();
        let make = || -> &'static Generation<T> {
            Box::leak(Box::new(Generation { mark, value: T::default(), next: OnceLock::new() }))
        };
        let mut at: &'static Generation<T> = self.first.get_or_init(make);
        while at.mark != mark {
            at = at.next.get_or_init(make);
        }
        &at.value
    }

    /// As [`PerProcess::get`], of a process that has used it before; makes nothing, so that a
    /// signal handler may ask.
    pub(crate) fn get_if_made(&self) -> Option<&'static T> {
        let mut at: &'static Generation<T> = self.first.get()?;
        while !at.mark.is_none_or(fork_mark::is_current) {
            at = at.next.get()?;
        }
        Some(&at.value)
    }
}
