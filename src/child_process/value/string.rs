//! A JavaScript string: UTF-16 code units, of which nearly all are well-formed text.
//!
//! Well-formed text is kept as UTF-8, short text in place: most keys and many values are short, and
//! an allocation for each would be most of the work of reading a message. Invariant: each string
//! has one form only, so that comparing can go by it: the wide form holds at least one lone
//! surrogate, the boxed one more than what fits in place, and unused bytes in place are zero.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A JavaScript string, which unlike a Rust one may hold lone surrogates.
///
/// ```
/// use blacklight::child_process::JsString;
///
/// let text = JsString::from("wörld");
/// assert_eq!(text.as_str(), Some("wörld"));
/// let lone = JsString::from_utf16(&[0x61, 0xd800]);
/// assert_eq!(lone.as_str(), None);
/// assert_eq!(lone.to_str_lossy(), "a\u{fffd}");
/// assert_eq!(lone.utf16().collect::<Vec<_>>(), [0x61, 0xd800]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct JsString(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Short { length: u8, bytes: [u8; SHORT] },
    Text(Box<str>),
    Wide(Box<[u16]>),
}

/// How many bytes fit in place: with them a string is as large as a `String`.
const SHORT: usize = 22;

impl JsString {
    /// The string of these code units, whatever they are.
    ///
    /// ```
    /// use blacklight::child_process::JsString;
    ///
    /// assert_eq!(JsString::from_utf16(&[0x20ac]), JsString::from("€"));
    /// ```
    #[must_use]
    pub fn from_utf16(units: &[u16]) -> JsString {
        JsString::from_units(units.iter().copied())
    }

    fn from_units(units: impl ExactSizeIterator<Item = u16> + Clone) -> JsString {
        let mut text = String::with_capacity(units.len());
        for unit in char::decode_utf16(units.clone()) {
            match unit {
                Ok(c) => text.push(c),
                Err(_) => return JsString(Form::Wide(units.collect())),
            }
        }
        JsString::from(text)
    }

    /// Text that is short and known to be UTF-8.
    #[inline]
    fn short(text: &[u8]) -> Option<JsString> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(JsString(Form::Short { length: text.len() as u8, bytes }))
    }

    /// The string of code units in the byte order of this machine; an odd last byte is ignored.
    pub(super) fn from_utf16_bytes(bytes: &[u8]) -> JsString {
        JsString::from_units(bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])))
    }

    /// The string whose characters are these bytes: U+0000 to U+00FF.
    #[inline]
    pub(super) fn from_latin1(bytes: &[u8]) -> JsString {
        if bytes.is_ascii() {
            if let Some(short) = JsString::short(bytes) {
                return short;
            }
            if let Ok(text) = std::str::from_utf8(bytes) {
                return JsString(Form::Text(text.into()));
            }
        }
        let wide = bytes.iter().filter(|b| !b.is_ascii()).count();
        let mut text = String::with_capacity(bytes.len() + wide);
        text.extend(bytes.iter().map(|b| char::from(*b)));
        JsString::from(text)
    }

    /// The text, unless there are lone surrogates in it.
    ///
    /// ```
    /// # use blacklight::child_process::JsString;
    /// assert_eq!(JsString::from("abc").as_str(), Some("abc"));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Form::Short { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).ok()
            }
            Form::Text(text) => Some(text),
            Form::Wide(_) => None,
        }
    }

    /// The text, with U+FFFD in the place of each lone surrogate.
    ///
    /// ```
    /// # use blacklight::child_process::JsString;
    /// assert_eq!(JsString::from_utf16(&[0xdc00]).to_str_lossy(), "\u{fffd}");
    /// ```
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Wide(units) => Cow::Owned(String::from_utf16_lossy(units)),
            _ => Cow::Borrowed(self.as_str().unwrap_or_default()),
        }
    }

    /// The text as an owned `String`.
    ///
    /// # Errors
    /// The string itself, when there are lone surrogates in it.
    ///
    /// ```
    /// # use blacklight::child_process::JsString;
    /// assert_eq!(JsString::from("abc").into_string(), Ok(String::from("abc")));
    /// ```
    pub fn into_string(self) -> Result<String, JsString> {
        match self.0 {
            Form::Text(text) => Ok(text.into_string()),
            _ => self.as_str().map(str::to_owned).ok_or(self),
        }
    }

    /// The code units, which is what JavaScript counts and indexes.
    ///
    /// ```
    /// # use blacklight::child_process::JsString;
    /// assert_eq!(JsString::from("😀").utf16().count(), 2);
    /// ```
    pub fn utf16(&self) -> impl Iterator<Item = u16> + '_ {
        let (text, wide) = match &self.0 {
            Form::Wide(units) => ("", &units[..]),
            _ => (self.as_str().unwrap_or_default(), &[][..]),
        };
        text.encode_utf16().chain(wide.iter().copied())
    }

    /// Whether there is no code unit in it.
    ///
    /// ```
    /// # use blacklight::child_process::JsString;
    /// assert!(JsString::from("").is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.utf8() == Ok(b"")
    }

    /// Text that is in place, with the zeros behind it, and its length.
    #[inline]
    pub(super) fn in_place(&self) -> Option<(&[u8; SHORT], usize)> {
        match &self.0 {
            Form::Short { length, bytes } => Some((bytes, usize::from(*length))),
            _ => None,
        }
    }

    /// The bytes of text, or the code units of what is none.
    #[inline]
    pub(super) fn utf8(&self) -> Result<&[u8], &[u16]> {
        match &self.0 {
            Form::Short { length, bytes } => Ok(&bytes[..usize::from(*length)]),
            Form::Text(text) => Ok(text.as_bytes()),
            Form::Wide(units) => Err(units),
        }
    }
}

