//! What a foreign model answers: any numbers, any lengths.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ml::postprocess::fuzz(data));
