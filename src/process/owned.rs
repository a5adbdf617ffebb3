//! Which children are ours: the pids that some handle, or the orphans' reaper, will wait for.
//!
//! A [`Reaper`](super::Reaper) waits for everything else. Invariant: a child that this crate spawns
//! is in the list before anybody can look for strangers among the dead: the spawner holds the gate
//! from before the clone until the pid is listed, and a reaper closes it while it looks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::per_process::PerProcess;

/// How often each pid is listed: one that has been waited for may be another child's before it is
/// taken off the list.
#[derive(Default)]
struct Owned {
    gate: RwLock<()>,
    pids: Mutex<Pids>,
}

type Pids = HashMap<i32, u32, BuildHasherDefault<PidHasher>>;

/// The kernel hands numbers out in turn, so that nobody can choose those that collide; a product
/// spreads them over all bits.
#[derive(Default)]
struct PidHasher(u64);

impl Hasher for PidHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_i32(i32::from(byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        // Knuth's multiplier: 2^64 divided by the golden ratio.
        let number = u64::from(number.cast_unsigned());
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

static OWNED: PerProcess<Owned> = PerProcess::new();

fn pids() -> MutexGuard<'static, Pids> {
    OWNED.get().pids.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a child is made, until [`add`] has been called.
pub(super) fn spawning() -> RwLockReadGuard<'static, ()> {
    OWNED.get().gate.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a dead child is looked at and, if it is nobody's, waited for.
pub(super) fn looking() -> RwLockWriteGuard<'static, ()> {
    OWNED.get().gate.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(pid: i32) {
    *pids().entry(pid).or_insert(0) += 1;
}

/// The child has been waited for, by us or by somebody else.
pub(super) fn remove(pid: i32) {
    let mut pids = pids();
    if let Some(count) = pids.get_mut(&pid) {
        *count -= 1;
        if *count == 0 {
            pids.remove(&pid);
        }
    }
}

pub(super) fn contains(pid: i32) -> bool {
    pids().contains_key(&pid)
}
