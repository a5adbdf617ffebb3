//! Terminals for tests, and what they are set to.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use blacklight::WindowSize;
use blacklight::prelude::*;

pub fn pty(lp: &EventLoop) -> Pty {
    Pty::new(lp, WindowSize::new(80, 24)).unwrap()
}

pub fn attributes(fd: impl AsFd) -> libc::termios {
    // SAFETY: all zeros is a termios to be written over.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: it outlives the call.
    let done = unsafe { libc::tcgetattr(fd.as_fd().as_raw_fd(), &raw mut termios) };
    assert_eq!(done, 0);
    termios
}

/// Canonical input, echo, signals, output processing.
pub fn settings(fd: impl AsFd) -> [bool; 4] {
    let termios = attributes(fd);
    let local = |flag| termios.c_lflag & flag != 0;
    [local(libc::ICANON), local(libc::ECHO), local(libc::ISIG), termios.c_oflag & libc::OPOST != 0]
}

pub const NORMAL: [bool; 4] = [true; 4];
pub const RAW: [bool; 4] = [false, false, false, true];
pub const IO: [bool; 4] = [false; 4];
