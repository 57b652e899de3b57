//! Bytes flipped anywhere, in segments and in the catalog: never a panic, never wrong bytes served, and one fragment lost at most for each.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::damage::*;
use common::*;
use media::UnixMillis;
use std::fs;
use std::path::{Path, PathBuf};
use store::check::{CheckOptions, check, rebuild_in_place, repair};

const ROUNDS: usize = 60;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("segments")).unwrap();
    for file in ["format", "catalog.sqlite"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    for folder in ["segments", "keys"].into_iter().filter(|folder| from.join(folder).exists()) {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(folder).join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn flip(file: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= mask;
    fs::write(file, bytes).unwrap();
}

fn segment(data: &Path) -> PathBuf {
    fs::read_dir(data.join("segments")).unwrap().next().unwrap().unwrap().path()
}

fn mend(data: &Path) -> u64 {
    repair(data, CheckOptions::default(), false, UnixMillis(T0), &mut |_| {}).unwrap().acted
}

#[tokio::test]
async fn one_byte_anywhere_in_a_segment() {
    one_byte(false).await;
}

#[tokio::test]
async fn one_byte_anywhere_in_an_encrypted_segment() {
    one_byte(true).await;
}

async fn one_byte(encrypt: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (whole, here) = (dir.path().join("whole"), dir.path().join("here"));
    let written = Written::kept(&whole, 8, encrypt).await;
    let all = written.metas.len();
    let len = fs::metadata(segment(&whole)).unwrap().len() as usize;
    let mut random = random();
    for round in 0..ROUNDS {
        copy(&whole, &here);
        // Every byte of the first records in turn would be too many; heads are a tenth of the bytes.
        let (at, mask) = (random() as usize % len, (random() % 255 + 1) as u8);
        flip(&segment(&here), at, mask);
        let served = written.served(&here).await;
        assert!(served + 1 >= all, "round {round}, byte {at} ^ {mask}: {served} of {all}");
        // A second start, a repair, and a rebuild without the catalog all keep to it too.
        let acted = mend(&here);
        let report = check(&here, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "round {round}, byte {at} ^ {mask}, {acted} mended:\n{report}");
        assert_eq!(written.served(&here).await, served, "round {round}, byte {at} ^ {mask}");

        fs::remove_dir_all(&here).unwrap();
        copy(&whole, &here);
        flip(&segment(&here), at, mask);
        fs::remove_file(here.join("catalog.sqlite")).unwrap();
        rebuild_in_place(&here, true).unwrap();
        let served = written.served(&here).await;
        assert!(served + 1 >= all, "round {round}, byte {at} ^ {mask}: rebuilt {served} of {all}");
        fs::remove_dir_all(&here).unwrap();
    }
}

#[tokio::test]
async fn many_bytes_at_once_in_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, here) = (dir.path().join("whole"), dir.path().join("here"));
    let written = Written::new(&whole, 8).await;
    let len = fs::metadata(segment(&whole)).unwrap().len() as usize;
    let mut random = random();
    for round in 0..ROUNDS / 2 {
        copy(&whole, &here);
        // A run of garbage: it reaches into two records at most.
        let (at, run) = (random() as usize % len, random() as usize % 300 + 2);
        for i in at..(at + run).min(len) {
            flip(&segment(&here), i, random() as u8);
        }
        let served = written.served(&here).await;
        assert!(served + 2 >= written.metas.len(), "round {round}, {run} bytes at {at}: {served}");
        mend(&here);
        assert_eq!(written.served(&here).await, served, "round {round}, {run} bytes at {at}");
        fs::remove_dir_all(&here).unwrap();
    }
}

#[tokio::test]
async fn one_byte_anywhere_in_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, here) = (dir.path().join("whole"), dir.path().join("here"));
    let written = Written::new(&whole, 8).await;
    let pages = fs::read(whole.join("catalog.sqlite")).unwrap();
    // Empty parts of pages say nothing.
    let used: Vec<usize> = (0..pages.len()).filter(|at| pages[*at] != 0).collect();
    let mut random = random();
    for round in 0..ROUNDS {
        copy(&whole, &here);
        let (at, mask) = (used[random() as usize % used.len()], (random() % 255 + 1) as u8);
        flip(&here.join("catalog.sqlite"), at, mask);
        println!("round {round}: catalog byte {at} ^ {mask}");
        // It opens or is refused in one line; what it serves is what was written. Wrong names of streams and such cannot be told.
        let opened = store::Store::open(config(&here), system_clock()).await;
        if let Ok(store) = opened {
            for stream in store.streams() {
                for meta in stream.fragments(ALL, store::Position::Start, 1000).await.unwrap_or_default() {
                    let Ok(read) = stream.fragment(meta.number).await else { continue };
                    let bytes: Vec<u8> = read.payload().flat_map(|part| part.to_vec()).collect();
                    let known = written
                        .metas
                        .iter()
                        .any(|(_, m)| m.crc32c == crc32c::crc32c(&bytes) && m.bytes as usize == bytes.len());
                    assert!(known, "round {round}: bytes that nobody wrote");
                }
            }
            store.stop().await.unwrap();
        }
        let _ = check(&here, CheckOptions::default());
        let done = rebuild_in_place(&here, true);
        let done = done.unwrap_or_else(|e| panic!("round {round}, byte {at} ^ {mask}: {e}"));
        assert_eq!(done.rebuilt.fragments, written.metas.len() as u64, "round {round}, byte {at} ^ {mask}: {done:?}");
        fs::remove_dir_all(&here).unwrap();
    }
}
