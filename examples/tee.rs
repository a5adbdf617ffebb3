//! Copies standard input to standard output and to files, as tee(1) does, on the loop.
//!
//! `tee [-a] FILE...`: `-a` appends. The input is read only as fast as whoever reads the output
//! takes it. The exit code is 1 when something could not be written.

use std::cell::RefCell;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;

use blacklight::prelude::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Where the input goes.
struct Outputs {
    files: Vec<(String, File)>,
    /// Standard output, if it is something that has to be waited for.
    out: Option<Pipe>,
    failed: bool,
}

impl Outputs {
    fn complain(&mut self, what: &str, error: impl Display) {
        eprintln!("tee: {what}: {error}");
        self.failed = true;
    }

    /// Hands out a piece of the input. What fails is left out from then on.
    fn take(&mut self, bytes: &[u8]) {
        for (path, mut file) in std::mem::take(&mut self.files) {
            match file.write_all(bytes) {
                Ok(()) => self.files.push((path, file)),
                Err(error) => self.complain(&path, error),
            }
        }
        if let Some(out) = &self.out
            && let Err(error) = out.write_and_forget(bytes.to_vec())
        {
            self.out = None;
            self.complain("standard output", error);
        }
    }

    fn is_behind(&self) -> bool {
        self.out.as_ref().is_some_and(Stream::wants_drain)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tee: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<bool> {
    let lp = EventLoop::new()?;
    let mut outputs = Outputs { files: Vec::new(), out: None, failed: false };
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let append = paths.first().is_some_and(|arg| arg == "-a");
    for path in paths.drain(usize::from(append)..) {
        let mut options = File::options();
        options.create(true).append(append).write(true).truncate(!append);
        match options.open(&path) {
            Ok(file) => outputs.files.push((path, file)),
            Err(error) => outputs.complain(&path, error),
        }
    }
    let out = Pipe::new(&lp)?;
    match out.open(copy(std::io::stdout())?) {
        Ok(()) => outputs.out = Some(out.clone()),
        // A file is always ready.
        Err(_) => outputs.files.push(("standard output".into(), copy(std::io::stdout())?.into())),
    }
    let outputs = Rc::new(RefCell::new(outputs));
    let input = Pipe::new(&lp)?;
    match input.open(copy(std::io::stdin())?) {
        Ok(()) => {
            let (again, to) = (input.clone(), outputs.clone());
            out.on_drain(move |_| read(&again, &to))?;
            read(&input, &outputs);
        }
        Err(_) => read_file(&lp, copy(std::io::stdin())?.into(), &outputs)?,
    }
    lp.run(RunMode::Default)?;
    if let Some(error) = out.take_write_error() {
        outputs.borrow_mut().complain("standard output", error);
    }
    let failed = outputs.borrow().failed;
    Ok(!failed)
}

fn copy(fd: impl AsFd) -> std::io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

/// Reads the input until it ends or the output falls behind; being drained starts it again.
fn read(input: &Pipe, outputs: &Rc<RefCell<Outputs>>) {
    let to = outputs.clone();
    let started = input.read_start(move |input, read| match read {
        Read::Data(bytes) => {
            to.borrow_mut().take(bytes);
            if to.borrow().is_behind() {
                input.read_stop();
            }
        }
        Read::Eof => input.close(),
        Read::Error(error) => to.borrow_mut().complain("standard input", error),
    });
    if let Err(error) = started
        && !input.is_closing()
    {
        outputs.borrow_mut().complain("standard input", error);
    }
}

/// A file needs no waiting for: a piece of it is read in each turn.
fn read_file(lp: &EventLoop, mut file: File, outputs: &Rc<RefCell<Outputs>>) -> Outcome<()> {
    let to = outputs.clone();
    let mut buffer = vec![0; 64 * 1024];
    Idle::new(lp)?.start(move |idle| {
        if to.borrow().is_behind() {
            return;
        }
        match file.read(&mut buffer) {
            Ok(0) => idle.close(),
            Ok(n) => to.borrow_mut().take(&buffer[..n]),
            Err(error) => {
                to.borrow_mut().complain("standard input", error);
                idle.close();
            }
        }
    })?;
    Ok(())
}
