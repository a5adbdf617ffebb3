//! A server on a Unix socket that sends back what it gets.
//!
//! ```text
//! cargo run --example echo_server -- /tmp/echo.sock
//! ```
//!
//! It shows listening and accepting, back-pressure (a client that does not read its echo is not read
//! from either), and an orderly end: on SIGINT or SIGTERM the path is removed, nobody new is let in,
//! and what is queued for the others is written before they are closed.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use blacklight::prelude::*;
use blacklight::{Error, Result};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: echo_server PATH");
        return ExitCode::from(2);
    };
    match serve(path.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn serve(path: &[u8]) -> Result<()> {
    let lp = EventLoop::new()?;
    let server = Pipe::new(&lp)?;
    server.bind(path)?;
    server.listen(128, |server, announced| {
        let echoing = announced.and_then(|()| server.accept()).and_then(|client| echo(&client));
        report(echoing);
    })?;
    for signum in [libc::SIGINT, libc::SIGTERM] {
        let signal = Signal::new(&lp)?;
        signal.start(signum, move |signal, _| end(signal.event_loop()))?;
        signal.unreference();
    }
    println!("listening");
    lp.run(RunMode::Default).map(drop)
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("echo_server: {error}");
    }
}

/// Sends back what comes from a client, until its end.
fn echo(client: &Pipe) -> Result<()> {
    client.on_drain(|client| {
        // Unless it is being finished.
        if client.is_writable()
            && let Err(error) = read(client)
        {
            hang_up(client, error);
        }
    })?;
    read(client)
}

fn read(client: &Pipe) -> Result<()> {
    client.read_start(|client, read| match read {
        Read::Data(bytes) => {
            if let Err(error) = client.write_and_forget(bytes.to_vec()) {
                hang_up(client, error);
            } else if client.wants_drain() {
                client.read_stop();
            }
        }
        Read::Eof => finish(client),
        Read::Error(error) => hang_up(client, error),
    })
}

/// Closes a connection when everything has been written.
fn finish(client: &Pipe) {
    let ending = client.shutdown(|client, _| client.close());
    if let Err(error) = ending {
        hang_up(client, error);
    }
}

fn hang_up(client: &Pipe, error: Error) {
    // That a client leaves without a word is its right.
    if !matches!(error, Error::EPIPE | Error::ECONNRESET) {
        report(Err(error));
    }
    client.close();
}

/// Ends whatever is there: connections when they have been written to, the rest at once. A second
/// signal finds no handler left and does what it always did.
fn end(lp: &LoopRef) {
    lp.walk(|handle| match handle.downcast::<Pipe>() {
        Some(client) if client.is_writable() => {
            client.read_stop();
            finish(&client);
        }
        // It is being finished.
        Some(client) if client.write_queue_size() > 0 => {}
        _ => handle.close(),
    });
}
