//! Reading values.
//!
//! Objects that are being read are on a list, not on the stack. Numbers of objects are looked up
//! only in a message that has the byte of a reference in it at all; others need no table.
//! Invariant: room is reserved in advance for no more elements in all than there are input bytes.

use super::super::number::key_of;
use super::super::{
    ArrayBuffer, CodecError, CycleId, JsString, Kind, Object, RegExp, RegExpFlags, Value, View,
    ViewKind, clip_time,
};
use super::opened::Frame;
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
        let mut frame = match next {
            Read::Open(frame) if open.len() < max_depth => frame,
            Read::Open(_) => return Err(CodecError::TooDeep { limit: max_depth }),
            Read::Value(value) => {
                let Some(mut frame) = open.pop() else { return Ok(value) };
                frame.take(value, &mut input)?;
                frame
            }
        };
        next = match frame.advance(&mut input)? {
            Some(child) => {
                open.push(frame);
                Read::Open(child)
            }
            None => Read::Value(frame.finish(&mut input)?),
        };
    }
}

/// What has been read of a value.
pub(super) enum Read {
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

pub(super) struct Input<'a> {
    pub(super) reader: Reader<'a>,
    version: u32,
    table: Option<Vec<Known>>,
    /// For how many more elements room may be reserved.
    credit: usize,
}

impl Input<'_> {
    pub(super) fn value(&mut self) -> Result<Read, CodecError> {
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
        let frame = match tag {
            tags::OBJECT => Frame::plain(),
            tags::DENSE => {
                let length = reader.varint()?;
                if length as usize > reader.left() {
                    return Err(reader.error("array longer than the message"));
                }
                let reserved = self.credit.min(length as usize);
                self.credit -= reserved;
                Frame::dense(length, reserved)
            }
            tags::SPARSE => Frame::sparse(reader.varint()?),
            tags::MAP => Frame::map(),
            tags::SET => Frame::set(),
            tags::ERROR => Frame::error(),
            tags::HOST_OBJECT => match reader.varint()? {
                tags::HOST_VIEW => {
                    let kind = ViewKind::from_number(reader.varint()?)
                        .ok_or_else(|| reader.error("unknown view"))?;
                    let view = View::new(kind, reader.block()?.to_vec());
                    return Ok(Read::Value(self.done(Kind::View(view)).into()));
                }
                tags::HOST_PLAIN => {
                    return Ok(Read::Open(self.opened(Frame::host(), Known::Pending)));
                }
                _ => return Err(reader.error("unknown host object")),
            },
            _ => return self.leaf(tag).map(|object| Read::Value(object.into())),
        };
        Ok(Read::Open(self.opened(frame, Known::Open(None))))
    }

    /// Gives an object that is not complete the next number.
    fn opened(&mut self, frame: Frame, known: Known) -> Frame {
        match &mut self.table {
            None => frame,
            Some(table) => {
                table.push(known);
                frame.with_number(table.len() - 1)
            }
        }
    }

    /// Completes the object with this number.
    pub(super) fn close(&mut self, number: usize, kind: Kind) -> Object {
        let Some(known) = self.table.as_mut().and_then(|table| table.get_mut(number)) else {
            return Object::new(kind);
        };
        let cycle = if let Known::Open(cycle) = known { *cycle } else { None };
        let object = Object::with_cycle(kind, cycle);
        *known = Known::Done(object.clone());
        object
    }

    /// Completes a host object: it is the object inside it, under a second number.
    pub(super) fn close_host(&mut self, number: usize, inside: Value) -> Result<Value, CodecError> {
        let known = match &inside {
            Value::Object(object) => Known::Done(object.clone()),
            Value::Cycle(cycle) => Known::Outer(*cycle),
            _ => return Err(self.reader.error("host object is no object")),
        };
        if let Some(table) = &mut self.table {
            table[number] = known;
        }
        Ok(inside)
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
        if !self.reader.skip_if(tags::VIEW) {
            return Ok(buffer);
        }
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

    pub(super) fn key(&mut self) -> Result<JsString, CodecError> {
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
    pub(super) fn count(&mut self, expected: usize) -> Result<(), CodecError> {
        if self.reader.varint()? as usize == expected {
            Ok(())
        } else {
            Err(self.reader.error("wrong count"))
        }
    }
}
