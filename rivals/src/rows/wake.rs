//! Wake-ups between threads: a loop and the loops of one or eight threads wake each other in turns.
//!
//! Every thread has a loop of its own. The main thread wakes all of them, and wakes each again when
//! it has been woken by it; a unit is one wake-up there and one back.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use blacklight::{Async, AsyncSender, EventLoop, Handle, Options, RunMode};
use libuv_sys2::{uv_async_init, uv_async_send, uv_async_t};
use tokio::sync::Notify;

use super::tokio_runtime;
use crate::poll::{Epoll, eventfd};
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

pub(super) fn rows() -> Vec<Row> {
    let row = |threads: usize, name: &str| {
        Row::new(Group::Loop, format!("wake-up round trip, {name}"))
            .units(20_000)
            .goal(Goal::Against(Who::Libuv, 0.9))
            .entry(Who::Blacklight, move || in_blacklight(threads))
            .entry(Who::Libuv, move || in_libuv(threads))
            .entry(Who::Tokio, move || in_tokio(threads))
            .entry(Who::Floor, move || in_system_calls(threads))
    };
    vec![row(1, "1 thread"), row(8, "8 threads")]
}

/// Threads that are told to end, woken, and joined.
struct Threads {
    ending: Arc<AtomicBool>,
    wake: Vec<Box<dyn Fn()>>,
    joined: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new() -> Threads {
        Threads { ending: Arc::default(), wake: Vec::new(), joined: Vec::new() }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.wake.iter().for_each(|wake| wake());
        for thread in self.joined.drain(..) {
            thread.join().expect("it ended well");
        }
    }
}

/// The wake-ups that are still to be made and to be seen on the main thread.
#[derive(Default)]
struct Round {
    to_send: Cell<u64>,
    to_see: Cell<u64>,
}

impl Round {
    fn begin(&self, units: u64, threads: usize) {
        assert!(units >= threads as u64);
        self.to_send.set(units - threads as u64);
        self.to_see.set(units);
    }

    /// One was seen. Whether another is to be made.
    fn seen(&self) -> bool {
        self.to_see.set(self.to_see.get() - 1);
        let left = self.to_send.get();
        self.to_send.set(left.saturating_sub(1));
        left > 0
    }

    fn done(&self) -> bool {
        self.to_see.get() == 0
    }
}

fn in_blacklight(threads: usize) -> impl FnMut(u64) -> f64 {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let round = Rc::new(Round::default());
    let mut workers = Threads::new();
    let mut starts = Vec::<AsyncSender>::new();
    for _ in 0..threads {
        let to_worker: Rc<Cell<Option<AsyncSender>>> = Rc::default();
        let (seen, target) = (round.clone(), to_worker.clone());
        let back = Async::new(&lp, move |back| {
            if seen.seen() {
                let worker = target.take().expect("set below");
                worker.send().expect("it is open");
                target.set(Some(worker));
            } else if seen.done() {
                back.event_loop().stop();
            }
        })
        .expect("a handle");
        let (back, ending) = (back.sender().expect("it is open"), workers.ending.clone());
        let (tell, told) = mpsc::channel();
        workers.joined.push(std::thread::spawn(move || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let wake = Async::new(&lp, move |wake| {
                if ending.load(Ordering::Relaxed) {
                    wake.close();
                } else {
                    back.send().expect("it is open");
                }
            })
            .expect("a handle");
            tell.send(wake.sender().expect("it is open")).expect("somebody waits");
            lp.run(RunMode::Default).expect("the loop runs");
        }));
        let sender = told.recv().expect("the thread tells");
        to_worker.set(Some(sender.clone()));
        starts.push(sender.clone());
        workers.wake.push(Box::new(move || {
            let _closed = sender.send();
        }));
    }
    move |units| {
        let _alive = &workers;
        round.begin(units, starts.len());
        let begun = Instant::now();
        for start in &starts {
            start.send().expect("it is open");
        }
        lp.run(RunMode::Default).expect("the loop runs");
        each(begun, units)
    }
}

/// A handle that other threads may wake: the one thing libuv allows them.
#[derive(Clone, Copy)]
struct Wake(*mut uv_async_t);

// SAFETY: only uv_async_send is called, and the handle is closed after the threads are told to end.
unsafe impl Send for Wake {}
// SAFETY: as above.
unsafe impl Sync for Wake {}

impl Wake {
    fn send(self) {
        // SAFETY: the handle is open for as long as anybody wakes it.
        uv::check(unsafe { uv_async_send(self.0) });
    }
}

