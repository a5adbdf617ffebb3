//! Signals to a process and to its group.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use blacklight::Error;
use blacklight::prelude::*;

use crate::support::process::{
    Exits, NOBODY, has_pidfds, in_fork, is_root, new_loop, pidfd_of, pipe, run, shell, skip,
    until_dead,
};
use crate::support::{children, isolated};

/// A child that runs until it is killed or the returned end is closed.
fn victim(lp: &EventLoop, exits: &Exits) -> (Process, OwnedFd) {
    let (reader, writer) = pipe();
    let mut command = Command::new("cat");
    command.stdin(reader).stdout(Stdio::null());
    (command.spawn(lp, exits.note()).unwrap(), writer)
}

#[test]
fn a_signal_reaches_the_process() {
    isolated(|| {
        for signum in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGUSR1] {
            let lp = new_loop();
            let exits = Exits::new();
            let (process, _stdin) = victim(&lp, &exits);
            process.kill(signum).unwrap();
            run(&lp);
            assert_eq!(exits.one().signal(), Some(signum));
        }
    });
}

#[test]
fn signal_0_asks_whether_it_is_there() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = victim(&lp, &exits);
        assert_eq!(process.kill(0), Ok(()));
        drop(stdin);
        run(&lp);
        assert!(exits.one().success(), "asking does no harm");
        assert_eq!(process.kill(0), Err(Error::ESRCH));
    });
}

#[test]
fn what_is_no_signal_is_refused() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = victim(&lp, &exits);
        for signum in [-1, 65, 1000, i32::MIN, i32::MAX] {
            assert_eq!(process.kill(signum), Err(Error::EINVAL), "{signum}");
            assert_eq!(process.kill_group(signum), Err(Error::EINVAL), "{signum}");
        }
        drop(stdin);
        run(&lp);
        assert!(exits.one().success());
        assert_eq!(process.kill(-1), Err(Error::EINVAL), "also when it is gone");
    });
}

#[test]
fn a_dead_child_that_nobody_has_waited_for_can_still_be_signalled() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = victim(&lp, &exits);
        drop(stdin);
        until_dead(&pidfd_of(process.pid()));
        // As kill(2) says of zombies: success, and nothing happens.
        assert_eq!(process.kill(libc::SIGKILL), Ok(()));
        assert_eq!(process.kill(0), Ok(()));
        run(&lp);
        assert!(exits.one().success());
        assert_eq!(process.kill(libc::SIGKILL), Err(Error::ESRCH));
        assert_eq!(process.kill_group(libc::SIGKILL), Err(Error::ESRCH));
    });
}

#[test]
fn in_its_own_exit_callback_a_process_is_gone() {
    isolated(|| {
        let lp = new_loop();
        let spawned = shell("exit 0").spawn(&lp, |process, _| {
            assert_eq!(process.kill(0), Err(Error::ESRCH));
            assert!(process.pid() > 0 && process.pidfd().is_none());
        });
        spawned.unwrap();
        run(&lp);
    });
}

#[test]
fn the_group_of_a_leader_is_killed_as_a_whole() {
    isolated(|| {
        let leads: [fn(&mut Command) -> &mut Command; 2] =
            [|command| command.process_group(0), |command| command.detached(true)];
        for lead in leads {
            let lp = new_loop();
            let exits = Exits::new();
            let out = Pipe::new(&lp).unwrap();
            // The shell's children are in its group, and hold the pipe as long as they live.
            let mut command = shell("cat <&4 & cat <&4 & echo ready; cat <&4");
            let hold = Pipe::new(&lp).unwrap();
            command.stdout(Stdio::pipe(&out)).stdio(4, Stdio::pipe(&hold).child_reads());
            let process = lead(&mut command).spawn(&lp, exits.note()).unwrap();
            let leader = process.clone();
            out.read_start(move |out, read| match read {
                Read::Data(bytes) => {
                    assert_eq!(bytes, b"ready\n");
                    leader.kill_group(libc::SIGKILL).unwrap();
                }
                // All of them are dead.
                Read::Eof => out.close(),
                Read::Error(error) => panic!("{error}"),
            })
            .unwrap();
            run(&lp);
            assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
            hold.close();
            run(&lp);
        }
    });
}

