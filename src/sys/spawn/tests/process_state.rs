//! Spawning while the process as a whole is in an awkward state.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::failures::limit;
use super::*;
use crate::error::Error;
use crate::process::SpawnStep;
use crate::sys::pidfd;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A failing and a succeeding spawn on each path; the result of the second is the pidfd's owner.
fn fail_and_succeed(each: impl Fn(Child)) {
    for switches in main_positions() {
        let error = spawn(&command(&["/no/such"]), &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT), "{switches:?}");
        each(spawn(&shell("exit 3"), &switches).unwrap());
    }
}

#[test]
fn errors_are_reported_while_sigchld_is_ignored() {
    isolated(|| {
        // SAFETY: a disposition of a process that is this test's own.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        fail_and_succeed(|child| {
            // The kernel reaps it; the wait ends when it is gone.
            let gone = wait::wait(Whom::Pid(child.pid), How::default());
            assert_eq!(gone.map(|waited| waited.map(|w| w.pid)), Err(Error::ECHILD));
        });
    });
}

#[test]
fn errors_are_reported_while_another_thread_waits_for_everything() {
    isolated(|| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: a wait that asks for no status.
                    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
                    std::thread::yield_now();
                }
            });
            for _ in 0..20 {
                fail_and_succeed(|child| {
                    let _ = wait::wait(Whom::Pid(child.pid), How::default());
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_child_made_without_a_free_descriptor_for_its_pidfd_runs_without_one() {
    isolated(|| {
        reserve_descriptors().unwrap();
        let mut spawner = Spawner::new();
        let free = File::open("/dev/null").unwrap();
        limit(libc::RLIMIT_NOFILE, free.as_raw_fd() as u64);
        drop(free);
        for path in [SpawnPath::SharedMemory, SpawnPath::VforkPage] {
            let switches = Switches { path, ..Switches::default() };
            let child = spawner.spawn(&shell("exit 3"), &switches).unwrap();
            assert!(child.pidfd.is_none());
            assert!(child.fallbacks.contains(Fallbacks::NO_PIDFD));
            assert_eq!(finish(&child), Change::Exited(3));
            let error = spawner.spawn(&command(&["/no/such"]), &switches).unwrap_err();
            assert_eq!(error.step(), SpawnStep::Exec);
        }
        let switches = Switches { path: SpawnPath::Fork, ..Switches::default() };
        let error = spawner.spawn(&shell("exit 3"), &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Pipe, Error::EMFILE));
    });
}

#[test]
fn a_missing_null_device_is_named() {
    isolated(|| {
        // All numbers below the limit are in use.
        let free = File::open("/dev/null").unwrap();
        limit(libc::RLIMIT_NOFILE, free.as_raw_fd() as u64);
        drop(free);
        for switches in main_positions() {
            let error = spawn(&command(&["/bin/true"]), &switches).unwrap_err();
            assert_eq!((error.step(), error.error()), (SpawnStep::OpenNull, Error::EMFILE));
        }
    });
}

#[test]
fn a_limit_of_processes_is_an_error_of_the_clone() {
    isolated(|| {
        limit(libc::RLIMIT_NPROC, 1);
        // Root has no such limit, and a user that no other test uses has this one process.
        // SAFETY: the ids of a process that is this test's own.
        if unsafe { libc::setuid(54_321) } != 0 {
            eprintln!("skipped: only root can become somebody else");
            return;
        }
        for switches in main_positions() {
            let error = spawn(&command(&["/bin/true"]), &switches).unwrap_err();
            assert_eq!((error.step(), error.error()), (SpawnStep::Clone, Error::EAGAIN));
        }
    });
}

#[test]
fn a_limit_of_memory_is_an_error_or_no_hindrance() {
    isolated(|| {
        let mut fresh = Spawner::new();
        let mut used = Spawner::new();
        finish(&used.spawn(&command(&["/bin/true"]), &Switches::default()).unwrap());
        limit(libc::RLIMIT_AS, 1 << 20);
        let failed = fresh.spawn(&command(&["/bin/true"]), &Switches::default()).unwrap_err();
        let worked = used.spawn(&command(&["/no/such"]), &Switches::default()).unwrap_err();
        limit_off(libc::RLIMIT_AS);
        assert_eq!((failed.step(), failed.error()), (SpawnStep::Memory, Error::ENOMEM));
        assert_eq!((worked.step(), worked.error()), (SpawnStep::Exec, Error::ENOENT));
    });
}

/// Raises a limit again, which root may do, so that the test can go on to report.
fn limit_off(resource: u32) {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is read during the call; the process is the test's own.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// The process whose handler [`note_stranger`] is.
static OWNER: AtomicI32 = AtomicI32::new(0);
static STRANGERS: AtomicI32 = AtomicI32::new(0);

extern "C" fn note_stranger(_: i32) {
    // SAFETY: an async-signal-safe call that cannot fail.
    if unsafe { libc::getpid() } != OWNER.load(Ordering::Relaxed) {
        STRANGERS.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn handlers_of_the_parent_do_not_run_in_a_child() {
    isolated(|| {
        // SAFETY: group and disposition of a process that is the test's own.
        unsafe {
            libc::setpgid(0, 0);
            OWNER.store(libc::getpid(), Ordering::Relaxed);
            libc::signal(libc::SIGUSR1, note_stranger as *const () as usize);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: a signal to our own group, in which every process takes or blocks it.
                    unsafe { libc::kill(0, libc::SIGUSR1) };
                }
            });
            let mut spawner = Spawner::new();
            for round in 0..50 {
                for switches in main_positions() {
                    // Every other child dies of the signal, or not, as its default action has it.
                    let mut attributes = command(&["/bin/true"]);
                    attributes.signal_mask = (round % 2) << (libc::SIGUSR1 - 1);
                    if let Ok(child) = spawner.spawn(&attributes, &switches) {
                        finish(&child);
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(STRANGERS.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn many_spawns_leave_no_descriptor_behind() {
    isolated(|| {
        reserve_descriptors().unwrap();
        let mut spawner = Spawner::new();
        let before = descriptors();
        for round in 0..30 {
            for switches in main_positions() {
                let (reader, writer) = pipe();
                let program = if round % 2 == 0 { "/bin/true" } else { "/no/such" };
                let mut attributes = command(&[program]);
                attributes.slots = vec![slot(1, Source::Owned(writer)), slot(9, Source::SameAs(1))];
                if let Ok(child) = spawner.spawn(&attributes, &switches) {
                    assert_eq!(finish(&child), Change::Exited(0));
                }
                drop(reader);
            }
        }
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn two_threads_spawning_at_once_get_each_what_they_asked_for() {
    isolated(|| {
        reserve_descriptors().unwrap();
        let padding: Vec<_> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
        std::thread::scope(|scope| {
            // SAFETY: asking for our own user id cannot fail.
            let own = unsafe { libc::getuid() };
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let word = format!("{thread}-{round}");
                        let mut attributes = command(&["/bin/echo", &word]);
                        attributes.uid = (thread == 0).then_some(own);
                        let (text, change, _) = output_of(attributes, &Switches::default());
                        assert_eq!((text, change), (word + "\n", Change::Exited(0)));
                    }
                });
            }
        });
        drop(padding);
    });
}

#[test]
fn reserved_numbers_that_a_program_has_closed_are_not_used() {
    isolated(|| {
        reserve_descriptors().unwrap();
        let (reader, writer) = pipe();
        for number in 3..reader.as_raw_fd() {
            // SAFETY: this program behaves as badly as some do, in a process that is the test's own.
            unsafe { libc::dup2(reader.as_raw_fd(), number) };
        }
        // SAFETY: the number is new and ours.
        let high = unsafe {
            OwnedFd::from_raw_fd(libc::fcntl(writer.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 300))
        };
        let mut attributes = shell("echo high; [ /proc/self/fd/0 -ef /dev/null ]");
        attributes.slots = vec![slot(1, Source::Owned(high))];
        let child = spawn(&attributes, &Switches::default()).unwrap();
        assert_eq!(finish(&child), Change::Exited(0));
        drop((attributes, writer));
        let mut text = String::new();
        File::from(reader.try_clone().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "high\n");
    });
}

#[test]
fn where_memory_is_not_shared_another_path_is_taken_from_the_start() {
    isolated(|| {
        probe::MEMORY.deny();
        let child = spawn(&shell("exit 3"), &Switches::default()).unwrap();
        assert_eq!(child.path, SpawnPath::VforkPage);
        assert!(child.fallbacks.contains(Fallbacks::LOWER_PATH));
        assert_eq!(finish(&child), Change::Exited(3));
        probe::PAGE.deny();
        let child = spawn(&shell("exit 3"), &Switches::default()).unwrap();
        assert_eq!(child.path, SpawnPath::Fork);
        assert_eq!(finish(&child), Change::Exited(3));
        let error = spawn(&command(&["/no/such"]), &Switches::default()).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    });
}

#[test]
fn a_missing_mark_disables_the_shared_memory_and_the_spawn_stands() {
    isolated(|| {
        let switches = Switches { withhold_memory: true, ..Switches::default() };
        let child = spawn(&command(&["/no/such"]), &switches).unwrap();
        assert_eq!(child.path, SpawnPath::SharedMemory);
        assert!(child.fallbacks.contains(Fallbacks::NOT_SHARED));
        // The exit tells the rest.
        assert_eq!(finish(&child), Change::Exited(127));
        let error = spawn(&command(&["/no/such"]), &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    });
}

#[test]
fn a_sandbox_without_clone3_gets_the_older_clone() {
    isolated(|| {
        refuse(libc::SYS_clone3, libc::EPERM);
        let child = spawn(&shell("exit 3"), &Switches::default()).unwrap();
        assert_eq!(child.path, SpawnPath::SharedMemory);
        let ways = Fallbacks::OLDER_CLONE | Fallbacks::HANDLERS_ONE_BY_ONE;
        assert_eq!(child.fallbacks, ways);
        assert!(child.pidfd.is_some());
        assert_eq!(finish(&child), Change::Exited(3));
    });
}

#[test]
fn a_sandbox_that_closes_behind_us_is_noticed() {
    isolated(|| {
        let mut spawner = Spawner::new();
        let switches = Switches::default();
        finish(&spawner.spawn(&shell("exit 3"), &switches).unwrap());
        refuse(libc::SYS_clone3, libc::ENOSYS);
        let child = spawner.spawn(&shell("exit 3"), &switches).unwrap();
        assert!(child.fallbacks.contains(Fallbacks::OLDER_CLONE));
        assert_eq!(finish(&child), Change::Exited(3));
        refuse(libc::SYS_close_range, libc::ENOSYS);
        let child = spawner.spawn(&shell("exit 3"), &switches).unwrap();
        let ways = Fallbacks::COPIED_TABLE | Fallbacks::MARKED_ONE_BY_ONE;
        assert!(child.fallbacks.contains(ways));
        assert_eq!(finish(&child), Change::Exited(3));
        let error = spawner.spawn(&command(&["/no/such"]), &switches).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    });
}

#[test]
fn a_sandbox_without_any_clone_of_ours_gets_an_error_or_the_fork() {
    isolated(|| {
        refuse(libc::SYS_clone3, libc::ENOSYS);
        let Some(cgroup) = Cgroup::new("blacklight-sandbox") else { return };
        let mut attributes = shell("grep -q blacklight-sandbox /proc/self/cgroup");
        attributes.cgroup = Some(cgroup.open());
        let child = spawn(&attributes, &Switches::default()).unwrap();
        assert!(child.fallbacks.contains(Fallbacks::CGROUP_WRITTEN));
        assert_eq!(finish(&child), Change::Exited(0));
    });
}

/// Makes a system call fail from now on in this process, as a sandbox does.
fn refuse(call: libc::c_long, errno: i32) {
    // Three instructions of classic BPF (seccomp(2)): load the number, compare, answer.
    let code = |class: u32| class as u16;
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let jump = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    let mut filter = [
        libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: jump, jt: 0, jf: 1, k: call as u32 },
        libc::sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | errno as u32 },
        libc::sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the program is read during the call; the process is the test's own.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
        assert_eq!(done, 0);
    }
}

#[test]
fn the_status_of_a_child_that_somebody_else_has_reaped_is_still_known() {
    isolated(|| {
        let child = spawn(&shell("exit 3"), &Switches::default()).unwrap();
        let pidfd = child.pidfd.as_ref().unwrap().as_fd();
        let leave = How { leave: true, ..How::default() };
        let seen = wait::wait(Whom::Pidfd(pidfd), leave).unwrap().unwrap();
        assert_eq!((seen.pid, seen.change), (child.pid, Change::Exited(3)));
        assert!(matches!(pidfd::exit_status(pidfd), Ok(None) | Err(Error::ENOSYS)));
        assert_eq!(finish(&child), Change::Exited(3));
        match pidfd::exit_status(pidfd) {
            Ok(status) => assert_eq!(status, Some(Change::Exited(3))),
            Err(error) => assert_eq!(error, Error::ENOSYS),
        }
        assert_eq!(pidfd::send_signal(pidfd, 0), Err(Error::ESRCH));
    });
}
