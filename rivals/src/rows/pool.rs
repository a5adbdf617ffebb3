//! A job there and its result back: the round trip through the thread pool, one after the other.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use blacklight::{EventLoop, LoopRef, Options, RunMode};
use libuv_sys2::{uv_queue_work, uv_work_t};

use super::tokio_runtime;
use crate::poll::{Epoll, eventfd, read, write};
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Pool, "thread pool round trip")
        .units(5_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            fn next(lp: &LoopRef, left: u64) {
                if left > 0 {
                    let again = lp.clone();
                    lp.queue_work(
                        || (),
                        move |done| {
                            done.expect("it is done");
                            next(&again, left - 1);
                        },
                    )
                    .expect("the pool takes it");
                }
            }
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            move |units| {
                let begun = Instant::now();
                next(&lp, units);
                lp.run(RunMode::Default).expect("the loop runs");
                each(begun, units)
            }
        })
        .entry(Who::Libuv, in_libuv)
        .entry(Who::Tokio, || {
            let runtime = tokio_runtime();
            move |units| {
                runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..units {
                        tokio::task::spawn_blocking(|| ()).await.expect("it is done");
                    }
                    each(begun, units)
                })
            }
        })
        .entry(Who::Floor, in_system_calls);
    vec![row]
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn work(_: *mut uv_work_t) {}
    unsafe extern "C" fn done(request: *mut uv_work_t, status: c_int) {
        uv::check(status);
        // SAFETY: the row keeps the count while the loop runs; the request is done with and may be
        // used again.
        unsafe {
            let left = uv::state::<Cell<u64>>((*request).data);
            left.set(left.get() - 1);
            if left.get() > 0 {
                uv::check(uv_queue_work((*request).loop_, request, Some(work), Some(done)));
            } else {
                drop(Box::from_raw(request));
            }
        }
    }
    let (lp, left) = (uv::Loop::new(), Rc::new(Cell::new(0)));
    move |units| {
        left.set(units);
        let request = uv::allocate::<uv_work_t>();
        let begun = Instant::now();
        // SAFETY: the loop is open; the request lives until done.
        unsafe {
            (*request).data = uv::data(&left);
            uv::check(uv_queue_work(lp.get(), request, Some(work), Some(done)));
        }
        lp.run_until_done();
        each(begun, units)
    }
}

/// One thread that waits for an eventfd and answers with another.
fn in_system_calls() -> impl FnMut(u64) -> f64 {
    struct Worker {
        ending: Arc<AtomicBool>,
        order: Arc<std::os::fd::OwnedFd>,
        thread: Option<std::thread::JoinHandle<()>>,
    }
    impl Drop for Worker {
        fn drop(&mut self) {
            self.ending.store(true, Ordering::SeqCst);
            write(self.order.as_raw_fd(), &1u64.to_ne_bytes());
            let thread = self.thread.take().expect("made below");
            thread.join().expect("it ended well");
        }
    }
    let (order, answer) = (Arc::new(eventfd()), Arc::new(eventfd()));
    let mut epoll = Epoll::new();
    epoll.watch(answer.as_fd(), libc::EPOLLIN);
    let ending = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (order, answer, ending) = (order.clone(), answer.clone(), ending.clone());
        move || {
            let mut epoll = Epoll::new();
            epoll.watch(order.as_fd(), libc::EPOLLIN);
            while !ending.load(Ordering::SeqCst) {
                for (fd, _) in epoll.wait(-1) {
                    read(fd, &mut [0; 8]);
                    write(answer.as_raw_fd(), &1u64.to_ne_bytes());
                }
            }
        }
    });
    let worker = Worker { ending, order, thread: Some(thread) };
    move |units| {
        let mut left = units;
        let begun = Instant::now();
        while left > 0 {
            write(worker.order.as_raw_fd(), &1u64.to_ne_bytes());
            for (fd, _) in epoll.wait(-1) {
                read(fd, &mut [0; 8]);
                left -= 1;
            }
        }
        let each = each(begun, units);
        let _open = answer.as_raw_fd();
        each
    }
}
