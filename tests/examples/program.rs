//! Running an example and watching it: by the library itself, so that signals are at their defaults
//! in it, wherever the tests run.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use blacklight::prelude::*;

/// An example that takes longer hangs, and is killed.
const TOO_LONG: u64 = 60_000;

/// The path of an example that cargo has built.
pub(crate) fn path_of(example: &str) -> PathBuf {
    // target/debug/deps/examples-0123 → target/debug/examples/...
    let test = std::env::current_exe().expect("the test program has a path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("cargo's folders");
    let path = profile.join("examples").join(example);
    assert!(path.exists(), "{} is not built: run `cargo test` or", path.display());
    path
}

/// A program to be run to its end.
pub(crate) struct Program {
    command: Command,
    input: Vec<u8>,
    /// Milliseconds before anybody reads its standard output.
    read_after: u64,
}

/// What a program left.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A program that runs, as its watcher sees it.
pub(crate) struct Watched<'a> {
    pub(crate) process: &'a Process,
    pub(crate) stdout: &'a Pipe,
    bytes: &'a [u8],
}

impl Watched<'_> {
    /// What it has written to its standard output by now.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// Whether it has written this to its standard output by now.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        String::from_utf8_lossy(self.bytes).contains(text)
    }
}

impl Program {
    pub(crate) fn example(name: &str) -> Program {
        Program::new(Command::new(path_of(name)))
    }

    pub(crate) fn new(command: Command) -> Program {
        Program { command, input: Vec::new(), read_after: 0 }
    }

    pub(crate) fn args<A: AsRef<std::ffi::OsStr>>(
        mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) fn input(mut self, input: &str) -> Self {
        self.input = input.into();
        self
    }

    pub(crate) fn read_after(mut self, milliseconds: u64) -> Self {
        self.read_after = milliseconds;
        self
    }

    pub(crate) fn run(self) -> Ended {
        self.watch(|_| {})
    }

    /// Runs it; `watch` is called whenever it has written to its standard output.
    pub(crate) fn watch(mut self, mut watch: impl FnMut(&Watched<'_>) + 'static) -> Ended {
        let lp = EventLoop::new().unwrap();
        let pipe = || Pipe::new(&lp).unwrap();
        let (stdin, stdout, stderr) = (pipe(), pipe(), pipe());
        let exit = Rc::new(Cell::new(None));
        let on_exit = exit.clone();
        let process = self
            .command
            .stdin(Stdio::pipe(&stdin))
            .stdout(Stdio::pipe(&stdout))
            .stderr(Stdio::pipe(&stderr))
            .spawn(&lp, move |_, exit| on_exit.set(Some(exit)))
            .unwrap();

        // It may end without reading all.
        stdin.write(self.input, |stdin, _| stdin.close()).unwrap();
        let errors = collect(&stderr, |_, _| {});
        let (out, running) = (Rc::new(RefCell::new(None)), process.clone());
        let (collected, delayed) = (out.clone(), Timer::new(&lp).unwrap());
        let collect_stdout = move |pipe: &Pipe| {
            collect(pipe, move |stdout, bytes| {
                watch(&Watched { process: &running, stdout, bytes });
            })
        };
        if self.read_after == 0 {
            collected.replace(Some(collect_stdout(&stdout)));
        } else {
            let mut start = Some(collect_stdout);
            let begin = move |_: &Timer| {
                let start = start.take().expect("the timer does not repeat");
                collected.replace(Some(start(&stdout)));
            };
            delayed.start(self.read_after, 0, begin).unwrap();
        }

        let hanging = Timer::new(&lp).unwrap();
        let late = Rc::new(Cell::new(false));
        let (hung, victim) = (late.clone(), process.clone());
        let give_up = move |_: &Timer| {
            hung.set(true);
            victim.kill(libc::SIGKILL).unwrap();
        };
        hanging.start(TOO_LONG, 0, give_up).unwrap();
        hanging.unreference();

        lp.run(RunMode::Default).unwrap();
        let stderr = String::from_utf8_lossy(&errors.borrow()).into_owned();
        let stdout = out.take().map(|bytes| bytes.take()).unwrap_or_default();
        assert!(!late.get(), "it hangs\n{}\n{stderr}", String::from_utf8_lossy(&stdout));
        Ended { exit: exit.get().expect("it has ended"), stdout, stderr }
    }
}

/// Collects what comes out of a pipe until its end.
fn collect(pipe: &Pipe, mut seen: impl FnMut(&Pipe, &[u8]) + 'static) -> Rc<RefCell<Vec<u8>>> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let bytes = all.clone();
    pipe.read_start(move |pipe, read| match read {
        Read::Data(more) => {
            bytes.borrow_mut().extend_from_slice(more);
            seen(pipe, &bytes.borrow());
        }
        Read::Eof => pipe.close(),
        Read::Error(error) => panic!("reading from a child: {error}"),
    })
    .unwrap();
    all
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.exit.code()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The lines of one command, as `concurrently` marks them, without the name.
    pub(crate) fn lines_of(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|rest| rest.trim_start().to_owned()).collect()
    }

    /// A row of the table of `concurrently`, by the name of the command.
    pub(crate) fn row(&self, name: &str) -> Vec<&str> {
        let mut rows = self.stderr.lines().map(|line| line.split_whitespace().collect());
        rows.find(|row: &Vec<&str>| row.first() == Some(&name)).expect("a row of the command's")
    }
}

/// A folder of a test's own, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Folder {
        let name = format!("blacklight-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        Folder(path)
    }

    pub(crate) fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a process is there, zombies included.
pub(crate) fn exists(pid: i32) -> bool {
    blacklight::kill(pid, 0).is_ok()
}
