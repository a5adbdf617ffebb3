//! Where a call may be made: in a loop's callback, on several threads, with signals blocked, without
//! descriptors; and that nothing is left of it.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::child_process::{SyncOptions, SyncStdio, spawn_sync};
use blacklight::prelude::*;
use blacklight::{Error, reserve_descriptors};

use crate::support::process::{
    Exits, forked, in_fork, is_exact_for_all, new_loop, run, shell, watchdog,
};
use crate::support::{children, isolated, open_fds};

/// A child that reads, writes and exits with 7; checks that all of it arrived.
fn call(text: &str) {
    let options = SyncOptions::new().input(text).timeout(100_000).clone();
    let result = spawn_sync(Command::new("sh").args(["-c", "cat; exit 7"]), &options);
    assert_eq!((&result.error, result.status), (&None, Some(7)));
    assert_eq!(result.stdout(), Some(text.as_bytes()));
}

#[test]
fn nothing_is_left_of_two_hundred_calls() {
    isolated(|| {
        watchdog();
        reserve_descriptors().unwrap();
        let before = open_fds();
        for number in 0..200 {
            match number % 4 {
                0 => call("some text"),
                1 => {
                    let result = spawn_sync(&Command::new("/no/such"), &SyncOptions::new());
                    assert_eq!(result.error.unwrap().code, Error::ENOENT);
                }
                2 => {
                    let options = SyncOptions::new().max_buffer(1).clone();
                    let result = spawn_sync(&shell("echo much; read x <&1"), &options);
                    assert_eq!(result.error.unwrap().code, Error::ENOBUFS);
                }
                _ => {
                    let options = SyncOptions::new().input(vec![0; 1 << 20]).clone();
                    let result = spawn_sync(&shell("exit 2"), &options);
                    assert_eq!(result.error.map(|error| error.code), Some(Error::EPIPE));
                    assert_eq!(result.status, Some(2));
                }
            }
            assert_eq!(children(), [], "no zombies");
            assert_eq!(open_fds(), before);
        }
    });
}

#[test]
fn four_threads_call_at_once() {
    isolated(|| {
        watchdog();
        reserve_descriptors().unwrap();
        let before = open_fds();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..25 {
                        call(&format!("thread {thread}, call {number}"));
                    }
                });
            }
        });
        assert_eq!(children(), []);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_loops_callback_may_call() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        // This one ends while the callback is at work, and is the loop's all the same.
        shell("exit 5").spawn(&lp, exits.note()).unwrap();
        let calls = Rc::new(Cell::new(0));
        let timer = Timer::new(&lp).unwrap();
        let counted = calls.clone();
        timer
            .start(0, 1, move |timer| {
                call("from a timer");
                counted.set(counted.get() + 1);
                if counted.get() == 5 {
                    timer.stop();
                }
            })
            .unwrap();
        let (one, other) = Pipe::pair(&lp).unwrap();
        one.write_and_forget("now").unwrap();
        one.close();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let sink = seen.clone();
        other
            .read_start(move |other, read| match read {
                Read::Data(bytes) => {
                    // The bytes are lent by this loop; the other one has a buffer of its own.
                    call("from a read callback");
                    sink.borrow_mut().extend_from_slice(bytes);
                }
                Read::Eof | Read::Error(_) => other.close(),
            })
            .unwrap();
        run(&lp);
        assert_eq!(calls.get(), 5);
        assert_eq!(*seen.borrow(), b"now");
        assert_eq!(exits.one().code(), Some(5));
        assert_eq!(children(), []);
    });
}

#[test]
fn an_exit_callback_may_call() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        for code in [1, 2, 3] {
            let note = exits.note();
            let on_exit = move |process: &Process, exit: Exit| {
                call("from an exit callback");
                note(process, exit);
            };
            shell(&format!("exit {code}")).spawn(&lp, on_exit).unwrap();
        }
        run(&lp);
        let mut codes: Vec<_> = exits.get().iter().filter_map(|(_, exit)| exit.code()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [1, 2, 3]);
    });
}

#[test]
fn blocked_sigchld_does_not_matter() {
    isolated(|| {
        watchdog();
        // SAFETY: the set outlives the calls.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            let blocked =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            assert_eq!(blocked, 0);
        }
        for _ in 0..5 {
            call("with SIGCHLD blocked");
        }
        let result = spawn_sync(&shell("kill -KILL $$"), &SyncOptions::new());
        assert_eq!(result.signal, Some(libc::SIGKILL));
        assert_eq!(children(), []);
    });
}

#[test]
fn ignored_sigchld_leaves_the_status_or_says_that_it_is_unknown() {
    isolated(|| {
        let lp = new_loop();
        // SAFETY: changes what the kernel does with one signal.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let result = spawn_sync(&shell("echo said; exit 6"), &SyncOptions::new());
        assert_eq!(result.stdout(), Some(b"said\n".as_slice()));
        if is_exact_for_all(&lp) {
            assert_eq!((&result.error, result.status), (&None, Some(6)));
        } else if result.status.is_none() {
            assert_eq!(result.error.map(|error| error.code), Some(Error::ECHILD));
        }
        assert_eq!(children(), []);
    });
}

#[test]
fn other_children_of_the_process_are_left_alone() {
    isolated(|| {
        watchdog();
        let mut other = std::process::Command::new("true").spawn().unwrap();
        let forked = forked(|| 3);
        call("beside others");
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(forked, &raw mut status, 0) }, forked);
        assert_eq!(libc::WEXITSTATUS(status), 3);
        assert!(other.wait().unwrap().success());
    });
}

#[test]
fn a_forked_child_of_a_process_with_a_loop_may_call() {
    isolated(|| {
        let lp = new_loop();
        let timer = Timer::new(&lp).unwrap();
        timer.start(0, 0, |_| call("before")).unwrap();
        run(&lp);
        in_fork(|| {
            call("in the forked child");
            0
        });
        call("after");
    });
}

#[test]
fn running_out_of_descriptors_anywhere_is_an_error_that_leaves_nothing() {
    isolated(|| {
        watchdog();
        call("first, so that what stays for ever is there");
        let before = open_fds();
        let highest = before.iter().map(|(number, _)| *number).max().unwrap();
        let mut options = SyncOptions::new();
        options.input("text").stdio(3, SyncStdio::Pipe);
        let (mut refused, mut made) = (0, 0);
        // From no number free to enough of them: there may be gaps among those that are open.
        for limit in 3..highest as u64 + 20 {
            set_limit(limit);
            let result = spawn_sync(Command::new("sh").args(["-c", "cat"]), &options);
            set_limit(1024);
            match result.error {
                None => {
                    assert_eq!(result.stdout(), Some(b"text".as_slice()));
                    made += 1;
                }
                Some(error) => {
                    assert_eq!((error.code, result.pid), (Error::EMFILE, 0), "{error:?}");
                    assert_eq!(made, 0, "more room is not worse");
                    refused += 1;
                }
            }
            assert_eq!(open_fds(), before, "with a limit of {limit}");
            assert_eq!(children(), []);
        }
        assert!(refused > 2 && made > 2, "{refused} refused, {made} made");
    });
}

fn set_limit(soft: u64) {
    // SAFETY: the structure outlives the calls.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = soft;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}
