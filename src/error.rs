//! The one error type of the crate: a kernel errno or one of libuv's own codes.
//!
//! Invariant: the code is always negative and follows libuv's numbering, so that a C caller can be
//! handed [`Error::code`] unchanged and a Rust caller can compare with the constants.

use std::fmt;
use std::io;

/// A [`std::result::Result`] whose error is an [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: a `Copy` value with libuv's code, libuv's name for it and a message.
///
/// Kernel errors are the negated errno; libuv's own (`EOF`, `EAI_*`, …) have numbers below -3000.
/// It converts from and to [`std::io::Error`].
///
/// ```
/// use blacklight::Error;
///
/// let error = Error::from_errno(2);
/// assert_eq!(error, Error::ENOENT);
/// assert_eq!(error.code(), -2);
/// assert_eq!(error.name(), "ENOENT");
/// assert_eq!(error.to_string(), "ENOENT: no such file or directory");
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Error(i32);

/// Every code: its name, its number as libuv has it, and the message.
macro_rules! codes {
    ($($name:ident $code:expr, $message:literal;)*) => {
        #[doc = "The codes libuv has a name for (`uv_errno_t`), and the errnos this crate adds."]
        impl Error {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $message, ".")]
                pub const $name: Error = Error($code);
            )*

            const ALL: &'static [(Error, &'static str, &'static str)] =
                &[$((Error::$name, stringify!($name), $message),)*];
        }
    };
}

codes! {
    E2BIG -libc::E2BIG, "argument list too long";
    EACCES -libc::EACCES, "permission denied";
    EADDRINUSE -libc::EADDRINUSE, "address already in use";
    EADDRNOTAVAIL -libc::EADDRNOTAVAIL, "address not available";
    EAFNOSUPPORT -libc::EAFNOSUPPORT, "address family not supported";
    EAGAIN -libc::EAGAIN, "resource temporarily unavailable";
    EAI_ADDRFAMILY -3000, "address family not supported";
    EAI_AGAIN -3001, "temporary failure";
    EAI_BADFLAGS -3002, "bad ai_flags value";
    EAI_CANCELED -3003, "request canceled";
    EAI_FAIL -3004, "permanent failure";
    EAI_FAMILY -3005, "ai_family not supported";
    EAI_MEMORY -3006, "out of memory";
    EAI_NODATA -3007, "no address";
    EAI_NONAME -3008, "unknown node or service";
    EAI_OVERFLOW -3009, "argument buffer overflow";
    EAI_SERVICE -3010, "service not available for socket type";
    EAI_SOCKTYPE -3011, "socket type not supported";
    EAI_BADHINTS -3013, "invalid value for hints";
    EAI_PROTOCOL -3014, "resolved protocol is unknown";
    EALREADY -libc::EALREADY, "connection already in progress";
    EBADF -libc::EBADF, "bad file descriptor";
    EBUSY -libc::EBUSY, "resource busy or locked";
    ECANCELED -libc::ECANCELED, "operation canceled";
    ECHARSET -4080, "invalid Unicode character";
    ECHILD -libc::ECHILD, "no child process";
    ECONNABORTED -libc::ECONNABORTED, "software caused connection abort";
    ECONNREFUSED -libc::ECONNREFUSED, "connection refused";
    ECONNRESET -libc::ECONNRESET, "connection reset by peer";
    EDESTADDRREQ -libc::EDESTADDRREQ, "destination address required";
    EEXIST -libc::EEXIST, "file already exists";
    EFAULT -libc::EFAULT, "bad address in system call argument";
    EFBIG -libc::EFBIG, "file too large";
    EFTYPE -4028, "inappropriate file type or format";
    EHOSTDOWN -libc::EHOSTDOWN, "host is down";
    EHOSTUNREACH -libc::EHOSTUNREACH, "host is unreachable";
    EILSEQ -libc::EILSEQ, "illegal byte sequence";
    EINTR -libc::EINTR, "interrupted system call";
    EINVAL -libc::EINVAL, "invalid argument";
    EIO -libc::EIO, "i/o error";
    EISCONN -libc::EISCONN, "socket is already connected";
    EISDIR -libc::EISDIR, "illegal operation on a directory";
    ELOOP -libc::ELOOP, "too many symbolic links encountered";
    EMFILE -libc::EMFILE, "too many open files";
    EMLINK -libc::EMLINK, "too many links";
    EMSGSIZE -libc::EMSGSIZE, "message too long";
    ENAMETOOLONG -libc::ENAMETOOLONG, "name too long";
    ENETDOWN -libc::ENETDOWN, "network is down";
    ENETUNREACH -libc::ENETUNREACH, "network is unreachable";
    ENFILE -libc::ENFILE, "file table overflow";
    ENOBUFS -libc::ENOBUFS, "no buffer space available";
    ENODATA -libc::ENODATA, "no data available";
    ENODEV -libc::ENODEV, "no such device";
    ENOENT -libc::ENOENT, "no such file or directory";
    ENOEXEC -libc::ENOEXEC, "exec format error";
    ENOMEM -libc::ENOMEM, "not enough memory";
    ENONET -libc::ENONET, "machine is not on the network";
    ENOPROTOOPT -libc::ENOPROTOOPT, "protocol not available";
    ENOSPC -libc::ENOSPC, "no space left on device";
    ENOSYS -libc::ENOSYS, "function not implemented";
    ENOTCONN -libc::ENOTCONN, "socket is not connected";
    ENOTDIR -libc::ENOTDIR, "not a directory";
    ENOTEMPTY -libc::ENOTEMPTY, "directory not empty";
    ENOTSOCK -libc::ENOTSOCK, "socket operation on non-socket";
    ENOTSUP -libc::ENOTSUP, "operation not supported on socket";
    ENOTTY -libc::ENOTTY, "inappropriate ioctl for device";
    ENXIO -libc::ENXIO, "no such device or address";
    EOF -4095, "end of file";
    EOVERFLOW -libc::EOVERFLOW, "value too large for defined data type";
    EPERM -libc::EPERM, "operation not permitted";
    EPIPE -libc::EPIPE, "broken pipe";
    EPROTO -libc::EPROTO, "protocol error";
    EPROTONOSUPPORT -libc::EPROTONOSUPPORT, "protocol not supported";
    EPROTOTYPE -libc::EPROTOTYPE, "protocol wrong type for socket";
    ERANGE -libc::ERANGE, "result too large";
    EREMOTEIO -libc::EREMOTEIO, "remote I/O error";
    EROFS -libc::EROFS, "read-only file system";
    ESHUTDOWN -libc::ESHUTDOWN, "cannot send after transport endpoint shutdown";
    ESOCKTNOSUPPORT -libc::ESOCKTNOSUPPORT, "socket type not supported";
    ESPIPE -libc::ESPIPE, "invalid seek";
    ESRCH -libc::ESRCH, "no such process";
    ESTALE -libc::ESTALE, "the loop belongs to the process before fork";
    ETIMEDOUT -libc::ETIMEDOUT, "connection timed out";
    ETOOMANYREFS -libc::ETOOMANYREFS, "too many references: cannot splice";
    ETXTBSY -libc::ETXTBSY, "text file is busy";
    EUNATCH -libc::EUNATCH, "protocol driver not attached";
    EXDEV -libc::EXDEV, "cross-device link not permitted";
    UNKNOWN -4094, "unknown error";
}

