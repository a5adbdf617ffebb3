//! Threads as ps, taskset and /proc see them.

use blacklight::Error;
use blacklight::os::{self, Thread};

use super::{isolated, output, tool};

#[test]
fn a_threads_name_is_the_kernels_and_is_cut_after_fifteen_bytes() {
    isolated(|| {
        let (named, is_named) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let handle = std::thread::spawn(move || {
            Thread::current().set_name("a name longer than that").unwrap();
            named.send(Thread::current()).unwrap();
            let _ = ended.recv();
        });
        let thread = is_named.recv().unwrap();
        assert_eq!(thread.name().unwrap(), "a name longer t");
        let comm = format!("/proc/{}/task/{}/comm", os::pid(), thread.id());
        assert_eq!(std::fs::read_to_string(comm).unwrap(), "a name longer t\n");
        // Another thread may name it too, and an empty name is one.
        thread.set_name("x").unwrap();
        assert_eq!(thread.name().unwrap(), "x");
        thread.set_name("").unwrap();
        assert_eq!(thread.name().unwrap(), "");
        assert_eq!(thread.set_name("a\0b"), Err(Error::EINVAL));
        drop(end);
        handle.join().unwrap();
        // The kernel's number may live for a moment longer than pthread_join(3) waits.
        while std::path::Path::new(&format!("/proc/self/task/{}", thread.id())).exists() {
            std::thread::yield_now();
        }
        assert_eq!(thread.name(), Err(Error::ESRCH));
        assert_eq!(thread.set_name("y"), Err(Error::ESRCH));
        assert_eq!(thread.affinity(), Err(Error::ESRCH));
        assert_eq!(thread.set_affinity([0]), Err(Error::ESRCH));
        assert_eq!(os::priority(thread.id()), Err(Error::ESRCH));
    });
}

#[test]
fn a_threads_affinity_is_tasksets_and_its_own() {
    isolated(|| {
        let me = Thread::current();
        let all = me.affinity().unwrap();
        let one = *all.last().unwrap();
        me.set_affinity([one]).unwrap();
        assert_eq!(me.affinity().unwrap(), [one]);
        assert_eq!(os::current_processor().unwrap(), one);
        // Those that are not there are left out.
        me.set_affinity([one, 8191]).unwrap();
        assert_eq!(me.affinity().unwrap(), [one]);
        if tool("taskset", &["-p", "-c", &me.id().to_string()]).is_some() {
            let line = output("taskset", &["-p", "-c", &me.id().to_string()]);
            assert!(line.ends_with(&format!(": {one}")), "{line}");
        }
        for nonsense in [&[][..], &[8191], &[1 << 16]] {
            assert_eq!(me.set_affinity(nonsense.iter().copied()), Err(Error::EINVAL));
        }
        // The first thread of the process keeps its own.
        assert_eq!(Thread::from_id(os::pid()).unwrap().affinity().unwrap(), all);
    });
}

#[test]
fn a_threads_nice_value_is_its_own() {
    isolated(|| {
        let (first, me) = (os::pid(), Thread::current().id());
        assert_ne!(first, me, "tests have a thread of their own");
        let before = os::priority(first).unwrap();
        assert!(before < os::PRIORITY_LOW, "nothing can be seen at the lowest priority");
        os::set_priority(me, os::PRIORITY_LOW).unwrap();
        assert_eq!((os::priority(me), os::priority(0)), (Ok(19), Ok(19)));
        assert_eq!(os::priority(first), Ok(before));
    });
}

#[test]
fn numbers_that_no_thread_has_are_refused() {
    for nonsense in [0, -1, i32::MIN] {
        assert_eq!(Thread::from_id(nonsense), Err(Error::EINVAL));
    }
    let nobody = Thread::from_id(i32::MAX).unwrap();
    assert_eq!(nobody.name(), Err(Error::ESRCH));
    assert_eq!(nobody.affinity(), Err(Error::ESRCH));
    assert_eq!(nobody.set_affinity([0]), Err(Error::ESRCH));
}
