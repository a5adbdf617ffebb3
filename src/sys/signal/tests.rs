//! What loops get to see. What the process does of a signal is in `disposition/tests.rs`.

use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::SignalPort;
use crate::error::Error;
use crate::sys::forked::{fate_of, forked, status_of};
use crate::sys::isolation::isolated;

/// Waits until the port's pipe is readable; false when it has not become so in 30 seconds.
pub(super) fn readable(port: &SignalPort) -> bool {
    ready(port, 30_000)
}

fn ready(port: &SignalPort, timeout: i32) -> bool {
    let mut poll =
        libc::pollfd { fd: port.read_end().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one element, which outlives the call.
        match unsafe { libc::poll(&mut poll, 1, timeout) } {
            -1 => {}
            n => return n == 1,
        }
    }
}

/// Sends to this process and, as kill(2) promises for an unblocked signal, has it handled on return
/// where this process has one thread only.
pub(super) fn kill_self(signum: i32) {
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signum) }, 0);
}

/// Handled on this thread before it returns, however many threads there are.
pub(super) fn raise(signum: i32) {
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::raise(signum) }, 0);
}

#[test]
fn every_port_of_every_thread_hears_a_signal() {
    isolated(|| {
        let watching = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let watching = Arc::clone(&watching);
                thread::spawn(move || {
                    let ports = [SignalPort::new().unwrap(), SignalPort::new().unwrap()];
                    for port in &ports {
                        port.watch(libc::SIGUSR1).unwrap();
                    }
                    watching.wait();
                    for port in &ports {
                        assert!(readable(port));
                        port.drain();
                        assert_eq!(port.caught(libc::SIGUSR1), 1);
                        assert!(!ready(port, 0));
                    }
                })
            })
            .collect();
        let other = SignalPort::new().unwrap();
        other.watch(libc::SIGUSR2).unwrap();
        watching.wait();
        kill_self(libc::SIGUSR1);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(other.caught(libc::SIGUSR1), 0);
        assert!(!ready(&other, 0));
    });
}

#[test]
fn the_sender_s_pid_and_uid_are_told() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        for signum in [libc::SIGUSR1, libc::SIGRTMIN() + 3, libc::SIGCHLD] {
            port.watch(signum).unwrap();
        }
        // SAFETY: no pointers are passed.
        let (me, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        // SAFETY: no pointers are passed.
        let killer = forked(|| unsafe { libc::kill(me, libc::SIGUSR1) });
        assert_eq!(status_of(killer, 0).code(), Some(0));
        let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
        // SAFETY: the value's pointer is not looked at.
        let queuer = forked(|| unsafe { libc::sigqueue(me, libc::SIGRTMIN() + 3, value) });
        assert_eq!(status_of(queuer, 0).code(), Some(0));
        while port.caught(libc::SIGUSR1) == 0
            || port.caught(libc::SIGRTMIN() + 3) == 0
            || port.sender(libc::SIGCHLD).0 != queuer
        {
            assert!(readable(&port));
            port.drain();
        }
        assert_eq!(port.sender(libc::SIGUSR1), (killer, uid));
        assert_eq!(port.sender(libc::SIGRTMIN() + 3), (queuer, uid));
        assert_eq!(port.sender(libc::SIGCHLD), (queuer, uid));
    });
}

#[test]
fn a_timer_s_signal_has_no_sender() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGALRM).unwrap();
        let soon = libc::timeval { tv_sec: 0, tv_usec: 1 };
        let once = libc::itimerval {
            it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
            it_value: soon,
        };
        // SAFETY: the value outlives the call, the old one is not asked for.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &once, std::ptr::null_mut()) };
        assert!(readable(&port));
        port.drain();
        assert_eq!((port.caught(libc::SIGALRM), port.sender(libc::SIGALRM)), (1, (0, 0)));
    });
}

#[test]
fn a_burst_from_two_threads_loses_neither_a_count_nor_the_last_wake() {
    const EACH: u32 = 50_000;
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGUSR1).unwrap();
        let threads =
            [(); 2].map(|()| thread::spawn(|| (0..EACH).for_each(|_| raise(libc::SIGUSR1))));
        while port.caught(libc::SIGUSR1) < 2 * EACH {
            assert!(readable(&port), "woken no more at {}", port.caught(libc::SIGUSR1));
            port.drain();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        port.drain();
        assert_eq!(port.caught(libc::SIGUSR1), 2 * EACH);
        assert!(!ready(&port, 0));
    });
}

#[test]
fn every_queued_real_time_signal_is_counted() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        for signum in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            port.watch(signum).unwrap();
            for _ in 0..10 {
                raise(signum);
            }
            assert_eq!(port.caught(signum), 10);
        }
    });
}

#[test]
fn what_is_no_signal_or_cannot_be_caught_is_refused() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        for signum in [i32::MIN, -1, 0, 9, 19, 32, 33, 65, 1000, i32::MAX] {
            assert_eq!(port.watch(signum), Err(Error::EINVAL), "{signum}");
            assert_eq!((port.caught(signum), port.sender(signum)), (0, (0, 0)));
        }
        for signum in (1..=64).filter(|n| ![9, 19, 32, 33].contains(n)) {
            port.watch(signum).unwrap();
        }
    });
}

