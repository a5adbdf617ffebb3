//! Clocks, processors, load and network interfaces.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use blacklight::Error;
use blacklight::os::{self, Clock};

use crate::{isolated, node, output, tool};

#[test]
fn clocks_lie_between_two_looks_at_the_standard_librarys() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = now();
    let ours = os::clock_gettime(Clock::Realtime);
    let after = now();
    let ours = Duration::new(ours.seconds.try_into().unwrap(), ours.nanoseconds);
    assert!((before..=after).contains(&ours));

    let (hr, at) = (os::hrtime(), os::clock_gettime(Clock::Monotonic));
    let ns = at.seconds as u64 * 1_000_000_000 + u64::from(at.nanoseconds);
    assert!((hr..=os::hrtime()).contains(&ns));
    // The same clock as node's, which another process can compare with.
    let Some(theirs) = node("process.hrtime.bigint().toString()") else { return };
    assert!((hr..=os::hrtime()).contains(&theirs.parse().unwrap()));
}

#[test]
fn uptime_is_nodes() {
    let before = os::uptime();
    let Some(theirs) = node("os.uptime()") else { return };
    let theirs = Duration::try_from_secs_f64(theirs.parse().unwrap()).unwrap();
    assert!((before..=os::uptime()).contains(&theirs));
}

#[test]
fn a_process_is_as_old_as_ps_says() {
    let begun = Instant::now();
    let age = os::process_uptime().unwrap();
    assert!(os::process_uptime().unwrap() >= age);
    assert!(age <= os::uptime() + Duration::from_millis(20), "no older than the system");
    let pid = os::pid().to_string();
    let Some(seconds) = tool("ps", &["-o", "etimes=", "-p", &pid]) else { return };
    let seconds: u64 = seconds.trim().parse().unwrap();
    // Rounded to whole seconds there, to hundredths here.
    assert!(seconds + 1 >= age.as_secs());
    assert!(seconds <= os::process_uptime().unwrap().as_secs() + 1);
    assert!(os::process_uptime().unwrap() >= begun.elapsed());
}

/// Processors as one line each, with the numbers that only grow apart.
fn processors() -> Vec<(String, [u64; 4])> {
    let info = os::cpu_info().unwrap();
    let counts = |t: os::CpuTimes| [t.user, t.nice, t.sys, t.irq];
    info.into_iter().map(|cpu| (cpu.model, counts(cpu.times))).collect()
}

#[test]
fn processors_are_nodes() {
    let before = processors();
    assert_eq!(before.len().to_string(), output("getconf", &["_NPROCESSORS_ONLN"]));
    let script = "os.cpus().map(c => [c.model, c.speed, c.times.user, c.times.nice, c.times.sys, \
                  c.times.irq].join('|')).join('\\n')";
    let Some(theirs) = node(script) else { return };
    let after = processors();
    assert_eq!(theirs.lines().count(), before.len());
    for (line, ((model, least), (_, most))) in theirs.lines().zip(before.iter().zip(&after)) {
        let fields: Vec<&str> = line.split('|').collect();
        assert_eq!(fields[0], model);
        for (their, (least, most)) in fields[2..].iter().zip(least.iter().zip(most)) {
            assert!((*least..=*most).contains(&their.parse().unwrap()), "{line} {least} {most}");
        }
    }
    // Versions of libuv differ in which speed they read; where they know one, so do we.
    let speeds = os::cpu_info().unwrap().iter().map(|cpu| cpu.speed).collect::<Vec<_>>();
    for (line, ours) in theirs.lines().zip(speeds) {
        assert!(line.split('|').nth(1) == Some("0") || ours > 0);
    }
}

#[test]
fn parallelism_is_what_the_affinity_allows() {
    isolated(|| {
        let ours = os::available_parallelism();
        if let Some(theirs) = node("os.availableParallelism()") {
            // Older versions of node do not heed the quota of a control group.
            assert!(ours <= theirs.parse().unwrap());
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
        let first = allowed.unwrap().split([',', '-']).next().unwrap();
        let pid = os::pid().to_string();
        if tool("taskset", &["-a", "-p", "-c", first, &pid]).is_none() {
            return;
        }
        assert_eq!(os::available_parallelism(), 1);
        assert_eq!(output("nproc", &[]), "1");
        if let Some(theirs) = node("os.availableParallelism()") {
            assert_eq!(theirs, "1");
        }
    });
}

#[test]
fn the_load_is_the_files_and_nodes() {
    let text = || std::fs::read_to_string("/proc/loadavg").unwrap();
    // The kernel works it out anew every five seconds: what was between two equal looks is certain.
    loop {
        let before = text();
        let ours = os::load_average().unwrap();
        let theirs = node("os.loadavg().join(' ')");
        if before.split(' ').take(3).ne(text().split(' ').take(3)) {
            continue;
        }
        let numbers = |text: &str| -> Vec<f64> {
            text.split(' ').take(3).map(|number| number.parse().unwrap()).collect()
        };
        assert_eq!(ours.to_vec(), numbers(&before));
        if let Some(theirs) = theirs {
            assert_eq!(ours.to_vec(), numbers(&theirs));
        }
        return;
    }
}

#[test]
fn interfaces_are_nodes() {
    let addresses = os::interface_addresses().unwrap();
    let mut ours: Vec<String> = addresses
        .iter()
        .map(|address| {
            let mac = address.mac.map(|byte| format!("{byte:02x}")).join(":");
            let scope = if address.address.is_ipv6() { address.scope_id } else { 0 };
            let (name, internal) = (address.name.display(), address.internal);
            let (ip, mask) = (address.address, address.netmask);
            let cidr = address.prefix_length().map_or("null".into(), |bits| format!("{ip}/{bits}"));
            format!("{name} {ip} {mask} {mac} {internal} {cidr} {scope}")
        })
        .collect();
    let script = "Object.entries(os.networkInterfaces()).flatMap(([n, l]) => l.map(a => [n, \
                  a.address, a.netmask, a.mac, a.internal, a.cidr, a.scopeid ?? 0].join(' '))) \
                  .join('\\n')";
    let Some(theirs) = node(script) else { return };
    let mut theirs: Vec<&str> = theirs.lines().collect();
    ours.sort();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
}

#[test]
fn hardware_addresses_and_numbers_of_interfaces_are_the_kernels() {
    for address in os::interface_addresses().unwrap() {
        let folder = std::path::Path::new("/sys/class/net").join(&address.name);
        // An alias has no folder.
        let Ok(mac) = std::fs::read_to_string(folder.join("address")) else { continue };
        assert!(mac.starts_with(&address.mac.map(|byte| format!("{byte:02x}")).join(":")), "{mac}");
    }
    for entry in std::fs::read_dir("/sys/class/net").unwrap().flatten() {
        let Ok(index) = std::fs::read_to_string(entry.path().join("ifindex")) else { continue };
        let index = index.trim().parse().unwrap();
        assert_eq!(os::if_indextoname(index).unwrap(), entry.file_name());
    }
    assert_eq!(os::if_indextoname(u32::MAX), Err(Error::ENXIO));
}
