//! Operations on files and directories, each done here and by the pool.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tools.rs"]
mod tools;

mod closing;
mod copying;
mod directories;
mod files;
mod paths;
#[cfg(feature = "io_uring")]
mod ring;
mod stat;

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::EventLoop;
use blacklight::fs::Operation;

use tools::finish;

/// A loop that has all its descriptors: those of the pool's results and of the ring.
fn warm_loop() -> EventLoop {
    let lp = EventLoop::new().unwrap();
    on_loop(&lp, blacklight::fs::stat("/")).unwrap();
    lp.queue_work(|| {}, |_| {}).unwrap();
    finish(&lp);
    lp
}

/// Has an operation done by the loop and returns what came of it.
fn on_loop<T: Send + 'static>(lp: &EventLoop, operation: Operation<T>) -> T {
    let result = Rc::new(RefCell::new(None));
    let got = result.clone();
    operation.start(lp, move |result| *got.borrow_mut() = Some(result)).unwrap();
    assert!(result.borrow().is_none(), "never inside the call");
    finish(lp);
    let result = result.borrow_mut().take();
    result.expect("the loop ended without a result")
}

/// Both forms of an operation: each test's body is run with a function that does it here, and with
/// one that has the loop do it.
macro_rules! both_ways {
    ($run:ident => $body:block) => {
        #[allow(unused_macros)]
        {
            macro_rules! $run {
                ($operation:expr) => {
                    $operation.run()
                };
            }
            $body
        }
        {
            let lp = blacklight::EventLoop::new().unwrap();
            #[allow(unused_macros)]
            macro_rules! $run {
                ($operation:expr) => {
                    $crate::on_loop(&lp, $operation)
                };
            }
            $body
        }
    };
}
pub(crate) use both_ways;
