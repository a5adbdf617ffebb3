//! What a row is, and how it is measured.
//!
//! A row is one piece of work with several [`Entry`]s, one for each implementation that can do it.
//! Invariant: every round runs every entry once, in the same process, in an order that rotates; so
//! sample `i` of one entry and sample `i` of another belong to the same moment, and their ratio is
//! free of what the machine did meanwhile.

use std::any::Any;
use std::time::Instant;

use crate::child_signal::ChildSignal;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Blacklight,
    Libuv,
    Tokio,
    AsyncProcess,
    Std,
    Node,
    Floor,
    /// Bare system calls again, with a pidfd for each child, as those have that wait by readiness.
    PidfdFloor,
}

impl Who {
    pub(crate) const ALL: [Who; 8] = [
        Who::Blacklight,
        Who::Libuv,
        Who::Tokio,
        Who::AsyncProcess,
        Who::Std,
        Who::Node,
        Who::Floor,
        Who::PidfdFloor,
    ];

    /// Those that can start a program from here.
    pub(crate) const SPAWNERS: [Who; 6] =
        [Who::Blacklight, Who::Libuv, Who::Tokio, Who::AsyncProcess, Who::Std, Who::Floor];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Who::Blacklight => "blacklight",
            Who::Libuv => "libuv",
            Who::Tokio => "tokio",
            Who::AsyncProcess => "async-process",
            Who::Std => "std",
            Who::Node => "node",
            Who::Floor => "floor",
            Who::PidfdFloor => "pidfd floor",
        }
    }
}

/// What a sample counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    /// How many times dearer the work became: the entry against itself.
    Times,
}

/// The chapters of the page, one chart each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Spawning,
    Children,
    Loop,
    Streams,
    Pool,
    Memory,
    Messages,
}

impl Group {
    pub(crate) const ALL: [Group; 7] = [
        Group::Spawning,
        Group::Children,
        Group::Loop,
        Group::Streams,
        Group::Messages,
        Group::Pool,
        Group::Memory,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Group::Spawning => "Spawning",
            Group::Children => "Many children, many descriptors",
            Group::Loop => "The loop, timers and wake-ups",
            Group::Streams => "Sockets and pipes",
            Group::Pool => "Thread pool and files",
            Group::Memory => "Memory",
            Group::Messages => "Messages between processes",
        }
    }

    /// The name of the chart's file, without the suffix.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Group::Spawning => "spawning",
            Group::Children => "children",
            Group::Loop => "loop",
            Group::Streams => "streams",
            Group::Pool => "pool",
            Group::Memory => "memory",
            Group::Messages => "messages",
        }
    }
}

/// A number to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Ours against theirs, at most.
    Against(Who, f64),
    /// Ours by itself, in the row's unit, at most.
    AtMost(f64),
}

/// Does this many units of work; each sample is the cost of one unit.
pub(crate) type Work = Box<dyn FnMut(u64) -> Vec<f64>>;

pub(crate) struct Entry {
    pub(crate) who: Who,
    pub(crate) make: Box<dyn Fn() -> Work>,
}

pub(crate) struct Row {
    pub(crate) group: Group,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) rounds: usize,
    pub(crate) units: u64,
    pub(crate) goals: Vec<Goal>,
    pub(crate) entries: Vec<Entry>,
    setting: Option<Box<dyn Fn() -> Box<dyn Any>>>,
}

impl Row {
    /// Thirty-one rounds of one unit, in nanoseconds, unless something else is said.
    pub(crate) fn new(group: Group, name: impl Into<String>) -> Row {
        Row {
            group,
            name: name.into(),
            unit: Unit::Nanoseconds,
            rounds: 31,
            units: 1,
            goals: Vec::new(),
            entries: Vec::new(),
            setting: None,
        }
    }

    pub(crate) fn unit(mut self, unit: Unit) -> Row {
        self.unit = unit;
        self
    }

    pub(crate) fn rounds(mut self, rounds: usize) -> Row {
        self.rounds = rounds;
        self
    }

