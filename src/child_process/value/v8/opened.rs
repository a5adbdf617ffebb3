//! Objects of which the beginning has been read.
//!
//! Invariant: an object is complete only when the counts at its end agree with what was read, and no
//! key was there twice.

use super::super::properties::{Filling, index_of};
use super::super::{Array, CodecError, ErrorObject, JsString, Kind, Map, Set, Value};
use super::decode::{Input, Read};
use super::reader::Reader;
use super::tags;

/// An object that is being read.
pub(super) struct Frame {
    number: usize,
    /// The key of the property whose value is being read.
    key: Option<JsString>,
    parts: Parts,
}

enum Parts {
    Plain(Filling),
    Array(Box<ArrayParts>),
    Map {
        map: Map,
        key: Option<Value>,
        read: usize,
    },
    Set {
        set: Set,
        read: usize,
    },
    Error(Box<ErrorObject>),
    /// A host object that stands for the object inside.
    Host(Option<Value>),
}

struct ArrayParts {
    array: Array,
    named: Filling,
    length: u32,
    /// The tag behind the properties.
    end: u8,
    /// How many elements come without a key, and how many of them have been read.
    unkeyed: u32,
    next: u32,
    pairs: usize,
}

impl ArrayParts {
    fn dense(length: u32, reserved: usize) -> ArrayParts {
        let (array, named) = (Array::with_capacity(reserved), Filling::default());
        ArrayParts {
            array,
            named,
            length,
            end: tags::DENSE_END,
            unkeyed: length,
            next: 0,
            pairs: 0,
        }
    }

    fn sparse(length: u32) -> ArrayParts {
        ArrayParts { length, end: tags::SPARSE_END, unkeyed: 0, ..ArrayParts::dense(0, 0) }
    }

    fn take(&mut self, key: Option<JsString>, value: Value) -> bool {
        let Some(key) = key else {
            self.push(value);
            return true;
        };
        self.pairs += 1;
        match index_of(&key) {
            Some(index) => self.array.set(index, value).is_none(),
            None => self.named.set(key, value),
        }
    }

    fn push(&mut self, value: Value) {
        if self.array.dense().len() == self.next as usize {
            self.array.dense_mut().push(value);
        } else {
            self.array.set(self.next, value);
        }
        self.next += 1;
    }

    /// Reads elements without keys until there is one with values inside, or none left.
    fn elements(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, CodecError> {
        while self.next < self.unkeyed {
            if input.reader.peek()? == tags::HOLE {
                input.reader.skip();
                self.next += 1;
                continue;
            }
            match input.value()? {
                Read::Value(value) => self.push(value),
                Read::Open(child) => return Ok(Some(child)),
            }
        }
        Ok(None)
    }
}

impl Frame {
    fn new(parts: Parts) -> Frame {
        Frame { number: 0, key: None, parts }
    }

    pub(super) fn plain() -> Frame {
        Frame::new(Parts::Plain(Filling::default()))
    }

    pub(super) fn dense(length: u32, reserved: usize) -> Frame {
        Frame::new(Parts::Array(Box::new(ArrayParts::dense(length, reserved))))
    }

    pub(super) fn sparse(length: u32) -> Frame {
        Frame::new(Parts::Array(Box::new(ArrayParts::sparse(length))))
    }

    pub(super) fn map() -> Frame {
        Frame::new(Parts::Map { map: Map::new(), key: None, read: 0 })
    }

    pub(super) fn set() -> Frame {
        Frame::new(Parts::Set { set: Set::new(), read: 0 })
    }

    pub(super) fn error() -> Frame {
        Frame::new(Parts::Error(Box::default()))
    }

    pub(super) fn host() -> Frame {
        Frame::new(Parts::Host(None))
    }

    pub(super) fn with_number(self, number: usize) -> Frame {
        Frame { number, ..self }
    }

    /// Takes the value inside that has been read last.
    pub(super) fn take(&mut self, value: Value, input: &mut Input<'_>) -> Result<(), CodecError> {
        let new = match &mut self.parts {
            Parts::Plain(filling) => filling.set(self.key.take().unwrap_or_default(), value),
            Parts::Array(array) => array.take(self.key.take(), value),
            Parts::Map { map, key, read } => {
                *read += 1;
                match key.take() {
                    None => *key = Some(value),
                    Some(key) => {
                        map.insert(key, value);
                    }
                }
                true
            }
            Parts::Set { set, read } => {
                *read += 1;
                set.insert(value);
                true
            }
            Parts::Error(error) => {
                error.cause = Some(value);
                true
            }
            Parts::Host(inside) => {
                *inside = Some(value);
                true
            }
        };
        if new { Ok(()) } else { Err(input.reader.error("key is there twice")) }
    }

