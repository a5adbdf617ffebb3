//! One call of `spawn_sync`: the loop, the child, its connections, and what ends it.
//!
//! Invariants, all Node's: the clock starts before the child does; a child is killed once; whatever
//! kills it closes the connections too, so that only the child itself is waited for from then on;
//! the first error stays, and errors of connections stand back behind all others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::options::{SyncOptions, SyncStdio};
use crate::{
    Command, Error, EventLoop, Exit, ExitStatus, Handle, LoopRef, Pipe, Process, Read, Result,
    RunMode, SpawnError, SpawnStep, Stdio, Stream, Timer, Written,
};

/// Node reads into blocks of this many bytes and never beyond the end of one, which shows in how
/// much there is of an output that was too long.
const BLOCK: usize = 64 * 1024;

/// No slot can be beyond these: the kernel gives no higher numbers (fs.nr_open, unless it was
/// raised). The output has a place for each slot up to the last, so a limit there must be.
const MOST_SLOTS: u32 = 1 << 20;

/// How a child ended, and what it left.
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) exit: Option<Exit>,
    pub(super) output: Vec<Option<Vec<u8>>>,
    pub(super) error: Option<Error>,
}

/// What a connection is there for.
enum Purpose {
    /// The child reads this and then the end.
    Feed(Arc<[u8]>),
    /// The child writes, into the slot's bytes.
    Collect(Rc<RefCell<Vec<u8>>>),
}

struct Connection {
    pipe: Pipe,
    slot: u32,
    purpose: Purpose,
}

/// What the callbacks of a call share.
struct Run {
    kill_signal: i32,
    max_buffer: usize,
    collected: Cell<usize>,
    error: Cell<Option<Error>>,
    pipe_error: Cell<Option<Error>>,
    killed: Cell<bool>,
    exit: Cell<Option<Exit>>,
    process: RefCell<Option<Process>>,
    pipes: RefCell<Vec<Pipe>>,
    timer: Timer,
}

type NotSpawned = (Error, Option<SpawnStep>);

pub(super) fn run(command: &Command, options: &SyncOptions) -> Result<Ended, NotSpawned> {
    let without_step = |error| (error, None);
    let slots = options.slots.keys().max().map_or(0, |&last| last.saturating_add(1));
    if slots > MOST_SLOTS {
        return Err((Error::EBADF, Some(SpawnStep::Dup(slots - 1))));
    }
    let lp = EventLoop::new().map_err(without_step)?;
    let run = Rc::new(Run {
        kill_signal: options.kill_signal,
        max_buffer: options.max_buffer,
        collected: Cell::new(0),
        error: Cell::new(None),
        pipe_error: Cell::new(None),
        killed: Cell::new(false),
        exit: Cell::new(None),
        process: RefCell::default(),
        pipes: RefCell::default(),
        timer: Timer::new(&lp).map_err(without_step)?,
    });
    let mut command = command.clone();
    let connections = connect(&lp, &mut command, options).map_err(without_step)?;
    run.start_clock(options.timeout).map_err(without_step)?;
    let pid = run.spawn(&lp, &command).map_err(|error| (error.error(), Some(error.step())))?;
    // Copies of descriptors that the slots were filled with are the child's alone now.
    drop(command);
    run.pipes.replace(connections.iter().map(|connection| connection.pipe.clone()).collect());
    for connection in &connections {
        if let Err(error) = run.start(connection) {
            run.fail(error);
            run.kill();
        }
    }
    run.wait(&lp);
    let mut output = vec![None; slots as usize];
    for connection in connections {
        if let Purpose::Collect(bytes) = connection.purpose {
            output[connection.slot as usize] = Some(bytes.take());
        }
    }
    let error = run.error.get().or(run.pipe_error.get());
    Ok(Ended { pid, exit: run.exit.get(), output, error })
}

