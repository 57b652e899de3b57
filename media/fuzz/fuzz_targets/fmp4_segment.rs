#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::fuzzing::fmp4_segment(data));
