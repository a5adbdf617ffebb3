//! What becomes of a signal in a process that watches it, and in one that does so no more.

use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};

use super::super::SignalPort;
use super::super::tests::{kill_self, raise, readable};
use super::{action_of, current, errno, replace, set_errno};
use crate::sys::forked::{fate_of, forked, status_of};
use crate::sys::isolation::isolated;

pub(in super::super) fn keeps_errno(run: impl FnOnce()) {
    set_errno(4711);
    run();
    assert_eq!(errno(), 4711);
}

static CALLS: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);

extern "C" fn count(_: c_int) {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn count_with_info(signum: c_int, info: *mut siginfo_t, context: *mut c_void) {
    assert!(!context.is_null());
    // SAFETY: installed with SA_SIGINFO, so it is valid.
    let info = unsafe { &*info };
    assert_eq!(info.si_signo, signum);
    CODE.store(info.si_code, Ordering::Relaxed);
    count(signum);
}

fn calls() -> usize {
    CALLS.load(Ordering::Relaxed)
}

fn install(signum: i32, handler: *const (), flags: c_int) {
    replace(signum, &action_of(handler as usize, flags)).unwrap();
}

/// A port that has watched the signal and no longer does.
fn watched_once(signum: i32) -> SignalPort {
    let port = SignalPort::new().unwrap();
    port.watch(signum).unwrap();
    raise(signum);
    assert_eq!(port.caught(signum), 1);
    port.unwatch(signum);
    port
}

#[test]
fn with_no_watcher_left_the_default_action_ends_the_process() {
    isolated(|| {
        let deadly = (1..=64).filter(|n| ![9, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(n));
        for signum in deadly {
            let fate = fate_of(|| {
                // Rust's own handler of these two is not the default action.
                install(signum, ptr::null(), 0);
                let _port = watched_once(signum);
                kill_self(signum);
                0
            });
            assert_eq!(fate.signal(), Some(signum), "{fate}");
        }
    });
}

#[test]
fn dropping_the_port_counts_as_unwatching() {
    isolated(|| {
        let fate = fate_of(|| {
            let port = SignalPort::new().unwrap();
            port.watch(libc::SIGTERM).unwrap();
            kill_self(libc::SIGTERM);
            drop(port);
            kill_self(libc::SIGTERM);
            0
        });
        assert_eq!(fate.signal(), Some(libc::SIGTERM));
    });
}

#[test]
fn with_no_watcher_left_a_core_is_dumped_as_by_default() {
    isolated(|| {
        // The core may be written to the current directory.
        let dir = std::env::temp_dir().join(format!("blacklight-core-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let fate = |watch: bool| {
            fate_of(|| {
                std::env::set_current_dir(&dir).unwrap();
                let most = libc::rlimit { rlim_cur: 1 << 24, rlim_max: 1 << 24 };
                // SAFETY: the limits outlive the call. It may be refused: then there is no core.
                unsafe { libc::setrlimit(libc::RLIMIT_CORE, &most) };
                install(libc::SIGQUIT, ptr::null(), 0);
                let _port = watch.then(|| watched_once(libc::SIGQUIT));
                kill_self(libc::SIGQUIT);
                0
            })
        };
        // Limits and core_pattern are the machine's: compare with what an untouched process does.
        let (ours, plain) = (fate(true), fate(false));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(ours.signal(), Some(libc::SIGQUIT));
        assert_eq!((ours.signal(), ours.core_dumped()), (plain.signal(), plain.core_dumped()));
        println!("core dumped: {}", ours.core_dumped());
    });
}

#[test]
fn what_is_ignored_by_default_harms_nobody() {
    isolated(|| {
        for signum in [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH] {
            let _port = watched_once(signum);
            raise(signum);
        }
    });
}

#[test]
fn a_nohup_ed_process_goes_on_ignoring() {
    isolated(|| {
        for signum in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGTSTP] {
            install(signum, libc::SIG_IGN as *const (), 0);
            let port = watched_once(signum);
            raise(signum);
            assert_eq!(port.caught(signum), 1);
        }
    });
}

#[test]
fn the_previous_handler_is_called_only_while_nobody_watches() {
    isolated(|| {
        install(libc::SIGUSR1, count_with_info as *const (), libc::SA_SIGINFO);
        let port = watched_once(libc::SIGUSR1);
        assert_eq!(calls(), 0);
        keeps_errno(|| raise(libc::SIGUSR1));
        assert_eq!((calls(), CODE.load(Ordering::Relaxed)), (1, libc::SI_TKILL));
        port.watch(libc::SIGUSR1).unwrap();
        raise(libc::SIGUSR1);
        assert_eq!((calls(), port.caught(libc::SIGUSR1)), (1, 2));
        drop(port);
        raise(libc::SIGUSR1);
        assert_eq!(calls(), 2);
    });
}

extern "C" fn raise_another(signum: c_int) {
    count(signum);
    if calls() < 3 {
        raise(signum);
    }
    assert_eq!(calls(), 3);
}

extern "C" fn sees_both_blocked(signum: c_int) {
    // SAFETY: no pointers but to a set that outlives the calls.
    unsafe {
        let mut mask = super::no_signals();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask);
        assert_eq!(libc::sigismember(&mask, signum), 1);
        assert_eq!(libc::sigismember(&mask, libc::SIGUSR2), 1);
    }
    count(signum);
}

#[test]
fn the_previous_handler_finds_the_mask_it_asked_for() {
    isolated(|| {
        install(libc::SIGUSR1, raise_another as *const (), libc::SA_NODEFER);
        let _port = watched_once(libc::SIGUSR1);
        raise(libc::SIGUSR1);
        assert_eq!(calls(), 3, "SA_NODEFER: called within itself");

        let mut action = action_of(sees_both_blocked as *const () as usize, 0);
        action.sa_mask = super::only(libc::SIGUSR2);
        replace(libc::SIGALRM, &action).unwrap();
        let _port = watched_once(libc::SIGALRM);
        raise(libc::SIGALRM);
        assert_eq!(calls(), 4);
    });
}

#[test]
fn a_previous_handler_that_dies_by_raising_again_does_so() {
    extern "C" fn die(signum: c_int) {
        raise(signum);
    }
    isolated(|| {
        // As Node sets up its process: reset once, then let the signal do its work.
        let fate = fate_of(|| {
            install(libc::SIGINT, die as *const (), libc::SA_RESETHAND);
            let _port = watched_once(libc::SIGINT);
            kill_self(libc::SIGINT);
            0
        });
        assert_eq!(fate.signal(), Some(libc::SIGINT));
    });
}

#[test]
fn a_terminal_s_stop_stops_and_goes_on_watchable() {
    isolated(|| {
        let child = forked(|| {
            // Its own group, with a parent in the same session: not orphaned, so stops apply.
            // SAFETY: no pointers are passed.
            unsafe { libc::setpgid(0, 0) };
            let port = watched_once(libc::SIGTSTP);
            kill_self(libc::SIGTSTP);
            port.watch(libc::SIGTSTP).unwrap();
            kill_self(libc::SIGTSTP);
            assert_eq!(port.caught(libc::SIGTSTP), 2);
            port.unwatch(libc::SIGTSTP);
            kill_self(libc::SIGTSTP);
            5
        });
        for _ in 0..2 {
            let stopped = status_of(child, libc::WUNTRACED);
            assert_eq!(stopped.stopped_signal(), Some(libc::SIGTSTP), "{stopped}");
            // SAFETY: no pointers are passed; the child is ours and not yet reaped.
            unsafe { libc::kill(child, libc::SIGCONT) };
        }
        assert_eq!(status_of(child, 0).code(), Some(5));
    });
}

#[test]
fn a_stop_of_an_orphaned_group_is_no_stop() {
    isolated(|| {
        let fate = fate_of(|| {
            // A new session: nobody outside could continue it.
            // SAFETY: no pointers are passed.
            unsafe { libc::setsid() };
            let _port = watched_once(libc::SIGTTOU);
            kill_self(libc::SIGTTOU);
            5
        });
        assert_eq!(fate.code(), Some(5));
    });
}

#[test]
fn faults_sent_by_kill_are_signals_like_any_other() {
    isolated(|| {
        let port = SignalPort::new().unwrap();
        for signum in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
            port.watch(signum).unwrap();
            for n in 1..=3 {
                raise(signum);
                assert_eq!(port.caught(signum), n);
            }
        }
        assert!(readable(&port));
    });
}

