//! Children for tests: commands, what they say, and waits that are bounded and use no sleep.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Facilities, LoopRef, Reaping, SpawnPath};

/// Ends this process if the test hangs. No child inherits an alarm.
pub fn watchdog() {
    // SAFETY: no pointers; nobody handles SIGALRM here.
    unsafe { libc::alarm(60) };
}

/// A loop as the environment wants it, under the [`watchdog`].
pub fn new_loop() -> EventLoop {
    watchdog();
    EventLoop::new().unwrap()
}

/// Runs the loop until it has nothing left to do.
pub fn run(lp: &EventLoop) {
    assert!(!lp.run(RunMode::Default).unwrap(), "the loop ended by itself");
}

/// A shell script that reads nothing of ours.
pub fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// What arrives on a pipe.
#[derive(Clone, Default)]
pub struct Text(Rc<RefCell<Vec<u8>>>);

impl Text {
    pub fn bytes(&self) -> Vec<u8> {
        self.0.borrow().clone()
    }

    pub fn get(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

/// Reads a pipe to its end and closes it then.
pub fn collect(pipe: &Pipe) -> Text {
    let text = Text::default();
    let sink = text.clone();
    pipe.read_start(move |pipe, read| match read {
        Read::Data(bytes) => sink.0.borrow_mut().extend_from_slice(bytes),
        Read::Eof => pipe.close(),
        Read::Error(error) => panic!("reading a child's output: {error}"),
    })
    .unwrap();
    text
}

/// Exits in the order of their reports.
#[derive(Clone, Default)]
pub struct Exits(Rc<RefCell<Vec<(i32, Exit)>>>);

impl Exits {
    pub fn new() -> Exits {
        Exits::default()
    }

    /// An exit callback that writes here.
    pub fn note(&self) -> impl FnOnce(&Process, Exit) + 'static {
        let list = self.0.clone();
        move |process, exit| list.borrow_mut().push((process.pid(), exit))
    }

    pub fn get(&self) -> Vec<(i32, Exit)> {
        self.0.borrow().clone()
    }

    /// The only one.
    pub fn one(&self) -> Exit {
        let list = self.get();
        assert_eq!(list.len(), 1, "one report: {list:?}");
        list[0].1
    }
}

/// Runs a command to its end: what it wrote to slot 1, and how it ended.
pub fn output(lp: &EventLoop, command: &mut Command) -> (String, Exit) {
    let out = Pipe::new(lp).unwrap();
    let exits = Exits::new();
    command.stdout(Stdio::pipe(&out)).spawn(lp, exits.note()).unwrap();
    let text = collect(&out);
    run(lp);
    (text.get(), exits.one())
}

/// As [`output`], of a child that succeeds, without the last newline.
pub fn says(command: &mut Command) -> String {
    let lp = new_loop();
    let (text, exit) = output(&lp, command);
    assert!(exit.success(), "{command:?}: {exit}: {text}");
    text.trim_end_matches('\n').to_owned()
}

/// A line of /proc/self/status of the child, as `grep` gives it.
pub fn status_line(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().to_owned()
}

/// Says why a test does nothing here.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Says loudly that a comparison with node will not be made, if there is none. For outside of
/// `isolated`, which keeps what its body prints to itself.
pub fn node_or_a_word() {
    let node = std::process::Command::new("node").arg("--version").output();
    if !node.is_ok_and(|output| output.status.success()) {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not by a macro, whose words the test runner would keep too.
        let word = format!("SKIPPED: {name}: there is no node to compare with\n");
        let _unheard = std::io::Write::write_all(&mut std::io::stderr(), word.as_bytes());
    }
}

pub fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

/// A user that is not root and that the tests may become.
pub const NOBODY: u32 = 65534;

/// Whether the kernel is at least this one.
pub fn kernel_is(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Whether children of the loop have pidfds.
pub fn has_pidfds(lp: &LoopRef) -> bool {
    lp.options().facilities.contains(Facilities::PIDFD) && kernel_is(5, 4)
}

/// Whether the loop learns of exits by pidfd alone.
pub fn reaps_by_pidfd(lp: &LoopRef) -> bool {
    has_pidfds(lp) && lp.options().reaping != Reaping::Sigchld
}

/// Whether the loop can ask the kernel how a process ended that somebody else has waited for.
pub fn has_notes(lp: &LoopRef) -> bool {
    has_pidfds(lp) && lp.options().facilities.contains(Facilities::PIDFD_INFO) && kernel_is(6, 15)
}

/// Whether the status is promised even when somebody else has waited for the child (DESIGN 4.7).
///
/// The fork path opens the pidfd after the fork; a child that is gone by then has none.
pub fn is_exact_for_all(lp: &LoopRef) -> bool {
    has_notes(lp) && lp.options().spawn_path != SpawnPath::Fork
}

/// A pipe; both ends close-on-exec and blocking.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// A pidfd of the test's own, whatever the loop may use.
pub fn pidfd_of(pid: i32) -> OwnedFd {
    // SAFETY: numbers in; the number that comes out is new and ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "pidfd_open({pid}): {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Waits for an event of a descriptor, at most so many milliseconds; 0 when there is none.
pub fn poll_for(fd: impl AsFd, events: i16, milliseconds: i32) -> i16 {
    let mut entry = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    loop {
        // SAFETY: one entry that outlives the call.
        match unsafe { libc::poll(&raw mut entry, 1, milliseconds) } {
            -1 => {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
            }
            _ => return entry.revents,
        }
    }
}

/// Waits until a process has ended; it may be a zombie then.
pub fn until_dead(pidfd: &OwnedFd) {
    assert_ne!(poll_for(pidfd, libc::POLLIN, 60_000), 0, "the process ends");
}

/// Waits until a process is no child of ours any more, not even a dead one.
pub fn until_reaped(pid: i32, pidfd: &OwnedFd) {
    until_dead(pidfd);
    let deadline = Instant::now() + Duration::from_secs(30);
    while super::children().iter().any(|(child, _)| *child == pid) {
        assert!(Instant::now() < deadline, "{pid} stays a zombie");
        // A pidfd hangs up when its process is reaped (Linux 6.9).
        poll_for(pidfd, 0, 5);
    }
}

/// Waits until `what` is so.
pub fn until(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

/// Forks; the child does `body` on the one thread it has and ends with what that returns.
pub fn forked(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: tests that use this run isolated, with one thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            watchdog();
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the process; the parent's destructors are the parent's.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

/// Forks, waits, and asserts that `body` returned 0.
pub fn in_fork(body: impl FnOnce() -> i32) {
    let pid = forked(body);
    let mut status = 0;
    // SAFETY: the status outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the forked process failed");
}

/// A directory of the test's own.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("blacklight-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One that was killed, of the same number, may have left it.
        let _none = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file that may be executed.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_to_the_system = std::fs::remove_dir_all(&self.0);
    }
}
