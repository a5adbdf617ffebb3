//! Reading values.
//!
//! Objects that are being read are on a list, not on the stack. Numbers of objects are looked up
//! only in a message that has the byte of a reference in it at all; others need no table.
//! Invariant: room is reserved in advance for no more elements in all than there are input bytes.

use super::super::number::{array_index, key_of};
use super::super::properties::Filling;
use super::super::{
    Array, ArrayBuffer, CodecError, CycleId, ErrorObject, JsString, Kind, Map, Object, RegExp,
    RegExpFlags, Set, Value, View, ViewKind, clip_time,
};
use super::reader::Reader;
use super::tags;

pub(super) fn decode(bytes: &[u8], max_depth: usize) -> Result<Value, CodecError> {
    let mut reader = Reader::new(bytes);
    let version = reader.header()?;
    let table = memchr::memchr(tags::REFERENCE, bytes).map(|_| Vec::new());
    let mut input = Input { reader, version, table, credit: bytes.len() };
    let mut open: Vec<Frame> = Vec::new();
    let mut next = input.value()?;
    loop {
        let value = match next {
            Read::Value(value) => value,
            Read::Open(frame) if open.len() < max_depth => {
                open.push(frame);
                Value::Undefined
            }
            Read::Open(_) => return Err(CodecError::TooDeep { limit: max_depth }),
        };
        // A frame that has just been opened has nothing to take yet, and ignores the value.
        let Some(frame) = open.last_mut() else { return Ok(value) };
        frame.take(value, &mut input)?;
        next = match frame.advance(&mut input)? {
            Some(child) => Read::Open(child),
            None => match open.pop() {
                Some(frame) => Read::Value(frame.finish(&mut input)?),
                None => return Err(input.reader.error("end of message")),
            },
        };
    }
}

/// What has been read of a value.
enum Read {
    /// All.
    Value(Value),
    /// The beginning, of one with values inside.
    Open(Frame),
}

/// An object by its number.
enum Known {
    /// Being read; with an identity if there is a reference to it already.
    Open(Option<CycleId>),
    /// A host object being read, which cannot be referred to yet.
    Pending,
    Done(Object),
    /// A host object that turned out to be an object around it.
    Outer(CycleId),
}

struct Input<'a> {
    reader: Reader<'a>,
    version: u32,
    table: Option<Vec<Known>>,
    /// For how many more elements room may be reserved.
    credit: usize,
}

