//! A segment cut off anywhere: what was complete is there, what was not is gone, and what the check says.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use media::{FragmentMeta, UnixMillis};
use std::fs;
use std::path::{Path, PathBuf};
use store::check::{CheckOptions, check, rebuild};
use store::{Kind, Position, Range, Store};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn only_segment(data: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(data.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Records of a segment: offset and kind, read by the layout in docs/storage.md.
fn records(segment: &Path) -> Vec<(usize, u8)> {
    let bytes = fs::read(segment).unwrap();
    let mut at = 64;
    let mut found = Vec::new();
    while at < bytes.len() {
        assert_eq!(&bytes[at..at + 4], b"VREC");
        found.push((at, bytes[at + 4]));
        let len = u32::from_le_bytes(bytes[at + 60..at + 64].try_into().unwrap()) as usize;
        at += (72 + len).next_multiple_of(8);
    }
    assert_eq!(at, bytes.len());
    found
}

async fn write(data: &Path, from: i64, count: i64) -> Vec<FragmentMeta> {
    let store = open(data).await;
    // The catalog as it is before anything is written; nothing changes it at this moment.
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let _ = fs::copy(data.join(file), data.join(format!("early-{file}")));
    }
    let mut metas = Vec::new();
    for s in ["a", "b"] {
        let stream = match store.stream(&name(s)) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name(s), None).await.unwrap(),
        };
        let mut writer = stream.writer();
        for i in from..from + count {
            metas.push(record(&mut writer, fragment(&header(1280), T0 + i * 1000, 3, 50 + i as usize * 7, None)).await);
        }
    }
    store.stop().await.unwrap();
    metas
}

async fn count(store: &Store) -> usize {
    let mut n = 0;
    for stream in store.streams() {
        for meta in stream.fragments(ALL, Position::Start, 1000).await.unwrap() {
            let fragment = stream.fragment(meta.number).await.unwrap();
            assert_eq!(fragment.frames().unwrap().len(), 3);
            n += 1;
        }
    }
    n
}

