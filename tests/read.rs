//! Reading from streams.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, ReadInto};
use support::Log;
use tools::{Tokens, collect, finish};

#[test]
fn data_comes_as_it_arrives_and_then_the_end() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let l = log.clone();
    pipe.read_start(move |pipe, read| {
        l.add(format!("{read:?}"));
        if read == Read::Eof {
            assert!(!pipe.is_active(), "reading has stopped");
        }
    })
    .unwrap();
    assert!(pipe.is_active());
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), [""; 0]);
    peer.write_and_forget("ab").unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["Data([97, 98])"]);
    peer.write_and_forget("c").unwrap();
    peer.close();
    finish(&lp);
    assert_eq!(log.take(), ["Data([99])", "Eof"]);
    // The end may be read again; the peer is gone for writing.
    assert!(pipe.is_readable());
    let l = log.clone();
    pipe.read_start(move |_, read| l.add(format!("again {read:?}"))).unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["again Eof"]);
}

#[test]
fn starting_twice_is_ealready_and_without_a_descriptor_enotconn() {
    let lp = EventLoop::new().unwrap();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    pipe.read_start(|_, _| {}).unwrap();
    assert_eq!(pipe.read_start(|_, _| {}), Err(Error::EALREADY));
    pipe.read_stop();
    pipe.read_stop();
    pipe.read_start(|_, _| {}).unwrap();
    let fresh = Pipe::new(&lp).unwrap();
    assert_eq!(fresh.read_start(|_, _| {}), Err(Error::ENOTCONN));
    let (_reader, writer) = std::io::pipe().unwrap();
    fresh.open(writer).unwrap();
    assert!(fresh.is_writable() && !fresh.is_readable());
    assert_eq!(fresh.read_start(|_, _| {}), Err(Error::ENOTCONN));
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(1, |_, _| {}).unwrap();
    assert_eq!(server.read_start(|_, _| {}), Err(Error::ENOTCONN));
}

#[test]
fn stopping_inside_the_callback_ends_it_at_once() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    // More than one read's worth: without the stop there would be a second call in this event.
    let sent = tools::fill(&peer);
    assert!(sent > 64 * 1024);
    let seen = Rc::new(Cell::new(0));
    let s = seen.clone();
    pipe.read_start(move |pipe, read| {
        let Read::Data(bytes) = read else { panic!("{read:?}") };
        assert_eq!(bytes.len(), 64 * 1024);
        s.set(s.get() + 1);
        pipe.read_stop();
    })
    .unwrap();
    finish(&lp);
    assert_eq!(seen.get(), 1);
    let rest = collect(&pipe);
    peer.close();
    finish(&lp);
    assert_eq!(rest.borrow().len(), sent - 64 * 1024);
}

#[test]
fn closing_inside_the_callback_is_the_last_of_it() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    tools::fill(&peer);
    let seen = Rc::new(Cell::new(0));
    let s = seen.clone();
    pipe.read_start(move |pipe, _| {
        s.set(s.get() + 1);
        pipe.close();
    })
    .unwrap();
    finish(&lp);
    assert_eq!(seen.get(), 1);
}

#[test]
fn an_error_ends_both_directions() {
    let lp = EventLoop::new().unwrap();
    let log = Log::new();
    let (one, other) = UnixStream::pair().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(one).unwrap();
    // Closed with bytes unread, a Unix socket resets its peer.
    pipe.write_and_forget("never read").unwrap();
    let l = log.clone();
    pipe.read_start(move |pipe, read| {
        l.add(format!("{read:?}"));
        assert!(!pipe.is_active() && !pipe.is_readable() && !pipe.is_writable());
    })
    .unwrap();
    drop(other);
    finish(&lp);
    assert_eq!(log.take(), ["Error(ECONNRESET)"]);
    assert_eq!(pipe.read_start(|_, _| {}), Err(Error::ENOTCONN));
    assert_eq!(pipe.write_and_forget("x"), Err(Error::EPIPE));
}

/// A buffer that says how often it was given out and came back.
struct Counted {
    bytes: Vec<u8>,
    out: Rc<Cell<i64>>,
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.out.set(self.out.get() - 1);
    }
}

#[test]
fn buffers_of_the_caller_come_back_once_each() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let (supplied, out) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (s, o) = (supplied.clone(), out.clone());
    let log = Log::new();
    let l = log.clone();
    pipe.read_start_into(
        move |_, suggested| {
            assert_eq!(suggested, 64 * 1024);
            s.set(s.get() + 1);
            o.set(o.get() + 1);
            Counted { bytes: vec![0; 4], out: o.clone() }
        },
        move |_, read| match read {
            ReadInto::Data(buffer, n) => {
                l.add(String::from_utf8_lossy(&buffer.bytes[..n]).into_owned());
            }
            ReadInto::Eof(buffer) => l.add(format!("end, with a buffer: {}", buffer.is_some())),
            ReadInto::Error(error, _) => panic!("{error}"),
        },
    )
    .unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(supplied.get(), 0, "none before there is something to read");
    peer.write_and_forget("abcdef").unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["abcd", "ef"]);
    peer.write_and_forget("ghij").unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["ghij"]);
    // That one was filled, so another read was tried; its buffer waits for the next.
    assert_eq!((supplied.get(), out.get()), (4, 1));
    peer.write_and_forget("k").unwrap();
    peer.close();
    finish(&lp);
    let trace = log.take();
    assert_eq!(trace[0], "k");
    assert!(trace[1].starts_with("end"), "{trace:?}");
    assert_eq!(out.get(), 0);
}

