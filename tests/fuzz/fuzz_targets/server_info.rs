//! Searches for bytes that break `properties::server_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::server_info::check(bytes));
