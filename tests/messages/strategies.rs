//! Values of all kinds for property tests.

use blacklight::child_process::{
    Array, ArrayBuffer, BigInt, ErrorName, ErrorObject, JsString, Kind, RegExp, RegExpFlags, Value,
    View, ViewKind,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<i32>().prop_map(f64::from),
        (-70i32..70).prop_map(f64::from),
        any::<f64>(),
        any::<i64>().prop_map(|n| n as f64),
        Just(-0.0),
        Just(f64::NAN),
    ]
}

pub(crate) fn string() -> impl Strategy<Value = JsString> {
    prop_oneof![
        "[a-z]{0,8}".prop_map(JsString::from),
        "[ -ÿ]{0,20}".prop_map(JsString::from),
        "\\PC{0,20}".prop_map(JsString::from),
        vec(any::<u16>(), 0..6).prop_map(|units| JsString::from_utf16(&units)),
        vec(prop_oneof![Just(0xd800u16), Just(0xdc00), Just(0x61)], 0..5)
            .prop_map(|units| JsString::from_utf16(&units)),
        "[\\x00-\\x1f\"\\\\/\u{2028}]{0,6}".prop_map(JsString::from),
    ]
}

fn key() -> impl Strategy<Value = JsString> {
    prop_oneof![
        4 => "[a-c]{1,2}".prop_map(JsString::from),
        2 => (0u32..20).prop_map(|n| n.to_string().into()),
        1 => any::<u32>().prop_map(|n| n.to_string().into()),
        1 => Just(JsString::from("__proto__")),
        1 => string(),
    ]
}

fn bigint() -> impl Strategy<Value = BigInt> {
    prop_oneof![
        any::<i64>().prop_map(BigInt::from),
        (any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(|(n, b)| BigInt::from_le_bytes(n, &b)),
    ]
}

fn primitive() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Undefined),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        4 => number().prop_map(Value::from),
        1 => bigint().prop_map(Value::from),
        4 => string().prop_map(Value::from),
    ]
}

const VIEWS: [ViewKind; 13] = [
    ViewKind::Int8Array,
    ViewKind::Uint8Array,
    ViewKind::Uint8ClampedArray,
    ViewKind::Int16Array,
    ViewKind::Uint16Array,
    ViewKind::Int32Array,
    ViewKind::Uint32Array,
    ViewKind::Float32Array,
    ViewKind::Float64Array,
    ViewKind::DataView,
    ViewKind::Buffer,
    ViewKind::BigInt64Array,
    ViewKind::BigUint64Array,
];

fn special() -> impl Strategy<Value = Value> {
    let flags = ["", "g", "dgimsuy", "v", "iy"];
    let bytes = || vec(any::<u8>(), 0..40);
    prop_oneof![
        number().prop_map(Value::date),
        (-9e15..9e15).prop_map(Value::date),
        ("[a-z]{1,5}", 0..flags.len()).prop_map(move |(source, f)| {
            let flags = RegExpFlags::from_text(flags[f]).unwrap();
            Kind::RegExp(RegExp { source: source.into(), flags }).into()
        }),
        any::<bool>().prop_map(|b| Kind::Boolean(b).into()),
        number().prop_map(|n| Kind::Number(n).into()),
        bigint().prop_map(|n| Kind::BigInt(n).into()),
        string().prop_map(|s| Kind::String(s).into()),
        bytes().prop_map(|b| Kind::ArrayBuffer(ArrayBuffer::new(b)).into()),
        (bytes(), 0u32..100).prop_map(|(b, more)| {
            let most = b.len() as u32 + more;
            Kind::ArrayBuffer(ArrayBuffer::resizable(b, most).unwrap()).into()
        }),
        (0..VIEWS.len(), bytes()).prop_map(|(k, b)| Kind::View(View::new(VIEWS[k], b)).into()),
    ]
}

fn error(cause: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let names = [
        ErrorName::Error,
        ErrorName::EvalError,
        ErrorName::RangeError,
        ErrorName::ReferenceError,
        ErrorName::SyntaxError,
        ErrorName::TypeError,
        ErrorName::UriError,
    ];
    (0..names.len(), proptest::option::of(string()), string(), proptest::option::of(cause))
        .prop_map(move |(name, message, stack, cause)| {
            let name = names[name];
            Kind::Error(Box::new(ErrorObject { name, message, stack: Some(stack), cause })).into()
        })
}

fn array(element: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let holes = (vec((0u32..12, element), 0..8), 0u32..14);
    (holes, vec(("[a-c]{1,2}", number()), 0..3)).prop_map(|((elements, length), named)| {
        let mut array = Array::new();
        for (index, value) in elements {
            array.set(index, value);
        }
        array.extend_to(length);
        if !named.is_empty() {
            array.properties_mut().extend(named);
        }
        array.into()
    })
}

/// A value inside which one of its parts stands twice, and which refers to itself.
fn shared(part: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    part.prop_map(|part| {
        Value::cyclic(|this| {
            let inner = Value::array([part.clone(), this.clone(), part.clone()]);
            Value::object([("a", part), ("b", inner.clone()), ("c", this), ("d", inner)])
        })
    })
}

/// Any value, of a depth and size to look at.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![3 => primitive(), 2 => special()].prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..8).prop_map(Value::from),
            1 => vec(number(), 0..8).prop_map(Value::from),
            1 => array(inner.clone()),
            4 => vec((key(), inner.clone()), 0..8).prop_map(Value::object),
            1 => vec((inner.clone(), inner.clone()), 0..5).prop_map(Value::map),
            1 => vec(inner.clone(), 0..5).prop_map(Value::set),
            1 => error(inner.clone()),
            1 => shared(inner),
        ]
    })
}

/// A value that JSON gives back as it was.
pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let finite = number().prop_filter("JSON has no others", |n| n.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        // JSON.stringify writes −0 as 0.
        finite.prop_map(|n| Value::from(n + 0.0)),
        string().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((key(), inner), 0..8).prop_map(Value::object),
        ]
    })
}
