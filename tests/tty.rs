//! Terminals: modes, what is shared and not changed, and what is no terminal. The terminals are
//! pseudo-terminals that the tests make.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]
#![allow(unsafe_code)]

mod support;
#[path = "support/terminals.rs"]
mod terminals;
#[path = "support/tools.rs"]
mod tools;

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{DescriptorKind, Error, HandleKind, TtyMode, VtermState, WindowSize};
use support::process::new_loop;
use terminals::{IO, NORMAL, RAW, pty, settings};
use tools::{Tokens, finish};

fn flags(fd: impl AsFd) -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) }
}

/// libuv's documentation of `uv_tty_init`: the terminal is reopened, so that the descriptors of
/// other processes are not affected. (node#42826, libuv#2062: B16.)
#[test]
fn the_description_that_others_share_stays_blocking() {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let before = flags(&slave);
    assert_eq!(before & libc::O_NONBLOCK, 0);
    let tty = Tty::new(&lp, &slave).unwrap();
    assert!(tty.has_own_description());
    assert_eq!(flags(&slave), before);
    tty.read_start(|tty, read| {
        assert_eq!(read, Read::Data(b"line\n"));
        tty.close();
    })
    .unwrap();
    pty.write_and_forget("line\n").unwrap();
    finish(&lp);
    assert_eq!(flags(&slave), before);
}

#[test]
fn the_callers_descriptor_may_be_closed() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    tty.write("out", |tty, written| {
        assert_eq!(written.result, Ok(()));
        tty.close();
    })
    .unwrap();
    pty.read_start(|pty, read| match read {
        Read::Data(bytes) => assert_eq!(bytes, b"out"),
        Read::Eof => pty.close(),
        Read::Error(error) => panic!("{error}"),
    })
    .unwrap();
    finish(&lp);
    assert!(pty.is_closed());
}

#[test]
fn a_mode_is_what_the_terminal_is_in() {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let tty = Tty::new(&lp, &slave).unwrap();
    assert_eq!((tty.kind(), tty.kind().name()), (HandleKind::Tty, "tty"));
    assert_eq!((tty.mode(), settings(&slave)), (TtyMode::Normal, NORMAL));
    let cases = [
        (TtyMode::Raw, RAW, TtyMode::Raw),
        (TtyMode::Io, IO, TtyMode::Io),
        (TtyMode::RawVt, RAW, TtyMode::Raw),
        (TtyMode::Normal, NORMAL, TtyMode::Normal),
        (TtyMode::Io, IO, TtyMode::Io),
        (TtyMode::Normal, NORMAL, TtyMode::Normal),
    ];
    for (mode, wanted, said) in cases {
        tty.set_mode(mode).unwrap();
        assert_eq!((settings(&slave), tty.mode()), (wanted, said), "{mode:?}");
    }
}

#[test]
fn raw_mode_gives_each_key_at_once() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    tty.set_mode(TtyMode::Raw).unwrap();
    let keys = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = keys.clone();
    tty.read_start(move |tty, read| match read {
        Read::Data(bytes) => {
            seen.borrow_mut().extend_from_slice(bytes);
            if seen.borrow().len() == 4 {
                tty.close();
            }
        }
        other => panic!("{other:?}"),
    })
    .unwrap();
    // Ctrl-C, Ctrl-D, Enter: keys like any other.
    pty.write_and_forget("\x03\x04\rq").unwrap();
    finish(&lp);
    assert_eq!(*keys.borrow(), b"\x03\x04\rq");
}

#[test]
fn what_was_set_between_two_raw_modes_is_what_normal_means() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    tty.set_mode(TtyMode::Raw).unwrap();
    tty.set_mode(TtyMode::Normal).unwrap();
    pty.set_echo(false).unwrap();
    tty.set_mode(TtyMode::Raw).unwrap();
    tty.set_mode(TtyMode::Normal).unwrap();
    assert_eq!(settings(pty.duplicate_fd().unwrap()), [true, false, true, true]);
}

