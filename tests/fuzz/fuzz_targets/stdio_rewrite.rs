//! Searches for bytes that break `properties::stdio_rewrite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::stdio_rewrite::check(bytes));
