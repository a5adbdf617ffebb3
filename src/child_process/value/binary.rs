//! Bytes: array buffers and the views over them.
//!
//! Invariant: a view's window lies inside its bytes and is a whole number of elements long. Views
//! that share a buffer share its bytes, so that many views of one large buffer cost little.

use super::{BigInt, Kind, Object, Value};

/// An `ArrayBuffer`: bytes, and how far it may grow if it is resizable.
///
/// ```
/// use blacklight::child_process::ArrayBuffer;
///
/// let fixed = ArrayBuffer::new(vec![1, 2, 3]);
/// assert_eq!((fixed.bytes(), fixed.max_length()), (&[1, 2, 3][..], None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrayBuffer {
    bytes: Vec<u8>,
    max_length: Option<u32>,
}

impl ArrayBuffer {
    /// A buffer of these bytes that cannot be resized.
    ///
    /// ```
    /// # use blacklight::child_process::ArrayBuffer;
    /// assert!(ArrayBuffer::new(Vec::new()).bytes().is_empty());
    /// ```
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> ArrayBuffer {
        ArrayBuffer { bytes, max_length: None }
    }

    /// A buffer that can be resized to at most `max_length` bytes; nothing when it is longer.
    ///
    /// ```
    /// # use blacklight::child_process::ArrayBuffer;
    /// assert!(ArrayBuffer::resizable(vec![0; 2], 8).is_some());
    /// assert!(ArrayBuffer::resizable(vec![0; 2], 1).is_none());
    /// ```
    #[must_use]
    pub fn resizable(bytes: Vec<u8>, max_length: u32) -> Option<ArrayBuffer> {
        (bytes.len() <= max_length as usize)
            .then_some(ArrayBuffer { bytes, max_length: Some(max_length) })
    }

    /// The bytes.
    ///
    /// ```
    /// # use blacklight::child_process::ArrayBuffer;
    /// assert_eq!(ArrayBuffer::new(vec![7]).bytes(), [7]);
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The highest length of a resizable buffer.
    ///
    /// ```
    /// # use blacklight::child_process::ArrayBuffer;
    /// let buffer = ArrayBuffer::resizable(vec![0; 2], 8);
    /// assert_eq!(buffer.and_then(|buffer| buffer.max_length()), Some(8));
    /// ```
    #[must_use]
    pub fn max_length(&self) -> Option<u32> {
        self.max_length
    }
}

macro_rules! view_kinds {
    ($($name:ident $number:literal $size:literal $native:literal $doc:literal;)*) => {
        /// The kinds of views that a message can carry; the numbers are those Node sends.
        ///
        /// ```
        /// use blacklight::child_process::ViewKind;
        ///
        /// assert_eq!(ViewKind::Uint16Array.name(), "Uint16Array");
        /// assert_eq!(ViewKind::Uint16Array.element_size(), 2);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ViewKind {
            $(#[doc = $doc] $name = $number,)*
        }

        impl ViewKind {
            /// The name of the constructor in JavaScript.
            ///
            /// ```
            /// # use blacklight::child_process::ViewKind;
            /// assert_eq!(ViewKind::Buffer.name(), "Buffer");
            /// ```
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ViewKind::$name => stringify!($name),)*
                }
            }

            /// The bytes of one element; 1 for a `DataView`.
            ///
            /// ```
            /// # use blacklight::child_process::ViewKind;
            /// assert_eq!(ViewKind::Float64Array.element_size(), 8);
            /// ```
            #[must_use]
            pub const fn element_size(self) -> usize {
                match self {
                    $(ViewKind::$name => $size,)*
                }
            }

            /// The kind with this number in Node's host objects.
            pub(super) const fn from_number(number: u32) -> Option<ViewKind> {
                match number {
                    $($number => Some(ViewKind::$name),)*
                    _ => None,
                }
            }

            /// The kind with this letter in V8's own views; a `Buffer` has none, its 0 is padding.
            pub(super) const fn from_native(letter: u8) -> Option<ViewKind> {
                match letter {
                    $($native => Some(ViewKind::$name),)*
                    _ => None,
                }
            }
        }
    };
}

