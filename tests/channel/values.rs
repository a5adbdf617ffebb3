//! Values there and back, as node and this crate understand them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::child_process::{
    BigInt, ErrorName, JsString, Kind, Serialization, Value, View, ViewKind,
};

use crate::node_child::{BOTH, has_node, node};
use crate::support::isolated;
use crate::support::process::{new_loop, run};
use crate::talk::{quiet, text};

/// Sends each value to a node that checks it and sends it back, and compares what comes.
fn there_and_back(serialization: Serialization, script: &str, values: &[Value]) {
    let lp = new_loop();
    let talk = quiet(&lp, &node(script), serialization);
    let back: Rc<RefCell<Vec<Value>>> = Rc::default();
    let (b, count) = (back.clone(), values.len());
    talk.channel.on_message(move |channel, message| {
        b.borrow_mut().push(message.value);
        if b.borrow().len() == count {
            channel.disconnect().unwrap();
        }
    });
    for value in values {
        talk.channel.send(value).unwrap();
    }
    run(&lp);
    assert_eq!(talk.heard.get(), ["disconnect", "exit exit code 0"]);
    for (sent, got) in values.iter().zip(back.borrow().iter()) {
        assert_eq!(format!("{sent:?}"), format!("{got:?}"));
    }
    assert_eq!(back.borrow().len(), values.len());
}

const ECHO: &str = "process.on('message', m => process.send(m));";

fn plain() -> Vec<Value> {
    vec![
        Value::Null,
        true.into(),
        false.into(),
        0.into(),
        (-1.5).into(),
        1e300.into(),
        9_007_199_254_740_991.0.into(),
        "".into(),
        "\u{0}\n\u{2028}\u{e9}\u{20ac}\u{1f600}\"\\".into(),
        Value::from(JsString::from_utf16(&[0x61, 0xd800, 0x62])),
        Value::array([0; 0]),
        Value::array([Value::Null, Value::array([1, 2]), Value::object([("k", "v")])]),
        Value::object([("1", Value::from(1)), ("a", Value::object([("b", Value::Null)]))]),
    ]
}

#[test]
fn every_json_type_comes_back_as_it_was() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for serialization in BOTH {
            there_and_back(serialization, ECHO, &plain());
        }
    });
}

#[test]
fn what_only_v8_can_write_comes_back_as_it_was() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let view = |kind, bytes: &[u8]| Value::from(Kind::View(View::new(kind, bytes.to_vec())));
        let values = vec![
            Value::map([(Value::from(1), Value::from("a")), ("k".into(), Value::set([1, 2]))]),
            Value::date(1e12),
            Value::array([BigInt::from(-5), BigInt::from(1u64 << 63)]),
            Value::buffer("bytes"),
            view(ViewKind::Uint8Array, &[1, 2, 3]),
            view(ViewKind::Float64Array, &1.5f64.to_ne_bytes()),
            view(ViewKind::BigInt64Array, &7i64.to_ne_bytes()),
            view(ViewKind::DataView, &[1, 2]),
            Value::array([Value::Undefined, Value::from(f64::NAN), Value::from(-0.0)]),
            Value::cyclic(|me| Value::object([("me", me)])),
        ];
        there_and_back(Serialization::Advanced, ECHO, &values);
    });
}

#[test]
fn node_understands_what_it_is_sent_and_is_understood() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let script = "process.on('message', m => { const a = require('assert');\
              a(m instanceof TypeError); a.strictEqual(m.message, 'oops'); process.send({ \
              re: /a\\u20ac/gi, e: new RangeError('far'), u: undefined, n: 10n ** 30n, \
              m: new Map([[{}, new Set('x')]]), d: new Date(NaN), f: new Float32Array([0.5]), \
              s: Object('boxed'), holes: [1, , 3] }); process.disconnect(); });";
        let lp = new_loop();
        let talk = quiet(&lp, &node(script), Serialization::Advanced);
        let seen = Rc::new(RefCell::new(String::new()));
        let s = seen.clone();
        talk.channel.on_message(move |_, message| {
            let value = &message.value;
            assert!(matches!(value["e"].kind(), Some(Kind::Error(_))));
            assert!(matches!(value["d"].kind(), Some(Kind::Date(time)) if time.is_nan()));
            assert!(value["u"].is_undefined() && value.get("u").is_some());
            assert_eq!(value["f"].as_bytes(), Some(&0.5f32.to_ne_bytes()[..]));
            let short = ["re", "n", "m", "s", "holes"].map(|key| format!("{:?}", value[key]));
            *s.borrow_mut() = short.join(" ");
        });
        talk.channel.send(&Value::error(ErrorName::TypeError, "oops")).unwrap();
        run(&lp);
        assert_eq!(talk.heard.get(), ["disconnect", "exit exit code 0"]);
        let seen = seen.borrow();
        for part in ["/a\\u20ac/gi", "1000000000000000000000000000000n", "Map", "Set", "boxed"] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
    });
}

#[test]
fn a_message_of_64_mib_goes_each_way() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for serialization in BOTH {
            let lp = new_loop();
            let talk = quiet(&lp, &node(ECHO), serialization);
            let size = 64 << 20;
            let length = Rc::new(Cell::new(0));
            let l = length.clone();
            talk.channel.on_message(move |channel, message| {
                l.set(message.value.as_str().map_or(0, str::len));
                channel.disconnect().unwrap();
            });
            let more = talk.channel.send(&Value::from("z".repeat(size))).unwrap();
            assert!(!more, "so much asks the sender to wait");
            assert!(talk.channel.queued_bytes() > size / 2);
            run(&lp);
            assert_eq!((length.get(), talk.channel.queued_bytes()), (size, 0));
            assert_eq!(talk.heard.get(), ["disconnect", "exit exit code 0"]);
        }
    });
}

#[test]
fn a_hundred_thousand_messages_go_each_way_in_order() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let script = "let n = 0; process.on('message', m => { \
            if (m.n !== n++) process.exit(9); if (n === 100000) process.send(n); });\
            for (let i = 0; i < 100000; i++) process.send(i);";
        for serialization in BOTH {
            let lp = new_loop();
            let talk = quiet(&lp, &node(script), serialization);
            let next = Rc::new(Cell::new(0));
            let n = next.clone();
            talk.channel.on_message(move |channel, message| {
                assert_eq!(message.value, Value::from(n.get()), "{}", text(&message.value));
                n.set(n.get() + 1);
                if n.get() > 100_000 {
                    channel.disconnect().unwrap();
                }
            });
            for number in 0..100_000 {
                talk.channel.send(&Value::object([("n", number)])).unwrap();
            }
            run(&lp);
            assert_eq!(talk.heard.get(), ["disconnect", "exit exit code 0"]);
            assert_eq!(next.get(), 100_001);
        }
    });
}
