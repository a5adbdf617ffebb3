//! Terminals are put back: however a handle or the process ends, and whose they are by then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/terminals.rs"]
mod terminals;
#[path = "support/tools.rs"]
mod tools;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, TtyMode};
use support::isolated;
use support::process::{Exits, new_loop};
use terminals::{IO, NORMAL, RAW, pty, settings};
use tools::{finish, run_until};

#[test]
fn the_terminal_is_restored_however_a_handle_ends() {
    let outside = new_loop();
    let pty = pty(&outside);
    let slave = pty.open_slave().unwrap();
    let ends: [fn(EventLoop, Tty); 4] = [
        |_, tty| tty.close(),
        |_, tty| drop(tty),
        |lp, _tty| drop(lp),
        |_, tty| drop(tty.take_fd().unwrap()),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let lp = new_loop();
        let tty = Tty::new(&lp, &slave).unwrap();
        tty.set_mode(TtyMode::Raw).unwrap();
        assert_eq!(settings(&slave), RAW);
        end(lp, tty);
        assert_eq!(settings(&slave), NORMAL, "{n}");
    }
}

#[test]
fn a_guard_ends_its_mode_when_a_panic_passes() {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let tty = Tty::new(&lp, &slave).unwrap();
    tools::unwinds(|| {
        let _raw = tty.mode_guard(TtyMode::Raw).unwrap();
        let _bytes = tty.mode_guard(TtyMode::Io).unwrap();
        assert_eq!(settings(&slave), IO);
        panic!("on purpose");
    });
    assert_eq!((settings(&slave), tty.mode()), (NORMAL, TtyMode::Normal));
    let late = tty.mode_guard(TtyMode::Raw).unwrap();
    tty.close();
    drop(late);
    assert_eq!(settings(&slave), NORMAL);
    finish(&lp);
}

#[test]
fn reset_mode_restores_every_terminal_and_handles_go_on() {
    isolated(|| {
        assert_eq!(Tty::reset_mode(), Ok(()), "nothing to restore");
        let lp = new_loop();
        let terminals = [pty(&lp), pty(&lp)];
        let slaves: Vec<OwnedFd> = terminals.iter().map(|pty| pty.open_slave().unwrap()).collect();
        let ttys: Vec<Tty> = slaves.iter().map(|slave| Tty::new(&lp, slave).unwrap()).collect();
        ttys.iter().for_each(|tty| tty.set_mode(TtyMode::Raw).unwrap());
        Tty::reset_mode().unwrap();
        for (slave, tty) in slaves.iter().zip(&ttys) {
            assert_eq!(settings(slave), NORMAL);
            tty.set_mode(TtyMode::Raw).unwrap();
            assert_eq!(settings(slave), RAW, "although the handle was raw before");
        }
        ttys.iter().for_each(Tty::close);
        assert_eq!(Tty::reset_mode(), Ok(()));
        finish(&lp);
    });
}

/// libuv's documentation of `uv_tty_reset_mode`: async signal-safe.
#[test]
fn a_signal_handler_may_reset_the_mode() {
    isolated(|| {
        extern "C" fn handler(_signum: libc::c_int) {
            // SAFETY: this thread's errno.
            unsafe { *libc::__errno_location() = 77 };
            assert!(Tty::reset_mode().is_ok());
            // SAFETY: as above.
            assert_eq!(unsafe { *libc::__errno_location() }, 77);
        }
        let lp = new_loop();
        let pty = pty(&lp);
        let slave = pty.open_slave().unwrap();
        let tty = Tty::new(&lp, &slave).unwrap();
        tty.set_mode(TtyMode::Raw).unwrap();
        let handler: extern "C" fn(libc::c_int) = handler;
        // SAFETY: the handler calls what may be called in one.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        tools::raise(libc::SIGUSR1);
        assert_eq!(settings(&slave), NORMAL);
    });
}

