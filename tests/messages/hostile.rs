//! Messages made to do harm.

use blacklight::child_process::{CodecError, Decoder, Limits, Serialization, Value, json, v8};

use crate::unhex;

fn read(bytes: &[u8]) -> Result<Value, CodecError> {
    v8::deserialize(bytes, &Limits::default())
}

fn nested(open: &[u8], inside: &[u8], close: &[u8], depth: usize) -> Vec<u8> {
    [&b"\xff\x0f"[..], &open.repeat(depth), inside, &close.repeat(depth)].concat()
}

/// How each kind of object with something inside begins and ends.
const NESTINGS: [(&[u8], &[u8]); 7] = [
    (b"o\"\x01a", b"{\x01"),
    (b"A\x01", b"$\x00\x01"),
    (b"a\x01I\x00", b"@\x01\x01"),
    (b";0", b":\x02"),
    (b"'", b",\x01"),
    (b"rc", b"."),
    (b"\\\x01o\"\x01a", b"{\x01"),
];

#[test]
fn nesting_is_limited_and_takes_no_stack() {
    for (open, close) in NESTINGS {
        let levels = if open[0] == b'\\' { 2 } else { 1 };
        let most = 10_000 / levels;
        let deep = read(&nested(open, b"0", close, most)).unwrap();
        assert_eq!(v8::deserialize(&v8::serialize(&deep).unwrap(), &Limits::default()), Ok(deep));
        let deeper = read(&nested(open, b"0", close, most + 1));
        assert_eq!(deeper, Err(CodecError::TooDeep { limit: 10_000 }));
        let limits = Limits::default().depth(2_000_000);
        let deepest = v8::deserialize(&nested(open, b"0", close, 100_000), &limits).unwrap();
        assert_eq!(deepest.clone(), deepest);
        let _ = (v8::serialize(&deepest), json::stringify(&deepest), deepest.to_json());
        // Without an end, at any limit.
        assert!(v8::deserialize(&nested(open, b"", b"", 100_000), &limits).is_err());
    }
}

#[test]
fn nesting_in_json_is_limited_and_takes_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = |depth| [open.repeat(depth), "1".into(), close.repeat(depth)].concat();
        let deep = json::parse(text(10_000).as_bytes(), &Limits::default()).unwrap();
        assert_eq!(json::stringify(&deep).unwrap(), text(10_000).as_bytes());
        assert!(matches!(deep.to_json(), Err(CodecError::TooDeep { .. })));
        let deeper = json::parse(text(10_001).as_bytes(), &Limits::default());
        assert_eq!(deeper, Err(CodecError::TooDeep { limit: 10_000 }));
        let limits = Limits::default().depth(1 << 30);
        let deepest = json::parse(text(200_000).as_bytes(), &limits).unwrap();
        assert_eq!(json::stringify(&deepest).unwrap(), text(200_000).as_bytes());
        assert!(json::parse(open.repeat(200_000).as_bytes(), &limits).is_err());
    }
}

#[test]
fn lengths_are_checked_before_anything_is_made_of_them() {
    for length in ["ffffffff0f", "8080808008", "ffffffff07", "10"] {
        for tag in ["22", "63", "53", "5a", "42", "41", "5c000a", "7e", "7a", "7322", "5222"] {
            let bytes = unhex(&format!("ff0f{tag}{length}0000"));
            assert!(matches!(read(&bytes), Err(CodecError::Malformed { .. })), "{tag} {length}");
        }
    }
    // Arrays in arrays, each as long as what is left allows.
    let mut bytes = vec![0xff, 15];
    for _ in 0..9_000 {
        bytes.extend_from_slice(b"A\xff\x7f");
    }
    assert!(read(&bytes).is_err());
}

#[test]
fn a_sparse_array_is_as_long_as_it_says_and_takes_no_room() {
    let huge = read(&unhex("ff0f61ffffffff0f4e0000c0ffffffef413040 01ffffffff0f")).unwrap();
    let array = huge.as_array().unwrap();
    assert_eq!((array.len(), array.iter().count()), (u32::MAX as usize, 1));
    assert_eq!(array.get(u32::MAX as usize - 1), Some(&Value::Null));
    // As JSON it would be 20 GB.
    assert!(matches!(json::stringify(&huge), Err(CodecError::TooLong { .. })));
    assert!(matches!(huge.to_json(), Err(CodecError::TooLong { .. })));
    assert_eq!(read(&v8::serialize(&huge).unwrap()), Ok(huge));
}

#[test]
fn an_object_in_many_places_is_not_copied_to_each() {
    // [[[…], ^], ^]: 2^60 paths to the innermost.
    let mut bytes = vec![0xff, 15];
    bytes.extend_from_slice(&b"A\x02".repeat(60));
    bytes.extend_from_slice(b"00$\x00\x02");
    for level in (1..60u8).rev() {
        bytes.extend_from_slice(&[b'^', level, b'$', 0, 2]);
    }
    let value = read(&bytes).unwrap();
    assert_eq!(value, value.clone());
    assert_eq!(value, read(&bytes).unwrap());
    assert!(v8::serialize(&value).unwrap().len() < 1000);
    assert!(format!("{value:?}").len() < 100_000);
    let limits = 1 << 20;
    assert!(json::stringify_into(&value, &mut Vec::new(), limits).is_err());
}

