//! Messages in a stream of bytes: a line each, or a length before each.
//!
//! Invariant: the work is linear in the bytes, however they are cut: a byte is copied once when it
//! is fed and, of a message in pieces, a bounded number of times more; the search for the end of a
//! line goes on where it stopped. After an error the decoder knows nothing but that error.

use super::{CodecError, Limits, Value, json, v8};

/// How messages are written: what Node calls `serialization`.
///
/// ```
/// use blacklight::child_process::Serialization;
///
/// assert_eq!(Serialization::from_name("advanced"), Some(Serialization::Advanced));
/// assert_eq!(Serialization::Json.name(), "json");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Serialization {
    /// A line of JSON for each message.
    #[default]
    Json,
    /// V8's structured clone, each with its length before it.
    Advanced,
}

impl Serialization {
    /// The name as it stands in `NODE_CHANNEL_SERIALIZATION_MODE`.
    ///
    /// ```
    /// # use blacklight::child_process::Serialization;
    /// assert_eq!(Serialization::Advanced.name(), "advanced");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Serialization::Json => "json",
            Serialization::Advanced => "advanced",
        }
    }

    /// The serialization with this name.
    ///
    /// ```
    /// # use blacklight::child_process::Serialization;
    /// assert_eq!(Serialization::from_name("xml"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Serialization> {
        [Serialization::Json, Serialization::Advanced].into_iter().find(|s| s.name() == name)
    }
}

/// A buffer that has held a large message is given back when it is above this size: the 2 MiB that
/// a stream brings in one turn, and what growing by doubling adds.
const KEPT: usize = 4 << 20;

/// Cuts a stream of bytes into messages.
///
/// ```
/// use blacklight::child_process::{Decoder, Limits, Serialization, Value};
///
/// let mut decoder = Decoder::new(Serialization::Json, Limits::default());
/// decoder.feed(b"[1]\n{\"a\"");
/// assert_eq!(decoder.next_message(), Some(Ok(Value::array([1]))));
/// assert_eq!(decoder.next_message(), None);
/// decoder.feed(b":2}\n");
/// assert_eq!(decoder.next_message(), Some(Ok(Value::object([("a", 2)]))));
/// ```
#[derive(Debug)]
pub struct Decoder {
    serialization: Serialization,
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the first message that has not been taken begins.
    start: usize,
    /// Up to where there is no end of a line.
    scanned: usize,
    failed: Option<CodecError>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    ///
    /// ```
    /// # use blacklight::child_process::{Decoder, Limits, Serialization};
    /// let decoder = Decoder::new(Serialization::Advanced, Limits::default().message(1 << 20));
    /// assert_eq!(decoder.buffered(), 0);
    /// ```
    #[must_use]
    pub fn new(serialization: Serialization, limits: Limits) -> Decoder {
        Decoder { serialization, limits, buffer: Vec::new(), start: 0, scanned: 0, failed: None }
    }

    /// Takes the next bytes of the stream, however they are cut. After each call, take messages
    /// until there is none: that is when limits are checked.
    ///
    /// ```
    /// # use blacklight::child_process::{Decoder, Limits, Serialization};
    /// let mut decoder = Decoder::new(Serialization::Json, Limits::default());
    /// decoder.feed(b"nul");
    /// decoder.feed(b"l\n");
    /// assert!(decoder.next_message().is_some_and(|message| message.is_ok()));
    /// ```
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start == self.buffer.len() {
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            (self.start, self.scanned) = (0, 0);
        } else if self.start > self.buffer.len() / 2 {
            // What is moved is less than what was taken before.
            self.buffer.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is there as a whole. An error is final: it comes again and again.
    ///
    /// ```
    /// # use blacklight::child_process::{Decoder, Limits, Serialization};
    /// let mut decoder = Decoder::new(Serialization::Json, Limits::default());
    /// decoder.feed(b"oops\n1\n");
    /// assert!(decoder.next_message().is_some_and(|message| message.is_err()));
    /// assert!(decoder.next_message().is_some_and(|message| message.is_err()));
    /// ```
    pub fn next_message(&mut self) -> Option<Result<Value, CodecError>> {
        let (serialization, limits) = (self.serialization, self.limits);
        let message = self.next_frame()?.and_then(|frame| match serialization {
            Serialization::Json => json::parse(frame, &limits),
            Serialization::Advanced => v8::deserialize(frame, &limits),
        });
        if let Err(error) = &message {
            self.fail(error.clone());
        }
        Some(message)
    }

    /// The bytes of the next message, without what frames them, if they are all there.
    ///
    /// ```
    /// # use blacklight::child_process::{Decoder, Limits, Serialization};
    /// let mut decoder = Decoder::new(Serialization::Advanced, Limits::default());
    /// decoder.feed(b"\0\0\0\x03\xff\x0f0");
    /// assert_eq!(decoder.next_frame(), Some(Ok(&b"\xff\x0f0"[..])));
    /// ```
    pub fn next_frame(&mut self) -> Option<Result<&[u8], CodecError>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        let found = match self.serialization {
            Serialization::Json => self.line(),
            Serialization::Advanced => self.prefixed(),
        };
        match found {
            Ok(frame) => frame.map(|frame| Ok(&self.buffer[frame])),
            Err(error) => {
                self.fail(error.clone());
                Some(Err(error))
            }
        }
    }