impl Input<'_> {
    fn value(&mut self) -> Result<Read, CodecError> {
        let mut tag = self.reader.tag()?;
        while tag == tags::OBJECT_COUNT {
            self.reader.varint()?;
            tag = self.reader.tag()?;
        }
        let reader = &mut self.reader;
        let primitive = match tag {
            tags::LATIN1 | tags::UTF16 | tags::UTF8 => match reader.string_body(tag)? {
                Some(text) => Value::String(text),
                None => return Err(reader.error("no string")),
            },
            tags::INT32 => Value::Number(f64::from(reader.zigzag()?)),
            tags::UINT32 => Value::Number(f64::from(reader.varint()?)),
            tags::DOUBLE => Value::Number(reader.double()?),
            tags::UNDEFINED => Value::Undefined,
            tags::NULL => Value::Null,
            tags::TRUE => Value::Bool(true),
            tags::FALSE => Value::Bool(false),
            tags::BIGINT => Value::BigInt(reader.bigint()?),
            tags::REFERENCE => self.reference()?,
            _ => return self.object(tag),
        };
        Ok(Read::Value(primitive))
    }

    fn object(&mut self, tag: u8) -> Result<Read, CodecError> {
        let reader = &mut self.reader;
        let parts = match tag {
            tags::OBJECT => Parts::Plain(Filling::default()),
            tags::DENSE => {
                let length = reader.varint()?;
                if length as usize > reader.left() {
                    return Err(reader.error("array longer than the message"));
                }
                let reserved = self.credit.min(length as usize);
                self.credit -= reserved;
                Parts::Array(Box::new(ArrayParts::dense(length, reserved)))
            }
            tags::SPARSE => Parts::Array(Box::new(ArrayParts::sparse(reader.varint()?))),
            tags::MAP => Parts::Map { map: Map::new(), key: None, read: 0 },
            tags::SET => Parts::Set { set: Set::new(), read: 0 },
            tags::ERROR => Parts::Error(Box::default()),
            tags::HOST_OBJECT => match reader.varint()? {
                tags::HOST_VIEW => {
                    let kind = ViewKind::from_number(reader.varint()?)
                        .ok_or_else(|| reader.error("unknown view"))?;
                    let view = View::new(kind, reader.block()?.to_vec());
                    return Ok(Read::Value(self.done(Kind::View(view)).into()));
                }
                tags::HOST_PLAIN => Parts::Host(None),
                _ => return Err(reader.error("unknown host object")),
            },
            _ => return self.leaf(tag).map(|object| Read::Value(object.into())),
        };
        let known = match parts {
            Parts::Host(_) => Known::Pending,
            _ => Known::Open(None),
        };
        let number = self.table.as_mut().map_or(0, |table| {
            table.push(known);
            table.len() - 1
        });
        Ok(Read::Open(Frame { number, key: None, started: false, parts }))
    }

    /// An object without values inside.
    fn leaf(&mut self, tag: u8) -> Result<Object, CodecError> {
        let reader = &mut self.reader;
        let kind = match tag {
            tags::DATE => Kind::Date(clip_time(reader.double()?)),
            tags::TRUE_OBJECT => Kind::Boolean(true),
            tags::FALSE_OBJECT => Kind::Boolean(false),
            tags::NUMBER_OBJECT => Kind::Number(reader.double()?),
            tags::BIGINT_OBJECT => Kind::BigInt(reader.bigint()?),
            tags::STRING_OBJECT => Kind::String(reader.string()?),
            tags::REGEXP => {
                let source = reader.string()?;
                let flags = RegExpFlags::from_bits(reader.varint()?)
                    .filter(|flags| {
                        !flags.contains(RegExpFlags::UNICODE | RegExpFlags::UNICODE_SETS)
                    })
                    .ok_or_else(|| reader.error("unknown flags"))?;
                Kind::RegExp(RegExp { source, flags })
            }
            tags::ARRAY_BUFFER => {
                let bytes = reader.block()?.to_vec();
                let buffer = self.done(Kind::ArrayBuffer(ArrayBuffer::new(bytes)));
                return self.view_of(buffer);
            }
            tags::RESIZABLE_BUFFER => {
                let (length, most) = (reader.varint()?, reader.varint()?);
                let bytes = reader.take(length as usize)?.to_vec();
                let buffer = ArrayBuffer::resizable(bytes, most)
                    .ok_or_else(|| reader.error("buffer longer than its limit"))?;
                let buffer = self.done(Kind::ArrayBuffer(buffer));
                return self.view_of(buffer);
            }
            _ => return Err(reader.error("unknown tag")),
        };
        Ok(self.done(kind))
    }

    /// V8's own view, which follows the buffer that it is a view of; the buffer if there is none.
    fn view_of(&mut self, buffer: Object) -> Result<Object, CodecError> {
        if self.reader.left() == 0 || self.reader.peek()? != tags::VIEW {
            return Ok(buffer);
        }
        self.reader.skip();
        let kind = match self.reader.small_tag()? {
            0 => None,
            letter => ViewKind::from_native(letter),
        };
        let (offset, length) = (self.reader.varint()? as usize, self.reader.varint()? as usize);
        let flags = if self.version >= 14 { self.reader.varint()? } else { 0 };
        let Kind::ArrayBuffer(whole) = buffer.kind() else { return Ok(buffer) };
        let mut window = length;
        if flags & (tags::VIEW_TRACKS_LENGTH | tags::VIEW_OF_RESIZABLE) != 0 {
            if whole.max_length().is_none() {
                return Err(self.reader.error("resizable view of a fixed buffer"));
            }
            if let (Some(kind), true) = (kind, flags & tags::VIEW_TRACKS_LENGTH != 0) {
                let rest = whole.bytes().len().saturating_sub(offset);
                window = rest - rest % kind.element_size();
            }
        }
        kind.filter(|_| length <= whole.bytes().len())
            .and_then(|kind| View::over(kind, &buffer, offset, window))
            .map(|view| self.done(Kind::View(view)))
            .ok_or_else(|| self.reader.error("bad view"))
    }

    fn reference(&mut self) -> Result<Value, CodecError> {
        let number = self.reader.varint()? as usize;
        let known = self.table.as_mut().and_then(|table| table.get_mut(number));
        let object = match known {
            Some(Known::Done(object)) => object.clone(),
            Some(Known::Open(cycle)) => {
                return Ok(Value::Cycle(*cycle.get_or_insert_with(CycleId::fresh)));
            }
            Some(Known::Outer(cycle)) => return Ok(Value::Cycle(*cycle)),
            Some(Known::Pending) | None => return Err(self.reader.error("unknown object")),
        };
        match object.kind() {
            Kind::ArrayBuffer(_) => self.view_of(object).map(Value::Object),
            _ => Ok(Value::Object(object)),
        }
    }

    /// Gives the object the next number.
    fn done(&mut self, kind: Kind) -> Object {
        let object = Object::new(kind);
        if let Some(table) = &mut self.table {
            table.push(Known::Done(object.clone()));
        }
        object
    }

    fn key(&mut self) -> Result<JsString, CodecError> {
        let mut tag = self.reader.tag()?;
        while tag == tags::OBJECT_COUNT {
            self.reader.varint()?;
            tag = self.reader.tag()?;
        }
        let number = match tag {
            tags::INT32 => f64::from(self.reader.zigzag()?),
            tags::UINT32 => f64::from(self.reader.varint()?),
            tags::DOUBLE => self.reader.double()?,
            _ => {
                let text = self.reader.string_body(tag)?;
                return text.ok_or_else(|| self.reader.error("no key"));
            }
        };
        Ok(key_of(number).into())
    }

    /// The count at the end of a list of properties.
    fn count(&mut self, expected: usize) -> Result<(), CodecError> {
        if self.reader.varint()? as usize == expected {
            Ok(())
        } else {
            Err(self.reader.error("wrong count"))
        }
    }
}

