//! How long a loop stands still while 200 children are spawned, one in each turn: the longest time
//! between two turns. Off the loop, it is the spawner's thread that waits for the kernel.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Handle, Idle, Options, RunMode};
use libuv_sys2::{uv_idle_init, uv_idle_start, uv_idle_t, uv_process_t, uv_spawn};

use super::libuv::{Command, inherited};
use super::{What, direct, ours};
use crate::clone::Attributes;
use crate::floor::{Does, Program};
use crate::row::{Goal, Group, Row, Who};
use crate::rows::tokio_runtime;
use crate::uv;

const CHILDREN: usize = 200;

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &str, off_loop| {
        Row::new(Group::Spawning, format!("longest stall in 200 spawns, {name}"))
            .rounds(100)
            .entry(Who::Blacklight, move || in_blacklight(off_loop))
            .entry(Who::Libuv, in_libuv)
            .entry(Who::Tokio, in_tokio)
    };
    let off = row("off the loop", true);
    // Or a tenth of libuv's: one of the two is enough.
    let off = off.goal(Goal::AtMost(1e6));
    vec![row("on the loop", false), off]
}

fn what() -> What {
    let program = Rc::new(Program::that(Does::Exit).expect("a program"));
    What { program, attributes: Attributes::default() }
}

/// What happened so far.
struct State {
    last: Cell<Option<Instant>>,
    longest: Cell<f64>,
    to_spawn: Cell<usize>,
    to_end: Cell<usize>,
}

impl State {
    fn new() -> State {
        State {
            last: Cell::new(None),
            longest: Cell::new(0.0),
            to_spawn: Cell::new(CHILDREN),
            to_end: Cell::new(CHILDREN),
        }
    }

    /// A turn begins. Whether another child is to be spawned in it.
    fn turn(&self) -> bool {
        let now = Instant::now();
        if let Some(last) = self.last.replace(Some(now)) {
            self.longest.set(self.longest.get().max((now - last).as_secs_f64() * 1e9));
        }
        let left = self.to_spawn.get();
        self.to_spawn.set(left.saturating_sub(1));
        left > 0
    }

    fn ended(&self) {
        self.to_end.set(self.to_end.get() - 1);
    }

    fn done(&self) -> bool {
        self.to_end.get() == 0
    }
}

fn in_blacklight(off_loop: bool) -> impl FnMut(u64) -> f64 {
    let what = what();
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    move |_| {
        let state = Rc::new(State::new());
        let command = ours::command(&what);
        let seen = state.clone();
        let idle = Idle::new(&lp).expect("a hook");
        let call = move |idle: &Idle| {
            if seen.turn() {
                let seen = seen.clone();
                let ended = move |_: &_, _| seen.ended();
                let lp = idle.event_loop();
                let spawned = if off_loop {
                    command.spawn_off_loop(lp, |_, result| result.expect("it starts"), ended)
                } else {
                    command.spawn(lp, ended)
                };
                spawned.expect("the program is there");
            } else if seen.done() {
                idle.close();
            }
        };
        idle.start(call).expect("it starts");
        lp.run(RunMode::Default).expect("the loop runs");
        state.longest.get()
    }
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    struct Spawning {
        state: State,
        command: Command,
    }
    unsafe extern "C" fn ended(process: *mut uv_process_t, _: i64, _: c_int) {
        // SAFETY: the caller keeps the state while the loop runs; the handle is open.
        unsafe {
            uv::state::<Spawning>((*process).data).state.ended();
            uv::close(process);
        }
    }
    unsafe extern "C" fn turn(idle: *mut uv_idle_t) {
        // SAFETY: as above; the options outlive the call, the handle lives until closed.
        unsafe {
            let spawning = uv::state::<Spawning>((*idle).data);
            if spawning.state.turn() {
                let mut stdio = inherited();
                let mut options = spawning.command.options(&mut stdio);
                options.exit_cb = Some(ended);
                let process = uv::allocate::<uv_process_t>();
                (*process).data = (*idle).data;
                uv::check(uv_spawn((*idle).loop_, process, &raw const options));
            } else if spawning.state.done() {
                uv::close(idle);
            }
        }
    }
    let what = what();
    let lp = uv::Loop::new();
    move |_| {
        let spawning = Rc::new(Spawning { state: State::new(), command: Command::new(&what) });
        let idle = uv::allocate::<uv_idle_t>();
        // SAFETY: the loop is open, the handle lives until closed.
        unsafe {
            uv::check(uv_idle_init(lp.get(), idle));
            (*idle).data = uv::data(&spawning);
            uv::check(uv_idle_start(idle, Some(turn)));
        }
        lp.run_until_done();
        spawning.state.longest.get()
    }
}

fn in_tokio() -> impl FnMut(u64) -> f64 {
    let what = what();
    let runtime = tokio_runtime();
    move |_| {
        let state = Rc::new(State::new());
        let mut command = tokio::process::Command::from(direct::command(&what));
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            while !state.done() {
                if state.turn() {
                    let mut child = command.spawn().expect("the program is there");
                    let state = state.clone();
                    tokio::task::spawn_local(async move {
                        child.wait().await.expect("a child of ours");
                        state.ended();
                    });
                }
                tokio::task::yield_now().await;
            }
        });
        state.longest.get()
    }
}
