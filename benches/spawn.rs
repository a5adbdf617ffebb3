//! Spawn to exit callback, against bare vfork+exec+waitpid: ratios of paired, interleaved rounds.
//!
//! `cargo bench --bench spawn` prints a table; with an argument, the rows whose name contains it.
//! Every round runs the floor and the loop one after the other, in turns first and second, so that
//! whatever the machine does meets both. A ratio is taken for each pair; median and quartiles are
//! printed. Where a row gives the loop more to do, the floor is still the bare spawn, but for a
//! program that is not there, which the floor does not find either.

#![allow(missing_docs, reason = "a program")]
#![allow(unsafe_code, reason = "the floor is made of bare system calls")]

mod floor;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Facilities, Groups, Options, Process, Reaping, SpawnPath, reserve_descriptors};
use floor::{Does, Program};

/// Pairs per row.
const ROUNDS: usize = 200;

/// Spawns of each in a round, one after the other: a sample is their mean.
const SPAWNS: u32 = 5;

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    reserve_descriptors().expect("a few descriptors");
    let program = Program::write().expect("a file in the temporary folder");
    println!("{}", machine());
    println!(
        "{:44} {:>8} {:>8} {:>24}",
        "spawn to exit", "floor µs", "loop µs", "ratio (quartiles)"
    );
    let row = |name: &str, measure: &dyn Fn() -> Row| {
        if name.contains(&wanted) {
            let row = measure();
            println!("{name:44} {row}");
        }
    };

    let plain = |options: Options| compare(&program, options, |command| command);
    row("default", &|| plain(Options::default()));
    for (name, path) in [
        ("path: shared memory", SpawnPath::SharedMemory),
        ("path: vfork with a page", SpawnPath::VforkPage),
        ("path: fork", SpawnPath::Fork),
    ] {
        row(name, &|| plain(Options { spawn_path: path, ..Options::default() }));
    }
    row("reaping: SIGCHLD", &|| plain(Options { reaping: Reaping::Sigchld, ..Options::default() }));
    row("without a shared descriptor table", &|| {
        let facilities = Facilities::all() - Facilities::SHARED_TABLE;
        plain(Options { facilities, ..Options::default() })
    });
    let attributes: [(&str, fn(&mut Command) -> &mut Command); 7] = [
        ("cwd", |command| command.current_dir("/")),
        ("detached", |command| command.detached(true)),
        ("groups", |command| command.groups(Groups::Set(vec![65534]))),
        ("uid and gid", |command| command.uid(65534).gid(65534)),
        ("uid, gid, cwd and detached", |command| {
            command.uid(65534).gid(65534).current_dir("/").detached(true)
        }),
        ("all signals reset", |command| command.reset_all_signals(true)),
        ("inherit_unlisted", |command| command.inherit_unlisted(true)),
    ];
    for (name, attribute) in attributes {
        row(name, &|| compare(&program, Options::default(), attribute));
    }
    row("three pipes, output read", &|| three_pipes(&program));
    row("failing exec", &failing_exec);
    row("burst of 500", &|| burst_of(500, &program));
    row("2 GiB resident", &|| {
        let memory = Resident::new(2 << 30);
        let row = plain(Options::default());
        drop(memory);
        row
    });
    row("10 descriptors open", &|| {
        let _open = descriptors(10);
        plain(Options::default())
    });
    row("10,000 descriptors open", &|| {
        let _open = descriptors(10_000);
        plain(Options::default())
    });
    row("2,000 children alive", &|| {
        let lp = EventLoop::with_options(Options::default()).expect("a loop");
        let children = sleepers(&lp, 2_000);
        let row = compare_on(&lp, &program, |command| command);
        for child in children {
            child.kill(libc::SIGKILL).expect("it is alive");
        }
        lp.run(RunMode::Default).expect("a loop runs");
        row
    });
    for count in [100, 10_000] {
        row(&format!("{count} exits at once, per exit"), &|| exits(count));
    }
}