    /// How many bytes are waiting for the rest of their message. At the end of the stream that is
    /// what got lost.
    ///
    /// ```
    /// # use blacklight::child_process::{Decoder, Limits, Serialization};
    /// let mut decoder = Decoder::new(Serialization::Json, Limits::default());
    /// decoder.feed(b"[1,");
    /// assert_eq!(decoder.buffered(), 3);
    /// ```
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn fail(&mut self, error: CodecError) {
        self.failed = Some(error);
        self.buffer = Vec::new();
        (self.start, self.scanned) = (0, 0);
    }

    fn line(&mut self) -> Result<Option<std::ops::Range<usize>>, CodecError> {
        let end = memchr::memchr(b'\n', &self.buffer[self.scanned..]);
        let end = end.map(|end| self.scanned + end);
        let length = end.unwrap_or(self.buffer.len()) - self.start;
        if length > self.limits.max_message() {
            return Err(CodecError::TooLong { limit: self.limits.max_message() });
        }
        self.scanned = end.map_or(self.buffer.len(), |end| end + 1);
        Ok(end.map(|end| std::mem::replace(&mut self.start, end + 1)..end))
    }

    fn prefixed(&mut self) -> Result<Option<std::ops::Range<usize>>, CodecError> {
        let waiting = &self.buffer[self.start..];
        let Some(prefix) = waiting.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix);
        // Node reads the length as a signed number.
        if length == 0 || length > i32::MAX as u32 {
            let what = if length == 0 { "empty frame" } else { "negative length" };
            return Err(CodecError::Malformed { what, offset: 0 });
        }
        let length = length as usize;
        if length > self.limits.max_message() {
            return Err(CodecError::TooLong { limit: self.limits.max_message() });
        }
        if waiting.len() - prefix.len() < length {
            return Ok(None);
        }
        let start = self.start + prefix.len();
        self.start = start + length;
        Ok(Some(start..self.start))
    }
}

/// Makes frames of messages.
///
/// ```
/// use blacklight::child_process::{Encoder, Limits, Serialization, Value};
///
/// let encoder = Encoder::new(Serialization::Advanced, Limits::default());
/// assert_eq!(encoder.encode(&Value::Null)?, b"\0\0\0\x03\xff\x0f0");
/// # Ok::<(), blacklight::child_process::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    serialization: Serialization,
    limits: Limits,
}

impl Encoder {
    /// An encoder; of the limits, only the length of a message counts.
    ///
    /// ```
    /// # use blacklight::child_process::{Encoder, Limits, Serialization, Value};
    /// let encoder = Encoder::new(Serialization::Json, Limits::default().message(2));
    /// assert!(encoder.encode(&Value::from("long")).is_err());
    /// ```
    #[must_use]
    pub const fn new(serialization: Serialization, limits: Limits) -> Encoder {
        Encoder { serialization, limits }
    }

    /// One message as a frame of its own.
    ///
    /// ```
    /// # use blacklight::child_process::{Encoder, Limits, Serialization, Value};
    /// let encoder = Encoder::new(Serialization::Json, Limits::default());
    /// assert_eq!(encoder.encode(&Value::array([1, 2]))?, b"[1,2]\n");
    /// # Ok::<(), blacklight::child_process::CodecError>(())
    /// ```
    ///
    /// # Errors
    /// As [`json::stringify`] and [`v8::serialize`]; [`CodecError::TooLong`] above the limit.
    pub fn encode(&self, message: &Value) -> Result<Vec<u8>, CodecError> {
        let mut frame = Vec::with_capacity(64);
        self.encode_into(message, &mut frame)?;
        Ok(frame)
    }

