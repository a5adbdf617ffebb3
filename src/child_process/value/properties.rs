//! The named values of an object, in the order that JavaScript gives them.
//!
//! Invariant: keys that are array indices come first, ascending; the others follow in the order
//! they were added. [`Filling`] suspends that while a decoder adds many, and restores it at once.

use std::hash::{Hash, Hasher};

use super::number::array_index;
use super::table::{Key, Table};
use super::{JsString, Value};

impl Key for JsString {
    fn feed<H: Hasher>(&self, state: &mut H) {
        self.hash(state);
    }

    fn same(&self, other: &JsString) -> bool {
        self == other
    }
}

/// The properties of an object: array-index keys ascending, then the others as they were added.
///
/// ```
/// use blacklight::child_process::Properties;
///
/// let mut properties = Properties::new();
/// properties.insert("name", "x");
/// properties.insert("7", true);
/// let keys: Vec<_> = properties.iter().map(|(key, _)| key.to_string()).collect();
/// assert_eq!(keys, ["7", "name"]);
/// assert_eq!(properties.get("name").and_then(|value| value.as_str()), Some("x"));
/// ```
#[derive(Clone, Default)]
pub struct Properties {
    table: Table<JsString, Value>,
    /// How many of the first keys are array indices.
    indices: usize,
}

impl Properties {
    /// No properties.
    ///
    /// ```
    /// # use blacklight::child_process::Properties;
    /// assert!(Properties::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Properties {
        Properties::default()
    }

    /// How many there are.
    ///
    /// ```
    /// # use blacklight::child_process::Properties;
    /// assert_eq!(Properties::from_iter([("a", 1), ("b", 2), ("a", 3)]).len(), 2);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.entries().len()
    }

    /// Whether there are none.
    ///
    /// ```
    /// # use blacklight::child_process::Properties;
    /// assert!(!Properties::from_iter([("a", 1)]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key. (A key with lone surrogates is found by [`Properties::iter`] only.)
    ///
    /// ```
    /// # use blacklight::child_process::Properties;
    /// assert!(Properties::from_iter([("a", 1)]).get("b").is_none());
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|position| &self.table.entries()[position].1)
    }

    /// The value of a key, to be changed.
    ///
    /// ```
    /// # use blacklight::child_process::{Properties, Value};
    /// let mut properties = Properties::from_iter([("a", 1)]);
    /// if let Some(value) = properties.get_mut("a") {
    ///     *value = Value::Null;
    /// }
    /// assert_eq!(properties.get("a"), Some(&Value::Null));
    /// ```
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let position = self.position(key)?;
        Some(&mut self.table.entries_mut()[position].1)
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.table.find(|hasher| key.as_bytes().hash(hasher), |own| own == key)
    }

    /// Sets a property and gives the value that it had.
    ///
    /// ```
    /// # use blacklight::child_process::{Properties, Value};
    /// let mut properties = Properties::new();
    /// assert_eq!(properties.insert("a", 1), None);
    /// assert_eq!(properties.insert("a", 2), Some(Value::from(1)));
    /// ```
    pub fn insert(&mut self, key: impl Into<JsString>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        if let Some(position) = self.table.find_key(&key) {
            return Some(std::mem::replace(&mut self.table.entries_mut()[position].1, value));
        }
        match index_of(&key) {
            None => self.table.push_new(key, value),
            Some(index) => {
                let indices = &self.table.entries()[..self.indices];
                let position = indices.partition_point(|(key, _)| index_of(key) < Some(index));
                self.table.insert_new_at(position, key, value);
                self.indices += 1;
            }
        }
        None
    }

    /// Removes a property and gives its value.
    ///
    /// ```
    /// # use blacklight::child_process::{Properties, Value};
    /// let mut properties = Properties::from_iter([("a", 1)]);
    /// assert_eq!(properties.remove("a"), Some(Value::from(1)));
    /// assert_eq!(properties.remove("a"), None);
    /// ```
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let position = self.position(key)?;
        if position < self.indices {
            self.indices -= 1;
        }
        Some(self.table.remove(position).1)
    }

    /// The keys and values in JavaScript's order.
    ///
    /// ```
    /// # use blacklight::child_process::Properties;
    /// let properties = Properties::from_iter([("a", 1), ("b", 2)]);
    /// let sum: f64 = properties.iter().filter_map(|(_, value)| value.as_f64()).sum();
    /// assert_eq!(sum, 3.0);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&JsString, &Value)> {
        self.table.entries().iter().map(|(key, value)| (key, value))
    }

    pub(super) fn entries(&self) -> &[(JsString, Value)] {
        self.table.entries()
    }

    pub(super) fn entries_mut(&mut self) -> &mut [(JsString, Value)] {
        self.table.entries_mut()
    }

    /// How many of the first keys are array indices.
    pub(super) fn indices(&self) -> usize {
        self.indices
    }
}

