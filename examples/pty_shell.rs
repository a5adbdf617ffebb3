//! A shell inside a pseudo-terminal: what is typed goes in, what it says comes out.
//!
//! `pty_shell` runs `$SHELL`; `pty_shell -c 'command'` and the like are passed on to it. On a
//! terminal, that one is in raw mode meanwhile, has its size followed, and is put back at the end.
//! The exit code is the shell's.

use std::cell::Cell;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{DescriptorKind, TtyMode, WindowSize};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pty_shell: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let lp = EventLoop::new()?;
    let ours = match DescriptorKind::of(std::io::stdin()) {
        DescriptorKind::Tty => Some(Tty::new(&lp, std::io::stdin())?),
        _ => None,
    };
    let size = ours.as_ref().map_or(Ok(WindowSize::new(80, 24)), Tty::window_size)?;
    let pty = Pty::new(&lp, size)?;
    if ours.is_some() {
        pty.copy_settings(std::io::stdin())?;
    }

    let code = Rc::new(Cell::new(None));
    let exit_code = code.clone();
    // What still reads the keys when the shell has ended.
    let stop_reading: Rc<Cell<Option<Box<dyn FnOnce()>>>> = Rc::default();
    let reader = stop_reading.clone();
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "sh".into());
    Command::new(shell).args(std::env::args_os().skip(1)).pty(&pty).spawn(
        &lp,
        move |_, exit| {
            exit_code.set(Some(exit));
            if let Some(stop) = reader.take() {
                stop();
            }
        },
    )?;

    pty.read_start(|_, read| match read {
        Read::Data(bytes) => show(bytes),
        Read::Eof => {}
        Read::Error(error) => eprintln!("pty_shell: {error}"),
    })?;

    let _raw = match &ours {
        Some(tty) => {
            Tty::reset_mode_at_exit()?;
            let raw = tty.mode_guard(TtyMode::Raw)?;
            follow_size(&lp, tty, &pty)?;
            feed(tty, &pty)?;
            let keys = tty.clone();
            stop_reading.set(Some(Box::new(move || keys.close())));
            Some(raw)
        }
        None => {
            let input = Pipe::new(&lp)?;
            // A file or /dev/null has nothing that a loop could wait for: no keys then.
            if input.open(std::io::stdin().as_fd().try_clone_to_owned()?).is_ok() {
                feed(&input, &pty)?;
                stop_reading.set(Some(Box::new(move || input.close())));
            } else {
                pty.shutdown(|_, _| {})?;
            }
            None
        }
    };
    lp.run(RunMode::Default)?;
    let exit = code.take().ok_or("the shell has not ended")?;
    let code = exit.code().unwrap_or_else(|| 128 + exit.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn show(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Nobody looks any more; the shell goes on all the same.
    let _unseen = out.write_all(bytes).and_then(|()| out.flush());
}

/// Types everything that comes from `keys`, and Ctrl-D at its end.
fn feed<S: Stream>(keys: &S, pty: &Pty) -> blacklight::Result<()> {
    let pty = pty.clone();
    keys.read_start(move |_, read| match read {
        Read::Data(bytes) => {
            // The shell may have ended a moment ago.
            let _untyped = pty.write_and_forget(bytes.to_vec());
        }
        Read::Eof | Read::Error(_) => {
            let _unended = pty.shutdown(|_, _| {});
        }
    })
}

/// Gives the inner terminal the size of the outer one whenever that changes.
fn follow_size(lp: &EventLoop, tty: &Tty, pty: &Pty) -> blacklight::Result<()> {
    let changes = Signal::new(lp)?;
    let (tty, pty) = (tty.clone(), pty.clone());
    changes.start(libc::SIGWINCH, move |_, _| {
        if let Ok(size) = tty.window_size() {
            let _too_late = pty.set_window_size(size);
        }
    })?;
    changes.unreference();
    Ok(())
}
