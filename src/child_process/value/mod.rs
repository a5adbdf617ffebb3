//! A JavaScript value as messages carry it.
//!
//! [`Value`] has the primitives in line and everything with an identity behind one [`Object`].
//! Invariant: a value is finite and free of reference cycles, so that every walk over it ends; walks
//! keep their own stack, so that depth is no danger.

mod array;
mod bigint;
mod binary;
mod collections;
mod convert;
mod error;
mod frame;
pub mod json;
mod number;
mod object;
mod properties;
mod special;
mod string;
mod table;
pub mod v8;
mod walk;

pub use array::Array;
pub use bigint::{BigInt, BigIntRange};
pub use binary::{ArrayBuffer, View, ViewKind};
pub use collections::{Map, Set};
pub use convert::WrongType;
pub use error::{CodecError, Limits};
pub use frame::{Decoder, Encoder, Serialization};
pub use object::{CycleId, Kind, Object};
pub use properties::Properties;
pub use special::{ErrorName, ErrorObject, RegExp, RegExpFlags};
pub use string::JsString;

/// A JavaScript value.
///
/// Comparing is structural: equal trees are equal, whatever is shared inside them; numbers compare
/// as `Object.is` does (NaN is NaN, −0 is not 0), properties compare with their order.
/// `Debug` shows what Node's `util.inspect` would, shortened where it is deep or long.
///
/// ```
/// use blacklight::child_process::Value;
///
/// let message = Value::object([
///     ("cmd", Value::from("open")),
///     ("ports", Value::array([80, 443])),
/// ]);
/// assert_eq!(message["cmd"].as_str(), Some("open"));
/// assert_eq!(message["ports"][1].as_f64(), Some(443.0));
/// assert_eq!(message["absent"], Value::Undefined);
/// ```
#[derive(Clone, Default)]
pub enum Value {
    /// `undefined`.
    #[default]
    Undefined,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number: always a double, as in JavaScript.
    Number(f64),
    /// A bigint.
    BigInt(BigInt),
    /// A string.
    String(JsString),
    /// An object of any kind, arrays among them.
    Object(Object),
    /// A reference to an object that this value is inside of; [`Value::resolve`] finds it.
    Cycle(CycleId),
}

/// What indexing gives for what is not there.
static UNDEFINED: Value = Value::Undefined;

impl Value {
    /// A plain object with these properties.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::object([("a", 1)])["a"], Value::from(1));
    /// ```
    pub fn object<K: Into<JsString>, V: Into<Value>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Value {
        Kind::Plain(properties.into_iter().collect()).into()
    }

    /// An array of these elements.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::array([1, 2])[1], Value::from(2));
    /// ```
    pub fn array<V: Into<Value>>(elements: impl IntoIterator<Item = V>) -> Value {
        Kind::Array(elements.into_iter().collect()).into()
    }

    /// A `Map` with these entries.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Value};
    /// let map = Value::map([(1, "one")]);
    /// assert!(matches!(map.kind(), Some(Kind::Map(map)) if map.len() == 1));
    /// ```
    pub fn map<K: Into<Value>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Value {
        Kind::Map(entries.into_iter().collect()).into()
    }

    /// A `Set` of these values.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Value};
    /// assert!(matches!(Value::set([1, 1]).kind(), Some(Kind::Set(set)) if set.len() == 1));
    /// ```
    pub fn set<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Value {
        Kind::Set(values.into_iter().collect()).into()
    }

    /// A `Date`, in milliseconds since 1970. As in JavaScript, fractions are cut off and what is
    /// more than 100,000,000 days away is invalid.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Value};
    /// assert!(matches!(Value::date(1.5).kind(), Some(Kind::Date(1.0))));
    /// ```
    #[must_use]
    pub fn date(milliseconds: f64) -> Value {
        Kind::Date(clip_time(milliseconds)).into()
    }

    /// A Node `Buffer`.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::buffer("hi").as_bytes(), Some(&b"hi"[..]));
    /// ```
    pub fn buffer(bytes: impl Into<Vec<u8>>) -> Value {
        Kind::View(View::new(ViewKind::Buffer, bytes.into())).into()
    }

    /// An error with a message.
    ///
    /// ```
    /// # use blacklight::child_process::{ErrorName, Value};
    /// let error = Value::error(ErrorName::TypeError, "not a number");
    /// assert_eq!(error.get("message").and_then(Value::as_str), None);
    /// ```
    #[must_use]
    pub fn error(name: ErrorName, message: &str) -> Value {
        Kind::Error(Box::new(ErrorObject::new(name, message))).into()
    }

    /// An object that refers to itself: `make` gets the reference to put inside and gives the
    /// object. (If what it gives is not an object, there is nothing to refer to.)
    ///
    /// ```
    /// use blacklight::child_process::Value;
    ///
    /// let parent = Value::cyclic(|parent| {
    ///     Value::object([("child", Value::object([("parent", parent)]))])
    /// });
    /// assert_eq!(format!("{parent:?}"), r#"<ref *1> { "child": { "parent": [Circular *1] } }"#);
    /// ```
    pub fn cyclic(make: impl FnOnce(Value) -> Value) -> Value {
        let id = CycleId::fresh();
        let mut value = make(Value::Cycle(id));
        if let Value::Object(object) = &mut value {
            object.set_cycle(id);
        }
        value
    }

    /// What kind of object the value is.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert!(Value::from(1).kind().is_none());
    /// ```
    #[must_use]
    pub fn kind(&self) -> Option<&Kind> {
        self.as_object().map(Object::kind)
    }

    /// The property of a plain object, or the named property of an array.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// let value = Value::object([("a", 1)]);
    /// assert_eq!(value.get("a").and_then(Value::as_f64), Some(1.0));
    /// assert!(value.get("b").is_none());
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self.kind()? {
            Kind::Plain(properties) => properties.get(key),
            Kind::Array(array) => array.properties()?.get(key),
            _ => None,
        }
    }

    /// The element of an array.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// assert_eq!(Value::array([7]).at(0), Some(&Value::from(7)));
    /// ```
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_array()?.get(index)
    }

    /// Removes a property of a plain object and gives its value.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// let mut envelope = Value::object([("msg", "inside")]);
    /// assert_eq!(envelope.take("msg"), Some(Value::from("inside")));
    /// assert_eq!(envelope.take("msg"), None);
    /// ```
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.get(key)?;
        match self.kind_mut()? {
            Kind::Plain(properties) => properties.remove(key),
            Kind::Array(array) => array.properties_mut().remove(key),
            _ => None,
        }
    }

    /// The object inside, to be changed; see [`Object::kind_mut`].
    ///
    /// ```
    /// use blacklight::child_process::{Kind, Value};
    ///
    /// let mut value = Value::object([("a", 1)]);
    /// if let Some(Kind::Plain(properties)) = value.kind_mut() {
    ///     properties.insert("b", 2);
    /// }
    /// assert_eq!(value["b"], Value::from(2));
    /// ```
    pub fn kind_mut(&mut self) -> Option<&mut Kind> {
        match self {
            Value::Object(object) => Some(object.kind_mut()),
            _ => None,
        }
    }
}

/// ECMA-262, TimeClip.
fn clip_time(milliseconds: f64) -> f64 {
    // Adding 0 turns −0 into 0.
    if milliseconds.abs() <= 8.64e15 { milliseconds.trunc() + 0.0 } else { f64::NAN }
}
