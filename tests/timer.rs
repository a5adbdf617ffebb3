//! The `Timer` handle.

mod support;

use blacklight::prelude::*;
use support::Log;

#[test]
fn fires_by_deadline_then_by_start() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    for (name, timeout) in [("c", 3), ("a", 1), ("b", 1)] {
        let log = log.clone();
        let timer = Timer::new(&lp).unwrap();
        timer.start(timeout, 0, move |_| log.add(name)).unwrap();
    }
    assert!(!lp.run(RunMode::Default).unwrap());
    assert_eq!(log.take(), ["a", "b", "c"]);
}
