//! Spawning without a loop: `std::process`, and the system calls.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use super::{Spawner, What};
use crate::clone::{self, Attributes};
use crate::floor;
use crate::poll::{Epoll, check};

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

    fn finish_any(&mut self, _left: usize) {
        unreachable!("the standard library waits for one child, by its number");
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

fn spawn(What { program, attributes }: &What) -> i32 {
    if attributes.none() {
        floor::vfork_exec(program)
    } else {
        clone::spawn(program.c_path(), *attributes, [-1; 3])
    }
}

impl Spawner for Floor {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        for _ in 0..count {
            let pid = spawn(&self.whats[which]);
            if let Some(pids) = &mut pids {
                pids.push(pid);
            }
            self.children.push(pid);
        }
    }

    /// By number where some are left, else whoever has ended.
    fn finish(&mut self, left: usize) {
        if left == 0 {
            return self.finish_any(left);
        }
        for pid in self.children.drain(left..) {
            floor::wait(pid);
        }
    }

    fn finish_any(&mut self, left: usize) {
        for _ in self.children.drain(left..) {
            // SAFETY: no pointer but null.
            check(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) });
        }
    }
}

/// What every loop does that waits for its children by readiness, in bare calls.
pub(super) struct PidfdFloor {
    whats: Vec<What>,
    epoll: Epoll,
    /// Each at the place of its number.
    children: Vec<Option<OwnedFd>>,
    alive: usize,
}

impl PidfdFloor {
    pub(super) fn new(whats: &[What]) -> PidfdFloor {
        PidfdFloor { whats: whats.to_vec(), epoll: Epoll::new(), children: Vec::new(), alive: 0 }
    }
}

impl Spawner for PidfdFloor {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        for _ in 0..count {
            let pid = spawn(&self.whats[which]);
            // SAFETY: no pointers; the kernel just made the descriptor for us.
            let pidfd = unsafe {
                let number = libc::syscall(libc::SYS_pidfd_open, pid, 0);
                OwnedFd::from_raw_fd(check(number as libc::c_int))
            };
            self.epoll.watch(pidfd.as_fd(), libc::EPOLLIN);
            let place = pidfd.as_raw_fd() as usize;
            self.children.resize_with(self.children.len().max(place + 1), || None);
            self.children[place] = Some(pidfd);
            self.alive += 1;
            if let Some(pids) = &mut pids {
                pids.push(pid);
            }
        }
    }

    fn finish(&mut self, left: usize) {
        while self.alive > left {
            let ready: Vec<_> = self.epoll.wait(-1).collect();
            for (number, _) in ready {
                let pidfd = self.children[number as usize].take().expect("it is watched");
                // SAFETY: the structure is written to and outlives the call.
                unsafe {
                    let mut info: libc::siginfo_t = std::mem::zeroed();
                    let id = number as libc::id_t;
                    check(libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED));
                }
                self.epoll.forget(pidfd.as_fd());
                self.alive -= 1;
            }
        }
    }

    fn finish_any(&mut self, left: usize) {
        self.finish(left);
    }
}
