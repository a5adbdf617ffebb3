//! A JavaScript array: elements, holes, and named properties beside them.
//!
//! Nearly all arrays are a plain run of elements, and that is what one costs. Invariant: `dense`
//! are the elements before the first hole; `rest` exists only for an array that has a hole or a
//! named property, so a length of four thousand million takes no room.

use std::collections::BTreeMap;

use super::number::MAX_INDEX;
use super::{Properties, Value};

/// A JavaScript array, which may have holes and named properties.
///
/// ```
/// use blacklight::child_process::{Array, Value};
///
/// let mut array = Array::from_iter([1, 2]);
/// array.set(3, "after a hole");
/// assert_eq!(array.len(), 4);
/// assert_eq!(array.get(1), Some(&Value::from(2)));
/// assert_eq!(array.get(2), None);
/// assert_eq!(array.iter().count(), 3);
/// ```
#[derive(Clone, Default)]
pub struct Array {
    dense: Vec<Value>,
    rest: Option<Box<Rest>>,
}

#[derive(Clone, Default)]
struct Rest {
    length: u32,
    sparse: BTreeMap<u32, Value>,
    named: Properties,
}

impl Array {
    /// An array without elements.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// assert!(Array::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Array {
        Array::default()
    }

    pub(super) fn with_capacity(capacity: usize) -> Array {
        Array { dense: Vec::with_capacity(capacity), rest: None }
    }

    /// `length`: the number of elements and holes.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// assert_eq!(Array::from_iter([1, 2]).len(), 2);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.rest {
            None => self.dense.len(),
            Some(rest) => self.dense.len().max(rest.length as usize),
        }
    }

    /// Whether the length is 0.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// assert!(!Array::from_iter([1]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index; nothing for a hole and behind the end.
    ///
    /// ```
    /// # use blacklight::child_process::{Array, Value};
    /// assert_eq!(Array::from_iter([7]).get(0), Some(&Value::from(7)));
    /// ```
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.dense.get(index).or_else(|| {
            let index = u32::try_from(index).ok()?;
            self.rest.as_ref()?.sparse.get(&index)
        })
    }

    /// The element at an index, to be changed.
    ///
    /// ```
    /// # use blacklight::child_process::{Array, Value};
    /// let mut array = Array::from_iter([7]);
    /// if let Some(element) = array.get_mut(0) {
    ///     *element = Value::Null;
    /// }
    /// assert_eq!(array.get(0), Some(&Value::Null));
    /// ```
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Value> {
        if index < self.dense.len() {
            return self.dense.get_mut(index);
        }
        self.rest.as_mut()?.sparse.get_mut(&u32::try_from(index).ok()?)
    }

    /// Adds an element at the end.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// let mut array = Array::new();
    /// array.push("x");
    /// assert_eq!(array.len(), 1);
    /// ```
    pub fn push(&mut self, value: impl Into<Value>) {
        let length = self.len();
        match &self.rest {
            Some(rest) if rest.length as usize > self.dense.len() => {
                self.set(rest.length, value);
            }
            _ => {
                debug_assert_eq!(length, self.dense.len());
                self.dense.push(value.into());
            }
        }
    }

    /// Sets an element, with holes up to it if it is behind the end, and gives what was there.
    ///
    /// The index 4,294,967,295 is none: as in JavaScript it is the name of a property.
    ///
    /// ```
    /// # use blacklight::child_process::{Array, Value};
    /// let mut array = Array::from_iter([7]);
    /// assert_eq!(array.set(0, 8), Some(Value::from(7)));
    /// array.set(4_000_000_000, 1);
    /// assert_eq!(array.len(), 4_000_000_001);
    /// ```
    pub fn set(&mut self, index: u32, value: impl Into<Value>) -> Option<Value> {
        let value = value.into();
        if index > MAX_INDEX {
            return self.properties_mut().insert(index.to_string(), value);
        }
        let at = index as usize;
        if let Some(element) = self.dense.get_mut(at) {
            return Some(std::mem::replace(element, value));
        }
        if at > self.dense.len() {
            let rest = self.rest.get_or_insert_default();
            rest.length = rest.length.max(index + 1);
            return rest.sparse.insert(index, value);
        }
        self.dense.push(value);
        // What followed the hole that has just been filled joins the run.
        if let Some(rest) = &mut self.rest {
            while let Some(entry) = rest.sparse.first_entry()
                && *entry.key() as usize == self.dense.len()
            {
                self.dense.push(entry.remove());
            }
            if rest.length as usize <= self.dense.len() && rest.named.is_empty() {
                self.rest = None;
            }
        }
        None
    }

    /// Makes the array at least this long, with holes.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// let mut array = Array::new();
    /// array.extend_to(3);
    /// assert_eq!((array.len(), array.get(0)), (3, None));
    /// ```
    pub fn extend_to(&mut self, length: u32) {
        if length as usize > self.len() {
            self.rest.get_or_insert_default().length = length;
        }
    }

    /// The elements with their indices, without the holes.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// let mut array = Array::new();
    /// array.set(5, true);
    /// assert_eq!(array.iter().map(|(index, _)| index).collect::<Vec<_>>(), [5]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.dense.iter().enumerate().chain(self.sparse().map(|(index, v)| (*index as usize, v)))
    }

    /// The elements, if there is no hole among them.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// assert_eq!(Array::from_iter([1, 2]).as_slice().map(<[_]>::len), Some(2));
    /// ```
    #[must_use]
    pub fn as_slice(&self) -> Option<&[Value]> {
        (self.len() == self.dense.len()).then_some(&self.dense)
    }

    /// The named properties, of which most arrays have none.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// let mut array = Array::new();
    /// array.properties_mut().insert("index", 3);
    /// assert_eq!(array.properties().map(|properties| properties.len()), Some(1));
    /// ```
    #[must_use]
    pub fn properties(&self) -> Option<&Properties> {
        self.rest.as_ref().map(|rest| &rest.named).filter(|named| !named.is_empty())
    }

    /// The named properties, to be changed. Keys that are array indices do not belong here.
    ///
    /// ```
    /// # use blacklight::child_process::Array;
    /// # let mut array = Array::new();
    /// array.properties_mut().insert("input", "text");
    /// ```
    pub fn properties_mut(&mut self) -> &mut Properties {
        &mut self.rest.get_or_insert_default().named
    }

    /// The elements before the first hole.
    pub(super) fn dense(&self) -> &[Value] {
        &self.dense
    }

    pub(super) fn dense_mut(&mut self) -> &mut Vec<Value> {
        &mut self.dense
    }

    /// The elements behind the first hole.
    pub(super) fn sparse(&self) -> std::collections::btree_map::Iter<'_, u32, Value> {
        static NONE: BTreeMap<u32, Value> = BTreeMap::new();
        self.rest.as_ref().map_or(&NONE, |rest| &rest.sparse).iter()
    }

    /// Calls `f` with every value in the array.
    pub(super) fn each_mut(&mut self, f: &mut dyn FnMut(&mut Value)) {
        self.dense.iter_mut().for_each(&mut *f);
        if let Some(rest) = &mut self.rest {
            rest.sparse.values_mut().for_each(&mut *f);
            rest.named.entries_mut().iter_mut().for_each(|(_, value)| f(value));
        }
    }
}

