//! A loop made and dropped. The floor is the epoll set alone; ours opens what else it needs with the
//! first handle that needs it.

use std::hint::black_box;
use std::time::Instant;

use blacklight::{EventLoop, Options};

use super::tokio_runtime;
use crate::poll::Epoll;
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

pub(super) fn rows() -> Vec<Row> {
    fn repeated<T>(make: fn() -> T) -> impl FnMut(u64) -> f64 {
        move |units| {
            let begun = Instant::now();
            for _ in 0..units {
                drop(black_box(make()));
            }
            each(begun, units)
        }
    }
    let row = Row::new(Group::Loop, "loop made and dropped")
        .units(1_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            repeated(|| EventLoop::with_options(Options::default()).expect("a loop"))
        })
        .entry(Who::Libuv, || repeated(uv::Loop::new))
        .entry(Who::Tokio, || repeated(tokio_runtime))
        .entry(Who::Floor, || repeated(Epoll::new));
    vec![row]
}
