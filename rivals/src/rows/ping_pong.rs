//! 64 bytes there and back, both ends on one loop, over TCP and over a Unix socket.
//!
//! All read into 64 KiB and write at once; in a row of their own, ours and libuv's writes are
//! requests with a callback. The sockets are made alike and given to each implementation.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Options, Pipe, Read, RunMode, Stream, Tcp};
use libuv_sys2::{
    uv_buf_t, uv_pipe_init, uv_pipe_open, uv_pipe_t, uv_read_start, uv_stream_t, uv_tcp_init,
    uv_tcp_open, uv_tcp_t, uv_write, uv_write_t,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::tokio_runtime;
use crate::poll::{Epoll, read, write};
use crate::row::{Goal, Group, Row, Who, each};
use crate::sockets::{tcp_pair, unix_pair};
use crate::uv;

static MESSAGE: [u8; 64] = [b'x'; 64];

/// How the bytes are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    AtOnce,
    Requests,
}

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &str| {
        Row::new(Group::Streams, name)
            .rounds(101)
            .units(5_000)
            .goal(Goal::Against(Who::Floor, 1.05))
    };
    let tcp = row("TCP ping-pong, 64 bytes")
        .entry(Who::Blacklight, || tcp_in_blacklight(Writes::AtOnce))
        .entry(Who::Libuv, || in_libuv(tcp_in_libuv, Writes::AtOnce))
        .entry(Who::Tokio, || {
            in_tokio(|| {
                let (one, other) = tcp_pair();
                let tokio = |end| tokio::net::TcpStream::from_std(end).expect("a socket");
                (tokio(one), tokio(other))
            })
        })
        .entry(Who::Floor, || in_system_calls(|| pair_of_fds(tcp_pair())));
    let requests = row("TCP ping-pong, 64 bytes, writes with a callback")
        .entry(Who::Blacklight, || tcp_in_blacklight(Writes::Requests))
        .entry(Who::Libuv, || in_libuv(tcp_in_libuv, Writes::Requests))
        .entry(Who::Floor, || in_system_calls(|| pair_of_fds(tcp_pair())));
    let unix = row("pipe ping-pong, 64 bytes")
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let (one, other) = pair_of_fds(unix_pair());
            let pipe = |end: OwnedFd| {
                let pipe = Pipe::new(&lp).expect("a handle");
                pipe.open(end).expect("a socket");
                pipe
            };
            let pair = (pipe(one), pipe(other));
            in_blacklight(lp, pair, Writes::AtOnce)
        })
        .entry(Who::Libuv, || in_libuv(unix_in_libuv, Writes::AtOnce))
        .entry(Who::Tokio, || {
            in_tokio(|| {
                let (one, other) = unix_pair();
                let tokio = |end| tokio::net::UnixStream::from_std(end).expect("a socket");
                (tokio(one), tokio(other))
            })
        })
        .entry(Who::Floor, || in_system_calls(|| pair_of_fds(unix_pair())));
    vec![tcp, requests, unix]
}

fn pair_of_fds<T: Into<OwnedFd>>((one, other): (T, T)) -> (OwnedFd, OwnedFd) {
    (one.into(), other.into())
}

fn tcp_in_blacklight(writes: Writes) -> impl FnMut(u64) -> f64 {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let (one, other) = pair_of_fds(tcp_pair());
    let tcp = |end: OwnedFd| {
        let tcp = Tcp::new(&lp).expect("a handle");
        tcp.open(end).expect("a socket");
        tcp
    };
    let pair = (tcp(one), tcp(other));
    in_blacklight(lp, pair, writes)
}

fn in_blacklight<S: Stream>(
    lp: EventLoop,
    (one, other): (S, S),
    writes: Writes,
) -> impl FnMut(u64) -> f64 {
    let send = move |stream: &S| match writes {
        Writes::AtOnce => assert_eq!(stream.try_write(&MESSAGE), Ok(MESSAGE.len())),
        Writes::Requests => {
            let done = |_: &S, written: blacklight::Written| written.result.expect("it is written");
            stream.write(&MESSAGE, done).expect("it is open");
        }
    };
    let got = |read: Read<'_>| match read {
        Read::Data(bytes) => assert_eq!(bytes.len(), MESSAGE.len()),
        end => panic!("{end:?}"),
    };
    other
        .read_start(move |other, read| {
            got(read);
            send(other);
        })
        .expect("it reads");
    let left = Rc::new(Cell::new(0));
    let count = left.clone();
    one.read_start(move |one, read| {
        got(read);
        count.set(count.get() - 1);
        if count.get() == 0 {
            one.event_loop().stop();
        } else {
            send(one);
        }
    })
    .expect("it reads");
    move |units| {
        let _alive = &other;
        left.set(units);
        let begun = Instant::now();
        send(&one);
        lp.run(RunMode::Default).expect("the loop runs");
        each(begun, units)
    }
}

fn tcp_in_libuv(lp: &uv::Loop) -> [*mut uv_stream_t; 2] {
    let (one, other) = tcp_pair();
    [one, other].map(|end| {
        let tcp = uv::allocate::<uv_tcp_t>();
        // SAFETY: the loop is open, the handle lives until closed and owns the socket from here.
        unsafe {
            uv::check(uv_tcp_init(lp.get(), tcp));
            uv::check(uv_tcp_open(tcp, end.into_raw_fd()));
        }
        tcp.cast()
    })
}

