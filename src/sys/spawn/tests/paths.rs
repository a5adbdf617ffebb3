//! Every path in every position of its switches.

use super::*;
use crate::error::Error;
use crate::process::SpawnStep;

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
    for switches in positions() {
        let (text, change, child) = output_of(shell("echo hello; exit 7"), &switches);
        assert_eq!((text.as_str(), change), ("hello\n", Change::Exited(7)), "{switches:?}");
        assert_eq!(child.pidfd.is_some(), switches.pidfd, "{switches:?}");
        if switches.path != SpawnPath::Auto {
            assert_eq!(child.path, switches.path);
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_reported_on_every_path() {
    for switches in positions() {
        let error = spawn(&command(&["/no/such/program"]), &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT), "{switches:?}");
    }
}