/// Reads a page that may not be read.
fn fault() {
    // SAFETY: a new mapping; reading it faults, which is what the caller wants of a child process.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0);
        page.cast::<u8>().read_volatile();
    }
}

#[test]
fn a_real_fault_ends_the_process_watched_or_not() {
    isolated(|| {
        for watched in [true, false] {
            for previous in [libc::SIG_DFL, libc::SIG_IGN] {
                let fate = fate_of(|| {
                    install(libc::SIGSEGV, previous as *const (), 0);
                    let port = watched_once(libc::SIGSEGV);
                    if watched {
                        port.watch(libc::SIGSEGV).unwrap();
                    }
                    fault();
                    0
                });
                assert_eq!(fate.signal(), Some(libc::SIGSEGV), "{fate}");
            }
        }
        // Behind Rust's own handler, which has found that it is no stack overflow.
        let fate = fate_of(|| {
            let port = SignalPort::new().unwrap();
            port.watch(libc::SIGSEGV).unwrap();
            fault();
            0
        });
        assert_eq!(fate.signal(), Some(libc::SIGSEGV), "{fate}");
    });
}

#[test]
fn rust_still_reports_a_stack_overflow() {
    #[allow(unconditional_recursion)]
    fn deeper(n: u64) -> u64 {
        std::hint::black_box(deeper(std::hint::black_box(n + 1))) + 1
    }
    isolated(|| {
        let fate = fate_of(|| {
            let port = SignalPort::new().unwrap();
            port.watch(libc::SIGSEGV).unwrap();
            i32::from(deeper(0) == 0)
        });
        assert_eq!(fate.signal(), Some(libc::SIGABRT), "{fate}");
    });
}

