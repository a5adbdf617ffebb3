//! Failed spawns: the step and the errno, and that nothing is left (DEMANDS 1.12, 1.17; B5).

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;

use blacklight::prelude::*;
use blacklight::{Error, Resource, SpawnError, SpawnPath, SpawnStep, UNLIMITED};

use crate::support::process::{Exits, Scratch, new_loop, output, pipe, run, shell};
use crate::support::{children, isolated, open_fds};

/// Spawns a command that cannot be spawned, twice, with a pipe in a slot, and checks that nothing
/// is left of it; the step and the errno.
fn failure(lp: &EventLoop, command: &mut Command) -> (SpawnStep, Error) {
    // What the crate keeps for good is there after one spawn.
    Command::new("true").spawn(lp, |_, _| {}).unwrap();
    run(lp);
    let before = open_fds();
    let pipe = Pipe::new(lp).unwrap();
    let command = command.stdio(3, Stdio::pipe(&pipe));
    let never = |_: &Process, _: Exit| panic!("there is no process to end");
    let first = command.spawn(lp, never).unwrap_err();
    assert!(children().is_empty(), "{first}: {:?}", children());
    let second = command.spawn(lp, never).unwrap_err();
    assert_eq!(first, second, "the pipe handle is as it was");
    assert_eq!((pipe.is_readable(), pipe.fileno()), (false, Err(Error::EBADF)));
    assert_eq!(open_fds(), before, "{first}");
    assert!(!lp.is_alive());
    // The handle can be used for one that works.
    let (said, exit) = output(lp, &mut shell("echo well"));
    assert!(exit.success() && said == "well\n");
    assert_eq!(std::io::Error::from(first).to_string(), first.to_string());
    (first.step(), first.error())
}

#[test]
fn a_program_that_cannot_be_executed() {
    isolated(|| {
        let lp = new_loop();
        let exec = |error| (SpawnStep::Exec, error);
        let dir = Scratch::new();
        assert_eq!(failure(&lp, &mut Command::new("/nonexistent")), exec(Error::ENOENT));
        assert_eq!(failure(&lp, &mut Command::new("no-such-program")), exec(Error::ENOENT));
        assert_eq!(failure(&lp, &mut Command::new("")), exec(Error::ENOENT));
        assert_eq!(failure(&lp, &mut Command::new("/")), exec(Error::EACCES));
        assert_eq!(failure(&lp, &mut Command::new("/dev/null/x")), exec(Error::ENOTDIR));
        let plain = dir.join("plain");
        std::fs::write(&plain, "text").unwrap();
        assert_eq!(failure(&lp, &mut Command::new(&plain)), exec(Error::EACCES));
        let interpreter = dir.program("script", "#!/no/such/interpreter\n");
        assert_eq!(failure(&lp, &mut Command::new(&interpreter)), exec(Error::ENOENT));
        let long = "x".repeat(5000);
        assert_eq!(failure(&lp, &mut Command::new(long)), exec(Error::ENAMETOOLONG));
    });
}

#[test]
fn a_program_that_is_being_written() {
    isolated(|| {
        // B13: the error is told, after a few tries or none.
        let lp = new_loop();
        let dir = Scratch::new();
        let path = dir.join("busy");
        std::fs::copy("/bin/true", &path).unwrap();
        let writer = File::options().append(true).open(&path).unwrap();
        let found = failure(&lp, &mut Command::new(&path));
        assert_eq!(found, (SpawnStep::Exec, Error::ETXTBSY));
        let found = failure(&lp, Command::new(&path).busy_retries(0));
        assert_eq!(found, (SpawnStep::Exec, Error::ETXTBSY));
        // Another process has it open now, until its input ends: a child that copies our table would
        // hold it open itself. Whenever it goes, the child is still trying, or only begins to.
        let mut cat = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(writer)
            .spawn()
            .unwrap();
        drop(cat.stdin.take());
        let mut patient = Command::new(&path);
        patient.busy_retries(1000).spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        cat.wait().unwrap();
        Command::new(&path).spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        run(&lp);
    });
}

#[test]
fn a_working_directory_that_is_none() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        let chdir = |error| (SpawnStep::Chdir, error);
        assert_eq!(failure(&lp, command.current_dir("/nonexistent")), chdir(Error::ENOENT));
        assert_eq!(failure(&lp, command.current_dir("/dev/null")), chdir(Error::ENOTDIR));
        assert_eq!(failure(&lp, command.current_dir("/a\0b")), chdir(Error::EINVAL));
    });
}

