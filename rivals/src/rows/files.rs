//! Files: stat, and read of a page, one after the other through the pool. The floor is the call
//! itself, on this thread.

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, LoopRef, Options, RunMode, fs};
use libuv_sys2::{uv_buf_t, uv_fs_read, uv_fs_req_cleanup, uv_fs_stat, uv_fs_t};

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
    vec![row, read()]
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

const PAGE: usize = 4096;

/// A file that every machine has and that is longer than a page: this program.
fn file() -> std::fs::File {
    std::fs::File::open(PATH).expect("it is running")
}

fn read() -> Row {
    Row::new(Group::Pool, "fs: read 4 KiB")
        .units(5_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            fn next(lp: &LoopRef, file: fs::File, buffer: Vec<u8>, left: u64) {
                let again = lp.clone();
                let reading = file.read(buffer, Some(0));
                let done = move |read: fs::Transferred<Vec<u8>>| {
                    assert_eq!(read.result, Ok(PAGE));
                    if left > 1 {
                        next(&again, file, read.buffer, left - 1);
                    }
                };
                reading.start(lp, done).expect("the pool takes it");
            }
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let file = fs::File::from(file());
            move |units| {
                let begun = Instant::now();
                next(&lp, file.clone(), vec![0; PAGE], units);
                lp.run(RunMode::Default).expect("the loop runs");
                each(begun, units)
            }
        })
        .entry(Who::Libuv, read_in_libuv)
        .entry(Who::Tokio, || {
            let (runtime, file) = (tokio_runtime(), std::sync::Arc::new(file()));
            move |units| {
                runtime.block_on(async {
                    let mut buffer = vec![0; PAGE];
                    let begun = Instant::now();
                    for _ in 0..units {
                        let file = file.clone();
                        let read = tokio::task::spawn_blocking(move || {
                            file.read_exact_at(&mut buffer, 0).map(|()| buffer)
                        });
                        buffer = read.await.expect("it is done").expect("a page");
                    }
                    each(begun, units)
                })
            }
        })
        .entry(Who::Floor, || {
            let (file, mut buffer) = (file(), vec![0; PAGE]);
            move |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    assert_eq!(file.read_at(&mut buffer, 0).expect("a page"), PAGE);
                }
                each(begun, units)
            }
        })
}

fn read_in_libuv() -> impl FnMut(u64) -> f64 {
    struct State {
        file: std::fs::File,
        left: Cell<u64>,
        buffer: RefCell<Vec<u8>>,
    }
    /// Begins a read of the page with a request that is not in use.
    unsafe fn start(lp: *mut libuv_sys2::uv_loop_t, request: *mut uv_fs_t, state: &State) {
        let base = state.buffer.borrow_mut().as_mut_ptr().cast();
        let buffer = uv_buf_t { base, len: PAGE };
        // SAFETY: the loop is open; the bytes and the request live until done.
        let started = unsafe {
            uv_fs_read(lp, request, state.file.as_raw_fd(), &raw const buffer, 1, 0, Some(done))
        };
        uv::check(started);
    }
    unsafe extern "C" fn done(request: *mut uv_fs_t) {
        // SAFETY: the row keeps the state while the loop runs; the request is done with and may be
        // used again once it is cleaned up.
        unsafe {
            assert_eq!((*request).result, PAGE as isize);
            let (lp, state) = ((*request).loop_, uv::state::<State>((*request).data));
            uv_fs_req_cleanup(request);
            state.left.set(state.left.get() - 1);
            if state.left.get() > 0 {
                start(lp, request, state);
            } else {
                drop(Box::from_raw(request));
            }
        }
    }
    let lp = uv::Loop::new();
    let buffer = RefCell::new(vec![0; PAGE]);
    let state = Rc::new(State { file: file(), left: Cell::new(0), buffer });
    move |units| {
        state.left.set(units);
        let request = uv::allocate::<uv_fs_t>();
        let begun = Instant::now();
        // SAFETY: the request is new.
        unsafe {
            (*request).data = uv::data(&state);
            start(lp.get(), request, &state);
        }
        lp.run_until_done();
        each(begun, units)
    }
}
