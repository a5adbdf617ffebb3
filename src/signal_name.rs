//! Signals by name, as signal(7) lists them for this architecture.

/// The name of a signal, such as `"SIGTERM"`; `None` for real-time signals and numbers that are no
/// signal.
///
/// ```
/// assert_eq!(blacklight::signal_name(15), Some("SIGTERM"));
/// assert_eq!(blacklight::signal_name(64), None);
/// ```
#[must_use]
pub fn signal_name(signum: i32) -> Option<&'static str> {
    NAMES.iter().find(|(number, _)| *number == signum).map(|(_, name)| *name)
}

/// The number of a signal by its name, in any case, with or without `SIG`; `None` when there is no
/// such signal.
///
/// ```
/// assert_eq!(blacklight::signal_number("SIGTERM"), Some(15));
/// assert_eq!(blacklight::signal_number("hup"), Some(1));
/// assert_eq!(blacklight::signal_number("SIGNOPE"), None);
/// ```
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let bare = match name.get(..3) {
        Some(prefix) if prefix.eq_ignore_ascii_case("SIG") => &name[3..],
        _ => name,
    };
    NAMES.iter().find(|(_, known)| known[3..].eq_ignore_ascii_case(bare)).map(|(number, _)| *number)
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name)),)*] };
}

/// The first name of a number is the one that is given out.
const NAMES: &[(i32, &str)] = names! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2
    SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG
    SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPOLL SIGPWR SIGSYS SIGIOT
};
