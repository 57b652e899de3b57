#![no_main]
//! Any timestamps, sender reports and arrival times: the clock never panics, and between jumps a later timestamp never
//! gets an earlier time.
libfuzzer_sys::fuzz_target!(|data: &[u8]| ingest::clock::drive(data));