impl<V: Into<Value>> FromIterator<V> for Array {
    fn from_iter<T: IntoIterator<Item = V>>(iter: T) -> Array {
        Array { dense: iter.into_iter().map(Into::into).collect(), rest: None }
    }
}

impl<V: Into<Value>> Extend<V> for Array {
    fn extend<T: IntoIterator<Item = V>>(&mut self, iter: T) {
        for value in iter {
            self.push(value);
        }
    }
}

impl From<Vec<Value>> for Array {
    fn from(dense: Vec<Value>) -> Array {
        Array { dense, rest: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_the_holes_gives_a_plain_array() {
        let mut array = Array::new();
        for index in [3, 1, 2] {
            array.set(index, index);
        }
        assert!(array.as_slice().is_none());
        assert_eq!(array.iter().map(|(index, _)| index).collect::<Vec<_>>(), [1, 2, 3]);
        array.set(0, 0);
        assert_eq!(array.as_slice().map(<[_]>::len), Some(4));
        assert!(array.rest.is_none());
    }

    #[test]
    fn pushing_goes_behind_the_holes() {
        let mut array = Array::from_iter([1]);
        array.extend_to(3);
        array.push("end");
        assert_eq!((array.len(), array.get(2)), (4, None));
        assert_eq!(array.get(3), Some(&Value::from("end")));
    }

    #[test]
    fn a_huge_length_takes_no_room() {
        let mut array = Array::new();
        array.extend_to(u32::MAX);
        array.set(MAX_INDEX, 1);
        array.set(u32::MAX, 1);
        assert_eq!(array.len(), u32::MAX as usize);
        assert_eq!(array.properties().map(Properties::len), Some(1));
    }
}
