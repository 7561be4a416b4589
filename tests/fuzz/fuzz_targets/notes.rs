//! Searches for bytes that break `properties::notes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::notes::check(bytes));