fn unix_in_libuv(lp: &uv::Loop) -> [*mut uv_stream_t; 2] {
    let (one, other) = unix_pair();
    [one, other].map(|end| {
        let pipe = uv::allocate::<uv_pipe_t>();
        // SAFETY: the loop is open, the handle lives until closed and owns the socket from here.
        unsafe {
            uv::check(uv_pipe_init(lp.get(), pipe, 0));
            uv::check(uv_pipe_open(pipe, end.into_raw_fd()));
        }
        pipe.cast()
    })
}

fn in_libuv(
    make: fn(&uv::Loop) -> [*mut uv_stream_t; 2],
    writes: Writes,
) -> impl FnMut(u64) -> f64 {
    struct State {
        left: Cell<u64>,
        writes: Writes,
    }
    struct Ends {
        lp: uv::Loop,
        ends: [*mut uv_stream_t; 2],
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            for end in self.ends {
                // SAFETY: it is open, and closed once. The pipe's structure is not smaller than
                // what is freed: each was allocated as the type that its kind says.
                unsafe {
                    match (*end).type_ {
                        libuv_sys2::uv_handle_type_UV_TCP => uv::close(end.cast::<uv_tcp_t>()),
                        _ => uv::close(end.cast::<uv_pipe_t>()),
                    }
                }
            }
            self.lp.run_until_done();
        }
    }
    /// Both callbacks of a request: it is sent, and freed.
    unsafe fn send(stream: *mut uv_stream_t, writes: Writes) {
        unsafe extern "C" fn written(request: *mut uv_write_t, status: c_int) {
            uv::check(status);
            // SAFETY: allocated below, and done with.
            drop(unsafe { Box::from_raw(request) });
        }
        // SAFETY: the caller's stream is open; the message is static.
        unsafe {
            match writes {
                Writes::AtOnce => uv::write_now(stream, &MESSAGE),
                Writes::Requests => {
                    let request = uv::allocate::<uv_write_t>();
                    let buffer = uv::buffer(&MESSAGE);
                    let (bufs, call) = (&raw const buffer, Some(written as _));
                    uv::check(uv_write(request, stream, bufs, 1, call));
                }
            }
        }
    }
    unsafe extern "C" fn echo(stream: *mut uv_stream_t, read: isize, _: *const uv_buf_t) {
        assert_eq!(read, MESSAGE.len() as isize);
        // SAFETY: the row keeps the state for longer than the loop; the stream is open.
        unsafe { send(stream, uv::state::<State>((*stream).data).writes) };
    }
    unsafe extern "C" fn answer(stream: *mut uv_stream_t, read: isize, _: *const uv_buf_t) {
        assert_eq!(read, MESSAGE.len() as isize);
        // SAFETY: as above.
        unsafe {
            let state = uv::state::<State>((*stream).data);
            state.left.set(state.left.get() - 1);
            if state.left.get() == 0 {
                uv::stop_loop_of(stream);
            } else {
                send(stream, state.writes);
            }
        }
    }
    let state = Rc::new(State { left: Cell::new(0), writes });
    let lp = uv::Loop::new();
    let ends = make(&lp);
    let ends = Ends { lp, ends };
    // SAFETY: both are open.
    unsafe {
        for end in ends.ends {
            (*end).data = uv::data(&state);
        }
        uv::check(uv_read_start(ends.ends[0], Some(uv::lend), Some(answer)));
        uv::check(uv_read_start(ends.ends[1], Some(uv::lend), Some(echo)));
    }
    move |units| {
        state.left.set(units);
        let begun = Instant::now();
        // SAFETY: it is open.
        unsafe { send(ends.ends[0], writes) };
        ends.lp.run_until_done();
        each(begun, units)
    }
}

fn in_tokio<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    pair: fn() -> (S, S),
) -> impl FnMut(u64) -> f64 {
    async fn get(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) {
        let read = stream.read(buffer).await.expect("it reads");
        assert_eq!(read, MESSAGE.len());
    }
    let runtime = tokio_runtime();
    let (mut one, mut other) = {
        let _context = runtime.enter();
        pair()
    };
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        let mut buffer = vec![0; uv::READ_BUFFER];
        loop {
            get(&mut other, &mut buffer).await;
            other.write_all(&MESSAGE).await.expect("it writes");
        }
    });
    let mut buffer = vec![0; uv::READ_BUFFER];
    move |units| {
        local.block_on(&runtime, async {
            let begun = Instant::now();
            for _ in 0..units {
                one.write_all(&MESSAGE).await.expect("it writes");
                get(&mut one, &mut buffer).await;
            }
            each(begun, units)
        })
    }
}

fn in_system_calls(pair: fn() -> (OwnedFd, OwnedFd)) -> impl FnMut(u64) -> f64 {
    fn send(fd: RawFd) {
        assert_eq!(write(fd, &MESSAGE), Some(MESSAGE.len()));
    }
    let (one, other) = pair();
    let mut epoll = Epoll::new();
    epoll.watch(one.as_fd(), libc::EPOLLIN);
    epoll.watch(other.as_fd(), libc::EPOLLIN);
    let mut buffer = vec![0; uv::READ_BUFFER];
    move |units| {
        let _alive = &other;
        let mut left = units;
        let begun = Instant::now();
        send(one.as_raw_fd());
        while left > 0 {
            for (fd, _) in epoll.wait(-1) {
                assert_eq!(read(fd, &mut buffer), Some(MESSAGE.len()));
                if fd == one.as_raw_fd() {
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
                send(fd);
            }
        }
        each(begun, units)
    }
}
