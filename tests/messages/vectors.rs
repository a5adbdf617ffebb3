//! Bytes recorded from Node v20.20.2, read and written.

use blacklight::child_process::{
    Array, ArrayBuffer, BigInt, Encoder, ErrorName, ErrorObject, Kind, Limits, Map, RegExp,
    RegExpFlags, Serialization, Set, Value, View, ViewKind, v8,
};

use crate::{hex, unhex};

fn array(elements: Vec<Value>) -> Value {
    elements.into()
}

fn object(properties: Vec<(&str, Value)>) -> Value {
    Value::object(properties)
}

fn big(number: i128) -> Value {
    BigInt::from(number).into()
}

fn regexp(source: &str, flags: &str) -> Value {
    let flags = RegExpFlags::from_text(flags).unwrap();
    Kind::RegExp(RegExp { source: source.into(), flags }).into()
}

fn view(kind: ViewKind, bytes: &[u8]) -> Value {
    Kind::View(View::new(kind, bytes.to_vec())).into()
}

fn error(name: ErrorName, cause: Option<Value>) -> Value {
    let parts = ErrorObject { name, message: Some("m".into()), stack: Some("S".into()), cause };
    Kind::Error(Box::new(parts)).into()
}

/// An array with holes: the elements with their indices, and the length.
fn holey(length: u32, elements: Vec<(u32, Value)>) -> Value {
    let mut array = Array::new();
    for (index, value) in elements {
        array.set(index, value);
    }
    array.extend_to(length);
    array.into()
}

fn primitives() -> Vec<(&'static str, Value)> {
    vec![
        ("ff0f5f", Value::Undefined),
        ("ff0f30", Value::Null),
        ("ff0f54", true.into()),
        ("ff0f46", false.into()),
        ("ff0f4900", 0.into()),
        ("ff0f4902", 1.into()),
        ("ff0f4901", (-1).into()),
        ("ff0f4954", 42.into()),
        ("ff0f497e", 63.into()),
        ("ff0f498001", 64.into()),
        ("ff0f497f", (-64).into()),
        ("ff0f498101", (-65).into()),
        ("ff0f498080808008", (1 << 30).into()),
        ("ff0f49feffffff0f", i32::MAX.into()),
        ("ff0f49ffffffff0f", i32::MIN.into()),
        ("ff0f4e000000000000e041", 2147483648.0.into()),
        ("ff0f4e000000000000f83f", 1.5.into()),
        ("ff0f4e0000000000000080", (-0.0).into()),
        ("ff0f4e000000000000f87f", f64::NAN.into()),
        ("ff0f5a00", big(0)),
        ("ff0f5a100100000000000000", big(1)),
        ("ff0f2200", "".into()),
        ("ff0f2203616263", "abc".into()),
        ("ff0f2201e9", "é".into()),
        ("ff0f6302ac20", "€".into()),
        ("ff0f63046100ac20", "a€".into()),
    ]
}

fn arrays() -> Vec<(&'static str, Value)> {
    let mut named = Array::from_iter([1]);
    named.properties_mut().insert("k", 2);
    vec![
        ("ff0f41016302ac20240001", array(vec!["€".into()])),
        ("ff0f4102220161006302ac20240002", array(vec!["a".into(), "€".into()])),
        ("ff0f4102220261626302ac20240002", array(vec!["ab".into(), "€".into()])),
        ("ff0f4100240000", array(vec![])),
        ("ff0f410249024904240002", Value::array([1, 2])),
        ("ff0f41024e000000000000f83f4e0000000000000040240002", Value::array([1.5, 2.0])),
        ("ff0f4103490222016130240003", array(vec![1.into(), "a".into(), Value::Null])),
        ("ff0f41015f240001", array(vec![Value::Undefined])),
        ("ff0f61034900490249044906400203", holey(3, vec![(0, 1.into()), (2, 3.into())])),
        ("ff0f6103400003", holey(3, vec![])),
        ("ff0f4101490222016b4904240101", named.into()),
        ("ff0f41015a00240001", array(vec![big(0)])),
        ("ff0f41015a100100000000000000240001", array(vec![big(1)])),
        ("ff0f41015a110100000000000000240001", array(vec![big(-1)])),
        ("ff0f41015a2000000000000000000100000000000000240001", array(vec![big(1 << 64)])),
    ]
}

