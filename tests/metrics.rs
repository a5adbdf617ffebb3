//! What a loop counts, and the options it is made with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::time::Duration;

use blacklight::prelude::*;
use blacklight::{Error, Facilities, Options, Reaping, SpawnPath};
use support::isolated;
use tools::finish;

#[test]
fn turns_events_and_callbacks_are_counted() {
    let lp = EventLoop::new().unwrap();
    assert_eq!(lp.metrics(), blacklight::Metrics::default());
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    let bytes = tools::collect(&peer);
    pipe.write("x", |_, _| {}).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    let metrics = lp.metrics();
    // The write's callback and the read's.
    assert_eq!((metrics.turns, metrics.events, metrics.callbacks), (1, 1, 2));
    assert_eq!(metrics.events_waiting, 1, "it was there when the loop asked");
    assert_eq!((metrics.stale_events, metrics.idle_time), (0, Duration::ZERO));
    pipe.close();
    finish(&lp);
    let metrics = lp.metrics();
    assert_eq!((metrics.callbacks, bytes.borrow().len()), (3, 1), "closing without one is none");
}

#[test]
fn idle_time_is_kept_on_request() {
    let options = Options { metrics_idle_time: true, ..Options::from_env().unwrap() };
    let lp = EventLoop::with_options(options.clone()).unwrap();
    assert_eq!(lp.options(), options);
    let timer = Timer::new(&lp).unwrap();
    let idle = Idle::new(&lp).unwrap();
    idle.start(|idle| idle.stop()).unwrap();
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(lp.metrics().idle_time, Duration::ZERO, "it has not waited");
    lp.update_time();
    timer.start(10, 0, |_| {}).unwrap();
    let before = lp.now_duration();
    finish(&lp);
    let idle = lp.metrics().idle_time;
    assert!(idle > Duration::ZERO && idle <= lp.now_duration() - before, "{idle:?}");
}

#[test]
fn a_loop_may_block_sigprof_while_it_waits() {
    isolated(|| {
        let options = Options { block_sigprof: true, ..Options::from_env().unwrap() };
        let lp = EventLoop::with_options(options).unwrap();
        let wake = Async::new(&lp, |wake| wake.close()).unwrap();
        let sender = wake.sender().unwrap();
        // SAFETY: no arguments, cannot fail.
        #[allow(unsafe_code)]
        let status = format!("/proc/self/task/{}/status", unsafe { libc::gettid() });
        let blocks_sigprof = move || {
            let text = std::fs::read_to_string(&status).unwrap();
            let mask = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
            mask & (1 << (libc::SIGPROF - 1)) != 0
        };
        assert!(!blocks_sigprof());
        let watcher = std::thread::spawn(move || {
            // Until the loop waits, which it does until it is woken.
            let seen = (0..1_000_000).any(|_| {
                std::thread::yield_now();
                blocks_sigprof()
            });
            sender.send().unwrap();
            seen
        });
        finish(&lp);
        assert!(watcher.join().unwrap());
    });
}

#[test]
fn without_fine_waits_timers_are_not_early_either() {
    let mut options = Options::from_env().unwrap();
    options.facilities.remove(Facilities::EPOLL_PWAIT2);
    let lp = EventLoop::with_options(options).unwrap();
    let timer = Timer::new(&lp).unwrap();
    for nanoseconds in [1, 999_999, 1_500_001] {
        let due = lp.now_duration() + Duration::from_nanos(nanoseconds);
        timer
            .start_duration(Duration::from_nanos(nanoseconds), Duration::ZERO, move |timer| {
                assert!(timer.event_loop().now_duration() >= due);
            })
            .unwrap();
        let turns = lp.metrics().turns;
        finish(&lp);
        assert!(lp.metrics().turns - turns <= 2, "rounded down it would spin");
    }
}

#[test]
fn the_environment_sets_the_options_and_a_word_without_meaning_is_an_error() {
    isolated(|| {
        let from = |name: &str, value: &str| {
            // SAFETY: this process has no other thread that looks at the environment.
            #[allow(unsafe_code)]
            unsafe {
                for name in ["SPAWN_PATH", "REAPING", "WITHOUT", "IO_URING"] {
                    std::env::remove_var(format!("BLACKLIGHT_{name}"));
                }
                std::env::set_var(format!("BLACKLIGHT_{name}"), value);
            }
            Options::from_env()
        };
        assert_eq!(from("SPAWN_PATH", ""), Ok(Options::default()));
        for (word, path) in [
            ("auto", SpawnPath::Auto),
            ("shared-memory", SpawnPath::SharedMemory),
            ("vfork-page", SpawnPath::VforkPage),
            ("fork", SpawnPath::Fork),
        ] {
            assert_eq!(from("SPAWN_PATH", word).unwrap().spawn_path, path);
        }
        for (word, reaping) in
            [("auto", Reaping::Auto), ("pidfd", Reaping::Pidfd), ("sigchld", Reaping::Sigchld)]
        {
            assert_eq!(from("REAPING", word).unwrap().reaping, reaping);
        }
        let without = from("WITHOUT", " close-range,PIDFD, ").unwrap().facilities;
        assert_eq!(without, Facilities::all() - Facilities::CLOSE_RANGE - Facilities::PIDFD);
        for (word, on) in [("on", true), ("off", false)] {
            assert_eq!(from("IO_URING", word).unwrap().io_uring, on);
        }
        let wrong =
            [("SPAWN_PATH", "vfork"), ("REAPING", "x"), ("WITHOUT", "pidfd,y"), ("IO_URING", "1")];
        for (name, word) in wrong {
            assert_eq!(from(name, word), Err(Error::EINVAL));
            assert!(matches!(EventLoop::new(), Err(Error::EINVAL)));
        }
    });
}
