//! Searches for bytes that break `properties::stdio_lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::stdio_lines::check(bytes));
