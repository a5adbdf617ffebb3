//! Every path in every position of its switches.

use super::*;
use crate::error::Error;
use crate::process::SpawnStep;
use crate::sys::pidfd;

/// All positions of the switches.
fn positions() -> Vec<Switches> {
    let mut all = Vec::new();
    for path in [SpawnPath::Auto, SpawnPath::SharedMemory, SpawnPath::VforkPage, SpawnPath::Fork] {
        for bits in 0..32u32 {
            all.push(Switches {
                path,
                clone3: bits & 1 == 0,
                close_range: bits & 2 == 0,
                pidfd: bits & 4 == 0,
                share_table: bits & 8 == 0,
                clear_sighand: bits & 16 == 0,
                ..Switches::default()
            });
        }
    }
    all
}

#[test]
fn a_child_runs_and_is_reaped_on_every_path() {
    let own = std::process::id() as libc::pid_t;
    for switches in positions() {
        let (text, change, child) = output_of(shell("echo hello; exit 7"), &switches);
        assert_eq!((text.as_str(), change), ("hello\n", Change::Exited(7)), "{switches:?}");
        // The fork path needs a call that valgrind does not have.
        let has_pidfds = switches.path != SpawnPath::Fork || pidfd::open(own).is_ok();
        assert_eq!(child.pidfd.is_some(), switches.pidfd && has_pidfds, "{switches:?}");
        assert_eq!(child.pidfd.is_none(), child.fallbacks.contains(Fallbacks::NO_PIDFD));
        if switches.path != SpawnPath::Auto {
            assert_eq!(child.path, switches.path);
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_reported_on_every_path() {
    for switches in positions() {
        match spawn(&command(&["/no/such/program"]), &switches) {
            Err(error) => {
                let seen = (error.step(), error.error());
                assert_eq!(seen, (SpawnStep::Exec, Error::ENOENT), "{switches:?}");
            }
            // Memory that is asked for and not shared, as under valgrind: the exit tells.
            Ok(child) => {
                assert_eq!(switches.path, SpawnPath::SharedMemory);
                assert!(child.fallbacks.contains(Fallbacks::NOT_SHARED));
                assert_eq!(finish(&child), Change::Exited(127));
            }
        }
    }
}
