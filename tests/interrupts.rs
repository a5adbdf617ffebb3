//! Signals that interrupt a loop in its wait: a wait goes on with what is left of its time.

#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blacklight::prelude::*;
use support::isolated;

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Has a handler without `SA_RESTART` interrupt this very thread again and again.
fn interrupt_every(microseconds: i64) {
    // SAFETY: the handler only counts; the structures are valid when all zero and outlive the
    // calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer: libc::timer_t = std::ptr::null_mut();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
        let time = libc::timespec { tv_sec: 0, tv_nsec: microseconds * 1_000 };
        let every = libc::itimerspec { it_interval: time, it_value: time };
        assert_eq!(libc::timer_settime(timer, 0, &raw const every, std::ptr::null_mut()), 0);
    }
}

/// bun#42911 (B6): a handler without `SA_RESTART` broke waits and reads.
#[test]
fn an_interrupted_wait_goes_on_and_is_not_early() {
    isolated(|| {
        let lp = EventLoop::new().unwrap();
        let timer = Timer::new(&lp).unwrap();
        let fired = Rc::new(Cell::new(false));
        let due = lp.now_duration() + Duration::from_millis(60);
        let f = fired.clone();
        timer
            .start(60, 0, move |timer| {
                assert!(timer.event_loop().now_duration() >= due);
                f.set(true);
            })
            .unwrap();
        interrupt_every(1_500);
        // A single turn: it waits as often as it takes.
        assert_eq!(lp.run(RunMode::Once), Ok(false));
        assert!(fired.get() && lp.metrics().turns == 1);
        assert!(CAUGHT.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn streams_do_not_notice_interrupts() {
    isolated(|| {
        interrupt_every(200);
        let lp = EventLoop::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (input, output) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        input.open(reader).unwrap();
        output.open(writer).unwrap();
        let data = tools::noise(8 << 20);
        output
            .write(data.clone(), |output, written| {
                tools::all_written(written, 8 << 20);
                output.close();
            })
            .unwrap();
        let bytes = tools::collect(&input);
        tools::finish(&lp);
        assert!(*bytes.borrow() == data);
        assert!(CAUGHT.load(Ordering::Relaxed) > 0);
    });
}
