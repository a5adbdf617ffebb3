//! Workers: how they end, what they leave behind, and who is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests assert by panicking"
)]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use blacklight::prelude::*;
use blacklight::{Error, Worker, WorkerError, WorkerRef};
use support::{children, isolated, open_fds};

/// A worker that only waits, and says when it does so for the first time.
fn waiting() -> Worker {
    let (ready, is_ready) = mpsc::channel();
    let worker = Worker::spawn(move |lp, _| {
        let _for_ever = Async::new(lp, |_| {})?;
        let prepare = Prepare::new(lp)?;
        prepare.start(move |_| {
            let _ = ready.send(());
        })?;
        lp.run(RunMode::Default)?;
        Ok(99)
    })
    .unwrap();
    is_ready.recv().unwrap();
    worker
}

#[test]
fn the_function_decides_the_exit_code() {
    assert_eq!(Worker::spawn(|_, _| Ok(7)).unwrap().join().unwrap(), 7);
}

#[test]
fn an_error_of_the_function_is_an_error_value() {
    let result = Worker::spawn(|_, _| Err(Error::ENOENT)).unwrap().join();
    assert!(matches!(result, Err(WorkerError::Failed(Error::ENOENT))));
    assert_eq!(result.unwrap_err().to_string(), "worker failed: ENOENT: no such file or directory");
}

#[test]
fn stopped_while_it_waits_for_events() {
    let worker = waiting();
    assert!(worker.result().is_none());
    worker.stop(4);
    assert_eq!(worker.join().unwrap(), 4);
}

#[test]
fn stopped_while_its_turns_never_wait() {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    let worker = Worker::spawn(move |lp, _| {
        let idle = Idle::new(lp)?;
        idle.start(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })?;
        lp.run(RunMode::Default)?;
        Ok(0)
    })
    .unwrap();
    while turns.load(Ordering::Relaxed) < 100 {
        std::thread::yield_now();
    }
    worker.stop(5);
    assert_eq!(worker.join().unwrap(), 5);
}

#[test]
fn the_first_stop_decides_and_a_late_one_changes_nothing() {
    let worker = waiting();
    let handle = worker.handle();
    handle.stop(1);
    handle.stop(2);
    assert!(handle.is_stopping());
    assert_eq!(worker.join().unwrap(), 1);
    handle.stop(3);
    assert!(matches!(handle.result(), Some(Ok(1))));
}

#[test]
fn exit_inside_a_callback_is_the_last_thing_it_calls() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let worker = Worker::spawn(move |lp, own| {
        for _ in 0..10 {
            let (counted, own) = (counted.clone(), own.clone());
            let timer = Timer::new(lp)?;
            timer.start(0, 0, move |_| {
                own.stop(6);
                // The callback itself goes on.
                counted.fetch_add(1, Ordering::Relaxed);
            })?;
        }
        assert!(lp.run(RunMode::Default)?);
        assert!(lp.run(RunMode::Default)?, "the loop stays halted");
        Ok(0)
    })
    .unwrap();
    assert_eq!(worker.join().unwrap(), 6);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn exit_before_run_keeps_it_from_running() {
    let worker = Worker::spawn(|lp, own| {
        own.stop(8);
        Timer::new(lp)?.start(0, 0, |_| panic!("called"))?;
        lp.run(RunMode::Default)?;
        Ok(0)
    });
    assert_eq!(worker.unwrap().join().unwrap(), 8);
}

#[test]
fn a_panic_in_a_callback_is_an_error_value_with_the_payload() {
    let worker = Worker::builder()
        .name("panics")
        .spawn(|lp, _| {
            Timer::new(lp)?.start(0, 0, |_| std::panic::panic_any("on purpose".to_owned()))?;
            lp.run(RunMode::Default)?;
            Ok(0)
        })
        .unwrap();
    let Err(WorkerError::Panicked(panic)) = worker.join() else { panic!("no panic reported") };
    assert_eq!(panic.message(), "on purpose");
    let payload = panic.clone().take_payload().unwrap();
    assert_eq!(*payload.downcast::<String>().unwrap(), "on purpose");
    assert!(panic.take_payload().is_none());
}

