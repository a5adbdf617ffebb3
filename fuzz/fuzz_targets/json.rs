//! The JSON parser: no input crashes it, and what it has read can be written and read again.

#![no_main]

use blacklight::child_process::{Limits, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = json::parse(data, &Limits::default()) else { return };
    let text = json::stringify(&value).expect("what was parsed can be written");
    let again = json::parse(&text, &Limits::default()).expect("what was written can be parsed");
    // Minus zero is written as 0, as JSON.stringify does, so texts are compared.
    assert_eq!(json::stringify(&again).as_ref(), Ok(&text));
});