#[test]
fn watches_are_counted() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGURG).unwrap();
        port.watch(libc::SIGURG).unwrap();
        port.unwatch(libc::SIGURG);
        raise(libc::SIGURG);
        assert_eq!(port.caught(libc::SIGURG), 1);
        port.unwatch(libc::SIGURG);
        raise(libc::SIGURG);
        assert_eq!(port.caught(libc::SIGURG), 1);
        port.watch(libc::SIGURG).unwrap();
        raise(libc::SIGURG);
        assert_eq!(port.caught(libc::SIGURG), 2);
    });
}

#[test]
fn errno_survives_the_handler() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGUSR1).unwrap();
        // A full pipe: the handler's write fails with EAGAIN.
        let zeros = [0u8; 4096];
        // SAFETY: the buffer outlives the calls.
        while unsafe { libc::write(port.write_end.as_raw_fd(), zeros.as_ptr().cast(), 4096) } > 0 {}
        super::disposition::tests::keeps_errno(|| raise(libc::SIGUSR1));
        assert_eq!(port.caught(libc::SIGUSR1), 1);
    });
}

#[test]
fn a_new_port_on_an_old_seat_starts_at_zero() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGURG).unwrap();
        raise(libc::SIGURG);
        let seat = std::ptr::from_ref(port.seat);
        drop(port);
        let port = SignalPort::new().unwrap();
        assert_eq!(seat, std::ptr::from_ref(port.seat), "seats are used again");
        assert_eq!((port.caught(libc::SIGURG), port.sender(libc::SIGURG)), (0, (0, 0)));
        raise(libc::SIGURG);
        assert_eq!(port.caught(libc::SIGURG), 0);
    });
}

#[test]
fn a_port_dropped_under_fire_never_writes_to_the_next_owner_of_its_descriptor() {
    isolated(|| {
        let done = Arc::new(AtomicBool::new(false));
        let fire = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    raise(libc::SIGURG);
                }
            })
        };
        // Keeps the signal claimed and delivered throughout.
        let other = SignalPort::new().unwrap();
        other.watch(libc::SIGURG).unwrap();
        for _ in 0..3_000 {
            let port = SignalPort::new().unwrap();
            port.watch(libc::SIGURG).unwrap();
            let number = port.write_end.as_raw_fd();
            drop(port);
            // The kernel hands out the lowest numbers, so this pipe takes the place of the port's.
            let (read, write) = super::signal_pipe().unwrap();
            assert_eq!(number, write.as_raw_fd());
            thread::yield_now();
            let mut byte = 0u8;
            // SAFETY: the buffer outlives the call.
            let n = unsafe { libc::read(read.as_raw_fd(), (&raw mut byte).cast(), 1) };
            assert_eq!(n, -1, "a handler wrote to a descriptor that was no longer its own");
        }
        done.store(true, Ordering::Relaxed);
        fire.join().unwrap();
    });
}

#[test]
fn after_fork_parent_and_child_hear_only_their_own_signals() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGUSR1).unwrap();
        raise(libc::SIGUSR1);
        let numbers = (port.read_end.as_raw_fd(), port.write_end.as_raw_fd());
        let child = forked(|| {
            port.after_fork().unwrap();
            assert_eq!(numbers, (port.read_end.as_raw_fd(), port.write_end.as_raw_fd()));
            assert!(!ready(&port, 0), "the parent's signals stay with the parent");
            let seen = port.caught(libc::SIGUSR1);
            kill_self(libc::SIGUSR1);
            assert!(readable(&port));
            port.drain();
            assert_eq!(port.caught(libc::SIGUSR1), seen + 1);
            // SAFETY: no pointers are passed.
            assert_eq!(port.sender(libc::SIGUSR1).0, unsafe { libc::getpid() });
            0
        });
        assert_eq!(status_of(child, 0).code(), Some(0));
        assert!(readable(&port), "what the child drained was its own pipe");
        port.drain();
        assert_eq!(port.caught(libc::SIGUSR1), 1);
        assert!(!ready(&port, 0));
    });
}

#[test]
fn before_after_fork_a_child_acts_as_if_nobody_watched() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        port.watch(libc::SIGUSR1).unwrap();
        let fate = fate_of(|| {
            kill_self(libc::SIGUSR1);
            0
        });
        assert_eq!(fate.signal(), Some(libc::SIGUSR1));
    });
}

#[test]
fn a_loop_of_another_thread_does_not_swallow_a_forked_child_s_signals() {
    isolated(|| {
        let (port, other) = (SignalPort::new().unwrap(), SignalPort::new().unwrap());
        other.watch(libc::SIGTERM).unwrap();
        let fate = fate_of(|| {
            port.after_fork().unwrap();
            kill_self(libc::SIGTERM);
            0
        });
        assert_eq!(fate.signal(), Some(libc::SIGTERM));
        assert!(!ready(&other, 0));
    });
}
