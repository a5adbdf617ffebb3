//! A TCP server that sends back what it gets, and with `--client` a client that sends it lines.
//!
//! ```text
//! cargo run --example tcp_echo -- 127.0.0.1:7000
//! echo hello | cargo run --example tcp_echo -- --client 127.0.0.1:7000
//! ```
//!
//! It shows listening and accepting, keep-alive, and back-pressure: a client that does not read its
//! echo is not read from either. Standard input of the client must be a pipe or a terminal, as no
//! event loop on epoll can wait for a regular file.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use blacklight::prelude::*;
use blacklight::{Error, Result, TcpKeepAlive};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let client = args.first().is_some_and(|arg| arg == "--client");
    if client {
        args.remove(0);
    }
    let Some(Ok(address)) = args.first().map(|arg| arg.parse()) else {
        eprintln!("usage: tcp_echo [--client] ADDRESS:PORT");
        return ExitCode::from(2);
    };
    match if client { talk(address) } else { serve(address) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcp_echo: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: SocketAddr) -> Result<()> {
    let lp = EventLoop::new()?;
    let server = Tcp::new(&lp)?;
    server.bind(address)?;
    server.listen(128, |server, announced| {
        let echoing = announced.and_then(|()| server.accept()).and_then(|client| echo(&client));
        if let Err(error) = echoing {
            eprintln!("tcp_echo: {error}");
        }
    })?;
    println!("listening on {}", server.local_address()?);
    let signal = Signal::new(&lp)?;
    signal.start(libc::SIGINT, |signal, _| signal.event_loop().walk(|handle| handle.close()))?;
    lp.run(RunMode::Default).map(drop)
}

/// Sends back what comes from a client, until its end.
fn echo(client: &Tcp) -> Result<()> {
    client.no_delay(true)?;
    // A client that has vanished without a word is given up after a minute and ten probes.
    client.keep_alive(Some(TcpKeepAlive::after(Duration::from_secs(60))))?;
    client.on_drain(|client| close_on(client, read(client)))?;
    read(client)
}

fn read(client: &Tcp) -> Result<()> {
    client.read_start(|client, read| match read {
        Read::Data(bytes) => {
            close_on(client, client.write_and_forget(bytes.to_vec()));
            if client.wants_drain() {
                client.read_stop();
            }
        }
        Read::Eof => close_on(client, client.shutdown(|client, _| client.close())),
        Read::Error(_) => client.close(),
    })
}

/// A connection that fails is over; the others go on.
fn close_on(client: &Tcp, result: Result<()>) {
    if let Err(error) = result
        && !client.is_closing()
    {
        eprintln!("tcp_echo: {error}");
        client.close();
    }
}

fn talk(address: SocketAddr) -> Result<()> {
    let lp = EventLoop::new()?;
    let (input, connection) = (Pipe::new(&lp)?, Tcp::new(&lp)?);
    input.open(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let lines = input.clone();
    connection.connect(address, move |connection, result| {
        let talking = result.and_then(|()| copy(&lines, connection));
        if let Err(error) = talking {
            eprintln!("tcp_echo: {error}");
            connection.close();
            lines.close();
        }
    })?;
    lp.run(RunMode::Default).map(drop)
}

/// Sends what comes from standard input, and prints what comes back.
fn copy(input: &Pipe, connection: &Tcp) -> Result<()> {
    let to = connection.clone();
    input.read_start(move |input, read| match read {
        Read::Data(bytes) => close_on(&to, to.write_and_forget(bytes.to_vec())),
        Read::Eof | Read::Error(_) => {
            input.close();
            // The server sends the rest and ends its side.
            close_on(&to, to.shutdown(|_, _| {}));
        }
    })?;
    let input = input.clone();
    connection.read_start(move |connection, read| match read {
        Read::Data(bytes) => {
            if std::io::stdout().write_all(bytes).is_err() {
                connection.close();
                input.close();
            }
        }
        Read::Eof => connection.close(),
        Read::Error(error) => {
            if error != Error::ECONNRESET {
                eprintln!("tcp_echo: {error}");
            }
            connection.close();
            input.close();
        }
    })
}
