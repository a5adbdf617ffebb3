//! What has an identity in JavaScript: objects of every kind.
//!
//! An [`Object`] is a counted reference with copy-on-write, so a message can be cloned and given to
//! another thread at no cost, and one object can stand in several places, as in JavaScript.
//! Counted references cannot form a cycle here, hence nothing can leak: where JavaScript has a
//! reference from an object's inside to the object itself, there is a [`Value::Cycle`].
//! Invariant: dropping takes no stack, however deep the nesting is.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Array, ArrayBuffer, BigInt, ErrorObject, JsString, Map, Properties, RegExp, Set, Value, View,
};

/// An object of any kind: a reference to it, cheap to clone.
///
/// Clones are the same object: a message that has it twice arrives with one object in two places.
/// Changing one through [`Object::kind_mut`] makes it another object first.
///
/// ```
/// use blacklight::child_process::{Kind, Object, Value};
///
/// let date = Object::new(Kind::Date(0.0));
/// let twice = Value::array([date.clone(), date.clone()]);
/// assert!(twice[0].as_object().is_some_and(|first| first.is(&date)));
/// ```
#[derive(Clone)]
pub struct Object(Arc<Node>);

#[derive(Clone)]
struct Node {
    cycle: Option<CycleId>,
    kind: Kind,
}

/// What an object is, with its contents.
///
/// ```
/// use blacklight::child_process::{Kind, Value};
///
/// let value = Value::date(1.0);
/// assert!(matches!(value.as_object().map(|object| object.kind()), Some(Kind::Date(ms)) if *ms == 1.0));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Kind {
    /// A plain object.
    Plain(Properties),
    /// An array.
    Array(Array),
    /// A `Date`: milliseconds since 1970, NaN for an invalid one.
    Date(f64),
    /// A `RegExp`.
    RegExp(RegExp),
    /// A `Map`.
    Map(Map),
    /// A `Set`.
    Set(Set),
    /// An `ArrayBuffer`.
    ArrayBuffer(ArrayBuffer),
    /// A typed array, `DataView` or Node `Buffer`.
    View(View),
    /// A `Boolean` object, `new Boolean(true)`.
    Boolean(bool),
    /// A `Number` object.
    Number(f64),
    /// A `BigInt` object.
    BigInt(BigInt),
    /// A `String` object.
    String(JsString),
    /// An `Error` of any of the built-in classes.
    Error(Box<ErrorObject>),
}

/// Names an object for references to it from its own inside.
///
/// ```
/// use blacklight::child_process::Value;
///
/// let value = Value::cyclic(|this| Value::object([("self", this)]));
/// let Value::Cycle(id) = value["self"] else { unreachable!() };
/// assert!(value.resolve(id).is_some_and(|target| target == &value));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CycleId(NonZeroU64);

impl CycleId {
    /// An identity that no other object in this process has.
    pub(super) fn fresh() -> CycleId {
        // 2^64 identities are not used up; the wrap to zero would only repeat the first.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        CycleId(NonZeroU64::new(next).unwrap_or(NonZeroU64::MIN))
    }
}

impl Object {
    /// A new object.
    ///
    /// ```
    /// use blacklight::child_process::{Kind, Object, Properties};
    ///
    /// let object = Object::new(Kind::Plain(Properties::from_iter([("a", 1)])));
    /// assert!(matches!(object.kind(), Kind::Plain(properties) if properties.len() == 1));
    /// ```
    #[must_use]
    pub fn new(kind: Kind) -> Object {
        Object(Arc::new(Node { cycle: None, kind }))
    }

    pub(super) fn with_cycle(kind: Kind, cycle: Option<CycleId>) -> Object {
        Object(Arc::new(Node { cycle, kind }))
    }

    /// What the object is.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Object};
    /// assert!(matches!(Object::new(Kind::Boolean(true)).kind(), Kind::Boolean(true)));
    /// ```
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// What the object is, to be changed. If there are other references to it, they keep the
    /// object as it was and this one becomes a copy.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Object};
    /// let mut object = Object::new(Kind::Date(0.0));
    /// let before = object.clone();
    /// *object.kind_mut() = Kind::Date(1.0);
    /// assert!(matches!(before.kind(), Kind::Date(0.0)));
    /// assert!(!before.is(&object));
    /// ```
    pub fn kind_mut(&mut self) -> &mut Kind {
        &mut Arc::make_mut(&mut self.0).kind
    }

    /// The contents: taken out if this is the only reference, else copied.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Object};
    /// assert!(matches!(Object::new(Kind::Number(2.0)).into_kind(), Kind::Number(2.0)));
    /// ```
    #[must_use]
    pub fn into_kind(self) -> Kind {
        match Arc::try_unwrap(self.0) {
            Ok(mut node) => node.take(),
            Err(shared) => shared.kind.clone(),
        }
    }

