//! Regular expressions and errors, as far as a message carries them.

use std::fmt;

use super::{JsString, Value};

bitflags::bitflags! {
    /// The flags of a [`RegExp`], with V8's numbers.
    ///
    /// ```
    /// use blacklight::child_process::RegExpFlags;
    ///
    /// let flags = RegExpFlags::GLOBAL | RegExpFlags::IGNORE_CASE;
    /// assert_eq!(flags.to_string(), "gi");
    /// assert_eq!(RegExpFlags::from_text("ig"), Some(flags));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RegExpFlags: u32 {
        /// `g`
        const GLOBAL = 1;
        /// `i`
        const IGNORE_CASE = 2;
        /// `m`
        const MULTILINE = 4;
        /// `y`
        const STICKY = 8;
        /// `u`
        const UNICODE = 16;
        /// `s`
        const DOT_ALL = 32;
        /// `d`
        const HAS_INDICES = 128;
        /// `v`
        const UNICODE_SETS = 256;
    }
}

/// The letters in the order in which JavaScript shows them.
const LETTERS: [(char, RegExpFlags); 8] = [
    ('d', RegExpFlags::HAS_INDICES),
    ('g', RegExpFlags::GLOBAL),
    ('i', RegExpFlags::IGNORE_CASE),
    ('m', RegExpFlags::MULTILINE),
    ('s', RegExpFlags::DOT_ALL),
    ('u', RegExpFlags::UNICODE),
    ('v', RegExpFlags::UNICODE_SETS),
    ('y', RegExpFlags::STICKY),
];

impl RegExpFlags {
    /// The flags of these letters; nothing when one is unknown or there twice.
    ///
    /// ```
    /// # use blacklight::child_process::RegExpFlags;
    /// assert_eq!(RegExpFlags::from_text("gg"), None);
    /// ```
    #[must_use]
    pub fn from_text(letters: &str) -> Option<RegExpFlags> {
        letters.chars().try_fold(RegExpFlags::empty(), |flags, letter| {
            let (_, flag) = LETTERS.iter().find(|(known, _)| *known == letter)?;
            (!flags.contains(*flag)).then_some(flags | *flag)
        })
    }
}

impl fmt::Display for RegExpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LETTERS
            .iter()
            .filter(|(_, flag)| self.contains(*flag))
            .try_for_each(|(l, _)| write!(f, "{l}"))
    }
}

/// A JavaScript regular expression; the source is not checked, only carried.
///
/// ```
/// use blacklight::child_process::{RegExp, RegExpFlags};
///
/// let expression = RegExp { source: "a+".into(), flags: RegExpFlags::GLOBAL };
/// assert_eq!(expression.to_string(), "/a+/g");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegExp {
    /// What is between the slashes.
    pub source: JsString,
    /// What follows them.
    pub flags: RegExpFlags,
}

impl fmt::Display for RegExp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.source, self.flags)
    }
}

/// The built-in classes of errors; an error of another class arrives as [`ErrorName::Error`].
///
/// ```
/// use blacklight::child_process::ErrorName;
///
/// assert_eq!(ErrorName::TypeError.as_str(), "TypeError");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ErrorName {
    /// `Error`, and what is none of the others.
    #[default]
    Error,
    /// `EvalError`.
    EvalError,
    /// `RangeError`.
    RangeError,
    /// `ReferenceError`.
    ReferenceError,
    /// `SyntaxError`.
    SyntaxError,
    /// `TypeError`.
    TypeError,
    /// `URIError`.
    UriError,
}

impl ErrorName {
    /// The name as JavaScript has it.
    ///
    /// ```
    /// # use blacklight::child_process::ErrorName;
    /// assert_eq!(ErrorName::UriError.as_str(), "URIError");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorName::Error => "Error",
            ErrorName::EvalError => "EvalError",
            ErrorName::RangeError => "RangeError",
            ErrorName::ReferenceError => "ReferenceError",
            ErrorName::SyntaxError => "SyntaxError",
            ErrorName::TypeError => "TypeError",
            ErrorName::UriError => "URIError",
        }
    }
}

/// A JavaScript error. Its other properties (`code`, …) do not travel, with Node neither.
///
/// ```
/// use blacklight::child_process::{ErrorName, ErrorObject};
///
/// let error = ErrorObject::new(ErrorName::RangeError, "too far");
/// assert_eq!(error.to_string(), "RangeError: too far");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorObject {
    /// The class.
    pub name: ErrorName,
    /// The `message`, if it has one of its own.
    pub message: Option<JsString>,
    /// The `stack`, usually many lines that begin with name and message.
    pub stack: Option<JsString>,
    /// The `cause`, if it has one.
    pub cause: Option<Value>,
}

impl ErrorObject {
    /// An error with a message; its stack is the line that [`Display`](fmt::Display) gives.
    ///
    /// ```
    /// # use blacklight::child_process::{ErrorName, ErrorObject};
    /// let error = ErrorObject::new(ErrorName::Error, "m");
    /// assert_eq!(error.stack, Some("Error: m".into()));
    /// ```
    #[must_use]
    pub fn new(name: ErrorName, message: &str) -> ErrorObject {
        let stack = match message {
            "" => name.as_str().to_owned(),
            _ => format!("{}: {message}", name.as_str()),
        };
        ErrorObject { name, message: Some(message.into()), stack: Some(stack.into()), cause: None }
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        match &self.message {
            Some(message) if !message.is_empty() => write!(f, ": {message}"),
            _ => Ok(()),
        }
    }
}
