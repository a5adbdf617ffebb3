//! A single-threaded event loop for Linux with processes at its heart: what libuv is for Node.js,
//! as a crate.
//!
//! An [`EventLoop`] runs [handles](Handle) made for it: [`Timer`], [`Idle`], [`Prepare`], [`Check`],
//! [`Async`], [`Poll`] and [`Signal`]; [`Process`]; the streams [`Pipe`], [`Tcp`], [`Tty`] and [`Pty`]; the
//! datagram sockets [`Udp`], [`UnixDatagram`] and [`SeqPacket`]; [`FsEvent`] and [`FsPoll`]. Handles call
//! closures, only from inside [`EventLoop::run`], and stay with the loop for as long as they do something.
//! Operations on files ([`fs`]), names ([`dns`]) and [work of one's own](LoopRef::queue_work) are done
//! by other threads and end on the loop.
//!
//! ```
//! use blacklight::prelude::*;
//!
//! let lp = EventLoop::new()?;
//! let out = Pipe::new(&lp)?;
//! Command::new("echo")
//!     .arg("hello")
//!     .stdout(Stdio::pipe(&out))
//!     .spawn(&lp, |process, exit| println!("{} ended: {exit}", process.pid()))?;
//! out.read_start(|out, read| match read {
//!     Read::Data(bytes) => print!("{}", String::from_utf8_lossy(bytes)),
//!     Read::Eof => out.close(),
//!     Read::Error(error) => {
//!         eprintln!("{error}");
//!         out.close();
//!     }
//! })?;
//! lp.run(RunMode::Default)?;
//! # Ok::<(), blacklight::Error>(())
//! ```
//!
//! Beside the loop there are [`Worker`], a thread with a loop that others can stop, [`os`], facts of
//! process and system, and with the feature `child_process` the layer of that name that Node.js has.
//!
//! The names are libuv's where libuv has one, and each item says where it differs from libuv and
//! why. What the design leaves open and how it was decided is in `ARCHITECTURE.md`.

// What the kernel, a peer or a caller can cause is an error value; only tests assert by panicking.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

#[cfg(not(target_os = "linux"))]
compile_error!("blacklight is made of Linux's own facilities and works nowhere else");

// The README's first program is compiled and run like every other example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod asynchronous;
#[cfg(feature = "child_process")]
pub mod child_process;
mod datagram;
pub mod dns;
mod error;
mod event_loop;
pub mod fs;
mod fs_event;
mod fs_poll;
mod handle;
mod hooks;
pub mod os;
mod poll;
mod process;
mod random;
mod seqpacket;
mod signal;
mod signal_name;
mod stream;
mod sys;
mod timer;
mod udp;
mod unix_datagram;
pub mod work;
mod worker;

pub use asynchronous::{Async, AsyncSender};
pub use datagram::unix::{UnixMeta, UnixRead, UnixReadInto};
pub use error::{Error, Result};
pub use event_loop::{
    EventLoop, Facilities, Halter, KeepAlive, LoopRef, Metrics, Options, Reaping, RunMode,
};
pub use fs_event::{FsChange, FsChangeKind, FsEvent, FsEventFlags, FsEventKinds};
pub use fs_poll::FsPoll;
pub use handle::{AnyHandle, FromAny, Handle, HandleKind};
pub use hooks::{Check, Idle, Prepare};
pub use poll::{Poll, PollEvents};
pub use process::{
    Command, Exit, ExitStatus, Groups, Process, Reaper, Resource, ResourceUsage, SpawnError,
    SpawnPath, SpawnStep, Stdio, StopEvent, UNLIMITED, become_subreaper, kill, reserve_descriptors,
};
pub use random::random;
pub use seqpacket::SeqPacket;
pub use signal::{Signal, SignalEvent};
pub use signal_name::{signal_name, signal_number};
pub use stream::{
    Buf, DescriptorKind, Pipe, Pty, Read, ReadInto, SeqPacketServer, SocketKind, Stream, Tcp,
    TcpFlags, TcpKeepAlive, Tty, TtyModeGuard, VtermState, WriteId, Written, pipe, socketpair,
};
pub use sys::ancillary::Credentials;
pub use sys::inet::AddressFamily;
pub use sys::terminal::{TtyMode, WindowSize};
pub use timer::Timer;
pub use udp::{
    Ecn, MulticastInterface, Outgoing, QueuedError, Transmit, Udp, UdpFlags, UdpMeta, UdpRead,
    UdpReadInto,
};
pub use unix_datagram::UnixDatagram;
pub use worker::{Worker, WorkerBuilder, WorkerError, WorkerPanic, WorkerRef, WorkerResult};

/// Entries of the fuzz targets into what is not public.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Control data as it is received.
    pub fn control_messages(data: &[u8]) {
        crate::sys::ancillary::messages(data).for_each(drop);
        let _beside = crate::sys::datagram::Beside::parse(data);
    }

    /// Events of files as they are read.
    pub fn inotify_events(data: &[u8]) {
        crate::sys::inotify::events(data).for_each(drop);
    }

    /// A plan of descriptors, carried out on a model.
    pub fn stdio_plan(data: &[u8]) {
        crate::sys::spawn::model::check_bytes(data);
    }
}

/// What a program that uses the loop wants in scope: `use blacklight::prelude::*`.
pub mod prelude {
    pub use crate::{
        Async, AsyncSender, Buf, Check, Command, EventLoop, Exit, ExitStatus, Handle, Idle,
        LoopRef, Pipe, Poll, PollEvents, Prepare, Process, Pty, Read, RunMode, Signal, Stdio,
        Stream, Tcp, Timer, Tty, Udp, UdpRead,
    };
}
