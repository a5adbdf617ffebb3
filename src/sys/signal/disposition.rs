//! What a signal does in this process once a loop has watched it: to loops first, else as before.
//!
//! Each signal is claimed once, when it is first watched, and for good. From then on a signal that
//! some port watches goes to the ports alone; with no watcher left it does what stood there before:
//! the previous handler is called, an ignored signal stays ignored (a nohup'ed process lives on),
//! or the default action is taken, stops and core dumps included.
//!
//! # How the claim is made, and why not more simply
//!
//! `signal-hook-registry` owns the handler, so that other crates on it (tokio, ctrlc, …) and this
//! one hear the same signals. By itself it would call the previous handler *always*, also while a
//! signal is watched: a runtime that begins with "on SIGINT reset the terminal and die", as Node
//! does, would die although a loop listens (libuv replaces the handler). So [`first`] is put in
//! place before the registry comes, which then takes it for the previous handler and calls it
//! first: it delivers, or decides on the previous action, at one place. Our action inside the
//! registry is used only where the registry had the signal before us: then `first` is taken out
//! again, its other users go on unharmed, and what happens with no watcher left is the registry's
//! matter as it was before ([`Claim::JOINED`]).
//!
//! Restoring the previous action by `sigaction` when the last watcher goes would tear down what
//! others registered meanwhile, and lose a signal or die of one in between.
//! `signal_hook::low_level::emulate_default_handler` is not used: it takes SIGIO for ignored, does
//! not know SIGPWR, SIGSTKFLT and the real-time signals, and turns SIGTSTP into SIGSTOP, which
//! stops even where POSIX says that a terminal's stop must not (an orphaned process group).
//!
//! # What is not claimed
//!
//! * A fault of this program (SIGSEGV, SIGBUS, SIGILL, SIGFPE raised by an instruction) never goes
//!   to a port: the instruction would run into it again for ever. It takes the previous action, and
//!   with the default one the process dies of it.
//! * A handler that other code installs over ours later is left alone; if it chains, we go on
//!   hearing the signal, and if not, we do not. Only where a watch begins and finds the signal
//!   default or ignored is our handler put back. The default action is then not ours to take
//!   either.
//! * A crate that registers with the registry after us does not keep an unwatched signal from its
//!   default action: nobody can ask the registry who else is there.
//! * The first watch of a signal takes locks (ours, the registry's). A child forked by one thread
//!   while another is inside would wait for ever there; signals watched before are free of that.

#[cfg(test)]
pub(super) mod tests;

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use libc::{c_int, c_void, sigaction, siginfo_t};

use super::super::{check, errno, set_errno};
use super::seat::{self, SIGNALS};
use crate::error::{Error, Result};

type Handler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// One signal: whose it is, and what it did before.
struct Claim {
    state: AtomicU8,
    /// The handler that the kernel calls while nobody has put another over it.
    installed: AtomicUsize,
    /// Null or leaked: a handler may be reading it. At most one for each time it is found changed.
    previous: AtomicPtr<Previous>,
}

struct Previous {
    action: sigaction,
    /// `SA_RESETHAND` has had its effect.
    spent: AtomicBool,
}

static CLAIMS: [Claim; SIGNALS] = [const { Claim::unclaimed() }; SIGNALS];
static CLAIMING: Mutex<()> = Mutex::new(());

impl Claim {
    const UNCLAIMED: u8 = 0;
    /// [`first`] is called for each signal, by the registry or by the kernel.
    const OWNED: u8 = 1;
    /// The registry had the signal before us, and our action in it is called.
    const JOINED: u8 = 2;

    const fn unclaimed() -> Claim {
        Claim {
            state: AtomicU8::new(Claim::UNCLAIMED),
            installed: AtomicUsize::new(0),
            previous: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn of(signum: c_int) -> Option<&'static Claim> {
        usize::try_from(signum).ok().and_then(|n| CLAIMS.get(n))
    }

    fn remember(&self, action: sigaction) {
        let previous = Box::leak(Box::new(Previous { action, spent: AtomicBool::new(false) }));
        self.previous.store(previous, Ordering::Release);
    }

    fn previous(&self) -> Option<&'static Previous> {
        // SAFETY: null, or leaked by `remember` and published with release.
        unsafe { self.previous.load(Ordering::Acquire).as_ref() }
    }
}

