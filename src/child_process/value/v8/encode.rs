//! Writing values, byte for byte as Node v20 does.
//!
//! Objects that are being written are on a list, not on the stack. Only what stands in more than
//! one place is remembered by its number, which the reference count tells.

use std::collections::HashMap;
use std::collections::btree_map;
use std::iter::Enumerate;
use std::slice;

use super::super::properties::index_of;
use super::super::{
    Array, CodecError, CycleId, ErrorName, ErrorObject, JsString, Kind, Object, Properties, Value,
};
use super::tags;
use super::writer::{Writer, small};

pub(super) fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut output = Output {
        writer: Writer::new(out),
        next_id: 0,
        shared: HashMap::new(),
        cycles: HashMap::new(),
    };
    output.writer.tag(tags::HEADER);
    output.writer.varint(tags::VERSION);
    // Most messages are flat: only what has something open inside it is on the heap.
    let mut innermost = None;
    let mut open = Vec::new();
    let mut next = output.value(value)?;
    loop {
        if let Some(object) = next
            && let Some(frame) = output.object(object)?
        {
            open.extend(innermost.replace(frame));
        }
        let Some(frame) = innermost.as_mut() else { return Ok(()) };
        next = frame.advance(&mut output)?;
        if next.is_none() {
            innermost = open.pop();
        }
    }
}

struct Output<'o> {
    writer: Writer<'o>,
    next_id: u32,
    /// The numbers of objects that have other references to them.
    shared: HashMap<*const (), u32>,
    cycles: HashMap<CycleId, u32>,
}

