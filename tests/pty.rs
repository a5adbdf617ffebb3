//! Pseudo-terminals with real programs on them: what they are told, what is typed, how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, HandleKind, TtyMode, WindowSize};
use support::isolated;
use support::process::{Exits, new_loop};
use tools::{finish, run_until};

fn pty(lp: &EventLoop) -> Pty {
    Pty::new(lp, WindowSize::new(80, 24)).unwrap()
}

/// What appears on the screen.
#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl Screen {
    /// Reads up to the end.
    fn of(pty: &Pty) -> Screen {
        let screen = Screen::default();
        screen.go_on(pty);
        screen
    }

    fn go_on(&self, pty: &Pty) {
        let bytes = self.0.clone();
        pty.read_start(move |_, read| match read {
            Read::Data(data) => bytes.borrow_mut().extend_from_slice(data),
            Read::Eof => {}
            Read::Error(error) => panic!("{error}"),
        })
        .unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }

    fn shows(&self, text: &str) -> bool {
        self.text().contains(text)
    }
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Runs a script on a terminal to its end: the screen, and the exit.
fn on_a_terminal(script: &str) -> (String, Exit) {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    sh(script).pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    finish(&lp);
    (screen.text(), exits.one())
}

#[test]
fn programs_are_told_the_size() {
    assert_eq!(on_a_terminal("stty size").0, "24 80\r\n");
}

#[test]
fn the_slave_is_what_the_child_has_for_a_terminal() {
    let lp = new_loop();
    let pty = pty(&lp);
    assert_eq!((pty.kind(), pty.kind().name()), (HandleKind::Pty, "pty"));
    let name = pty.slave_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("/dev/pts/"), "{name}");
    let exits = Exits::new();
    sh("tty; test -t 0 && test -t 1 && test -t 2 && : </dev/tty && echo all")
        .pty(&pty)
        .spawn(&lp, exits.note())
        .unwrap();
    let screen = Screen::of(&pty);
    finish(&lp);
    assert_eq!(screen.text(), format!("{name}\r\nall\r\n"));
    assert!(exits.one().success());
}

#[test]
fn the_child_leads_a_session_in_the_foreground() {
    let lp = new_loop();
    let pty = pty(&lp);
    assert_eq!(pty.foreground_group(), Ok(None));
    let exits = Exits::new();
    let process = sh("echo ready; read line").pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    run_until(&lp, || screen.shows("ready"));
    assert_eq!(pty.foreground_group(), Ok(Some(process.pid())));
    // SAFETY: asks for a number.
    assert_eq!(unsafe { libc::getsid(process.pid()) }, process.pid());
    pty.write_and_forget("\r").unwrap();
    finish(&lp);
}

#[test]
fn control_c_interrupts_the_foreground_and_not_this_process() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.02; done";
    sh(script).pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    run_until(&lp, || screen.shows("ready"));
    pty.write_and_forget("\x03").unwrap();
    finish(&lp);
    assert_eq!(screen.text(), "ready\r\n^Cinterrupted\r\n");
    assert_eq!(exits.one().code(), Some(3));
}

#[test]
fn what_is_typed_is_shown_or_not() {
    for (echo, wanted) in [(true, "hello\r\nhello\r\n"), (false, "hello\r\n")] {
        let lp = new_loop();
        let (pty, exits) = (pty(&lp), Exits::new());
        pty.set_echo(echo).unwrap();
        Command::new("cat").pty(&pty).spawn(&lp, exits.note()).unwrap();
        pty.write_and_forget("hello\n").unwrap();
        pty.shutdown(|_, result| result.unwrap()).unwrap();
        assert_eq!(pty.write_and_forget("more"), Err(Error::EPIPE));
        let screen = Screen::of(&pty);
        finish(&lp);
        assert!(exits.one().success());
        assert_eq!(screen.text(), wanted);
    }
}

#[test]
fn the_end_of_the_input_also_ends_a_line_that_was_begun() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    pty.set_echo(false).unwrap();
    Command::new("cat").pty(&pty).spawn(&lp, exits.note()).unwrap();
    pty.write_and_forget("one\ntw").unwrap();
    pty.write_and_forget("o").unwrap();
    pty.shutdown(|_, result| result.unwrap()).unwrap();
    let screen = Screen::of(&pty);
    finish(&lp);
    assert!(exits.one().success());
    assert_eq!(screen.text(), "one\r\ntwo");
}

