//! Walks over whole values: comparing, showing, finding the target of a reference.
//!
//! A value comes from another process, may be deep, and may have one object in so many places that
//! the tree it stands for is exponentially larger than it. Invariant: comparing and finding keep
//! their own stack and visit a shared object once; showing stops at a depth and a number of parts.

use std::collections::HashSet;
use std::fmt;

use super::number::key_of;
use super::{Array, CycleId, Kind, Map, Object, Properties, Set, Value};

impl Value {
    /// The object that a reference inside this value means.
    ///
    /// ```
    /// use blacklight::child_process::Value;
    ///
    /// let value = Value::cyclic(|this| Value::object([("list", Value::array([this]))]));
    /// let Value::Cycle(id) = value["list"][0] else { unreachable!() };
    /// assert_eq!(value.resolve(id), Some(&value));
    /// ```
    #[must_use]
    pub fn resolve(&self, id: CycleId) -> Option<&Value> {
        let mut seen = HashSet::new();
        let mut pending = vec![self];
        while let Some(value) = pending.pop() {
            let Value::Object(object) = value else { continue };
            if object.cycle() == Some(id) {
                return Some(value);
            }
            if !object.is_shared() || seen.insert(object.address()) {
                object.kind().each(&mut |inner| pending.push(inner));
            }
        }
        None
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        let mut walk = Comparing { pending: Vec::new(), ..Comparing::default() };
        walk.add(self, other) && walk.run()
    }
}

impl Eq for Value {}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        let mut walk = Comparing { pending: vec![(self, other)], ..Comparing::default() };
        walk.run()
    }
}

impl Eq for Object {}

/// Two values side by side.
#[derive(Default)]
struct Comparing<'a> {
    pending: Vec<(&'a Object, &'a Object)>,
    seen: HashSet<(*const (), *const ())>,
    /// Which identity on the left is which on the right.
    cycles: HashSet<(CycleId, CycleId)>,
    references: Vec<(CycleId, CycleId)>,
}

impl<'a> Comparing<'a> {
    /// Compares what can be compared at once, leaves objects for later.
    fn add(&mut self, a: &'a Value, b: &'a Value) -> bool {
        match (a, b) {
            (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => same_number(*a, *b),
            (Value::BigInt(a), Value::BigInt(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Cycle(a), Value::Cycle(b)) => {
                if a != b {
                    self.references.push((*a, *b));
                }
                true
            }
            (Value::Object(a), Value::Object(b)) => {
                self.pending.push((a, b));
                true
            }
            _ => false,
        }
    }

    fn run(&mut self) -> bool {
        while let Some((a, b)) = self.pending.pop() {
            if a.is(b) {
                continue;
            }
            let shared = a.is_shared() && b.is_shared();
            if shared && !self.seen.insert((a.address(), b.address())) {
                continue;
            }
            if let (Some(a), Some(b)) = (a.cycle(), b.cycle()) {
                self.cycles.insert((a, b));
            }
            if !self.kinds(a.kind(), b.kind()) {
                return false;
            }
        }
        self.references.iter().all(|pair| self.cycles.contains(pair))
    }

    fn kinds(&mut self, a: &'a Kind, b: &'a Kind) -> bool {
        match (a, b) {
            (Kind::Plain(a), Kind::Plain(b)) => self.properties(a, b),
            (Kind::Array(a), Kind::Array(b)) => {
                let same_length = a.len() == b.len() && a.dense().len() == b.dense().len();
                same_length
                    && a.dense().iter().zip(b.dense()).all(|(a, b)| self.add(a, b))
                    && a.sparse().len() == b.sparse().len()
                    && a.sparse().zip(b.sparse()).all(|((i, a), (j, b))| i == j && self.add(a, b))
                    && match (a.properties(), b.properties()) {
                        (Some(a), Some(b)) => self.properties(a, b),
                        (a, b) => a.is_none() && b.is_none(),
                    }
            }
            (Kind::Map(a), Kind::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b.iter())
                        .all(|((k, v), (l, w))| self.add(k, l) && self.add(v, w))
            }
            (Kind::Set(a), Kind::Set(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| self.add(a, b))
            }
            (Kind::Error(a), Kind::Error(b)) => {
                a.name == b.name
                    && a.message == b.message
                    && a.stack == b.stack
                    && match (&a.cause, &b.cause) {
                        (Some(a), Some(b)) => self.add(a, b),
                        (a, b) => a.is_none() && b.is_none(),
                    }
            }
            (Kind::Date(a), Kind::Date(b)) | (Kind::Number(a), Kind::Number(b)) => {
                same_number(*a, *b)
            }
            (Kind::RegExp(a), Kind::RegExp(b)) => a == b,
            (Kind::ArrayBuffer(a), Kind::ArrayBuffer(b)) => a == b,
            (Kind::View(a), Kind::View(b)) => a == b,
            (Kind::Boolean(a), Kind::Boolean(b)) => a == b,
            (Kind::BigInt(a), Kind::BigInt(b)) => a == b,
            (Kind::String(a), Kind::String(b)) => a == b,
            _ => false,
        }
    }

    fn properties(&mut self, a: &'a Properties, b: &'a Properties) -> bool {
        a.len() == b.len()
            && a.entries().iter().zip(b.entries()).all(|((k, v), (l, w))| k == l && self.add(v, w))
    }
}

/// `Object.is`.
fn same_number(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// How deep `Debug` looks.
const DEPTH: usize = 24;
/// How many parts `Debug` shows.
const PARTS: usize = 2_000;

/// Shows values in one line.
struct Showing<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    depth: usize,
    left: usize,
    cycles: Vec<CycleId>,
}

impl<'a, 'f> Showing<'a, 'f> {
    fn new(out: &'a mut fmt::Formatter<'f>) -> Showing<'a, 'f> {
        Showing { out, depth: 0, left: PARTS, cycles: Vec::new() }
    }

