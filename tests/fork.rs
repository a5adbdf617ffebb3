//! Loops across fork: the child's copy touches nothing of the parent's until `after_fork`, and has
//! everything for itself after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use blacklight::Error;
use blacklight::prelude::*;
use support::isolated;
use tools::{TempPath, finish, raise};

/// Forks; the child runs `body`. Returns when the child has ended, and asserts that it ended well.
fn in_child(body: impl FnOnce()) {
    // SAFETY: the process has one thread that does anything; the child ends below.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without running what the parent registered for its exit.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        pid => {
            let mut status = -1;
            // SAFETY: the status outlives the call.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
        }
    }
}

/// How many descriptors are in the loop's epoll set.
fn watched(lp: &EventLoop) -> usize {
    let path = format!("/proc/self/fdinfo/{}", lp.backend_fd().as_raw_fd());
    std::fs::read_to_string(path).unwrap().lines().filter(|l| l.starts_with("tfd:")).count()
}

#[test]
fn before_after_fork_everything_is_estale() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (timer, hook) = (Timer::new(&lp).unwrap(), Idle::new(&lp).unwrap());
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        let (signal, poll) =
            (Signal::new(&lp).unwrap(), Poll::new(&lp, std::io::pipe().unwrap().0).unwrap());
        timer.start(0, 1, |timer| timer.stop()).unwrap();
        pipe.read_start(|pipe, _| pipe.close()).unwrap();
        in_child(|| {
            let stale = Err(Error::ESTALE);
            for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
                assert_eq!(lp.run(mode).map(drop), stale);
            }
            assert_eq!(timer.start(0, 0, |_| {}), stale);
            assert_eq!(hook.start(|_| {}), stale);
            assert_eq!(signal.start(libc::SIGUSR1, |_, _| {}), stale);
            assert_eq!(poll.start(PollEvents::READABLE, |_, _| {}), stale);
            assert_eq!(peer.read_start(|_, _| {}), stale);
            assert_eq!(peer.write("x", |_, _| {}).map(drop), stale);
            assert_eq!(peer.write_and_forget("x"), stale);
            assert_eq!(peer.try_write(b"x").map(drop), stale);
            assert_eq!(peer.shutdown(|_, _| {}), stale);
            assert_eq!(Timer::new(&lp).map(drop), stale);
            assert_eq!(Async::new(&lp, |_| {}).map(drop), stale);
            assert_eq!(Pipe::pair(&lp).map(drop), stale);
            assert!(lp.is_alive());
            // A loop of the child's own is another matter.
            let own = EventLoop::new().unwrap();
            Timer::new(&own).unwrap().start(0, 0, |_| {}).unwrap();
            finish(&own);
        });
        peer.write_and_forget("x").unwrap();
        finish(&lp);
        assert!(pipe.is_closed());
    });
}

/// An epoll set is shared with the child: what the child deletes from it, the parent loses.
#[test]
fn a_child_that_stops_closes_and_drops_everything_leaves_the_parent_alone() {
    isolated(|| {
        let path = TempPath::new();
        let lp = EventLoop::new().unwrap();
        let (pipe, peer) = Pipe::pair(&lp).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let poll = Poll::new(&lp, reader).unwrap();
        let (server, signal) = (Pipe::new(&lp).unwrap(), Signal::new(&lp).unwrap());
        let count = Rc::new(Cell::new(0));
        let bump = |count: &Rc<Cell<i32>>| count.set(count.get() + 1);
        let c = count.clone();
        pipe.read_start(move |pipe, _| {
            bump(&c);
            pipe.close();
        })
        .unwrap();
        let c = count.clone();
        poll.start(PollEvents::READABLE, move |poll, _| {
            bump(&c);
            poll.close();
        })
        .unwrap();
        server.bind(path.bytes()).unwrap();
        let c = count.clone();
        server
            .listen(1, move |server, _| {
                bump(&c);
                server.close();
            })
            .unwrap();
        let c = count.clone();
        signal
            .start(libc::SIGUSR1, move |signal, _| {
                bump(&c);
                signal.close();
            })
            .unwrap();
        let c = count.clone();
        let wake = Async::new(&lp, move |wake| {
            bump(&c);
            wake.close();
        })
        .unwrap();
        let before = watched(&lp);
        let mut lp = Some(lp);
        in_child(|| {
            poll.stop();
            pipe.read_stop();
            signal.stop();
            peer.close();
            poll.close();
            lp.as_ref().unwrap().walk(|handle| handle.close());
            let _fd = lp.as_ref().unwrap().backend_fd();
            let _timeout = lp.as_ref().unwrap().backend_timeout();
            drop(lp.take());
        });
        let lp = lp.unwrap();
        assert_eq!(watched(&lp), before);
        assert!(path.path().exists(), "the path of the parent's server");
        // All of it works still.
        peer.write_and_forget("x").unwrap();
        writer.write_all(b"x").unwrap();
        wake.send().unwrap();
        raise(libc::SIGUSR1);
        let client = Pipe::new(&lp).unwrap();
        client.connect(path.bytes(), |_, result| result.unwrap()).unwrap();
        finish(&lp);
        assert_eq!(count.get(), 5);
    });
}

