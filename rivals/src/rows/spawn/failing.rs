//! A program that is not there: how soon the caller knows.

use std::ffi::{c_char, c_int};
use std::path::Path;
use std::time::Instant;

use blacklight::{EventLoop, Options, RunMode};
use libuv_sys2::{uv_process_t, uv_run_mode_UV_RUN_NOWAIT, uv_spawn};

use super::libuv::inherited;
use crate::clone::{self, Attributes, FAILED};
use crate::floor;
use crate::row::{Goal, Group, Row, Who, each};
use crate::rows::tokio_runtime;
use crate::uv;

const PROGRAM: &str = "/blacklight/has/no/such/program";
const C_PROGRAM: &std::ffi::CStr = c"/blacklight/has/no/such/program";

pub(super) fn row() -> Row {
    assert!(!Path::new(PROGRAM).exists());
    Row::new(Group::Spawning, "spawn: failing exec")
        .rounds(super::ROUNDS)
        .units(super::SPAWNS)
        .goal(Goal::Against(Who::Libuv, 1.0))
        .entry(Who::Blacklight, || {
            let lp = EventLoop::with_options(Options::default()).expect("a loop");
            let mut command = blacklight::Command::new(PROGRAM);
            command.env_clear();
            move |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    command.spawn(&lp, |_, _| {}).expect_err("there is none");
                    lp.run(RunMode::NoWait).expect("a turn");
                }
                each(begun, units)
            }
        })
        .entry(Who::Libuv, || {
            let lp = uv::Loop::new();
            move |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    fail_in_libuv(&lp);
                    lp.run(uv_run_mode_UV_RUN_NOWAIT);
                }
                each(begun, units)
            }
        })
        .entry(Who::Tokio, || {
            let runtime = tokio_runtime();
            let mut command = tokio::process::Command::new(PROGRAM);
            command.env_clear();
            move |units| {
                let _context = runtime.enter();
                let begun = Instant::now();
                for _ in 0..units {
                    command.spawn().expect_err("there is none");
                }
                each(begun, units)
            }
        })
        .entry(Who::AsyncProcess, || {
            let mut command = async_process::Command::new(PROGRAM);
            command.env_clear();
            move |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    command.spawn().expect_err("there is none");
                }
                each(begun, units)
            }
        })
        .entry(Who::Std, || {
            let mut command = std::process::Command::new(PROGRAM);
            command.env_clear();
            move |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    command.spawn().expect_err("there is none");
                }
                each(begun, units)
            }
        })
        .entry(Who::Floor, || {
            |units| {
                let begun = Instant::now();
                for _ in 0..units {
                    let pid = clone::spawn(C_PROGRAM, Attributes::default(), [-1; 3]);
                    assert_eq!(libc::WEXITSTATUS(floor::wait(pid)), FAILED);
                }
                each(begun, units)
            }
        })
}

fn fail_in_libuv(lp: &uv::Loop) {
    unsafe extern "C" fn ended(_: *mut uv_process_t, _: i64, _: c_int) {}
    let mut stdio = inherited();
    let args = [C_PROGRAM.as_ptr().cast_mut(), std::ptr::null_mut()];
    let env = [std::ptr::null_mut::<c_char>()];
    let process = uv::allocate::<uv_process_t>();
    // SAFETY: zeros are a value of the options, which outlive the call with all they point to; a
    // handle whose spawn has failed is closed like any other.
    unsafe {
        let mut options: libuv_sys2::uv_process_options_t = std::mem::zeroed();
        options.file = C_PROGRAM.as_ptr();
        options.args = args.as_ptr().cast_mut();
        options.env = env.as_ptr().cast_mut();
        options.stdio = stdio.as_mut_ptr();
        options.stdio_count = stdio.len() as c_int;
        options.exit_cb = Some(ended);
        assert_eq!(uv_spawn(lp.get(), process, &raw const options), -libc::ENOENT);
        uv::close(process);
    }
}
