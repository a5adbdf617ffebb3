//! Properties that hold for every value and for every sequence of bytes.

use blacklight::child_process::{Decoder, Encoder, Limits, Serialization, Value, json, v8};
use proptest::prelude::*;

use crate::strategies::{json_value, value};

const BOTH: [Serialization; 2] = [Serialization::Json, Serialization::Advanced];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_value_comes_back(value in value()) {
        let bytes = v8::serialize(&value).unwrap();
        let back = v8::deserialize(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!(&back, &value);
        // Identities come back too, else this would be longer or shorter.
        prop_assert_eq!(v8::serialize(&back).unwrap(), bytes);
    }

    #[test]
    fn every_value_of_json_comes_back(value in json_value()) {
        let text = json::stringify(&value).unwrap();
        prop_assert!(!text.contains(&b'\n'));
        prop_assert_eq!(json::parse(&text, &Limits::default()).unwrap(), value);
    }

    #[test]
    fn messages_survive_any_cutting(
        values in proptest::collection::vec(json_value(), 1..5),
        sizes in proptest::collection::vec(1usize..50, 1..20),
    ) {
        for serialization in BOTH {
            let encoder = Encoder::new(serialization, Limits::default());
            let mut stream = Vec::new();
            for value in &values {
                encoder.encode_into(value, &mut stream).unwrap();
            }
            let mut decoder = Decoder::new(serialization, Limits::default());
            let mut got: Vec<Value> = Vec::new();
            let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                rest = later;
                decoder.feed(now);
                while let Some(message) = decoder.next_message() {
                    got.push(message.unwrap());
                }
            }
            prop_assert_eq!(&got, &values);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::parse(&bytes, &Limits::default());
        let _ = v8::deserialize(&bytes, &Limits::default());
        let _ = v8::deserialize(&[&[0xff, 15], &bytes[..]].concat(), &Limits::default());
        for serialization in BOTH {
            let mut decoder = Decoder::new(serialization, Limits::default());
            decoder.feed(&bytes);
            while let Some(Ok(_)) = decoder.next_message() {}
        }
    }

    #[test]
    fn damaged_messages_do_no_harm(
        value in value(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = v8::serialize(&value).unwrap();
        let end = cut.index(bytes.len()) + 1;
        let _ = v8::deserialize(&bytes[..end], &Limits::default());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // What is still a message can be written, read and shown like any other.
        if let Ok(value) = v8::deserialize(&bytes, &Limits::default()) {
            let again = v8::serialize(&value).unwrap();
            prop_assert_eq!(v8::deserialize(&again, &Limits::default()).unwrap(), value.clone());
            let _ = (format!("{value:?}"), json::stringify(&value), value.to_json());
        }
        let mut text = json::stringify(&Value::array([format!("{value:?}")])).unwrap();
        let at = cut.index(text.len());
        text[at] = b'\\';
        let _ = json::parse(&text, &Limits::default());
    }
}
