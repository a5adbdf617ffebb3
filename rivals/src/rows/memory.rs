//! The memory of an idle connection that is being read: the handle, its closure or callback, and
//! all that the loop keeps for it.
//!
//! Everyone here takes memory from the C library's allocator, so that is who is asked: what is in
//! use after the connections were made, less what was before, with the allocator's own share. A
//! libuv program holds each handle in memory of its own, so that is counted as well.

use std::cell::Cell;
use std::net::TcpStream;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;

use blacklight::{EventLoop, Options, Stream, Tcp};
use libuv_sys2::{uv_buf_t, uv_read_start, uv_stream_t, uv_tcp_init, uv_tcp_open, uv_tcp_t};
use tokio::io::AsyncReadExt;

use super::tokio_runtime;
use crate::row::{Goal, Group, Row, Unit, Who};
use crate::sockets::tcp_pair;
use crate::uv;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Memory, "idle TCP connection, being read")
        .unit(Unit::Bytes)
        .units(2_000)
        .rounds(11)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            |units| {
                let (mut ends, _peers) = connections(units);
                let lp = EventLoop::with_options(Options::default()).expect("a loop");
                let count = Rc::new(Cell::new(0));
                counted(units, || {
                    let read = |end| {
                        let tcp = Tcp::new(&lp).expect("a handle");
                        tcp.open(OwnedFd::from(end)).expect("a socket");
                        let count = count.clone();
                        tcp.read_start(move |_, _| count.set(count.get() + 1)).expect("it reads");
                    };
                    ends.drain(..).for_each(read);
                })
            }
        })
        .entry(Who::Libuv, in_libuv)
        .entry(Who::Tokio, || {
            |units| {
                let (mut ends, _peers) = connections(units);
                let runtime = tokio_runtime();
                let local = tokio::task::LocalSet::new();
                counted(units, || {
                    let _context = runtime.enter();
                    for end in ends.drain(..) {
                        let mut tcp = tokio::net::TcpStream::from_std(end).expect("a socket");
                        local.spawn_local(async move {
                            let mut buffer = [0; 64];
                            while tcp.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                        });
                    }
                    local.block_on(&runtime, tokio::task::yield_now());
                })
            }
        });
    vec![row]
}

fn connections(units: u64) -> (Vec<TcpStream>, Vec<TcpStream>) {
    (0..units).map(|_| tcp_pair()).unzip()
}

/// Bytes in use after `make`, less those before, for each of `units`.
fn counted<T>(units: u64, make: impl FnOnce() -> T) -> f64 {
    fn in_use() -> f64 {
        // SAFETY: no arguments.
        let all = unsafe { libc::mallinfo2() };
        (all.uordblks + all.hblkhd) as f64
    }
    let before = in_use();
    let made = make();
    let after = in_use();
    drop(made);
    (after - before) / units as f64
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn never(_: *mut uv_stream_t, _: isize, _: *const uv_buf_t) {}
    |units| {
        let (mut ends, _peers) = connections(units);
        let lp = uv::Loop::new();
        let mut handles = Vec::with_capacity(units as usize);
        let bytes = counted(units, || {
            for end in ends.drain(..) {
                let tcp = uv::allocate::<uv_tcp_t>();
                // SAFETY: the loop is open; the handle lives until closed and owns the socket.
                unsafe {
                    uv::check(uv_tcp_init(lp.get(), tcp));
                    uv::check(uv_tcp_open(tcp, end.into_raw_fd()));
                    uv::check(uv_read_start(tcp.cast(), Some(uv::lend), Some(never)));
                }
                handles.push(tcp);
            }
        });
        for tcp in handles {
            // SAFETY: it is open, and closed once.
            unsafe { uv::close(tcp) };
        }
        lp.run_until_done();
        bytes
    }
}
