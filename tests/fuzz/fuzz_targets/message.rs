//! Searches for bytes that break `properties::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::message::check(bytes));
