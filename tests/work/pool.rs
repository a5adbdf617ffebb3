//! The pool itself: its threads, its size, what it counts.

use std::sync::Arc;
use std::thread;

use blacklight::prelude::*;
use blacklight::work::{ThreadPool, WorkClass};
use blacklight::{Error, Options};

use super::{Gate, loop_with, with_pool};
use crate::support::isolated;
use crate::support::process::until;
use crate::tools::finish;

/// The names of this process's threads that a pool has started.
fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

#[test]
fn threads_are_started_as_work_needs_them_and_end_with_the_pool() {
    isolated(|| {
        let pool = ThreadPool::builder().threads(3).name("named-so").build().unwrap();
        assert_eq!(threads_named("named-so"), 0);
        let lp = with_pool(pool.clone());
        let mut gate = Gate::new();
        gate.hold(&lp, 2);
        until(|| threads_named("named-so") == 2);
        assert_eq!(pool.statistics().threads, 2);
        gate.open();
        finish(&lp);
        drop(lp);
        assert_eq!(threads_named("named-so"), 2, "the pool is referred to");
        drop(pool);
        until(|| threads_named("named-so") == 0);
    });
}

/// The pool's threads sleep by parking, and works may unpark the thread that they are on.
#[test]
fn work_that_unparks_its_own_thread_leaves_the_pool_in_order() {
    isolated(|| {
        let pool = ThreadPool::builder().threads(2).build().unwrap();
        let (one, other) = (with_pool(pool.clone()), with_pool(pool.clone()));
        for _ in 0..200 {
            one.queue_work(|| thread::current().unpark(), |_| {}).unwrap();
            other.queue_work(|| thread::current().unpark(), |_| {}).unwrap();
            finish(&one);
            finish(&other);
        }
        assert_eq!(pool.statistics().class(WorkClass::User).begun, 400);
    });
}

/// libuv: UV_THREADPOOL_SIZE is read at first use; the pool is process-wide.
#[test]
fn the_environment_sets_the_size_of_the_pool_of_the_process() {
    isolated(|| {
        // SAFETY: the test has this process, and its one busy thread, to itself.
        unsafe { std::env::set_var("UV_THREADPOOL_SIZE", "2") };
        let (one, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
        assert_eq!(one.thread_pool(), other.thread_pool());
        assert_eq!(one.thread_pool(), ThreadPool::global());
        assert_eq!(ThreadPool::global().unwrap().size(), 2);
        let mut gate = Gate::new();
        gate.hold(&one, 2);
        let waits = other.queue_work(|| {}, |_| {}).unwrap();
        assert_eq!(waits.cancel(), Ok(()), "the other loop's work holds both threads");
        // SAFETY: as above.
        unsafe { std::env::set_var("UV_THREADPOOL_SIZE", "8") };
        assert_eq!(ThreadPool::global().unwrap().size(), 2, "read once");
        gate.open();
        finish(&one);
        finish(&other);
    });
}

#[test]
fn four_threads_with_eight_mebibytes_of_stack_are_the_default() {
    isolated(|| {
        // SAFETY: the test has this process, and its one busy thread, to itself.
        unsafe { std::env::remove_var("UV_THREADPOOL_SIZE") };
        assert_eq!(ThreadPool::global().unwrap().size(), 4);
        let lp = EventLoop::new().unwrap();
        // More than the two mebibytes that threads have otherwise.
        fn deep(left: usize) -> usize {
            let page = std::hint::black_box([1u8; 4096]);
            if left == 0 { 0 } else { deep(left - 1) + usize::from(page[left % 4096]) }
        }
        lp.queue_work(|| deep(600), |depth| assert_eq!(depth.unwrap(), 600)).unwrap();
        lp.queue_work(
            || thread::current().name().map(str::to_owned),
            |name| assert_eq!(name.unwrap().as_deref(), Some("blacklight-work")),
        )
        .unwrap();
        finish(&lp);
    });
}

#[test]
fn the_number_of_threads_is_kept_within_limits_and_names_with_nul_are_refused() {
    for (asked, given) in [(0, 1), (1, 1), (1024, 1024), (usize::MAX, 1024)] {
        assert_eq!(ThreadPool::builder().threads(asked).build().unwrap().size(), given);
    }
    let refused = ThreadPool::builder().name("a\0b").build();
    assert_eq!(refused.map(drop), Err(Error::EINVAL));
}

#[test]
fn no_signal_is_handled_on_a_thread_of_the_pool() {
    let lp = loop_with(1);
    lp.queue_work(
        || {
            crate::support::process::status_line(
                &std::fs::read_to_string("/proc/thread-self/status").unwrap(),
                "SigBlk",
            )
        },
        |mask| {
            let mask = u64::from_str_radix(&mask.unwrap(), 16).unwrap();
            let of = |signum: i32| mask >> (signum - 1) & 1;
            assert_eq!((of(libc::SIGTERM), of(libc::SIGCHLD), of(libc::SIGKILL)), (1, 1, 0));
        },
    )
    .unwrap();
    finish(&lp);
}

#[test]
fn waits_are_counted_by_class() {
    let lp = loop_with(1);
    let mut gate = Gate::new();
    gate.hold(&lp, 1);
    let waiting: Vec<_> = (0..5).map(|_| lp.queue_work(|| {}, |_| {}).unwrap()).collect();
    waiting[0].cancel().unwrap();
    let pool = lp.thread_pool().unwrap();
    let user = *pool.statistics().class(WorkClass::User);
    assert_eq!((user.queued, user.running, user.begun, user.canceled), (4, 1, 1, 1));
    gate.open();
    finish(&lp);
    let user = *pool.statistics().class(WorkClass::User);
    assert_eq!((user.queued, user.begun, user.canceled), (0, 5, 1));
    assert_eq!(user.histogram.iter().sum::<u64>(), 5);
    assert!(user.longest_wait > std::time::Duration::ZERO && user.waited >= user.longest_wait);
    assert_eq!(pool.statistics().class(WorkClass::File).begun, 0);
}

#[test]
fn options_with_a_pool_are_equal_if_it_is_the_same() {
    let pool = ThreadPool::builder().build().unwrap();
    let with =
        |pool: &ThreadPool| Options { thread_pool: Some(pool.clone()), ..Options::default() };
    assert_eq!(with(&pool), with(&pool));
    assert_ne!(with(&pool), with(&ThreadPool::builder().build().unwrap()));
    assert_ne!(with(&pool), Options::default());
}

#[test]
fn several_loops_on_several_threads_share_a_pool() {
    let pool = ThreadPool::builder().threads(2).build().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || {
                let lp = with_pool(pool);
                let sum = std::rc::Rc::new(std::cell::Cell::new(0));
                for i in 0..500u32 {
                    let sum = sum.clone();
                    lp.queue_work(move || i, move |i| sum.set(sum.get() + i.unwrap())).unwrap();
                }
                finish(&lp);
                assert_eq!(sum.get(), (0..500).sum::<u32>());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(pool.statistics().class(WorkClass::User).begun, 2_000);
    let alive = Arc::new(());
    drop((pool, alive));
}
