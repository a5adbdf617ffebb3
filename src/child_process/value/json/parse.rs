//! Reading JSON (RFC 8259, as ECMA-262's JSON.parse has it).
//!
//! Objects and arrays that are being read are on a list, not on the stack. Text has been checked to
//! be UTF-8 as a whole, so strings are copied in pieces that lie between escapes.

use super::super::properties::Filling;
use super::super::{Array, CodecError, JsString, Kind, Properties, Value};
use super::special;

pub(super) fn parse(text: &str, max_depth: usize) -> Result<Value, CodecError> {
    let mut input = Input { text, bytes: text.as_bytes(), at: 0 };
    let mut frame = match input.begin()? {
        Begun::Value(value) => return input.finish().map(|()| value),
        Begun::Frame(_) if max_depth == 0 => return Err(CodecError::TooDeep { limit: max_depth }),
        Begun::Frame(frame) => frame,
    };
    // What is around the innermost one.
    let mut open: Vec<Frame> = Vec::new();
    let mut inside = None;
    loop {
        if let Some(inner) = frame.read_on(inside.take(), &mut input)? {
            if open.len() + 1 == max_depth {
                return Err(CodecError::TooDeep { limit: max_depth });
            }
            open.push(std::mem::replace(&mut frame, inner));
            continue;
        }
        let value = frame.finish();
        frame = match open.pop() {
            Some(frame) => frame,
            None => return input.finish().map(|()| value),
        };
        inside = Some(value);
    }
}

/// What is being read: the elements so far, or the properties with the key of the next.
enum Frame {
    Array(Vec<Value>),
    Object(Filling, JsString),
}

enum Begun {
    Value(Value),
    Frame(Frame),
}

impl Frame {
    /// Reads values up to one with values inside, of which the beginning is given back, or to the
    /// end. `inside` is the one that was given back last.
    fn read_on(
        &mut self,
        mut inside: Option<Value>,
        input: &mut Input<'_>,
    ) -> Result<Option<Frame>, CodecError> {
        // Nearly all is values without others inside, so these stay in a loop of their own.
        match self {
            Frame::Array(elements) => loop {
                let value = match inside.take() {
                    Some(value) => value,
                    None => match input.begin()? {
                        Begun::Value(value) => value,
                        Begun::Frame(inner) => return Ok(Some(inner)),
                    },
                };
                elements.push(value);
                match input.token() {
                    Some(b',') => {}
                    Some(b']') => return Ok(None),
                    _ => return Err(input.unexpected("comma or bracket expected")),
                }
            },
            Frame::Object(filling, key) => loop {
                let value = match inside.take() {
                    Some(value) => value,
                    None => match input.begin()? {
                        Begun::Value(value) => value,
                        Begun::Frame(inner) => return Ok(Some(inner)),
                    },
                };
                filling.set(std::mem::take(key), value);
                match input.token() {
                    Some(b',') => *key = input.key()?,
                    Some(b'}') => return Ok(None),
                    _ => return Err(input.unexpected("comma or brace expected")),
                }
            },
        }
    }

    fn finish(self) -> Value {
        match self {
            Frame::Array(elements) => Kind::Array(Array::from(elements)).into(),
            Frame::Object(filling, _) => Kind::Plain(filling.finish()).into(),
        }
    }
}

