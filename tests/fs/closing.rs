//! Closing a file, and cancelling what has been asked of it.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::channel;

use blacklight::fs::{self, File, OpenFlags};
use blacklight::work::{RequestKind, ThreadPool};
use blacklight::{Error, EventLoop, Options, RunMode};

use crate::support::process::{Scratch, until};
use crate::support::{isolated, open_fds};
use crate::tools::finish;
use crate::{both_ways, warm_loop};

/// A loop whose one thread for everything can be held still.
fn small_loop() -> EventLoop {
    let pool = ThreadPool::builder().threads(1).reserve_for_files(false).build().unwrap();
    let options =
        Options { thread_pool: Some(pool), io_uring: false, ..Options::from_env().unwrap() };
    EventLoop::with_options(options).unwrap()
}

#[test]
fn after_a_close_every_operation_is_ebadf() {
    let lp = EventLoop::new().unwrap();
    both_ways!(done => {
        let file = fs::open("/dev/null", OpenFlags::READ_WRITE, 0).run().unwrap();
        done!(file.close()).unwrap();
        let bad = Err(Error::EBADF);
        assert_eq!(file.close().run(), bad);
        assert_eq!(file.read(vec![0; 1], None).run().result, Err(Error::EBADF));
        assert_eq!(file.write_vectored(vec!["x"], None).run().result, Err(Error::EBADF));
        assert_eq!(file.stat().run().map(drop), bad);
        assert_eq!(fs::sendfile(&file, &file, 0, 1).run().map(drop), bad);
        assert_eq!(file.fileno().map(drop), bad);
        assert_eq!(file.disown().map(drop), bad);
        // Told at once by the other form.
        assert_eq!(file.close().start(&lp, |_| {}).map(drop), bad);
        assert_eq!(file.read(vec![0; 1], None).start(&lp, |_| {}).map(drop), bad);
        for operation in [
            file.sync(), file.sync_data(), file.truncate(0), file.chmod(0), file.chown(0, 0),
            file.set_times(fs::FileTime::Now, fs::FileTime::Now),
        ] {
            assert_eq!(operation.start(&lp, |_| {}).map(drop), bad);
        }
    });
    assert!(!lp.is_alive());
}

#[test]
fn a_close_waits_for_the_operations_under_way_and_tells_when_it_is_done() {
    isolated(|| {
        let lp = warm_loop();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let before = open_fds().len();
        let file = File::from(OwnedFd::from(reader));
        let log = Rc::new(RefCell::new(Vec::new()));
        let (one, other) = (log.clone(), log.clone());
        // A read that blocks a thread of the pool.
        file.read(vec![0; 1], None)
            .start(&lp, move |read| one.borrow_mut().push(("read", read.result.map(drop))))
            .unwrap();
        file.close().start(&lp, move |closed| other.borrow_mut().push(("close", closed))).unwrap();
        // The close has had its turn, and has not closed.
        until(|| {
            lp.run(RunMode::NoWait).unwrap();
            file.fileno().is_err()
        });
        assert!(log.borrow().is_empty());
        assert_eq!(open_fds().len(), before, "open for the reader");
        writer.write_all(b"x").unwrap();
        finish(&lp);
        log.borrow_mut().sort_unstable_by_key(|(what, _)| *what);
        assert_eq!(*log.borrow(), [("close", Ok(())), ("read", Ok(()))]);
        assert_eq!(open_fds().len(), before - 1);
    });
}

#[test]
fn a_close_done_here_waits_for_operations_of_other_threads() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(reader));
    let (begins, begun) = channel();
    let operation = file.read(vec![0; 1], None);
    let thread = std::thread::spawn(move || {
        begins.send(()).unwrap();
        operation.run().result
    });
    begun.recv().unwrap();
    let closer = std::thread::spawn(move || file.close().run());
    writer.write_all(b"x").unwrap();
    assert_eq!(thread.join().unwrap(), Ok(1));
    assert_eq!(closer.join().unwrap(), Ok(()));
}