view_kinds! {
    Int8Array 0 1 b'b' "`Int8Array`.";
    Uint8Array 1 1 b'B' "`Uint8Array`.";
    Uint8ClampedArray 2 1 b'C' "`Uint8ClampedArray`.";
    Int16Array 3 2 b'w' "`Int16Array`.";
    Uint16Array 4 2 b'W' "`Uint16Array`.";
    Int32Array 5 4 b'd' "`Int32Array`.";
    Uint32Array 6 4 b'D' "`Uint32Array`.";
    Float32Array 7 4 b'f' "`Float32Array`.";
    Float64Array 8 8 b'F' "`Float64Array`.";
    DataView 9 1 b'?' "`DataView`.";
    Buffer 10 1 0 "Node's `Buffer`.";
    BigInt64Array 11 8 b'q' "`BigInt64Array`.";
    BigUint64Array 12 8 b'Q' "`BigUint64Array`.";
    Float16Array 13 2 b'h' "`Float16Array`, which Node knows from version 24 on; older ones refuse it.";
}

/// A typed array, `DataView` or Node `Buffer`: bytes read as elements of one kind.
///
/// ```
/// use blacklight::child_process::{Value, View, ViewKind};
///
/// let view = View::new(ViewKind::Uint16Array, vec![1, 0, 2, 0]);
/// assert_eq!(view.len(), 2);
/// # #[cfg(target_endian = "little")]
/// assert_eq!(view.element(1), Some(Value::from(2)));
/// ```
#[derive(Clone)]
pub struct View {
    kind: ViewKind,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    Own(Vec<u8>),
    Window { buffer: Object, offset: usize, length: usize },
}

impl View {
    /// A view with bytes of its own; what does not fill the last element is cut off.
    ///
    /// ```
    /// # use blacklight::child_process::{View, ViewKind};
    /// assert_eq!(View::new(ViewKind::Int32Array, vec![0; 7]).bytes().len(), 4);
    /// ```
    #[must_use]
    pub fn new(kind: ViewKind, mut bytes: Vec<u8>) -> View {
        bytes.truncate(bytes.len() - bytes.len() % kind.element_size());
        View { kind, bytes: Bytes::Own(bytes) }
    }

    /// A view over a part of a shared buffer. Nothing when `buffer` is not an `ArrayBuffer`, the
    /// window is not inside it, or offset and length are not whole elements.
    ///
    /// ```
    /// use blacklight::child_process::{ArrayBuffer, Kind, Object, View, ViewKind};
    ///
    /// let buffer = Object::new(Kind::ArrayBuffer(ArrayBuffer::new(vec![1, 2, 3, 4])));
    /// let view = View::over(ViewKind::Uint8Array, &buffer, 1, 2);
    /// assert_eq!(view.map(|view| view.bytes().to_vec()), Some(vec![2, 3]));
    /// assert!(View::over(ViewKind::Uint16Array, &buffer, 1, 2).is_none());
    /// ```
    #[must_use]
    pub fn over(kind: ViewKind, buffer: &Object, offset: usize, length: usize) -> Option<View> {
        let Kind::ArrayBuffer(whole) = buffer.kind() else { return None };
        let inside = offset.checked_add(length).is_some_and(|end| end <= whole.bytes.len());
        let size = kind.element_size();
        (inside && offset.is_multiple_of(size) && length.is_multiple_of(size))
            .then(|| View { kind, bytes: Bytes::Window { buffer: buffer.clone(), offset, length } })
    }

