#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Read;
use tempfile::TempDir;

/// A file in a folder of its own, and whether its file system takes direct writes.
fn tail() -> (TempDir, Tail) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let tail = Tail::new(File::create(&path).unwrap(), &path);
    (dir, tail)
}

fn content(dir: &TempDir) -> Vec<u8> {
    let mut all = Vec::new();
    File::open(dir.path().join("file")).unwrap().read_to_end(&mut all).unwrap();
    all
}

/// So many bytes in parts of uneven lengths, some of them empty.
fn parts(len: usize, seed: usize) -> Vec<Bytes> {
    let bytes: Bytes = (0..len).map(|i| (i.wrapping_mul(31).wrapping_add(seed) % 251) as u8).collect();
    let (mut parts, mut at) = (vec![Bytes::new()], 0);
    while at < len {
        let part = [1, 100_000, 0, 37, 8192, 4096, 300_007][(at + parts.len()) % 7].min(len - at);
        parts.push(bytes.slice(at..at + part));
        at += part;
    }
    parts
}

#[test]
fn groups_of_any_size_follow_one_another() {
    for takes_direct in [true, false] {
        let (dir, mut tail) = tail();
        if !takes_direct {
            tail.direct = None;
        }
        let (mut stage, mut expected) = (Stage::default(), Vec::new());
        let around =
            [DIRECT_FROM, 16 * STAGE, 33 * STAGE].into_iter().flat_map(|n| [n - 4097, n - 1, n, n + 1, n + 4095]);
        for (seed, len) in [0, 1, 4095, 4096, 4097].into_iter().chain(around).enumerate() {
            let parts = parts(len, seed);
            let done = tail.append(&parts, expected.len() as u64, &mut stage, &Faults::default());
            assert!(done.is_ok());
            expected.extend(parts.concat());
            assert!(content(&dir) == expected, "group {seed} of {len} bytes");
        }
        assert!(stage.spare.iter().all(|buffer| buffer.memory.is_empty()) || takes_direct);
    }
}

#[test]
fn refused_direct_writes_go_through_the_page_cache_from_then_on() {
    let (dir, mut tail) = tail();
    let was_direct = tail.direct.is_some();
    let (mut stage, faults) = (Stage::default(), Faults::default());
    let first = parts(DIRECT_FROM + 3 * STAGE + 5, 1);
    faults.arm("segment.direct", 1, io::ErrorKind::InvalidInput);
    assert!(tail.append(&first, 0, &mut stage, &faults).is_ok());
    assert!(tail.direct.is_none());
    assert!(content(&dir) == first.concat());
    if !was_direct {
        println!("skipped: this file system takes no direct writes");
    }
}

#[test]
fn what_a_direct_write_fails_with_says_whether_the_disk_is_at_fault() {
    let (dir, mut tail) = tail();
    if tail.direct.is_none() {
        return println!("skipped: this file system takes no direct writes");
    }
    let (mut stage, faults) = (Stage::default(), Faults::default());
    for (kind, is_disk) in
        [(io::ErrorKind::StorageFull, false), (io::ErrorKind::QuotaExceeded, false), (io::ErrorKind::Other, true)]
    {
        for blocks in [DIRECT_FROM / STAGE, 40] {
            faults.arm("segment.direct", 1, kind);
            let failed = tail.append(&parts(blocks * STAGE, 0), 0, &mut stage, &faults).unwrap_err();
            assert_eq!(matches!(failed, Failure::Disk(_)), is_disk, "{kind}");
            let again = parts(blocks * STAGE, 1);
            assert!(tail.append(&again, 0, &mut stage, &faults).is_ok());
            assert!(content(&dir)[..blocks * STAGE] == again.concat());
        }
    }
}

#[test]
fn parts_are_copied_and_sliced_alike() {
    let all = parts(500_000, 3);
    let whole = all.concat();
    let mut rest = Parts::new(&all);
    let mut copy = vec![0; 123_457];
    rest.copy_to(&mut copy);
    assert!(copy[..] == whole[..copy.len()]);
    let sliced: Vec<u8> = rest.slices(200_000).iter().flat_map(|s| s.to_vec()).collect();
    assert!(sliced[..] == whole[copy.len()..copy.len() + 200_000]);
    rest.advance(sliced.len());
    assert_eq!(rest.left, whole.len() - copy.len() - sliced.len());
    let sliced: Vec<u8> = rest.slices(usize::MAX).iter().flat_map(|s| s.to_vec()).collect();
    assert!(sliced[..] == whole[whole.len() - rest.left..]);
    let many: Vec<Bytes> = (0..3000u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    assert_eq!(Parts::new(&many).slices(usize::MAX).len(), SLICES);
}
