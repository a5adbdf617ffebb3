//! The V8 decoder: no input crashes it, and what it has read can be written and read again.

#![no_main]

use blacklight::child_process::{Limits, v8};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = v8::deserialize(data, &Limits::default()) else { return };
    let Ok(bytes) = v8::serialize(&value) else { return };
    let again = v8::deserialize(&bytes, &Limits::default());
    let again = again.expect("what was written can be read");
    // NaN is not equal to itself, so texts are compared.
    assert_eq!(format!("{value:?}"), format!("{again:?}"));
});