/// An object that is being read.
struct Frame {
    number: usize,
    /// The key of the property whose value is being read.
    key: Option<JsString>,
    /// Whether a value inside has been asked for.
    started: bool,
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
            if self.array.dense().len() == self.next as usize {
                self.array.dense_mut().push(value);
            } else {
                self.array.set(self.next, value);
            }
            self.next += 1;
            return true;
        };
        self.pairs += 1;
        match key.as_str().and_then(array_index) {
            Some(index) => self.array.set(index, value).is_none(),
            None => self.named.set(key, value),
        }
    }
}

impl Frame {
    /// Takes the value inside that has been read last.
    fn take(&mut self, value: Value, input: &mut Input<'_>) -> Result<(), CodecError> {
        if !std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
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
    fn advance(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, CodecError> {
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
            Parts::Plain(filling) => {
                if input.reader.peek()? == tags::OBJECT_END {
                    input.reader.skip();
                    input.count(filling.len())?;
                    return Ok(false);
                }
                self.key = Some(input.key()?);
            }
            Parts::Array(array) => {
                while array.next < array.unkeyed {
                    if input.reader.peek()? != tags::HOLE {
                        return Ok(true);
                    }
                    input.reader.skip();
                    array.next += 1;
                }
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

    fn finish(self, input: &mut Input<'_>) -> Result<Value, CodecError> {
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
            Parts::Host(inside) => return finish_host(self.number, inside, input),
        };
        let Some(table) = &mut input.table else { return Ok(kind.into()) };
        let cycle = match &table[self.number] {
            Known::Open(cycle) => *cycle,
            _ => None,
        };
        let object = Object::with_cycle(kind, cycle);
        table[self.number] = Known::Done(object.clone());
        Ok(Value::Object(object))
    }
}

/// A host object is the object inside it, under a second number.
fn finish_host(
    number: usize,
    inside: Option<Value>,
    input: &mut Input<'_>,
) -> Result<Value, CodecError> {
    let (known, value) = match inside {
        Some(Value::Object(object)) => (Known::Done(object.clone()), Value::Object(object)),
        Some(Value::Cycle(cycle)) => (Known::Outer(cycle), Value::Cycle(cycle)),
        _ => return Err(input.reader.error("host object is no object")),
    };
    if let Some(table) = &mut input.table {
        table[number] = known;
    }
    Ok(value)
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