/// Registers with the registry as other crates do.
fn neighbour(signum: i32) -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let inside = Arc::clone(&heard);
    // SAFETY: an atomic addition is async-signal-safe.
    unsafe {
        signal_hook::low_level::register(signum, move || {
            inside.fetch_add(1, Ordering::Relaxed);
        })
    }
    .unwrap();
    heard
}

#[test]
fn a_neighbour_in_the_registry_hears_the_same_signals() {
    isolated(|| {
        for neighbour_first in [true, false] {
            let signum = if neighbour_first { libc::SIGUSR1 } else { libc::SIGUSR2 };
            let port = SignalPort::new().unwrap();
            let before = neighbour_first.then(|| neighbour(signum));
            port.watch(signum).unwrap();
            let heard = before.unwrap_or_else(|| neighbour(signum));
            raise(signum);
            assert_eq!((heard.load(Ordering::Relaxed), port.caught(signum)), (1, 1));
        }
        // There first, it keeps an unwatched signal to itself, as it did before us.
        let heard = neighbour(libc::SIGTERM);
        let _port = watched_once(libc::SIGTERM);
        raise(libc::SIGTERM);
        assert_eq!(heard.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_watch_brings_back_a_handler_that_was_reset_but_not_one_that_was_replaced() {
    isolated(|| {
        for with_neighbour in [false, true] {
            let signum = if with_neighbour { libc::SIGUSR1 } else { libc::SIGUSR2 };
            let _heard = with_neighbour.then(|| neighbour(signum));
            let port = watched_once(signum);
            install(signum, libc::SIG_IGN as *const (), 0);
            raise(signum);
            assert_eq!(port.caught(signum), 1);
            port.watch(signum).unwrap();
            raise(signum);
            assert_eq!(port.caught(signum), 2);
            port.unwatch(signum);
            // Ignored is what stood there before this watch.
            raise(signum);
            install(signum, count as *const (), 0);
            port.watch(signum).unwrap();
            let before = calls();
            raise(signum);
            assert_eq!((port.caught(signum), calls()), (2, before + 1));
        }
    });
}

static COVERED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_and_chain(signum: c_int, info: *mut siginfo_t, context: *mut c_void) {
    count(signum);
    let covered = ptr::with_exposed_provenance::<()>(COVERED.load(Ordering::Relaxed));
    // SAFETY: the address of the handler that stood there, which takes these three.
    unsafe { std::mem::transmute::<*const (), super::InfoHandler>(covered)(signum, info, context) };
}

#[test]
fn a_foreign_handler_over_ours_that_chains_leaves_us_hearing() {
    isolated(|| {
        let port = watched_once(libc::SIGTERM);
        port.watch(libc::SIGTERM).unwrap();
        COVERED.store(current(libc::SIGTERM).unwrap().sa_sigaction, Ordering::Relaxed);
        install(libc::SIGTERM, count_and_chain as *const (), libc::SA_SIGINFO);
        raise(libc::SIGTERM);
        assert_eq!((calls(), port.caught(libc::SIGTERM)), (1, 2));
        port.unwatch(libc::SIGTERM);
        // The signal is theirs now: its default action is not ours to take.
        raise(libc::SIGTERM);
        assert_eq!(calls(), 2);
    });
}
