//! Spawning with `tokio::process` and `async-process`.

use tokio::runtime::Runtime;

use super::direct;
use super::{Spawner, What};
use crate::rows::tokio_runtime;

pub(super) struct Tokio {
    commands: Vec<tokio::process::Command>,
    children: Vec<tokio::process::Child>,
    runtime: Runtime,
}

impl Tokio {
    pub(super) fn new(whats: &[What]) -> Tokio {
        let commands = whats.iter().map(|what| direct::command(what).into()).collect();
        Tokio { commands, children: Vec::new(), runtime: tokio_runtime() }
    }
}

impl Spawner for Tokio {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        let _context = self.runtime.enter();
        for _ in 0..count {
            let child = self.commands[which].spawn().expect("the program is there");
            if let Some(pids) = &mut pids {
                pids.push(child.id().expect("it is alive") as i32);
            }
            self.children.push(child);
        }
    }

    fn finish(&mut self, left: usize) {
        self.runtime.block_on(async {
            for mut child in self.children.drain(left..) {
                child.wait().await.expect("a child of ours");
            }
        });
    }

    fn finish_any(&mut self, _left: usize) {
        unreachable!("a future waits for its own child");
    }
}

pub(super) struct AsyncProcess {
    commands: Vec<async_process::Command>,
    children: Vec<async_process::Child>,
}

impl AsyncProcess {
    pub(super) fn new(whats: &[What]) -> AsyncProcess {
        let commands = whats.iter().map(|what| direct::command(what).into()).collect();
        AsyncProcess { commands, children: Vec::new() }
    }
}

impl Spawner for AsyncProcess {
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
        async_io::block_on(async {
            for mut child in self.children.drain(left..) {
                child.status().await.expect("a child of ours");
            }
        });
    }

    fn finish_any(&mut self, _left: usize) {
        unreachable!("a future waits for its own child");
    }
}