/// Fills the slots of the command, and makes our ends of what connects it to the call.
fn connect(lp: &LoopRef, command: &mut Command, options: &SyncOptions) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for (&slot, stdio) in &options.slots {
        let purpose = match stdio {
            SyncStdio::Ignore => {
                command.stdio(slot, Stdio::ignore());
                continue;
            }
            SyncStdio::Inherit => {
                command.stdio(slot, Stdio::inherit());
                continue;
            }
            SyncStdio::Stdio(stdio) => {
                command.stdio(slot, stdio.clone());
                continue;
            }
            SyncStdio::AsCommand => continue,
            SyncStdio::Pipe if slot == 0 => Purpose::Feed(options.input.clone()),
            SyncStdio::Input(bytes) => Purpose::Feed(bytes.clone()),
            SyncStdio::Pipe => Purpose::Collect(Rc::default()),
        };
        let pipe = Pipe::new(lp)?;
        let theirs = Stdio::pipe(&pipe).socket();
        command.stdio(
            slot,
            match purpose {
                Purpose::Feed(_) => theirs.child_reads(),
                Purpose::Collect(_) => theirs.child_writes(),
            },
        );
        connections.push(Connection { pipe, slot, purpose });
    }
    Ok(connections)
}

impl Run {
    /// Counts the child's time; the call does not wait for its end.
    fn start_clock(self: &Rc<Self>, milliseconds: u64) -> Result<()> {
        if milliseconds == 0 {
            return Ok(());
        }
        let run = self.clone();
        self.timer.start(milliseconds, 0, move |_| {
            run.fail(Error::ETIMEDOUT);
            run.kill();
        })?;
        self.timer.unreference();
        Ok(())
    }

    fn spawn(self: &Rc<Self>, lp: &LoopRef, command: &Command) -> Result<i32, SpawnError> {
        let run = self.clone();
        let process = command.spawn(lp, move |_, exit| {
            if exit.status == ExitStatus::Unknown {
                run.fail(Error::ECHILD);
            }
            run.exit.set(Some(exit));
        })?;
        let pid = process.pid();
        self.process.replace(Some(process));
        Ok(pid)
    }

    fn start(self: &Rc<Self>, connection: &Connection) -> Result<()> {
        let pipe = &connection.pipe;
        match &connection.purpose {
            Purpose::Feed(input) => {
                if !input.is_empty() {
                    let run = self.clone();
                    pipe.write(input.clone(), move |_, written: Written| {
                        run.noted(written.result)
                    })?;
                }
                let run = self.clone();
                pipe.shutdown(move |_, result| run.noted(result))
            }
            Purpose::Collect(bytes) => {
                let (run, bytes) = (self.clone(), bytes.clone());
                pipe.read_start(move |_, read| match read {
                    Read::Data(data) => run.collect(&bytes, data),
                    Read::Eof => {}
                    Read::Error(error) => run.noted(Err(error)),
                })
            }
        }
    }

    fn collect(&self, bytes: &RefCell<Vec<u8>>, mut data: &[u8]) {
        while !data.is_empty() {
            let room = BLOCK - bytes.borrow().len() % BLOCK;
            let (block, rest) = data.split_at(room.min(data.len()));
            bytes.borrow_mut().extend_from_slice(block);
            data = rest;
            let collected = self.collected.get().saturating_add(block.len());
            self.collected.set(collected);
            if self.max_buffer > 0 && collected > self.max_buffer {
                self.fail(Error::ENOBUFS);
                self.kill();
                return;
            }
        }
    }

    /// Runs the loop until the child has ended and nothing of it is open.
    fn wait(&self, lp: &EventLoop) {
        while let Err(error) = lp.run(RunMode::Default) {
            self.fail(error);
            if self.killed.get() {
                // Waiting fails, and has failed before: the loop leaves the child to whoever
                // reaps orphans.
                return;
            }
            self.kill();
        }
    }

    fn fail(&self, error: Error) {
        self.error.set(self.error.get().or(Some(error)));
    }

    /// The outcome of something that was done to a connection.
    fn noted(&self, result: Result<()>) {
        if let Err(error) = result {
            self.pipe_error.set(self.pipe_error.get().or(Some(error)));
        }
    }

    /// Ends everything but the wait for the child's end.
    fn kill(&self) {
        if self.killed.replace(true) {
            return;
        }
        if let Some(process) = &*self.process.borrow()
            && let Err(error) = send(process, self.kill_signal)
            && error != Error::ESRCH
        {
            self.fail(error);
            // The child is somebody else's if this fails too; it ends when it likes.
            let _not_permitted = process.kill(libc::SIGKILL);
        }
        self.pipes.take().iter().for_each(Handle::close);
        self.timer.close();
    }
}

/// Sends a signal that may end the child, which 0 does not.
fn send(process: &Process, signum: i32) -> Result<()> {
    if signum == 0 { Err(Error::EINVAL) } else { process.kill(signum) }
}
