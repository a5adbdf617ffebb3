//! The process and the system: what Node's `process` and `os` objects take from libuv.
//!
//! None of this needs a loop. Units are libuv's unless an item says otherwise; sizes are in bytes.
//! What the kernel tells in text comes as [`OsString`](std::ffi::OsString): it need not be UTF-8,
//! and a runtime whose strings must be decides itself what becomes of the rest.
//!
//! | in Node | here |
//! | --- | --- |
//! | `process.env` | [`getenv`], [`setenv`], [`unsetenv`], [`environ`] |
//! | `process.argv`, `argv0`, `execPath`, `title` | [`args`], [`argv0`], [`exec_path`], [`title`], [`set_title`] |
//! | `process.pid`, `ppid`, `kill` | [`pid`], [`ppid`], [`kill`] |
//! | `process.cwd`, `chdir`, `umask` | [`cwd`], [`chdir`], [`umask`], [`set_umask`] |
//! | `process.hrtime`, `uptime` | [`hrtime`], [`process_uptime`] |
//! | `process.memoryUsage.rss`, `constrainedMemory`, `availableMemory` | [`resident_memory`], [`constrained_memory`], [`available_memory`] |
//! | `process.cpuUsage`, `threadCpuUsage`, `resourceUsage` | [`cpu_usage`], [`thread_cpu_usage`], [`resource_usage`], [`thread_resource_usage`] |
//! | `os.getPriority`, `setPriority` | [`priority`], [`set_priority`] |
//! | `os.userInfo`, `homedir`, `tmpdir` | [`user_info`], [`homedir`], [`tmpdir`] |
//! | `os.hostname`, `type`, `release`, `version`, `machine` | [`hostname`], [`uname`] |
//! | `os.uptime`, `loadavg`, `totalmem`, `freemem` | [`uptime`], [`load_average`], [`total_memory`], [`free_memory`] |
//! | `os.cpus`, `availableParallelism` | [`cpu_info`], [`available_parallelism`] |
//! | `os.networkInterfaces` | [`interface_addresses`] |
//!
//! `process.exit` is [`LoopRef::halt`](crate::LoopRef::halt), in a worker
//! [`WorkerRef::stop`](crate::WorkerRef::stop).

mod arguments;
mod clock;
mod control_group;
mod directory;
mod environment;
mod identity;
mod interfaces;
mod memory;
mod priority;
mod processors;
mod threads;
mod usage;

pub use arguments::{args, argv0, exec_path, set_title, title};
pub use clock::{Clock, Timestamp, clock_gettime, hrtime, process_uptime, uptime};
pub use directory::{chdir, cwd, set_umask, umask};
pub use environment::{environ, getenv, setenv, unsetenv};
pub use identity::{
    GroupInfo, Uname, UserInfo, group_info, homedir, hostname, pid, ppid, tmpdir, uname, user_info,
    user_info_of,
};
pub use interfaces::{InterfaceAddress, if_indextoname, interface_addresses};
pub use memory::{
    available_memory, constrained_memory, free_memory, resident_memory, total_memory,
};
pub use priority::{
    PRIORITY_ABOVE_NORMAL, PRIORITY_BELOW_NORMAL, PRIORITY_HIGH, PRIORITY_HIGHEST, PRIORITY_LOW,
    PRIORITY_NORMAL, priority, set_priority,
};
pub use processors::{CpuInfo, CpuTimes, available_parallelism, cpu_info, load_average};
pub use threads::{Thread, current_processor};
pub use usage::{CpuUsage, cpu_usage, resource_usage, thread_cpu_usage, thread_resource_usage};

pub use crate::process::kill;
