//! One way to spawn and wait for all implementations, so that the rows are written once.

use std::rc::Rc;

use super::{asynchronous, direct, libuv, ours};
use crate::clone::Attributes;
use crate::floor::Program;
use crate::row::Who;

/// A program and how it is started. Its environment is empty, its descriptors 0 to 2 are ours.
#[derive(Clone)]
pub(in crate::rows) struct What {
    pub(in crate::rows) program: Rc<Program>,
    pub(in crate::rows) attributes: Attributes,
}

pub(in crate::rows) trait Spawner {
    /// Starts `count` children of the program in place `which`, and notes their numbers if asked.
    fn start(&mut self, which: usize, count: usize, pids: Option<&mut Vec<i32>>);

    /// Waits until the end of all children but the first `left` has been reported.
    fn finish(&mut self, left: usize);

    /// As [`Spawner::finish`], where those that are left may be any of them.
    fn finish_any(&mut self, left: usize);
}

pub(in crate::rows) fn can(who: Who, attributes: Attributes) -> bool {
    match who {
        Who::Blacklight | Who::Floor | Who::PidfdFloor => true,
        // No way to set the groups by themselves, or not in stable Rust.
        Who::Libuv | Who::Tokio | Who::AsyncProcess | Who::Std => !attributes.groups,
        Who::Node => false,
    }
}

pub(in crate::rows) fn spawner(who: Who, whats: &[What]) -> Box<dyn Spawner> {
    let spawner: Box<dyn Spawner> = match who {
        Who::Blacklight => Box::new(ours::Ours::new(whats)),
        Who::Libuv => Box::new(libuv::Libuv::new(whats)),
        Who::Tokio => Box::new(asynchronous::Tokio::new(whats)),
        Who::AsyncProcess => Box::new(asynchronous::AsyncProcess::new(whats)),
        Who::Std => Box::new(direct::Std::new(whats)),
        Who::Floor => Box::new(direct::Floor::new(whats)),
        Who::PidfdFloor => Box::new(direct::PidfdFloor::new(whats)),
        Who::Node => unreachable!("it takes part in the rows of messages only"),
    };
    Box::new(Keeping { spawner, _programs: whats.to_vec() })
}

/// The programs' files are removed with their last owner.
struct Keeping {
    spawner: Box<dyn Spawner>,
    _programs: Vec<What>,
}

impl Spawner for Keeping {
    fn start(&mut self, which: usize, count: usize, pids: Option<&mut Vec<i32>>) {
        self.spawner.start(which, count, pids);
    }

    fn finish(&mut self, left: usize) {
        self.spawner.finish(left);
    }

    fn finish_any(&mut self, left: usize) {
        self.spawner.finish_any(left);
    }
}
