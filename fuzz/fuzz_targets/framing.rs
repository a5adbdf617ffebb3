//! The channel's framing, in both modes: however the bytes are cut, the same messages come out, and
//! nothing crashes or asks for more memory than the input justifies.

#![no_main]

use blacklight::child_process::{CodecError, Decoder, Limits, Serialization, Value};
use libfuzzer_sys::fuzz_target;

fn drain(decoder: &mut Decoder, into: &mut Vec<Result<Value, CodecError>>) -> bool {
    while let Some(message) = decoder.next_message() {
        let failed = message.is_err();
        into.push(message);
        if failed {
            return false;
        }
    }
    true
}

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, bytes @ ..] = data else { return };
    let serialization = if mode % 2 == 0 { Serialization::Json } else { Serialization::Advanced };
    let limits = Limits::default().message(1 << 16);

    let mut whole = Vec::new();
    let mut decoder = Decoder::new(serialization, limits);
    decoder.feed(bytes);
    drain(&mut decoder, &mut whole);

    let mut cut = Vec::new();
    let mut decoder = Decoder::new(serialization, limits);
    let mut size = usize::from(*cuts);
    let mut rest = bytes;
    while !rest.is_empty() {
        size = (size * 7 + 3) % 61;
        let (piece, left) = rest.split_at((size + 1).min(rest.len()));
        rest = left;
        decoder.feed(piece);
        if !drain(&mut decoder, &mut cut) {
            break;
        }
    }
    // NaN is not equal to itself, so texts are compared.
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
});