#[test]
fn a_terminal_that_reads_no_lines_has_no_key_for_the_end() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    tty.set_mode(TtyMode::Raw).unwrap();
    assert_eq!(pty.shutdown(|_, _| panic!()), Err(Error::ENOTSUP));
    tty.set_mode(TtyMode::Normal).unwrap();
    pty.shutdown(|pty, result| {
        assert_eq!(result, Ok(()));
        pty.close();
    })
    .unwrap();
    assert_eq!(pty.shutdown(|_, _| panic!()), Err(Error::ENOTCONN));
    finish(&lp);
}

#[test]
fn a_change_of_size_is_told_to_the_program() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    let script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done";
    sh(script).pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    run_until(&lp, || screen.shows("ready"));
    pty.set_window_size(WindowSize::new(132, 43)).unwrap();
    finish(&lp);
    assert_eq!(screen.text(), "ready\r\n43 132\r\n");
}

/// The end comes after the last byte, however much the child wrote before its exit.
#[test]
fn nothing_is_lost_when_the_child_exits() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    Command::new("seq").args(["1", "50000"]).pty(&pty).spawn(&lp, exits.note()).unwrap();
    // Let it fill the terminal first, so that it is not read while it is written.
    for _ in 0..3 {
        lp.run(RunMode::NoWait).unwrap();
    }
    let screen = Screen::of(&pty);
    finish(&lp);
    let wanted: String = (1..=50_000).map(|n| format!("{n}\r\n")).collect();
    assert!(screen.text() == wanted, "{} of {} bytes", screen.text().len(), wanted.len());
    assert!(exits.one().success());
}

#[test]
fn what_is_read_only_after_the_exit_is_all_there() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    sh("echo the last words").pty(&pty).spawn(&lp, exits.note()).unwrap();
    finish(&lp);
    assert!(exits.one().success());
    let screen = Screen::of(&pty);
    finish(&lp);
    assert_eq!(screen.text(), "the last words\r\n");
}

/// The session leader's exit hangs up the others; one that ignores that goes on.
#[test]
fn a_process_in_the_background_holds_up_the_end_and_not_the_exit() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    let script = "trap '' HUP; mkfifo \"$0\"; (read go < \"$0\"; echo late) & echo first";
    let fifo = tools::TempPath::new();
    let mut command = sh(script);
    command.arg(fifo.path()).pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    run_until(&lp, || !exits.get().is_empty() && screen.shows("first"));
    assert!(pty.is_active(), "somebody has the terminal still");
    std::fs::write(fifo.path(), "go\n").unwrap();
    finish(&lp);
    assert_eq!(screen.text(), "first\r\nlate\r\n");
}

#[test]
fn one_terminal_serves_one_child_after_the_other() {
    let lp = new_loop();
    let pty = pty(&lp);
    let screen = Screen::default();
    for n in 1..=3 {
        let exits = Exits::new();
        sh(&format!("echo {n}")).pty(&pty).spawn(&lp, exits.note()).unwrap();
        screen.go_on(&pty);
        finish(&lp);
        assert!(exits.one().success());
        assert!(!pty.is_active());
    }
    assert_eq!(screen.text(), "1\r\n2\r\n3\r\n");
}

#[test]
fn a_program_is_made_on_the_thread_beside_the_loop_too() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    let mut command = sh("tty >&2");
    command.pty(&pty);
    command.spawn_off_loop(&lp, |_, result| assert!(result.is_ok()), exits.note()).unwrap();
    let screen = Screen::of(&pty);
    let name = format!("{}\r\n", pty.slave_name().unwrap().display());
    finish(&lp);
    assert_eq!(screen.text(), name);
}

