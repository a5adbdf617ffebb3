//! What has no counterpart in Node, or shows only from here.

use blacklight::child_process::{Shell, SyncOptions, SyncResult, SyncStdio, spawn_sync};
use blacklight::{Command, Error, SpawnStep, Stdio};

use crate::support::process::{Scratch, watchdog};
use crate::support::{children, isolated};

/// A script, without limits of time or output.
fn sh(script: &str, options: &SyncOptions) -> SyncResult {
    spawn_sync(Command::new("sh").args(["-c", script]), options)
}

fn code(result: &SyncResult) -> Option<Error> {
    result.error.as_ref().map(|error| error.code)
}

#[test]
fn a_kill_signal_that_cannot_be_sent_is_followed_by_sigkill() {
    isolated(|| {
        watchdog();
        for nothing in [99, 65, 0, -1, i32::MIN] {
            let result = sh("read x <&1", SyncOptions::new().timeout(50).kill_signal(nothing));
            // The first error is the one that stays.
            assert_eq!(code(&result), Some(Error::ETIMEDOUT), "{nothing}");
            assert_eq!((result.status, result.signal), (None, Some(libc::SIGKILL)), "{nothing}");
        }
    });
}

#[test]
fn a_real_time_signal_can_be_the_kill_signal() {
    let result = sh("read x <&1", SyncOptions::new().timeout(50).kill_signal(34));
    assert_eq!((code(&result), result.signal), (Some(Error::ETIMEDOUT), Some(34)));
}

#[test]
fn a_child_that_was_not_made_has_nothing_but_an_error() {
    let mut command = Command::new("no-such-program");
    let result = spawn_sync(command.args(["a", "b"]), &SyncOptions::new());
    assert_eq!((result.pid, result.status, result.signal), (0, None, None));
    assert!(result.output.is_empty() && result.stdout().is_none() && !result.success());
    let error = result.error.unwrap();
    assert_eq!((error.code, error.step), (Error::ENOENT, Some(SpawnStep::Exec)));
    assert_eq!(error.path, "no-such-program");
    assert_eq!(error.spawnargs, ["a", "b"]);
    assert_eq!(error.syscall(), "spawnSync no-such-program");
    assert_eq!(error.to_string(), "spawnSync no-such-program ENOENT");
}

#[test]
fn the_step_tells_a_missing_directory_from_a_missing_program() {
    let result = spawn_sync(Command::new("true").current_dir("/no/such"), &SyncOptions::new());
    let error = result.error.unwrap();
    assert_eq!((error.code, error.step), (Error::ENOENT, Some(SpawnStep::Chdir)));
}

#[test]
fn any_slot_can_have_input_of_its_own() {
    let secret: Vec<u8> = b"a secret\n".repeat(100_000);
    let mut options = SyncOptions::new();
    options.input("public").max_buffer(0);
    options.stdio(7, SyncStdio::Input(secret.clone().into()));
    let result = sh("cat <&7; cat >&2", &options);
    assert_eq!(result.error, None);
    assert_eq!(result.stdout(), Some(secret.as_slice()));
    assert_eq!(result.stderr(), Some(b"public".as_slice()));
    assert_eq!(result.output.len(), 8);
    assert_eq!(result.output[7], None, "what is fed is not collected");
}

#[test]
fn slots_of_the_command_are_used_where_the_options_leave_them_to_it() {
    let dir = Scratch::new();
    let mut command = Command::new("sh");
    command.args(["-c", "cat; echo five >&5"]);
    command.stdin(Stdio::read_file(dir.join("in"))).stdio(5, Stdio::write_file(dir.join("five")));
    std::fs::write(dir.join("in"), "from a file").unwrap();
    let result = spawn_sync(&command, SyncOptions::new().stdio(0, SyncStdio::AsCommand));
    assert_eq!((result.status, result.stdout()), (Some(0), Some(b"from a file".as_slice())));
    assert_eq!(std::fs::read(dir.join("five")).unwrap(), b"five\n");
    // Without it, slot 0 is the call's, and what the command has there is not even opened.
    std::fs::remove_file(dir.join("in")).unwrap();
    let result = spawn_sync(&command, SyncOptions::new().input("from here"));
    assert_eq!(result.stdout(), Some(b"from here".as_slice()));
}

#[test]
fn one_slot_can_be_the_same_as_another() {
    let options = SyncOptions::new().stdio(2, Stdio::same_as(1)).clone();
    let result = sh("echo out; echo err >&2; echo out", &options);
    assert_eq!(result.stdout(), Some(b"out\nerr\nout\n".as_slice()));
    assert_eq!(result.stderr(), None);
}

#[test]
fn a_command_and_options_can_be_used_again() {
    let mut shell = Shell::new("cat; exit 4");
    let options = SyncOptions::new().input("again").clone();
    let first = spawn_sync(shell.command(), &options);
    let second = spawn_sync(shell.as_command(), &options);
    assert_ne!(first.pid, second.pid);
    assert_eq!((first.status, first.output), (second.status, second.output.clone()));
    assert_eq!(second.stdout(), Some(b"again".as_slice()));
}

#[test]
fn the_timeout_runs_before_the_child_does() {
    isolated(|| {
        watchdog();
        // However short it is, the child has been made and is waited for.
        for _ in 0..50 {
            let result = sh("read x <&1; exit 3", SyncOptions::new().timeout(1));
            assert_eq!(code(&result), Some(Error::ETIMEDOUT));
            assert!(result.pid > 0);
            assert!(result.signal == Some(libc::SIGTERM) || result.status.is_some(), "{result:?}");
            assert_eq!(children(), []);
        }
    });
}

#[test]
fn an_endless_timeout_is_no_timeout() {
    let result = sh("echo said", SyncOptions::new().timeout(u64::MAX));
    assert_eq!((result.success(), result.stdout()), (true, Some(b"said\n".as_slice())));
}

#[test]
fn much_output_of_several_slots_arrives_whole() {
    let options = SyncOptions::new().max_buffer(0).stdio(3, SyncStdio::Pipe).clone();
    let script = "for i in 1 2 3 4 5 6 7 8; do \
                  head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2; \
                  head -c 100000 /dev/zero >&3; done";
    let result = sh(script, &options);
    let lengths: Vec<_> = result.output.iter().map(|slot| slot.as_ref().map(Vec::len)).collect();
    assert_eq!(lengths, [None, Some(2_400_000), Some(1_600_000), Some(800_000)]);
    assert!(result.success());
}

#[test]
fn a_slot_that_no_descriptor_can_have_is_an_error() {
    for stdio in [SyncStdio::Pipe, SyncStdio::Ignore, SyncStdio::AsCommand] {
        for slot in [1 << 20, u32::MAX - 1] {
            let result = sh("true", SyncOptions::new().stdio(slot, stdio.clone()));
            let error = result.error.unwrap();
            assert_eq!((error.code, error.step), (Error::EBADF, Some(SpawnStep::Dup(slot))));
        }
    }
    let result = sh("true", SyncOptions::new().stdio(1000, SyncStdio::Ignore));
    assert_eq!((result.success(), result.output.len()), (true, 1001));
}
