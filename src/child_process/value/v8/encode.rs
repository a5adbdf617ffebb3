//! Writing values, byte for byte as Node v20 does.
//!
//! Objects that are being written are on a list, not on the stack. Only what stands in more than
//! one place is remembered by its number, which the reference count tells.

use std::collections::HashMap;
use std::collections::btree_map;
use std::iter::Enumerate;
use std::slice;

use super::super::number::array_index;
use super::super::{
    Array, BigInt, CodecError, CycleId, ErrorName, ErrorObject, JsString, Kind, Object, Properties,
    Value,
};
use super::tags;

/// The length of a part must fit into the 31 bits that the frame around it has.
const MAX_LENGTH: usize = i32::MAX as usize;

pub(super) fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    let mut output =
        Output { out, start, next_id: 0, shared: HashMap::new(), cycles: HashMap::new() };
    output.out.push(tags::HEADER);
    output.varint(tags::VERSION);
    let mut open = Vec::new();
    let mut next = output.value(value)?;
    loop {
        if let Some(object) = next
            && let Some(frame) = output.object(object)?
        {
            open.push(frame);
        }
        let Some(frame) = open.last_mut() else { return Ok(()) };
        next = frame.advance(&mut output)?;
        if next.is_none() {
            open.pop();
        }
    }
}

struct Output<'o> {
    out: &'o mut Vec<u8>,
    /// Where the message begins, from which alignment is counted.
    start: usize,
    next_id: u32,
    /// The numbers of objects that have other references to them.
    shared: HashMap<*const (), u32>,
    cycles: HashMap<CycleId, u32>,
}