/// Of a master whose slave is gone epoll says nothing but that it is hung up, for ever.
#[test]
fn writing_to_a_terminal_that_nobody_reads_any_more_fails_in_the_end() {
    let lp = new_loop();
    let (pty, exits) = (pty(&lp), Exits::new());
    sh("stty raw -echo; echo ready; read line").pty(&pty).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&pty);
    run_until(&lp, || screen.shows("ready"));
    // More than any terminal takes, so that it is queued while the slave is there.
    let failed = Rc::new(std::cell::Cell::new(None));
    let seen = failed.clone();
    pty.write(vec![b'x'; 1 << 20], move |_, written| seen.set(written.result.err())).unwrap();
    assert!(pty.write_queue_size() > 0);
    blacklight::kill(pty.foreground_group().unwrap().unwrap(), libc::SIGKILL).unwrap();
    finish(&lp);
    assert_eq!(failed.get(), Some(Error::EIO));
    assert_eq!(exits.one().signal(), Some(libc::SIGKILL));
}

#[test]
fn settings_are_taken_over_from_another_terminal() {
    let lp = new_loop();
    let (users, inner) = (pty(&lp), pty(&lp));
    users.set_echo(false).unwrap();
    inner.copy_settings(users.open_slave().unwrap()).unwrap();
    let exits = Exits::new();
    sh("stty -a").pty(&inner).spawn(&lp, exits.note()).unwrap();
    let screen = Screen::of(&inner);
    finish(&lp);
    assert!(screen.shows(" -echo "), "{}", screen.text());
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(users.copy_settings(file), Err(Error::ENOTTY));
}

#[test]
fn slots_may_be_something_else_but_for_the_terminal_itself() {
    let lp = new_loop();
    let (first, exits) = (pty(&lp), Exits::new());
    let out = Pipe::new(&lp).unwrap();
    let mut command = sh("test -t 1 || echo a pipe");
    command.pty(&first).stdout(Stdio::pipe(&out)).spawn(&lp, exits.note()).unwrap();
    let text = tools::collect(&out);
    let screen = Screen::of(&first);
    finish(&lp);
    assert_eq!((text.borrow().as_slice(), &*screen.text()), (b"a pipe\n".as_slice(), ""));
    let second = pty(&lp);
    let mut command = sh("true");
    command.pty(&second).stdin(Stdio::null());
    let error = command.spawn(&lp, |_, _| panic!()).unwrap_err();
    assert_eq!(error.error(), Error::ENOTTY, "{error}");
}

#[test]
fn bad_input_is_an_error_value() {
    let lp = new_loop();
    let pty = pty(&lp);
    pty.read_start(|_, _| {}).unwrap();
    assert_eq!(pty.read_start(|_, _| {}), Err(Error::EALREADY));
    assert_eq!(pty.listen(1, |_, _| {}), Err(Error::EINVAL));
    pty.close();
    let bad = Err(Error::EBADF);
    assert_eq!(pty.set_echo(true), bad);
    let other = self::pty(&lp);
    assert_eq!(pty.copy_settings(other.open_slave().unwrap()), bad);
    assert_eq!(pty.window_size().map(drop), bad);
    assert_eq!(pty.set_window_size(WindowSize::default()), bad);
    assert_eq!(pty.slave_name().map(drop), bad);
    assert_eq!(pty.open_slave().map(drop), bad);
    assert_eq!(pty.foreground_group().map(drop), bad);
    assert_eq!(pty.shutdown(|_, _| panic!()), bad);
    assert_eq!(pty.write("x", |_, _| panic!()).map(drop), bad);
    let error = sh("true").pty(&pty).spawn(&lp, |_, _| panic!()).unwrap_err();
    assert_eq!(error.error(), Error::EBADF, "{error}");
    finish(&lp);
    let reference = pty.event_loop().clone();
    drop(lp);
    assert_eq!(Pty::new(&reference, WindowSize::default()).map(drop), Err(Error::EINVAL));
}

#[test]
fn no_descriptor_is_left_over() {
    isolated(|| {
        let lp = new_loop();
        on_a_terminal("true");
        // What this loop needs for its children is there from its first one on.
        Command::new("true").spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        lp.run(RunMode::Default).unwrap();
        let before = support::open_fds();
        for _ in 0..3 {
            on_a_terminal("echo something");
            let half_made = pty(&lp);
            let mut command = Command::new("/nonexistent");
            assert!(command.pty(&half_made).spawn(&lp, |_, _| panic!()).is_err());
        }
        assert_eq!(support::open_fds(), before);
    });
}