#[tokio::test]
async fn an_end_behind_the_last_commit_is_adopted_up_to_where_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write(&data, 0, 3).await;
    let committed = fs::metadata(only_segment(&data)).unwrap().len() as usize;
    write(&data, 3, 4).await;
    // The folder as a kill between the sync of the segment and the commit of the catalog leaves it.
    assert!(!data.join("catalog.sqlite-wal").exists(), "a store that was stopped leaves one file");
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let _ = fs::remove_file(data.join(file));
        let _ = fs::rename(data.join(format!("early-{file}")), data.join(file));
    }
    let segment = only_segment(&data);
    let len = fs::metadata(&segment).unwrap().len() as usize;
    let records = records(&segment);
    let fragments_before = |cut: usize| {
        let ends = records.iter().skip(1).map(|r| r.0).chain([len]);
        records.iter().zip(ends).filter(|((_, kind), end)| *kind == 3 && *end <= cut).count()
    };
    assert_eq!(fragments_before(len), 14);
    let mut cuts: Vec<usize> = records.iter().map(|r| r.0).filter(|at| *at >= committed).collect();
    cuts.push(len);
    let mut tried = 0;
    for (i, boundary) in cuts.iter().enumerate() {
        let random = (boundary * 7919 + i * 104_729) % 400;
        for cut in [*boundary, boundary + 1, boundary + 71, boundary + 72, boundary + random] {
            if cut > len {
                continue;
            }
            let here = dir.path().join("cut");
            copy(&data, &here);
            let file = fs::OpenOptions::new().write(true).open(only_segment(&here)).unwrap();
            file.set_len(cut as u64).unwrap();
            drop(file);
            assert!(check(&here, CheckOptions::default()).unwrap().is_clean(), "before mending, cut at {cut}");
            let store = open(&here).await;
            assert_eq!(count(&store).await, fragments_before(cut), "cut at {cut}");
            // And it goes on from there.
            let stream = store.stream(&name("a")).unwrap();
            let newest = stream.latest(1).await.unwrap().pop().unwrap();
            let next = record(&mut stream.writer(), fragment(&header(1280), T0 + 99_000, 3, 50, None)).await;
            assert!(next.number > newest.number);
            store.stop().await.unwrap();
            let report = check(&here, CheckOptions::default()).unwrap();
            assert!(report.is_clean(), "cut at {cut}:\n{report}");
            fs::remove_dir_all(&here).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn an_older_catalog_that_is_put_back_takes_over_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { segment_bytes: 20_000, ..config(dir.path()) };
    let mut written = Vec::new();
    let more = async |streams: &[&str], count: i64, written: &mut Vec<(String, FragmentMeta)>| {
        let store = Store::open(config.clone(), system_clock()).await.unwrap();
        for s in streams {
            let stream = match store.stream(&name(s)) {
                Ok(stream) => stream,
                Err(_) => store.create_stream(&name(s), None).await.unwrap(),
            };
            let mut writer = stream.writer();
            for _ in 0..count {
                let at = T0 + written.len() as i64 * 1000;
                written.push((s.to_string(), record(&mut writer, fragment(&header(1280), at, 3, 50, None)).await));
            }
        }
        store.stop().await.unwrap();
    };
    more(&["a", "b"], 5, &mut written).await;
    let catalog = dir.path().join("catalog.sqlite");
    let old = fs::read(&catalog).unwrap();
    // Two more runs: each begins a block of numbers. A stream is new, and there are more segments.
    more(&["a", "b"], 40, &mut written).await;
    more(&["a", "c"], 40, &mut written).await;
    assert!(fs::read_dir(dir.path().join("segments")).unwrap().count() > 2);
    fs::write(&catalog, old).unwrap();

    more(&["a", "b", "c", "d"], 5, &mut written).await;
    let store = Store::open(config.clone(), system_clock()).await.unwrap();
    for s in ["a", "b", "c", "d"] {
        let stream = store.stream(&name(s)).unwrap();
        let expected: Vec<_> = written.iter().filter(|(of, _)| of == s).map(|(_, meta)| meta.clone()).collect();
        assert!(expected.is_sorted_by(|a, b| a.number.counter() < b.number.counter()), "numbers only grow");
        assert_eq!(stream.fragments(ALL, Position::Start, 1000).await.unwrap(), expected);
        for meta in &expected {
            assert_eq!(stream.fragment(meta.number).await.unwrap().meta, *meta);
        }
    }
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_flipped_bit_is_corrupt_and_named_and_the_check_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let metas = write(dir.path(), 0, 3).await;
    let segment = only_segment(dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    let (at, _) = *records(&segment).iter().filter(|r| r.1 == 3).nth(1).unwrap();
    bytes[at + 72 + 40] ^= 4;
    fs::write(&segment, &bytes).unwrap();

    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(!report.is_clean());
    assert!(report.problems.iter().any(|(i, what)| *i == 1 && what.contains(&metas[1].number.to_string())), "{report}");
    assert!(
        check(dir.path(), CheckOptions { payloads: false, ..Default::default() }).unwrap().is_clean(),
        "heads are as they were"
    );

    let store = open(dir.path()).await;
    let stream = store.stream(&name("a")).unwrap();
    let error = stream.fragment(metas[1].number).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let text = error.to_string();
    let offset = format!("offset {at}");
    for part in ["stream a", &metas[1].number.to_string(), "segment 0000000000000001", &offset, "checksum"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(stream.fragment(metas[2].number).await.is_ok());
    store.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_that_were_acknowledged_and_are_gone_are_reported_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let metas = write(dir.path(), 0, 3).await;
    let segment = only_segment(dir.path());
    let (at, _) = *records(&segment).iter().rfind(|r| r.1 == 3).unwrap();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(at as u64 + 30).unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.problems.iter().any(|(i, what)| *i == 1 && what.contains(&metas[5].number.to_string())), "{report}");
    let store = open(dir.path()).await;
    let stream = store.stream(&name("b")).unwrap();
    assert_eq!(stream.fragment(metas[5].number).await.unwrap_err().kind(), Kind::Corrupt);
    assert!(stream.fragment(metas[4].number).await.is_ok());
    let next = record(&mut stream.writer(), fragment(&header(1280), T0 + 9000, 3, 50, None)).await;
    assert_eq!(
        fs::read_dir(dir.path().join("segments")).unwrap().count(),
        2,
        "nothing is appended to a damaged segment"
    );
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    assert!(store.stream(&name("b")).unwrap().fragment(next.number).await.is_ok());
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_rebuild_gives_no_row_to_a_payload_that_never_reached_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let metas = write(dir.path(), 0, 3).await;
    let segment = only_segment(dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    // What a crash of the machine leaves of a group that was not synced: pages in any order, here two payloads missing.
    let fragments: Vec<_> = records(&segment).into_iter().filter(|r| r.1 == 3).map(|r| r.0).collect();
    for lost in [3, 5] {
        bytes[fragments[lost] + 72..][..64].fill(0);
    }
    fs::write(&segment, &bytes).unwrap();
    fs::remove_file(dir.path().join("catalog.sqlite")).unwrap();
    let rebuilt = rebuild(dir.path(), &dir.path().join("fresh.sqlite")).unwrap();
    assert_eq!((rebuilt.fragments, rebuilt.problems.len()), (4, 2), "{rebuilt:?}");
    let store = open(dir.path()).await;
    assert_eq!(count(&store).await, 4, "each that is listed can be read");
    let b = store.stream(&name("b")).unwrap().fragments(ALL, Position::Start, 9).await.unwrap();
    assert_eq!(b, metas[4..5]);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn the_index_is_rebuilt_from_segments_alone() {
    // Invariant 5.
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = store::Config { segment_bytes: 2000, default_retention_hours: 5, ..config(&data) };
    let store = Store::open(config.clone(), system_clock()).await.unwrap();
    let mut written = Vec::new();
    for s in ["a", "b", "gone"] {
        let stream = store.create_stream(&name(s), None).await.unwrap();
        let mut writer = stream.writer();
        for i in 0..9 {
            let cause = (i == 4).then_some(media::Cause::PacketLoss);
            let width = if i < 5 { 1280 } else { 640 };
            written.push((s, record(&mut writer, fragment(&header(width), T0 + i * 1000, 3, 100, cause)).await));
        }
    }
    store.delete_stream(&name("gone")).await.unwrap();
    let infos: Vec<_> = store.streams().iter().map(|s| s.info()).collect();
    // So that the note of the deletion is in a segment too.
    store.stop().await.unwrap();
    assert!(check(&data, CheckOptions::default()).unwrap().is_clean());

    let fresh = data.join("fresh.sqlite");
    let rebuilt = rebuild(&data, &fresh).unwrap();
    assert_eq!((rebuilt.streams, rebuilt.fragments, rebuilt.problems.len()), (2, 18, 0), "{rebuilt:?}");
    // In place of the lost one.
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let report = check(&data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    verify(&config, &infos, &written).await;

    // A start that finds none makes it anew by itself.
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    verify(&config, &infos, &written).await;
}

async fn verify(config: &store::Config, infos: &[store::StreamInfo], written: &[(&str, FragmentMeta)]) {
    let store = Store::open(config.clone(), system_clock()).await.unwrap();
    assert_eq!(store.streams().iter().map(|s| s.info()).collect::<Vec<_>>(), infos);
    for (s, meta) in written.iter().filter(|(s, _)| *s != "gone") {
        let stream = store.stream(&name(s)).unwrap();
        assert_eq!(stream.fragment(meta.number).await.unwrap().meta, *meta);
    }
    let next =
        record(&mut store.stream(&name("a")).unwrap().writer(), fragment(&header(1280), T0 + 60_000, 3, 100, None))
            .await;
    let largest = written.iter().filter(|(s, _)| *s == "a").map(|(_, m)| m.number).max().unwrap();
    assert!(next.number > largest, "numbers are not used again");
    store.stop().await.unwrap();
}
