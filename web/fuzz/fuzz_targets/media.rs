//! Requests for media, and the tokens by which they go on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| web::fuzzing::media(data));
