//! What signal handlers see of the ports: a list of seats that only grows and is never freed.
//!
//! A port sits on a [`Seat`] for as long as it lives; afterwards the seat waits for the next port.
//! A handler walks the list, and on each seat that watches the signal it counts and writes one
//! byte.
//!
//! # Why a list that is never freed
//!
//! The handler may run on any thread at any time, so whatever it reads must be there. The
//! registry's own way would be one registration per port and signal: it copies all registrations at
//! each change, and its lock stays locked for ever in the child of a fork that came while another
//! thread was in a handler. A list of our own behind an RCU pointer has the same weakness unless it
//! knows about forks. Seats that stay where they are need neither: there is no memory to reclaim,
//! only a descriptor to stop using. They cost under a kilobyte each, as many as ports ever lived at
//! once.
//!
//! # Invariants
//!
//! * `watching` is cleared before a port closes its pipe, and [`Seat::vacate`] waits until no
//!   handler is left that saw a bit in it. Both sides use SeqCst: the handler announces itself in
//!   `busy` and then reads `watching`, the port clears `watching` and then reads `busy`, so one of
//!   them sees the other. The wait is short (a handler never blocks) and ends: once the bits are
//!   clear nobody enters who was not already between its two looks.
//! * A seat belongs to the process that `pid` names. In the child of a fork the seats are as good
//!   as empty until their port says `after_fork`: signals there act as if nobody watched, and no
//!   byte goes into a pipe that the parent reads.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::{array, iter, process, ptr, thread};

/// Signals are 1 to 64; index 0 stays unused.
pub(super) const SIGNALS: usize = 65;

#[derive(Debug)]
pub(super) struct Seat {
    next: AtomicPtr<Seat>,
    taken: AtomicBool,
    pid: AtomicU32,
    /// Handlers that may be using `pipe`.
    busy: AtomicU32,
    /// Bit n - 1 for signal n.
    watching: AtomicU64,
    /// The write end of the port's pipe.
    pipe: AtomicI32,
    /// A byte is in the pipe or about to be: more signals need no other.
    woken: AtomicBool,
    caught: [AtomicU32; SIGNALS],
    sender: [AtomicU64; SIGNALS],
}

static SEATS: AtomicPtr<Seat> = AtomicPtr::new(ptr::null_mut());

fn seats() -> impl Iterator<Item = &'static Seat> {
    // SAFETY: both pointers are null or come from `Box::leak` in `take`, and `next` is written
    // before the seat is published (release there, acquire here).
    let first = unsafe { SEATS.load(Ordering::Acquire).as_ref() };
    // SAFETY: as above.
    iter::successors(first, |seat| unsafe { seat.next.load(Ordering::Relaxed).as_ref() })
}

/// The signal reached a port that watches it; if not, it is the previous action's. Runs in the
/// handler: no lock, no allocation, one system call and one more per port that is to be woken.
pub(super) fn deliver(signum: i32, info: &libc::siginfo_t) -> bool {
    let bit = bit(signum);
    // SAFETY: takes nothing; unlike `process::id` it is on the list of async-signal-safe functions.
    let pid = unsafe { libc::getpid() }.cast_unsigned();
    let mut delivered = false;
    for seat in seats() {
        if seat.watching.load(Ordering::SeqCst) & bit == 0 {
            continue;
        }
        seat.busy.fetch_add(1, Ordering::SeqCst);
        let ours = seat.pid.load(Ordering::SeqCst) == pid;
        if ours && seat.watching.load(Ordering::SeqCst) & bit != 0 {
            seat.note(signum, info);
            delivered = true;
        }
        seat.busy.fetch_sub(1, Ordering::SeqCst);
    }
    delivered
}

pub(super) fn bit(signum: i32) -> u64 {
    1 << (signum - 1)
}

/// pid << 32 | uid of who sent it; zero where the kernel, a timer or a fault did.
fn sender(info: &libc::siginfo_t) -> u64 {
    // sigaction(2): the members are those of kill and sigqueue for these codes, and for SIGCHLD
    // those of the child.
    let from_process =
        matches!(info.si_code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL | libc::SI_MESGQ);
    if !from_process && (info.si_signo != libc::SIGCHLD || info.si_code <= 0) {
        return 0;
    }
    // SAFETY: the code says that these members of the union were filled in.
    let (pid, uid) = unsafe { (info.si_pid(), info.si_uid()) };
    u64::from(pid.cast_unsigned()) << 32 | u64::from(uid)
}

