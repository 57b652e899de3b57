//! Bodies of the AWS surface and of the native API.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| web::fuzzing::bodies(data));
