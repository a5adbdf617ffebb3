//! One command on a loop, from its start to its callback.
//!
//! Invariants: the callback is taken out before it is called, which is why it is called once; what
//! is decided outside `run` (an abort, a spawn that failed) reaches it by a timer that is due at
//! once; both outputs count as ended from the moment the child is killed.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::rc::Rc;

use super::options::ExecOptions;
use super::outcome::{ExecCause, ExecError, ExecOutcome, failed};
use crate::{
    Command, Error, Exit, Handle, LoopRef, Pipe, Process, Read, Result, Stdio, Stream, Timer,
};

type Callback = Box<dyn FnOnce(ExecOutcome)>;

/// One of the two outputs.
struct Output {
    name: &'static str,
    pipe: Pipe,
    bytes: RefCell<Vec<u8>>,
    ended: Cell<bool>,
}

struct State {
    cmd: OsString,
    program: OsString,
    kill_signal: i32,
    max_buffer: usize,
    outputs: [Output; 2],
    /// Counts the time, and brings about what cannot be done outside `run`.
    timer: Timer,
    process: RefCell<Option<Process>>,
    exit: Cell<Option<Exit>>,
    cause: Cell<Option<ExecCause>>,
    killed: Cell<bool>,
    callback: Cell<Option<Callback>>,
}

/// A command that [`exec`](super::exec) or [`exec_file`](super::exec_file) has started.
///
/// Dropping it changes nothing for the child but the end of its input.
#[derive(Clone)]
pub struct Executing {
    state: Rc<State>,
    stdin: Pipe,
}

pub(super) fn start(
    lp: &LoopRef,
    command: &Command,
    cmd: &OsStr,
    options: &ExecOptions,
    callback: Callback,
) -> Result<Executing> {
    if !(1..=64).contains(&options.kill_signal) {
        return Err(Error::EINVAL);
    }
    let output = |name| -> Result<Output> {
        let (bytes, ended) = (RefCell::default(), Cell::new(false));
        Ok(Output { name, pipe: Pipe::new(lp)?, bytes, ended })
    };
    let stdin = Pipe::new(lp)?;
    let state = Rc::new(State {
        cmd: cmd.to_owned(),
        program: command.get_program().to_owned(),
        kill_signal: options.kill_signal,
        max_buffer: options.max_buffer,
        outputs: [output("stdout")?, output("stderr")?],
        timer: Timer::new(lp)?,
        process: RefCell::default(),
        exit: Cell::new(None),
        cause: Cell::new(None),
        killed: Cell::new(false),
        callback: Cell::new(Some(callback)),
    });
    // The clock runs before the child does, and by the time that it is, not that of the last turn.
    lp.update_time();
    if options.timeout > 0 {
        let ours = state.clone();
        state.timer.start(options.timeout, 0, move |_| ours.kill())?;
    }
    let mut command = command.clone();
    command.stdin(Stdio::pipe(&stdin).socket());
    for (slot, output) in (1..).zip(&state.outputs) {
        command.stdio(slot, Stdio::pipe(&output.pipe).socket());
    }
    let ours = state.clone();
    let spawned = command.spawn(lp, move |_, exit| {
        ours.exit.set(Some(exit));
        ours.finish_if_closed();
    });
    match spawned {
        Ok(process) => {
            state.process.replace(Some(process));
            for place in 0..state.outputs.len() {
                if let Err(error) = state.read(place) {
                    // The child exists, so this is for the callback; the child sees a broken pipe.
                    state.set_cause(ExecCause::Read(error));
                    state.outputs[place].end();
                }
            }
        }
        Err(error) => state.finish_soon(ExecCause::Spawn(error))?,
    }
    Ok(Executing { state, stdin })
}

impl State {
    fn read(self: &Rc<Self>, place: usize) -> Result<()> {
        let ours = self.clone();
        self.outputs[place].pipe.read_start(move |_, read| {
            let output = &ours.outputs[place];
            match read {
                Read::Data(data) => ours.collect(output, data),
                Read::Eof => {
                    output.end();
                    ours.finish_if_closed();
                }
                Read::Error(error) => {
                    ours.set_cause(ExecCause::Read(error));
                    output.end();
                    ours.finish_if_closed();
                }
            }
        })
    }

    fn collect(&self, output: &Output, data: &[u8]) {
        let room = self.max_buffer - output.bytes.borrow().len();
        let kept = &data[..room.min(data.len())];
        output.bytes.borrow_mut().extend_from_slice(kept);
        if kept.len() < data.len() {
            self.set_cause(ExecCause::MaxBuffer(output.name));
            self.kill();
        }
    }

    fn set_cause(&self, cause: ExecCause) {
        self.cause.set(self.cause.get().or(Some(cause)));
    }

