//! Memory, usage and priority of this process.

#![allow(unsafe_code, reason = "limits have no safe form in the standard library")]

use blacklight::{Error, os};

use crate::{isolated, node, tool};

/// A line of /proc/self/status in bytes; the file has kibibytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

#[test]
fn resident_memory_grows_with_what_is_touched() {
    isolated(|| {
        const SIZE: u64 = 64 << 20;
        let before = os::resident_memory().unwrap();
        let mut memory = vec![0u8; SIZE as usize];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let after = os::resident_memory().unwrap();
        assert!(after >= before + SIZE * 9 / 10, "{before} {after}");
        // The kernel counts per processor and sums up now and then.
        assert!(after.abs_diff(status("VmRSS:")) < 4 << 20);
        // It may be more than this program ever had: what shared memory with its parent until its
        // exec is counted with what the parent had.
        let most = os::resource_usage().unwrap().max_rss;
        assert!(most + (4 << 20) >= status("VmHWM:"));
        assert!(most >= SIZE);
        assert!(std::hint::black_box(memory).len() == SIZE as usize);
    });
}

#[test]
fn total_and_free_memory_are_nodes() {
    let (total, free) = (os::total_memory().unwrap(), os::free_memory().unwrap());
    assert!(free > 0 && free <= total);
    let Some(theirs) = node("os.totalmem() + ' ' + os.freemem()") else { return };
    let (their_total, their_free) = theirs.split_once(' ').unwrap();
    assert_eq!(total.to_string(), their_total);
    // It changes all the time; a wrong unit or line is off by far more.
    let their_free: u64 = their_free.parse().unwrap();
    assert!(free.abs_diff(their_free) < total / 4, "{free} {their_free}");
}

#[test]
fn constrained_and_available_memory_are_nodes() {
    let script = "[process.constrainedMemory() || 0, process.availableMemory?.() ?? ''].join(' ')";
    let Some(theirs) = node(script) else { return };
    let (constrained, available) = theirs.split_once(' ').unwrap();
    // A double, as Node has it; what libuv does not know is 0 there.
    let ours = os::constrained_memory().unwrap_or(0) as f64;
    assert_eq!(ours, constrained.parse::<f64>().unwrap());
    let Ok(available) = available.parse::<u64>() else { return };
    assert!(os::available_memory().unwrap().abs_diff(available) < os::total_memory().unwrap() / 4);
}

#[test]
fn limits_of_the_process_constrain_its_memory() {
    isolated(|| {
        for (resource, bytes) in [(libc::RLIMIT_AS, 1 << 40), (libc::RLIMIT_DATA, 1 << 39)] {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: the struct outlives the call.
            assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
            assert!(os::constrained_memory().is_some_and(|limit| limit <= bytes));
        }
        assert!(os::constrained_memory() <= Some(1 << 39));
    });
}

#[test]
fn processor_time_goes_on_in_the_thread_that_works() {
    let (begun, thread_begun) = (os::cpu_usage().unwrap(), os::thread_cpu_usage().unwrap());
    let mut used = os::CpuUsage::default();
    // Until the kernel has counted something; it does so by ticks on some machines.
    while used.user == 0 {
        std::hint::black_box((0..10_000).sum::<u64>());
        used = os::thread_cpu_usage().unwrap().since(thread_begun);
    }
    // The kernel splits what was used into user and system by samples, for the thread and for the
    // process separately (cputime_adjust, kernel/sched/cputime.c), so only the sums compare, to
    // within a tick.
    let (all, tick) = (os::cpu_usage().unwrap().since(begun), 10_000);
    assert!(all.user + all.system + tick >= used.user + used.system, "{all:?} {used:?}");
    let other = std::thread::spawn(|| os::thread_cpu_usage().unwrap()).join().unwrap();
    let whole = os::cpu_usage().unwrap();
    assert!(other.user + other.system <= whole.user + whole.system + tick);
}

