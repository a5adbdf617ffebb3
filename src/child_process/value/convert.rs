//! Values from and to Rust's own types.

use std::fmt;
use std::ops::Index;

use super::{Array, BigInt, JsString, Kind, Object, Properties, UNDEFINED, Value};

/// The value is not what was asked for.
///
/// ```
/// use blacklight::child_process::{Value, WrongType};
///
/// assert_eq!(bool::try_from(&Value::Null), Err(WrongType));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value has another type or is out of range")
    }
}

impl std::error::Error for WrongType {}

impl Value {
    /// Whether this is `undefined`.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert!(Value::object([("a", 1)])["b"].is_undefined());
    /// ```
    #[must_use]
    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined)
    }

    /// Whether this is `null`.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert!(Value::from(None::<bool>).is_null());
    /// ```
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The truth value, of a primitive boolean.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::from(true).as_bool(), Some(true));
    /// ```
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The number, of a primitive number.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::from(1.5).as_f64(), Some(1.5));
    /// ```
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// The number, if it is whole and exact: from −(2^53 − 1) to 2^53 − 1.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::from(15).as_i64(), Some(15));
    /// assert_eq!(Value::from(1.5).as_i64(), None);
    /// ```
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        let number = self.as_f64()?;
        (number.trunc() == number && number.abs() <= 9_007_199_254_740_991.0)
            .then_some(number as i64)
    }

    /// The text of a primitive string that is well-formed.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::from("text").as_str(), Some("text"));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_string()?.as_str()
    }

    /// The string, well-formed or not.
    ///
    /// ```
    /// # use blacklight::child_process::{JsString, Value};
    /// let lone = JsString::from_utf16(&[0xd800]);
    /// assert_eq!(Value::from(lone.clone()).as_string(), Some(&lone));
    /// ```
    #[must_use]
    pub fn as_string(&self) -> Option<&JsString> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The bigint, of a primitive bigint.
    ///
    /// ```
    /// # use blacklight::child_process::{BigInt, Value};
    /// assert_eq!(Value::from(BigInt::from(1)).as_bigint(), Some(&BigInt::from(1)));
    /// ```
    #[must_use]
    pub fn as_bigint(&self) -> Option<&BigInt> {
        if let Value::BigInt(number) = self { Some(number) } else { None }
    }

    /// The object of whatever kind.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert!(Value::array([1]).as_object().is_some());
    /// ```
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Value::Object(object) = self { Some(object) } else { None }
    }

    /// The array.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::array([1, 2]).as_array().map(|array| array.len()), Some(2));
    /// ```
    #[must_use]
    pub fn as_array(&self) -> Option<&Array> {
        if let Kind::Array(array) = self.kind()? { Some(array) } else { None }
    }

    /// The properties of a plain object.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// let value = Value::object([("a", 1)]);
    /// for (key, value) in value.as_properties().into_iter().flat_map(|p| p.iter()) {
    ///     println!("{key}: {value:?}");
    /// }
    /// ```
    #[must_use]
    pub fn as_properties(&self) -> Option<&Properties> {
        if let Kind::Plain(properties) = self.kind()? { Some(properties) } else { None }
    }

    /// The bytes of a `Buffer`, another view or an `ArrayBuffer`.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::buffer([1, 2]).as_bytes(), Some(&[1, 2][..]));
    /// ```
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self.kind()? {
            Kind::View(view) => Some(view.bytes()),
            Kind::ArrayBuffer(buffer) => Some(buffer.bytes()),
            _ => None,
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;

    /// The property, `Undefined` when there is none.
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&UNDEFINED)
    }
}

impl Index<usize> for Value {
    type Output = Value;

    /// The element, `Undefined` when there is none.
    fn index(&self, index: usize) -> &Value {
        self.at(index).unwrap_or(&UNDEFINED)
    }
}

macro_rules! from_number {
    ($($type:ty)*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Value {
                Value::Number(f64::from(number))
            }
        }
    )*};
}
from_number!(i8 i16 i32 u8 u16 u32 f32 f64);

macro_rules! from_part {
    ($($type:ty => $variant:path;)*) => {$(
        impl From<$type> for Value {
            fn from(part: $type) -> Value {
                $variant(part)
            }
        }
    )*};
}
from_part! {
    bool => Value::Bool;
    BigInt => Value::BigInt;
    JsString => Value::String;
    Object => Value::Object;
}

impl From<Kind> for Value {
    fn from(kind: Kind) -> Value {
        Value::Object(Object::new(kind))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<Properties> for Value {
    fn from(properties: Properties) -> Value {
        Kind::Plain(properties).into()
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Kind::Array(array).into()
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    /// An array. Bytes that shall be bytes go through [`Value::buffer`].
    fn from(elements: Vec<V>) -> Value {
        Value::array(elements)
    }
}

impl<V: Into<Value>> From<Option<V>> for Value {
    /// `null` for `None`.
    fn from(value: Option<V>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<()> for Value {
    /// `undefined`.
    fn from((): ()) -> Value {
        Value::Undefined
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    /// An array.
    fn from_iter<T: IntoIterator<Item = V>>(iter: T) -> Value {
        Value::array(iter)
    }
}

macro_rules! try_into {
    ($($type:ty, $value:ident => $body:expr;)*) => {$(
        impl TryFrom<&Value> for $type {
            type Error = WrongType;

            fn try_from($value: &Value) -> Result<$type, WrongType> {
                $body.ok_or(WrongType)
            }
        }
    )*};
}
try_into! {
    bool, value => value.as_bool();
    f64, value => value.as_f64();
    i64, value => value.as_i64();
    i32, value => value.as_i64().and_then(|n| n.try_into().ok());
    u32, value => value.as_i64().and_then(|n| n.try_into().ok());
    u64, value => value.as_i64().and_then(|n| n.try_into().ok());
    usize, value => value.as_i64().and_then(|n| n.try_into().ok());
    String, value => value.as_str().map(str::to_owned);
}
