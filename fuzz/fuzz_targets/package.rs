//! See `pomelo_protocol::fuzzing::package` for what it asserts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pomelo_protocol::fuzzing::package(data));
