//! Control messages as recvmsg(2) hands them over: no bytes crash the parser or make it read on.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| blacklight::fuzzing::control_messages(data));
