//! What a child inherits besides its slots: nothing (DEMANDS 1.7, 1.23; B2, B12, B15, B16).

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use blacklight::prelude::*;

use crate::support::isolated;
use crate::support::process::{Exits, new_loop, output, pipe, run, says, shell, status_line};

/// A copy without close-on-exec, under a number of at least `lowest`.
fn leaky(fd: impl AsFd, lowest: i32) -> OwnedFd {
    // SAFETY: the number that comes out is new and ours.
    unsafe {
        let copy = libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD, lowest);
        assert!(copy >= lowest, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(copy)
    }
}

fn status_flags(fd: BorrowedFd<'_>) -> i32 {
    // SAFETY: asks only.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }
}

fn set_nonblocking(fd: BorrowedFd<'_>) {
    let flags = status_flags(fd) | libc::O_NONBLOCK;
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

/// A program that opens nothing of its own and tells which of these numbers are open.
fn which_are_open(numbers: &[i32]) -> String {
    let look = |n: &i32| format!("[ -e /proc/$$/fd/{n} ] && echo {n};");
    numbers.iter().map(look).collect::<String>() + " true"
}

#[test]
fn no_unlisted_descriptor_reaches_a_child_whatever_its_flags() {
    isolated(|| {
        let null = File::open("/dev/null").unwrap();
        let low = leaky(&null, 10);
        let (middle, high) = (leaky(&null, 100), leaky(&null, 900));
        let numbers = [3, 4, low.as_raw_fd(), middle.as_raw_fd(), high.as_raw_fd()];
        let mut command = shell(&which_are_open(&numbers));
        assert_eq!(says(&mut command), "");
        // Nor beside slots that are listed, whichever side of them.
        command.stdio(50, Stdio::null()).stdio(500, Stdio::from_fd(&null).unwrap());
        let mut wider = numbers.to_vec();
        wider.extend([50, 500]);
        command.args(["sh"]);
        let mut other = shell(&which_are_open(&wider));
        other.stdio(50, Stdio::null()).stdio(500, Stdio::from_fd(&null).unwrap());
        assert_eq!(says(&mut other), "50\n500");
    });
}

#[test]
fn unlisted_descriptors_reach_a_child_that_asks_for_them() {
    isolated(|| {
        let null = File::open("/dev/null").unwrap();
        let kept = leaky(&null, 10);
        let (high, secret) = (leaky(&null, 700), null.as_raw_fd());
        let mut command = shell(&which_are_open(&[secret, kept.as_raw_fd(), high.as_raw_fd()]));
        command.inherit_unlisted(true);
        let expected = format!("{}\n{}", kept.as_raw_fd(), high.as_raw_fd());
        assert_eq!(says(&mut command), expected, "but none that is close-on-exec");
        // A slot from 3 on that is ignored stays as it is then (LIBUV-API §4).
        command.stdio(kept.as_raw_fd() as u32, Stdio::ignore());
        assert_eq!(says(&mut command), expected);
        command.inherit_unlisted(false);
        assert_eq!(says(&mut command), "");
    });
}

#[test]
fn a_child_does_not_get_the_pipes_of_its_siblings() {
    isolated(|| {
        // B12: the first one's standard input ends although the second one lives.
        let lp = new_loop();
        let (exits, order) = (Exits::new(), crate::support::Log::new());
        let (first_in, second_in) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let next = second_in.clone();
        let log = order.clone();
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::pipe(&first_in)).stdout(Stdio::null());
        cat.spawn(&lp, move |_, _| {
            log.add("first");
            next.close();
        })
        .unwrap();
        let log = order.clone();
        cat.stdin(Stdio::pipe(&second_in)).spawn(&lp, move |_, _| log.add("second")).unwrap();
        first_in.close();
        run(&lp);
        assert_eq!(order.take(), ["first", "second"]);
        assert!(exits.get().is_empty());
    });
}

