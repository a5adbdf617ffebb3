//! What can be wrong with a message, and how much one may ask for.

use std::fmt;

/// Why a message could not be read or written.
///
/// As an [`Error`](crate::Error) it is `EMSGSIZE` for what is too long or too deep, `EPROTO` for
/// what another process got wrong, and `EINVAL` for a value that cannot be sent.
///
/// ```
/// use blacklight::Error;
/// use blacklight::child_process::{CodecError, Limits, json};
///
/// let error = json::parse(b"{", &Limits::default()).unwrap_err();
/// assert!(matches!(error, CodecError::Malformed { offset: 1, .. }));
/// assert_eq!(Error::from(error), Error::EPROTO);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// The message is longer than the limit allows.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The value is nested deeper than the limit allows.
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// The bytes are not what they should be.
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where it was noticed.
        offset: usize,
    },
    /// The value cannot be written in this serialization.
    Unsendable(
        /// Why.
        &'static str,
    ),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::TooLong { limit } => write!(f, "message longer than {limit} bytes"),
            CodecError::TooDeep { limit } => write!(f, "message deeper than {limit} levels"),
            CodecError::Malformed { what, offset } => {
                write!(f, "malformed message: {what} at byte {offset}")
            }
            CodecError::Unsendable(why) => write!(f, "value cannot be sent: {why}"),
        }
    }
}

impl std::error::Error for CodecError {}

impl From<CodecError> for crate::Error {
    fn from(error: CodecError) -> crate::Error {
        match error {
            CodecError::TooLong { .. } | CodecError::TooDeep { .. } => crate::Error::EMSGSIZE,
            CodecError::Malformed { .. } => crate::Error::EPROTO,
            CodecError::Unsendable(_) => crate::Error::EINVAL,
        }
    }
}

/// How much a message may ask for.
///
/// ```
/// use blacklight::child_process::Limits;
///
/// let limits = Limits::default().message(1 << 20).depth(100);
/// assert_eq!((limits.max_message(), limits.max_depth()), (1 << 20, 100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    message: usize,
    depth: usize,
}

impl Limits {
    /// Sets how many bytes a message may have, without what frames it. The default is 128 MiB:
    /// enough for what is sensibly sent in one piece, a quarter of what a string in Node can hold,
    /// and little enough that a peer gone wrong does not take the memory of the machine.
    ///
    /// ```
    /// # use blacklight::child_process::Limits;
    /// assert_eq!(Limits::default().max_message(), 128 << 20);
    /// ```
    #[must_use]
    pub const fn message(self, bytes: usize) -> Limits {
        Limits { message: bytes, ..self }
    }

    /// Sets how deep objects may be nested in one another. The default is 10,000, about what Node
    /// itself manages on its stack. Here depth costs no stack: reading, writing, comparing and
    /// dropping keep a list instead.
    ///
    /// ```
    /// # use blacklight::child_process::Limits;
    /// assert_eq!(Limits::default().max_depth(), 10_000);
    /// ```
    #[must_use]
    pub const fn depth(self, levels: usize) -> Limits {
        Limits { depth: levels, ..self }
    }

    /// How many bytes a message may have.
    ///
    /// ```
    /// # use blacklight::child_process::Limits;
    /// assert_eq!(Limits::default().message(5).max_message(), 5);
    /// ```
    #[must_use]
    pub const fn max_message(&self) -> usize {
        self.message
    }

    /// How deep objects may be nested.
    ///
    /// ```
    /// # use blacklight::child_process::Limits;
    /// assert_eq!(Limits::default().depth(5).max_depth(), 5);
    /// ```
    #[must_use]
    pub const fn max_depth(&self) -> usize {
        self.depth
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message: 128 << 20, depth: 10_000 }
    }
}
