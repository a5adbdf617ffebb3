//! The processors of the system: what they are, what they did, and how many of them to use.

use super::clock::TICKS;
use crate::error::{Error, Result};
use crate::sys::resources;

/// A processor (`uv_cpu_info_t`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuInfo {
    /// Its model, such as `"Intel(R) Xeon(R) Processor"`; `"unknown"` where the kernel says nothing.
    pub model: String,
    /// Its speed in MHz; 0 where the kernel says nothing.
    pub speed: u32,
    /// What it has done since the system began.
    pub times: CpuTimes,
}

/// What a processor has done, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CpuTimes {
    /// Programs.
    pub user: u64,
    /// Programs with a nice value above 0.
    pub nice: u64,
    /// The kernel.
    pub sys: u64,
    /// Nothing.
    pub idle: u64,
    /// Interrupts.
    pub irq: u64,
}

/// The processors that are online, in the order of their numbers (`uv_cpu_info`).
///
/// The speed is the most that the processor is allowed, from cpufreq, as in libuv: the current one
/// takes the kernel milliseconds to find out on some machines. Where there is no cpufreq, as in most
/// virtual machines, it is what /proc/cpuinfo says, for which libuv since 1.45 has 0. On ARM the
/// model is the part number; libuv knows the names of some.
///
/// # Errors
/// `ENOENT` when there is no /proc.
///
/// ```
/// for processor in blacklight::os::cpu_info()? {
///     println!("{} at {} MHz", processor.model, processor.speed);
/// }
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn cpu_info() -> Result<Vec<CpuInfo>> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    // Without the second file there are times still.
    let cpuinfo =
        String::from_utf8_lossy(&std::fs::read("/proc/cpuinfo").unwrap_or_default()).into_owned();
    Ok(processors(&stat, &cpuinfo, allowed_speed))
}

/// The most that the system lets the processor do, in MHz (the file has kHz).
fn allowed_speed(number: usize) -> Option<u32> {
    let path = format!("/sys/devices/system/cpu/cpu{number}/cpufreq/scaling_max_freq");
    let khz: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(khz / 1000)
}

fn processors(
    stat: &str,
    cpuinfo: &str,
    allowed_speed: impl Fn(usize) -> Option<u32>,
) -> Vec<CpuInfo> {
    let described = described(cpuinfo);
    let mut found: Vec<(usize, CpuInfo)> = stat
        .lines()
        .filter_map(times)
        .map(|(number, times)| {
            let known = described.iter().find(|known| known.number == number);
            let model = known.map_or("", |known| known.model);
            // Some architectures name the model once for all processors.
            let common = described.iter().map(|known| known.model).find(|model| !model.is_empty());
            let model = if model.is_empty() { common.unwrap_or("unknown") } else { model };
            let speed = allowed_speed(number).or(known.map(|known| known.speed)).unwrap_or(0);
            (number, CpuInfo { model: model.to_owned(), speed, times })
        })
        .collect();
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, processor)| processor).collect()
}

/// A line `cpuN user nice system idle iowait irq …`, in ticks (proc_stat(5)).
fn times(line: &str) -> Option<(usize, CpuTimes)> {
    let mut fields = line.strip_prefix("cpu")?.split(' ');
    // The line of the sum has no number.
    let number = fields.next()?.parse().ok()?;
    let mut next = || fields.next()?.parse::<u64>().ok()?.checked_mul(1000 / TICKS);
    let (user, nice, sys, idle) = (next()?, next()?, next()?, next()?);
    let (_waiting, irq) = (next()?, next()?);
    Some((number, CpuTimes { user, nice, sys, idle, irq }))
}

/// What /proc/cpuinfo says of a processor.
#[derive(Debug, Default)]
struct Described<'a> {
    number: usize,
    model: &'a str,
    speed: u32,
}

/// The file has a paragraph per processor, with keys that depend on the architecture.
fn described(cpuinfo: &str) -> Vec<Described<'_>> {
    cpuinfo
        .split("\n\n")
        .filter_map(|paragraph| {
            let get = |key: &str| {
                let mut pairs = paragraph.lines().filter_map(|line| line.split_once(':'));
                pairs.find(|(found, _)| found.trim() == key).map(|(_, value)| value.trim())
            };
            // x86 and RISC-V, MIPS, PowerPC, 32-bit ARM before 3.8, 64-bit ARM.
            let keys = ["model name", "cpu model", "cpu", "Processor", "CPU part"];
            let model = keys.into_iter().find_map(get).unwrap_or("");
            let mhz = get("cpu MHz").and_then(|mhz| mhz.parse::<f64>().ok()).unwrap_or(0.0);
            // A cast of a float saturates.
            Some(Described { number: get("processor")?.parse().ok()?, model, speed: mhz as u32 })
        })
        .collect()
}

/// How many threads this process can usefully run at a time (`uv_available_parallelism`): the
/// processors it may run on, or fewer if its control group has less time than that; at least 1.
///
/// ```
/// assert!(blacklight::os::available_parallelism() >= 1);
/// ```
#[must_use]
pub fn available_parallelism() -> usize {
    // It heeds the affinity and the quotas of control groups of both versions, up to the root.
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many processes ran or waited for a processor or a disk, on average over the last 1, 5 and 15
/// minutes (`uv_loadavg`).
///
/// # Errors
/// None that Linux is known to give.
///
/// ```
/// let [one, five, fifteen] = blacklight::os::load_average()?;
/// println!("{one:.2} {five:.2} {fifteen:.2}");
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn load_average() -> Result<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg").map_err(Error::from);
    if let Some(load) = text.ok().as_deref().and_then(loads) {
        return Ok(load);
    }
    // Fixed point with 16 bits after it (sysinfo(2)).
    Ok(resources::sysinfo()?.loads.map(|load| load as f64 / 65536.0))
}

fn loads(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split(' ').map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  9 9 9 9 9 9 9 0 0 0\n\
        cpu0 1 2 3 4 5 6 7 0 0 0\n\
        cpu10 11 12 13 14 15 16 17 0 0 0\n\
        intr 1 2 3\n";

    #[test]
    fn ticks_become_milliseconds_and_offline_processors_are_not_there() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A: b\ncpu MHz\t\t: 2100.789\n\n\
            processor\t: 10\nmodel name\t: C\ncpu MHz\t\t: 1.0\n\n";
        let found = processors(STAT, cpuinfo, |number| (number == 10).then_some(3000));
        let times = CpuTimes { user: 10, nice: 20, sys: 30, idle: 40, irq: 60 };
        assert_eq!(found[0], CpuInfo { model: "A: b".into(), speed: 2100, times });
        assert_eq!((found[1].model.as_str(), found[1].speed), ("C", 3000));
        assert_eq!((found[1].times.irq, found.len()), (160, 2));
    }

    #[test]
    fn a_model_named_once_is_that_of_all() {
        let cpuinfo = "processor\t: 0\n\nprocessor\t: 10\ncpu\t\t: POWER9\n\n";
        let found = processors(STAT, cpuinfo, |_| None);
        assert!(found.iter().all(|processor| processor.model == "POWER9" && processor.speed == 0));
        let found = processors(STAT, "", |_| None);
        assert!(found.iter().all(|processor| processor.model == "unknown"));
    }

    #[test]
    fn strange_lines_are_passed_over() {
        assert!(processors("cpu0 1 2\ncpux 1 2 3 4 5 6\ncpu\n", "", |_| None).is_empty());
        assert_eq!(loads("0.10 2.00 33.5 1/2 3\n"), Some([0.1, 2.0, 33.5]));
        assert_eq!(loads("0.10 x"), None);
    }
}