/// In libuv the second handle takes raw for normal, and closing the first restores the terminal
/// under the second.
#[test]
fn several_handles_of_one_terminal_agree_on_what_normal_is() {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let [one, two, three] = [(); 3].map(|()| Tty::new(&lp, &slave).unwrap());
    one.set_mode(TtyMode::Raw).unwrap();
    two.set_mode(TtyMode::Io).unwrap();
    assert_eq!(settings(&slave), IO, "the last call decides");
    one.close();
    assert_eq!(settings(&slave), IO, "another one holds it");
    three.set_mode(TtyMode::Normal).unwrap();
    assert_eq!(settings(&slave), NORMAL);
    two.set_mode(TtyMode::Io).unwrap();
    assert_eq!(settings(&slave), IO, "although that is what it said before");
    two.set_mode(TtyMode::Normal).unwrap();
    assert_eq!(settings(&slave), NORMAL);
    three.set_mode(TtyMode::Raw).unwrap();
    drop((two, three));
    assert_eq!(settings(&slave), NORMAL, "the last one is gone without a close");
    finish(&lp);
}

#[test]
fn the_window_has_a_size() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    assert_eq!(tty.window_size(), Ok(WindowSize::new(80, 24)));
    let large = WindowSize { columns: 200, rows: 60, width: 2000, height: 1200 };
    pty.set_window_size(large).unwrap();
    assert_eq!((tty.window_size(), pty.window_size()), (Ok(large), Ok(large)));
}

#[test]
fn a_terminal_that_hangs_up_has_come_to_its_end() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    let end = Rc::new(Cell::new(false));
    let ended = end.clone();
    tty.read_start(move |tty, read| {
        assert_eq!(read, Read::Eof);
        ended.set(true);
        tty.close();
    })
    .unwrap();
    pty.close();
    finish(&lp);
    assert!(end.get());
}

/// A master cannot be opened anew, and its description is somebody else's: poll(2) it is.
#[test]
fn a_blocking_master_is_read_and_written_without_changing_it() {
    let lp = new_loop();
    let made = pty(&lp);
    let slave = made.open_slave().unwrap();
    let master = made.take_fd().unwrap();
    let blocking = flags(&master) & !libc::O_NONBLOCK;
    // SAFETY: the argument is a number.
    assert_eq!(unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFL, blocking) }, 0);
    let tty = Tty::new(&lp, &master).unwrap();
    let said = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = said.clone();
    tty.read_start(move |tty, read| match read {
        Read::Data(bytes) => seen.borrow_mut().extend_from_slice(bytes),
        Read::Eof => tty.close(),
        Read::Error(error) => panic!("{error}"),
    })
    .unwrap();
    tty.write("typed\n", |_, written| assert_eq!(written.result, Ok(()))).unwrap();
    let reader = Tty::new(&lp, slave).unwrap();
    reader
        .read_start(|reader, read| {
            assert_eq!(read, Read::Data(b"typed\n"));
            reader.write("done", |reader, _| reader.close()).unwrap();
        })
        .unwrap();
    finish(&lp);
    assert_eq!(*said.borrow(), b"typed\r\ndone");
    assert_eq!(flags(&master), blocking);
    // It is non-blocking here.
    let again = Tty::new(&lp, &master).unwrap();
    assert!(!again.has_own_description());
    again
        .read_start(|again, read| {
            assert_eq!(read, Read::Eof);
            again.close();
        })
        .unwrap();
    finish(&lp);
}

