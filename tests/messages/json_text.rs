//! JSON as JavaScript reads and writes it.

use blacklight::child_process::{
    Array, BigInt, ErrorName, JsString, Kind, Limits, RegExp, RegExpFlags, Value, View, ViewKind,
    json,
};

fn text(value: &Value) -> String {
    String::from_utf8(json::stringify(value).unwrap()).unwrap()
}

fn parse(text: &str) -> Value {
    json::parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn values_are_written_as_json_stringify_does() {
    let mut holey = Array::new();
    holey.set(1, 2);
    holey.extend_to(3);
    holey.properties_mut().insert("named", 1);
    let view = |kind, bytes: &[u8]| Value::from(Kind::View(View::new(kind, bytes.to_vec())));
    let expression = RegExp { source: "a".into(), flags: RegExpFlags::empty() };
    let cases: Vec<(Value, &str)> = vec![
        (Value::Null, "null"),
        ("str".into(), "\"str\""),
        (1.5.into(), "1.5"),
        ((-0.0).into(), "0"),
        (1e21.into(), "1e+21"),
        (f64::NAN.into(), "null"),
        (f64::NEG_INFINITY.into(), "null"),
        (true.into(), "true"),
        (holey.into(), "[null,2,null]"),
        (Value::array([Value::Undefined]), "[null]"),
        (
            Value::object([
                ("hello", "wörld".into()),
                ("u", Value::Undefined),
                ("n", f64::NAN.into()),
                ("7", 1.into()),
            ]),
            "{\"7\":1,\"hello\":\"wörld\",\"n\":null}",
        ),
        (Value::object([("a", Value::Undefined)]), "{}"),
        (Value::date(0.0), "\"1970-01-01T00:00:00.000Z\""),
        (Value::date(-1.0), "\"1969-12-31T23:59:59.999Z\""),
        (Value::date(951_782_400_000.0), "\"2000-02-29T00:00:00.000Z\""),
        (Value::date(8.64e15), "\"+275760-09-13T00:00:00.000Z\""),
        (Value::date(-8.64e15), "\"-271821-04-20T00:00:00.000Z\""),
        (Value::date(-62_167_219_200_001.0), "\"-000001-12-31T23:59:59.999Z\""),
        (Value::date(f64::NAN), "null"),
        (Value::map([(1, 2)]), "{}"),
        (Value::set([1]), "{}"),
        (Kind::RegExp(expression).into(), "{}"),
        (Value::error(ErrorName::Error, "m"), "{}"),
        (Value::buffer("hi"), "{\"type\":\"Buffer\",\"data\":[104,105]}"),
        (Value::buffer(""), "{\"type\":\"Buffer\",\"data\":[]}"),
        (view(ViewKind::Int16Array, &(-2i16).to_ne_bytes()), "{\"0\":-2}"),
        (view(ViewKind::Float32Array, &[0, 0, 192, 127, 0, 0, 0, 0]), "{\"0\":null,\"1\":0}"),
        (view(ViewKind::BigInt64Array, &[]), "{}"),
        (view(ViewKind::DataView, &[1]), "{}"),
        (Kind::Boolean(true).into(), "true"),
        (Kind::Number(f64::NAN).into(), "null"),
        (Kind::String("s".into()).into(), "\"s\""),
        (
            "\u{2028}\u{7f}\u{1}\u{8}\t\n\u{c}\r\"\\/".into(),
            "\"\u{2028}\u{7f}\\u0001\\b\\t\\n\\f\\r\\\"\\\\/\"",
        ),
        (JsString::from_utf16(&[0x61, 0xd83d, 0xde00, 0xd800, 0x22]).into(), "\"a😀\\ud800\\\"\""),
        (JsString::from_utf16(&[0xde00, 0xd83d]).into(), "\"\\ude00\\ud83d\""),
    ];
    for (value, expected) in cases {
        assert_eq!(text(&value), expected, "{value:?}");
        if !value.is_undefined() && !expected.contains("\\ud") && !expected.contains("\\ude00") {
            assert_eq!(
                value.to_json().unwrap(),
                serde_json::from_str::<serde_json::Value>(expected).unwrap()
            );
        }
    }
}

#[test]
fn what_json_has_no_word_for_is_an_error() {
    let view = View::new(ViewKind::BigUint64Array, vec![0; 8]);
    let bad = [
        Value::Undefined,
        BigInt::from(1).into(),
        Value::array([Value::from(BigInt::from(1))]),
        Kind::BigInt(1.into()).into(),
        Kind::View(view).into(),
        Value::cyclic(|this| Value::array([this])),
    ];
    for value in bad {
        assert!(json::stringify(&value).is_err(), "{value:?}");
    }
}

#[test]
fn texts_are_read_as_json_parse_does() {
    let cases: Vec<(&str, Value)> = vec![
        (" \t\r\n null \r", Value::Null),
        ("-0", (-0.0).into()),
        ("-0.0e-0", (-0.0).into()),
        ("1E3", 1000.into()),
        ("123456789012345678901234567890", 1.2345678901234568e29.into()),
        ("9007199254740993", 9007199254740992.0.into()),
        ("0.1", 0.1.into()),
        ("1e999", f64::INFINITY.into()),
        ("-1e-999", (-0.0).into()),
        ("5e-324", 5e-324.into()),
        ("[ ]", Value::array::<Value>([])),
        ("{ }", Value::object::<&str, Value>([])),
        (
            "[1 , [2] ,{}]",
            Value::array([1.into(), Value::array([2]), Value::object::<&str, Value>([])]),
        ),
        (r#"{"a":1,"b":2,"a":3}"#, Value::object([("a", 3), ("b", 2)])),
        (r#"{"__proto__":1}"#, Value::object([("__proto__", 1)])),
        (r#"{"b":1,"10":2,"9":3}"#, Value::object([("9", 3), ("10", 2), ("b", 1)])),
        (r#""\u0041\/\b\f\n\r\t\"\\""#, "A/\u{8}\u{c}\n\r\t\"\\".into()),
        (r#""x\ud83d\ude00y""#, "x😀y".into()),
        (r#""\ud800""#, JsString::from_utf16(&[0xd800]).into()),
        (
            r#""a\uDC00\ud800é\u0062""#,
            JsString::from_utf16(&[0x61, 0xdc00, 0xd800, 0xe9, 0x62]).into(),
        ),
        ("\"\u{2028}\u{7f}\"", "\u{2028}\u{7f}".into()),
    ];
    for (text, value) in cases {
        assert_eq!(parse(text), value, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let value = json::parse(b"\"a\xff\xe2\x82b\xed\xa0\x80\"", &Limits::default());
    assert_eq!(value, Ok("a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}".into()));
}

#[test]
fn what_is_no_json_is_an_error() {
    let cases = [
        "",
        " ",
        "\r",
        "\u{feff}1",
        "nul",
        "nulll",
        "True",
        "undefined",
        "NaN",
        "+1",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "1 2",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,]",
        "[1 2]",
        "{",
        "{}}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{,}",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\u",
        "\"\\u12",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\\x41\"",
        "\"\t\"",
        "\"\u{1}\"",
        "\"\\ud800",
        "1\u{a0}",
        "\u{a0}1",
        "//",
        "[1]//",
        "\0",
    ];
    for case in cases {
        assert!(json::parse(case.as_bytes(), &Limits::default()).is_err(), "{case:?}");
    }
}

#[test]
fn values_of_serde_json_go_in_and_out() {
    let json = serde_json::json!({ "a": [null, true, -1, 1.5, "x"], "b": {}, "c": 1u64 << 53 });
    let value = Value::from(json.clone());
    assert_eq!(value["a"][2].as_i64(), Some(-1));
    assert_eq!(value["c"].as_f64(), Some(9007199254740992.0));
    assert_eq!(value.to_json().unwrap()["a"], json["a"]);
    assert_eq!(Value::Undefined.to_json().unwrap(), serde_json::Value::Null);
}
