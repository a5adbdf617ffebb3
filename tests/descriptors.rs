//! No descriptor more than before: what a loop opens and when, and that all of it is closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use blacklight::Error;
use blacklight::prelude::*;
use support::{isolated, open_fds};
use tools::{TempPath, finish};

/// What has been opened since, by what it is.
fn opened_since(before: &[(i32, String)]) -> Vec<String> {
    let new = open_fds().into_iter().filter(|entry| !before.contains(entry));
    new.map(|(_, target)| target.split(':').next_back().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_loop_opens_its_epoll_set_and_the_rest_when_it_is_needed() {
    isolated(|| {
        let before = open_fds();
        let lp = EventLoop::new().unwrap();
        assert_eq!(opened_since(&before), ["[eventpoll]"]);
        let with_loop = open_fds();
        let _timers: Vec<Timer> = (0..100)
            .map(|_| {
                let timer = Timer::new(&lp).unwrap();
                timer.start(0, 0, |_| {}).unwrap();
                timer
            })
            .collect();
        finish(&lp);
        assert_eq!(open_fds(), with_loop);
        let wakes: Vec<Async> = (0..100).map(|_| Async::new(&lp, |_| {}).unwrap()).collect();
        assert_eq!(opened_since(&with_loop), ["[eventfd]"]);
        let signals: Vec<Signal> = (0..10)
            .map(|i| {
                let signal = Signal::new(&lp).unwrap();
                signal.start(34 + i, |_, _| {}).unwrap();
                signal
            })
            .collect();
        assert_eq!(opened_since(&with_loop).len(), 3, "an eventfd and one pipe");
        drop((wakes, signals, lp));
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn every_descriptor_is_closed_on_exec() {
    isolated(|| {
        let before = open_fds();
        let path = TempPath::new();
        let lp = EventLoop::new().unwrap();
        let _wake = Async::new(&lp, |_| {}).unwrap();
        let signal = Signal::new(&lp).unwrap();
        signal.start(libc::SIGUSR1, |_, _| {}).unwrap();
        let _pair = Pipe::pair(&lp).unwrap();
        let (server, client) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        server.bind(path.bytes()).unwrap();
        server.listen(1, |_, _| {}).unwrap();
        client.connect(path.bytes(), |_, _| {}).unwrap();
        lp.run(RunMode::NoWait).unwrap();
        let accepted = server.accept().unwrap();
        let mut seen = 0;
        for (number, target) in open_fds() {
            if !before.contains(&(number, target.clone())) {
                // SAFETY: no pointers.
                let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
                assert_eq!(flags, libc::FD_CLOEXEC, "{number}: {target}");
                seen += 1;
            }
        }
        // Epoll, eventfd, signal pipe, pair, server and its spare one, client, connection.
        assert_eq!(seen, 10);
        drop((accepted, lp));
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_thousand_loops_leave_nothing_behind() {
    isolated(|| {
        let before = open_fds();
        for _ in 0..1000 {
            let lp = EventLoop::new().unwrap();
            let (pipe, peer) = Pipe::pair(&lp).unwrap();
            pipe.write_and_forget("x").unwrap();
            pipe.close();
            let bytes = tools::collect(&peer);
            finish(&lp);
            assert_eq!(*bytes.borrow(), b"x");
        }
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn refusals_for_want_of_descriptors_are_errors_and_leak_nothing() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (pipe, server) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        server.bind("").unwrap();
        let name = server.local_name().unwrap();
        let signal = Signal::new(&lp).unwrap();
        let before = open_fds();
        let highest = before.iter().map(|(number, _)| *number).max().unwrap();
        let allow = |soft: u64| {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: 1024 };
            // SAFETY: the limit outlives the call.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        };
        // Room for `left` more; numbers below the highest may be free too, and are filled.
        for left in 0..3 {
            allow(highest as u64 + 1 + left);
            let mut fillers = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                fillers.push(file);
            }
            for _ in 0..left {
                fillers.pop().unwrap();
            }
            if left < 1 {
                assert!(matches!(EventLoop::new(), Err(Error::EMFILE)));
                assert!(matches!(Async::new(&lp, |_| {}), Err(Error::EMFILE)));
                assert_eq!(pipe.bind(""), Err(Error::EMFILE));
                assert_eq!(pipe.connect(&name, |_, _| panic!()), Err(Error::EMFILE));
                assert_eq!(server.listen(1, |_, _| panic!()), Err(Error::EMFILE));
            }
            if left < 2 {
                assert!(matches!(Pipe::pair(&lp), Err(Error::EMFILE)));
                assert_eq!(signal.start(libc::SIGUSR1, |_, _| panic!()), Err(Error::EMFILE));
                assert!(!signal.is_active() && !lp.is_alive());
            } else {
                drop(Pipe::pair(&lp).unwrap());
            }
        }
        // Looking at the descriptors takes one itself, and with room again what was refused works.
        allow(1024);
        assert_eq!(open_fds(), before);
        signal.start(libc::SIGUSR1, |signal, _| signal.close()).unwrap();
        server
            .listen(1, |server, result| {
                result.unwrap();
                server.close();
            })
            .unwrap();
        pipe.connect(&name, |pipe, result| {
            result.unwrap();
            pipe.close();
        })
        .unwrap();
        tools::raise(libc::SIGUSR1);
        finish(&lp);
    });
}

/// Operations that do no system call at all say so by leaving the descriptors as they are.
#[test]
fn failed_operations_leak_no_descriptor() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (bound, path) = (Pipe::new(&lp).unwrap(), TempPath::new());
        bound.bind(path.bytes()).unwrap();
        let open = Pipe::pair(&lp).unwrap();
        let closed = Pipe::new(&lp).unwrap();
        closed.close();
        finish(&lp);
        let before = open_fds();
        let fresh = Pipe::new(&lp).unwrap();
        assert!(fresh.bind(path.bytes()).is_err());
        assert!(fresh.bind("/nonexistent-directory/x").is_err());
        assert!(fresh.bind([b'x'; 200]).is_err());
        assert!(open.0.open(std::fs::File::open("/dev/null").unwrap()).is_err());
        assert!(closed.open(std::fs::File::open("/dev/null").unwrap()).is_err());
        assert!(bound.accept().is_err());
        assert!(bound.accept_into(&fresh).is_err());
        let poll = Poll::new(&lp, std::fs::File::open("/etc/passwd").unwrap()).unwrap();
        assert!(poll.start(PollEvents::READABLE, |_, _| {}).is_err());
        drop(poll);
        assert_eq!(open_fds(), before);
        // A failed connect leaves a socket that may try again; it goes with the handle.
        fresh.connect("/nonexistent", |_, result| assert!(result.is_err())).unwrap();
        finish(&lp);
        drop(fresh);
        assert_eq!(open_fds(), before);
    });
}
