//! 64 KiB after 64 KiB in one direction, both ends on one loop, through a pipe and over TCP.
//!
//! One write is under way at a time, and the next begins when its callback says it is done; all read
//! into 64 KiB. A unit is one such write, until all of it has been read.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Options, Pipe, Read, RunMode, Stream, Tcp, Written};
use libuv_sys2::{
    uv_buf_t, uv_pipe_init, uv_pipe_open, uv_pipe_t, uv_read_start, uv_stream_t, uv_tcp_init,
    uv_tcp_open, uv_tcp_t, uv_write, uv_write_t,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::tokio_runtime;
use crate::poll::{Epoll, read, write};
use crate::row::{Goal, Group, Row, Who, each};
use crate::sockets::{pipe, tcp_pair};
use crate::uv;

const BLOCK: usize = 64 * 1024;

static BYTES: [u8; BLOCK] = [b'x'; BLOCK];

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &str| {
        Row::new(Group::Streams, name).units(2_000).goal(Goal::Against(Who::Libuv, 0.9))
    };
    let pipes = row("pipe pump, 64 KiB")
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let open = |end: OwnedFd| {
                let pipe = Pipe::new(&lp).expect("a handle");
                pipe.open(end).expect("a pipe");
                pipe
            };
            let (reader, writer) = pipe();
            let ends = (open(reader), open(writer));
            in_blacklight(lp, ends)
        })
        .entry(Who::Libuv, || {
            let lp = uv::Loop::new();
            let (reader, writer) = pipe();
            let ends = [reader, writer].map(|end| {
                let pipe = uv::allocate::<uv_pipe_t>();
                // SAFETY: the loop is open; the handle lives until closed and owns the descriptor.
                unsafe {
                    uv::check(uv_pipe_init(lp.get(), pipe, 0));
                    uv::check(uv_pipe_open(pipe, end.into_raw_fd()));
                }
                pipe
            });
            in_libuv(lp, ends)
        })
        .entry(Who::Tokio, || {
            in_tokio(|| {
                let (reader, writer) = pipe();
                (
                    tokio::net::unix::pipe::Receiver::from_owned_fd(reader).expect("a pipe"),
                    tokio::net::unix::pipe::Sender::from_owned_fd(writer).expect("a pipe"),
                )
            })
        })
        .entry(Who::Floor, || in_system_calls(pipe()));
    let tcp = row("TCP pump, 64 KiB")
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let open = |end| {
                let tcp = Tcp::new(&lp).expect("a handle");
                tcp.open(OwnedFd::from(end)).expect("a socket");
                tcp
            };
            let (reader, writer) = tcp_pair();
            let ends = (open(reader), open(writer));
            in_blacklight(lp, ends)
        })
        .entry(Who::Libuv, || {
            let lp = uv::Loop::new();
            let (reader, writer) = tcp_pair();
            let ends = [reader, writer].map(|end| {
                let tcp = uv::allocate::<uv_tcp_t>();
                // SAFETY: the loop is open; the handle lives until closed and owns the socket.
                unsafe {
                    uv::check(uv_tcp_init(lp.get(), tcp));
                    uv::check(uv_tcp_open(tcp, end.into_raw_fd()));
                }
                tcp
            });
            in_libuv(lp, ends)
        })
        .entry(Who::Tokio, || {
            in_tokio(|| {
                let (reader, writer) = tcp_pair();
                let tokio = |end| tokio::net::TcpStream::from_std(end).expect("a socket");
                (tokio(reader), tokio(writer))
            })
        })
        .entry(Who::Floor, || {
            let (reader, writer) = tcp_pair();
            in_system_calls((reader.into(), writer.into()))
        });
    vec![pipes, tcp]
}

fn in_blacklight<S: Stream>(lp: EventLoop, (reader, writer): (S, S)) -> impl FnMut(u64) -> f64 {
    fn next<S: Stream>(writer: &S, blocks: Rc<Cell<u64>>) {
        if blocks.get() > 0 {
            blocks.set(blocks.get() - 1);
            let done = move |writer: &S, written: Written| {
                written.result.expect("it is written");
                next(writer, blocks);
            };
            writer.write(&BYTES, done).expect("it is open");
        }
    }
    let bytes = Rc::new(Cell::new(0));
    let left = bytes.clone();
    reader
        .read_start(move |reader, read| match read {
            Read::Data(data) => {
                left.set(left.get() - data.len());
                if left.get() == 0 {
                    reader.event_loop().stop();
                }
            }
            end => panic!("{end:?}"),
        })
        .expect("it reads");
    move |units| {
        let _alive = &reader;
        bytes.set(units as usize * BLOCK);
        let begun = Instant::now();
        next(&writer, Rc::new(Cell::new(units)));
        lp.run(RunMode::Default).expect("the loop runs");
        each(begun, units)
    }
}

