#![no_main]
//! Any bytes as an access unit: never a panic, and what is counted fits into the bytes.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(contents) = ingest::access_unit::look(data) {
        assert!(contents.slices as usize * 5 <= data.len());
        assert!(contents.idr_slices <= contents.slices);
    }
});
