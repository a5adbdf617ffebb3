//! The bytes of a message, front to back: numbers, lengths, strings.
//!
//! Invariant: nothing is read behind the end, and a length is checked against what is left before
//! anything is made of it.

use super::super::{BigInt, CodecError, JsString};
use super::tags;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn error(&self, what: &'static str) -> CodecError {
        CodecError::Malformed { what, offset: self.at }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("end of message"))?;
        self.at += 1;
        Ok(byte)
    }

    /// The next tag behind any padding, which stays unread.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, CodecError> {
        loop {
            match self.bytes.get(self.at) {
                Some(&tags::PADDING) => self.at += 1,
                Some(tag) => return Ok(*tag),
                None => return Err(self.error("end of message")),
            }
        }
    }

    /// The next tag behind any padding.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<u8, CodecError> {
        let tag = self.peek()?;
        self.at += 1;
        Ok(tag)
    }

    /// Steps over the tag that [`Reader::peek`] has shown.
    #[inline]
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Steps over a tag and the padding before it, if that is what comes.
    pub(super) fn skip_if(&mut self, tag: u8) -> bool {
        let left = &self.bytes[self.at..];
        let padding = left.iter().take_while(|byte| **byte == tags::PADDING).count();
        let found = left.get(padding) == Some(&tag);
        if found {
            self.at += padding + 1;
        }
        found
    }

    /// LEB128. As in V8, what does not fit into 32 bits is dropped and five bytes are all.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, CodecError> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A tag inside an object, which V8 reads as a number of eight bits: an over-long form counts.
    pub(super) fn small_tag(&mut self) -> Result<u8, CodecError> {
        let low = self.byte()?;
        Ok(if low < 0x80 { low } else { low & 0x7f | self.byte()? << 7 })
    }

    #[inline]
    pub(super) fn zigzag(&mut self) -> Result<i32, CodecError> {
        let value = self.varint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..length).ok_or_else(|| self.error("length behind the end"))?;
        self.at += length;
        Ok(taken)
    }

    /// A length and as many bytes.
    #[inline]
    pub(super) fn block(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.varint()?;
        self.take(length as usize)
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64, CodecError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(f64::from_ne_bytes(bytes))
    }

    pub(super) fn bigint(&mut self) -> Result<BigInt, CodecError> {
        let bits = self.varint()?;
        let (negative, length) = (bits & 1 == 1, (bits >> 1) as usize);
        if negative && length == 0 {
            return Err(self.error("minus zero as a bigint"));
        }
        Ok(BigInt::from_le_bytes(negative, self.take(length)?))
    }

    /// What follows the tag of a string; nothing if the tag is not one of a string.
    #[inline]
    pub(super) fn string_body(&mut self, tag: u8) -> Result<Option<JsString>, CodecError> {
        Ok(Some(match tag {
            tags::LATIN1 => JsString::from_latin1(self.block()?),
            tags::UTF16 => {
                let length = self.varint()? as usize;
                if !length.is_multiple_of(2) {
                    return Err(self.error("half a code unit"));
                }
                JsString::from_utf16_bytes(self.take(length)?)
            }
            tags::UTF8 => JsString::from(&*String::from_utf8_lossy(self.block()?)),
            _ => return Ok(None),
        }))
    }

    /// A string with its tag.
    pub(super) fn string(&mut self) -> Result<JsString, CodecError> {
        let mut tag = self.tag()?;
        while tag == tags::OBJECT_COUNT {
            self.varint()?;
            tag = self.tag()?;
        }
        self.string_body(tag)?.ok_or_else(|| self.error("no string"))
    }

    /// The header: the version.
    pub(super) fn header(&mut self) -> Result<u32, CodecError> {
        if self.byte()? != tags::HEADER {
            return Err(CodecError::Malformed { what: "no header", offset: 0 });
        }
        let version = self.varint()?;
        if !tags::VERSIONS.contains(&version) {
            return Err(self.error("unsupported version"));
        }
        Ok(version)
    }
}
