//! Streams over descriptors that somebody else made: their flags stay as they were, and they do
//! not block the loop although they block others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Facilities, Options};
use support::isolated;
use tools::{TempPath, collect, finish};

fn flags(fd: BorrowedFd<'_>) -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }
}

fn copy(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().unwrap()
}

/// Loops with and without RWF_NOWAIT, whatever the environment says.
fn loops() -> [EventLoop; 2] {
    let with = Options::from_env().unwrap();
    let without = Options { facilities: with.facilities - Facilities::RWF_NOWAIT, ..with.clone() };
    [with, without].map(|options| EventLoop::with_options(options).unwrap())
}

/// The two ends of a description pair of each kind, reading end first, all blocking.
fn pairs(path: &TempPath) -> Vec<(&'static str, OwnedFd, OwnedFd)> {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut all = vec![("pipe", OwnedFd::from(reader), OwnedFd::from(writer))];
    let (one, other) = UnixStream::pair().unwrap();
    all.push(("socket", one.into(), other.into()));
    let name = CString::new(path.bytes()).unwrap();
    // SAFETY: a terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // Opened for both, so that neither waits for the other.
    let both = std::fs::File::options().read(true).write(true).open(path.path()).unwrap();
    let reader = std::fs::File::open(path.path()).unwrap();
    let writer = std::fs::File::options().write(true).open(path.path()).unwrap();
    drop(both);
    all.push(("fifo", reader.into(), writer.into()));
    std::fs::remove_file(path.path()).unwrap();
    // A pipe that was opened by its name under /proc, as a shell's `< /dev/stdin` does.
    let (reader, writer) = std::io::pipe().unwrap();
    let named = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let reopened = std::fs::File::open(named).unwrap();
    all.push(("reopened pipe", reopened.into(), writer.into()));
    all
}

/// node#42826, libuv#2062 (B16): the flag of a shared description was changed for everyone.
#[test]
fn o_nonblock_of_foreign_descriptions_is_never_changed() {
    for lp in loops() {
        let path = TempPath::new();
        for (kind, reader, writer) in pairs(&path) {
            let (r, w) = (copy(&reader), copy(&writer));
            let before = (flags(r.as_fd()), flags(w.as_fd()));
            assert_eq!((before.0 | before.1) & libc::O_NONBLOCK, 0);
            let (input, output) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
            input.open(reader).unwrap();
            output.open(writer).unwrap();
            let bytes = collect(&input);
            let text = vec![b'x'; 300_000];
            let done = Rc::new(Cell::new(false));
            let d = done.clone();
            let during = (copy(&r), copy(&w));
            output
                .write(text.clone(), move |output, written| {
                    tools::all_written(written, 300_000);
                    let now = (flags(during.0.as_fd()), flags(during.1.as_fd()));
                    assert_eq!(now, before, "{kind}");
                    d.set(true);
                    output.shutdown(|output, _| output.close()).unwrap();
                })
                .unwrap();
            assert_eq!((flags(r.as_fd()), flags(w.as_fd())), before, "{kind}");
            if kind != "socket" {
                // The end of a pipe is the end of all its writers.
                drop(w);
            }
            finish(&lp);
            assert!(done.get());
            assert_eq!(bytes.borrow().len(), text.len(), "{kind}");
            assert_eq!(flags(r.as_fd()), before.0, "{kind}");
        }
    }
}

#[test]
fn blocking_descriptors_do_not_block_the_loop() {
    for lp in loops() {
        let path = TempPath::new();
        for (kind, reader, writer) in pairs(&path) {
            let mut outside = std::fs::File::from(copy(&reader));
            let keep = copy(&writer);
            let (input, output) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
            input.open(reader).unwrap();
            output.open(writer).unwrap();
            // Somebody else reads first: the loop was told that there is something, and there is
            // nothing any more.
            let check = Check::new(&lp).unwrap();
            check.start(|_| {}).unwrap();
            let seen = Rc::new(Cell::new(0));
            let s = seen.clone();
            input
                .read_start(move |_, read| {
                    let Read::Data(bytes) = read else { panic!("{kind}: {read:?}") };
                    s.set(s.get() + bytes.len());
                })
                .unwrap();
            lp.run(RunMode::NoWait).unwrap();
            output.write_and_forget("abcd").unwrap();
            outside.read_exact(&mut [0; 4]).unwrap();
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(seen.get(), 0, "{kind}");
            // More than it holds, and nobody reads: the rest is queued.
            input.read_stop();
            output.write_and_forget(vec![0; 4 << 20]).unwrap();
            assert!(output.write_queue_size() > 0, "{kind}");
            assert_eq!(output.try_write(b"x"), Err(Error::EAGAIN), "{kind}");
            lp.run(RunMode::NoWait).unwrap();
            check.close();
            drop(keep);
            output.close();
            input.close();
            finish(&lp);
        }
    }
}