    /// The number under which a cycle is shown: 1 for the first one met.
    fn number(&mut self, id: CycleId) -> usize {
        let known = self.cycles.iter().position(|known| *known == id);
        1 + known.unwrap_or_else(|| {
            self.cycles.push(id);
            self.cycles.len() - 1
        })
    }

    fn value(&mut self, value: &Value) -> fmt::Result {
        match value {
            Value::Undefined => self.out.write_str("undefined"),
            Value::Null => self.out.write_str("null"),
            Value::Bool(truth) => write!(self.out, "{truth}"),
            Value::Number(number) => self.out.write_str(&number_text(*number)),
            Value::BigInt(number) => write!(self.out, "{number:?}"),
            Value::String(text) => write!(self.out, "{text:?}"),
            Value::Object(object) => self.object(object),
            Value::Cycle(id) => {
                let number = self.number(*id);
                write!(self.out, "[Circular *{number}]")
            }
        }
    }

    fn object(&mut self, object: &Object) -> fmt::Result {
        if let Some(id) = object.cycle() {
            let number = self.number(id);
            write!(self.out, "<ref *{number}> ")?;
        }
        self.kind(object.kind())
    }

    fn kind(&mut self, kind: &Kind) -> fmt::Result {
        if self.depth == DEPTH {
            return self.out.write_str("…");
        }
        self.depth += 1;
        let result = match kind {
            Kind::Plain(properties) => self.properties(properties),
            Kind::Array(array) => self.array(array),
            Kind::Map(map) => self.map(map),
            Kind::Set(set) => self.set(set),
            Kind::Date(ms) => write!(self.out, "Date({})", number_text(*ms)),
            Kind::RegExp(expression) => write!(self.out, "{expression}"),
            Kind::ArrayBuffer(buffer) => {
                write!(self.out, "ArrayBuffer({} bytes)", buffer.bytes().len())
            }
            Kind::View(view) => write!(self.out, "{view:?}"),
            Kind::Boolean(truth) => write!(self.out, "[Boolean: {truth}]"),
            Kind::Number(number) => write!(self.out, "[Number: {}]", number_text(*number)),
            Kind::BigInt(number) => write!(self.out, "[BigInt: {number:?}]"),
            Kind::String(text) => write!(self.out, "[String: {text:?}]"),
            Kind::Error(error) => {
                write!(self.out, "[{error}")?;
                if let Some(cause) = &error.cause {
                    self.out.write_str(", cause: ")?;
                    self.value(cause)?;
                }
                self.out.write_str("]")
            }
        };
        self.depth -= 1;
        result
    }