#[test]
fn usage_has_nodes_sixteen_fields() {
    let usage = os::resource_usage().unwrap();
    let ours = [
        ("fsRead", usage.blocks_in),
        ("fsWrite", usage.blocks_out),
        ("involuntaryContextSwitches", usage.involuntary_switches),
        ("ipcReceived", usage.messages_received),
        ("ipcSent", usage.messages_sent),
        ("majorPageFault", usage.major_faults),
        ("maxRSS", usage.max_rss / 1024),
        ("minorPageFault", usage.minor_faults),
        ("sharedMemorySize", usage.shared_memory_size),
        ("signalsCount", usage.signals),
        ("swappedOut", usage.swaps),
        ("systemCPUTime", usage.system_time.as_micros() as u64),
        ("unsharedDataSize", usage.unshared_data_size),
        ("unsharedStackSize", usage.unshared_stack_size),
        ("userCPUTime", usage.user_time.as_micros() as u64),
        ("voluntaryContextSwitches", usage.voluntary_switches),
    ];
    assert!(usage.max_rss > 0 && usage.minor_faults > 0);
    let Some(theirs) = node("Object.keys(process.resourceUsage()).sort().join(' ')") else {
        return;
    };
    assert_eq!(ours.map(|(name, _)| name).join(" "), theirs);
    let zeros = "Object.entries(process.resourceUsage()).filter(e => /ipc|Size|signals|swapped/\
                 .test(e[0])).every(e => e[1] === 0)";
    assert_eq!(node(zeros).as_deref(), Some("true"), "what Linux does not keep");
    assert_eq!(usage.shared_memory_size + usage.swaps + usage.signals + usage.messages_sent, 0);
}

#[test]
fn nice_values_are_the_tools_and_nodes() {
    isolated(|| {
        // The tools ask for the process, which is its first thread.
        let pid = os::pid();
        for nice in [os::PRIORITY_NORMAL, os::PRIORITY_BELOW_NORMAL, os::PRIORITY_LOW] {
            os::set_priority(pid, nice).unwrap();
            assert_eq!(os::priority(pid), Ok(nice));
            if let Some(shown) = tool("ps", &["-o", "ni=", "-p", &pid.to_string()]) {
                assert_eq!(shown.trim(), nice.to_string());
            }
            if let Some(theirs) = node(&format!("os.getPriority({pid})")) {
                assert_eq!(theirs, nice.to_string());
            }
        }
        // A nice value of -1 is not an error. Only root may go there.
        match os::set_priority(pid, -1) {
            Ok(()) => assert_eq!(os::priority(pid), Ok(-1)),
            Err(error) => assert_eq!(error, Error::EACCES),
        }
        for nice in [-21, 20, i32::MIN] {
            assert_eq!(os::set_priority(0, nice), Err(Error::EINVAL));
        }
        assert_eq!(os::set_priority(i32::MAX, 0), Err(Error::ESRCH));
        assert_eq!(os::priority(-5), Err(Error::ESRCH));
    });
}

#[test]
fn names_of_priorities_have_nodes_values() {
    let ours = [
        ("PRIORITY_ABOVE_NORMAL", os::PRIORITY_ABOVE_NORMAL),
        ("PRIORITY_BELOW_NORMAL", os::PRIORITY_BELOW_NORMAL),
        ("PRIORITY_HIGH", os::PRIORITY_HIGH),
        ("PRIORITY_HIGHEST", os::PRIORITY_HIGHEST),
        ("PRIORITY_LOW", os::PRIORITY_LOW),
        ("PRIORITY_NORMAL", os::PRIORITY_NORMAL),
    ];
    let script = "Object.entries(os.constants.priority).sort().map(e => e.join('=')).join(' ')";
    let Some(theirs) = node(script) else { return };
    assert_eq!(ours.map(|(name, value)| format!("{name}={value}")).join(" "), theirs);
}