/// Medians in microseconds, and the ratio with its quartiles.
struct Row {
    floor: f64,
    ours: f64,
    ratio: [f64; 3],
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, median, high] = self.ratio;
        write!(f, "{:8.1} {:8.1} {median:8.3} ({low:.3}–{high:.3})", self.floor, self.ours)
    }
}

impl Row {
    fn of(pairs: &[(Duration, Duration)]) -> Row {
        let micros = |d: &Duration| d.as_secs_f64() * 1e6;
        let quantile = |mut values: Vec<f64>, part: usize| {
            values.sort_by(f64::total_cmp);
            values[(values.len() - 1) * part / 4]
        };
        let floor: Vec<f64> = pairs.iter().map(|(floor, _)| micros(floor)).collect();
        let ours: Vec<f64> = pairs.iter().map(|(_, ours)| micros(ours)).collect();
        let ratios: Vec<f64> = ours.iter().zip(&floor).map(|(o, f)| o / f).collect();
        let ratio = [1, 2, 3].map(|part| quantile(ratios.clone(), part));
        Row { floor: quantile(floor, 2), ours: quantile(ours, 2), ratio }
    }
}

fn compare(
    program: &Program,
    options: Options,
    attributes: impl Fn(&mut Command) -> &mut Command,
) -> Row {
    let lp = EventLoop::with_options(options).expect("a loop");
    compare_on(&lp, program, attributes)
}

fn compare_on(
    lp: &EventLoop,
    program: &Program,
    attributes: impl Fn(&mut Command) -> &mut Command,
) -> Row {
    let mut command = Command::new(program.path());
    // The floor inherits its three descriptors too.
    command.env_clear();
    attributes(&mut command);
    let ours = || spawn_and_wait(lp, &command);
    in_turns(ROUNDS, SPAWNS, || bare(program), ours)
}

fn bare(program: &Program) {
    assert_eq!(floor::vfork_exec_wait(program), 0);
}

fn spawn_and_wait(lp: &EventLoop, command: &Command) {
    let ended = Rc::new(Cell::new(false));
    let seen = ended.clone();
    let on_exit = move |_: &Process, exit: Exit| {
        assert!(exit.success());
        seen.set(true);
    };
    command.spawn(lp, on_exit).expect("the program is there");
    while !ended.get() {
        lp.run(RunMode::Once).expect("a loop runs");
    }
}

/// Pairs of the floor and ours, each done `times` times in a row.
fn in_turns(rounds: usize, times: u32, floor: impl Fn(), ours: impl Fn()) -> Row {
    let timed = |work: &dyn Fn()| {
        let begun = Instant::now();
        (0..times).for_each(|_| work());
        begun.elapsed() / times
    };
    for _ in 0..1 + rounds / 20 {
        timed(&floor);
        timed(&ours);
    }
    let pairs: Vec<_> = (0..rounds)
        .map(|round| {
            if round % 2 == 0 {
                let first = timed(&floor);
                (first, timed(&ours))
            } else {
                let first = timed(&ours);
                (timed(&floor), first)
            }
        })
        .collect();
    Row::of(&pairs)
}

/// Pipes for input, output and errors, until both outputs have ended and so has the child.
fn three_pipes(silent: &Program) -> Row {
    let printing = Program::that(Does::Print).expect("a file in the temporary folder");
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let ours = || {
        let [input, output, errors] = [(); 3].map(|()| Pipe::new(&lp).expect("a handle"));
        let total = Rc::new(Cell::new(0));
        let mut command = Command::new(printing.path());
        command.env_clear().stdin(Stdio::pipe(&input));
        command.stdout(Stdio::pipe(&output)).stderr(Stdio::pipe(&errors));
        let on_exit = move |_: &Process, _| input.close();
        command.spawn(&lp, on_exit).expect("the program is there");
        for output in [output, errors] {
            let total = total.clone();
            let on_read = move |output: &Pipe, read: Read<'_>| match read {
                Read::Data(bytes) => total.set(total.get() + bytes.len()),
                Read::Eof | Read::Error(_) => output.close(),
            };
            output.read_start(on_read).expect("it reads");
        }
        lp.run(RunMode::Default).expect("a loop runs");
        assert_eq!(total.get(), 64);
    };
    in_turns(ROUNDS, SPAWNS, || bare(silent), ours)
}

