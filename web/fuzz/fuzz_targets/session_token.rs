//! Texts that may be session tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| web::fuzzing::session_token(data));
