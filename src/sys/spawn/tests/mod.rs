//! Tests with real children, and what they share.

mod attributes;
mod descriptors;
mod failures;
mod isolation;
mod paths;
mod process_state;
mod slots;

use isolation::isolated;

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use super::*;
use crate::process::SpawnError;
use crate::sys::wait::{self, Change, How, Waited, Whom};

/// A child that runs a program with arguments.
fn command(words: &[&str]) -> Attributes {
    let argv: Vec<CString> = words.iter().map(|word| CString::new(*word).unwrap()).collect();
    Attributes::new(Program::Path(argv[0].as_c_str().into()), argv.into())
}

/// A child that runs a shell script.
fn shell(script: &str) -> Attributes {
    command(&["/bin/sh", "-c", script])
}

fn slot(number: u32, source: Source) -> Slot {
    Slot { number, source, blocking: false }
}

/// The ends to read from and to write to.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    // SAFETY: room for two numbers; both are new and ours.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// The exit of a child, waited for.
fn finish(child: &Child) -> Change {
    let waited: Option<Waited> = wait::wait(Whom::Pid(child.pid), How::default()).unwrap();
    waited.unwrap().change
}

fn spawn(attributes: &Attributes, switches: &Switches) -> Result<Child, SpawnError> {
    Spawner::new().spawn(attributes, switches)
}

/// What a child writes to its output and error, and how it ends.
fn output_of(mut attributes: Attributes, switches: &Switches) -> (String, Change, Child) {
    let (reader, writer) = pipe();
    attributes.slots.push(slot(1, Source::Owned(writer)));
    if !attributes.slots.iter().any(|slot| slot.number == 2) {
        attributes.slots.push(slot(2, Source::SameAs(1)));
    }
    let child = spawn(&attributes, switches).unwrap();
    drop(attributes);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    let change = finish(&child);
    (text, change, child)
}

/// The three paths, and the ways round clone3 and close_range.
fn main_positions() -> Vec<Switches> {
    let mut all = Vec::new();
    for path in [SpawnPath::SharedMemory, SpawnPath::VforkPage, SpawnPath::Fork] {
        let on = Switches { path, ..Switches::default() };
        all.extend([on, Switches { clone3: false, ..on }, Switches { close_range: false, ..on }]);
    }
    all
}

/// What every spawn does without where there is no `clone3`, found out by the first.
fn without_clone3() -> Fallbacks {
    if probe::CLONE3.may_be() {
        Fallbacks::empty()
    } else {
        Fallbacks::OLDER_CLONE | Fallbacks::HANDLERS_ONE_BY_ONE
    }
}

fn is_root() -> bool {
    // SAFETY: asking for our own user id cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        eprintln!("skipped: only root may do this");
    }
    is_root
}

/// A directory that is removed with what is in it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("blacklight-{}-{name}", std::process::id()));
        // One that was killed, of the same number, may have left it.
        let _none = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A pseudo terminal: the end of its controller, and the terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: the number is new and ours; the requests take none or an int by value or address.
    unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let controller = libc::posix_openpt(flags);
        assert!(controller >= 0);
        let controller = OwnedFd::from_raw_fd(controller);
        assert_eq!(libc::unlockpt(controller.as_raw_fd()), 0);
        let terminal = libc::ioctl(controller.as_raw_fd(), libc::TIOCGPTPEER, flags);
        assert!(terminal >= 0);
        (controller, OwnedFd::from_raw_fd(terminal))
    }
}

/// A cgroup v2 of its own, where one can be made.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Cgroup> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let path = mount.and_then(|line| line.split(' ').nth(1));
        let name = format!("{name}-{}", std::process::id());
        let path = path.map(|path| std::path::Path::new(path).join(&name));
        match path {
            Some(path) if std::fs::create_dir(&path).is_ok() => Some(Cgroup(path)),
            _ => {
                eprintln!("skipped: no cgroup v2 that can be written to");
                None
            }
        }
    }

    fn open(&self) -> OwnedFd {
        File::open(&self.0).unwrap().into()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}