fn in_libuv<T: 'static>(lp: uv::Loop, ends: [*mut T; 2]) -> impl FnMut(u64) -> f64 {
    struct State {
        blocks: Cell<u64>,
        bytes: Cell<usize>,
    }
    struct Ends<T> {
        lp: uv::Loop,
        ends: [*mut T; 2],
    }
    impl<T> Drop for Ends<T> {
        fn drop(&mut self) {
            for end in self.ends {
                // SAFETY: it is open, and closed once.
                unsafe { uv::close(end) };
            }
            self.lp.run_until_done();
        }
    }
    unsafe fn next(writer: *mut uv_stream_t) {
        unsafe extern "C" fn written(request: *mut uv_write_t, status: c_int) {
            uv::check(status);
            // SAFETY: allocated below, and done with; its stream is open.
            unsafe { next(Box::from_raw(request).handle) };
        }
        // SAFETY: the row keeps the state for longer than the loop; the bytes are static.
        unsafe {
            let blocks = &uv::state::<State>((*writer).data).blocks;
            if blocks.get() > 0 {
                blocks.set(blocks.get() - 1);
                let request = uv::allocate::<uv_write_t>();
                let buffer = uv::buffer(&BYTES);
                uv::check(uv_write(request, writer, &raw const buffer, 1, Some(written)));
            }
        }
    }
    unsafe extern "C" fn got(stream: *mut uv_stream_t, read: isize, _: *const uv_buf_t) {
        assert!(read >= 0, "{read}");
        // SAFETY: as above.
        unsafe {
            let left = &uv::state::<State>((*stream).data).bytes;
            left.set(left.get() - read as usize);
            if left.get() == 0 {
                uv::stop_loop_of(stream);
            }
        }
    }
    let state = Rc::new(State { blocks: Cell::new(0), bytes: Cell::new(0) });
    let [reader, writer] = ends.map(|end| end.cast::<uv_stream_t>());
    let ends = Ends { lp, ends };
    // SAFETY: both are open.
    unsafe {
        (*reader).data = uv::data(&state);
        (*writer).data = uv::data(&state);
        uv::check(uv_read_start(reader, Some(uv::lend), Some(got)));
    }
    move |units| {
        state.blocks.set(units);
        state.bytes.set(units as usize * BLOCK);
        let begun = Instant::now();
        // SAFETY: it is open.
        unsafe { next(writer) };
        ends.lp.run_until_done();
        each(begun, units)
    }
}

fn in_tokio<R, W>(pair: fn() -> (R, W)) -> impl FnMut(u64) -> f64
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let runtime = tokio_runtime();
    let (mut reader, mut writer) = {
        let _context = runtime.enter();
        pair()
    };
    let local = tokio::task::LocalSet::new();
    let (order, mut orders) = tokio::sync::mpsc::unbounded_channel::<u64>();
    local.spawn_local(async move {
        while let Some(blocks) = orders.recv().await {
            for _ in 0..blocks {
                writer.write_all(&BYTES).await.expect("it writes");
            }
        }
    });
    let mut buffer = vec![0; uv::READ_BUFFER];
    move |units| {
        local.block_on(&runtime, async {
            let begun = Instant::now();
            order.send(units).expect("the task is there");
            let mut left = units as usize * BLOCK;
            while left > 0 {
                left -= reader.read(&mut buffer).await.expect("it reads");
            }
            each(begun, units)
        })
    }
}

/// Reads when there is something, and writes when there is room for what is left of a block.
fn in_system_calls((reader, writer): (OwnedFd, OwnedFd)) -> impl FnMut(u64) -> f64 {
    let mut epoll = Epoll::new();
    epoll.watch(reader.as_fd(), libc::EPOLLIN);
    epoll.watch(writer.as_fd(), 0);
    let mut buffer = vec![0; uv::READ_BUFFER];
    move |units| {
        let mut to_read = units as usize * BLOCK;
        let (mut blocks, mut written, mut waiting) = (units, 0, false);
        let begun = Instant::now();
        while to_read > 0 {
            while !waiting && blocks > 0 {
                match write(writer.as_raw_fd(), &BYTES[written..]) {
                    Some(count) if written + count == BLOCK => {
                        blocks -= 1;
                        written = 0;
                        break;
                    }
                    Some(count) => written += count,
                    None => {
                        epoll.change(writer.as_fd(), libc::EPOLLOUT);
                        waiting = true;
                    }
                }
            }
            let timeout = if waiting || blocks == 0 { -1 } else { 0 };
            let mut room = false;
            for (fd, _) in epoll.wait(timeout) {
                if fd == reader.as_raw_fd() {
                    to_read -= read(fd, &mut buffer).unwrap_or(0);
                } else {
                    room = true;
                }
            }
            if room {
                epoll.change(writer.as_fd(), 0);
                waiting = false;
            }
        }
        each(begun, units)
    }
}
