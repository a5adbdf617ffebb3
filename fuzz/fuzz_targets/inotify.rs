//! Events of files as read(2) hands them over: no bytes crash the parser or make it read on.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| blacklight::fuzzing::inotify_events(data));
