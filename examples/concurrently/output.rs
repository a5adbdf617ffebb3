//! Where lines go: our standard output, and the status line that must not get in their way.
//!
//! Invariants: lines reach standard output in the order in which they are written here, whole; the
//! status line is on the screen only while no line waits to get there.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Error, Result, Written};

/// Back to the first column, and clear the line.
const ERASE: &str = "\r\x1b[K";

enum Sink {
    /// What can be waited for: a pipe, a socket, a terminal. The loop writes to it when it takes
    /// something, and commands wait meanwhile.
    Stream(Pipe),
    /// A regular file, which epoll refuses to watch and which is always ready.
    File(RefCell<File>),
    /// It has failed; what is written is dropped.
    Broken,
}

pub(crate) struct Output {
    sink: RefCell<Sink>,
    on_error: RefCell<Option<Box<dyn FnOnce(Error)>>>,
    /// Standard error is a terminal.
    shows_status: bool,
    /// And standard output is, too: the lines and the status line share a screen.
    shares_screen: bool,
    status: RefCell<String>,
    drawn: Cell<bool>,
}

impl Output {
    /// Takes over standard output.
    pub(crate) fn new(lp: &LoopRef) -> Result<Rc<Output>> {
        let stdout = io::stdout();
        let copy = File::from(stdout.as_fd().try_clone_to_owned()?);
        let kind = copy.metadata()?.file_type();
        let sink = if kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
            let pipe = Pipe::new(lp)?;
            pipe.open(copy)?;
            Sink::Stream(pipe)
        } else {
            Sink::File(RefCell::new(copy))
        };
        let shows_status = io::stderr().is_terminal();
        Ok(Rc::new(Output {
            sink: RefCell::new(sink),
            on_error: RefCell::new(None),
            shows_status,
            shares_screen: shows_status && stdout.is_terminal(),
            status: RefCell::default(),
            drawn: Cell::new(false),
        }))
    }

    /// Calls back when standard output takes no more; what is written then is dropped.
    pub(crate) fn on_error(&self, callback: impl FnOnce(Error) + 'static) {
        self.on_error.replace(Some(Box::new(callback)));
    }

    /// Calls back when what has been written so far is through, if [`Output::is_full`] was said.
    pub(crate) fn on_drain(&self, callback: impl Fn() + 'static) -> Result<()> {
        match &*self.sink.borrow() {
            Sink::Stream(pipe) => pipe.on_drain(move |_| callback()),
            Sink::File(_) | Sink::Broken => Ok(()),
        }
    }

    /// Whether so much waits to be written that the commands should pause.
    pub(crate) fn is_full(&self) -> bool {
        match &*self.sink.borrow() {
            Sink::Stream(pipe) => pipe.wants_drain(),
            Sink::File(_) | Sink::Broken => false,
        }
    }

    /// Writes whole lines.
    pub(crate) fn write(self: &Rc<Self>, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        if self.shares_screen {
            self.erase();
        }
        let written = match &*self.sink.borrow() {
            Sink::Stream(pipe) => {
                let output = self.clone();
                let done = move |_: &Pipe, written: Written| {
                    if let Err(error) = written.result {
                        output.fail(error);
                    }
                };
                pipe.write(lines, done).map(drop)
            }
            Sink::File(file) => file.borrow_mut().write_all(&lines).map_err(Error::from),
            Sink::Broken => Ok(()),
        };
        match written {
            Ok(()) => self.draw(),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: Error) {
        if let Sink::Stream(pipe) = self.sink.replace(Sink::Broken) {
            pipe.close();
        }
        if let Some(on_error) = self.on_error.take() {
            on_error(error);
        }
    }

    pub(crate) fn shows_status(&self) -> bool {
        self.shows_status
    }

    /// Shows a status line from now on, if that makes sense; an empty one is none.
    pub(crate) fn set_status(&self, status: String) {
        if self.shows_status && *self.status.borrow() != status {
            self.erase();
            self.status.replace(status);
            self.draw();
        }
    }

    fn draw(&self) {
        let lines_wait = match &*self.sink.borrow() {
            Sink::Stream(pipe) => self.shares_screen && pipe.write_queue_size() > 0,
            Sink::File(_) | Sink::Broken => false,
        };
        let status = self.status.borrow();
        if !lines_wait && !status.is_empty() && !self.drawn.replace(true) {
            print_status(&status);
        }
    }

    fn erase(&self) {
        if self.drawn.replace(false) {
            print_status(ERASE);
        }
    }
}

/// A status line that cannot be shown is not worth ending for.
fn print_status(text: &str) {
    let _unseen = io::stderr().write_all(text.as_bytes());
}
