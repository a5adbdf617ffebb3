//! Files: stat, one after the other through the pool. The floor is the call itself, on this thread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, LoopRef, Options, RunMode, fs};
use libuv_sys2::{uv_fs_req_cleanup, uv_fs_stat, uv_fs_t};

use super::tokio_runtime;
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

const PATH: &str = "/proc/self/exe";
const C_PATH: &std::ffi::CStr = c"/proc/self/exe";

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Pool, "fs: stat")
        .units(5_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            fn next(lp: &LoopRef, left: u64) {
                if left > 0 {
                    let again = lp.clone();
                    let done = move |result: blacklight::Result<fs::Stat>| {
                        result.expect("it is there");
                        next(&again, left - 1);
                    };
                    fs::stat(PATH).start(lp, done).expect("the pool takes it");
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
        .entry(Who::Libuv, stat_in_libuv)
        .entry(Who::Tokio, || {
            let runtime = tokio_runtime();
            move |units| {
                runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..units {
                        tokio::fs::metadata(PATH).await.expect("it is there");
                    }
                    each(begun, units)
                })
            }
        })
        .entry(Who::Floor, || {
            |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    // SAFETY: zeros are a value of this plain structure, which outlives the call.
                    unsafe {
                        let mut facts: libc::statx = std::mem::zeroed();
                        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
                        let (path, at) = (C_PATH.as_ptr(), &raw mut facts);
                        crate::poll::check(libc::statx(libc::AT_FDCWD, path, 0, mask, at));
                    }
                }
                each(begun, units)
            }
        });
    vec![row]
}

fn stat_in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn done(request: *mut uv_fs_t) {
        // SAFETY: the row keeps the count while the loop runs; the request is done with and may be
        // used again once it is cleaned up.
        unsafe {
            assert_eq!((*request).result, 0);
            let (lp, data) = ((*request).loop_, (*request).data);
            uv_fs_req_cleanup(request);
            let left = uv::state::<Cell<u64>>(data);
            left.set(left.get() - 1);
            if left.get() > 0 {
                uv::check(uv_fs_stat(lp, request, C_PATH.as_ptr(), Some(done)));
            } else {
                drop(Box::from_raw(request));
            }
        }
    }
    let (lp, left) = (uv::Loop::new(), Rc::new(Cell::new(0)));
    move |units| {
        left.set(units);
        let request = uv::allocate::<uv_fs_t>();
        let begun = Instant::now();
        // SAFETY: the loop is open; the request lives until done.
        unsafe {
            (*request).data = uv::data(&left);
            uv::check(uv_fs_stat(lp.get(), request, C_PATH.as_ptr(), Some(done)));
        }
        lp.run_until_done();
        each(begun, units)
    }
}