    /// How much work a round is.
    pub(crate) fn units(mut self, units: u64) -> Row {
        self.units = units;
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Row {
        self.goals.push(goal);
        self
    }

    /// What is there while the row is measured.
    pub(crate) fn setting<T: Any>(mut self, make: impl Fn() -> T + 'static) -> Row {
        self.setting = Some(Box::new(move || Box::new(make())));
        self
    }

    /// Work of which each call gives one sample.
    pub(crate) fn entry<W>(self, who: Who, make: impl Fn() -> W + 'static) -> Row
    where
        W: FnMut(u64) -> f64 + 'static,
    {
        self.entry_of_samples(who, move || {
            let mut work = make();
            move |units| vec![work(units)]
        })
    }

    /// Work of which each call gives several samples, in every entry of the row as many.
    pub(crate) fn entry_of_samples<W>(mut self, who: Who, make: impl Fn() -> W + 'static) -> Row
    where
        W: FnMut(u64) -> Vec<f64> + 'static,
    {
        self.entries.push(Entry { who, make: Box::new(move || Box::new(make())) });
        self
    }

    /// Leaves nobody but ours and one other in the row.
    pub(crate) fn only(&mut self, who: Who) {
        self.entries.retain(|entry| entry.who == Who::Blacklight || entry.who == who);
    }

    pub(crate) fn measure(&self, signal: &mut ChildSignal) -> Measured {
        let setting = self.setting.as_ref().map(|make| make());
        let make = |entry: &Entry| signal.during(entry.who, || (entry.make)());
        let mut works: Vec<Work> = self.entries.iter().map(make).collect();
        let warm_up = 1 + self.rounds / 20;
        let mut samples = vec![Vec::new(); works.len()];
        for round in 0..warm_up + self.rounds {
            for place in order(works.len(), round) {
                let work = &mut works[place];
                let taken = signal.during(self.entries[place].who, || work(self.units));
                if round >= warm_up {
                    samples[place].extend(taken);
                }
            }
        }
        for (entry, work) in self.entries.iter().zip(works) {
            signal.during(entry.who, || drop(work));
        }
        drop(setting);
        let who = self.entries.iter().map(|entry| entry.who);
        Measured {
            group: self.group,
            name: self.name.clone(),
            unit: self.unit,
            goals: self.goals.clone(),
            samples: who.zip(samples).collect(),
        }
    }

    /// One entry alone, once, with no warm-up: for counting instructions from outside.
    pub(crate) fn run_alone(&self, who: Who, units: u64) -> Option<Vec<f64>> {
        let entry = self.entries.iter().find(|entry| entry.who == who)?;
        let setting = self.setting.as_ref().map(|make| make());
        let samples = (entry.make)()(units);
        drop(setting);
        Some(samples)
    }
}

/// Each entry is first, and last, equally often, and follows each of its neighbours equally often.
fn order(entries: usize, round: usize) -> impl Iterator<Item = usize> {
    let backwards = (round / entries) % 2 == 1;
    (0..entries).map(move |step| {
        let step = if backwards { entries - 1 - step } else { step };
        (round + step) % entries
    })
}

/// What a row came to.
pub(crate) struct Measured {
    pub(crate) group: Group,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) goals: Vec<Goal>,
    pub(crate) samples: Vec<(Who, Vec<f64>)>,
}

impl Measured {
    pub(crate) fn of(&self, who: Who) -> Option<&[f64]> {
        self.samples.iter().find(|(other, _)| *other == who).map(|(_, samples)| &samples[..])
    }

    /// Ours against theirs, pair by pair.
    pub(crate) fn ratios(&self, who: Who) -> Option<Vec<f64>> {
        let (ours, theirs) = (self.of(Who::Blacklight)?, self.of(who)?);
        Some(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// The nanoseconds of one unit.
pub(crate) fn each(begun: Instant, units: u64) -> f64 {
    begun.elapsed().as_secs_f64() * 1e9 / units as f64
}
