//! An HTTP server that forks its workers beforehand: one process listens, several serve.
//!
//! ```text
//! cargo run --features child_process --example prefork -- [--workers N] [--port P]
//! cargo run --features child_process --example prefork -- --self-test
//! ```
//!
//! The program is primary and worker in one: with a primary above it, it serves. The primary hands
//! the connections to the workers in turn, replaces those that die, and on SIGINT or SIGTERM has them
//! finish what they have begun. `--self-test` asks its own server some hundred times, says how the
//! answers spread over the workers, and ends with 0 if all was well.

#![allow(unsafe_code)]

#[path = "prefork/http.rs"]
mod http;
#[path = "prefork/self_test.rs"]
mod self_test;

use std::error::Error;
use std::process::ExitCode;

use blacklight::child_process::cluster::{
    ClusterEvent, ClusterOptions, ClusterWorker, Connection, ListenAddress, ListenKind, Primary,
    RestartLimit, ServerEvent,
};
use blacklight::prelude::*;

/// What the command line says; the workers find it in theirs.
struct Arguments {
    workers: u32,
    port: u16,
    self_test: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: prefork [--workers N] [--port P] [--self-test]");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("prefork: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments { workers: 3, port: 8000, self_test: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // More than a machine has processors helps nobody; this is a bound on mistakes.
            "--workers" => {
                arguments.workers = words.next()?.parse().ok().filter(|n| (1..=256).contains(n))?;
            }
            "--port" => arguments.port = words.next()?.parse().ok()?,
            // The kernel chooses the port.
            "--self-test" => (arguments.self_test, arguments.port) = (true, 0),
            _ => return None,
        }
    }
    Some(arguments)
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let lp = EventLoop::new()?;
    // SAFETY: the program has no other thread yet, and nobody has taken the channel.
    if let Some(worker) = unsafe { ClusterWorker::from_env(&lp) }? {
        serve(&lp, &worker, arguments.port)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    let mut options = ClusterOptions::new(command);
    options.restart = Some(RestartLimit::default());
    let primary = Primary::new(&lp, options);
    if arguments.self_test {
        return self_test::run(&lp, &primary, arguments.workers);
    }
    primary.on_event(|_, worker, event| match event {
        ClusterEvent::Listening(address) => {
            println!("worker {} serves {:?}", worker.id(), address.kind());
        }
        ClusterEvent::Exited(exit) => println!("worker {} ended: {exit}", worker.id()),
        ClusterEvent::Replaced(other) => {
            println!("worker {} is in the place of {}", other.id(), worker.id());
        }
        ClusterEvent::RestartFailed(error) => eprintln!("prefork: {error}"),
        ClusterEvent::Error(error) => eprintln!("prefork: worker {}: {error}", worker.id()),
        _ => {}
    });
    for _ in 0..arguments.workers {
        primary.fork()?;
    }
    for signum in [libc::SIGINT, libc::SIGTERM] {
        let (signal, primary) = (Signal::new(&lp)?, primary.clone());
        signal.start(signum, move |signal, _| {
            // A second one finds no handler, and ends the program at once.
            signal.close();
            primary.disconnect(|_| println!("all workers have ended"));
        })?;
        signal.unreference();
    }
    lp.run(RunMode::Default)?;
    Ok(ExitCode::SUCCESS)
}

/// A worker's life.
fn serve(lp: &EventLoop, worker: &ClusterWorker, port: u16) -> Result<(), Box<dyn Error>> {
    // A terminal sends it to all; the primary decides what becomes of it.
    let interrupt = Signal::new(lp)?;
    interrupt.start(libc::SIGINT, |_, _| {})?;
    interrupt.unreference();

    let answer = format!("worker {}\n", worker.id());
    let address = ListenAddress::tcp(([127, 0, 0, 1], port).into());
    worker.listen(address, move |_, event| match event {
        ServerEvent::Connection(Connection::Tcp(tcp)) => http::serve(&tcp, answer.clone()),
        ServerEvent::Failed(error) => {
            eprintln!("prefork: cannot listen: {error}");
            // Replacing this one would help nothing.
            std::process::exit(1);
        }
        _ => {}
    })?;
    // Connections that are idle would keep the process from ending.
    worker.on_disconnect(|worker, _| http::finish_all(worker.channel().event_loop()));
    lp.run(RunMode::Default)?;
    Ok(())
}

/// The port that a worker's address has in the end.
fn port_of(address: &ListenAddress) -> Option<u16> {
    match address.kind() {
        ListenKind::Tcp(address) => Some(address.port()),
        _ => None,
    }
}