    /// What the elements are.
    ///
    /// ```
    /// # use blacklight::child_process::{View, ViewKind};
    /// assert_eq!(View::new(ViewKind::Buffer, vec![]).kind(), ViewKind::Buffer);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ViewKind {
        self.kind
    }

    /// The bytes that the view shows.
    ///
    /// ```
    /// # use blacklight::child_process::{View, ViewKind};
    /// assert_eq!(View::new(ViewKind::Buffer, b"hi".to_vec()).bytes(), b"hi");
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Window { buffer, offset, length } => match buffer.kind() {
                Kind::ArrayBuffer(whole) => &whole.bytes[*offset..*offset + *length],
                _ => &[],
            },
        }
    }

    /// The number of elements; of bytes for a `DataView`.
    ///
    /// ```
    /// # use blacklight::child_process::{View, ViewKind};
    /// assert_eq!(View::new(ViewKind::Float32Array, vec![0; 8]).len(), 2);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes().len() / self.kind.element_size()
    }

    /// Whether there is no element.
    ///
    /// ```
    /// # use blacklight::child_process::{View, ViewKind};
    /// assert!(View::new(ViewKind::Float32Array, vec![]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// One element: a number, or a bigint for the two bigint kinds; a byte for a `DataView`.
    ///
    /// ```
    /// # use blacklight::child_process::{BigInt, Value, View, ViewKind};
    /// let view = View::new(ViewKind::BigInt64Array, (-1i64).to_ne_bytes().to_vec());
    /// assert_eq!(view.element(0), Some(Value::from(BigInt::from(-1))));
    /// assert_eq!(view.element(1), None);
    /// ```
    #[must_use]
    pub fn element(&self, index: usize) -> Option<Value> {
        let size = self.kind.element_size();
        let start = index.checked_mul(size)?;
        let bytes = self.bytes().get(start..start.checked_add(size)?)?;
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        let [a, b, c, d, ..] = wide;
        let number = match self.kind {
            ViewKind::Int8Array => f64::from(a as i8),
            ViewKind::Uint8Array
            | ViewKind::Uint8ClampedArray
            | ViewKind::DataView
            | ViewKind::Buffer => f64::from(a),
            ViewKind::Int16Array => f64::from(i16::from_ne_bytes([a, b])),
            ViewKind::Uint16Array => f64::from(u16::from_ne_bytes([a, b])),
            ViewKind::Int32Array => f64::from(i32::from_ne_bytes([a, b, c, d])),
            ViewKind::Uint32Array => f64::from(u32::from_ne_bytes([a, b, c, d])),
            ViewKind::Float16Array => half(u16::from_ne_bytes([a, b])),
            ViewKind::Float32Array => f64::from(f32::from_ne_bytes([a, b, c, d])),
            ViewKind::Float64Array => f64::from_ne_bytes(wide),
            ViewKind::BigInt64Array => {
                return Some(Value::BigInt(BigInt::from(i64::from_ne_bytes(wide))));
            }
            ViewKind::BigUint64Array => {
                return Some(Value::BigInt(BigInt::from(u64::from_ne_bytes(wide))));
            }
        };
        Some(Value::Number(number))
    }
}

impl PartialEq for View {
    /// Whether both show the same bytes as the same kind; the buffers behind may differ.
    fn eq(&self, other: &View) -> bool {
        self.kind == other.kind && self.bytes() == other.bytes()
    }
}

impl Eq for View {}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({} bytes)", self.kind.name(), self.bytes().len())
    }
}

/// A number of IEEE binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_covers_its_corners() {
        let cases = [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 2f64.powi(-24))];
        for (bits, number) in cases {
            assert_eq!(half(bits), number);
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
    }

    #[test]
    fn a_window_must_lie_inside_whole_elements() {
        let buffer = Object::new(Kind::ArrayBuffer(ArrayBuffer::new(vec![0; 8])));
        let over = |kind, offset, length| View::over(kind, &buffer, offset, length).is_some();
        assert!(over(ViewKind::Float64Array, 0, 8));
        assert!(over(ViewKind::Float64Array, 8, 0));
        assert!(!over(ViewKind::Uint8Array, 1, 8));
        assert!(!over(ViewKind::Uint8Array, usize::MAX, 2));
        assert!(!over(ViewKind::Int16Array, 0, 3));
        let date = Object::new(Kind::Date(0.0));
        assert!(View::over(ViewKind::Int8Array, &date, 0, 0).is_none());
    }
}
