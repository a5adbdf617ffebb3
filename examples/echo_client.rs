//! A client of `echo_server`: sends the lines of standard input and prints what comes back.
//!
//! ```text
//! echo hello | cargo run --example echo_client -- /tmp/echo.sock
//! ```
//!
//! Standard input may be a regular file, which no event loop on epoll can wait for, so a thread
//! reads it and wakes the loop with an `Async`. The channel between them is bounded, and the loop
//! takes from it only while the server keeps up.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use blacklight::prelude::*;
use blacklight::{Error, Result};

/// Lines that are read ahead.
const AHEAD: usize = 64;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: echo_client PATH");
        return ExitCode::from(2);
    };
    match talk(path.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn talk(path: &[u8]) -> Result<()> {
    let lp = EventLoop::new()?;
    let outcome = Rc::new(Cell::new(Ok(())));
    let server = Pipe::new(&lp)?;
    let end = outcome.clone();
    server.connect(path, move |server, connected| {
        if let Err(error) = connected.and_then(|()| begin(server, &end)) {
            end.set(Err(error));
            server.close();
        }
    })?;
    lp.run(RunMode::Default)?;
    outcome.get()
}

/// Connected: lines go one way, replies come the other.
fn begin(server: &Pipe, outcome: &Rc<Cell<Result<()>>>) -> Result<()> {
    let (sender, lines) = sync_channel(AHEAD);
    let (to, end) = (server.clone(), outcome.clone());
    let wake = Async::new(server.event_loop(), move |wake| {
        if let Err(error) = forward(&lines, &to, wake) {
            finish(&to, wake, &end, Err(error));
        }
    })?;

    let again = wake.clone();
    server.on_drain(move |_| {
        // It is closed when there are no more lines.
        let _closed = again.send();
    })?;

    let (woken, end) = (wake.clone(), outcome.clone());
    server.read_start(move |server, read| match read {
        Read::Data(bytes) => {
            if let Err(error) = print(bytes) {
                finish(server, &woken, &end, Err(error));
            }
        }
        // Nothing is missing if the server ends after us.
        Read::Eof if server.is_writable() => finish(server, &woken, &end, Err(Error::EOF)),
        Read::Eof => finish(server, &woken, &end, Ok(())),
        Read::Error(error) => finish(server, &woken, &end, Err(error)),
    })?;

    let wake = wake.sender()?;
    thread::spawn(move || {
        if let Err(error) = read_lines(sender, &wake) {
            eprintln!("echo_client: standard input: {error}");
        }
        // The end of the channel is news, too.
        let _ended = wake.send();
    });
    Ok(())
}

fn finish(server: &Pipe, wake: &Async, outcome: &Cell<Result<()>>, result: Result<()>) {
    outcome.set(outcome.get().and(result));
    server.close();
    wake.close();
}

/// Takes the lines that are there, for as long as the server keeps up.
fn forward(lines: &Receiver<Vec<u8>>, server: &Pipe, wake: &Async) -> Result<()> {
    while !server.wants_drain() {
        match lines.try_recv() {
            Ok(line) => server.write_and_forget(line)?,
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => {
                wake.close();
                return server.shutdown(|_, _| {});
            }
        }
    }
    Ok(())
}

/// The thread: reads lines until there are no more, or nobody wants them.
fn read_lines(lines: SyncSender<Vec<u8>>, wake: &AsyncSender) -> io::Result<()> {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 || lines.send(line).is_err() {
            return Ok(());
        }
        if wake.send().is_err() {
            return Ok(());
        }
    }
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::from)
}
