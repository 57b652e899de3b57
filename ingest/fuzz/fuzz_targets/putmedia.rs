#![no_main]
//! Any bytes as the body of a PutMedia session, whole and in pieces: the same outputs, and fragments that can be read again.
libfuzzer_sys::fuzz_target!(|data: &[u8]| ingest::putmedia::core::fuzzing::drive(data));