#[test]
fn a_buffer_that_waits_goes_with_the_stop() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let out = Rc::new(Cell::new(0));
    let o = out.clone();
    pipe.read_start_into(
        move |_, _| {
            o.set(o.get() + 1);
            Counted { bytes: vec![0; 1], out: o.clone() }
        },
        |_, read| drop(read),
    )
    .unwrap();
    peer.write_and_forget("a").unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(out.get(), 1);
    pipe.read_stop();
    assert_eq!(out.get(), 0);
}

#[test]
fn a_buffer_without_room_is_enobufs_and_loses_nothing() {
    let lp = EventLoop::new().unwrap();
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let log = Log::new();
    let l = log.clone();
    pipe.read_start_into(
        |_, _| Vec::<u8>::new(),
        move |pipe, read| {
            l.add(format!("{read:?}"));
            assert!(!pipe.is_active() && pipe.is_readable());
        },
    )
    .unwrap();
    peer.write_and_forget("kept").unwrap();
    finish(&lp);
    assert_eq!(log.take(), ["Error(ENOBUFS, Some([]))"]);
    let bytes = collect(&pipe);
    peer.close();
    finish(&lp);
    assert_eq!(*bytes.borrow(), b"kept");
}

#[test]
fn supplying_a_buffer_may_stop_or_close_the_stream() {
    for close in [false, true] {
        let lp = EventLoop::new().unwrap();
        let tokens = Tokens::new();
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        let t = tokens.one();
        pipe.read_start_into(
            move |pipe, _| {
                t.keep();
                if close {
                    pipe.close()
                } else {
                    pipe.read_stop()
                }
                vec![0; 8]
            },
            |_, read| panic!("{read:?}"),
        )
        .unwrap();
        peer.write_and_forget("kept").unwrap();
        finish(&lp);
        assert_eq!(tokens.alive(), 0);
        if !close {
            let bytes = collect(&pipe);
            peer.close();
            finish(&lp);
            assert_eq!(*bytes.borrow(), b"kept");
        }
    }
}

/// node#9706 (B23): neither may a stream that never dries up starve the others, nor be forgotten.
#[test]
fn a_flooding_peer_starves_neither_timers_nor_other_streams() {
    let lp = EventLoop::new().unwrap();
    let (flooded, flooder) = Pipe::pair(&lp).unwrap();
    let (quiet, peer) = Pipe::pair(&lp).unwrap();
    let log = Log::new();
    let reads = Rc::new(Cell::new(0));
    let (r, f) = (reads.clone(), flooder.clone());
    tools::fill(&flooder);
    flooded
        .read_start(move |_, _| {
            r.set(r.get() + 1);
            // As much as was read, before the next read: there is always more.
            tools::fill(&f);
        })
        .unwrap();
    let l = log.clone();
    quiet
        .read_start(move |quiet, _| {
            l.add("quiet");
            quiet.close();
        })
        .unwrap();
    peer.write_and_forget("x").unwrap();
    let (timer, l, r) = (Timer::new(&lp).unwrap(), log.clone(), reads.clone());
    timer
        .start(0, 0, move |_| {
            assert!(r.get() <= 32, "{} reads in one turn", r.get());
            l.add("timer");
        })
        .unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(log.take(), ["quiet", "timer"]);
    let before = reads.get();
    lp.run(RunMode::NoWait).unwrap();
    assert!(reads.get() > before, "and it goes on");
}

/// A read of a Unix socket ends where descriptors were sent along. After a hang-up that must not
/// be taken for the end, because there is more.
#[test]
fn a_hang_up_behind_a_short_read_loses_nothing() {
    let lp = EventLoop::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let along = std::fs::File::open("/dev/null").unwrap();
    let with_descriptor = |text: &[u8]| {
        let mut control = [0u64; 4];
        let mut part = libc::iovec { iov_base: text.as_ptr() as *mut _, iov_len: text.len() };
        // SAFETY: the message's parts outlive the call; the control buffer is aligned and has room
        // for one descriptor.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(header).cast::<i32>().write_unaligned(along.as_raw_fd());
            let sent = libc::sendmsg(other.as_raw_fd(), &raw const message, 0);
            assert_eq!(sent, text.len() as isize);
        }
    };
    with_descriptor(b"one ");
    with_descriptor(b"two ");
    other.write_all(b"three").unwrap();
    drop(other);
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(one).unwrap();
    let bytes = collect(&pipe);
    finish(&lp);
    assert_eq!(String::from_utf8_lossy(&bytes.borrow()), "one two three");
}

#[test]
fn what_is_only_written_to_can_learn_of_a_hang_up() {
    let lp = EventLoop::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    pipe.open(writer).unwrap();
    assert_eq!(pipe.read_start(|_, _| {}), Err(Error::ENOTCONN));
    pipe.assume_readable();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let s = seen.clone();
    pipe.read_start(move |_, read| s.borrow_mut().push(format!("{read:?}"))).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(seen.take(), [""; 0]);
    drop(reader);
    finish(&lp);
    assert_eq!(seen.borrow().len(), 1, "{seen:?}");
    assert!(!pipe.is_active());
}
