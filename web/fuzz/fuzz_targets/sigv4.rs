//! Heads of requests that may be signed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| web::fuzzing::sigv4(data));
