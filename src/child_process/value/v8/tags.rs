//! The bytes of the format: V8's `value-serializer.cc` has their names, Node's `v8.js` the host
//! objects.

/// The version that is written.
pub(super) const VERSION: u32 = 15;
/// The versions that are read: Node v20 takes the same.
pub(super) const VERSIONS: std::ops::RangeInclusive<u32> = 13..=15;

pub(super) const HEADER: u8 = 0xff;
pub(super) const PADDING: u8 = 0;
pub(super) const OBJECT_COUNT: u8 = b'?';
pub(super) const HOLE: u8 = b'-';
pub(super) const UNDEFINED: u8 = b'_';
pub(super) const NULL: u8 = b'0';
pub(super) const TRUE: u8 = b'T';
pub(super) const FALSE: u8 = b'F';
pub(super) const INT32: u8 = b'I';
pub(super) const UINT32: u8 = b'U';
pub(super) const DOUBLE: u8 = b'N';
pub(super) const BIGINT: u8 = b'Z';
pub(super) const LATIN1: u8 = b'"';
pub(super) const UTF16: u8 = b'c';
pub(super) const UTF8: u8 = b'S';
pub(super) const REFERENCE: u8 = b'^';
pub(super) const OBJECT: u8 = b'o';
pub(super) const OBJECT_END: u8 = b'{';
pub(super) const DENSE: u8 = b'A';
pub(super) const DENSE_END: u8 = b'$';
pub(super) const SPARSE: u8 = b'a';
pub(super) const SPARSE_END: u8 = b'@';
pub(super) const DATE: u8 = b'D';
pub(super) const TRUE_OBJECT: u8 = b'y';
pub(super) const FALSE_OBJECT: u8 = b'x';
pub(super) const NUMBER_OBJECT: u8 = b'n';
pub(super) const BIGINT_OBJECT: u8 = b'z';
pub(super) const STRING_OBJECT: u8 = b's';
pub(super) const REGEXP: u8 = b'R';
pub(super) const MAP: u8 = b';';
pub(super) const MAP_END: u8 = b':';
pub(super) const SET: u8 = b'\'';
pub(super) const SET_END: u8 = b',';
pub(super) const ARRAY_BUFFER: u8 = b'B';
pub(super) const RESIZABLE_BUFFER: u8 = b'~';
pub(super) const VIEW: u8 = b'V';
pub(super) const HOST_OBJECT: u8 = b'\\';
pub(super) const ERROR: u8 = b'r';

/// Node's kinds of host objects.
pub(super) const HOST_VIEW: u32 = 0;
pub(super) const HOST_PLAIN: u32 = 1;

/// What follows [`ERROR`].
pub(super) const ERROR_MESSAGE: u8 = b'm';
pub(super) const ERROR_STACK: u8 = b's';
pub(super) const ERROR_CAUSE: u8 = b'c';
pub(super) const ERROR_END: u8 = b'.';

/// Bits in what follows a [`VIEW`].
pub(super) const VIEW_TRACKS_LENGTH: u32 = 1;
pub(super) const VIEW_OF_RESIZABLE: u32 = 2;

use super::super::ErrorName;

/// The classes of errors with their bytes; `Error` has none.
pub(super) const ERROR_NAMES: [(u8, ErrorName); 6] = [
    (b'E', ErrorName::EvalError),
    (b'R', ErrorName::RangeError),
    (b'F', ErrorName::ReferenceError),
    (b'S', ErrorName::SyntaxError),
    (b'T', ErrorName::TypeError),
    (b'U', ErrorName::UriError),
];
