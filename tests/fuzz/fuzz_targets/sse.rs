//! Searches for bytes that break `properties::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::sse::check(bytes));