    /// A limit was reached: ends the child and does not listen to it any more.
    fn kill(&self) {
        self.timer.stop();
        self.killed.set(true);
        // Before the outputs are closed, so that the signal is what a child that writes dies of. In
        // Node, which closes first, that is a matter of luck.
        let sent = self.send_signal();
        self.outputs.iter().for_each(Output::end);
        match sent {
            // An end that was waited for, but not reported yet.
            Ok(()) | Err(Error::ESRCH) => self.finish_if_closed(),
            Err(error) => {
                self.set_cause(ExecCause::Kill(error));
                self.finish();
            }
        }
    }

    fn send_signal(&self) -> Result<()> {
        match &*self.process.borrow() {
            Some(process) => process.kill(self.kill_signal),
            None => Err(Error::ESRCH),
        }
    }

    fn finish_if_closed(&self) {
        if self.exit.get().is_some() && self.outputs.iter().all(|output| output.ended.get()) {
            self.finish();
        }
    }

    /// Has the callback called in the next turn, whatever the child does.
    fn finish_soon(self: &Rc<Self>, cause: ExecCause) -> Result<()> {
        self.cause.set(Some(cause));
        self.outputs.iter().for_each(Output::end);
        let ours = self.clone();
        self.timer.start(0, 0, move |_| ours.finish())
    }

    fn finish(&self) {
        let Some(callback) = self.callback.take() else { return };
        self.outputs.iter().for_each(Output::end);
        self.timer.close();
        callback(self.outcome());
    }

    fn outcome(&self) -> ExecOutcome {
        let [stdout, stderr] = [0, 1].map(|place: usize| self.outputs[place].bytes.take());
        let exit = self.exit.get();
        let cause = match self.cause.get() {
            Some(cause) => cause,
            None if exit.is_some_and(|exit| exit.success()) => {
                return ExecOutcome { stdout, stderr, error: None };
            }
            None => ExecCause::Failed,
        };
        let message = match cause {
            ExecCause::Failed => failed(&self.cmd, &stderr),
            ExecCause::MaxBuffer(name) => format!("{name} maxBuffer length exceeded"),
            ExecCause::Aborted => "The operation was aborted".to_owned(),
            ExecCause::Spawn(error) => {
                format!("spawn {} {}", self.program.to_string_lossy(), error.error().name())
            }
            ExecCause::Kill(error) => format!("kill {}", error.name()),
            ExecCause::Read(error) => format!("read {}", error.name()),
        };
        let error = ExecError {
            cause,
            cmd: self.cmd.clone(),
            killed: self.killed.get(),
            status: exit.and_then(|exit| exit.code()),
            signal: exit.and_then(|exit| exit.signal()),
            message,
        };
        ExecOutcome { stdout, stderr, error: Some(error) }
    }
}

impl Output {
    fn end(&self) {
        self.ended.set(true);
        self.pipe.close();
    }
}

impl Executing {
    /// The child's pid; 0 when it could not be spawned.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.state.process.borrow().as_ref().map_or(0, Process::pid)
    }

    /// The child, for signals and to let the loop end before it; `None` when it could not be
    /// spawned.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.state.process.borrow().clone()
    }

    /// What the child reads from slot 0. Not open when the child could not be spawned.
    #[must_use]
    pub fn stdin(&self) -> &Pipe {
        &self.stdin
    }

    /// Sends the child the kill signal and has the callback called soon, with what there is of the
    /// output and [`ExecCause::Aborted`]: what aborting the `signal` of Node's option does.
    ///
    /// The callback does not wait for the end of the child, which is awaited by the loop. When the
    /// child has ended, or the callback was called, this does nothing.
    ///
    /// ```
    /// use blacklight::{EventLoop, RunMode};
    /// use blacklight::child_process::{ExecCause, ExecOptions, exec};
    ///
    /// let lp = EventLoop::new()?;
    /// let executing = exec(&lp, "sleep 1000", &ExecOptions::new(), |outcome| {
    ///     assert_eq!(outcome.error.unwrap().cause, ExecCause::Aborted);
    /// })?;
    /// executing.abort();
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    pub fn abort(&self) {
        let state = &self.state;
        let waiting = state.callback.take();
        let is_over = waiting.is_none() || state.exit.get().is_some();
        state.callback.set(waiting);
        if is_over || matches!(state.cause.get(), Some(ExecCause::Aborted)) {
            return;
        }
        let cause = match state.send_signal() {
            Ok(()) => {
                state.killed.set(true);
                ExecCause::Aborted
            }
            Err(Error::ESRCH) => return,
            Err(error) => ExecCause::Kill(error),
        };
        // The loop is gone if the timer cannot be started, and with it who could be told.
        let _nobody = state.finish_soon(cause);
    }
}

impl fmt::Debug for Executing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executing").field("pid", &self.pid()).finish_non_exhaustive()
    }
}
