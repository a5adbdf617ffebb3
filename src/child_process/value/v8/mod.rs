//! The `advanced` serialization: V8's structured clone format, version 15, with Node's host
//! objects in it.
//!
//! [`serialize`] writes byte for byte what Node v20 writes for the same value, [`deserialize`]
//! reads what Node v20 reads. Two things are written otherwise than some Node would: the parts of
//! an error in the order message, stack, cause, which newer versions of V8 insist on; and text up
//! to U+00FF always as Latin-1, where V8 goes by what it happens to have in memory.

mod decode;
mod encode;
mod opened;
mod reader;
mod tags;
mod writer;

use super::{CodecError, Limits, Value};

/// Writes a value, header included.
///
/// ```
/// use blacklight::child_process::{Value, v8};
///
/// assert_eq!(v8::serialize(&Value::array(["a€"]))?, b"\xff\x0fA\x01c\x04a\0\xac\x20$\0\x01");
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// # Errors
/// [`CodecError::Unsendable`] for a [`Value::Cycle`] outside of its object, [`CodecError::TooLong`]
/// when a part is longer than the format can say.
pub fn serialize(value: &Value) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(64);
    serialize_into(value, &mut out)?;
    Ok(out)
}

/// Appends a value with its header to bytes that are there already.
///
/// ```
/// use blacklight::child_process::{Value, v8};
///
/// let mut out = vec![1];
/// v8::serialize_into(&Value::Null, &mut out)?;
/// assert_eq!(out, [1, 0xff, 15, b'0']);
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// # Errors
/// As [`serialize`]; what is appended then is not a message.
pub fn serialize_into(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode::encode(value, out)
}

/// Reads a value, header included. What follows the value is ignored, as Node does.
///
/// ```
/// use blacklight::child_process::{Limits, Value, v8};
///
/// let value = v8::deserialize(b"\xff\x0fo\"\x01aI\x02{\x01", &Limits::default())?;
/// assert_eq!(value, Value::object([("a", 1)]));
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// It takes memory in proportion to the length of the input, whatever the input says: at most 150
/// bytes for each byte, when all of it are objects of one byte; text takes at most two.
///
/// # Errors
/// [`CodecError::Malformed`], or [`CodecError::TooLong`] and [`CodecError::TooDeep`] with the limit.
pub fn deserialize(bytes: &[u8], limits: &Limits) -> Result<Value, CodecError> {
    if bytes.len() > limits.max_message() {
        return Err(CodecError::TooLong { limit: limits.max_message() });
    }
    decode::decode(bytes, limits.max_depth())
}
