//! Segment files whose bytes are not ours: headers and heads of records; what is read is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| store::fuzz_record(data));