#[test]
fn a_forked_child_leaves_its_parents_terminal_alone() {
    isolated(|| {
        let lp = new_loop();
        let pty = pty(&lp);
        let slave = pty.open_slave().unwrap();
        let tty = Tty::new(&lp, &slave).unwrap();
        tty.set_mode(TtyMode::Raw).unwrap();
        // SAFETY: the child ends below.
        match unsafe { libc::fork() } {
            0 => {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    assert_eq!(tty.set_mode(TtyMode::Normal), Err(Error::ESTALE));
                    assert_eq!(Tty::reset_mode(), Ok(()));
                    tty.close();
                    drop(lp);
                    assert_eq!(settings(&slave), RAW);
                }));
                // SAFETY: ends the child without what the parent registered.
                unsafe { libc::_exit(i32::from(outcome.is_err())) }
            }
            pid => {
                let mut status = -1;
                // SAFETY: the status outlives the call.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                assert_eq!(status, 0);
            }
        }
        assert_eq!(settings(&slave), RAW);
        tty.close();
        assert_eq!(settings(&slave), NORMAL);
    });
}

/// What was remembered of it is not kept for ever.
#[test]
fn a_terminal_that_has_hung_up_in_raw_mode_is_forgotten() {
    isolated(|| {
        let lp = new_loop();
        let before = support::open_fds();
        let pty = pty(&lp);
        let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
        tty.set_mode(TtyMode::Raw).unwrap();
        pty.close();
        assert!(Tty::reset_mode().is_err(), "it is not there any more");
        tty.close();
        finish(&lp);
        assert_eq!(support::open_fds(), before);
        assert_eq!(Tty::reset_mode(), Ok(()));
    });
}

const ROLE: &str = "BLACKLIGHT_TTY_ROLE";

/// This test program, playing a role on a terminal: a command line for a shell.
fn player(role: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().expect("a path in UTF-8");
    format!("{ROLE}={role} '{program}' --exact plays_a_role --nocapture --test-threads=1")
}

/// Not a test by itself: what the tests below have a process of its own do.
#[test]
fn plays_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let lp = new_loop();
    let tty = Tty::new(&lp, File::options().read(true).write(true).open("/dev/tty").unwrap());
    let tty = tty.unwrap();
    match role.as_str() {
        "exit" => {
            Tty::reset_mode_at_exit().unwrap();
            Tty::reset_mode_at_exit().unwrap();
            tty.set_mode(TtyMode::Raw).unwrap();
            assert_eq!(settings(File::open("/dev/tty").unwrap()), RAW);
            std::process::exit(7);
        }
        "background" => {
            assert_eq!(tty.set_mode(TtyMode::Raw), Err(Error::EIO));
            assert_eq!(settings(File::open("/dev/tty").unwrap()), NORMAL);
            // SAFETY: ignoring a signal.
            unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
            tty.set_mode(TtyMode::Raw).unwrap();
            assert_eq!(settings(File::open("/dev/tty").unwrap()), RAW);
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGTTOU, libc::SIG_DFL) };
            assert_eq!(Tty::reset_mode(), Err(Error::EIO));
            tty.close();
            assert_eq!(settings(File::open("/dev/tty").unwrap()), RAW, "it is not ours now");
        }
        other => panic!("no role: {other}"),
    }
}

/// Runs a script on a terminal; what the terminal's settings and its exit code are then.
fn on_a_terminal(script: &str) -> ([bool; 4], Option<i32>) {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let exits = Exits::new();
    let output = Rc::new(std::cell::RefCell::new(String::new()));
    Command::new("sh").args(["-c", script]).pty(&pty).spawn(&lp, exits.note()).unwrap();
    let text = output.clone();
    pty.read_start(move |_, read| match read {
        Read::Data(bytes) => text.borrow_mut().push_str(&String::from_utf8_lossy(bytes)),
        other => panic!("{other:?}"),
    })
    .unwrap();
    run_until(&lp, || !exits.get().is_empty());
    lp.run(RunMode::NoWait).unwrap();
    eprintln!("{}", output.borrow());
    (settings(&slave), exits.one().code())
}

#[test]
fn the_mode_is_reset_at_exit_if_that_was_asked_for() {
    assert_eq!(on_a_terminal(&player("exit")), (NORMAL, Some(7)));
}

/// The kernel would stop it with SIGTTOU, and the one who waits would wait for ever.
#[test]
fn a_background_process_is_told_so_and_not_stopped() {
    // In monitor mode each job has a process group of its own.
    let script = format!("set -m; {} & wait $!", player("background"));
    assert_eq!(on_a_terminal(&script), (RAW, Some(0)));
}
