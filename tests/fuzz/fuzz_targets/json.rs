//! Searches for bytes that break `properties::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::json::check(bytes));
