//! A child with three pipes that prints 64 bytes: until both outputs have ended and so has it.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio as StdStdio;
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Handle, Options, Pipe, Read, RunMode, Stdio, Stream};
use libuv_sys2::{
    uv_buf_t, uv_pipe_init, uv_pipe_t, uv_process_t, uv_read_start, uv_spawn, uv_stdio_container_t,
    uv_stdio_flags_UV_CREATE_PIPE, uv_stdio_flags_UV_READABLE_PIPE,
    uv_stdio_flags_UV_WRITABLE_PIPE, uv_stream_t,
};

use super::libuv::Command;
use super::{What, direct, ours};
use crate::clone::{self, Attributes};
use crate::floor::{self, Does, Program};
use crate::poll::{check, read};
use crate::row::{Goal, Group, Row, Who, each};
use crate::rows::tokio_runtime;
use crate::uv;

const PRINTED: usize = 64;

pub(super) fn row() -> Row {
    Row::new(Group::Spawning, "spawn: three pipes, output read")
        .rounds(super::ROUNDS)
        .units(super::SPAWNS)
        .goal(Goal::Against(Who::Libuv, 0.8))
        .entry(Who::Blacklight, || {
            let what = what();
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let mut command = ours::command(&what);
            timed(move || {
                let _alive = &what;
                with_blacklight(&lp, &mut command)
            })
        })
        .entry(Who::Libuv, || {
            let what = what();
            let command = Command::new(&what);
            let state = Rc::new(State::default());
            let lp = uv::Loop::new();
            timed(move || {
                let _alive = &what;
                state.read.set(0);
                with_libuv(&lp, &command, &state);
                state.read.get()
            })
        })
        .entry(Who::Tokio, || {
            let what = what();
            let mut command = tokio::process::Command::from(piped(&what));
            let runtime = tokio_runtime();
            timed(move || {
                let _alive = &what;
                let output = runtime.block_on(async {
                    command.spawn().expect("the program is there").wait_with_output().await
                });
                output.expect("its output").stdout.len()
            })
        })
        .entry(Who::AsyncProcess, || {
            let what = what();
            let mut command = async_process::Command::from(piped(&what));
            timed(move || {
                let _alive = &what;
                // The conversion forgets what the slots are.
                command
                    .stdin(StdStdio::piped())
                    .stdout(StdStdio::piped())
                    .stderr(StdStdio::piped());
                let child = command.spawn().expect("the program is there");
                async_io::block_on(child.output()).expect("its output").stdout.len()
            })
        })
        .entry(Who::Std, || {
            let what = what();
            let mut command = piped(&what);
            timed(move || {
                let _alive = &what;
                let child = command.spawn().expect("the program is there");
                child.wait_with_output().expect("its output").stdout.len()
            })
        })
        .entry(Who::Floor, || {
            let what = what();
            timed(move || with_system_calls(&what.program))
        })
}

/// `spawn` tells how much it has read.
fn timed(mut spawn: impl FnMut() -> usize) -> impl FnMut(u64) -> f64 {
    move |units| {
        let begun = Instant::now();
        for _ in 0..units {
            assert_eq!(spawn(), PRINTED);
        }
        each(begun, units)
    }
}

fn what() -> What {
    let program = Rc::new(Program::that(Does::Print).expect("a program"));
    What { program, attributes: Attributes::default() }
}

fn piped(what: &What) -> std::process::Command {
    let mut command = direct::command(what);
    command.stdin(StdStdio::piped()).stdout(StdStdio::piped()).stderr(StdStdio::piped());
    command
}

fn with_blacklight(lp: &EventLoop, command: &mut blacklight::Command) -> usize {
    let pipe = || Pipe::new(lp).expect("a handle");
    let (stdin, stdout, stderr) = (pipe(), pipe(), pipe());
    command.stdin(Stdio::pipe(&stdin)).stdout(Stdio::pipe(&stdout)).stderr(Stdio::pipe(&stderr));
    command.spawn(lp, move |_, _| stdin.close()).expect("the program is there");
    let total = Rc::new(Cell::new(0));
    for output in [stdout, stderr] {
        let total = total.clone();
        output
            .read_start(move |output, read| match read {
                Read::Data(bytes) => total.set(total.get() + bytes.len()),
                Read::Eof => output.close(),
                Read::Error(error) => panic!("{error}"),
            })
            .expect("it reads");
    }
    lp.run(RunMode::Default).expect("the loop runs");
    total.get()
}

#[derive(Default)]
struct State {
    read: Cell<usize>,
    stdin: Cell<*mut uv_pipe_t>,
}

fn with_libuv(lp: &uv::Loop, command: &Command, state: &Rc<State>) {
    unsafe extern "C" fn ended(process: *mut uv_process_t, _: i64, _: c_int) {
        // SAFETY: the caller keeps the state while the loop runs; both handles are open.
        unsafe {
            uv::close(uv::state::<State>((*process).data).stdin.get());
            uv::close(process);
        }
    }
    unsafe extern "C" fn read(stream: *mut uv_stream_t, read: isize, _: *const uv_buf_t) {
        // SAFETY: as above; the stream is one of the pipes below.
        unsafe {
            let state = uv::state::<State>((*stream).data);
            match usize::try_from(read) {
                Ok(read) => state.read.set(state.read.get() + read),
                Err(_) => uv::close(stream.cast::<uv_pipe_t>()),
            }
        }
    }
    let way = [
        uv_stdio_flags_UV_READABLE_PIPE,
        uv_stdio_flags_UV_WRITABLE_PIPE,
        uv_stdio_flags_UV_WRITABLE_PIPE,
    ];
    // SAFETY: the loop is open; handles live until closed, the options for the call.
    unsafe {
        let pipes = way.map(|_| {
            let pipe = uv::allocate::<uv_pipe_t>();
            uv::check(uv_pipe_init(lp.get(), pipe, 0));
            (*pipe).data = uv::data(state);
            pipe
        });
        let mut stdio = [0, 1, 2].map(|slot| {
            let mut container: uv_stdio_container_t = std::mem::zeroed();
            container.flags = uv_stdio_flags_UV_CREATE_PIPE | way[slot];
            container.data.stream = pipes[slot].cast();
            container
        });
        state.stdin.set(pipes[0]);
        let mut options = command.options(&mut stdio);
        options.exit_cb = Some(ended);
        let process = uv::allocate::<uv_process_t>();
        (*process).data = uv::data(state);
        uv::check(uv_spawn(lp.get(), process, &raw const options));
        for output in &pipes[1..] {
            uv::check(uv_read_start(output.cast(), Some(uv::lend), Some(read)));
        }
    }
    lp.run_until_done();
}

fn with_system_calls(program: &Program) -> usize {
    let pipe = || {
        let mut ends = [0; 2];
        // SAFETY: room for the two numbers; the kernel just made both for us.
        unsafe {
            check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC));
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        }
    };
    let (stdin, stdout, stderr) = (pipe(), pipe(), pipe());
    let slots = [stdin.0.as_raw_fd(), stdout.1.as_raw_fd(), stderr.1.as_raw_fd()];
    let pid = clone::spawn(program.c_path(), Attributes::default(), slots);
    drop((stdin.0, stdout.1, stderr.1));
    let mut total = 0;
    let mut buffer = [0; 4096];
    for output in [stdout.0, stderr.0] {
        while let Some(count @ 1..) = read(output.as_raw_fd(), &mut buffer) {
            total += count;
        }
    }
    floor::wait(pid);
    total
}
