//! Tells of changes of files and directories, and runs a command after them.
//!
//! `watch [-r] PATH... [-- COMMAND...]`: `-r` watches everything below the paths. The command is run
//! once for all changes within 50 ms, and never twice at a time.

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{FsChange, FsChangeKind, FsEvent, FsEventFlags};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Milliseconds without a change before the command is run.
const QUIET: u64 = 50;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let command = match args.iter().position(|arg| arg == "--") {
        Some(at) => args.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let recursive = args.first().is_some_and(|arg| arg == "-r");
    let paths = args.split_off(usize::from(recursive));
    if paths.is_empty() {
        return Err("usage: watch [-r] PATH... [-- COMMAND...]".into());
    }
    let flags = if recursive { FsEventFlags::RECURSIVE } else { FsEventFlags::empty() };
    let lp = EventLoop::new()?;
    let runner = Runner::new(&lp, command)?;
    for path in &paths {
        let (runner, name) = (runner.clone(), path.clone());
        let told = move |watcher: &FsEvent, change: blacklight::Result<&FsChange>| match change {
            Ok(change) => {
                println!("{name}: {}", describe(change));
                runner.changed();
                if change.kind == FsChangeKind::Gone {
                    watcher.close();
                }
            }
            Err(error) => eprintln!("watch: {name}: {error}"),
        };
        let started = FsEvent::new(&lp)?.start(path, flags, told);
        started.map_err(|error| format!("{path}: {error}"))?;
    }
    for signum in [libc::SIGINT, libc::SIGTERM] {
        let signal = Signal::new(&lp)?;
        signal.start(signum, |signal, _| signal.event_loop().stop())?;
        signal.unreference();
    }
    println!("watching");
    lp.run(RunMode::Default)?;
    Ok(())
}

fn describe(change: &FsChange) -> String {
    let path = change.path.display();
    match &change.kind {
        FsChangeKind::Renamed { from, .. } => format!("{} is now {path}", from.display()),
        FsChangeKind::Created | FsChangeKind::MovedTo { .. } => format!("{path} is new"),
        FsChangeKind::Deleted | FsChangeKind::MovedFrom { .. } => format!("{path} is gone"),
        FsChangeKind::Modified => format!("{path} has changed"),
        FsChangeKind::Attributes => format!("{path} has other attributes"),
        FsChangeKind::Overflow => "too much has changed to tell".to_owned(),
        kind => format!("{path}: {kind:?}"),
    }
}

/// Runs the command when changes have come to rest.
#[derive(Clone)]
struct Runner {
    command: Rc<RefCell<Option<Command>>>,
    quiet: Timer,
    running: Rc<Cell<bool>>,
    again: Rc<Cell<bool>>,
}

impl Runner {
    fn new(lp: &EventLoop, words: Vec<String>) -> blacklight::Result<Runner> {
        let command = words.split_first().map(|(program, args)| {
            let mut command = Command::new(program);
            command.args(args);
            command
        });
        Ok(Runner {
            command: Rc::new(RefCell::new(command)),
            quiet: Timer::new(lp)?,
            running: Rc::default(),
            again: Rc::default(),
        })
    }

    fn changed(&self) {
        if self.command.borrow().is_none() {
            return;
        }
        if self.running.get() {
            self.again.set(true);
            return;
        }
        let runner = self.clone();
        if let Err(error) = self.quiet.start(QUIET, 0, move |_| runner.run()) {
            eprintln!("watch: {error}");
        }
    }

    fn run(&self) {
        let runner = self.clone();
        let ended = move |_: &Process, exit: Exit| {
            println!("{exit}");
            runner.running.set(false);
            if runner.again.replace(false) {
                runner.changed();
            }
        };
        let command = self.command.borrow();
        let Some(command) = &*command else { return };
        match command.spawn(self.quiet.event_loop(), ended) {
            Ok(_) => self.running.set(true),
            Err(error) => eprintln!("watch: {error}"),
        }
    }
}
