//! Writing JSON (ECMA-262, JSON.stringify without a replacer).

use std::collections::btree_map;
use std::slice;

use super::super::number::{write_integer, write_number};
use super::super::{Array, CodecError, JsString, Kind, UNDEFINED, Value, View, ViewKind};
use super::special;

pub(super) fn write(value: &Value, out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    if value.is_undefined() {
        return Err(CodecError::Unsendable("undefined is no JSON"));
    }
    let start = out.len();
    let mut output = Output { out, start, limit };
    // Most messages are flat: only what has something open inside it is on the heap.
    let mut innermost = output.value(value)?;
    let mut open = Vec::new();
    loop {
        output.check()?;
        let Some(frame) = innermost.as_mut() else { return Ok(()) };
        match frame.advance(&mut output)? {
            Some(value) => {
                if let Some(inner) = output.value(value)? {
                    open.extend(innermost.replace(inner));
                }
            }
            None => innermost = open.pop(),
        }
    }
}

struct Output<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    limit: usize,
}

impl Output<'_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// That it has not become too long.
    fn check(&self) -> Result<(), CodecError> {
        if self.out.len() - self.start > self.limit {
            return Err(CodecError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    /// Writes a value, or its beginning if there are values inside.
    fn value<'a>(&mut self, value: &'a Value) -> Result<Option<Frame<'a>>, CodecError> {
        match value {
            Value::Undefined | Value::Null => self.text("null"),
            Value::Bool(truth) => self.text(if *truth { "true" } else { "false" }),
            Value::Number(number) => self.number(*number),
            Value::String(text) => self.string(text),
            Value::BigInt(_) => return Err(CodecError::Unsendable("JSON has no bigints")),
            Value::Cycle(_) => return Err(CodecError::Unsendable("JSON has no cycles")),
            Value::Object(object) => return self.kind(object.kind()),
        }
        Ok(None)
    }

    fn kind<'a>(&mut self, kind: &'a Kind) -> Result<Option<Frame<'a>>, CodecError> {
        match kind {
            Kind::Plain(properties) => {
                self.text("{");
                return Ok(Some(Frame::Object { left: properties.entries().iter(), first: true }));
            }
            Kind::Array(array) => {
                self.text("[");
                return Ok(Some(Frame::array(array)));
            }
            Kind::Date(milliseconds) => self.date(*milliseconds),
            Kind::View(view) => self.view(view)?,
            Kind::Boolean(truth) => self.text(if *truth { "true" } else { "false" }),
            Kind::Number(number) => self.number(*number),
            Kind::String(text) => self.string(text),
            Kind::BigInt(_) => return Err(CodecError::Unsendable("JSON has no bigints")),
            Kind::Map(_)
            | Kind::Set(_)
            | Kind::Error(_)
            | Kind::RegExp(_)
            | Kind::ArrayBuffer(_) => self.text("{}"),
        }
        Ok(None)
    }

    fn number(&mut self, number: f64) {
        if number.is_finite() { write_number(self.out, number) } else { self.text("null") }
    }

    fn string(&mut self, text: &JsString) {
        self.out.push(b'"');
        // The zeros behind short text need attention too, so this is about the text as a whole. All
        // of the room is copied, because a copy of a fixed length is a few instructions.
        if let Some((bytes, length)) = text.in_place()
            && special(bytes) >= length
        {
            let end = self.out.len() + length;
            self.out.extend_from_slice(bytes);
            self.out.truncate(end);
            self.out.push(b'"');
            return;
        }
        match text.utf8() {
            Ok(text) => self.escaped(text),
            Err(units) => {
                let mut one = [0; 4];
                for unit in char::decode_utf16(units.iter().copied()) {
                    match unit {
                        Ok(c) => self.escaped(c.encode_utf8(&mut one).as_bytes()),
                        Err(lone) => self.escape(lone.unpaired_surrogate()),
                    }
                }
            }
        }
        self.out.push(b'"');
    }

    /// Text with what must be escaped escaped; what lies between is copied in one piece.
    fn escaped(&mut self, bytes: &[u8]) {
        let mut done = 0;
        loop {
            let at = done + special(&bytes[done..]);
            self.out.extend_from_slice(&bytes[done..at]);
            let Some(byte) = bytes.get(at) else { return };
            match *byte {
                b'"' => self.text("\\\""),
                b'\\' => self.text("\\\\"),
                b'\n' => self.text("\\n"),
                b'\r' => self.text("\\r"),
                b'\t' => self.text("\\t"),
                8 => self.text("\\b"),
                12 => self.text("\\f"),
                other => self.escape(u16::from(other)),
            }
            done = at + 1;
        }
    }

    fn escape(&mut self, unit: u16) {
        self.text("\\u");
        for shift in [12, 8, 4, 0] {
            self.out.push(b"0123456789abcdef"[usize::from(unit >> shift & 15)]);
        }
    }

    fn view(&mut self, view: &View) -> Result<(), CodecError> {
        match view.kind() {
            ViewKind::DataView => self.text("{}"),
            ViewKind::Buffer => {
                self.text("{\"type\":\"Buffer\",\"data\":[");
                for (number, byte) in view.bytes().iter().enumerate() {
                    if number > 0 {
                        self.out.push(b',');
                    }
                    write_integer(self.out, i64::from(*byte));
                }
                self.text("]}");
            }
            ViewKind::BigInt64Array | ViewKind::BigUint64Array if !view.is_empty() => {
                return Err(CodecError::Unsendable("JSON has no bigints"));
            }
            _ => {
                for index in 0..view.len() {
                    self.text(if index == 0 { "{\"" } else { ",\"" });
                    write_integer(self.out, index as i64);
                    self.text("\":");
                    self.number(view.element(index).and_then(|n| n.as_f64()).unwrap_or(f64::NAN));
                }
                self.text(if view.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    fn date(&mut self, milliseconds: f64) {
        match iso(milliseconds) {
            Some(text) => {
                self.out.push(b'"');
                self.text(&text);
                self.out.push(b'"');
            }
            None => self.text("null"),
        }
    }
}

/// `Date.prototype.toISOString`; nothing for a date that is none.
pub(super) fn iso(milliseconds: f64) -> Option<String> {
    if milliseconds.is_nan() {
        return None;
    }
    let milliseconds = milliseconds as i64;
    let (days, time) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, millisecond) = (time / 1000 % 60, time % 1000);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are
/// counted from March, so that the day that leap years add is the last one; eras are 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    (year + era * 400 + i64::from(month <= 2), month, date)
}

/// An object or array of which the beginning has been written.
enum Frame<'a> {
    Object { left: slice::Iter<'a, (JsString, Value)>, first: bool },
    Array { dense: slice::Iter<'a, Value>, holes: Option<Box<Holes<'a>>>, first: bool },
}

/// What follows the first hole of an array.
struct Holes<'a> {
    sparse: std::iter::Peekable<btree_map::Iter<'a, u32, Value>>,
    next: usize,
    length: usize,
}

impl<'a> Frame<'a> {
    fn array(array: &'a Array) -> Frame<'a> {
        let holes = (array.len() > array.dense().len()).then(|| {
            let (sparse, next) = (array.sparse().peekable(), array.dense().len());
            Box::new(Holes { sparse, next, length: array.len() })
        });
        Frame::Array { dense: array.dense().iter(), holes, first: true }
    }

    /// Writes up to the next value with values inside, which is given back, or to the end.
    fn advance(&mut self, output: &mut Output<'_>) -> Result<Option<&'a Value>, CodecError> {
        match self {
            Frame::Object { left, first } => {
                for (key, value) in left.by_ref() {
                    if value.is_undefined() {
                        continue;
                    }
                    if !std::mem::replace(first, false) {
                        output.out.push(b',');
                    }
                    output.string(key);
                    output.out.push(b':');
                    if matches!(value, Value::Object(_)) {
                        return Ok(Some(value));
                    }
                    output.value(value)?;
                    output.check()?;
                }
                output.out.push(b'}');
            }
            Frame::Array { dense, holes, first } => {
                let mut rest = || holes.as_mut().and_then(|holes| holes.next());
                while let Some(value) = dense.next().or_else(&mut rest) {
                    if !std::mem::replace(first, false) {
                        output.out.push(b',');
                    }
                    if matches!(value, Value::Object(_)) {
                        return Ok(Some(value));
                    }
                    output.value(value)?;
                    output.check()?;
                }
                output.out.push(b']');
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Holes<'a> {
    type Item = &'a Value;

    /// The next element or, for a hole, `undefined`.
    fn next(&mut self) -> Option<&'a Value> {
        if self.next == self.length {
            return None;
        }
        let here = self.sparse.next_if(|(index, _)| **index as usize == self.next);
        self.next += 1;
        Some(here.map_or(&UNDEFINED, |(_, value)| value))
    }
}