#[test]
fn a_group_that_the_child_does_not_lead_is_left_alone() {
    isolated(|| {
        // B34: it may be our own.
        let lp = new_loop();
        let exits = Exits::new();
        let (process, stdin) = victim(&lp, &exits);
        // SAFETY: asks for numbers.
        unsafe { assert_eq!(libc::getpgid(process.pid()), libc::getpgrp()) };
        assert_eq!(process.kill_group(libc::SIGKILL), Err(Error::EPERM));
        // Nor is that of a leader that is not it.
        let (leader, leader_stdin) = {
            let (reader, writer) = pipe();
            let mut command = Command::new("cat");
            command.stdin(reader).stdout(Stdio::null()).process_group(0);
            (command.spawn(&lp, exits.note()).unwrap(), writer)
        };
        let (reader, member_stdin) = pipe();
        let mut command = Command::new("cat");
        command.stdin(reader).stdout(Stdio::null()).process_group(leader.pid());
        let member = command.spawn(&lp, exits.note()).unwrap();
        assert_eq!(member.kill_group(libc::SIGKILL), Err(Error::EPERM));
        assert_eq!(leader.kill_group(0), Ok(()));
        drop((stdin, leader_stdin, member_stdin));
        run(&lp);
        assert!(exits.get().iter().all(|(_, exit)| exit.success()));
        assert_eq!(exits.get().len(), 3);
    });
}

#[test]
fn a_process_of_another_user_is_eperm() {
    isolated(|| {
        if !is_root() {
            return skip("only root can become somebody else");
        }
        in_fork(|| {
            // SAFETY: one thread; no pointers.
            unsafe {
                assert_eq!(libc::setgid(NOBODY), 0);
                assert_eq!(libc::setuid(NOBODY), 0);
            }
            let lp = new_loop();
            let init = Process::adopt(&lp, 1, |_, _| {}).unwrap();
            assert_eq!(init.kill(0), Err(Error::EPERM));
            assert_eq!(blacklight::kill(1, 0), Err(Error::EPERM));
            init.close();
            run(&lp);
            0
        });
    });
}

#[test]
fn a_lent_pidfd_is_the_childs() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (process, _stdin) = victim(&lp, &exits);
        match process.pidfd() {
            None => assert!(!has_pidfds(&lp)),
            Some(pidfd) => {
                use std::os::fd::AsRawFd;
                let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
                let info = std::fs::read_to_string(info).unwrap();
                assert!(info.contains(&format!("Pid:\t{}\n", process.pid())), "{info}");
                // SAFETY: a descriptor that is open, and no siginfo.
                let sent = unsafe {
                    let nothing = std::ptr::null::<libc::siginfo_t>();
                    let number = pidfd.as_raw_fd();
                    libc::syscall(libc::SYS_pidfd_send_signal, number, libc::SIGUSR1, nothing, 0)
                };
                assert_eq!(sent, 0);
            }
        }
        let _gone = process.kill(libc::SIGUSR1);
        run(&lp);
        assert_eq!(exits.one().signal(), Some(libc::SIGUSR1));
    });
}

#[test]
fn a_child_that_ignores_a_signal_lives_on() {
    isolated(|| {
        let lp = new_loop();
        let exits = Exits::new();
        let (out, stdin) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'echo caught' TERM; echo ready; read line; read line; exit 5"]);
        command.stdin(Stdio::pipe(&stdin)).stdout(Stdio::pipe(&out));
        let process = command.spawn(&lp, exits.note()).unwrap();
        let text = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let seen = text.clone();
        out.read_start(move |out, read| match read {
            Read::Data(bytes) => {
                seen.borrow_mut().push_str(std::str::from_utf8(bytes).unwrap());
                match seen.borrow().as_str() {
                    "ready\n" => process.kill(libc::SIGTERM).unwrap(),
                    "ready\ncaught\n" => stdin.close(),
                    other => panic!("{other}"),
                }
            }
            _ => out.close(),
        })
        .unwrap();
        run(&lp);
        assert_eq!(exits.one().code(), Some(5));
        assert_eq!(*text.borrow(), "ready\ncaught\n");
        assert!(children().is_empty());
    });
}