struct Input<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn error(&self, what: &'static str) -> CodecError {
        CodecError::Malformed { what, offset: self.at }
    }

    /// An error at the byte that has just been read.
    fn unexpected(&self, what: &'static str) -> CodecError {
        CodecError::Malformed { what, offset: self.at.saturating_sub(1) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte behind white space.
    fn token(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
        self.at += 1;
        None
    }

    fn finish(&mut self) -> Result<(), CodecError> {
        match self.token() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("end expected")),
        }
    }

    /// The next value, or the beginning of one with values inside.
    fn begin(&mut self) -> Result<Begun, CodecError> {
        let value = match self.token() {
            Some(b'"') => Value::String(self.string()?),
            Some(byte @ (b'-' | b'0'..=b'9')) => Value::Number(self.number(byte)?),
            Some(b'{') => {
                let here = self.at;
                if self.token() != Some(b'}') {
                    self.at = here;
                    return Ok(Begun::Frame(Frame::Object(Filling::default(), self.key()?)));
                }
                Kind::Plain(Properties::new()).into()
            }
            Some(b'[') => {
                let here = self.at;
                if self.token() != Some(b']') {
                    self.at = here;
                    return Ok(Begun::Frame(Frame::Array(Vec::new())));
                }
                Kind::Array(Array::new()).into()
            }
            Some(b't') => self.word("rue", Value::Bool(true))?,
            Some(b'f') => self.word("alse", Value::Bool(false))?,
            Some(b'n') => self.word("ull", Value::Null)?,
            _ => return Err(self.unexpected("value expected")),
        };
        Ok(Begun::Value(value))
    }

    fn word(&mut self, rest: &str, value: Value) -> Result<Value, CodecError> {
        if !self.bytes[self.at..].starts_with(rest.as_bytes()) {
            return Err(self.unexpected("value expected"));
        }
        self.at += rest.len();
        Ok(value)
    }

    /// A key with its colon.
    fn key(&mut self) -> Result<JsString, CodecError> {
        if self.token() != Some(b'"') {
            return Err(self.unexpected("key expected"));
        }
        let key = self.string()?;
        if self.token() != Some(b':') {
            return Err(self.unexpected("colon expected"));
        }
        Ok(key)
    }

    fn number(&mut self, first: u8) -> Result<f64, CodecError> {
        let start = self.at - 1;
        let mut digit = first;
        if first == b'-' {
            digit = self.peek().ok_or_else(|| self.error("digit expected"))?;
            self.at += 1;
        }
        if !digit.is_ascii_digit() {
            return Err(self.unexpected("digit expected"));
        }
        let mut whole = u64::from(digit - b'0');
        if digit != b'0' {
            while let Some(digit @ b'0'..=b'9') = self.peek() {
                whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                self.at += 1;
            }
        }
        let plain = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Up to 15 digits a whole number is exact.
        if plain == self.at && plain - start <= 15 {
            return Ok(if first == b'-' { -(whole as f64) } else { whole as f64 });
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        text.parse().map_err(|_| self.error("no number"))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), CodecError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("digit expected")) } else { Ok(()) }
    }

    /// The rest of a string behind its quotation mark.
    fn string(&mut self) -> Result<JsString, CodecError> {
        let mut start = self.at;
        self.at += special(&self.bytes[self.at..]);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(self.piece(start, self.at - 1).into());
        }
        let mut text = Unescaped::default();
        loop {
            text.push(self.piece(start, self.at));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.finish());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("string without an end")),
            }
            start = self.at;
            self.at += special(&self.bytes[self.at..]);
        }
    }

    fn piece(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn escape(&mut self, text: &mut Unescaped) -> Result<(), CodecError> {
        let byte = self.peek().ok_or_else(|| self.error("string without an end"))?;
        self.at += 1;
        text.push(match byte {
            b'"' => "\"",
            b'\\' => "\\",
            b'/' => "/",
            b'b' => "\u{8}",
            b'f' => "\u{c}",
            b'n' => "\n",
            b'r' => "\r",
            b't' => "\t",
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
                let unit = digits.iter().try_fold(0, |unit, digit| {
                    char::from(*digit).to_digit(16).map(|digit| unit << 4 | digit as u16)
                });
                let unit = unit.filter(|_| digits.len() == 4);
                text.push_unit(unit.ok_or_else(|| self.error("four hexadecimal digits expected"))?);
                self.at += 4;
                return Ok(());
            }
            _ => return Err(self.unexpected("unknown escape")),
        });
        Ok(())
    }
}

/// A string with escapes, code units as soon as a surrogate is escaped.
#[derive(Default)]
struct Unescaped {
    text: String,
    units: Vec<u16>,
}

impl Unescaped {
    fn push(&mut self, text: &str) {
        if self.units.is_empty() {
            self.text.push_str(text);
        } else {
            self.units.extend(text.encode_utf16());
        }
    }

    fn push_unit(&mut self, unit: u16) {
        match char::from_u32(u32::from(unit)) {
            Some(c) if self.units.is_empty() => self.text.push(c),
            _ => {
                if self.units.is_empty() {
                    self.units.extend(self.text.encode_utf16());
                }
                self.units.push(unit);
            }
        }
    }

    fn finish(self) -> JsString {
        if self.units.is_empty() { self.text.into() } else { JsString::from_utf16(&self.units) }
    }
}
