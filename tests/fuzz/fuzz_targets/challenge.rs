//! Searches for bytes that break `properties::challenge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::challenge::check(bytes));
