//! The `json` serialization: what `JSON.stringify` writes and `JSON.parse` reads.
//!
//! Not `serde_json`'s reader and writer, because a message may hold what those refuse: lone
//! surrogates, which JavaScript escapes, and numbers that overflow to infinity; because the last
//! digit of numbers shall be right without a feature that a dependent may or may not set; and
//! because depth shall cost no stack.

mod parse;
mod serde;
mod write;

use std::borrow::Cow;

use super::{CodecError, Limits, Value};

/// Writes a value as `JSON.stringify` does, in compact form.
///
/// What JSON has no word for becomes what it becomes in Node: properties that are `undefined` are
/// left out, elements are `null` like NaN and the infinities; a `Date` is its ISO text, a `Buffer`
/// `{"type":"Buffer","data":[…]}`, a typed array an object with its elements, and maps, sets,
/// errors and regular expressions are `{}`.
///
/// ```
/// use blacklight::child_process::{Value, json};
///
/// let value = Value::object([("n", Value::from(f64::NAN)), ("u", Value::Undefined)]);
/// assert_eq!(json::stringify(&value)?, br#"{"n":null}"#);
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// # Errors
/// [`CodecError::Unsendable`] for a bigint, a cycle, and `undefined` alone. [`CodecError::TooLong`]
/// above the default of [`Limits::message`]: one object in many places is written many times.
pub fn stringify(value: &Value) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(64);
    stringify_into(value, &mut out, Limits::default().max_message())?;
    Ok(out)
}

/// Appends a value to bytes that are there already, at most `limit` bytes of it.
///
/// ```
/// use blacklight::child_process::{Value, json};
///
/// let mut line = Vec::new();
/// json::stringify_into(&Value::array([1, 2]), &mut line, 100)?;
/// line.push(b'\n');
/// assert_eq!(line, b"[1,2]\n");
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// # Errors
/// As [`stringify()`], with this limit; what is appended then is not a message.
pub fn stringify_into(value: &Value, out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    write::write(value, out, limit)
}

/// Reads a text as Node reads a line of its channel: bytes that are not UTF-8 become U+FFFD, white
/// space around the value is skipped.
///
/// ```
/// use blacklight::child_process::{Limits, json};
///
/// let value = json::parse(br#" {"b":1,"0":[true,"\ud83d\ude00"],"b":2} "#, &Limits::default())?;
/// assert_eq!(format!("{value:?}"), r#"{ "0": [true, "😀"], "b": 2 }"#);
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
///
/// # Errors
/// [`CodecError::Malformed`] for what is no JSON, an empty line among it; [`CodecError::TooLong`]
/// and [`CodecError::TooDeep`] with the limit.
pub fn parse(text: &[u8], limits: &Limits) -> Result<Value, CodecError> {
    if text.len() > limits.max_message() {
        return Err(CodecError::TooLong { limit: limits.max_message() });
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(text),
    };
    parse::parse(&text, limits.max_depth())
}

/// The length of what needs no attention in a string: no quotation mark, backslash or control
/// character.
#[inline]
fn special(bytes: &[u8]) -> usize {
    // Most strings are keys and words, which end in the first eight bytes.
    let Some(first) = bytes.first_chunk() else { return by_bytes(bytes) };
    if let Some(found) = in_word(*first) {
        return found;
    }
    // The compiler makes vector instructions of a block without a way out in the middle.
    let (blocks, _) = bytes[8..].as_chunks::<16>();
    let plain = |block: &&[u8; 16]| {
        let attention = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
        !block.iter().fold(false, |found, byte| found | attention(*byte))
    };
    let mut length = 8 + 16 * blocks.iter().take_while(plain).count();
    while let Some(word) = bytes[length..].first_chunk() {
        if let Some(found) = in_word(*word) {
            return length + found;
        }
        length += 8;
    }
    length + by_bytes(&bytes[length..])
}

/// Where in eight bytes the first one is that needs attention.
#[inline]
fn in_word(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The high bit of each byte that is below `n`, exact up to the first one that is.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & (ONES << 7);
    let word = u64::from_le_bytes(bytes);
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    let found = below(word, 0x20) | quote | backslash;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[inline]
fn by_bytes(bytes: &[u8]) -> usize {
    let found = bytes.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
    found.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::special;

    #[test]
    fn what_needs_attention_is_found_at_every_offset() {
        for byte in 0..=255u8 {
            let expected = byte < 0x20 || byte == b'"' || byte == b'\\';
            for length in 1..80 {
                for at in 0..length {
                    let mut text = vec![0xff; length];
                    text[at] = byte;
                    let found = if expected { at } else { length };
                    assert_eq!(special(&text), found, "{byte} at {at} of {length}");
                }
            }
        }
    }
}
