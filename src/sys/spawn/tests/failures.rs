//! Every step that can fail is named, with its errno, and leaves nothing behind.

use std::os::fd::AsRawFd;

use super::*;
use crate::error::Error;
use crate::process::SpawnStep;

/// Descriptors open in this process, the listing's own among them.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// No child of any kind is left.
fn no_children() {
    let how = How { no_hang: true, leave: true, ..How::default() };
    assert_eq!(wait::wait(Whom::Any, how).map(|waited| waited.map(|w| w.pid)), Err(Error::ECHILD));
}

/// Spawns on every path, expects the error, and that nothing is left.
#[track_caller]
fn fails(step: SpawnStep, error: Error, set: impl Fn(&mut Attributes)) {
    reserve_descriptors().unwrap();
    let mut spawner = Spawner::new();
    for switches in main_positions() {
        let mut attributes = command(&["/bin/true"]);
        set(&mut attributes);
        let before = descriptors();
        let failed = spawner.spawn(&attributes, &switches).unwrap_err();
        assert_eq!((failed.step(), failed.error()), (step, error), "{switches:?}");
        assert_eq!(descriptors(), before, "{switches:?}");
        no_children();
    }
}

#[test]
fn each_step_of_the_child_is_named() {
    isolated(|| {
        fails(SpawnStep::Exec, Error::ENOENT, |a| {
            a.program = Program::Path(c"/no/such/program".into());
        });
        fails(SpawnStep::Exec, Error::ENOENT, |a| {
            a.program = Program::Path(c"no-such".into());
            a.envp = Some([c"PATH=/bin:/no/such".into(), c"B=1".into()].into());
        });
        fails(SpawnStep::Exec, Error::ENOTDIR, |a| {
            a.program = Program::Path(c"/dev/null/program".into());
        });
        fails(SpawnStep::Exec, Error::EACCES, |a| a.program = Program::Path(c"/etc".into()));
        fails(SpawnStep::Exec, Error::E2BIG, |a| {
            let value = CString::new(vec![b'x'; 100_000]).unwrap();
            a.envp = Some(vec![value; 100].into());
        });
        fails(SpawnStep::Chdir, Error::ENOENT, |a| a.cwd = Some(c"/no/such".into()));
        fails(SpawnStep::ProcessGroup, Error::EPERM, |a| a.process_group = Some(1));
        fails(SpawnStep::ProcessGroup, Error::EPERM, |a| {
            (a.session, a.process_group) = (Session::New, Some(0));
        });
        fails(SpawnStep::ControllingTerminal, Error::ENOTTY, |a| {
            a.session = Session::WithTerminal(0);
        });
        fails(SpawnStep::Foreground, Error::ENOTTY, |a| a.foreground = Some(Source::SameAs(0)));
        fails(SpawnStep::Affinity, Error::EINVAL, |a| a.affinity = Some(vec![0; 8]));
        fails(SpawnStep::Rlimit(99), Error::EINVAL, |a| {
            a.rlimits = vec![Limit { resource: 99, soft: 0, hard: 0 }];
        });
        fails(SpawnStep::Rlimit(7), Error::EINVAL, |a| {
            a.rlimits = vec![Limit { resource: libc::RLIMIT_NOFILE, soft: 2, hard: 1 }];
        });
        fails(SpawnStep::Uid, Error::EINVAL, |a| a.uid = Some(u32::MAX));
        fails(SpawnStep::Gid, Error::EINVAL, |a| a.gid = Some(u32::MAX));
        fails(SpawnStep::ParentDeathSignal, Error::EINVAL, |a| a.parent_death_signal = Some(99));
        if is_root() {
            fails(SpawnStep::Groups, Error::EINVAL, |a| a.groups = Groups::Set(vec![1; 65_537]));
        }
    });
}

#[test]
fn what_only_root_may_do_is_refused_to_others_by_name() {
    isolated(|| {
        // SAFETY: the ids of a process that is this test's own.
        if unsafe { libc::setuid(1234) } != 0 {
            eprintln!("skipped: only root can become somebody else");
            return;
        }
        fails(SpawnStep::Uid, Error::EPERM, |a| a.uid = Some(0));
        fails(SpawnStep::Gid, Error::EPERM, |a| a.gid = Some(77));
        fails(SpawnStep::Groups, Error::EPERM, |a| a.groups = Groups::Clear);
        fails(SpawnStep::Groups, Error::EPERM, |a| a.groups = Groups::Set(vec![0]));
        fails(SpawnStep::Nice, Error::EACCES, |a| a.nice = Some(-20));
        // Its own id may be asked for: the groups that cannot be cleared are forgiven.
        for switches in main_positions() {
            let mut attributes = command(&["/bin/true"]);
            attributes.uid = Some(1234);
            assert_eq!(finish(&spawn(&attributes, &switches).unwrap()), Change::Exited(0));
        }
    });
}