impl Output<'_> {
    /// Writes a value, unless it is an object: that is given back.
    fn value<'a>(&mut self, value: &'a Value) -> Result<Option<&'a Object>, CodecError> {
        match value {
            Value::Undefined => self.writer.tag(tags::UNDEFINED),
            Value::Null => self.writer.tag(tags::NULL),
            Value::Bool(true) => self.writer.tag(tags::TRUE),
            Value::Bool(false) => self.writer.tag(tags::FALSE),
            Value::Number(number) => self.writer.number(*number),
            Value::BigInt(number) => {
                self.writer.tag(tags::BIGINT);
                self.writer.bigint(number)?;
            }
            Value::String(text) => self.writer.string(text)?,
            Value::Object(object) => return Ok(Some(object)),
            Value::Cycle(cycle) => match self.cycles.get(cycle) {
                Some(number) => {
                    let number = *number;
                    self.writer.tag(tags::REFERENCE);
                    self.writer.varint(number);
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
                self.writer.tag(tags::REFERENCE);
                self.writer.varint(number);
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
                self.writer.tag(tags::OBJECT);
                let end = End { tag: tags::OBJECT_END, count: properties.len(), length: None };
                return Ok(Some(Frame::properties(properties, end)));
            }
            Kind::Array(array) => return self.array(array).map(Some),
            Kind::Map(map) => {
                self.writer.tag(tags::MAP);
                return Ok(Some(Frame::Map {
                    entries: map.entries().iter(),
                    value: None,
                    count: map.len(),
                }));
            }
            Kind::Set(set) => {
                self.writer.tag(tags::SET);
                return Ok(Some(Frame::Set { values: set.entries().iter(), count: set.len() }));
            }
            Kind::Error(error) => return self.error(error),
            Kind::Date(milliseconds) => {
                self.writer.tag(tags::DATE);
                self.writer.double(*milliseconds);
            }
            Kind::RegExp(expression) => {
                self.writer.tag(tags::REGEXP);
                self.writer.string(&expression.source)?;
                self.writer.varint(expression.flags.bits());
            }
            Kind::ArrayBuffer(buffer) => match buffer.max_length() {
                None => {
                    self.writer.tag(tags::ARRAY_BUFFER);
                    self.writer.bytes(buffer.bytes())?;
                }
                Some(most) => {
                    self.writer.tag(tags::RESIZABLE_BUFFER);
                    self.writer.length(buffer.bytes().len())?;
                    self.writer.varint(most);
                    self.writer.raw(buffer.bytes());
                }
            },
            Kind::View(view) => {
                self.writer.tag(tags::HOST_OBJECT);
                self.writer.varint(tags::HOST_VIEW);
                self.writer.varint(view.kind() as u32);
                self.writer.bytes(view.bytes())?;
            }
            Kind::Boolean(true) => self.writer.tag(tags::TRUE_OBJECT),
            Kind::Boolean(false) => self.writer.tag(tags::FALSE_OBJECT),
            Kind::Number(number) => {
                self.writer.tag(tags::NUMBER_OBJECT);
                self.writer.double(*number);
            }
            Kind::BigInt(number) => {
                self.writer.tag(tags::BIGINT_OBJECT);
                self.writer.bigint(number)?;
            }
            Kind::String(text) => {
                self.writer.tag(tags::STRING_OBJECT);
                self.writer.string(text)?;
            }
        }
        Ok(None)
    }

    fn array<'a>(&mut self, array: &'a Array) -> Result<Frame<'a>, CodecError> {
        let length = u32::try_from(array.len())
            .map_err(|_| CodecError::Unsendable("an array longer than arrays can be"))?;
        let named = array.properties().map_or(&[][..], Properties::entries);
        let Some(elements) = array.as_slice() else {
            self.writer.tag(tags::SPARSE);
            self.writer.varint(length);
            let count = array.dense().len() + array.sparse().len() + named.len();
            return Ok(Frame::Keyed {
                dense: array.dense().iter().enumerate(),
                sparse: array.sparse(),
                named,
                end: End { tag: tags::SPARSE_END, count, length: Some(length) },
            });
        };
        self.writer.tag(tags::DENSE);
        self.writer.varint(length);
        let end = End { tag: tags::DENSE_END, count: named.len(), length: Some(length) };
        if of_doubles(elements) {
            for element in elements {
                self.writer.tagged_double(element.as_f64().unwrap_or_default());
            }
            return Ok(Frame::Properties { named: named.iter(), indices: 0, end });
        }
        Ok(Frame::Elements { elements: elements.iter(), named, end })
    }

    /// V8 from 12 on insists on the order message, stack, cause; older ones take any.
    fn error<'a>(&mut self, error: &'a ErrorObject) -> Result<Option<Frame<'a>>, CodecError> {
        self.writer.tag(tags::ERROR);
        if error.name != ErrorName::Error
            && let Some((tag, _)) = tags::ERROR_NAMES.iter().find(|(_, name)| *name == error.name)
        {
            self.writer.tag(*tag);
        }
        if let Some(message) = &error.message {
            self.writer.tag(tags::ERROR_MESSAGE);
            self.writer.string(message)?;
        }
        if let Some(stack) = &error.stack {
            self.writer.tag(tags::ERROR_STACK);
            self.writer.string(stack)?;
        }
        match &error.cause {
            Some(cause) => {
                self.writer.tag(tags::ERROR_CAUSE);
                Ok(Some(Frame::Cause(Some(cause))))
            }
            None => {
                self.writer.tag(tags::ERROR_END);
                Ok(None)
            }
        }
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

impl End {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), CodecError> {
        writer.tag(self.tag);
        writer.length(self.count)?;
        if let Some(length) = self.length {
            writer.varint(length);
        }
        Ok(())
    }
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
                        match Some(key).filter(|_| *indices > 0).and_then(index_of) {
                            Some(index) => {
                                *indices -= 1;
                                output.writer.index(index);
                            }
                            None => output.writer.string(key)?,
                        }
                        if let Some(object) = output.value(value)? {
                            return Ok(Some(object));
                        }
                    }
                    end.write(&mut output.writer)?;
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
                    output.writer.index(index);
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
                                end.write(&mut output.writer)?;
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
                    let end = End { tag: tags::SET_END, count: *count, length: None };
                    end.write(&mut output.writer)?;
                    return Ok(None);
                }
                Frame::Cause(cause) => {
                    let Some(cause) = cause.take() else {
                        output.writer.tag(tags::ERROR_END);
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