#[test]
fn many_keys_are_not_compared_each_with_each() {
    // Descending indices between names, in an object, an array and JSON.
    let count = 50_000u32;
    let mut pairs = Vec::new();
    for n in (0..count).rev() {
        pairs.extend_from_slice(format!("\"\x07k{n:06}0U").as_bytes());
        pairs.extend_from_slice(&varint(n));
        pairs.push(b'0');
    }
    let counts = varint(count * 2);
    let object = read(&[b"\xff\x0fo", &pairs[..], b"{", &counts].concat()).unwrap();
    assert_eq!(object.as_properties().unwrap().len(), 2 * count as usize);
    assert_eq!(object.get("k000123"), Some(&Value::Null));
    assert_eq!(object.get("123"), Some(&Value::Null));
    let length = varint(count);
    let array = [b"\xff\x0fa", &length[..], &pairs, b"@", &counts, &length].concat();
    assert_eq!(read(&array).unwrap().as_array().unwrap().iter().count(), count as usize);
    let text: Vec<String> = (0..count).map(|n| format!("\"{}\":0,\"k{n}\":0", count - n)).collect();
    let text = format!("{{{}}}", text.join(","));
    let object = json::parse(text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(object.as_properties().unwrap().len(), 2 * count as usize);
}

fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn what_is_wrong_is_refused() {
    let cases = [
        // Headers.
        "",
        "ff",
        "ff0c30",
        "ff0930",
        "ff1030",
        "30",
        "0f30",
        "ff0f",
        "ff0f00",
        "ff0f3f01",
        // Tags that are none, or that need something transferred.
        "ff0fff",
        "ff0f2d",
        "ff0f7b",
        "ff0f7400",
        "ff0f7500",
        "ff0f7000",
        "ff0f7700",
        "ff0f6d00",
        // Text: half a code unit, no text.
        "ff0f630100",
        "ff0f7330",
        "ff0f5230",
        "ff0f5222016140",
        "ff0f522201618004",
        // Bigints: minus zero.
        "ff0f5a01",
        "ff0f7a01",
        // References to nothing, to oneself as a host object.
        "ff0f5e00",
        "ff0f41015e01240001",
        "ff0f5c015e00",
        // Wrong counts.
        "ff0f6f22016149027b02",
        "ff0f6f7b01",
        "ff0f410149022400 02",
        "ff0f41014902240101",
        "ff0f6103400103",
        "ff0f6103400002",
        "ff0f3b303a00",
        "ff0f3b30303a01",
        "ff0f27302c02",
        // Keys twice, keys that are none.
        "ff0f6f2201614902220161 49027b02",
        "ff0f6f4902302201313 07b02",
        "ff0f6f30307b01",
        "ff0f6f6f7b00307b01",
        "ff0f4101302201303 0240101",
        "ff0f610149003049003040 0201",
        // The end of another kind.
        "ff0f6f2400",
        "ff0f410040 0000",
        "ff0f6100240000",
        "ff0f3b2c00",
        // Host objects: unknown kind, unknown view, no object.
        "ff0f5c02",
        "ff0f5c000e00",
        "ff0f5c0130",
        "ff0f5c01220161",
        // Errors: unknown part, text that is none.
        "ff0f726342 00002e",
        "ff0f7278",
        "ff0f726d30",
        "ff0f7263",
        "ff0f72",
        // A buffer that is longer than it may become.
        "ff0f7e02010000",
    ];
    for case in cases {
        let bytes = unhex(case);
        assert!(
            matches!(read(&bytes), Err(CodecError::Malformed { .. })),
            "{case}: {:?}",
            read(&bytes)
        );
    }
}

#[test]
fn a_message_is_an_error_wherever_it_is_cut_off() {
    let whole = unhex("ff0f6f2201614902220162 4102 2201785f 240002 220163 5c000a0101 7b03");
    assert!(read(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn large_messages_in_small_reads_take_linear_time() {
    let size = 64 << 20;
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut frame = match serialization {
            Serialization::Json => vec![b'"'],
            Serialization::Advanced => {
                let mut frame = (size as u32 + 7).to_be_bytes().to_vec();
                frame.extend_from_slice(b"\xff\x0f\"");
                frame.extend_from_slice(&varint(size as u32));
                frame
            }
        };
        frame.resize(frame.len() + size, b'x');
        if serialization == Serialization::Json {
            frame.extend_from_slice(b"\"\n");
        }
        let mut decoder = Decoder::new(serialization, Limits::default());
        let mut got = None;
        for chunk in frame.chunks(64 << 10) {
            assert_eq!(got, None);
            decoder.feed(chunk);
            got = decoder.next_frame().map(|frame| frame.unwrap().len());
        }
        assert!(got.is_some_and(|length| length >= size), "{serialization:?}: {got:?}");
    }
}