#[test]
fn after_it_parent_and_child_have_a_loop_each() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (for_parent, mut to_parent) = std::io::pipe().unwrap();
        let (poll, timer, signal) =
            (Poll::new(&lp, reader).unwrap(), Timer::new(&lp).unwrap(), Signal::new(&lp).unwrap());
        let count = Rc::new(Cell::new(0));
        let c = count.clone();
        poll.start(PollEvents::READABLE, move |poll, _| {
            c.set(c.get() + 1);
            poll.stop();
        })
        .unwrap();
        let c = count.clone();
        timer.start(1, 0, move |_| c.set(c.get() + 10)).unwrap();
        let c = count.clone();
        signal
            .start(libc::SIGUSR1, move |signal, _| {
                c.set(c.get() + 100);
                signal.stop();
            })
            .unwrap();
        let c = count.clone();
        let wake = Async::new(&lp, move |wake| {
            c.set(c.get() + 1000);
            wake.close();
        })
        .unwrap();
        let sender = wake.sender().unwrap();
        let before = watched(&lp);
        in_child(|| {
            lp.after_fork().unwrap();
            assert_eq!(watched(&lp), before, "everything is in the new set");
            // In the child alone: its signal, its wake-up, its time.
            raise(libc::SIGUSR1);
            sender.send().unwrap();
            (&writer).write_all(b"x").unwrap();
            finish(&lp);
            assert_eq!(count.get(), 1111);
            to_parent.write_all(b"done").unwrap();
        });
        let mut answer = [0; 4];
        (&for_parent).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"done");
        // The parent has seen nothing of it but the byte in the pipe, which is everyone's.
        assert_eq!(count.get(), 0);
        lp.run(RunMode::NoWait).unwrap();
        assert!(count.get() % 10 == 1 && count.get() < 100, "{}", count.get());
        raise(libc::SIGUSR1);
        sender.send().unwrap();
        finish(&lp);
        assert_eq!(count.get(), 1111);
    });
}

#[test]
fn what_was_in_flight_at_the_fork_goes_on_in_the_child() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let c = count.clone();
        let wake = Async::new(&lp, move |wake| {
            c.set(c.get() + 1);
            wake.close();
        })
        .unwrap();
        wake.send().unwrap();
        let (pipe, _peer) = Pipe::pair(&lp).unwrap();
        let c = count.clone();
        pipe.write("x", move |_, _| c.set(c.get() + 10)).unwrap();
        let closing = Timer::new(&lp).unwrap();
        let c = count.clone();
        closing.close_with(move |_| c.set(c.get() + 100)).unwrap();
        in_child(|| {
            lp.after_fork().unwrap();
            finish(&lp);
            assert_eq!(count.get(), 111);
        });
        finish(&lp);
        assert_eq!(count.get(), 111);
    });
}

#[test]
fn a_child_of_the_child_needs_it_again() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let timer = Timer::new(&lp).unwrap();
        timer.start(0, 0, |_| {}).unwrap();
        in_child(|| {
            lp.after_fork().unwrap();
            in_child(|| {
                assert_eq!(lp.run(RunMode::Default), Err(Error::ESTALE));
                lp.after_fork().unwrap();
                finish(&lp);
            });
            finish(&lp);
        });
        // In a process that has not been forked it does no harm.
        lp.after_fork().unwrap();
        finish(&lp);
    });
}

/// What a child has of its parent's servers the parent has too, and perhaps more children: each takes
/// one connection per event, so that all get some (libuv#3696).
#[test]
fn a_server_that_came_over_a_fork_takes_one_connection_per_turn() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (server, path) = (Pipe::new(&lp).unwrap(), TempPath::new());
        server.bind(path.bytes()).unwrap();
        let count = Rc::new(Cell::new(0));
        let c = count.clone();
        server
            .listen(8, move |server, result| {
                result.unwrap();
                drop(server.accept().unwrap());
                c.set(c.get() + 1);
            })
            .unwrap();
        let connect = |_| std::os::unix::net::UnixStream::connect(path.path()).unwrap();
        let clients: Vec<_> = (0..3).map(connect).collect();
        in_child(|| {
            lp.after_fork().unwrap();
            for expected in 1..=3 {
                lp.run(RunMode::NoWait).unwrap();
                assert_eq!(count.get(), expected);
            }
        });
        drop(clients);
        server.close();
        finish(&lp);
    });
}