/// Two handles on one listening socket that blocks: both are told of the connection, and the one
/// that is second must not wait for another.
#[test]
fn a_blocking_listener_that_somebody_else_empties_does_not_block_the_loop() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let listener = UnixListener::bind(path.path()).unwrap();
    let accepted = Rc::new(Cell::new(0));
    let servers: Vec<Pipe> = (0..2)
        .map(|_| {
            let server = Pipe::new(&lp).unwrap();
            server.open(copy(&listener)).unwrap();
            let a = accepted.clone();
            server
                .listen(8, move |server, result| {
                    result.unwrap();
                    drop(server.accept().unwrap());
                    a.set(a.get() + 1);
                })
                .unwrap();
            server
        })
        .collect();
    assert_eq!(flags(listener.as_fd()) & libc::O_NONBLOCK, 0);
    let _client = UnixStream::connect(path.path()).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(accepted.get(), 1);
    drop(servers);
}

/// A terminal's other side is a device that gives a new terminal to everyone who opens it.
#[test]
fn the_master_of_a_terminal_stays_the_one_it_is() {
    let lp = EventLoop::new().unwrap();
    // SAFETY: no pointers; the descriptor is new and ours.
    let master = unsafe {
        let number = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(number >= 0);
        assert_eq!((libc::grantpt(number), libc::unlockpt(number)), (0, 0));
        OwnedFd::from_raw_fd(number)
    };
    let mut name = [0; 64];
    // SAFETY: the buffer is as long as stated.
    let named = unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) };
    assert_eq!(named, 0);
    // SAFETY: terminated by the call above.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_str().unwrap();
    let slave = std::fs::File::options().read(true).write(true).open(name).unwrap();
    let before = (flags(master.as_fd()), flags(slave.as_fd()));
    let (m, s) = (copy(&master), copy(&slave));
    let (near, far) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    near.open(master).unwrap();
    far.open(slave).unwrap();
    let bytes = Rc::new(std::cell::RefCell::new(Vec::new()));
    for pipe in [&near, &far] {
        let seen = bytes.clone();
        pipe.read_start(move |_, read| {
            let Read::Data(data) = read else { panic!("{read:?}") };
            seen.borrow_mut().extend_from_slice(data);
        })
        .unwrap();
    }
    far.write_and_forget("up").unwrap();
    near.write_and_forget("down\n").unwrap();
    tools::run_until(&lp, || {
        // The terminal echoes what comes down.
        let text = String::from_utf8_lossy(&bytes.borrow()).into_owned();
        text.contains("up") && text.contains("down\n") && text.contains("down\r\n")
    });
    assert_eq!((flags(m.as_fd()), flags(s.as_fd())), before);
}

#[test]
fn a_descriptor_that_was_nonblocking_stays_so() {
    let lp = EventLoop::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    let before = flags(one.as_fd());
    let pipe = Pipe::new(&lp).unwrap();
    let number = one.as_raw_fd();
    pipe.open(one).unwrap();
    assert_eq!(pipe.fileno(), Ok(number));
    let bytes = collect(&pipe);
    other.write_all(b"text").unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(*bytes.borrow(), b"text");
    pipe.read_stop();
    let back = pipe.take_fd().unwrap();
    assert_eq!((flags(back.as_fd()), back.as_raw_fd()), (before, number));
    assert_eq!(pipe.fileno(), Err(Error::EBADF));
}

#[test]
fn files_and_devices_give_errors_and_no_surprises() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let path = TempPath::new();
        std::fs::write(path.path(), b"text").unwrap();
        let file = std::fs::File::open(path.path()).unwrap();
        let pipe = Pipe::new(&lp).unwrap();
        assert_eq!(pipe.open(file), Err(Error::EINVAL));
        assert_eq!(pipe.write_and_forget("x"), Err(Error::EBADF), "it is not open");
        let null = Pipe::new(&lp).unwrap();
        null.open(std::fs::File::options().write(true).open("/dev/null").unwrap()).unwrap();
        null.write("gone", |_, written| tools::all_written(written, 4)).unwrap();
        let directory = Pipe::new(&lp).unwrap();
        assert_eq!(directory.open(std::fs::File::open("/").unwrap()), Err(Error::EINVAL));
        finish(&lp);
        let busy = null.open(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(busy, Err(Error::EBUSY));
        assert_eq!(null.local_name(), Err(Error::ENOTSOCK));
    });
}
