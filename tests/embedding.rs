//! Embedding the loop in a foreign one: its descriptor and its timeout.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use blacklight::prelude::*;
use support::Log;
use tools::finish;

/// What a foreign loop sees of the descriptor, without waiting.
fn readable(lp: &EventLoop) -> bool {
    let mut entry =
        libc::pollfd { fd: lp.backend_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    let n = unsafe { libc::poll(&raw mut entry, 1, 0) };
    assert!(n >= 0);
    n == 1 && entry.revents & libc::POLLIN != 0
}

/// The descriptors in the set, and the events that each is watched for.
fn watched(lp: &EventLoop) -> Vec<(i32, u32)> {
    let path = format!("/proc/self/fdinfo/{}", lp.backend_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap();
    let field = |line: &str, name: &str| {
        let rest = line.split_once(name).unwrap().1;
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let mut entries: Vec<(i32, u32)> = text
        .lines()
        .filter(|line| line.starts_with("tfd:"))
        .map(|line| {
            let events = u32::from_str_radix(&field(line, "events:"), 16).unwrap();
            (field(line, "tfd:").parse().unwrap(), events & 0xffff)
        })
        .collect();
    entries.sort_unstable();
    entries
}

#[test]
fn the_descriptor_is_an_epoll_set_with_the_watched_descriptors_in_it() {
    let lp = EventLoop::new().unwrap();
    let link = format!("/proc/self/fd/{}", lp.backend_fd().as_raw_fd());
    assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some("anon_inode:[eventpoll]"));
    assert_eq!(watched(&lp), []);
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    pipe.read_start(|_, _| {}).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let poll = Poll::new(&lp, reader).unwrap();
    poll.start(PollEvents::READABLE | PollEvents::DISCONNECT, |_, _| {}).unwrap();
    let mut expected = vec![
        (pipe.fileno().unwrap(), libc::EPOLLIN as u32 | 0x18),
        (poll.fileno().unwrap(), (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 | 0x18),
    ];
    expected.sort_unstable();
    assert_eq!(watched(&lp), expected);
    drop(peer);
}

/// libuv#3101 (B31): changes that the loop had not told the kernel were invisible to the outer
/// loop.
#[test]
fn pending_changes_are_in_it_when_it_is_asked_for() {
    let lp = EventLoop::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let poll = Poll::new(&lp, reader).unwrap();
    poll.start(PollEvents::READABLE, |_, _| {}).unwrap();
    assert!(!readable(&lp));
    std::io::Write::write_all(&mut &writer, b"x").unwrap();
    assert!(readable(&lp));
    poll.stop();
    assert!(!readable(&lp), "stopped");
    poll.start(PollEvents::READABLE, |_, _| {}).unwrap();
    assert!(readable(&lp), "started again");
    poll.start(PollEvents::PRIORITIZED, |_, _| {}).unwrap();
    assert!(!readable(&lp), "for other events");
    let (pipe, peer) = Pipe::pair(&lp).unwrap();
    tools::fill(&pipe);
    pipe.write("queued", |_, _| {}).unwrap();
    assert!(!readable(&lp));
    peer.read_start(|_, _| {}).unwrap();
    assert!(readable(&lp), "the peer has something to read");
    // The other way to bring changes in, for who kept the number.
    let number = lp.backend_fd().as_raw_fd();
    peer.read_stop();
    poll.start(PollEvents::READABLE, |_, _| {}).unwrap();
    let _timeout = lp.backend_timeout();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("tfd:")).count(), 2);
}

#[test]
fn the_timeout_says_when_the_loop_wants_to_run() {
    let lp = EventLoop::new().unwrap();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "nothing to wait for");
    let wake = Async::new(&lp, |_| {}).unwrap();
    assert_eq!(lp.backend_timeout(), None, "for ever");
    let timer = Timer::new(&lp).unwrap();
    timer.start(60_000, 0, |_| {}).unwrap();
    let timeout = lp.backend_timeout().unwrap();
    assert!(timeout > Duration::ZERO && timeout <= Duration::from_secs(60));
    timer.start(0, 0, |_| {}).unwrap();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO));
    timer.stop();
    let idle = Idle::new(&lp).unwrap();
    idle.start(|_| {}).unwrap();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "idle hooks do not wait");
    idle.stop();
    let (pipe, _peer) = Pipe::pair(&lp).unwrap();
    pipe.write("x", |_, _| {}).unwrap();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "a completion to report");
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(lp.backend_timeout(), None);
    pipe.close();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "a handle is closing");
    lp.run(RunMode::NoWait).unwrap();
    lp.stop();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "it is stopped");
    lp.run(RunMode::NoWait).unwrap();
    wake.unreference();
    assert_eq!(lp.backend_timeout(), Some(Duration::ZERO), "nothing keeps it");
}

#[test]
fn a_foreign_loop_drives_it_to_the_end() {
    let outer = EventLoop::new().unwrap();
    let inner = EventLoop::new().unwrap();
    let log = Log::new();
    let (pipe, peer) = Pipe::pair(&inner).unwrap();
    let bytes = tools::collect(&peer);
    let l = log.clone();
    let timer = Timer::new(&inner).unwrap();
    timer
        .start(3, 3, move |timer| {
            l.add("timer");
            pipe.write_and_forget("x").unwrap();
            if timer.event_loop().metrics().callbacks > 8 {
                timer.close();
                pipe.close();
            }
        })
        .unwrap();
    // The foreign loop knows nothing but a descriptor and a time.
    let fd = inner.backend_fd().as_fd().try_clone_to_owned().unwrap();
    let (poll, wait) = (Poll::new(&outer, fd).unwrap(), Timer::new(&outer).unwrap());
    poll.start(PollEvents::READABLE, |_, _| {}).unwrap();
    while inner.is_alive() {
        inner.run(RunMode::NoWait).unwrap();
        match inner.backend_timeout() {
            Some(timeout) => wait.start_duration(timeout, Duration::ZERO, |_| {}).unwrap(),
            None => wait.stop(),
        }
        if inner.is_alive() {
            outer.run(RunMode::Once).unwrap();
        }
    }
    assert_eq!(log.take().len(), bytes.borrow().len());
    poll.close();
    wait.close();
    finish(&outer);
}