#[test]
fn a_nul_in_anything() {
    isolated(|| {
        let lp = new_loop();
        let invalid = |step| (step, Error::EINVAL);
        assert_eq!(failure(&lp, &mut Command::new("tr\0ue")), invalid(SpawnStep::Program));
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.arg("a\0b")), invalid(SpawnStep::Arguments));
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.arg0("a\0b")), invalid(SpawnStep::Arguments));
        for (key, value) in [("a\0b", "c"), ("a", "b\0c"), ("", "b"), ("a=b", "c")] {
            let mut command = Command::new("true");
            command.env(key, value);
            assert_eq!(failure(&lp, &mut command), invalid(SpawnStep::Environment), "{key:?}");
        }
        let mut command = Command::new("true");
        command.stdio(4, Stdio::read_file("/dev/\0null"));
        assert_eq!(failure(&lp, &mut command), invalid(SpawnStep::Open(4)));
    });
}

#[test]
fn arguments_and_environments_larger_than_the_kernel_takes() {
    isolated(|| {
        let lp = new_loop();
        let too_big = (SpawnStep::Exec, Error::E2BIG);
        // One string may have 128 KiB (execve(2), MAX_ARG_STRLEN).
        let long = "x".repeat(200 * 1024);
        assert_eq!(failure(&lp, Command::new("true").env("LONG", &long)), too_big);
        assert_eq!(failure(&lp, Command::new("true").arg(&long)), too_big);
        // All together at most 6 MiB, whatever the stack's limit.
        let strings = (0..70_000).map(|i| CString::new(format!("V{i:0>100}=")).unwrap());
        assert_eq!(failure(&lp, Command::new("/bin/true").env_block(strings)), too_big);
    });
}

#[test]
fn descriptors_that_are_not_open() {
    isolated(|| {
        let lp = new_loop();
        let bad = |slot| (SpawnStep::Dup(slot), Error::EBADF);
        let mut command = Command::new("true");
        // SAFETY: nothing is open there, which is the point.
        command.stdio(5, unsafe { Stdio::from_raw_number(999) });
        assert_eq!(failure(&lp, &mut command), bad(5));
        // SAFETY: as above.
        command.stdio(5, unsafe { Stdio::from_raw_number(-1) });
        assert_eq!(failure(&lp, &mut command), bad(5));
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.stdio(777, Stdio::inherit())), bad(777));
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.stdio(u32::MAX, Stdio::inherit())), bad(u32::MAX));
        assert_eq!(
            failure(&lp, Command::new("true").stdio(u32::MAX, Stdio::null())),
            bad(u32::MAX)
        );
        let closed = Pipe::new(&lp).unwrap();
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.stdio(6, Stdio::stream(&closed))), bad(6));
    });
}

#[test]
fn a_slot_above_the_limit() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        command.stdio(10_000_000, Stdio::null());
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Dup(10_000_000), Error::EMFILE));
    });
}

#[test]
fn references_to_slots_that_lead_nowhere() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        command.stdio(4, Stdio::same_as(9));
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Dup(4), Error::EBADF));
        command.stdio(4, Stdio::same_as(5)).stdio(5, Stdio::same_as(4));
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Dup(4), Error::EINVAL));
        command.stdio(4, Stdio::same_as(4)).stdio(5, Stdio::null());
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Dup(4), Error::EINVAL));
        command.stdio(4, Stdio::same_as(5)).stdio(5, Stdio::ignore());
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Dup(4), Error::EBADF));
        let mut command = Command::new("true");
        command.controlling_terminal(8);
        assert_eq!(failure(&lp, &mut command), (SpawnStep::ControllingTerminal, Error::EBADF));
    });
}

#[test]
fn files_that_cannot_be_opened() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        command.stdin(Stdio::read_file("/nonexistent"));
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Open(0), Error::ENOENT));
        command.stdin(Stdio::null()).stdout(Stdio::write_file("/"));
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Open(1), Error::EISDIR));
    });
}

#[test]
fn pipe_handles_that_are_in_use() {
    isolated(|| {
        let lp = new_loop();
        let busy = |slot| (SpawnStep::Open(slot), Error::EBUSY);
        let (open, other) = Pipe::pair(&lp).unwrap();
        let mut command = Command::new("true");
        assert_eq!(failure(&lp, command.stdio(4, Stdio::pipe(&open))), busy(4));
        assert!(open.is_readable() && open.is_writable(), "it goes on as before");
        open.close();
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Open(4), Error::EINVAL));
        other.close();
        run(&lp);
        let twice = Pipe::new(&lp).unwrap();
        command.stdio(4, Stdio::pipe(&twice)).stdio(7, Stdio::pipe(&twice));
        assert_eq!(failure(&lp, &mut command), busy(7));
    });
}