#[test]
fn a_panic_while_the_loop_is_dropped_is_reported_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let worker = Worker::spawn(|lp, own| {
        let bomb = Bomb;
        let timer = Timer::new(lp)?;
        timer.start(60_000, 0, move |_| {
            let _bomb = &bomb;
        })?;
        own.stop(0);
        lp.run(RunMode::Default)?;
        Ok(0)
    });
    let Err(WorkerError::Panicked(panic)) = worker.unwrap().join() else { panic!("no panic") };
    assert_eq!(panic.message(), "in drop");
}

#[test]
fn closures_are_dropped_on_the_workers_thread_before_its_end_is_told() {
    struct Tell(mpsc::Sender<std::thread::ThreadId>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }
    let (tell, told) = mpsc::channel();
    let worker = Worker::spawn(move |lp, own| {
        let here = std::thread::current().id();
        let _ = tell.send(here);
        let tell = Tell(tell);
        Async::new(lp, move |_| {
            let _tell = &tell;
        })?;
        own.stop(0);
        Ok(0)
    })
    .unwrap();
    let lp = EventLoop::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    worker.on_exit(&lp, move |_| noted.borrow_mut().extend(told.try_iter())).unwrap();
    lp.run(RunMode::Default).unwrap();
    let seen = seen.borrow();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], std::thread::current().id());
}

#[test]
fn the_end_is_an_event_of_the_parents_loop_which_it_keeps_alive() {
    let lp = EventLoop::new().unwrap();
    let worker = waiting();
    let told = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..2 {
        let told = told.clone();
        worker.on_exit(&lp, move |result| told.borrow_mut().push(result.unwrap())).unwrap();
    }
    let handle = worker.handle();
    let timer = Timer::new(&lp).unwrap();
    timer.start(1, 0, move |_| handle.stop(12)).unwrap();
    assert!(!lp.run(RunMode::Default).unwrap());
    assert_eq!(*told.borrow(), [12, 12]);
    assert_eq!(worker.join().unwrap(), 12);
}

#[test]
fn an_end_that_has_come_already_is_told_as_well() {
    let lp = EventLoop::new().unwrap();
    let worker = Worker::spawn(|_, _| Ok(1)).unwrap();
    let handle = worker.handle();
    while handle.result().is_none() {
        std::thread::yield_now();
    }
    let told = Rc::new(RefCell::new(None));
    let noted = told.clone();
    let waits = worker.on_exit(&lp, move |result| *noted.borrow_mut() = Some(result)).unwrap();
    assert!(told.borrow().is_none(), "never from inside the call");
    lp.run(RunMode::Default).unwrap();
    assert!(matches!(*told.borrow(), Some(Ok(1))));
    assert!(waits.is_closing());
}

#[test]
fn a_closed_or_unreferenced_wait_does_not_hold_the_loop() {
    let lp = EventLoop::new().unwrap();
    let worker = waiting();
    worker.on_exit(&lp, |_| panic!("forgotten")).unwrap().close();
    worker.on_exit(&lp, |_| panic!("the loop is over")).unwrap().unreference();
    assert!(!lp.run(RunMode::Default).unwrap());
    drop(lp);
    worker.stop(0);
    assert_eq!(worker.join().unwrap(), 0);
}