#[test]
fn no_flag_of_a_description_that_we_did_not_make_is_changed() {
    isolated(|| {
        // B16, DESIGN 4.6: whatever is done with it.
        let (reader, writer) = pipe();
        let (socket, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = File::open("/dev/zero").unwrap();
        let blocking = [reader.as_fd(), writer.as_fd(), socket.as_fd(), peer.as_fd(), file.as_fd()];
        let (other_reader, other_writer) = pipe();
        let nonblocking = [other_reader.as_fd(), other_writer.as_fd()];
        nonblocking.into_iter().for_each(set_nonblocking);
        let all: Vec<_> = blocking.into_iter().chain(nonblocking).collect();
        let before: Vec<_> = all.iter().map(|fd| status_flags(*fd)).collect();
        let check = |what: &str| {
            let now: Vec<_> = all.iter().map(|fd| status_flags(*fd)).collect();
            assert_eq!(now, before, "{what}");
        };

        let lp = new_loop();
        let mut command = Command::new("true");
        for (slot, fd) in (3..).zip(&all) {
            command.stdio(slot, Stdio::from_fd(fd).unwrap());
        }
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        check("spawned");
        command.inherit_unlisted(true).spawn(&lp, |_, _| {}).unwrap();
        check("spawned with everything");
        command.spawn_off_loop(&lp, |_, result| result.unwrap(), |_, _| {}).unwrap();
        run(&lp);
        check("spawned off the loop");
        let mut failing = command.clone();
        failing.current_dir("/nonexistent");
        assert!(failing.spawn(&lp, |_, _| {}).is_err());
        check("failed");
        let (stream, copy) = (Pipe::new(&lp).unwrap(), socket.try_clone().unwrap());
        stream.open(copy).unwrap();
        command.stdio(20, Stdio::stream(&stream)).spawn(&lp, |_, _| {}).unwrap();
        check("inherited as a stream");
        stream.close();
        run(&lp);
        check("closed");
    });
}

#[test]
fn the_childs_end_of_a_pipe_blocks_and_ours_does_not() {
    isolated(|| {
        let lp = new_loop();
        let [out, one, two] = [0; 3].map(|_| Pipe::new(&lp).unwrap());
        let mut command =
            shell("grep -h flags: /proc/$$/fdinfo/1 /proc/$$/fdinfo/4 /proc/$$/fdinfo/5");
        command.stdio(4, Stdio::pipe(&one).duplex()).stdio(5, Stdio::pipe(&two).child_reads());
        let (text, exit) = {
            let exits = Exits::new();
            command.stdout(Stdio::pipe(&out)).spawn(&lp, exits.note()).unwrap();
            for pipe in [&out, &one, &two] {
                let number = pipe.fileno().unwrap();
                // SAFETY: the pipe keeps the number open.
                let flags = status_flags(unsafe { BorrowedFd::borrow_raw(number) });
                assert_ne!(flags & libc::O_NONBLOCK, 0);
            }
            let text = crate::support::process::collect(&out);
            one.close();
            two.close();
            run(&lp);
            (text.get(), exits.one())
        };
        assert!(exit.success());
        let flags = text.lines().map(|line| line.trim_start_matches("flags:").trim());
        let flags: Vec<i32> = flags.map(|flags| i32::from_str_radix(flags, 8).unwrap()).collect();
        assert_eq!(flags.len(), 3, "{text}");
        assert!(flags.iter().all(|flags| flags & libc::O_NONBLOCK == 0), "{text}");
    });
}

#[test]
fn blocking_is_set_only_on_request_and_is_seen_by_all() {
    isolated(|| {
        let (reader, _writer) = pipe();
        set_nonblocking(reader.as_fd());
        let lp = new_loop();
        let mut command = Command::new("true");
        command.stdin(Stdio::from_fd(&reader).unwrap());
        command.spawn(&lp, |_, _| {}).unwrap();
        assert_ne!(status_flags(reader.as_fd()) & libc::O_NONBLOCK, 0);
        command.stdin(Stdio::from_fd(&reader).unwrap().blocking(true));
        command.spawn(&lp, |_, _| {}).unwrap();
        assert_eq!(status_flags(reader.as_fd()) & libc::O_NONBLOCK, 0);
        run(&lp);
    });
}

/// The signal lines of a child's status: blocked, ignored, caught.
fn signals_of(command: &mut Command) -> [u64; 3] {
    let text = says(command);
    ["SigBlk", "SigIgn", "SigCgt"]
        .map(|name| u64::from_str_radix(&status_line(&text, name), 16).unwrap())
}

fn grep_signals() -> Command {
    let mut command = Command::new("cat");
    command.arg("/proc/self/status");
    command
}

extern "C" fn handler(_: i32) {}

#[test]
fn dispositions_are_default_and_no_signal_is_blocked() {
    isolated(|| {
        // B2. Rust ignores SIGPIPE, and what is ignored survives an exec.
        // SAFETY: the handler does nothing; the sets are on the stack.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGQUIT, libc::SIG_IGN);
            libc::signal(libc::SIGRTMAX(), libc::SIG_IGN);
            libc::signal(libc::SIGUSR1, handler as *const () as usize);
        }
        let own = || {
            let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            ["SigBlk", "SigIgn", "SigCgt"]
                .map(|name| u64::from_str_radix(&status_line(&text, name), 16).unwrap())
        };
        let before = own();
        assert_ne!(before[0], 0, "the test needs it");
        assert_ne!(before[1] & 1 << (libc::SIGPIPE - 1), 0, "the test needs it");
        assert_eq!(signals_of(&mut grep_signals()), [0, 0, 0]);
        // And this process is as it was, but for what waiting for children may ask for.
        let sigchld = 1 << (libc::SIGCHLD - 1);
        assert_eq!(own().map(|set| set & !sigchld), before.map(|set| set & !sigchld));
    });
}

#[test]
fn sigpipe_kills_a_child_as_it_should() {
    isolated(|| {
        let lp = new_loop();
        let (reader, writer) = pipe();
        drop(reader);
        let exits = Exits::new();
        let mut command = Command::new("cat");
        command.stdin(Stdio::read_file("/dev/zero")).stdout(writer);
        command.spawn(&lp, exits.note()).unwrap();
        run(&lp);
        assert_eq!(exits.one().signal(), Some(libc::SIGPIPE));
    });
}

#[test]
fn what_is_ignored_later_is_reset_on_request() {
    isolated(|| {
        let lp = new_loop();
        output(&lp, &mut shell("exit 0"));
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let mut command = grep_signals();
        let (text, _) = output(&lp, command.reset_all_signals(true));
        let ignored = u64::from_str_radix(&status_line(&text, "SigIgn"), 16).unwrap();
        assert_eq!(ignored, 0, "{text}");
    });
}

#[test]
fn a_child_may_begin_with_signals_blocked() {
    isolated(|| {
        let mut command = grep_signals();
        command.block_signals([libc::SIGTERM, 64]).unwrap();
        assert_eq!(signals_of(&mut command), [1 << (libc::SIGTERM - 1) | 1 << 63, 0, 0]);
        for signum in [0, -1, 65] {
            assert_eq!(command.block_signals([signum]).unwrap_err(), blacklight::Error::EINVAL);
        }
    });
}
