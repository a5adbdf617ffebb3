//! `Map` and `Set`: any values as keys, found as JavaScript finds them (SameValueZero).
//!
//! Invariant: no two keys are the same in that sense: numbers by value with NaN equal to itself and
//! −0 equal to 0, text and bigints by content, objects by identity.

use std::hash::{Hash, Hasher};

use super::Value;
use super::table::{Key, Table};

impl Key for Value {
    fn feed<H: Hasher>(&self, state: &mut H) {
        match self {
            Value::Undefined => state.write_u8(0),
            Value::Null => state.write_u8(1),
            Value::Bool(truth) => truth.hash(state),
            Value::Number(number) if *number == 0.0 => state.write_u64(0),
            Value::Number(number) if number.is_nan() => state.write_u64(1),
            Value::Number(number) => state.write_u64(number.to_bits()),
            Value::BigInt(number) => number.hash(state),
            Value::String(text) => text.hash(state),
            Value::Object(object) => object.address().hash(state),
            Value::Cycle(id) => id.hash(state),
        }
    }

    fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::BigInt(a), Value::BigInt(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => a.is(b),
            (Value::Cycle(a), Value::Cycle(b)) => a == b,
            (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
            _ => false,
        }
    }
}

/// A JavaScript `Map`, in the order of insertion.
///
/// ```
/// use blacklight::child_process::{Map, Value};
///
/// let mut map = Map::new();
/// map.insert(1, "one");
/// map.insert(f64::NAN, "not a number");
/// assert_eq!(map.get(&Value::from(f64::NAN)), Some(&Value::from("not a number")));
/// ```
#[derive(Clone, Default)]
pub struct Map(Table<Value, Value>);

impl Map {
    /// An empty map.
    ///
    /// ```
    /// # use blacklight::child_process::Map;
    /// assert!(Map::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Map {
        Map::default()
    }

    /// The number of entries.
    ///
    /// ```
    /// # use blacklight::child_process::Map;
    /// assert_eq!(Map::from_iter([(1, 2), (1, 3)]).len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries().len()
    }

    /// Whether there are no entries.
    ///
    /// ```
    /// # use blacklight::child_process::Map;
    /// assert!(!Map::from_iter([(1, 2)]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    ///
    /// ```
    /// # use blacklight::child_process::{Map, Value};
    /// assert_eq!(Map::from_iter([("a", 2)]).get(&"a".into()), Some(&Value::from(2)));
    /// ```
    #[must_use]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        self.0.find_key(key).map(|position| &self.0.entries()[position].1)
    }

    /// Sets an entry and gives the value that the key had.
    ///
    /// ```
    /// # use blacklight::child_process::Map;
    /// assert_eq!(Map::new().insert(1, 2), None);
    /// ```
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) -> Option<Value> {
        self.0.insert(normal(key.into()), value.into())
    }

    /// Removes an entry and gives its value.
    ///
    /// ```
    /// # use blacklight::child_process::{Map, Value};
    /// assert_eq!(Map::from_iter([(1, 2)]).remove(&1.into()), Some(Value::from(2)));
    /// ```
    pub fn remove(&mut self, key: &Value) -> Option<Value> {
        self.0.find_key(key).map(|position| self.0.remove(position).1)
    }

    /// The entries in order.
    ///
    /// ```
    /// # use blacklight::child_process::Map;
    /// assert_eq!(Map::from_iter([(1, 2)]).iter().count(), 1);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> {
        self.0.entries().iter().map(|(key, value)| (key, value))
    }

    pub(super) fn entries(&self) -> &[(Value, Value)] {
        self.0.entries()
    }

    /// Calls `f` with all keys and values of a map that is not used any more.
    pub(super) fn drain_values(&mut self, f: &mut dyn FnMut(&mut Value)) {
        for (key, value) in self.0.entries_mut() {
            f(key);
            f(value);
        }
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Map {
        let mut map = Map::new();
        for (key, value) in iter {
            map.insert(key, value);
        }
        map
    }
}

/// A JavaScript `Set`, in the order of insertion.
///
/// ```
/// use blacklight::child_process::{Set, Value};
///
/// let set = Set::from_iter([1, 2, 1]);
/// assert_eq!(set.len(), 2);
/// assert!(set.contains(&Value::from(2)));
/// ```
#[derive(Clone, Default)]
pub struct Set(Table<Value, ()>);

impl Set {
    /// An empty set.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert!(Set::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Set {
        Set::default()
    }

    /// The number of values.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert_eq!(Set::from_iter([0.0, -0.0]).len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries().len()
    }

    /// Whether there are no values.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert!(!Set::from_iter([1]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a value is in the set.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert!(!Set::from_iter([1]).contains(&2.into()));
    /// ```
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        self.0.find_key(value).is_some()
    }

    /// Adds a value; whether it is new.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// let mut set = Set::new();
    /// assert!(set.insert(1));
    /// assert!(!set.insert(1));
    /// ```
    pub fn insert(&mut self, value: impl Into<Value>) -> bool {
        self.0.insert(normal(value.into()), ()).is_none()
    }

    /// Removes a value; whether it was there.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert!(Set::from_iter([1]).remove(&1.into()));
    /// ```
    pub fn remove(&mut self, value: &Value) -> bool {
        self.0.find_key(value).map(|position| self.0.remove(position)).is_some()
    }

    /// The values in order.
    ///
    /// ```
    /// # use blacklight::child_process::Set;
    /// assert_eq!(Set::from_iter([1, 2]).iter().count(), 2);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.entries().iter().map(|(value, ())| value)
    }

    pub(super) fn entries(&self) -> &[(Value, ())] {
        self.0.entries()
    }

    /// Calls `f` with all values of a set that is not used any more.
    pub(super) fn drain_values(&mut self, f: &mut dyn FnMut(&mut Value)) {
        self.0.entries_mut().iter_mut().for_each(|(value, ())| f(value));
    }
}

impl<V: Into<Value>> FromIterator<V> for Set {
    fn from_iter<T: IntoIterator<Item = V>>(iter: T) -> Set {
        let mut set = Set::new();
        for value in iter {
            set.insert(value);
        }
        set
    }
}

/// A key as it is kept: JavaScript turns −0 into 0.
fn normal(key: Value) -> Value {
    if key == Value::Number(-0.0) { Value::Number(0.0) } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_as_in_javascript() {
        let object = Value::array([1]);
        let mut map = Map::new();
        map.insert(object.clone(), 1);
        map.insert(Value::array([1]), 2);
        map.insert(1, 3);
        map.insert("1", 4);
        map.insert(-0.0, 5);
        assert_eq!(map.len(), 5);
        assert_eq!(map.get(&object), Some(&Value::from(1)));
        assert_eq!(map.get(&Value::from(0)), Some(&Value::from(5)));
        assert!(matches!(map.entries()[4].0, Value::Number(zero) if zero.is_sign_positive()));
        assert_eq!(map.get(&Value::array([1])), None);
    }
}
