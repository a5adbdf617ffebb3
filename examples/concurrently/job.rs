//! One command: its process and the group that it leads, its two pipes, and when it is over.
//!
//! The exit and the end of the output are two events, and either may come first. A command is over
//! when both have come. But a process that it left in the background may hold the pipes open for
//! ever, so after the exit they are closed in any case when [`LINGER`] has passed or
//! [`LINGER_BYTES`] have been read. Of a command that was told to end, the whole group has to have
//! ended first.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Error, Result, SpawnError};

use crate::lines::{Label, Lines};
use crate::output::Output;

/// How long output is read after the process has exited.
const LINGER: Duration = Duration::from_millis(500);

/// And how much: more than the process itself can have left in a pipe, so that nothing of its own is
/// lost. The rest is from others, and we do not wait for a slow reader on their behalf.
const LINGER_BYTES: usize = 1 << 20;

/// How often we look whether a group that is to end has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long we wait for a group after SIGKILL: the kernel may hold a process up, not us.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// How a command ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// Its turn did not come.
    NotStarted,
    Failed(SpawnError),
    Ended(Exit),
}

#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) outcome: Outcome,
    /// From start to exit.
    pub(crate) wall: Option<Duration>,
    pub(crate) timed_out: bool,
}

pub(crate) struct Job {
    pub(crate) name: String,
    script: OsString,
    /// Time between a signal to end and SIGKILL.
    grace: Duration,
    output: Rc<Output>,
    feeds: [Rc<Feed>; 2],
    process: RefCell<Option<Process>>,
    started: Cell<Option<Instant>>,
    record: Cell<Record>,
    /// Ends the command when its time is up.
    timeout: Timer,
    /// Closes the pipes some time after the exit.
    linger: Timer,
    /// Looks whether the group has ended.
    look: Timer,
    /// Told to end; and when SIGKILL is due, if it is.
    ending: Cell<bool>,
    kill_at: Cell<Option<Instant>>,
    on_over: RefCell<Option<Box<dyn FnOnce(&Job)>>>,
}

/// One pipe from the command.
struct Feed {
    pipe: Pipe,
    lines: RefCell<Lines>,
    paused: Cell<bool>,
    /// Bytes that will be read still, once the process has exited.
    left: Cell<Option<usize>>,
}

impl Job {
    pub(crate) fn new(
        lp: &LoopRef,
        output: &Rc<Output>,
        label: &Label<'_>,
        script: OsString,
        grace: Duration,
    ) -> Result<Rc<Job>> {
        let feed = |mark| -> Result<Rc<Feed>> {
            Ok(Rc::new(Feed {
                pipe: Pipe::new(lp)?,
                lines: RefCell::new(Lines::new(label, mark)),
                paused: Cell::new(false),
                left: Cell::new(None),
            }))
        };
        Ok(Rc::new(Job {
            name: label.name.to_owned(),
            script,
            grace,
            output: output.clone(),
            feeds: [feed('|')?, feed('!')?],
            process: RefCell::new(None),
            started: Cell::new(None),
            record: Cell::new(Record {
                outcome: Outcome::NotStarted,
                wall: None,
                timed_out: false,
            }),
            timeout: Timer::new(lp)?,
            linger: Timer::new(lp)?,
            look: Timer::new(lp)?,
            ending: Cell::new(false),
            kill_at: Cell::new(None),
            on_over: RefCell::new(None),
        }))
    }

    pub(crate) fn record(&self) -> Record {
        self.record.get()
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.get();
        change(&mut record);
        self.record.set(record);
    }

    /// Starts the command, to be ended after `limit`, and calls `on_over` when it is over. Returns
    /// false if it cannot be started: why is in the record then, and nothing is called.
    pub(crate) fn start(
        self: &Rc<Self>,
        lp: &LoopRef,
        limit: Option<Duration>,
        on_over: impl FnOnce(&Job) + 'static,
    ) -> bool {
        let job = self.clone();
        let spawned = Command::new("sh")
            .arg("-c")
            .arg(&self.script)
            // Of a group that is not the terminal's foreground one nobody may read from it.
            .stdin(Stdio::null())
            .stdout(Stdio::pipe(&self.feeds[0].pipe))
            .stderr(Stdio::pipe(&self.feeds[1].pipe))
            // Its group is what we signal. ^C reaches us alone, and we pass it on.
            .process_group(0)
            // If we are killed, the shell at least does not stay behind.
            .parent_death_signal(libc::SIGTERM)
            .spawn(lp, move |_, exit| job.exited(exit));
        match spawned {
            Ok(process) => {
                self.process.replace(Some(process));
                self.started.set(Some(Instant::now()));
                self.on_over.replace(Some(Box::new(on_over)));
                self.feeds.iter().for_each(|feed| self.read(feed));
                if let Some(limit) = limit {
                    self.complain(self.end_after(limit));
                }
                true
            }
            Err(error) => {
                self.update(|record| record.outcome = Outcome::Failed(error));
                false
            }
        }
    }

