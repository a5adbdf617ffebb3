//! A turn of the loop with an idle hook: what a loop costs when nothing happens.
//!
//! Each has an eventfd in its epoll set, for wake-ups; libuv's and tokio's always do.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use blacklight::{Async, EventLoop, Handle, Idle, Options, RunMode};
use libuv_sys2::{uv_idle_init, uv_idle_start, uv_idle_stop, uv_idle_t};

use super::tokio_runtime;
use crate::poll::{Epoll, eventfd};
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Loop, "turn with an idle hook")
        .units(200_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, in_blacklight)
        .entry(Who::Libuv, in_libuv)
        .entry(Who::Tokio, in_tokio)
        .entry(Who::Floor, || {
            let (mut epoll, wake) = (Epoll::new(), eventfd());
            epoll.watch(wake.as_fd(), libc::EPOLLIN);
            move |units| {
                let _open = &wake;
                let begun = Instant::now();
                for _ in 0..units {
                    epoll.wait(0).for_each(drop);
                }
                each(begun, units)
            }
        });
    vec![row]
}

fn in_blacklight() -> impl FnMut(u64) -> f64 {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let idle = Idle::new(&lp).expect("a hook");
    let wake = Async::new(&lp, |_| {}).expect("a handle");
    wake.unreference();
    move |units| {
        let _open = &wake;
        let left = Cell::new(units);
        let call = move |idle: &Idle| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                idle.stop();
            }
        };
        idle.start(call).expect("it starts");
        let begun = Instant::now();
        lp.run(RunMode::Default).expect("the loop runs");
        each(begun, units)
    }
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn turn(idle: *mut uv_idle_t) {
        // SAFETY: the row keeps the count while the loop runs; the handle is open.
        unsafe {
            let left = uv::state::<Cell<u64>>((*idle).data);
            left.set(left.get() - 1);
            if left.get() == 0 {
                uv::check(uv_idle_stop(idle));
            }
        }
    }
    let lp = uv::Loop::new();
    let left = Rc::new(Cell::new(0));
    move |units| {
        left.set(units);
        let idle = uv::allocate::<uv_idle_t>();
        // SAFETY: the loop is open, the handle lives until closed.
        unsafe {
            uv::check(uv_idle_init(lp.get(), idle));
            (*idle).data = uv::data(&left);
            uv::check(uv_idle_start(idle, Some(turn)));
        }
        let begun = Instant::now();
        lp.run_until_done();
        let each = each(begun, units);
        // SAFETY: it is open.
        unsafe { uv::close(idle) };
        lp.run_until_done();
        each
    }
}

fn in_tokio() -> impl FnMut(u64) -> f64 {
    let runtime = tokio_runtime();
    move |units| {
        runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..units {
                tokio::task::yield_now().await;
            }
            each(begun, units)
        })
    }
}