    /// Appends a frame to bytes that are there already; after an error they are what they were.
    ///
    /// ```
    /// # use blacklight::child_process::{Encoder, Limits, Serialization, Value};
    /// let encoder = Encoder::new(Serialization::Json, Limits::default());
    /// let mut frames = Vec::new();
    /// encoder.encode_into(&Value::from(1), &mut frames)?;
    /// encoder.encode_into(&Value::from(2), &mut frames)?;
    /// assert_eq!(frames, b"1\n2\n");
    /// # Ok::<(), blacklight::child_process::CodecError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_into(&self, message: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let result = match self.serialization {
            Serialization::Json => json::stringify_into(message, out, self.limits.max_message())
                .map(|()| out.push(b'\n')),
            Serialization::Advanced => self.prefixed(message, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn prefixed(&self, message: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        // Four bytes keep what must be at an even offset there.
        out.extend_from_slice(&[0; 4]);
        v8::serialize_into(message, out)?;
        let limit = self.limits.max_message().min(i32::MAX as usize);
        let length = out.len() - start - 4;
        if length > limit {
            return Err(CodecError::TooLong { limit });
        }
        out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Serialization; 2] = [Serialization::Json, Serialization::Advanced];

    fn messages() -> Vec<Value> {
        vec![Value::Null, Value::from("a€\n"), Value::array([1, 2]), Value::object([("k", "v")])]
    }

    #[test]
    fn messages_come_out_however_the_stream_is_cut() {
        for serialization in BOTH {
            let encoder = Encoder::new(serialization, Limits::default());
            let mut stream = Vec::new();
            for message in messages() {
                encoder.encode_into(&message, &mut stream).unwrap();
            }
            for size in 1..=stream.len() {
                let mut decoder = Decoder::new(serialization, Limits::default());
                let mut got = Vec::new();
                for chunk in stream.chunks(size) {
                    decoder.feed(chunk);
                    while let Some(message) = decoder.next_message() {
                        got.push(message.unwrap());
                    }
                }
                assert_eq!(got, messages(), "{serialization:?} in pieces of {size}");
                assert_eq!(decoder.buffered(), 0);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_an_error_before_it_is_there() {
        let limits = Limits::default().message(10);
        let mut decoder = Decoder::new(Serialization::Json, limits);
        decoder.feed(b"\"12345678\"\n");
        assert_eq!(decoder.next_message(), Some(Ok(Value::from("12345678"))));
        decoder.feed(b"\"123456789");
        assert_eq!(decoder.next_message(), None);
        decoder.feed(b"0");
        let too_long = Some(Err(CodecError::TooLong { limit: 10 }));
        assert_eq!(decoder.next_message(), too_long);
        decoder.feed(b"\"\n1\n");
        assert_eq!(decoder.next_message(), too_long);

        let mut decoder = Decoder::new(Serialization::Advanced, limits);
        decoder.feed(&11u32.to_be_bytes());
        assert_eq!(decoder.next_message(), too_long);
    }

    #[test]
    fn lengths_that_node_refuses_are_refused() {
        for prefix in [0u32, 0x8000_0000, u32::MAX] {
            let mut decoder = Decoder::new(Serialization::Advanced, Limits::default());
            for byte in prefix.to_be_bytes() {
                assert_eq!(decoder.next_message(), None);
                decoder.feed(&[byte]);
            }
            let failed = decoder.next_message();
            assert!(matches!(failed, Some(Err(CodecError::Malformed { .. }))), "{failed:?}");
            assert_eq!(decoder.next_message(), failed);
        }
    }

    #[test]
    fn an_empty_line_is_an_error() {
        let mut decoder = Decoder::new(Serialization::Json, Limits::default());
        decoder.feed(b" 1 \r\n\n");
        assert_eq!(decoder.next_message(), Some(Ok(Value::from(1))));
        assert!(matches!(decoder.next_message(), Some(Err(_))));
    }

    #[test]
    fn what_cannot_be_sent_leaves_the_buffer_alone() {
        let bad = [Value::Cycle(super::super::CycleId::fresh()), Value::from("x".repeat(100))];
        for serialization in BOTH {
            let encoder = Encoder::new(serialization, Limits::default().message(20));
            for message in &bad {
                let mut out = b"before".to_vec();
                assert!(encoder.encode_into(message, &mut out).is_err());
                assert_eq!(out, b"before");
            }
        }
    }
}
