//! Searches for bytes that break `properties::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::command::check(bytes));
