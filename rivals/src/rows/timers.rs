//! Timers: a million of them from start to end, and one started and stopped among others.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::{EventLoop, Handle, Options, RunMode, Timer};
use libuv_sys2::{uv_timer_init, uv_timer_start, uv_timer_stop, uv_timer_t};

use super::tokio_runtime;
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

/// In milliseconds; all of them are over when the last of a million timers has been started.
fn timeout(i: u64) -> u64 {
    1 + (i * 7919) % 16
}

/// Those that a timer is started and stopped among.
const OTHERS: u64 = 10_000;

/// When those are due: in some quarter of an hour, none at the same time as its neighbour.
fn far(i: u64) -> u64 {
    1_000_000 + i * 7919 % OTHERS
}

pub(super) fn rows() -> Vec<Row> {
    let million = Row::new(Group::Loop, "one million timers started, fired, closed, each")
        .units(1_000_000)
        .rounds(11)
        .goal(Goal::Against(Who::Libuv, 0.35))
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            move |units| {
                let make = |_| Timer::new(&lp).expect("a handle");
                let timers: Vec<Timer> = (0..units).map(make).collect();
                let begun = Instant::now();
                for (i, timer) in (0..).zip(&timers) {
                    timer.start(timeout(i), 0, |timer| timer.close()).expect("it starts");
                }
                lp.run(RunMode::Default).expect("the loop runs");
                let each = each(begun, units);
                assert!(timers.iter().all(Handle::is_closed));
                each
            }
        })
        .entry(Who::Libuv, million_in_libuv)
        .entry(Who::Tokio, || {
            let runtime = tokio_runtime();
            move |units| {
                let local = tokio::task::LocalSet::new();
                let fired = Rc::new(Cell::new(0));
                let begun = Instant::now();
                local.block_on(&runtime, async {
                    for i in 0..units {
                        let fired = fired.clone();
                        tokio::task::spawn_local(async move {
                            tokio::time::sleep(Duration::from_millis(timeout(i))).await;
                            fired.set(fired.get() + 1);
                        });
                    }
                });
                runtime.block_on(local);
                let each = each(begun, units);
                assert_eq!(fired.get(), units);
                each
            }
        });

    let one = Row::new(Group::Loop, "timer started and stopped among 10,000")
        .units(100_000)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let start = |i| {
                let timer = Timer::new(&lp).expect("a handle");
                timer.start(far(i), 0, |_| {}).expect("it starts");
                timer
            };
            let others: Vec<Timer> = (0..OTHERS).map(start).collect();
            let timer = Timer::new(&lp).expect("a handle");
            move |units| {
                let _alive = (&lp, &others);
                let begun = Instant::now();
                for i in 0..units {
                    timer.start(far(i * 31), 0, |_| {}).expect("it starts");
                    timer.stop();
                }
                each(begun, units)
            }
        })
        .entry(Who::Libuv, one_in_libuv)
        .entry(Who::Tokio, || {
            let runtime = tokio_runtime();
            let sleep = |i| Box::pin(tokio::time::sleep(Duration::from_millis(far(i))));
            let mut others: Vec<_> = {
                let _context = runtime.enter();
                (0..OTHERS).map(sleep).collect()
            };
            move |units| {
                runtime.block_on(async {
                    for other in &mut others {
                        started(other.as_mut());
                    }
                    let begun = Instant::now();
                    for i in 0..units {
                        let mut sleep =
                            std::pin::pin!(tokio::time::sleep(Duration::from_millis(far(i * 31))));
                        started(sleep.as_mut());
                    }
                    each(begun, units)
                })
            }
        });
    vec![million, one]
}

/// A future starts with its first poll.
fn started(sleep: std::pin::Pin<&mut tokio::time::Sleep>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(sleep.poll(&mut context).is_pending());
}

fn million_in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn fired(timer: *mut uv_timer_t) {
        // SAFETY: it is open and closes once; its memory is the array's.
        unsafe { libuv_sys2::uv_close(timer.cast(), Some(closed)) };
    }
    unsafe extern "C" fn closed(handle: *mut libuv_sys2::uv_handle_t) {
        // SAFETY: the row keeps the count while the loop runs.
        let closed = unsafe { uv::state::<Cell<u64>>((*handle).data) };
        closed.set(closed.get() + 1);
    }
    let lp = uv::Loop::new();
    let closed = Rc::new(Cell::new(0));
    move |units| {
        closed.set(0);
        // SAFETY: zeros are a value of this plain structure.
        let zero: uv_timer_t = unsafe { std::mem::zeroed() };
        let mut timers = vec![zero; units as usize];
        for timer in &mut timers {
            // SAFETY: the loop is open; the array outlives the run that closes all of it.
            uv::check(unsafe { uv_timer_init(lp.get(), timer) });
            timer.data = uv::data(&closed);
        }
        let begun = Instant::now();
        for (i, timer) in (0..).zip(&mut timers) {
            // SAFETY: the handle is open.
            uv::check(unsafe { uv_timer_start(timer, Some(fired), timeout(i), 0) });
        }
        lp.run_until_done();
        let each = each(begun, units);
        assert_eq!(closed.get(), units);
        each
    }
}

fn one_in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn never(_: *mut uv_timer_t) {}
    struct Timers {
        lp: uv::Loop,
        all: Vec<*mut uv_timer_t>,
    }
    impl Drop for Timers {
        fn drop(&mut self) {
            for &timer in &self.all {
                // SAFETY: it is open, and closed once.
                unsafe { uv::close(timer) };
            }
            self.lp.run_until_done();
        }
    }
    let mut timers = Timers { lp: uv::Loop::new(), all: Vec::new() };
    for i in 0..=OTHERS {
        let timer = uv::allocate::<uv_timer_t>();
        // SAFETY: the loop is open, the handle lives until closed.
        unsafe {
            uv::check(uv_timer_init(timers.lp.get(), timer));
            uv::check(uv_timer_start(timer, Some(never), far(i), 0));
        }
        timers.all.push(timer);
    }
    move |units| {
        let timer = timers.all[OTHERS as usize];
        let begun = Instant::now();
        for i in 0..units {
            // SAFETY: the handle is open.
            unsafe {
                uv::check(uv_timer_start(timer, Some(never), far(i * 31), 0));
                uv::check(uv_timer_stop(timer));
            }
        }
        each(begun, units)
    }
}
