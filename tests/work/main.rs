//! The thread pool: `queue_work`, cancelling, fairness between classes of work, endings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tools.rs"]
mod tools;

mod classes;
mod endings;
mod pool;
mod requests;

use std::sync::mpsc::{Receiver, Sender, channel};

use blacklight::prelude::*;
use blacklight::work::{Request, ThreadPool, WorkError};
use blacklight::{Options, Result};

/// A loop with a pool of its own, of so many threads.
fn loop_with(threads: usize) -> EventLoop {
    let pool = ThreadPool::builder().threads(threads).build().unwrap();
    with_pool(pool)
}

fn with_pool(pool: ThreadPool) -> EventLoop {
    let options =
        Options { thread_pool: Some(pool), io_uring: false, ..Options::from_env().unwrap() };
    EventLoop::with_options(options).unwrap()
}

/// Holds threads of a pool until it is opened or dropped.
struct Gate {
    open: Vec<Sender<()>>,
    begun: (Sender<()>, Receiver<()>),
}

impl Gate {
    fn new() -> Gate {
        Gate { open: Vec::new(), begun: channel() }
    }

    /// Work that says when it begins and then waits.
    fn work(&mut self) -> impl FnOnce() + Send + 'static {
        let (open, wait) = channel::<()>();
        self.open.push(open);
        let begun = self.begun.0.clone();
        move || {
            begun.send(()).unwrap();
            let _opened = wait.recv();
        }
    }

    /// Has `count` threads of the loop's pool hold still, and returns when they do.
    fn hold(&mut self, lp: &LoopRef, count: usize) -> Vec<Request> {
        let held = (0..count).map(|_| lp.queue_work(self.work(), |_| {}).unwrap()).collect();
        self.until_begun(count);
        held
    }

    fn until_begun(&self, count: usize) {
        (0..count).for_each(|_| self.begun.1.recv().unwrap());
    }

    fn open(&mut self) {
        self.open.clear();
    }
}

/// Asserts that work was cancelled.
fn is_canceled<T>(result: Result<T, WorkError>) -> bool {
    matches!(result, Err(WorkError::Canceled))
}