/// uv_cancel: a request that waits ends with ECANCELED in its callback; one that runs is EBUSY.
#[test]
fn operations_can_be_cancelled_while_they_wait_and_give_back_what_they_own() {
    let scratch = Scratch::new();
    let lp = small_loop();
    let file = File::from(std::fs::File::create_new(scratch.join("file")).unwrap());
    let (go, wait) = channel::<()>();
    let holding = lp.queue_work(move || wait.recv().is_ok(), |_| {}).unwrap();
    let count = Rc::new(Cell::new(0));
    let mut requests = Vec::new();
    let seen = count.clone();
    requests.push(
        file.write(vec![7; 9], None)
            .start(&lp, move |written| {
                assert_eq!((written.result, written.buffer), (Err(Error::ECANCELED), vec![7; 9]));
                seen.set(seen.get() + 1);
            })
            .unwrap(),
    );
    let seen = count.clone();
    requests.push(
        file.close()
            .start(&lp, move |closed| {
                assert_eq!(closed, Err(Error::ECANCELED));
                seen.set(seen.get() + 1);
            })
            .unwrap(),
    );
    let seen = count.clone();
    requests.push(
        fs::unlink(scratch.join("file"))
            .start(&lp, move |removed| {
                assert_eq!(removed, Err(Error::ECANCELED));
                seen.set(seen.get() + 1);
            })
            .unwrap(),
    );
    for request in &requests {
        assert_eq!((request.kind(), request.kind().name()), (RequestKind::Fs, "fs"));
        assert_eq!(request.cancel(), Ok(()));
        assert_eq!(request.cancel(), Err(Error::EBUSY));
    }
    assert_eq!(count.get(), 0);
    go.send(()).unwrap();
    finish(&lp);
    assert_eq!(count.get(), 3);
    assert_eq!(holding.cancel(), Err(Error::EBUSY));
    // Neither removed nor closed.
    assert_eq!(file.stat().run().unwrap().nlink, 1);
}

#[test]
fn a_cancel_storm_tells_each_request_once() {
    let lp = EventLoop::new().unwrap();
    let count = Rc::new(Cell::new((0, 0)));
    let mut canceled = 0;
    for round in 0..20 {
        let requests: Vec<_> = (0..500)
            .map(|_| {
                let count = count.clone();
                fs::stat("/")
                    .start(&lp, move |stat| {
                        let (done, canceled) = count.get();
                        count.set(match stat {
                            Ok(_) => (done + 1, canceled),
                            Err(Error::ECANCELED) => (done, canceled + 1),
                            Err(error) => panic!("{error}"),
                        });
                    })
                    .unwrap()
            })
            .collect();
        if round % 2 == 0 {
            lp.run(RunMode::NoWait).unwrap();
        }
        canceled += requests.iter().rev().filter(|request| request.cancel().is_ok()).count();
    }
    finish(&lp);
    let (done, told) = count.get();
    assert_eq!(done + told, 10_000);
    if lp.metrics().requests_to_ring == 0 {
        assert_eq!(told, canceled);
    } else {
        // One that the kernel has begun may come to it although it was too late to ask for it.
        assert!(told >= canceled, "{told} of {canceled}");
    }
}

#[test]
fn a_loop_dropped_under_operations_closes_what_they_opened() {
    isolated(|| {
        let before = open_fds();
        for _ in 0..100 {
            let lp = EventLoop::new().unwrap();
            let file = fs::open("/dev/zero", OpenFlags::READ_ONLY, 0).run().unwrap();
            fs::open("/dev/null", OpenFlags::READ_ONLY, 0).start(&lp, |_| {}).unwrap();
            file.read(vec![0; 100_000], None).start(&lp, |_| {}).unwrap();
            file.close().start(&lp, |_| {}).unwrap();
        }
        until(|| open_fds() == before);
    });
}
