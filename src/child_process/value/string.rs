//! A JavaScript string: UTF-16 code units, of which nearly all are well-formed text.
//!
//! Well-formed text is kept as a Rust `String`, so that the common case costs what a `String`
//! costs. Invariant: the wide form holds at least one lone surrogate; so a string has one
//! representation only, and comparing and hashing go by it.

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
    Text(String),
    Wide(Box<[u16]>),
}

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
        JsString(Form::Text(text))
    }

    /// The string of code units in the byte order of this machine; an odd last byte is ignored.
    pub(super) fn from_utf16_bytes(bytes: &[u8]) -> JsString {
        JsString::from_units(bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])))
    }

    /// The string whose characters are these bytes: U+0000 to U+00FF.
    pub(super) fn from_latin1(bytes: &[u8]) -> JsString {
        if bytes.is_ascii()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return JsString(Form::Text(text.to_owned()));
        }
        let wide = bytes.iter().filter(|b| !b.is_ascii()).count();
        let mut text = String::with_capacity(bytes.len() + wide);
        text.extend(bytes.iter().map(|b| char::from(*b)));
        JsString(Form::Text(text))
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
            Form::Text(text) => Cow::Borrowed(text),
            Form::Wide(units) => Cow::Owned(String::from_utf16_lossy(units)),
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
            Form::Text(text) => Ok(text),
            wide @ Form::Wide(_) => Err(JsString(wide)),
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
            Form::Text(text) => (text.as_str(), &[][..]),
            Form::Wide(units) => ("", &units[..]),
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
        self.as_str() == Some("")
    }

    /// The two forms, for those that write them.
    pub(super) fn parts(&self) -> Result<&str, &[u16]> {
        match &self.0 {
            Form::Text(text) => Ok(text),
            Form::Wide(units) => Err(units),
        }
    }
}

impl Hash for JsString {
    /// As the `str` inside, so that a table of these can be asked for a `str`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Form::Text(text) => text.hash(state),
            Form::Wide(units) => units.hash(state),
        }
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Text(text) => fmt::Debug::fmt(text, f),
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
        JsString(Form::Text(String::new()))
    }
}

impl From<String> for JsString {
    fn from(text: String) -> JsString {
        JsString(Form::Text(text))
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> JsString {
        JsString(Form::Text(text.to_owned()))
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
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
    fn lone_surrogates_survive() {
        for units in [vec![0xd800], vec![0xdc00, 0xd800], vec![0x61, 0xdbff, 0x62]] {
            let string = JsString::from_utf16(&units);
            assert_eq!(string.utf16().collect::<Vec<_>>(), units);
            assert!(string.clone().into_string().is_err());
        }
        assert_eq!(format!("{:?}", JsString::from_utf16(&[0x61, 0xd800])), "\"a\\u{d800}\"");
    }
}
