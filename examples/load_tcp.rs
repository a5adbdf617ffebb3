//! Many TCP connections on one loop: how many, how fast they are echoed, what an idle one costs.
//!
//! ```text
//! cargo run --release --example load_tcp -- [CONNECTIONS [ROUNDS]]
//! ```
//!
//! The server is a process of its own, this program again, with one loop; this one has the clients on
//! another loop. All connections are made, then all are echoed over ROUNDS times, at once. The
//! memory of an idle connection is what the server has grown by, divided by their number.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use blacklight::prelude::*;
use blacklight::{Error, Result};

/// Connects in progress at a time, so that the server's backlog is not overrun.
const CONNECTING: usize = 256;

/// Bytes of a message.
const MESSAGE: [u8; 64] = [b'.'; 64];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    let done = if first.as_deref() == Some("--serve") {
        serve()
    } else {
        let number = |arg: Option<String>, usual| arg.and_then(|n| n.parse().ok()).unwrap_or(usual);
        drive(number(first, 10_000), number(args.next(), 10))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load_tcp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of descriptors to the hard one; returns how many connections fit.
fn room() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one structure, which outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX).saturating_sub(64)
}

/// Bytes of memory that a process has resident.
fn resident(pid: i32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn serve() -> Result<()> {
    room();
    let lp = EventLoop::new()?;
    let server = Tcp::new(&lp)?;
    server.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    server.simultaneous_accepts(true)?;
    server.listen(4096, |server, announced| {
        let echoing = announced.and_then(|()| server.accept()).and_then(|client| {
            client.read_start(|client, read| match read {
                Read::Data(bytes) if client.write_and_forget(bytes.to_vec()).is_ok() => {}
                _ => client.close(),
            })
        });
        if let Err(error) = echoing {
            eprintln!("load_tcp: the server: {error}");
        }
    })?;
    println!("{}", server.local_address()?);
    // It serves for as long as its standard input is open.
    let input = Pipe::new(&lp)?;
    use std::os::fd::AsFd;
    input.open(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    input.read_start(|input, read| {
        if !matches!(read, Read::Data(_)) {
            input.event_loop().walk(|handle| handle.close());
        }
    })?;
    lp.run(RunMode::Default).map(drop)
}

/// What the clients have done.
#[derive(Default)]
struct Progress {
    connected: Cell<usize>,
    begun: Cell<usize>,
    failed: Cell<usize>,
    echoed: Cell<usize>,
}

fn drive(wanted: usize, rounds: usize) -> Result<()> {
    let connections = wanted.min(room());
    if connections < wanted {
        println!("descriptors for {connections} connections only");
    }
    let lp = EventLoop::new()?;
    let (input, output) = (Pipe::new(&lp)?, Pipe::new(&lp)?);
    let program = std::env::current_exe()?;
    let server = Command::new(program)
        .arg("--serve")
        .stdin(Stdio::pipe(&input))
        .stdout(Stdio::pipe(&output))
        .spawn(&lp, |_, _| {})
        .map_err(|error| error.error())?;
    let address = first_line(&lp, &output)?;

    let before = resident(server.pid());
    let (progress, clients) = (Rc::new(Progress::default()), Rc::new(RefCell::new(Vec::new())));
    let begun = Instant::now();
    while progress.connected.get() + progress.failed.get() < connections {
        while progress.begun.get() < connections
            && progress.begun.get() - progress.connected.get() - progress.failed.get() < CONNECTING
        {
            clients.borrow_mut().push(connect(&lp, address, &progress)?);
        }
        lp.run(RunMode::Once)?;
    }
    // One echo each, so that the server has accepted all of them.
    echo(&lp, &clients.borrow(), &progress, 1)?;
    let took = begun.elapsed().as_secs_f64();
    let grown = resident(server.pid()).saturating_sub(before);
    let made = progress.connected.get();
    println!("{made} connections in {took:.2} s, {} failed", progress.failed.get());
    println!("{} bytes of memory per idle connection", grown / made.max(1));

    let begun = Instant::now();
    let echoes = echo(&lp, &clients.borrow(), &progress, rounds)?;
    let per_second = echoes as f64 / begun.elapsed().as_secs_f64();
    println!("{echoes} echoes, {per_second:.0} per second");
    for client in clients.borrow().iter() {
        // With a reset no port has to wait.
        if client.close_reset().is_err() {
            client.close();
        }
    }
    input.close();
    lp.run(RunMode::Default).map(drop)
}

/// The address that the server says it listens on.
fn first_line(lp: &EventLoop, output: &Pipe) -> Result<SocketAddr> {
    let text = Rc::new(RefCell::new(String::new()));
    let sink = text.clone();
    output.read_start(move |output, read| match read {
        Read::Data(bytes) => {
            sink.borrow_mut().push_str(&String::from_utf8_lossy(bytes));
            if bytes.ends_with(b"\n") {
                output.close();
            }
        }
        _ => output.close(),
    })?;
    while !output.is_closing() {
        lp.run(RunMode::Once)?;
    }
    text.borrow().trim().parse().map_err(|_| Error::EPROTO)
}

fn connect(lp: &EventLoop, address: SocketAddr, progress: &Rc<Progress>) -> Result<Tcp> {
    let client = Tcp::new(lp)?;
    progress.begun.set(progress.begun.get() + 1);
    let progress = progress.clone();
    client.connect(address, move |client, result| {
        let echoed = progress.clone();
        let reading = result.and_then(|()| {
            client.read_start(move |client, read| match read {
                // A message is small enough to come in one piece on the loopback, but need not.
                Read::Data(bytes) => echoed.echoed.set(echoed.echoed.get() + bytes.len()),
                _ => client.close(),
            })
        });
        match reading {
            Ok(()) => progress.connected.set(progress.connected.get() + 1),
            Err(error) => {
                eprintln!("load_tcp: {error}");
                progress.failed.set(progress.failed.get() + 1);
                client.close();
            }
        }
    })?;
    Ok(client)
}

/// Has every connection echoed `rounds` times; how many echoes that were.
fn echo(lp: &EventLoop, clients: &[Tcp], progress: &Progress, rounds: usize) -> Result<usize> {
    let mut echoes = 0;
    for _ in 0..rounds {
        progress.echoed.set(0);
        let mut sent = 0;
        for client in clients.iter().filter(|client| client.is_writable()) {
            client.write_and_forget(&MESSAGE)?;
            sent += 1;
        }
        while progress.echoed.get() < sent * MESSAGE.len() {
            lp.run(RunMode::Once)?;
        }
        echoes += sent;
    }
    Ok(echoes)
}
