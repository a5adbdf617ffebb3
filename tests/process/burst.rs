//! Many children at once, and many one after the other.

use std::os::fd::AsFd;

use blacklight::prelude::*;

use crate::support::process::{Exits, new_loop, pipe, run, shell, skip};
use crate::support::{children, isolated, open_fds};

/// Room for so many descriptors, if it can be had.
#[allow(unsafe_code)]
fn has_room_for(descriptors: u64) -> bool {
    // SAFETY: the structure outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_cur.max(descriptors).min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        limit.rlim_cur >= descriptors
    }
}

#[test]
fn a_thousand_children_that_end_at_once_are_reported_exactly() {
    isolated(|| {
        if !has_room_for(2100) {
            return skip("too few descriptors are allowed");
        }
        let lp = new_loop();
        shell("exit 0").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let before = open_fds();
        let exits = Exits::new();
        let (gate, hold) = pipe();
        let mut expected = Vec::new();
        for i in 0..1000 {
            let (script, status) = if i % 10 == 0 {
                let signum = [9, 15, 2][i / 10 % 3];
                let status = ExitStatus::Signaled { signum, core_dumped: false };
                (format!("read line; kill -{signum} $$"), status)
            } else {
                let code = (i % 256) as i32;
                (format!("read line; exit {code}"), ExitStatus::Exited(code))
            };
            let mut command = Command::new("sh");
            command.args(["-c", &script]).stdin(Stdio::from_fd(gate.as_fd()).unwrap());
            let process = command.spawn(&lp, exits.note()).unwrap();
            expected.push((process.pid(), status));
        }
        assert_eq!(children().len(), 1000);
        // The end of the file lets all of them go.
        drop((gate, hold));
        run(&lp);
        let mut reports: Vec<_> =
            exits.get().iter().map(|(pid, exit)| (*pid, exit.status)).collect();
        reports.sort_unstable_by_key(|(pid, _)| *pid);
        expected.sort_unstable_by_key(|(pid, _)| *pid);
        assert_eq!(reports, expected);
        assert!(exits.get().iter().all(|(_, exit)| exit.usage.is_some()));
        assert!(children().is_empty());
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_chain_of_children_each_spawned_by_the_exit_of_the_one_before() {
    isolated(|| {
        fn next(lp: &LoopRef, left: u32) {
            if left > 0 {
                let spawned = Command::new("true").spawn(lp, move |process, exit| {
                    assert!(exit.success());
                    next(process.event_loop(), left - 1);
                });
                spawned.unwrap();
            }
        }
        let lp = new_loop();
        next(&lp, 1);
        run(&lp);
        let before = open_fds();
        next(&lp, 300);
        run(&lp);
        assert_eq!(open_fds(), before);
        assert!(children().is_empty());
    });
}
