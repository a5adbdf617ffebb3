//! The `Poll` handle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Result};
use support::Log;
use tools::{TempPath, Tokens, finish};

type Seen = Rc<RefCell<Vec<Result<PollEvents>>>>;

/// A watcher that writes down what it is told.
fn recorder(poll: &Poll, events: PollEvents) -> Seen {
    let seen = Seen::default();
    let s = seen.clone();
    poll.start(events, move |_, events| s.borrow_mut().push(events)).unwrap();
    seen
}

fn turn(lp: &EventLoop) {
    lp.run(RunMode::NoWait).unwrap();
}

#[test]
fn reports_what_is_asked_for_as_long_as_it_lasts() {
    let lp = EventLoop::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let one = Rc::new(one);
    let poll = Poll::new(&lp, one.clone()).unwrap();
    assert_eq!(poll.fileno(), Ok(one.as_raw_fd()));
    let seen = recorder(&poll, PollEvents::READABLE);
    turn(&lp);
    assert_eq!(seen.take(), []);
    other.write_all(b"xy").unwrap();
    turn(&lp);
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::READABLE); 2], "level-triggered");
    (&*one).read_exact(&mut [0; 2]).unwrap();
    turn(&lp);
    assert_eq!(seen.take(), []);

    let seen = recorder(&poll, PollEvents::READABLE | PollEvents::WRITABLE);
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::WRITABLE)]);
    other.write_all(b"z").unwrap();
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::READABLE | PollEvents::WRITABLE)]);
    let seen = recorder(&poll, PollEvents::WRITABLE);
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::WRITABLE)], "the new events, not the old ones");
    poll.stop();
    turn(&lp);
    assert_eq!(seen.take(), []);
}

#[test]
fn tells_a_disconnect_from_data() {
    let lp = EventLoop::new().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let poll = Poll::new(&lp, one).unwrap();
    let seen = recorder(&poll, PollEvents::DISCONNECT);
    turn(&lp);
    assert_eq!(seen.take(), []);
    other.shutdown(Shutdown::Write).unwrap();
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::DISCONNECT)]);
}

/// A hang-up comes without EPOLLIN on an empty pipe; one who asked to read must learn of it.
#[test]
fn a_hang_up_wakes_a_reader() {
    let lp = EventLoop::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let poll = Poll::new(&lp, reader).unwrap();
    let seen = recorder(&poll, PollEvents::READABLE);
    drop(writer);
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::READABLE)]);
}