fn objects() -> Vec<(&'static str, Value)> {
    let shared = Value::buffer("A");
    let one = object(vec![]);
    let five = [
        Value::date(0.0),
        regexp("a", ""),
        Map::new().into_value(),
        Set::new().into_value(),
        Kind::Number(1.0).into(),
    ];
    let command = |cmd: &str| object(vec![("cmd", cmd.into())]);
    vec![
        ("ff0f6f7b00", object(vec![])),
        ("ff0f6f22016149027b01", object(vec![("a", 1.into())])),
        ("ff0f6f22016149022201622201787b02", object(vec![("a", 1.into()), ("b", "x".into())])),
        ("ff0f6f2201615f7b01", object(vec![("a", Value::Undefined)])),
        ("ff0f6f4902490422016249067b02", object(vec![("b", 3.into()), ("1", 2.into())])),
        ("ff0f6f4e000000000000e04149027b01", object(vec![("2147483648", 1.into())])),
        ("ff0f6f220a3432393439363732393549027b01", object(vec![("4294967295", 1.into())])),
        ("ff0f440000000000000000", Value::date(0.0)),
        ("ff0f44000000a2941a6d42", Value::date(1e12)),
        ("ff0f5222016100", regexp("a", "")),
        ("ff0f52220161bf01", regexp("a", "dgimsuy")),
        ("ff0f522201618002", regexp("a", "v")),
        // JavaScript refuses these two together, the reader of Node does not.
        ("ff0f522201619002", regexp("a", "uv")),
        ("ff0f52006302ac2002", regexp("€", "i")),
        (
            "ff0f3b490222016122016b6f7b003a04",
            Value::map([(1.into(), "a".into()), (Value::from("k"), object(vec![]))]),
        ),
        ("ff0f3b3a00", Map::new().into_value()),
        ("ff0f2749022201612c02", Value::set([Value::from(1), "a".into()])),
        ("ff0f79", Kind::Boolean(true).into()),
        ("ff0f6e000000000000f03f", Kind::Number(1.0).into()),
        ("ff0f7322026869", Kind::String("hi".into()).into()),
        ("ff0f7a100500000000000000", Kind::BigInt(5.into()).into()),
        ("ff0f5c000103010203", view(ViewKind::Uint8Array, &[1, 2, 3])),
        ("ff0f5c000a026869", Value::buffer("hi")),
        ("ff0f5c000a00", Value::buffer("")),
        ("ff0f41025c000a01415e01240002", array(vec![shared.clone(), shared])),
        ("ff0f5c000808000000000000f03f", view(ViewKind::Float64Array, &1f64.to_le_bytes())),
        ("ff0f5c0009020000", view(ViewKind::DataView, &[0, 0])),
        ("ff0f5c000b080100000000000000", view(ViewKind::BigInt64Array, &1i64.to_le_bytes())),
        ("ff0f4203010203", Kind::ArrayBuffer(ArrayBuffer::new(vec![1, 2, 3])).into()),
        (
            "ff0f7e02080000",
            Kind::ArrayBuffer(ArrayBuffer::resizable(vec![0, 0], 8).unwrap()).into(),
        ),
        ("ff0f726d22016d732201532e", error(ErrorName::Error, None)),
        ("ff0f72546d22016d732201532e", error(ErrorName::TypeError, None)),
        ("ff0f6f220473656c665e007b01", Value::cyclic(|this| object(vec![("self", this)]))),
        (
            "ff0f41046f7b005e01410149022400016f7b00240004",
            array(vec![one.clone(), one, Value::array([1]), object(vec![])]),
        ),
        (
            "ff0f410a44000000000000000052220161003b3a00272c006e000000000000f03f\
             5e015e025e035e045e0524000a",
            array(five.iter().chain(&five).cloned().collect()),
        ),
        ("ff0f6f2203636d6422104e4f44455f48414e444c455f4e41434b7b01", command("NODE_HANDLE_NACK")),
        (
            "ff0f6f2203636d64220b4e4f44455f48414e444c45220474797065220a6e65742e53657276657222036d73\
             676f22016d22067365727665727b017b03",
            object(vec![
                ("cmd", "NODE_HANDLE".into()),
                ("type", "net.Server".into()),
                ("msg", object(vec![("m", "server".into())])),
            ]),
        ),
    ]
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for Map {
    fn into_value(self) -> Value {
        Kind::Map(self).into()
    }
}

impl IntoValue for Set {
    fn into_value(self) -> Value {
        Kind::Set(self).into()
    }
}

fn read(bytes: &[u8]) -> Value {
    v8::deserialize(bytes, &Limits::default()).unwrap_or_else(|e| panic!("{}: {e}", hex(bytes)))
}

#[test]
fn what_node_sends_is_read_and_written_byte_for_byte() {
    for (bytes, value) in primitives().into_iter().chain(arrays()).chain(objects()) {
        let bytes = unhex(bytes);
        assert_eq!(read(&bytes), value, "{}", hex(&bytes));
        let written = v8::serialize(&value).unwrap();
        assert_eq!(hex(&written), hex(&bytes), "{value:?}");
        // What has been read is written the same: identity and cycles come through.
        assert_eq!(hex(&v8::serialize(&read(&bytes)).unwrap()), hex(&bytes), "{value:?}");
    }
}

#[test]
fn frames_have_the_length_in_front() {
    let frames = [
        ("00000003 ff0f30", Value::Null),
        ("00000006 ff0f6302ac20", "€".into()),
        ("0000000f ff0f4102220161006302ac20240002", array(vec!["a".into(), "€".into()])),
        (
            "0000001b ff0f6f2203636d64220f4e4f44455f48414e444c455f41434b7b01",
            object(vec![("cmd", "NODE_HANDLE_ACK".into())]),
        ),
        (
            "0000002c ff0f6f2203636d64220c4e4f44455f434c5553544552220361637422066f6e6c696e65220373\
             657149007b03",
            object(vec![
                ("cmd", "NODE_CLUSTER".into()),
                ("act", "online".into()),
                ("seq", 0.into()),
            ]),
        ),
    ];
    let encoder = Encoder::new(Serialization::Advanced, Limits::default());
    // Alignment counts from the frame, wherever in a buffer that is.
    let mut buffer = vec![0];
    for (frame, value) in frames {
        let start = buffer.len();
        encoder.encode_into(&value, &mut buffer).unwrap();
        assert_eq!(hex(&buffer[start..]), hex(&unhex(frame)));
    }
}

#[test]
fn errors_are_written_in_the_order_that_newer_versions_insist_on() {
    let with_cause = error(ErrorName::Error, Some(1.into()));
    // Node v20 itself writes the cause before the stack, and reads any order.
    assert_eq!(read(&unhex("ff0f726d22016d634902732201532e")), with_cause);
    assert_eq!(hex(&v8::serialize(&with_cause).unwrap()), "ff0f726d22016d732201536349022e");
    let bare = Kind::Error(Box::default()).into();
    assert_eq!(read(&unhex("ff0f722e")), bare);
    assert_eq!(hex(&v8::serialize(&bare).unwrap()), "ff0f722e");
}

#[test]
fn forms_that_node_reads_but_does_not_write_are_read() {
    let cases = [
        // Older versions, padding, an object count, a value with something behind it.
        ("ff0d30", Value::Null),
        ("ff0e30", Value::Null),
        ("ff0f00000030", Value::Null),
        ("ff0f3f0130", Value::Null),
        ("ff0f30ffffff", Value::Null),
        // Over-long numbers, unsigned numbers, text as UTF-8 and unaligned UTF-16.
        ("ff0f498280808000", 1.into()),
        ("ff0f55ffffffff0f", 4294967295.0.into()),
        ("ff0f5304e282acff", "€\u{fffd}".into()),
        ("ff0f410163026100240001", array(vec!["a".into()])),
        // A key that is text but spells an index; keys in another order; numbers that are no index.
        ("ff0f6f22013149027b01", object(vec![("1", 1.into())])),
        (
            "ff0f6f 220162 30 4904 30 4902 30 4901 30 4e000000000000f83f 30 7b05",
            object(["1", "2", "b", "-1", "1.5"].map(|key| (key, Value::Null)).into()),
        ),
        // A dense array with holes, a sparse one without.
        ("ff0f41022d4902240002", holey(2, vec![(1, 1.into())])),
        ("ff0f61024900490249024904400202", Value::array([1, 2])),
        // A bigint of four bytes, of zeros.
        ("ff0f5a0805000000", big(5)),
        ("ff0f5a110000000000000000", big(0)),
        // Another native object is the object inside, under two numbers.
        ("ff0f6f2201685c016f7b007b01", object(vec![("h", object(vec![]))])),
        // A date of a fraction of a millisecond, and one too far away.
        ("ff0f44000000000000f83f", Value::date(1.0)),
        ("ff0f44ffffffffffffef7f", Value::date(f64::NAN)),
    ];
    for (bytes, value) in cases {
        assert_eq!(read(&unhex(bytes)), value, "{bytes}");
    }
}

#[test]
fn native_views_share_their_buffer() {
    // [buffer with a view over its middle, the same buffer, a view by reference]
    let bytes = unhex("ff0f 4103 4204 01020304 5642 010200 5e01 5e01 5657 000400 240003");
    let value = read(&bytes);
    assert_eq!(value[0], view(ViewKind::Uint8Array, &[2, 3]));
    assert_eq!(value[1], Kind::ArrayBuffer(ArrayBuffer::new(vec![1, 2, 3, 4])).into());
    assert_eq!(value[2], view(ViewKind::Uint16Array, &[1, 2, 3, 4]));
    // Version 13 has no flags.
    let older = read(&unhex("ff0d 4202 0102 5642 0101"));
    assert_eq!(older, view(ViewKind::Uint8Array, &[2]));
    // One that follows the length of a resizable buffer.
    let tracking = read(&unhex("ff0f 7e 04 08 01020304 5642 01 00 01"));
    assert_eq!(tracking, view(ViewKind::Uint8Array, &[2, 3, 4]));
    for bad in [
        "4204 01020304 5642 0104 00",
        "4204 01020304 5657 0102 00",
        "4204 01020304 5657 0003 00",
        "4204 01020304 5600 0001 00",
        "4204 01020304 5658 0001 00",
        "4204 01020304 5642 0001 01",
        "5642 0000 00",
    ] {
        let bytes = unhex(&format!("ff0f{bad}"));
        assert!(v8::deserialize(&bytes, &Limits::default()).is_err(), "{bad}");
    }
}

#[test]
fn references_to_a_host_object_mean_the_object_inside() {
    let value = read(&unhex("ff0f 4103 5c01 6f7b00 5e01 5e02 240003"));
    let first = value[0].as_object().unwrap();
    assert!(value[1].as_object().unwrap().is(first));
    assert!(value[2].as_object().unwrap().is(first));
}