    /// Whether both are one and the same object.
    ///
    /// ```
    /// # use blacklight::child_process::{Kind, Object};
    /// let object = Object::new(Kind::Date(0.0));
    /// assert!(object.is(&object.clone()));
    /// assert!(!object.is(&Object::new(Kind::Date(0.0))));
    /// ```
    #[must_use]
    pub fn is(&self, other: &Object) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The identity that references from the inside use.
    ///
    /// ```
    /// # use blacklight::child_process::Value;
    /// let value = Value::cyclic(|this| Value::array([this]));
    /// assert!(value.as_object().and_then(|object| object.cycle()).is_some());
    /// ```
    #[must_use]
    pub fn cycle(&self) -> Option<CycleId> {
        self.0.cycle
    }

    pub(super) fn set_cycle(&mut self, cycle: CycleId) {
        Arc::make_mut(&mut self.0).cycle = Some(cycle);
    }

    /// Whether the object may stand in more than one place. Only then is it worth remembering.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// What tells objects apart while they live.
    pub(super) fn address(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

impl Node {
    fn take(&mut self) -> Kind {
        std::mem::replace(&mut self.kind, Kind::Boolean(false))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Kind::Plain(properties) = &self.kind
            && !properties.entries().iter().any(|(_, value)| matches!(value, Value::Object(_)))
        {
            // Most messages are flat, and there is nothing to be kept from the stack.
            return;
        }
        let mut pending = Vec::new();
        self.kind.take_objects(&mut pending);
        while let Some(Object(node)) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                let mut kind = node.take();
                kind.take_objects(&mut pending);
            }
        }
    }
}

impl Kind {
    /// Moves the objects inside to the list, one level of them.
    fn take_objects(&mut self, list: &mut Vec<Object>) {
        let mut take = |value: &mut Value| {
            if let Value::Object(_) = value
                && let Value::Object(object) = std::mem::replace(value, Value::Undefined)
            {
                list.push(object);
            }
        };
        match self {
            Kind::Plain(properties) => {
                properties.entries_mut().iter_mut().for_each(|(_, value)| take(value));
            }
            Kind::Array(array) => array.each_mut(&mut take),
            Kind::Map(map) => map.drain_values(&mut take),
            Kind::Set(set) => set.drain_values(&mut take),
            Kind::Error(error) => {
                if let Some(cause) = &mut error.cause {
                    take(cause);
                }
            }
            // A view's buffer has nothing inside.
            Kind::View(_)
            | Kind::Date(_)
            | Kind::RegExp(_)
            | Kind::ArrayBuffer(_)
            | Kind::Boolean(_)
            | Kind::Number(_)
            | Kind::BigInt(_)
            | Kind::String(_) => {}
        }
    }

    /// Calls `f` with every value inside, one level of them, in the order they are sent.
    pub(super) fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Value)) {
        match self {
            Kind::Plain(properties) => properties.entries().iter().for_each(|(_, v)| f(v)),
            Kind::Array(array) => {
                array.dense().iter().for_each(&mut *f);
                array.sparse().for_each(|(_, value)| f(value));
                let named = array.properties().map_or(&[][..], Properties::entries);
                named.iter().for_each(|(_, value)| f(value));
            }
            Kind::Map(map) => map.iter().for_each(|(key, value)| {
                f(key);
                f(value);
            }),
            Kind::Set(set) => set.iter().for_each(f),
            Kind::Error(error) => error.cause.iter().for_each(f),
            _ => {}
        }
    }
}

impl From<Kind> for Object {
    fn from(kind: Kind) -> Object {
        Object::new(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_and_cloning_deep_values_takes_no_stack() {
        let mut value = Value::Null;
        for n in 0..300_000 {
            value = match n % 5 {
                0 => Value::array([value]),
                1 => Value::object([("a", value)]),
                2 => Value::map([(Value::Null, value)]),
                3 => Value::set([value]),
                _ => Value::map([(value, Value::Null)]),
            };
        }
        let clone = value.clone();
        drop(value);
        drop(clone);
    }

    #[test]
    fn a_copy_is_made_only_when_there_are_others() {
        let mut object = Object::new(Kind::Plain(Properties::from_iter([("a", 1)])));
        let address = object.address();
        let _ = object.kind_mut();
        assert_eq!(object.address(), address);
        let other = object.clone();
        let _ = object.kind_mut();
        assert_ne!(object.address(), address);
        assert_eq!(Value::Object(object), Value::Object(other));
    }

    #[test]
    fn values_are_small_and_go_to_other_threads() {
        fn portable<T: Send + Sync + 'static>() {}
        portable::<Value>();
        assert_eq!(size_of::<Value>(), 24);
        assert!(size_of::<Node>() <= 64, "{}", size_of::<Node>());
    }
}
