//! Who gets a thread when there are not enough: files beside other work.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::work::{ThreadPool, WorkClass};
use blacklight::{Error, fs};

use super::{Gate, loop_with, with_pool};
use crate::tools::{finish, run_until};

#[test]
fn files_are_worked_on_while_other_work_holds_every_thread() {
    for threads in [1, 4] {
        let lp = loop_with(threads);
        let mut gate = Gate::new();
        gate.hold(&lp, threads);
        // More that waits before the file.
        let behind: Vec<_> = (0..100).map(|_| lp.queue_work(|| {}, |_| {}).unwrap()).collect();
        let done = Rc::new(Cell::new(0));
        for _ in 0..50 {
            let done = done.clone();
            fs::stat("/")
                .start(&lp, move |stat| {
                    stat.unwrap();
                    done.set(done.get() + 1);
                })
                .unwrap();
        }
        run_until(&lp, || done.get() == 50);
        assert!(behind.iter().all(|request| request.is_pending()));
        let statistics = lp.thread_pool().unwrap().statistics();
        assert_eq!((statistics.threads, statistics.by_reserve), (threads, 50));
        assert_eq!(statistics.class(WorkClass::User).running, threads);
        gate.open();
        finish(&lp);
    }
}

/// libuv's suite saturates the pool with work and then expects that file requests can be cancelled.
#[test]
fn without_the_reserve_files_wait_as_in_libuv() {
    let pool = ThreadPool::builder().threads(2).reserve_for_files(false).build().unwrap();
    let lp = with_pool(pool);
    let mut gate = Gate::new();
    gate.hold(&lp, 2);
    let canceled = Rc::new(Cell::new(false));
    let saw = canceled.clone();
    let stat = fs::stat("/")
        .start(&lp, move |stat| saw.set(stat.map(drop) == Err(Error::ECANCELED)))
        .unwrap();
    stat.cancel().unwrap();
    gate.open();
    finish(&lp);
    assert!(canceled.get());
    assert_eq!(lp.thread_pool().unwrap().statistics().by_reserve, 0);
}

#[test]
fn files_alone_have_no_more_threads_than_the_pool() {
    let lp = loop_with(2);
    for _ in 0..2_000 {
        fs::stat("/").start(&lp, |stat| assert!(stat.is_ok())).unwrap();
    }
    finish(&lp);
    let statistics = lp.thread_pool().unwrap().statistics();
    assert_eq!(statistics.by_reserve, 0);
    assert_eq!(statistics.class(WorkClass::File).begun, 2_000);
}