impl Seat {
    /// A seat that nobody else has, watching nothing, with all counters at zero.
    pub(super) fn take(pipe: i32) -> &'static Seat {
        let free = |seat: &&Seat| {
            seat.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let seat = seats().find(free).unwrap_or_else(|| {
            let seat: &'static Seat = Box::leak(Box::new(Seat {
                next: AtomicPtr::new(ptr::null_mut()),
                taken: AtomicBool::new(true),
                pid: AtomicU32::new(0),
                busy: AtomicU32::new(0),
                watching: AtomicU64::new(0),
                pipe: AtomicI32::new(-1),
                woken: AtomicBool::new(false),
                caught: array::from_fn(|_| AtomicU32::new(0)),
                sender: array::from_fn(|_| AtomicU64::new(0)),
            }));
            let publish = |head| {
                seat.next.store(head, Ordering::Relaxed);
                Some(ptr::from_ref(seat).cast_mut())
            };
            // Always `Ok`, as the closure always gives a pointer.
            let _ = SEATS.fetch_update(Ordering::AcqRel, Ordering::Acquire, publish);
            seat
        });
        for (caught, sender) in seat.caught.iter().zip(&seat.sender) {
            caught.store(0, Ordering::Relaxed);
            sender.store(0, Ordering::Relaxed);
        }
        seat.pipe.store(pipe, Ordering::Relaxed);
        seat.renew();
        seat
    }

    /// The seat is this process's from now on, and its pipe is empty.
    pub(super) fn renew(&self) {
        // In a forked child the handlers that were counted run in the parent. None of this
        // process has looked beyond `pid` yet.
        self.busy.store(0, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
        self.pid.store(process::id(), Ordering::SeqCst);
    }

    pub(super) fn watch(&self, signum: i32) {
        self.watching.fetch_or(bit(signum), Ordering::SeqCst);
    }

    pub(super) fn unwatch(&self, signum: i32) {
        self.watching.fetch_and(!bit(signum), Ordering::SeqCst);
    }

    /// After it, no handler uses the pipe. In a forked child that has not renewed the seat, it
    /// stays taken: `busy` may count handlers that only the parent has, and nothing of ours uses
    /// the pipe.
    pub(super) fn vacate(&self) {
        self.watching.store(0, Ordering::SeqCst);
        if self.pid.load(Ordering::SeqCst) != process::id() {
            return;
        }
        while self.busy.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
        self.pipe.store(-1, Ordering::Relaxed);
        self.taken.store(false, Ordering::Release);
    }

    /// To be called when the pipe has been emptied, and before the counters are read.
    ///
    /// In this order no wake is lost. A signal whose swap of `woken` came before this one was
    /// counted before it, so the reader sees it; one whose swap comes later finds `false` and
    /// writes a byte. The other way round, a byte written in between would be swallowed while
    /// `woken` stays set.
    pub(super) fn slept(&self) {
        self.woken.swap(false, Ordering::AcqRel);
    }

    pub(super) fn caught(&self, signum: i32) -> u32 {
        self.caught.get(index(signum)).map_or(0, |n| n.load(Ordering::Acquire))
    }

    pub(super) fn sender(&self, signum: i32) -> u64 {
        self.sender.get(index(signum)).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    fn note(&self, signum: i32, info: &libc::siginfo_t) {
        let index = index(signum);
        let (Some(caught), Some(from)) = (self.caught.get(index), self.sender.get(index)) else {
            return;
        };
        from.store(sender(info), Ordering::Relaxed);
        caught.fetch_add(1, Ordering::Release);
        if !self.woken.swap(true, Ordering::AcqRel) {
            let byte = 0u8;
            // A full pipe (EAGAIN) is readable as well. Errno is restored by the caller.
            // SAFETY: the byte outlives the call; `busy` keeps the descriptor open (see above).
            unsafe { libc::write(self.pipe.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
        }
    }
}

fn index(signum: i32) -> usize {
    usize::try_from(signum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::SignalPort;
    use super::Ordering;
    use crate::sys::forked::fate_of;
    use crate::sys::isolation::isolated;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_port_keeps_its_pipe_until_the_last_handler_has_left_it() {
        let port = SignalPort::new().unwrap();
        let (seat, left) = (port.seat, AtomicBool::new(false));
        seat.watch(libc::SIGWINCH);
        // A handler between its two looks.
        seat.busy.fetch_add(1, Ordering::SeqCst);
        thread::scope(|scope| {
            let left = &left;
            scope.spawn(move || {
                drop(port);
                assert!(left.load(Ordering::SeqCst));
            });
            while seat.watching.load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
            // Gives a drop that does not wait the time to be found out.
            (0..1_000).for_each(|_| thread::yield_now());
            left.store(true, Ordering::SeqCst);
            seat.busy.fetch_sub(1, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_handler_that_stayed_behind_in_the_parent_keeps_no_child_waiting() {
        isolated(|| {
            let (renewed, dropped) = (SignalPort::new().unwrap(), SignalPort::new().unwrap());
            // What a fork finds while another thread is in the handler.
            renewed.seat.busy.fetch_add(1, Ordering::SeqCst);
            dropped.seat.busy.fetch_add(1, Ordering::SeqCst);
            let fate = fate_of(|| {
                renewed.after_fork().unwrap();
                // SAFETY: copies that this process alone ends; it never returns to the originals.
                drop(unsafe { (std::ptr::read(&renewed), std::ptr::read(&dropped)) });
                let port = SignalPort::new().unwrap();
                port.watch(libc::SIGUSR1).unwrap();
                super::super::tests::raise(libc::SIGUSR1);
                assert_eq!(port.caught(libc::SIGUSR1), 1);
                0
            });
            assert_eq!(fate.code(), Some(0));
            renewed.seat.busy.fetch_sub(1, Ordering::SeqCst);
            dropped.seat.busy.fetch_sub(1, Ordering::SeqCst);
        });
    }
}