impl Output<'_> {
    fn tag(&mut self, tag: u8) {
        self.out.push(tag);
    }

    fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    fn length(&mut self, length: usize) -> Result<(), CodecError> {
        if length > MAX_LENGTH {
            return Err(CodecError::TooLong { limit: MAX_LENGTH });
        }
        self.varint(length as u32);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.length(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn int32(&mut self, number: i32) {
        self.tag(tags::INT32);
        self.varint((number << 1 ^ number >> 31) as u32);
    }

    fn double(&mut self, number: f64) {
        // The bits of a NaN are of no meaning, and V8 sends one kind only.
        let number = if number.is_nan() { f64::NAN } else { number };
        self.out.extend_from_slice(&number.to_ne_bytes());
    }

    fn tagged_double(&mut self, number: f64) {
        self.tag(tags::DOUBLE);
        self.double(number);
    }

    fn number(&mut self, number: f64) {
        match small(number) {
            Some(small) => self.int32(small),
            None => self.tagged_double(number),
        }
    }

    fn bigint(&mut self, number: &BigInt) -> Result<(), CodecError> {
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

    fn string(&mut self, text: &JsString) -> Result<(), CodecError> {
        let text = match text.parts() {
            Ok(text) => text,
            Err(units) => return self.utf16(units.len(), units.iter().copied()),
        };
        let bytes = text.as_bytes();
        if text.is_ascii() {
            self.tag(tags::LATIN1);
            return self.bytes(bytes);
        }
        let characters = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        // Up to U+00FF, the first byte in UTF-8 is at most C3.
        if bytes.iter().all(|byte| *byte < 0xc4) {
            self.tag(tags::LATIN1);
            self.length(characters)?;
            self.out.extend(text.chars().map(|c| u32::from(c) as u8));
            return Ok(());
        }
        let pairs = bytes.iter().filter(|byte| **byte >= 0xf0).count();
        self.utf16(characters + pairs, text.encode_utf16())
    }

    fn utf16(&mut self, units: usize, text: impl Iterator<Item = u16>) -> Result<(), CodecError> {
        let length = units.saturating_mul(2);
        // V8 reads the code units in place, so they begin at an even offset.
        let size = 1 + varint_size(length);
        if !(self.out.len() - self.start + size).is_multiple_of(2) {
            self.tag(tags::PADDING);
        }
        self.tag(tags::UTF16);
        self.length(length)?;
        self.out.reserve(length);
        self.out.extend(text.flat_map(u16::to_ne_bytes));
        Ok(())
    }

    /// An element's or property's key.
    fn index(&mut self, index: u32) {
        match i32::try_from(index) {
            Ok(index) => self.int32(index),
            Err(_) => self.tagged_double(f64::from(index)),
        }
    }

    /// Writes a value, unless it is an object: that is given back.
    fn value<'a>(&mut self, value: &'a Value) -> Result<Option<&'a Object>, CodecError> {
        match value {
            Value::Undefined => self.tag(tags::UNDEFINED),
            Value::Null => self.tag(tags::NULL),
            Value::Bool(true) => self.tag(tags::TRUE),
            Value::Bool(false) => self.tag(tags::FALSE),
            Value::Number(number) => self.number(*number),
            Value::BigInt(number) => {
                self.tag(tags::BIGINT);
                self.bigint(number)?;
            }
            Value::String(text) => self.string(text)?,
            Value::Object(object) => return Ok(Some(object)),
            Value::Cycle(cycle) => match self.cycles.get(cycle) {
                Some(number) => {
                    let number = *number;
                    self.tag(tags::REFERENCE);
                    self.varint(number);
                }
                None => return Err(CodecError::Unsendable("a reference without its object")),
            },
        }
        Ok(None)
    }

    /// Writes an object, or its beginning if there are values inside.
    fn object<'a>(&mut self, object: &'a Object) -> Result<Option<Frame<'a>>, CodecError> {
        if object.is_shared() {
            if let Some(number) = self.shared.get(&object.address()) {
                let number = *number;
                self.tag(tags::REFERENCE);
                self.varint(number);
                return Ok(None);
            }
            self.shared.insert(object.address(), self.next_id);
        }
        if let Some(cycle) = object.cycle() {
            self.cycles.insert(cycle, self.next_id);
        }
        self.next_id += 1;
        match object.kind() {
            Kind::Plain(properties) => {
                self.tag(tags::OBJECT);
                let end = End { tag: tags::OBJECT_END, count: properties.len(), length: None };
                return Ok(Some(Frame::properties(properties, end)));
            }
            Kind::Array(array) => return self.array(array).map(Some),
            Kind::Map(map) => {
                self.tag(tags::MAP);
                return Ok(Some(Frame::Map {
                    entries: map.entries().iter(),
                    value: None,
                    count: map.len(),
                }));
            }
            Kind::Set(set) => {
                self.tag(tags::SET);
                return Ok(Some(Frame::Set { values: set.entries().iter(), count: set.len() }));
            }
            Kind::Error(error) => return self.error(error),
            Kind::Date(milliseconds) => {
                self.tag(tags::DATE);
                self.double(*milliseconds);
            }
            Kind::RegExp(expression) => {
                self.tag(tags::REGEXP);
                self.string(&expression.source)?;
                self.varint(expression.flags.bits());
            }
            Kind::ArrayBuffer(buffer) => match buffer.max_length() {
                None => {
                    self.tag(tags::ARRAY_BUFFER);
                    self.bytes(buffer.bytes())?;
                }
                Some(most) => {
                    self.tag(tags::RESIZABLE_BUFFER);
                    self.length(buffer.bytes().len())?;
                    self.varint(most);
                    self.out.extend_from_slice(buffer.bytes());
                }
            },
            Kind::View(view) => {
                self.tag(tags::HOST_OBJECT);
                self.varint(tags::HOST_VIEW);
                self.varint(view.kind() as u32);
                self.bytes(view.bytes())?;
            }
            Kind::Boolean(true) => self.tag(tags::TRUE_OBJECT),
            Kind::Boolean(false) => self.tag(tags::FALSE_OBJECT),
            Kind::Number(number) => {
                self.tag(tags::NUMBER_OBJECT);
                self.double(*number);
            }
            Kind::BigInt(number) => {
                self.tag(tags::BIGINT_OBJECT);
                self.bigint(number)?;
            }
            Kind::String(text) => {
                self.tag(tags::STRING_OBJECT);
                self.string(text)?;
            }
        }
        Ok(None)
    }

    fn array<'a>(&mut self, array: &'a Array) -> Result<Frame<'a>, CodecError> {
        let length = u32::try_from(array.len())
            .map_err(|_| CodecError::Unsendable("an array longer than arrays can be"))?;
        let named = array.properties().map_or(&[][..], Properties::entries);
        let Some(elements) = array.as_slice() else {
            self.tag(tags::SPARSE);
            self.varint(length);
            let count = array.dense().len() + array.sparse().len() + named.len();
            return Ok(Frame::Keyed {
                dense: array.dense().iter().enumerate(),
                sparse: array.sparse(),
                named,
                end: End { tag: tags::SPARSE_END, count, length: Some(length) },
            });
        };
        self.tag(tags::DENSE);
        self.varint(length);
        let end = End { tag: tags::DENSE_END, count: named.len(), length: Some(length) };
        if of_doubles(elements) {
            for element in elements {
                self.tagged_double(element.as_f64().unwrap_or_default());
            }
            return Ok(Frame::Properties { named: named.iter(), indices: 0, end });
        }
        Ok(Frame::Elements { elements: elements.iter(), named, end })
    }

    /// V8 from 12 on insists on the order message, stack, cause; older ones take any.
    fn error<'a>(&mut self, error: &'a ErrorObject) -> Result<Option<Frame<'a>>, CodecError> {
        self.tag(tags::ERROR);
        if error.name != ErrorName::Error
            && let Some((tag, _)) = tags::ERROR_NAMES.iter().find(|(_, name)| *name == error.name)
        {
            self.tag(*tag);
        }
        if let Some(message) = &error.message {
            self.tag(tags::ERROR_MESSAGE);
            self.string(message)?;
        }
        if let Some(stack) = &error.stack {
            self.tag(tags::ERROR_STACK);
            self.string(stack)?;
        }
        match &error.cause {
            Some(cause) => {
                self.tag(tags::ERROR_CAUSE);
                Ok(Some(Frame::Cause(Some(cause))))
            }
            None => {
                self.tag(tags::ERROR_END);
                Ok(None)
            }
        }
    }

    fn end(&mut self, end: &End) -> Result<(), CodecError> {
        self.tag(end.tag);
        self.length(end.count)?;
        if let Some(length) = end.length {
            self.varint(length);
        }
        Ok(())
    }
}