#[test]
fn a_dropped_worker_goes_on_until_somebody_stops_it() {
    let worker = waiting();
    let handle = worker.handle();
    drop(worker);
    assert!(handle.result().is_none() && !handle.is_stopping());
    handle.stop(2);
    while handle.result().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn name_and_stack_are_those_asked_for() {
    let worker = Worker::builder()
        .name("blue")
        .stack_size(1 << 20)
        .spawn(|_, _| {
            assert_eq!(std::thread::current().name(), Some("blue"));
            let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(comm, "blue\n");
            Ok(0)
        })
        .unwrap();
    assert_eq!(worker.join().unwrap(), 0);
    let refused = Worker::builder().name("a\0b").spawn(|_, _| Ok(0));
    assert_eq!(refused.map(|_| ()), Err(Error::EINVAL));
}

#[test]
fn messages_go_through_a_channel_and_an_async_each_way() {
    let (to_worker, from_parent) = mpsc::channel::<u32>();
    let (to_parent, from_worker) = mpsc::channel::<u32>();
    let lp = EventLoop::new().unwrap();
    let sum = Rc::new(RefCell::new(0));
    let noted = sum.clone();
    let inbox = Async::new(&lp, move |inbox| {
        for n in from_worker.try_iter() {
            *noted.borrow_mut() += n;
            if n == 200 {
                inbox.close();
            }
        }
    })
    .unwrap();
    let reply = inbox.sender().unwrap();
    let (give, take) = mpsc::channel();
    let worker = Worker::spawn(move |lp, _| {
        let inbox = Async::new(lp, move |_| {
            for n in from_parent.try_iter() {
                let _ = to_parent.send(2 * n);
                let _ = reply.send();
            }
        })?;
        let _ = give.send(inbox.sender()?);
        lp.run(RunMode::Default)?;
        Ok(0)
    })
    .unwrap();
    let wake = take.recv().unwrap();
    for n in 1..=100 {
        to_worker.send(n).unwrap();
        wake.send().unwrap();
    }
    lp.run(RunMode::Default).unwrap();
    assert_eq!(*sum.borrow(), 10_100);
    worker.stop(0);
    worker.join().unwrap();
}

#[test]
fn fifty_workers_leave_no_descriptor_and_no_thread() {
    isolated(|| {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        // Whatever is made once per process.
        let first = waiting();
        first.stop(0);
        first.join().unwrap();
        while threads() > 2 {
            std::thread::yield_now();
        }
        let before = open_fds();
        let workers: Vec<Worker> = (0..50).map(|_| waiting()).collect();
        for (code, worker) in workers.iter().enumerate() {
            worker.stop(code as i32);
        }
        for (code, worker) in workers.into_iter().enumerate() {
            assert_eq!(worker.join().unwrap(), code as i32);
        }
        assert_eq!(open_fds(), before);
        // A joined thread leaves the list a moment later: the test's main thread and this one stay.
        while threads() > 2 {
            std::thread::yield_now();
        }
    });
}

#[test]
fn children_of_a_stopped_worker_are_waited_for() {
    isolated(|| {
        let (give, take) = mpsc::channel();
        let worker = Worker::spawn(move |lp, _| {
            // One has ended, one ends later.
            let quick = Command::new("true").spawn(lp, |_, _| {})?;
            let slow = Command::new("sleep").arg("1000").spawn(lp, |_, _| {})?;
            let prepare = Prepare::new(lp)?;
            prepare.start(move |_| {
                let _ = give.send((quick.pid(), slow.pid()));
            })?;
            lp.run(RunMode::Default)?;
            Ok(0)
        })
        .unwrap();
        let (_, slow) = take.recv().unwrap();
        worker.stop(0);
        worker.join().unwrap();
        // It lives still, as a child of a Node worker does, and nobody has it as a handle.
        blacklight::kill(slow, blacklight::signal_number("SIGKILL").unwrap()).unwrap();
        // The reaper's thread works on its own; it is done when no child is left.
        while !children().is_empty() {
            std::thread::yield_now();
        }
    });
}

#[test]
#[allow(unsafe_code, reason = "limits have no safe form in the standard library")]
fn a_worker_that_cannot_be_made_is_an_error() {
    isolated(|| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the struct outlives both calls.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = 3;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
        let refused = Worker::spawn(|_, _| Ok(0));
        assert_eq!(refused.map(|_| ()), Err(Error::EMFILE));
    });
}

#[test]
fn references_cross_threads() {
    fn sent<T: Send + Sync + 'static>() {}
    sent::<WorkerRef>();
    sent::<WorkerError>();
    fn moved<T: Send>() {}
    moved::<Worker>();
}