impl Hash for JsString {
    /// As the bytes of the text, so that a table of these can be asked for a `str`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.utf8() {
            Ok(text) => text.hash(state),
            Err(units) => units.hash(state),
        }
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Wide(units) => {
                f.write_str("\"")?;
                for unit in char::decode_utf16(units.iter().copied()) {
                    match unit {
                        Ok(c) => write!(f, "{}", c.escape_debug())?,
                        Err(lone) => write!(f, "\\u{{{:x}}}", lone.unpaired_surrogate())?,
                    }
                }
                f.write_str("\"")
            }
            _ => fmt::Debug::fmt(self.as_str().unwrap_or_default(), f),
        }
    }
}

impl fmt::Display for JsString {
    /// The text, with U+FFFD in the place of each lone surrogate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_str_lossy())
    }
}

impl Default for JsString {
    fn default() -> JsString {
        JsString(Form::Short { length: 0, bytes: [0; SHORT] })
    }
}

impl From<String> for JsString {
    fn from(text: String) -> JsString {
        JsString::short(text.as_bytes()).unwrap_or_else(|| JsString(Form::Text(text.into())))
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> JsString {
        JsString::short(text.as_bytes()).unwrap_or_else(|| JsString(Form::Text(text.into())))
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, other: &str) -> bool {
        self.utf8() == Ok(other.as_bytes())
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin1_and_utf16_meet_in_one_form() {
        assert_eq!(JsString::from_latin1(b"\xe9a"), JsString::from("éa"));
        assert_eq!(JsString::from_latin1(b"plain"), JsString::from("plain"));
        let bytes: Vec<u8> = "é€😀".encode_utf16().flat_map(u16::to_ne_bytes).collect();
        assert_eq!(JsString::from_utf16_bytes(&bytes), JsString::from("é€😀"));
    }

    #[test]
    fn short_and_long_text_are_the_same_kind_of_string() {
        for length in [0, 1, 21, 22, 23, 1000] {
            for letter in ["x", "é"] {
                let text = letter.repeat(length);
                let string = JsString::from(text.as_str());
                assert_eq!(string.as_str(), Some(&*text));
                assert_eq!(string, JsString::from(text.clone()));
                assert_eq!(string, JsString::from_utf16(&text.encode_utf16().collect::<Vec<_>>()));
                assert_eq!(string.into_string(), Ok(text));
            }
        }
        assert_eq!(size_of::<JsString>(), 24);
    }

    #[test]
    fn lone_surrogates_survive() {
        for units in [vec![0xd800], vec![0xdc00, 0xd800], vec![0x61, 0xdbff, 0x62]] {
            let string = JsString::from_utf16(&units);
            assert_eq!(string.utf16().collect::<Vec<_>>(), units);
            assert!(string.clone().into_string().is_err());
        }
        assert_eq!(format!("{:?}", JsString::from_utf16(&[0x61, 0xd800])), "\"a\\u{d800}\"");
    }
}
