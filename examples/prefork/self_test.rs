//! The server tested by its own clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use blacklight::child_process::cluster::{ClusterEvent, Primary};
use blacklight::prelude::*;

/// Connections, one after the other on each of a few clients.
const CONNECTIONS: u32 = 120;
/// Requests on each connection, all but the last with keep-alive.
const REQUESTS: u32 = 3;
/// Clients at the same time.
const CLIENTS: u32 = 8;

struct Test {
    lp: LoopRef,
    address: SocketAddr,
    primary: Primary,
    begun: Cell<u32>,
    ended: Cell<u32>,
    answers: RefCell<BTreeMap<String, u32>>,
    failures: Cell<u32>,
}

pub(crate) fn run(
    lp: &EventLoop,
    primary: &Primary,
    workers: u32,
) -> Result<ExitCode, Box<dyn Error>> {
    let (listening, test) = (Cell::new(0), Rc::new(RefCell::new(None)));
    let (handle, running) = (LoopRef::clone(lp), test.clone());
    primary.on_event(move |primary, worker, event| match event {
        ClusterEvent::Listening(address) => {
            listening.set(listening.get() + 1);
            if let (true, Some(port)) = (listening.get() == workers, super::port_of(&address)) {
                let begun = Rc::new(Test {
                    lp: handle.clone(),
                    address: ([127, 0, 0, 1], port).into(),
                    primary: primary.clone(),
                    begun: Cell::new(0),
                    ended: Cell::new(0),
                    answers: RefCell::default(),
                    failures: Cell::new(0),
                });
                running.replace(Some(begun.clone()));
                (0..CLIENTS).for_each(|_| begun.next_connection());
            }
        }
        ClusterEvent::Exited(exit) if !worker.exited_after_disconnect() => {
            eprintln!("worker {} died: {exit}", worker.id());
        }
        _ => {}
    });
    for _ in 0..workers {
        primary.fork()?;
    }
    lp.run(RunMode::Default)?;
    let test = test.borrow();
    let Some(test) = &*test else { return Err("the workers did not come up".into()) };
    Ok(if test.report(workers) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Test {
    fn next_connection(self: &Rc<Self>) {
        if self.begun.get() == CONNECTIONS {
            return;
        }
        self.begun.set(self.begun.get() + 1);
        let test = self.clone();
        let begun = Tcp::new(&self.lp).and_then(|client| {
            client.connect(self.address, move |client, result| {
                match result.and_then(|()| test.clone().talk(client)) {
                    Ok(()) => {}
                    Err(error) => test.over(client, Some(error.name())),
                }
            })
        });
        if let Err(error) = begun {
            eprintln!("no client: {error}");
            self.failures.set(self.failures.get() + 1);
        }
    }

    /// Sends a request, and the next when it is answered, to the last.
    fn talk(self: Rc<Self>, client: &Tcp) -> blacklight::Result<()> {
        let (mut left, mut pending) = (REQUESTS, Vec::new());
        client.write_and_forget(request(left))?;
        client.read_start(move |client, read| match read {
            Read::Data(bytes) => {
                pending.extend_from_slice(bytes);
                while let Some((body, length)) = response(&pending) {
                    pending.drain(..length);
                    *self.answers.borrow_mut().entry(body).or_default() += 1;
                    left = left.saturating_sub(1);
                    if left > 0 && client.write_and_forget(request(left)).is_err() {
                        self.over(client, Some("cannot write"));
                        return;
                    }
                }
            }
            // The server closes after the last answer.
            Read::Eof => self.over(client, (left > 0).then_some("closed too early")),
            Read::Error(error) => self.over(client, Some(error.name())),
        })
    }

    fn over(self: &Rc<Self>, client: &Tcp, failure: Option<&str>) {
        client.close();
        if let Some(failure) = failure {
            eprintln!("a connection failed: {failure}");
            self.failures.set(self.failures.get() + 1);
        }
        self.ended.set(self.ended.get() + 1);
        if self.ended.get() == CONNECTIONS {
            self.primary.disconnect(|_| println!("all workers have ended"));
        } else {
            self.next_connection();
        }
    }

    /// Says how the answers spread, and whether all is well.
    fn report(&self, workers: u32) -> bool {
        let answers = self.answers.borrow();
        let total: u32 = answers.values().sum();
        for (worker, count) in &*answers {
            println!("{worker}: {count} requests");
        }
        println!("{total} requests, {} failures", self.failures.get());
        total == CONNECTIONS * REQUESTS
            && self.failures.get() == 0
            && answers.len() == workers as usize
    }
}

fn request(left: u32) -> String {
    let connection = if left == 1 { "close" } else { "keep-alive" };
    format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")
}

/// The body of the response that the bytes begin with, if it is complete, and the length of all.
fn response(bytes: &[u8]) -> Option<(String, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let mut lines = text.lines();
    if lines.next() != Some("HTTP/1.1 200 OK") {
        return None;
    }
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: "))?;
    let end = head + length.parse::<usize>().ok()?;
    let body = bytes.get(head..end)?;
    Some((String::from_utf8_lossy(body).trim_end().to_owned(), end))
}