fn failing_exec() -> Row {
    let program = Program::write().expect("a file in the temporary folder");
    std::fs::remove_file(program.path()).expect("it was there");
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let mut command = Command::new(program.path());
    command.env_clear();
    let floor = || assert_ne!(floor::vfork_exec_wait(&program), 0);
    let ours = || {
        command.spawn(&lp, |_, _| {}).expect_err("there is none");
    };
    in_turns(ROUNDS, SPAWNS, floor, ours)
}

/// Children that live at the same time, from the first spawn to the last exit; per child.
fn burst_of(count: u32, program: &Program) -> Row {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let mut command = Command::new(program.path());
    command.env_clear();
    let floor = || {
        let pids: Vec<i32> = (0..count).map(|_| floor::vfork_exec(program)).collect();
        pids.into_iter().for_each(|pid| assert_eq!(floor::wait(pid), 0));
    };
    let ours = || {
        for _ in 0..count {
            command.spawn(&lp, |_, exit| assert!(exit.success())).expect("the program is there");
        }
        lp.run(RunMode::Default).expect("a loop runs");
    };
    let Row { floor, ours, ratio } = in_turns(21, 1, floor, ours);
    Row { floor: floor / f64::from(count), ours: ours / f64::from(count), ratio }
}

/// Children that wait for a pipe to end, which it never does.
fn sleepers(lp: &EventLoop, count: usize) -> Vec<Process> {
    let mut command = Command::new("sleep");
    command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let spawn = |_| {
        let child = command.spawn(lp, |process, _| process.close()).expect("sleep is there");
        child.unreference();
        child
    };
    let children: Vec<Process> = (0..count).map(spawn).collect();
    children.iter().for_each(Handle::reference);
    children
}

/// Many children that exit together, reaped by the loop, against waitpid(-1): cost per exit.
fn exits(count: usize) -> Row {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let pairs: Vec<_> = (0..7)
        .map(|_| {
            let group = |n: usize| -> Vec<Process> {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                let mut command = Command::new("/bin/sh");
                command.args(["-c", "read x"]).stdin(OwnedFd::from(reader));
                let spawn = |_| command.spawn(&lp, |_, _| {}).expect("a child");
                let children: Vec<_> = (0..n).map(spawn).collect();
                drop(writer);
                wait_for_all_dead(&children);
                children
            };
            // The floor reaps what nobody else waits for: the handles are closed unreaped.
            let pids: Vec<i32> = group(count).iter().map(Process::pid).collect();
            let begun = Instant::now();
            for _ in &pids {
                // SAFETY: no pointers but null.
                unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
            }
            let floor = begun.elapsed();
            lp.run(RunMode::Default).expect("a loop runs");

            let _children = group(count);
            let begun = Instant::now();
            lp.run(RunMode::Default).expect("a loop runs");
            let ours = begun.elapsed();
            (floor / count as u32, ours / count as u32)
        })
        .collect();
    Row::of(&pairs)
}

fn wait_for_all_dead(children: &[Process]) {
    for child in children {
        // SAFETY: the structure is written to and outlives the call; WNOWAIT leaves the child.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, child.pid() as libc::id_t, &raw mut info, flags);
        }
    }
}

fn descriptors(count: usize) -> Vec<OwnedFd> {
    let null = std::fs::File::open("/dev/null").expect("a device");
    let copy = |_| OwnedFd::from(null.try_clone().expect("descriptors enough (ulimit -n)"));
    (0..count).map(copy).collect()
}

/// Memory that is there: every page written to.
struct Resident(Vec<u8>);

impl Resident {
    fn new(bytes: usize) -> Resident {
        let mut memory = vec![0u8; bytes];
        for page in memory.chunks_mut(4096) {
            page[0] = 1;
        }
        Resident(memory)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        std::hint::black_box(self.0.first());
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |name| name.trim_start_matches(['\t', ' ', ':']));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processors} × {model}, Linux {}", kernel.trim())
}
