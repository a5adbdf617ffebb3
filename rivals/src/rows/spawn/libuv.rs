//! Spawning with libuv.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use libuv_sys2::{
    uv_process_flags_UV_PROCESS_DETACHED, uv_process_flags_UV_PROCESS_SETGID,
    uv_process_flags_UV_PROCESS_SETUID, uv_process_options_t, uv_process_t,
    uv_run_mode_UV_RUN_ONCE, uv_spawn, uv_stdio_container_t, uv_stdio_flags_UV_INHERIT_FD,
};

use super::{Spawner, What};
use crate::clone::Attributes;
use crate::uv;

pub(super) struct Libuv {
    lp: uv::Loop,
    commands: Vec<Command>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    live: Cell<usize>,
}

/// The options of uv_spawn and what they point to.
pub(super) struct Command {
    path: CString,
    attributes: Attributes,
    args: [*mut c_char; 2],
    env: [*mut c_char; 1],
}

impl Command {
    pub(super) fn new(what: &What) -> Command {
        let path = CString::new(what.program.path().as_os_str().as_bytes()).expect("a path");
        let args = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
        Command { path, attributes: what.attributes, args, env: [std::ptr::null_mut()] }
    }

    /// The options, good for as long as `self` and `stdio` are.
    pub(super) fn options(&self, stdio: &mut [uv_stdio_container_t]) -> uv_process_options_t {
        // SAFETY: zeros are a value of this plain structure.
        let mut options: uv_process_options_t = unsafe { std::mem::zeroed() };
        options.file = self.path.as_ptr();
        // uv_spawn only reads them.
        options.args = self.args.as_ptr().cast_mut();
        options.env = self.env.as_ptr().cast_mut();
        options.stdio = stdio.as_mut_ptr();
        options.stdio_count = stdio.len() as c_int;
        if self.attributes.detached {
            options.flags |= uv_process_flags_UV_PROCESS_DETACHED;
        }
        if self.attributes.uid_gid {
            options.flags |=
                uv_process_flags_UV_PROCESS_SETUID | uv_process_flags_UV_PROCESS_SETGID;
            options.uid = Attributes::NOBODY;
            options.gid = Attributes::NOBODY;
        }
        if self.attributes.cwd {
            options.cwd = c"/".as_ptr();
        }
        options
    }
}

/// Descriptors 0 to 2 as ours are.
pub(super) fn inherited() -> [uv_stdio_container_t; 3] {
    [0, 1, 2].map(|fd| {
        // SAFETY: zeros are a value of this plain structure.
        let mut slot: uv_stdio_container_t = unsafe { std::mem::zeroed() };
        slot.flags = uv_stdio_flags_UV_INHERIT_FD;
        slot.data.fd = fd;
        slot
    })
}

impl Libuv {
    pub(super) fn new(whats: &[What]) -> Libuv {
        let commands = whats.iter().map(Command::new).collect();
        Libuv { lp: uv::Loop::new(), commands, state: Rc::default() }
    }
}

unsafe extern "C" fn ended(process: *mut uv_process_t, status: i64, _signal: c_int) {
    assert_eq!(status, 0);
    // SAFETY: the spawner keeps its state for longer than its loop; the handle is open.
    unsafe {
        let state: &State = uv::state((*process).data);
        state.live.set(state.live.get() - 1);
        uv::close(process);
    }
}

impl Spawner for Libuv {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        let mut stdio = inherited();
        let mut options = self.commands[which].options(&mut stdio);
        options.exit_cb = Some(ended);
        for _ in 0..count {
            let process = uv::allocate::<uv_process_t>();
            // SAFETY: the loop is open, the options outlive the call, the handle lives until closed.
            unsafe {
                (*process).data = uv::data(&self.state);
                uv::check(uv_spawn(self.lp.get(), process, &raw const options));
                if let Some(pids) = &mut pids {
                    pids.push((*process).pid);
                }
            }
            self.state.live.set(self.state.live.get() + 1);
        }
    }

    fn finish(&mut self, left: usize) {
        while self.state.live.get() > left {
            self.lp.run(uv_run_mode_UV_RUN_ONCE);
        }
    }

    fn finish_any(&mut self, left: usize) {
        self.finish(left);
    }
}