impl Error {
    /// The error for a positive errno; [`Error::UNKNOWN`] for zero and for what no errno can be.
    #[must_use]
    pub const fn from_errno(errno: i32) -> Error {
        // The kernel's errnos end at 4095 (include/linux/err.h, MAX_ERRNO); libuv's own codes start
        // at 3000, where no errno is.
        if errno > 0 && errno < 3000 { Error(-errno) } else { Error::UNKNOWN }
    }

    /// The error for one of libuv's negative codes, whatever the code; [`Error::UNKNOWN`] when it
    /// is not negative.
    #[must_use]
    pub const fn from_code(code: i32) -> Error {
        if code < 0 { Error(code) } else { Error::UNKNOWN }
    }

    /// libuv's number: the negated errno, or one of libuv's own codes.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The errno, when the kernel has one for it.
    #[must_use]
    pub const fn errno(self) -> Option<i32> {
        if self.0 > -3000 { Some(-self.0) } else { None }
    }

    /// The name, such as `"ENOENT"` or `"EOF"`; `"UNKNOWN"` for a code without one.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().map_or("UNKNOWN", |(_, name, _)| name)
    }

    /// One line of text, such as `"no such file or directory"`.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.entry().map_or("unknown error", |(_, _, message)| message)
    }

    fn entry(self) -> Option<&'static (Error, &'static str, &'static str)> {
        Error::ALL.iter().find(|(error, _, _)| *error == self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((_, name, message)) => write!(f, "{name}: {message}"),
            None => write!(f, "unknown error {}", self.0),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "Error({})", self.0),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None if error == Error::EOF => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            None => io::Error::other(error),
        }
    }
}

impl From<io::Error> for Error {
    /// The errno inside, or the error of this crate inside, or what the kind stands for.
    fn from(error: io::Error) -> Error {
        if let Some(errno) = error.raw_os_error() {
            return Error::from_errno(errno);
        }
        if let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
            return *inner;
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::EOF,
            io::ErrorKind::InvalidInput => Error::EINVAL,
            io::ErrorKind::Interrupted => Error::EINTR,
            io::ErrorKind::WouldBlock => Error::EAGAIN,
            _ => Error::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_libuv_and_are_distinct() {
        assert_eq!(Error::EOF.code(), -4095);
        assert_eq!(Error::EAI_PROTOCOL.code(), -3014);
        for (i, (error, name, _)) in Error::ALL.iter().enumerate() {
            assert!(error.code() < 0, "{name}");
            assert!(Error::ALL[..i].iter().all(|(other, ..)| other != error), "{name} twice");
        }
    }

    #[test]
    fn survives_the_way_through_io_error() {
        for (error, ..) in Error::ALL.iter().filter(|(e, ..)| *e != Error::UNKNOWN) {
            assert_eq!(Error::from(io::Error::from(*error)), *error);
        }
    }

    #[test]
    fn unknown_codes_have_a_text_and_do_not_panic() {
        assert_eq!(Error::from_errno(0), Error::UNKNOWN);
        assert_eq!(Error::from_errno(i32::MIN), Error::UNKNOWN);
        assert_eq!(Error::from_code(-2999).name(), "UNKNOWN");
        assert_eq!(Error::from_code(-2999).to_string(), "unknown error -2999");
    }
}
