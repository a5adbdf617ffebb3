//! Signal masks: sets of signals that a thread, or a wait, does not want to be interrupted by.

/// A set with nothing but SIGPROF in it.
pub(crate) fn only_sigprof() -> libc::sigset_t {
    // SAFETY: an all-zero set is a valid value; the calls write to it and cannot fail for a signal
    // that exists.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPROF);
        set
    }
}

/// Leaves all signals to the other threads.
pub(crate) fn block_all_in_this_thread() {
    // SAFETY: as above; the mask is that of the calling thread alone.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}
