//! What runs when: the queue of commands, the signals, and the first failure.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Error, ExitStatus, Reaper, Result};

use crate::job::{Job, Outcome, Record};
use crate::lines::Label;
use crate::options::Options;
use crate::output::Output;
use crate::report;

/// How often the status line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_millis(200);

/// The signals that end us, and so the commands.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

struct Session {
    lp: LoopRef,
    /// Commands at a time, and how long each may take.
    at_a_time: usize,
    timeout: Option<Duration>,
    output: Rc<Output>,
    jobs: Vec<Rc<Job>>,
    /// The first of the jobs that has not had its turn.
    next: Cell<usize>,
    first_failure: Cell<Option<u8>>,
    /// No more commands are started, because of this signal.
    ended_by: Cell<Option<i32>>,
    signals: RefCell<Vec<Signal>>,
    begun: Instant,
}

/// Runs the commands and returns the exit code.
pub(crate) fn run(options: Options) -> Result<u8> {
    let lp = EventLoop::new()?;
    let session = Session::new(&lp, options)?;
    let reaper = adopt_orphans(&lp)?;
    session.watch_signals()?;
    session.show_status()?;
    session.start_more();
    let ran = lp.run(RunMode::Default);
    reaper.close();
    session.output.set_status(String::new());
    if let Err(error) = ran {
        for job in &session.jobs {
            job.signal(libc::SIGKILL);
        }
        return Err(error);
    }
    report::print(session.jobs.iter().map(|job| (job.name.as_str(), job.record())))?;
    Ok(session.exit_code())
}

/// Becomes the parent of what commands leave behind, so that nothing of a group that was killed is a
/// zombie after us, wherever we run: the first process of a container may not care.
fn adopt_orphans(lp: &LoopRef) -> Result<Reaper> {
    blacklight::become_subreaper(true)?;
    let reaper = Reaper::new(lp)?;
    reaper.start(|_, _, _| {})?;
    reaper.unreference();
    Ok(reaper)
}

impl Session {
    fn new(lp: &LoopRef, options: Options) -> Result<Rc<Session>> {
        let Options { jobs: at_a_time, timeout, grace, color, commands } = options;
        let color = color && io::stdout().is_terminal();
        let width = commands.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let output = Output::new(lp)?;
        let mut jobs = Vec::with_capacity(commands.len());
        for (index, (name, script)) in commands.into_iter().enumerate() {
            let label = Label { name: &name, width, color: color.then_some(index) };
            jobs.push(Job::new(lp, &output, &label, script, grace)?);
        }
        let session = Rc::new(Session {
            lp: lp.clone(),
            at_a_time,
            timeout,
            output,
            jobs,
            next: Cell::new(0),
            first_failure: Cell::new(None),
            ended_by: Cell::new(None),
            signals: RefCell::default(),
            begun: Instant::now(),
        });
        let this = session.clone();
        session.output.on_drain(move || {
            this.jobs.iter().for_each(Job::resume);
            this.start_more();
        })?;
        let this = session.clone();
        session.output.on_error(move |error| this.output_failed(error));
        Ok(session)
    }

    /// Starts commands for as long as there are places, and room for what they write.
    fn start_more(self: &Rc<Self>) {
        let running = || self.jobs.iter().filter(|job| job.is_running()).count();
        while self.ended_by.get().is_none()
            && !self.output.is_full()
            && running() < self.at_a_time
            && let Some(job) = self.jobs.get(self.next.get())
        {
            self.next.set(self.next.get() + 1);
            let session = self.clone();
            let on_over = move |job: &Job| {
                session.note_failure(failure(job.record()));
                session.start_more();
            };
            if job.start(&self.lp, self.timeout, on_over) {
                continue;
            }
            self.note_failure(failure(job.record()));
        }
        self.update_status();
    }

    fn note_failure(&self, code: Option<u8>) {
        self.first_failure.set(self.first_failure.get().or(code));
    }

    fn exit_code(&self) -> u8 {
        let left_out = self.next.get() < self.jobs.len();
        let ended_by = self.ended_by.get().filter(|_| left_out);
        self.first_failure.get().or(ended_by.map(killed_by)).unwrap_or(0)
    }

    fn output_failed(&self, error: Error) {
        // That the reader has had enough is no news to anybody.
        if error != Error::EPIPE {
            eprintln!("concurrently: standard output: {error}");
        }
        self.note_failure(Some(if error == Error::EPIPE { killed_by(libc::SIGPIPE) } else { 1 }));
        self.end(libc::SIGTERM);
    }

    fn watch_signals(self: &Rc<Self>) -> Result<()> {
        let ignored = ignored_signals();
        for signum in ENDING.into_iter().filter(|signum| ignored & 1 << (signum - 1) == 0) {
            let signal = Signal::new(&self.lp)?;
            let session = self.clone();
            signal.start(signum, move |_, event| session.end(event.signum))?;
            signal.unreference();
            self.signals.borrow_mut().push(signal);
        }
        Ok(())
    }

    /// Passes a signal on to all commands, and starts no more of them. The second kills them, and
    /// the third kills us: with nobody watching, it does what it did before.
    fn end(&self, signum: i32) {
        if self.ended_by.replace(Some(signum)).is_none() {
            self.jobs.iter().for_each(|job| job.ask_to_end(signum));
        } else {
            self.jobs.iter().for_each(|job| job.kill_in(Duration::ZERO));
            self.signals.take().iter().for_each(Handle::close);
        }
        self.update_status();
    }

    fn show_status(self: &Rc<Self>) -> Result<()> {
        if self.output.shows_status() {
            let timer = Timer::new(&self.lp)?;
            let session = self.clone();
            let update = move |_: &Timer| session.update_status();
            timer.start_duration(STATUS_EVERY, STATUS_EVERY, update)?;
            timer.unreference();
        }
        Ok(())
    }

    fn update_status(&self) {
        let (mut running, mut done, mut failed, mut waiting) = (0, 0, 0, 0);
        for job in &self.jobs {
            let record = job.record();
            match (job.is_running(), record.outcome) {
                (true, _) => running += 1,
                (false, Outcome::NotStarted) => waiting += 1,
                (false, _) if failure(record).is_some() => failed += 1,
                (false, _) => done += 1,
            }
        }
        let ending = if self.ended_by.get().is_some() { "ending: " } else { "" };
        let elapsed = self.begun.elapsed().as_secs();
        self.output.set_status(format!(
            "{ending}{running} running, {done} done, {failed} failed, {waiting} waiting, {elapsed} s"
        ));
    }
}

/// The exit code that a command's failure makes; `None` if it has not failed.
fn failure(record: Record) -> Option<u8> {
    match record.outcome {
        Outcome::NotStarted => None,
        Outcome::Failed(_) => Some(127),
        Outcome::Ended(exit) => match exit.status {
            // As timeout(1) has it.
            ExitStatus::Exited(0) => record.timed_out.then_some(124),
            ExitStatus::Exited(code) => Some(u8::try_from(code).unwrap_or(1)),
            ExitStatus::Signaled { signum, .. } => Some(killed_by(signum)),
            ExitStatus::Unknown => Some(1),
        },
    }
}

/// What a shell says of a command that a signal has killed.
fn killed_by(signum: i32) -> u8 {
    u8::try_from(128 + signum).unwrap_or(1)
}

/// The signals that were ignored when we were started, by nohup(1) or by a shell in the background.
/// They stay so. Bit n is signal n + 1 (proc_pid_status(5)).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
