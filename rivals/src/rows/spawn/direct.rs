//! Spawning without a loop: `std::process`, and the system calls.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use super::{Spawner, What};
use crate::clone::{self, Attributes};
use crate::floor;

/// The standard library's command, which the asynchronous ones are made from.
pub(super) fn command(what: &What) -> Command {
    let Attributes { uid_gid, groups, cwd, detached } = what.attributes;
    assert!(!groups, "not stable");
    let mut command = Command::new(what.program.path());
    command.env_clear();
    if uid_gid {
        command.uid(Attributes::NOBODY).gid(Attributes::NOBODY);
    }
    if cwd {
        command.current_dir("/");
    }
    if detached {
        // SAFETY: one system call.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
    }
    command
}

pub(super) struct Std {
    commands: Vec<Command>,
    children: Vec<Child>,
}

impl Std {
    pub(super) fn new(whats: &[What]) -> Std {
        Std { commands: whats.iter().map(command).collect(), children: Vec::new() }
    }
}

impl Spawner for Std {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        for _ in 0..count {
            let child = self.commands[which].spawn().expect("the program is there");
            if let Some(pids) = &mut pids {
                pids.push(child.id() as i32);
            }
            self.children.push(child);
        }
    }

    fn finish(&mut self, left: usize) {
        for mut child in self.children.drain(left..) {
            child.wait().expect("a child of ours");
        }
    }
}

pub(super) struct Floor {
    whats: Vec<What>,
    children: Vec<i32>,
}

impl Floor {
    pub(super) fn new(whats: &[What]) -> Floor {
        Floor { whats: whats.to_vec(), children: Vec::new() }
    }
}

impl Spawner for Floor {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        let What { program, attributes } = &self.whats[which];
        for _ in 0..count {
            let pid = if attributes.none() {
                floor::vfork_exec(program)
            } else {
                clone::spawn(program.c_path(), *attributes, [-1; 3])
            };
            if let Some(pids) = &mut pids {
                pids.push(pid);
            }
            self.children.push(pid);
        }
    }

    /// By number where some are left, else whoever has ended.
    fn finish(&mut self, left: usize) {
        for pid in self.children.drain(left..) {
            if left == 0 {
                // SAFETY: no pointer but null.
                crate::poll::check(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) });
            } else {
                floor::wait(pid);
            }
        }
    }
}
