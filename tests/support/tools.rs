//! Small tools of the tests for the loop and its handles: panics, names, and connected streams.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(unsafe_code)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use blacklight::prelude::*;
use blacklight::{Error, Result};

/// Runs the loop and asserts that a callback's panic with this message came out of it.
pub fn run_panics(lp: &EventLoop, mode: RunMode, message: &str) {
    let unwound = catch_unwind(AssertUnwindSafe(|| lp.run(mode)));
    match unwound {
        Ok(returned) => panic!("no panic came out of run, which returned {returned:?}"),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            assert_eq!(text.as_deref(), Some(message));
        }
    }
}

/// Asserts that a panic comes out of this.
pub fn unwinds<R>(run: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "no panic came out");
}

/// Raises a signal in this very thread: it has been caught when this returns, while one sent to the
/// process may be caught by another thread at any time after.
pub fn raise(signum: i32) {
    // SAFETY: the callers' signals are handled.
    assert_eq!(unsafe { libc::raise(signum) }, 0);
}

/// Counts how many of its tokens are alive: what a closure owns shows when it is dropped.
#[derive(Clone, Default)]
pub struct Tokens(Rc<Cell<usize>>);

/// See [`Tokens`].
pub struct Token(Rc<Cell<usize>>);

impl Tokens {
    pub fn new() -> Tokens {
        Tokens::default()
    }

    pub fn one(&self) -> Token {
        self.0.set(self.0.get() + 1);
        Token(self.0.clone())
    }

    pub fn alive(&self) -> usize {
        self.0.get()
    }
}

impl Token {
    /// Makes a closure own the token.
    pub fn keep(&self) {}
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Calls its closure when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> OnDrop<F> {
    /// Makes a closure own it.
    pub fn keep(&self) {}
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A path that nothing else uses; what is there is removed at the end.
pub struct TempPath(PathBuf);

impl TempPath {
    pub fn new() -> TempPath {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("blacklight-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One that was killed, of the same number, may have left it.
        let _none = std::fs::remove_file(&path);
        TempPath(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn bytes(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        self.0.as_os_str().as_bytes().to_vec()
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Writes until the pipe takes nothing more; returns how many bytes that were.
pub fn fill(pipe: &Pipe) -> usize {
    let chunk = [b'.'; 4096];
    let mut total = 0;
    loop {
        match pipe.try_write(&chunk) {
            Ok(n) => total += n,
            Err(Error::EAGAIN) => return total,
            Err(error) => panic!("filling a pipe: {error}"),
        }
    }
}

/// Runs the loop turn by turn until `done`, and fails after many turns without it.
pub fn run_until(lp: &EventLoop, mut done: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        lp.run(RunMode::Once).unwrap();
    }
    panic!("did not come to an end");
}

/// Runs until nothing is left, and closes what has an end.
pub fn finish(lp: &EventLoop) {
    assert_eq!(lp.run(RunMode::Default), Ok(false));
}

/// What a write's callback is given when all went well.
pub fn all_written(written: blacklight::Written, bytes: usize) {
    assert_eq!((written.result, written.bytes), (Ok(()), bytes));
}

/// Reads all that comes, up to the end, into a vector that is returned at once.
pub fn collect(pipe: &Pipe) -> Rc<std::cell::RefCell<Vec<u8>>> {
    let bytes = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = bytes.clone();
    let started: Result<()> = pipe.read_start(move |pipe, read| match read {
        Read::Data(data) => seen.borrow_mut().extend_from_slice(data),
        Read::Eof => pipe.close(),
        Read::Error(error) => panic!("reading: {error}"),
    });
    started.unwrap();
    bytes
}

/// Runs until everything queued has been written and called back.
pub fn finish_writes(lp: &EventLoop, pipe: &Pipe) {
    run_until(lp, || pipe.write_queue_size() == 0);
    lp.run(RunMode::NoWait).unwrap();
}

/// Deterministic bytes that do not repeat soon.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