#[test]
fn groups_sessions_and_terminals_that_cannot_be_had() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        // A group of another session, or of none.
        assert_eq!(failure(&lp, command.process_group(1)), (SpawnStep::ProcessGroup, Error::EPERM));
        assert_eq!(
            failure(&lp, command.process_group(-1)),
            (SpawnStep::ProcessGroup, Error::EINVAL)
        );
        let mut command = Command::new("true");
        command.stdio(4, Stdio::null()).controlling_terminal(4);
        assert_eq!(failure(&lp, &mut command), (SpawnStep::ControllingTerminal, Error::ENOTTY));
        let mut command = Command::new("true");
        command.foreground(File::open("/dev/null").unwrap()).unwrap();
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Foreground, Error::ENOTTY));
    });
}

#[test]
fn limits_processors_and_signals_that_make_no_sense() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        command.rlimit(Resource::OpenFiles, 20, 10);
        let number = libc::RLIMIT_NOFILE;
        assert_eq!(failure(&lp, &mut command), (SpawnStep::Rlimit(number), Error::EINVAL));
        assert_eq!(
            failure(&lp, Command::new("true").rlimit(Resource::OpenFiles, UNLIMITED, UNLIMITED)),
            (SpawnStep::Rlimit(number), Error::EPERM),
            "more than the kernel's own limit, even for root"
        );
        let nowhere = [usize::MAX];
        for processors in [&[][..], &nowhere, &[60_000]] {
            let mut command = Command::new("true");
            command.affinity(processors.iter().copied());
            assert_eq!(failure(&lp, &mut command), (SpawnStep::Affinity, Error::EINVAL));
        }
        assert_eq!(
            failure(&lp, Command::new("true").parent_death_signal(99)),
            (SpawnStep::ParentDeathSignal, Error::EINVAL)
        );
    });
}

#[test]
fn a_cgroup_that_is_none() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("true");
        command.cgroup(File::open("/tmp").unwrap()).unwrap();
        let (step, error) = failure(&lp, &mut command);
        assert_eq!(step, SpawnStep::Cgroup, "{error}");
        // The word is the kernel's for clone3, or that of an open there.
        assert!(matches!(error, Error::EBADF | Error::ENOENT), "{error}");
    });
}

#[test]
fn a_loop_that_is_gone() {
    isolated(|| {
        let lp = new_loop();
        let stays: LoopRef = (*lp).clone();
        drop(lp);
        let error = shell("exit 0").spawn(&stays, |_, _| {}).unwrap_err();
        assert_eq!(error.error(), Error::EINVAL);
        let error = shell("exit 0").spawn_off_loop(&stays, |_, _| {}, |_, _| {}).unwrap_err();
        assert_eq!(error.error(), Error::EINVAL);
        let (reader, _writer) = pipe();
        assert_eq!(Process::adopt(&stays, 1, |_, _| {}).unwrap_err(), Error::EINVAL);
        assert_eq!(Process::from_pidfd(&stays, reader, |_, _| {}).unwrap_err(), Error::EINVAL);
        assert!(children().is_empty());
    });
}

#[test]
fn the_errors_are_the_same_on_every_path() {
    isolated(|| {
        crate::support::process::watchdog();
        let paths = [SpawnPath::SharedMemory, SpawnPath::VforkPage, SpawnPath::Fork];
        let errors = paths.map(|spawn_path| {
            let options =
                blacklight::Options { spawn_path, ..blacklight::Options::from_env().unwrap() };
            let lp = EventLoop::with_options(options).unwrap();
            let fails = |command: &mut Command| command.spawn(&lp, |_, _| {}).unwrap_err();
            let errors: Vec<SpawnError> = vec![
                fails(&mut Command::new("/nonexistent")),
                fails(Command::new("true").current_dir("/nonexistent")),
                fails(Command::new("true").process_group(1)),
                fails(Command::new("true").rlimit(Resource::Core, 1, 0)),
                fails(Command::new("true").stdio(8, Stdio::null()).controlling_terminal(8)),
            ];
            assert!(children().is_empty());
            let exits = Exits::new();
            shell("exit 3").spawn(&lp, exits.note()).unwrap();
            run(&lp);
            assert_eq!(exits.one().code(), Some(3));
            errors
        });
        assert_eq!(errors[0], errors[1]);
        assert_eq!(errors[0], errors[2]);
    });
}
