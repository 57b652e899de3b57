//! Texts that may be policies, and requests held against them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| web::fuzzing::policy(data));
