//! Searches for bytes that break `properties::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::chunked::check(bytes));
