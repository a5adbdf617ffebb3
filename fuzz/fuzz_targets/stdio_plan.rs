//! Plans of descriptors, carried out on a model of a table: every source ends where it belongs.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| blacklight::fuzzing::stdio_plan(data));