    /// Parts between two brackets, until there have been too many.
    fn list<T>(
        &mut self,
        (open, close): (&str, &str),
        parts: impl Iterator<Item = T>,
        mut show: impl FnMut(&mut Self, T) -> fmt::Result,
    ) -> fmt::Result {
        self.out.write_str(open)?;
        for (number, part) in parts.enumerate() {
            self.out.write_str(if number > 0 { ", " } else { "" })?;
            if self.left == 0 {
                self.out.write_str("…")?;
                break;
            }
            self.left -= 1;
            show(self, part)?;
        }
        self.out.write_str(close)
    }

    fn properties(&mut self, properties: &Properties) -> fmt::Result {
        self.list(("{ ", " }"), properties.iter(), |show, (key, value)| {
            write!(show.out, "{key:?}: ")?;
            show.value(value)
        })
    }

    fn array(&mut self, array: &Array) -> fmt::Result {
        let mut next = 0;
        self.list(("[", ""), array.iter(), |show, (index, value)| {
            if index > next {
                write!(show.out, "<{} holes>, ", index - next)?;
            }
            next = index + 1;
            show.value(value)
        })?;
        if array.len() > next && self.left > 0 {
            write!(self.out, "{}<{} holes>", if next > 0 { ", " } else { "" }, array.len() - next)?;
        }
        if let Some(named) = array.properties() {
            self.out.write_str("; ")?;
            self.properties(named)?;
        }
        self.out.write_str("]")
    }

    fn map(&mut self, map: &Map) -> fmt::Result {
        self.list(("Map { ", " }"), map.iter(), |show, (key, value)| {
            show.value(key)?;
            show.out.write_str(" => ")?;
            show.value(value)
        })
    }

    fn set(&mut self, set: &Set) -> fmt::Result {
        self.list(("Set { ", " }"), set.iter(), Self::value)
    }
}

/// A number as it is shown, which unlike `String(…)` tells −0 from 0.
fn number_text(number: f64) -> String {
    if number == 0.0 && number.is_sign_negative() { "-0".to_owned() } else { key_of(number) }
}

macro_rules! debug {
    ($($type:ty, $method:ident;)*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Showing::new(f).$method(self)
            }
        }
    )*};
}
debug! {
    Value, value;
    Object, object;
    Kind, kind;
    Properties, properties;
    Array, array;
    Map, map;
    Set, set;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object in 2^levels places.
    fn doubling(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| Value::array([inner.clone(), inner]))
    }

    #[test]
    fn what_is_shared_is_visited_once() {
        let (a, b) = (doubling(200), doubling(200));
        assert_eq!(a, b);
        assert_ne!(a, doubling(199));
        assert!(format!("{a:?}").len() < 100_000);
        assert!(a.resolve(CycleId::fresh()).is_none());
    }

    #[test]
    fn deep_values_are_compared_and_shown() {
        let deep = |end: i32| (0..200_000).fold(Value::from(end), |v, _| Value::object([("k", v)]));
        assert_eq!(deep(1), deep(1));
        assert_ne!(deep(1), deep(2));
        assert!(format!("{:?}", deep(1)).ends_with(" } }"));
    }

    #[test]
    fn cycles_are_equal_when_they_close_in_the_same_place() {
        let outer = || Value::cyclic(|o| Value::array([Value::cyclic(|i| Value::array([i, o]))]));
        let other = Value::cyclic(|o| Value::array([Value::cyclic(|i| Value::array([o, i]))]));
        assert_eq!(outer(), outer());
        assert_ne!(outer(), other);
    }

    #[test]
    fn debug_reads_like_inspect() {
        let mut array = Array::from_iter([1]);
        array.set(3, -0.0);
        array.extend_to(6);
        let value = Value::object([
            ("a", Value::from(array)),
            ("m", Value::map([("k", f64::NAN)])),
            ("s", Value::set(["x"])),
        ]);
        assert_eq!(
            format!("{value:?}"),
            r#"{ "a": [1, <2 holes>, -0, <2 holes>], "m": Map { "k" => NaN }, "s": Set { "x" } }"#
        );
    }
}