    fn end_after(self: &Rc<Self>, limit: Duration) -> Result<()> {
        // Timers count from the loop's time, which stood still while the process was made.
        self.timeout.event_loop().update_time();
        let job = self.clone();
        self.timeout.start_duration(limit, Duration::ZERO, move |_| {
            job.update(|record| record.timed_out = true);
            job.ask_to_end(libc::SIGTERM);
            job.kill_in(job.grace);
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.on_over.borrow().is_some()
    }

    fn has_exited(&self) -> bool {
        matches!(self.record.get().outcome, Outcome::Ended(_))
    }

    /// Sends the command's group a signal that should make it end. The command has all the time it
    /// likes for that; what it leaves of its group has the grace period.
    pub(crate) fn ask_to_end(&self, signum: i32) {
        if self.is_running() {
            self.ending.set(true);
            self.signal(signum);
        }
    }

    /// Kills the command's group if it is still there after some time.
    pub(crate) fn kill_in(self: &Rc<Self>, time: Duration) {
        if !self.is_running() {
            return;
        }
        self.ending.set(true);
        // A time past the end of time never comes.
        let kill_at = Instant::now().checked_add(time);
        self.kill_at.set([self.kill_at.get(), kill_at].into_iter().flatten().min());
        let job = self.clone();
        let looking =
            self.look.start_duration(Duration::ZERO, LOOK_AGAIN, move |_| job.look_at_group());
        self.complain(looking);
    }

    /// Kills the group if its time is up, again and again: one SIGKILL can miss a process that is
    /// just being forked.
    fn look_at_group(self: &Rc<Self>) {
        let late = self.kill_at.get().and_then(|at| Instant::now().checked_duration_since(at));
        if late.is_some() {
            self.signal(libc::SIGKILL);
        }
        if late.is_some_and(|late| late > AFTER_KILL) {
            // Somebody in there is not ours to kill.
            self.ending.set(false);
        }
        if self.has_exited() {
            self.wind_up();
        }
    }

    /// Sends a signal to the whole group, and tells whether there was one; 0 only asks that.
    pub(crate) fn signal(&self, signum: i32) -> bool {
        let process = self.process.borrow();
        let Some(process) = &*process else { return false };
        let sent = match process.kill_group(signum) {
            // The leader has been waited for. Its number stays its group's for as long as the group
            // has a member, so that no stranger is hit.
            Err(Error::ESRCH) => blacklight::kill(-process.pid(), signum),
            other => other,
        };
        sent.is_ok()
    }

    fn exited(self: &Rc<Self>, exit: Exit) {
        self.update(|record| {
            record.outcome = Outcome::Ended(exit);
            record.wall = self.started.get().map(|started| started.elapsed());
        });
        self.timeout.stop();
        self.wind_up();
    }

    /// The process has exited: the rest of its group is seen out if it has to end, then the rest of
    /// the output is read.
    fn wind_up(self: &Rc<Self>) {
        if self.ending.get() && self.signal(0) {
            if !self.look.is_active() {
                self.kill_in(self.grace);
            }
            return;
        }
        self.look.stop();
        for feed in &self.feeds {
            feed.left.set(Some(LINGER_BYTES));
        }
        // There is a limit to what is read from here on, so it need not wait for our reader.
        self.resume();
        let job = self.clone();
        let lingering = self.linger.start_duration(LINGER, Duration::ZERO, move |_| {
            job.feeds.iter().for_each(|feed| job.finish(feed));
            job.check_over();
        });
        self.complain(lingering);
        self.check_over();
    }

    fn check_over(&self) {
        let over = |feed: &Rc<Feed>| feed.left.get().is_some() && feed.pipe.is_closing();
        if !self.feeds.iter().all(over) {
            return;
        }
        let Some(on_over) = self.on_over.take() else { return };
        self.linger.stop();
        self.look.stop();
        self.process.take();
        on_over(self);
    }

    /// Says what should not happen: a handle of a loop that runs can be started.
    fn complain(&self, result: Result<()>) {
        if let Err(error) = result {
            eprintln!("concurrently: {}: {error}", self.name);
        }
    }

    /// Reads on where the output was full before.
    pub(crate) fn resume(self: &Rc<Self>) {
        for feed in self.feeds.iter().filter(|feed| feed.paused.replace(false)) {
            self.read(feed);
        }
    }

    fn read(self: &Rc<Self>, feed: &Rc<Feed>) {
        let (job, this) = (self.clone(), feed.clone());
        let reading = feed.pipe.read_start(move |_, read| job.arrived(&this, read));
        if reading.is_err() {
            self.complain(reading);
            self.finish(feed);
        }
    }

    fn arrived(self: &Rc<Self>, feed: &Rc<Feed>, read: Read<'_>) {
        match read {
            Read::Data(bytes) => {
                let lines = feed.lines.borrow_mut().push(bytes);
                self.output.write(lines);
                match feed.left.get().map(|left| left.saturating_sub(bytes.len())) {
                    Some(0) => self.finish(feed),
                    Some(left) => feed.left.set(Some(left)),
                    None if self.output.is_full() => {
                        feed.paused.set(true);
                        feed.pipe.read_stop();
                    }
                    None => {}
                }
            }
            Read::Eof => self.finish(feed),
            Read::Error(error) => {
                self.complain(Err(error));
                self.finish(feed);
            }
        }
        self.check_over();
    }

    /// Closes a pipe, after the last line has been written.
    fn finish(&self, feed: &Feed) {
        if !feed.pipe.is_closing() {
            let rest = feed.lines.borrow_mut().finish();
            self.output.write(rest);
            feed.pipe.close();
        }
    }
}
