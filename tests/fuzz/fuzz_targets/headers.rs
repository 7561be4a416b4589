//! Searches for bytes that break `properties::headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::headers::check(bytes));
