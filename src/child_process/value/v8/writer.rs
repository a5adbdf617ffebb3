//! The bytes of a message, one after the other: numbers, lengths, strings.
//!
//! Invariant: the code units of UTF-16 begin at an even offset from the beginning of the message.

use super::super::{BigInt, CodecError, JsString};
use super::tags;

/// The length of a part must fit into the 31 bits that the frame around it has.
const MAX_LENGTH: usize = i32::MAX as usize;

pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Where the message begins, from which alignment is counted.
    start: usize,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Writer<'o> {
        let start = out.len();
        Writer { out, start }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn tag(&mut self, tag: u8) {
        self.out.push(tag);
    }

    #[inline]
    pub(super) fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    #[inline]
    pub(super) fn length(&mut self, length: usize) -> Result<(), CodecError> {
        if length > MAX_LENGTH {
            return Err(CodecError::TooLong { limit: MAX_LENGTH });
        }
        self.varint(length as u32);
        Ok(())
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.length(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    pub(super) fn int32(&mut self, number: i32) {
        self.tag(tags::INT32);
        self.varint((number << 1 ^ number >> 31) as u32);
    }

    #[inline]
    pub(super) fn double(&mut self, number: f64) {
        // The bits of a NaN are of no meaning, and V8 sends one kind only.
        let number = if number.is_nan() { f64::NAN } else { number };
        self.out.extend_from_slice(&number.to_ne_bytes());
    }

    #[inline]
    pub(super) fn tagged_double(&mut self, number: f64) {
        self.tag(tags::DOUBLE);
        self.double(number);
    }

    #[inline]
    pub(super) fn number(&mut self, number: f64) {
        match small(number) {
            Some(small) => self.int32(small),
            None => self.tagged_double(number),
        }
    }

    pub(super) fn bigint(&mut self, number: &BigInt) -> Result<(), CodecError> {
        number.with_digits(|negative, digits| {
            if digits.len() > MAX_LENGTH / 16 {
                return Err(CodecError::TooLong { limit: MAX_LENGTH });
            }
            self.varint((digits.len() as u32 * 8) << 1 | u32::from(negative));
            for digit in digits {
                self.out.extend_from_slice(&digit.to_le_bytes());
            }
            Ok(())
        })
    }

    #[inline]
    pub(super) fn string(&mut self, text: &JsString) -> Result<(), CodecError> {
        let bytes = match text.utf8() {
            Ok(bytes) => bytes,
            Err(units) => return self.utf16(units.len(), units.iter().copied()),
        };
        if bytes.is_ascii() {
            self.tag(tags::LATIN1);
            return self.bytes(bytes);
        }
        let text = text.as_str().unwrap_or_default();
        let characters = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        // Up to U+00FF, the first byte in UTF-8 is at most C3.
        if bytes.iter().all(|byte| *byte < 0xc4) {
            self.tag(tags::LATIN1);
            self.length(characters)?;
            let start = self.out.len();
            self.out.resize(start + characters, 0);
            for (byte, c) in self.out[start..].iter_mut().zip(text.chars()) {
                *byte = u32::from(c) as u8;
            }
            return Ok(());
        }
        let pairs = bytes.iter().filter(|byte| **byte >= 0xf0).count();
        self.utf16(characters + pairs, text.encode_utf16())
    }

    pub(super) fn utf16(
        &mut self,
        units: usize,
        text: impl Iterator<Item = u16>,
    ) -> Result<(), CodecError> {
        let length = units.saturating_mul(2);
        // V8 reads the code units in place, so they begin at an even offset.
        let size = 1 + varint_size(length);
        if !(self.out.len() - self.start + size).is_multiple_of(2) {
            self.tag(tags::PADDING);
        }
        self.tag(tags::UTF16);
        self.length(length)?;
        let start = self.out.len();
        self.out.resize(start + length, 0);
        for (bytes, unit) in self.out[start..].chunks_exact_mut(2).zip(text) {
            bytes.copy_from_slice(&unit.to_ne_bytes());
        }
        Ok(())
    }

    /// An element's or property's key.
    pub(super) fn index(&mut self, index: u32) {
        match i32::try_from(index) {
            Ok(index) => self.int32(index),
            Err(_) => self.tagged_double(f64::from(index)),
        }
    }
}

/// The number as V8's small integer, which −0 is not.
pub(super) fn small(number: f64) -> Option<i32> {
    let whole = number as i32;
    (f64::from(whole).to_bits() == number.to_bits()).then_some(whole)
}

fn varint_size(length: usize) -> usize {
    (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize
}
