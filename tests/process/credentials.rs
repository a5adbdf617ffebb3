//! Children of other users.

#![allow(unsafe_code)]

use blacklight::prelude::*;
use blacklight::{Error, Groups, SpawnStep};

use crate::support::isolated;
use crate::support::process::{NOBODY, in_fork, is_root, new_loop, output, run, says, shell, skip};

/// True, with a word, when this cannot be tested.
fn cannot() -> bool {
    if !is_root() {
        skip("only root can become somebody else");
    }
    !is_root()
}

fn become_nobody() {
    // SAFETY: one thread; no pointers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(NOBODY), 0);
        assert_eq!(libc::setuid(NOBODY), 0);
    }
}

const WHO: &str = "id -u; id -g; id -G";

#[test]
fn user_and_group_are_set_and_supplementary_groups_cleared() {
    isolated(|| {
        if cannot() {
            return;
        }
        // SAFETY: two numbers; this process runs one test.
        unsafe { libc::setgroups(2, [10, 11].as_ptr()) };
        assert_eq!(says(shell(WHO).uid(77).gid(78)), "77\n78\n78");
        assert_eq!(says(shell(WHO).gid(78)), "0\n78\n78");
        assert_eq!(says(&mut shell("id -G")), "0 10 11", "nothing asked for, nothing changed");
        let real = "cut -d ' ' -f 1 /dev/null; grep -E 'Uid|Gid' /proc/$$/status | tr '\\t' ' '";
        assert_eq!(says(shell(real).uid(77).gid(78)), "Uid: 77 77 77 77\nGid: 78 78 78 78");
    });
}

#[test]
fn supplementary_groups_are_kept_cleared_or_set() {
    isolated(|| {
        // DEMANDS 1.13.
        if cannot() {
            return;
        }
        // SAFETY: two numbers; this process runs one test.
        unsafe { libc::setgroups(2, [10, 11].as_ptr()) };
        let mut command = shell("id -G");
        command.uid(77).gid(78);
        assert_eq!(says(command.groups(Groups::Keep)), "78 10 11");
        assert_eq!(says(command.groups(Groups::Clear)), "78");
        assert_eq!(says(command.groups(Groups::Set(vec![20, 30]))), "78 20 30");
        assert_eq!(says(shell("id -G").groups(Groups::Set(vec![5]))), "0 5");
        assert_eq!(says(shell("id -G").groups(Groups::Clear)), "0");
    });
}

#[test]
fn who_may_not_change_is_told_which_step_failed() {
    isolated(|| {
        if cannot() {
            return;
        }
        in_fork(|| {
            become_nobody();
            let lp = new_loop();
            let failure = |command: &mut Command| {
                let error = command.spawn(&lp, |_, _| {}).unwrap_err();
                assert!(crate::support::children().is_empty());
                (error.step(), error.error())
            };
            assert_eq!(failure(Command::new("true").uid(0)), (SpawnStep::Uid, Error::EPERM));
            assert_eq!(failure(Command::new("true").gid(0)), (SpawnStep::Gid, Error::EPERM));
            let mut command = Command::new("true");
            command.groups(Groups::Clear);
            assert_eq!(failure(&mut command), (SpawnStep::Groups, Error::EPERM));
            assert_eq!(failure(Command::new("true").nice(-5)), (SpawnStep::Nice, Error::EACCES));
            // Its own ids are no change; that groups cannot be cleared is forgiven, as in libuv.
            let mut command = shell(WHO);
            let (text, exit) = output(&lp, command.uid(NOBODY).gid(NOBODY));
            assert!(exit.success() && text.starts_with("65534\n65534\n"), "{text}");
            0
        });
    });
}

#[test]
fn the_program_is_found_with_the_childs_rights() {
    isolated(|| {
        if cannot() {
            return;
        }
        use std::os::unix::fs::PermissionsExt;
        let dir = crate::support::process::Scratch::new();
        let program = dir.program("tool", "#!/bin/sh\necho executed\n");
        let only_root = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir.path(), only_root).unwrap();
        assert_eq!(says(&mut Command::new(&program)), "executed");
        let error = Command::new(&program).uid(77).spawn(&new_loop(), |_, _| {}).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::EACCES));
    });
}

fn dumpable() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

#[test]
fn this_process_stays_dumpable() {
    isolated(|| {
        // DESIGN 4.5: the child shares our memory, and so the flag.
        if cannot() {
            return;
        }
        assert_eq!(dumpable(), 1, "the test needs it");
        let lp = new_loop();
        for _ in 0..10 {
            shell("exit 0").uid(77).gid(77).spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
            assert_eq!(dumpable(), 1);
            assert!(Command::new("/nonexistent").uid(77).spawn(&lp, |_, _| {}).is_err());
            assert_eq!(dumpable(), 1);
        }
        run(&lp);
        // And one that is not stays so.
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        shell("exit 0").uid(77).spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        assert_eq!(dumpable(), 0);
    });
}

#[test]
fn this_process_stays_dumpable_when_several_threads_spawn() {
    isolated(|| {
        if cannot() {
            return;
        }
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    let lp = new_loop();
                    for _ in 0..25 {
                        let mut command = Command::new("true");
                        command.uid(77).spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
                        run(&lp);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(dumpable(), 1);
    });
}

#[test]
fn the_parent_death_signal_survives_a_change_of_user() {
    isolated(|| {
        // B33: changing credentials clears it, so it is set afterwards.
        if cannot() {
            return;
        }
        use crate::support::process::{forked, pipe, poll_for};
        let (alive, held) = pipe();
        let (ready, told) = pipe();
        let (stdin, _unwritten) = pipe();
        let parent = forked(|| {
            let lp = new_loop();
            let copy = |fd: &std::os::fd::OwnedFd| Stdio::from_fd(fd).unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", "echo >&4; exec 4>&-; read line"]).stdin(copy(&stdin));
            command.stdout(copy(&held)).stdio(4, copy(&told));
            command.uid(77).gid(77).parent_death_signal(libc::SIGKILL);
            command.spawn(&lp, |_, _| {}).unwrap();
            lp.run(RunMode::Default).unwrap();
            0
        });
        drop((held, told));
        assert_ne!(poll_for(&ready, libc::POLLIN, 30_000), 0);
        // SAFETY: a child of ours that nobody has waited for.
        unsafe {
            libc::kill(parent, libc::SIGKILL);
            libc::waitpid(parent, std::ptr::null_mut(), 0);
        }
        assert_ne!(poll_for(&alive, libc::POLLIN, 30_000), 0);
    });
}