#[test]
fn reports_the_urgent_byte_of_tcp() {
    let lp = EventLoop::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let poll = Poll::new(&lp, server).unwrap();
    let seen = Seen::default();
    let s = seen.clone();
    poll.start(PollEvents::PRIORITIZED, move |poll, events| {
        s.borrow_mut().push(events);
        poll.stop();
    })
    .unwrap();
    // SAFETY: one byte that outlives the call.
    let sent = unsafe { libc::send(client.as_raw_fd(), c"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    finish(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::PRIORITIZED)]);
}

#[test]
fn an_error_alone_is_ebadf_and_ends_the_watch() {
    let lp = EventLoop::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (pipe, tokens) = (Pipe::new(&lp).unwrap(), Tokens::new());
    pipe.open(writer.try_clone().unwrap()).unwrap();
    tools::fill(&pipe);
    let poll = Poll::new(&lp, writer).unwrap();
    let (seen, token) = (Seen::default(), tokens.one());
    let s = seen.clone();
    poll.start(PollEvents::WRITABLE, move |poll, events| {
        token.keep();
        s.borrow_mut().push(events);
        assert!(!poll.is_active());
    })
    .unwrap();
    turn(&lp);
    assert_eq!(seen.take(), [], "it is full");
    drop(reader);
    finish(&lp);
    assert_eq!(seen.take(), [Err(Error::EBADF)]);
    assert_eq!(tokens.alive(), 0);
}

#[test]
fn a_descriptor_has_one_watcher_per_loop() {
    let lp = EventLoop::new().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Rc::new(reader);
    let one = Poll::new(&lp, reader.clone()).unwrap();
    let two = Poll::new(&lp, reader.clone()).unwrap();
    let seen = recorder(&one, PollEvents::READABLE);
    let refused = two.start(PollEvents::READABLE, |_, _| panic!("refused"));
    assert_eq!(refused, Err(Error::EEXIST));
    assert!(!two.is_active());
    // Another loop may watch it as well.
    let other = EventLoop::new().unwrap();
    let elsewhere = Poll::new(&other, reader).unwrap();
    let seen_elsewhere = recorder(&elsewhere, PollEvents::READABLE);
    writer.write_all(b"x").unwrap();
    turn(&lp);
    turn(&other);
    assert_eq!((seen.take().len(), seen_elsewhere.take().len()), (1, 1));
    // Closed, it makes room for the next at once.
    one.close();
    let seen = recorder(&two, PollEvents::READABLE);
    turn(&lp);
    assert_eq!(seen.take(), [Ok(PollEvents::READABLE)]);
}

#[test]
fn a_regular_file_cannot_be_watched() {
    let lp = EventLoop::new().unwrap();
    let path = TempPath::new();
    let file = std::fs::File::create(path.path()).unwrap();
    let poll = Poll::new(&lp, file).unwrap();
    let started = poll.start(PollEvents::READABLE, |_, _| panic!("not started"));
    assert_eq!(started, Err(Error::EPERM));
    assert!(!poll.is_active() && !lp.is_alive());
}

#[test]
fn no_events_at_all_means_stop() {
    let lp = EventLoop::new().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let (poll, tokens) = (Poll::new(&lp, reader).unwrap(), Tokens::new());
    let token = tokens.one();
    poll.start(PollEvents::READABLE, move |_, _| token.keep()).unwrap();
    poll.start(PollEvents::empty(), |_, _| {}).unwrap();
    assert_eq!((poll.is_active(), lp.is_alive(), tokens.alive()), (false, false, 0));
}

/// libuv#5039 (B32): the event of a handle that an earlier callback of the batch stopped or closed
/// was delivered all the same.
#[test]
fn events_fetched_for_one_that_is_stopped_or_closed_meanwhile_are_dropped() {
    for what in ["stop", "close", "restart", "replace"] {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let mut polls: Vec<Poll> = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (one, mut other) = UnixStream::pair().unwrap();
            other.write_all(b"x").unwrap();
            polls.push(Poll::new(&lp, one).unwrap());
            kept.push(other);
        }
        // Whichever comes first does it to the other.
        for (me, other) in [(0, 1), (1, 0)] {
            let (l, victim) = (log.clone(), polls[other].clone());
            polls[me]
                .start(PollEvents::READABLE, move |me, _| {
                    l.add("first");
                    me.stop();
                    let l = l.clone();
                    match what {
                        "stop" => victim.stop(),
                        "close" => victim.close(),
                        "restart" => {
                            victim.stop();
                            victim
                                .start(PollEvents::READABLE, move |victim, _| {
                                    let turns = victim.event_loop().metrics().turns;
                                    l.add(format!("restarted, turn {turns}"));
                                    victim.stop();
                                })
                                .unwrap();
                        }
                        _ => victim
                            .start(PollEvents::READABLE, move |victim, _| {
                                let turns = victim.event_loop().metrics().turns;
                                l.add(format!("replaced, turn {turns}"));
                                victim.stop();
                            })
                            .unwrap(),
                    }
                })
                .unwrap();
        }
        finish(&lp);
        let expected: &[&str] = match what {
            // Stopped and started it is a new watch: what had been fetched for the old one is not
            // its business.
            "restart" => &["first", "restarted, turn 2"],
            "replace" => &["first", "replaced, turn 1"],
            _ => &["first"],
        };
        assert_eq!(log.take(), expected, "{what}");
    }
}

#[test]
fn an_event_for_a_closed_watcher_is_not_given_to_one_that_took_its_place() {
    let lp = EventLoop::new().unwrap();
    let polls: Rc<RefCell<Vec<Poll>>> = Rc::default();
    let kept: Rc<RefCell<Vec<std::io::PipeWriter>>> = Rc::default();
    for _ in 0..2 {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let poll = Poll::new(&lp, reader).unwrap();
        let (p, k) = (polls.clone(), kept.clone());
        poll.start(PollEvents::READABLE, move |me, _| {
            let lp = me.event_loop();
            for poll in p.take() {
                // The descriptor's number is free again as well.
                poll.close();
                let (reader, writer) = std::io::pipe().unwrap();
                let fresh = Poll::new(lp, reader).unwrap();
                fresh.start(PollEvents::READABLE, |_, _| panic!("nothing to read")).unwrap();
                fresh.unreference();
                k.borrow_mut().push(writer);
            }
        })
        .unwrap();
        polls.borrow_mut().push(poll);
        kept.borrow_mut().push(writer);
    }
    finish(&lp);
    assert_eq!(lp.metrics().stale_events, 1);
}

#[test]
fn closing_drops_the_source_at_once_and_after_its_registration() {
    // Alone, because a number that is free may be anybody's at once.
    support::isolated(|| {
        let lp = EventLoop::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        // With nothing to watch the loop would not ask the kernel at all.
        Async::new(&lp, |_| {}).unwrap().unreference();
        // A copy keeps the description open: were the registration left behind, its events would go on.
        let copy: OwnedFd = reader.try_clone().unwrap().into();
        let poll = Poll::new(&lp, reader).unwrap();
        poll.start(PollEvents::READABLE, |_, _| panic!("closed")).unwrap();
        let number = poll.fileno().unwrap();
        poll.close();
        assert_eq!(poll.fileno(), Err(Error::EBADF));
        // The number is not open any more.
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1);
        (&writer).write_all(b"x").unwrap();
        finish(&lp);
        assert_eq!(lp.metrics().events, 0);
        drop(copy);
    });
}

#[test]
fn a_batch_that_is_full_is_followed_by_another_in_the_same_turn() {
    support::isolated(|| {
        let lp = EventLoop::new().unwrap();
        let log = Log::new();
        let mut kept = Vec::new();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit outlives both calls.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
            limit.rlim_cur = limit.rlim_max.min(8192);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        }
        for _ in 0..1500 {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(b"x").unwrap();
            let poll = Poll::new(&lp, reader).unwrap();
            let l = log.clone();
            poll.start(PollEvents::READABLE, move |poll, _| {
                l.add("");
                poll.close();
            })
            .unwrap();
            kept.push(writer);
        }
        turn(&lp);
        assert_eq!((log.take().len(), lp.metrics().turns), (1500, 1));
    });
}
