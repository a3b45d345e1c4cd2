//! See `pomelo_protocol::fuzzing::protobuf` for what it asserts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pomelo_protocol::fuzzing::protobuf(data));