impl<K: Into<JsString>, V: Into<Value>> FromIterator<(K, V)> for Properties {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Properties {
        let mut filling = Filling::default();
        for (key, value) in iter {
            filling.set(key.into(), value.into());
        }
        filling.finish()
    }
}

impl<K: Into<JsString>, V: Into<Value>> Extend<(K, V)> for Properties {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, iter: T) {
        for (key, value) in iter {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Properties {
    type Item = (JsString, Value);
    type IntoIter = std::vec::IntoIter<(JsString, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.table.into_entries().into_iter()
    }
}

/// The array index that a key is.
pub(super) fn index_of(key: &JsString) -> Option<u32> {
    key.utf8().ok().and_then(array_index)
}

/// Properties that are being added one after the other, sorted once at the end: keeping the order
/// at each step would be quadratic for keys that come in a bad order.
#[derive(Default)]
pub(super) struct Filling {
    properties: Properties,
    last_index: u32,
    disordered: bool,
}

impl Filling {
    /// Sets a property; whether the key is new.
    pub(super) fn set(&mut self, key: JsString, value: Value) -> bool {
        let own = &mut self.properties;
        let index = index_of(&key);
        let length = own.len();
        if own.table.insert(key, value).is_some() {
            return false;
        }
        if let Some(index) = index {
            let in_order = own.indices == length && (length == 0 || self.last_index < index);
            self.disordered |= !in_order;
            self.last_index = index;
            own.indices += 1;
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.properties.len()
    }

    pub(super) fn finish(mut self) -> Properties {
        if self.disordered {
            self.properties.table.sort_by_rank(|key| index_of(key).map_or(u64::MAX, u64::from));
        }
        self.properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(properties: &Properties) -> Vec<String> {
        properties.iter().map(|(key, _)| key.to_string()).collect()
    }

    #[test]
    fn indices_come_first_however_they_are_added() {
        let order = ["b", "10", "a", "9", "4294967295", "0", "01"];
        let expected = ["0", "9", "10", "b", "a", "4294967295", "01"];
        let filled = Properties::from_iter(order.map(|key| (key, 1)));
        assert_eq!(keys(&filled), expected);
        let mut inserted = Properties::new();
        inserted.extend(order.map(|key| (key, 1)));
        assert_eq!(keys(&inserted), expected);
        inserted.remove("9");
        inserted.insert("3", 1);
        assert_eq!(keys(&inserted)[..3], ["0", "3", "10"]);
    }

    #[test]
    fn large_objects_keep_their_order_and_are_found() {
        let mut properties = Properties::new();
        for n in (0..500).rev() {
            properties.insert(format!("{n}"), n);
            properties.insert(format!("k{n}"), n);
        }
        assert_eq!(properties.len(), 1000);
        assert_eq!(properties.get("k77"), Some(&Value::from(77)));
        assert_eq!(properties.get("77"), Some(&Value::from(77)));
        assert_eq!(keys(&properties)[499..501], ["499", "k499"]);
    }
}