/// Makes sure that the signal reaches [`seat::deliver`]. Nothing changes for it until a seat
/// watches.
pub(super) fn claim(signum: c_int) -> Result<()> {
    let reserved = 32..libc::SIGRTMIN();
    let fixed = signum == libc::SIGKILL || signum == libc::SIGSTOP;
    if !(1..SIGNALS as c_int).contains(&signum) || fixed || reserved.contains(&signum) {
        return Err(Error::EINVAL);
    }
    let claim = Claim::of(signum).ok_or(Error::EINVAL)?;
    let settled = || -> Result<bool> {
        let claimed = claim.state.load(Ordering::Acquire) != Claim::UNCLAIMED;
        Ok(claimed && is_function(&current(signum)?))
    };
    if settled()? {
        return Ok(());
    }
    let _guard = CLAIMING.lock().unwrap_or_else(PoisonError::into_inner);
    if settled()? {
        return Ok(());
    }
    if claim.state.load(Ordering::Acquire) == Claim::UNCLAIMED {
        register(signum, claim)
    } else {
        put_back(signum, claim)
    }
}

fn register(signum: c_int, claim: &'static Claim) -> Result<()> {
    // Remembered before `first` can be called, and once more should it have changed in between.
    let before = current(signum)?;
    claim.remember(before);
    let replaced = replace(signum, &ours(first_address(), &before))?;
    if replaced.sa_sigaction != before.sa_sigaction {
        claim.remember(replaced);
    }
    let joined = move |info: &siginfo_t| {
        if claim.state.load(Ordering::Acquire) == Claim::JOINED {
            seat::deliver(signum, info);
        }
    };
    // SAFETY: the action is async-signal-safe: atomics, getpid and write. It cannot panic.
    let registered = unsafe { signal_hook_registry::register_unchecked(signum, joined) };
    if let Err(error) = registered {
        replace(signum, &replaced)?;
        return Err(error.into());
    }
    let now = current(signum)?;
    if now.sa_sigaction != first_address() {
        // The registry's handler is in place, with `first` as what it believes to be the previous
        // one. Where that used an alternate stack, as Rust's own guard against stack overflow and
        // all of Go do, it has to go on doing so.
        replace(signum, &ours(now.sa_sigaction, &replaced))?;
        claim.installed.store(now.sa_sigaction, Ordering::Release);
        claim.state.store(Claim::OWNED, Ordering::Release);
    } else if is_function(&replaced) {
        replace(signum, &replaced)?;
        claim.state.store(Claim::JOINED, Ordering::Release);
    } else {
        // The registry believes to be in place, but somebody has reset the signal since.
        claim.installed.store(first_address(), Ordering::Release);
        claim.state.store(Claim::OWNED, Ordering::Release);
    }
    Ok(())
}

/// Somebody has made a claimed signal default or ignored, and now it is to be watched again.
fn put_back(signum: c_int, claim: &'static Claim) -> Result<()> {
    let found = current(signum)?;
    claim.remember(found);
    if claim.state.load(Ordering::Acquire) == Claim::JOINED {
        claim.installed.store(first_address(), Ordering::Release);
        claim.state.store(Claim::OWNED, Ordering::Release);
    }
    replace(signum, &ours(claim.installed.load(Ordering::Acquire), &found)).map(drop)
}

/// The handler proper. As the registry's "previous" one it gets the machine context, which the
/// registry's actions do not, and which a previous handler may need.
extern "C" fn first(signum: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = errno();
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, and the registry passes it on.
    if let Some(seen) = unsafe { info.as_ref() } {
        let fault = is_fault(signum, seen);
        if fault || !seat::deliver(signum, seen) {
            act_as_before(signum, info, context, fault);
        }
    }
    set_errno(errno);
}

fn first_address() -> usize {
    first as *const () as usize
}

/// Raised by the instruction that this handler would return to.
fn is_fault(signum: c_int, info: &siginfo_t) -> bool {
    // A memory error found by scrubbing (sigaction(2)) belongs to no instruction.
    const BUS_MCEERR_AO: c_int = 5;
    match signum {
        libc::SIGSEGV | libc::SIGILL | libc::SIGFPE => info.si_code > 0,
        libc::SIGBUS => info.si_code > 0 && info.si_code != BUS_MCEERR_AO,
        _ => false,
    }
}

