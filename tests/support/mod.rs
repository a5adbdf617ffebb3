//! What the tests of this folder share: a process of one's own, and counting what is left over.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

#[path = "../../src/sys/isolation.rs"]
mod isolation;
pub mod process;

use std::cell::RefCell;
use std::rc::Rc;

#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use isolation::isolated;

/// The open descriptors of this process, by number and what they are.
pub fn open_fds() -> Vec<(i32, String)> {
    let mut fds: Vec<(i32, String)> = std::fs::read_dir("/proc/self/fd")
        .expect("procfs is mounted")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        // The one that lists the folder.
        .filter(|(_, target)| !target.starts_with("/proc/") || !target.ends_with("/fd"))
        .collect();
    fds.sort();
    fds
}

/// The children of this process that exist, zombies included: pid and state letter.
pub fn children() -> Vec<(i32, char)> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("procfs is mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // proc_pid_stat(5): the name is in parentheses and may hold anything.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let mut fields = rest.split_whitespace();
        let state = fields.next().and_then(|state| state.chars().next()).unwrap_or('?');
        if fields.next() == Some(me.as_str()) {
            found.push((pid, state));
        }
    }
    found
}

/// A log that closures write to and the test reads.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn new() -> Log {
        Log::default()
    }

    pub fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}