    /// Reads on until there is a value with values inside, or the end of the object.
    pub(super) fn advance(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, CodecError> {
        // Nearly all is properties and elements, so these have loops of their own.
        match &mut self.parts {
            Parts::Plain(filling) => return properties(filling, &mut self.key, input),
            Parts::Array(array) => {
                if let Some(child) = array.elements(input)? {
                    return Ok(Some(child));
                }
            }
            _ => {}
        }
        while self.expects_value(input)? {
            match input.value()? {
                Read::Value(value) => self.take(value, input)?,
                Read::Open(child) => return Ok(Some(child)),
            }
        }
        Ok(None)
    }

    /// Reads up to the next value inside: a key, for instance. Whether there is one.
    fn expects_value(&mut self, input: &mut Input<'_>) -> Result<bool, CodecError> {
        match &mut self.parts {
            Parts::Plain(_) => return Ok(false),
            Parts::Array(array) => {
                if input.reader.peek()? == array.end {
                    input.reader.skip();
                    input.count(array.pairs)?;
                    input.count(array.length as usize)?;
                    return Ok(false);
                }
                self.key = Some(input.key()?);
            }
            Parts::Map { key, read, .. } => {
                if key.is_none() && input.reader.peek()? == tags::MAP_END {
                    input.reader.skip();
                    input.count(*read)?;
                    return Ok(false);
                }
            }
            Parts::Set { read, .. } => {
                if input.reader.peek()? == tags::SET_END {
                    input.reader.skip();
                    input.count(*read)?;
                    return Ok(false);
                }
            }
            Parts::Error(error) => return expects_cause(error, &mut input.reader),
            Parts::Host(inside) => return Ok(inside.is_none()),
        }
        Ok(true)
    }

    pub(super) fn finish(self, input: &mut Input<'_>) -> Result<Value, CodecError> {
        let kind = match self.parts {
            Parts::Plain(filling) => Kind::Plain(filling.finish()),
            Parts::Array(parts) => {
                let ArrayParts { mut array, named, length, .. } = *parts;
                array.extend_to(length);
                if named.len() > 0 {
                    *array.properties_mut() = named.finish();
                }
                Kind::Array(array)
            }
            Parts::Map { map, .. } => Kind::Map(map),
            Parts::Set { set, .. } => Kind::Set(set),
            Parts::Error(error) => Kind::Error(error),
            Parts::Host(inside) => {
                return input.close_host(self.number, inside.unwrap_or_default());
            }
        };
        Ok(input.close(self.number, kind).into())
    }
}

/// Reads properties until there is one with values inside, of which the key is kept, or the end.
fn properties(
    filling: &mut Filling,
    key: &mut Option<JsString>,
    input: &mut Input<'_>,
) -> Result<Option<Frame>, CodecError> {
    while input.reader.peek()? != tags::OBJECT_END {
        let name = input.key()?;
        match input.value()? {
            Read::Value(value) => {
                if !filling.set(name, value) {
                    return Err(input.reader.error("key is there twice"));
                }
            }
            Read::Open(child) => {
                *key = Some(name);
                return Ok(Some(child));
            }
        }
    }
    input.reader.skip();
    input.count(filling.len())?;
    Ok(None)
}

/// Reads the parts of an error up to its cause or its end; whether it is a cause.
fn expects_cause(error: &mut ErrorObject, reader: &mut Reader<'_>) -> Result<bool, CodecError> {
    loop {
        match reader.small_tag()? {
            tags::ERROR_MESSAGE => error.message = Some(reader.string()?),
            tags::ERROR_STACK => error.stack = Some(reader.string()?),
            tags::ERROR_CAUSE => return Ok(true),
            tags::ERROR_END => return Ok(false),
            tag => match tags::ERROR_NAMES.iter().find(|(known, _)| *known == tag) {
                Some((_, name)) => error.name = *name,
                None => return Err(reader.error("unknown part of an error")),
            },
        }
    }
}