#[test]
fn a_bad_slot_is_named_before_a_process_exists() {
    isolated(|| {
        let with = |slots: fn() -> Vec<Slot>| move |a: &mut Attributes| a.slots = slots();
        fails(SpawnStep::Dup(3), Error::EBADF, with(|| vec![slot(3, Source::Raw(999))]));
        fails(SpawnStep::Dup(3), Error::EBADF, with(|| vec![slot(3, Source::Raw(-1))]));
        fails(SpawnStep::Dup(3), Error::EBADF, with(|| vec![slot(3, Source::SameAs(17))]));
        let ring = || vec![slot(3, Source::SameAs(4)), slot(4, Source::SameAs(3))];
        fails(SpawnStep::Dup(3), Error::EINVAL, with(ring));
        fails(SpawnStep::Dup(5), Error::EINVAL, with(|| vec![slot(5, Source::SameAs(5))]));
        let twice = || vec![slot(4, Source::Raw(0)), slot(4, Source::Raw(1))];
        fails(SpawnStep::Dup(4), Error::EINVAL, with(twice));
        let ignored = || vec![slot(4, Source::Ignore), slot(5, Source::SameAs(4))];
        fails(SpawnStep::Dup(5), Error::EBADF, with(ignored));
        let beyond = || vec![slot(u32::MAX, Source::Raw(0))];
        fails(SpawnStep::Dup(u32::MAX), Error::EBADF, with(beyond));
        fails(SpawnStep::Arguments, Error::EINVAL, |a| a.argv = [].into());
        fails(SpawnStep::ControllingTerminal, Error::EBADF, |a| {
            a.session = Session::WithTerminal(9);
        });
        fails(SpawnStep::Foreground, Error::EBADF, |a| a.foreground = Some(Source::Raw(999)));
    });
}

#[test]
fn a_slot_beyond_the_limit_of_descriptors_is_named() {
    isolated(|| {
        limit(libc::RLIMIT_NOFILE, 200);
        fails(SpawnStep::Dup(200), Error::EMFILE, |a| a.slots = vec![slot(200, Source::Raw(0))]);
        // The last number that there is, taken by a source that has to make way first.
        // SAFETY: the number is free in this process, which is the test's own.
        let last = unsafe { OwnedFd::from_raw_fd(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 199)) };
        assert_eq!(last.as_raw_fd(), 199);
        for switches in main_positions() {
            let mut attributes = shell("[ -e /proc/self/fd/199 ]");
            attributes.slots = vec![slot(199, Source::Raw(1)), slot(3, Source::Raw(199))];
            assert_eq!(finish(&spawn(&attributes, &switches).unwrap()), Change::Exited(0));
        }
    });
}

#[test]
fn a_cgroup_that_refuses_is_the_step_named() {
    isolated(|| {
        let directory = || File::open("/tmp").unwrap().into();
        for switches in main_positions() {
            let mut attributes = command(&["/bin/true"]);
            attributes.cgroup = Some(directory());
            let error = spawn(&attributes, &switches).unwrap_err();
            assert_eq!(error.step(), SpawnStep::Cgroup, "{switches:?}");
            no_children();
        }
    });
}

#[test]
fn a_cgroup_that_belongs_to_somebody_else_is_the_step_named() {
    isolated(|| {
        let Some(cgroup) = Cgroup::new("blacklight-refuses") else { return };
        for switches in main_positions() {
            let mut attributes = command(&["/bin/true"]);
            attributes.cgroup = Some(cgroup.open());
            // SAFETY: the effective user of a process that is this test's own, there and back.
            let error = unsafe {
                assert_eq!(libc::seteuid(1234), 0);
                let error = spawn(&attributes, &switches).unwrap_err();
                assert_eq!(libc::seteuid(0), 0);
                error
            };
            let seen = (error.step(), error.error());
            assert_eq!(seen, (SpawnStep::Cgroup, Error::EACCES), "{switches:?}");
            no_children();
        }
    });
}

/// Sets the soft and the hard limit.
pub(super) fn limit(resource: u32, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the limit is read during the call; the process is the test's own.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}