fn in_libuv(threads: usize) -> impl FnMut(u64) -> f64 {
    struct Pair {
        round: Rc<Round>,
        worker: Cell<Option<Wake>>,
    }
    struct Worker {
        back: Wake,
        ending: Arc<AtomicBool>,
    }
    unsafe extern "C" fn back(handle: *mut uv_async_t) {
        // SAFETY: `Main` keeps the pair; the handle is open.
        unsafe {
            let pair = uv::state::<Pair>((*handle).data);
            if pair.round.seen() {
                pair.worker.get().expect("set when the thread tells").send();
            } else if pair.round.done() {
                uv::stop_loop_of(handle);
            }
        }
    }
    unsafe extern "C" fn wake(handle: *mut uv_async_t) {
        // SAFETY: the thread keeps its state while its loop runs; the handle is open.
        unsafe {
            let worker = uv::state::<Worker>((*handle).data);
            if worker.ending.load(Ordering::Relaxed) {
                uv::close(handle);
            } else {
                worker.back.send();
            }
        }
    }
    /// Ends the threads before the handles they wake.
    struct Main {
        workers: Threads,
        backs: Vec<Wake>,
        pairs: Vec<Rc<Pair>>,
        lp: uv::Loop,
    }
    impl Drop for Main {
        fn drop(&mut self) {
            self.workers = Threads::new();
            for back in &self.backs {
                // SAFETY: it is open, and closed once.
                unsafe { uv::close(back.0) };
            }
            self.lp.run_until_done();
        }
    }
    fn handle<T>(
        lp: &uv::Loop,
        state: &Rc<T>,
        call: unsafe extern "C" fn(*mut uv_async_t),
    ) -> Wake {
        let handle = uv::allocate::<uv_async_t>();
        // SAFETY: the loop is open, the handle lives until closed.
        unsafe {
            uv::check(uv_async_init(lp.get(), handle, Some(call)));
            (*handle).data = uv::data(state);
        }
        Wake(handle)
    }

    let round = Rc::new(Round::default());
    let lp = uv::Loop::new();
    let mut main = Main { workers: Threads::new(), backs: Vec::new(), pairs: Vec::new(), lp };
    for _ in 0..threads {
        let pair = Rc::new(Pair { round: round.clone(), worker: Cell::new(None) });
        let back = handle(&main.lp, &pair, back);
        let ending = main.workers.ending.clone();
        let (tell, told) = mpsc::channel();
        main.workers.joined.push(std::thread::spawn(move || {
            let worker = Rc::new(Worker { back, ending });
            let lp = uv::Loop::new();
            tell.send(handle(&lp, &worker, wake)).expect("somebody waits");
            lp.run_until_done();
        }));
        let worker = told.recv().expect("the thread tells");
        pair.worker.set(Some(worker));
        main.workers.wake.push(Box::new(move || worker.send()));
        main.backs.push(back);
        main.pairs.push(pair);
    }
    move |units| {
        round.begin(units, main.pairs.len());
        let begun = Instant::now();
        for pair in &main.pairs {
            pair.worker.get().expect("set above").send();
        }
        main.lp.run_until_done();
        each(begun, units)
    }
}

fn in_tokio(threads: usize) -> impl FnMut(u64) -> f64 {
    let runtime = tokio_runtime();
    let mut workers = Threads::new();
    let mut pairs = Vec::<(Arc<Notify>, Arc<Notify>)>::new();
    for _ in 0..threads {
        let (wake, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        pairs.push((wake.clone(), back.clone()));
        let (waking, ending) = (wake.clone(), workers.ending.clone());
        workers.wake.push(Box::new(move || waking.notify_one()));
        workers.joined.push(std::thread::spawn(move || {
            tokio_runtime().block_on(async {
                loop {
                    wake.notified().await;
                    if ending.load(Ordering::Relaxed) {
                        return;
                    }
                    back.notify_one();
                }
            });
        }));
    }
    move |units| {
        let _alive = &workers;
        let round = Rc::new(Round::default());
        round.begin(units, pairs.len());
        let local = tokio::task::LocalSet::new();
        let begun = Instant::now();
        local.block_on(&runtime, async {
            let over = Rc::new(Notify::new());
            for (wake, back) in pairs.clone() {
                let (round, over) = (round.clone(), over.clone());
                wake.notify_one();
                tokio::task::spawn_local(async move {
                    loop {
                        back.notified().await;
                        if round.seen() {
                            wake.notify_one();
                        } else {
                            if round.done() {
                                over.notify_one();
                            }
                            return;
                        }
                    }
                });
            }
            over.notified().await;
        });
        each(begun, units)
    }
}

fn in_system_calls(threads: usize) -> impl FnMut(u64) -> f64 {
    fn ring(bell: &OwnedFd) {
        crate::poll::write(bell.as_raw_fd(), &1u64.to_ne_bytes());
    }
    fn hear(bell: i32) {
        crate::poll::read(bell, &mut [0; 8]);
    }
    let mut epoll = Epoll::new();
    let mut workers = Threads::new();
    let mut pairs = Vec::<(Arc<OwnedFd>, Arc<OwnedFd>)>::new();
    for _ in 0..threads {
        let (wake, back) = (Arc::new(eventfd()), Arc::new(eventfd()));
        epoll.watch(back.as_fd(), libc::EPOLLIN);
        pairs.push((wake.clone(), back.clone()));
        let (waking, ending) = (wake.clone(), workers.ending.clone());
        workers.wake.push(Box::new(move || ring(&waking)));
        workers.joined.push(std::thread::spawn(move || {
            let mut epoll = Epoll::new();
            epoll.watch(wake.as_fd(), libc::EPOLLIN);
            while !ending.load(Ordering::Relaxed) {
                for (bell, _) in epoll.wait(-1) {
                    hear(bell);
                    ring(&back);
                }
            }
        }));
    }
    move |units| {
        let _alive = &workers;
        let round = Round::default();
        round.begin(units, pairs.len());
        let begun = Instant::now();
        pairs.iter().for_each(|(wake, _)| ring(wake));
        while !round.done() {
            for (bell, _) in epoll.wait(-1) {
                hear(bell);
                if round.seen() {
                    let pair = pairs.iter().find(|(_, back)| back.as_raw_fd() == bell);
                    ring(&pair.expect("one of ours").0);
                }
            }
        }
        each(begun, units)
    }
}