/// libuv's documentation of `uv_guess_handle` and of `uv_tty_init`.
#[test]
fn what_a_descriptor_is_and_whether_it_can_be_a_terminal() {
    let lp = new_loop();
    let pty = pty(&lp);
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let (no, none, open) = (Err(Error::EINVAL), Err(Error::ENOTTY), Ok(()));
    let cases: Vec<(&str, OwnedFd, DescriptorKind, blacklight::Result<()>)> = vec![
        ("slave", pty.open_slave().unwrap(), DescriptorKind::Tty, open),
        ("master", pty.duplicate_fd().unwrap(), DescriptorKind::Tty, open),
        ("pipe", reader.into(), DescriptorKind::Pipe, none),
        ("pipe's other end", writer.into(), DescriptorKind::Pipe, none),
        ("Unix socket", socket.into(), DescriptorKind::Pipe, none),
        ("Unix datagrams", datagrams.into(), DescriptorKind::Unknown, no),
        ("TCP", tcp.into(), DescriptorKind::Tcp, none),
        ("UDP", udp.into(), DescriptorKind::Udp, none),
        ("null", File::open("/dev/null").unwrap().into(), DescriptorKind::File, no),
        ("file", File::open("/proc/self/stat").unwrap().into(), DescriptorKind::File, no),
        ("directory", File::open("/").unwrap().into(), DescriptorKind::Unknown, no),
    ];
    for (name, fd, kind, outcome) in cases {
        assert_eq!(DescriptorKind::of(&fd), kind, "{name}");
        let before = flags(&fd);
        let tty = Tty::new(&lp, &fd);
        let set = tty.and_then(|tty| {
            let set = tty.set_mode(TtyMode::Raw);
            assert_eq!(tty.window_size().map(drop), set, "{name}");
            tty.set_mode(TtyMode::Normal).and(set)
        });
        assert_eq!(set, outcome, "{name}");
        assert_eq!(flags(&fd), before, "{name}");
    }
}

#[test]
fn bad_input_is_an_error_value() {
    let lp = new_loop();
    let pty = pty(&lp);
    let slave = pty.open_slave().unwrap();
    let tty = Tty::new(&lp, &slave).unwrap();
    tty.read_start(|_, _| {}).unwrap();
    assert_eq!(tty.read_start(|_, _| {}), Err(Error::EALREADY));
    assert_eq!(tty.shutdown(|_, result| assert_eq!(result, Err(Error::ENOTSOCK))), Ok(()));
    assert_eq!(tty.write_and_forget("x"), Err(Error::EPIPE));
    // A session leader without a terminal would have this one otherwise, and end with it.
    let mut options = File::options();
    let read_only = options.read(true).custom_flags(libc::O_NOCTTY).open(pty.slave_name().unwrap());
    let read_only = Tty::new(&lp, read_only.unwrap()).unwrap();
    assert_eq!(read_only.write_and_forget("x"), Err(Error::EPIPE));
    assert_eq!(read_only.listen(1, |_, _| {}), Err(Error::EINVAL));
    lp.run(RunMode::NoWait).unwrap();
    tty.close();
    assert_eq!(tty.set_mode(TtyMode::Raw), Err(Error::EBADF));
    assert_eq!(tty.window_size(), Err(Error::EBADF));
    assert!(matches!(tty.mode_guard(TtyMode::Raw), Err(Error::EBADF)));
    assert_eq!(tty.read_start(|_, _| {}), Err(Error::EINVAL));
    // libuv's documentation of the two: Windows only.
    assert_eq!(Tty::vterm_state(), Err(Error::ENOTSUP));
    Tty::set_vterm_state(VtermState::Supported);
    finish(&lp);
    drop(lp);
    assert_eq!(read_only.set_mode(TtyMode::Raw), Err(Error::EINVAL));
    let other = new_loop();
    let (elsewhere, gone) = (terminals::pty(&other), new_loop());
    let reference = (*gone).clone();
    drop(gone);
    let slave = elsewhere.open_slave().unwrap();
    assert_eq!(Tty::new(&reference, &slave).map(drop), Err(Error::EINVAL));
}

#[test]
fn a_panic_in_a_reader_stops_that_reader() {
    let lp = new_loop();
    let pty = pty(&lp);
    let tty = Tty::new(&lp, pty.open_slave().unwrap()).unwrap();
    let tokens = Tokens::new();
    let token = tokens.one();
    tty.read_start(move |_, _| {
        token.keep();
        panic!("on purpose");
    })
    .unwrap();
    pty.write_and_forget("x\n").unwrap();
    tools::run_panics(&lp, RunMode::Default, "on purpose");
    assert_eq!((tokens.alive(), tty.is_active()), (0, false));
    finish(&lp);
}