/// What is written behind the last property.
struct End {
    tag: u8,
    count: usize,
    length: Option<u32>,
}

/// An object of which the beginning has been written.
enum Frame<'a> {
    /// Properties, the first `indices` of them with array indices for keys.
    Properties {
        named: slice::Iter<'a, (JsString, Value)>,
        indices: usize,
        end: End,
    },
    /// The elements of an array without holes.
    Elements {
        elements: slice::Iter<'a, Value>,
        named: &'a [(JsString, Value)],
        end: End,
    },
    /// The elements of an array with holes.
    Keyed {
        dense: Enumerate<slice::Iter<'a, Value>>,
        sparse: btree_map::Iter<'a, u32, Value>,
        named: &'a [(JsString, Value)],
        end: End,
    },
    Map {
        entries: slice::Iter<'a, (Value, Value)>,
        value: Option<&'a Value>,
        count: usize,
    },
    Set {
        values: slice::Iter<'a, (Value, ())>,
        count: usize,
    },
    Cause(Option<&'a Value>),
}

impl<'a> Frame<'a> {
    fn properties(properties: &'a Properties, end: End) -> Frame<'a> {
        let (named, indices) = (properties.entries().iter(), properties.indices());
        Frame::Properties { named, indices, end }
    }

    /// Writes up to the next object inside, which is given back, or to the end.
    fn advance(&mut self, output: &mut Output<'_>) -> Result<Option<&'a Object>, CodecError> {
        loop {
            match self {
                Frame::Properties { named, indices, end } => {
                    for (key, value) in named.by_ref() {
                        match key.as_str().filter(|_| *indices > 0).and_then(array_index) {
                            Some(index) => {
                                *indices -= 1;
                                output.index(index);
                            }
                            None => output.string(key)?,
                        }
                        if let Some(object) = output.value(value)? {
                            return Ok(Some(object));
                        }
                    }
                    output.end(end)?;
                    return Ok(None);
                }
                Frame::Elements { elements, named, end } => {
                    for value in elements.by_ref() {
                        if let Some(object) = output.value(value)? {
                            return Ok(Some(object));
                        }
                    }
                    let end = End { ..*end };
                    *self = Frame::Properties { named: named.iter(), indices: 0, end };
                }
                Frame::Keyed { dense, sparse, named, end } => {
                    let next = match dense.next() {
                        Some((index, value)) => Some((index as u32, value)),
                        None => sparse.next().map(|(index, value)| (*index, value)),
                    };
                    let Some((index, value)) = next else {
                        let end = End { ..*end };
                        *self = Frame::Properties { named: named.iter(), indices: 0, end };
                        continue;
                    };
                    output.index(index);
                    if let Some(object) = output.value(value)? {
                        return Ok(Some(object));
                    }
                }
                Frame::Map { entries, value, count } => {
                    let next = match value.take() {
                        Some(value) => value,
                        None => {
                            let Some((key, other)) = entries.next() else {
                                let end =
                                    End { tag: tags::MAP_END, count: *count * 2, length: None };
                                output.end(&end)?;
                                return Ok(None);
                            };
                            *value = Some(other);
                            key
                        }
                    };
                    if let Some(object) = output.value(next)? {
                        return Ok(Some(object));
                    }
                }
                Frame::Set { values, count } => {
                    for (value, ()) in values.by_ref() {
                        if let Some(object) = output.value(value)? {
                            return Ok(Some(object));
                        }
                    }
                    output.end(&End { tag: tags::SET_END, count: *count, length: None })?;
                    return Ok(None);
                }
                Frame::Cause(cause) => {
                    let Some(cause) = cause.take() else {
                        output.tag(tags::ERROR_END);
                        return Ok(None);
                    };
                    if let Some(object) = output.value(cause)? {
                        return Ok(Some(object));
                    }
                }
            }
        }
    }
}

/// The number as V8's small integer, which −0 is not.
fn small(number: f64) -> Option<i32> {
    let whole = number as i32;
    (f64::from(whole).to_bits() == number.to_bits()).then_some(whole)
}

/// Whether V8 keeps the elements as an array of doubles, and sends even whole numbers as such.
fn of_doubles(elements: &[Value]) -> bool {
    let mut fractions = false;
    elements.iter().all(|element| match element {
        Value::Number(number) => {
            fractions |= small(*number).is_none();
            true
        }
        _ => false,
    }) && fractions
}

fn varint_size(length: usize) -> usize {
    (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize
}