fn act_as_before(signum: c_int, info: *mut siginfo_t, context: *mut c_void, fault: bool) {
    let Some(claim) = Claim::of(signum) else { return };
    let Some(previous) = claim.previous() else { return };
    let action = &previous.action;
    if is_function(action) {
        let once = action.sa_flags & libc::SA_RESETHAND != 0;
        if once && previous.spent.swap(true, Ordering::AcqRel) {
            act_by_default(signum, claim, fault);
        } else {
            call(action, signum, info, context);
        }
    } else if fault || action.sa_sigaction != libc::SIG_IGN {
        // The kernel does not let a fault be ignored either.
        act_by_default(signum, claim, fault);
    }
}

/// Calls the previous handler as the kernel would have: with its mask, and itself blocked or not.
fn call(action: &sigaction, signum: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let mut before = no_signals();
    // SAFETY: all sets are initialised and outlive the calls, which are async-signal-safe.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, &mut before);
        if action.sa_flags & libc::SA_NODEFER != 0 {
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &only(signum), ptr::null_mut());
        }
    }
    let handler = ptr::with_exposed_provenance::<()>(action.sa_sigaction);
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the kernel held this address as a handler of this kind; whoever installed it
        // answers for its being there still, as towards the kernel.
        unsafe { mem::transmute::<*const (), InfoHandler>(handler)(signum, info, context) };
    } else {
        // SAFETY: as above.
        unsafe { mem::transmute::<*const (), Handler>(handler)(signum) };
    }
    // SAFETY: the set was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
}

/// Lets the kernel take the default action: the signal is made default and sent to this thread
/// again. Comes back after a stop, or where the kernel takes none (the init of a pid namespace, a
/// terminal's stop of an orphaned process group), and then puts our handler back.
fn act_by_default(signum: c_int, claim: &Claim, fault: bool) {
    // Ignored by default (signal(7)); that a stopped process continues does not depend on handlers.
    if matches!(signum, libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH) {
        return;
    }
    let default = action_of(libc::SIG_DFL, 0);
    if fault {
        // The instruction runs into it once more, and the core shows it there.
        let _ = replace(signum, &default);
        return;
    }
    let Ok(found) = current(signum) else { return };
    let installed = claim.installed.load(Ordering::Acquire);
    if found.sa_sigaction != installed && found.sa_sigaction != first_address() {
        return;
    }
    if replace(signum, &default).is_err() {
        return;
    }
    let mut before = no_signals();
    // SAFETY: the sets are initialised and outlive the call.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &only(signum), &mut before) };
    let _ = signal_hook::low_level::raise(signum);
    // SAFETY: the set was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    if let Ok(meanwhile) = replace(signum, &found)
        && meanwhile.sa_sigaction != libc::SIG_DFL
    {
        // Somebody else has taken the signal while we were stopped: theirs stays.
        let _ = replace(signum, &meanwhile);
    }
}

fn is_function(action: &sigaction) -> bool {
    action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN
}

/// What we install: as the registry does, on the stack that `previous` used.
fn ours(handler: usize, previous: &sigaction) -> sigaction {
    let stack = previous.sa_flags & libc::SA_ONSTACK;
    action_of(handler, libc::SA_SIGINFO | libc::SA_RESTART | stack)
}

fn action_of(handler: usize, flags: c_int) -> sigaction {
    // SAFETY: all zeros is a valid sigaction: default, no flags, no mask, no restorer.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

fn current(signum: c_int) -> Result<sigaction> {
    let mut found = action_of(libc::SIG_DFL, 0);
    // SAFETY: only writes to `found`, which outlives the call. Async-signal-safe.
    check(unsafe { libc::sigaction(signum, ptr::null(), &mut found) })?;
    Ok(found)
}

fn replace(signum: c_int, action: &sigaction) -> Result<sigaction> {
    let mut found = action_of(libc::SIG_DFL, 0);
    // SAFETY: the action is a default one, one that the kernel gave us, or made by `ours` from a
    // handler that is async-signal-safe. Async-signal-safe itself.
    check(unsafe { libc::sigaction(signum, action, &mut found) })?;
    Ok(found)
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: all zeros is the empty set on Linux, and sigemptyset says so for any C library.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        set
    }
}

fn only(signum: c_int) -> libc::sigset_t {
    let mut set = no_signals();
    // SAFETY: the set is initialised and the number valid.
    unsafe { libc::sigaddset(&mut set, signum) };
    set
}
