//! Deleting a range of time, and retention: what goes, what stays, and that nothing comes back.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use std::path::Path;
use std::time::Duration;
use store::check::{CheckOptions, check, rebuild};
use store::records::{Alert, Detection};
use store::{Deleted, Kind, ListQuery, Offer, Position, Range, Store, Stream, TimeBy};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
const MINUTE: i64 = 60_000;

fn range(from: i64, to: i64) -> Range {
    Range { from: UnixMillis(T0 + from), to: UnixMillis(T0 + to) }
}

/// All durable fragments, as memory and as the catalog tell.
async fn both(stream: &Stream) -> (Vec<FragmentMeta>, Vec<FragmentMeta>) {
    let by_number = stream.next_after(FragmentNumber::new(0, 0, 0), 1000).await.unwrap();
    let query = ListQuery { by: TimeBy::Server, range: None, after: None, limit: 1000 };
    let mut by_time = stream.list(query).await.unwrap();
    by_time.sort_by_key(|m| m.number);
    (by_number, by_time)
}

async fn all_of(stream: &Stream) -> Vec<FragmentMeta> {
    let (memory, catalog) = both(stream).await;
    assert_eq!(memory, catalog);
    catalog
}

fn without_catalog(data: &Path) {
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
}

#[tokio::test]
async fn a_deleted_range_is_gone_for_readers_for_good_and_after_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        store::Config { segment_bytes: 4000, tail_bytes: 2000, default_retention_hours: 0, ..config(dir.path()) };
    let store = Store::open(config.clone(), system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let other = store.create_stream(&name("other"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let mut metas = Vec::new();
    for i in 0..20 {
        metas.push(store_new(&mut writer, &sent(640, T0 + i * 1000, 10, 40)).await);
    }
    let untouched = store_new(&mut other.verbatim_writer(), &sent(640, T0 + 5000, 10, 40)).await;
    assert_eq!(stream.delete_range(range(50_000, 60_000)).await.unwrap(), Deleted::default(), "nothing is there");
    for empty in [range(7000, 7000), range(7500, 7500), range(7700, 7300)] {
        assert_eq!(stream.delete_range(empty).await.unwrap(), Deleted::default(), "{empty:?}");
    }

    // A reader at work: it has the listing, and reads on.
    let listed = stream.fragments(ALL, Position::Start, 100).await.unwrap();
    let waiting = {
        let stream = stream.clone();
        let newest = metas[19].number;
        tokio::spawn(async move { stream.wait_newer(Some(newest)).await })
    };
    // Each second's fragment lasts up to the next: what only touches the range stays.
    let gone: u64 = metas[5..8].iter().map(|m| u64::from(m.bytes)).sum();
    assert_eq!(stream.delete_range(range(5500, 7001)).await.unwrap(), Deleted { fragments: 3, bytes: gone });
    assert_eq!(stream.delete_range(range(19_000, 19_001)).await.unwrap().fragments, 1, "one that memory holds");
    let kept: Vec<_> = listed[..5].iter().chain(&listed[8..19]).cloned().collect();
    assert_eq!(all_of(&stream).await, kept);
    assert_eq!(stream.latest(100).await.unwrap(), kept);
    assert_eq!(stream.fragments(ALL, Position::Start, 100).await.unwrap(), kept);
    for meta in &listed {
        match stream.fragment(meta.number).await {
            Ok(fragment) => assert!(kept.contains(&fragment.meta)),
            Err(error) => assert!(error.kind() == Kind::NotFound && !kept.contains(meta), "{error}"),
        }
    }
    let spans = stream.coverage(ALL, 9).await.unwrap();
    assert_eq!(spans.iter().map(|s| (s.start.0 - T0, s.fragments)).collect::<Vec<_>>(), [(0, 5), (8000, 11)]);
    assert_eq!(all_of(&other).await, std::slice::from_ref(&untouched));

    // The newest is gone, and what comes next wakes readers as ever. Sent again, what was deleted is new.
    assert!(!waiting.is_finished());
    let again = store_new(&mut writer, &sent(640, T0 + 6000, 10, 40)).await;
    waiting.await.unwrap().unwrap();
    let kept: Vec<_> = kept.into_iter().chain([again]).collect();
    drop(writer);
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");

    // From the segments alone it is the same, what was stored after the deletion included.
    let rebuilt = rebuild(dir.path(), &dir.path().join("fresh.sqlite")).unwrap();
    assert!(rebuilt.problems.is_empty(), "{rebuilt:?}");
    std::fs::remove_file(dir.path().join("fresh.sqlite")).unwrap();
    without_catalog(dir.path());
    for _ in 0..2 {
        let store = Store::open(config.clone(), system_clock()).await.unwrap();
        assert_eq!(all_of(&store.stream(&name("gate")).unwrap()).await, kept);
        assert_eq!(all_of(&store.stream(&name("other")).unwrap()).await, std::slice::from_ref(&untouched));
        store.stop().await.unwrap();
        let report = check(dir.path(), CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

/// Where the newest record of a deleted range stands, by the layout in docs/storage.md.
fn note_of_deletion(data: &Path) -> (i64, i64) {
    let mut found = None;
    for file in std::fs::read_dir(data.join("segments")).unwrap() {
        let path = file.unwrap().path();
        let id = i64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut at = 64;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 4], b"VREC");
            if bytes[at + 4] == 5 {
                found = found.max(Some((id, at as i64)));
            }
            let len = u32::from_le_bytes(bytes[at + 60..at + 64].try_into().unwrap()) as usize;
            at += (72 + len).next_multiple_of(8);
        }
    }
    found.unwrap()
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let store = open(data).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut metas = Vec::new();
    for i in 0..10 {
        metas.push(store_new(&mut stream.verbatim_writer(), &sent(640, T0 + i * 1000, 10, 40)).await);
    }
    store.stop().await.unwrap();
    let (catalog, old) = (data.join("catalog.sqlite"), data.join("old.sqlite"));
    std::fs::copy(&catalog, &old).unwrap();
    let store = open(data).await;
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(stream.delete_range(range(3000, 7000)).await.unwrap().fragments, 4);
    // Sent again after the deletion: not the deletion's.
    metas.push(store_new(&mut stream.verbatim_writer(), &sent(640, T0 + 5000, 10, 40)).await);
    store.stop().await.unwrap();
    let kept: Vec<_> = metas[..3].iter().chain(&metas[7..]).cloned().collect();
    let new = std::fs::read(&catalog).unwrap();

    let finished = async |what: &str| {
        let store = open(data).await;
        assert_eq!(all_of(&store.stream(&name("gate")).unwrap()).await, kept, "{what}");
        store.stop().await.unwrap();
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{what}: {report}");
    };
    // Killed after the log had it, before the catalog did: the catalog is as it was.
    std::fs::copy(&old, &catalog).unwrap();
    finished("noted in the log alone").await;

    // Killed between two batches of rows: some are still there.
    std::fs::write(&catalog, new).unwrap();
    let (segment, place) = note_of_deletion(data);
    let c = rusqlite::Connection::open(&catalog).unwrap();
    let back = format!(
        "ATTACH '{}' AS old;
         INSERT INTO fragments SELECT stream, counter, producer_start, server_start, random, duration_ms, bytes, frames, crc32c, header,
             cause, segment, place, form FROM old.fragments WHERE producer_start IN ({}, {});
         UPDATE segments SET rows = rows + 2, live_bytes = (SELECT sum((bytes + 79) / 8 * 8) FROM fragments);
         UPDATE streams SET bytes = (SELECT sum((bytes + 79) / 8 * 8) FROM fragments);
         INSERT INTO deleted_ranges (stream, from_ms, to_ms, segment, place) VALUES (1, {}, {}, {segment}, {place});",
        old.display(),
        T0 + 4000,
        T0 + 5000,
        T0 + 3000,
        T0 + 7000
    );
    c.execute_batch(&back).unwrap();
    c.close().unwrap();
    let report = check(data, CheckOptions::default()).unwrap();
    assert!(report.is_clean() && report.remarks.iter().any(|r| r.contains("not deleted whole")), "{report}");
    finished("rows left").await;
}

#[tokio::test]
async fn what_is_complete_goes_and_what_is_still_open_stays() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { commit_interval_ms: 300, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let Offer::Sealed(number, durable) = send(&mut writer, &sent(640, T0, 3, 40)).await.unwrap() else { panic!() };
    let open = sent(640, T0 + 300, 3, 40);
    writer.begin(open.start.clone()).await.unwrap();
    writer.frame(open.frames[0].clone()).await.unwrap();
    // It is on its way to the disk: that it became durable is kept as a promise, and it is deleted after that.
    let deleted = stream.delete_range(range(0, 1000)).await.unwrap();
    assert_eq!((deleted.fragments, durable.wait().await.unwrap().number), (1, number));
    assert_eq!(stream.fragment(number).await.unwrap_err().kind(), Kind::NotFound);
    for frame in &open.frames[1..] {
        writer.frame(frame.clone()).await.unwrap();
    }
    let Offer::Sealed(_, durable) = writer.end(open.verbatim.clone()).await.unwrap() else { panic!() };
    let kept = durable.wait().await.unwrap();
    assert_eq!(all_of(&stream).await, [kept]);
    store.delete_stream(&name("gate")).await.unwrap();
    assert_eq!(stream.delete_range(ALL).await.unwrap_err().kind(), Kind::NotFound);
    store.stop().await.unwrap();
    assert!(check(dir.path(), CheckOptions::default()).unwrap().is_clean());
}

#[tokio::test]
async fn a_stream_that_is_gone_takes_no_later_one_of_its_name_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = store.create_stream(&name("gate"), None).await.unwrap();
    store.delete(&first).await.unwrap();
    let second = store.create_stream(&name("gate"), None).await.unwrap();
    assert_eq!(store.delete(&first).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.stream(&name("gate")).unwrap().info(), second.info());
    store.delete(&second).await.unwrap();
    store.stop().await.unwrap();
}

#[tokio::test]
async fn of_two_with_one_producer_time_the_one_that_stays_is_listed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let short = store_new(&mut writer, &sent(640, T0, 2, 40)).await;
    let long = store_new(&mut writer, &sent(640, T0, 20, 40)).await;
    assert_eq!(stream.latest(9).await.unwrap(), [long]);
    assert_eq!(stream.delete_range(range(1000, 1100)).await.unwrap().fragments, 1);
    assert_eq!(stream.latest(9).await.unwrap(), std::slice::from_ref(&short));
    assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), [short]);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_seen_in_deleted_fragments_goes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    store.create_stream(&name("other"), None).await.unwrap();
    let mut metas = Vec::new();
    for i in 0..10 {
        metas.push(store_new(&mut stream.verbatim_writer(), &sent(640, T0 + i * 1000, 10, 40)).await);
    }
    let seen = |at: i64| Detection {
        fragment: metas[(at / 1000) as usize].number,
        offset_ms: (at % 1000) as u32,
        time: UnixMillis(T0 + at),
        class: "person".to_owned(),
        score: 0.9,
        bounds: [0.1, 0.1, 0.2, 0.5],
    };
    // More than a batch of them, in each second.
    let all: Vec<_> = (0..10_000).map(seen).collect();
    store.add_detections(&name("gate"), all.clone()).await.unwrap();
    store.add_detections(&name("other"), all[5000..5001].to_vec()).await.unwrap();
    for (id, at, pending) in
        [("01a", 3999, false), ("01b", 4000, false), ("01c", 5500, true), ("01d", 6999, false), ("01e", 7000, false)]
    {
        let alert = Alert {
            id: id.to_owned(),
            rule: name("people"),
            stream: name("gate"),
            detection: seen(at),
            raised_at: UnixMillis(T0 + at + 90),
        };
        let targets = if pending { vec![name("hook")] } else { Vec::new() };
        store.raise_alert(alert, vec![1, 2, 3], &targets).await.unwrap();
    }
    // It begins and ends within fragments, which go whole.
    assert_eq!(stream.delete_range(range(4500, 6001)).await.unwrap().fragments, 3);
    let left: Vec<_> = all[..4000].iter().chain(&all[7000..]).cloned().collect();
    assert_eq!(store.detections(&name("gate"), ALL, 20_000).await.unwrap(), left);
    assert_eq!(store.detections(&name("other"), ALL, 9).await.unwrap(), all[5000..5001]);
    let mut alerts: Vec<_> = store.alerts(None, None, 9).await.unwrap().into_iter().map(|a| a.id).collect();
    alerts.sort();
    assert_eq!(alerts, ["01a", "01c", "01e"], "one that is still to be told of stays");
    assert_eq!(store.snapshot("01b").await.unwrap_err().kind(), Kind::NotFound);
    assert!(store.snapshot("01a").await.is_ok());
    store.stop().await.unwrap();
    assert!(check(dir.path(), CheckOptions::default()).unwrap().is_clean());
}

#[tokio::test]
async fn more_than_one_batch_goes_and_a_check_finds_what_came_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { default_retention_hours: 0, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let mut last = None;
    for i in 0..4500 {
        let Offer::Sealed(_, durable) = send(&mut writer, &sent(640, T0 + i * 100, 1, 10)).await.unwrap() else {
            panic!()
        };
        last = Some(durable);
    }
    last.unwrap().wait().await.unwrap();
    let deleted = stream.delete_range(range(100, 4499 * 100)).await.unwrap();
    assert_eq!(deleted.fragments, 4498);
    assert_eq!(all_of(&stream).await.len(), 2);
    drop(writer);
    store.stop().await.unwrap();
    assert!(check(dir.path(), CheckOptions::default()).unwrap().is_clean());
    // A row that the log says is gone: invariant 5, because a rebuild would not bring it.
    let catalog = rusqlite::Connection::open(dir.path().join("catalog.sqlite")).unwrap();
    let back = format!(
        "INSERT INTO fragments SELECT stream, 2, {}, server_start, random, duration_ms, bytes, frames, crc32c, header, cause, segment,
             place, form FROM fragments WHERE counter = 1; UPDATE segments SET rows = rows + 1",
        T0 + 100
    );
    catalog.execute_batch(&back).unwrap();
    catalog.close().unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.problems.iter().any(|(i, what)| *i == 5 && what.contains("deleted")), "{report}");
}

#[tokio::test]
async fn a_stream_without_an_archive_keeps_five_minutes_and_retention_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let config = store::Config { sweep_interval_s: 1, segment_bytes: 3000, ..config(dir.path()) };
    let store = Store::open(config.clone(), clock.clock()).await.unwrap();
    let live = store.create_stream(&name("live"), Some(0)).await.unwrap();
    let archive = store.create_stream(&name("archive"), Some(1)).await.unwrap();
    let (mut a, mut b) = (live.verbatim_writer(), archive.verbatim_writer());
    let mut metas = Vec::new();
    for i in 0..7 {
        let one = sent(640, T0 + i * MINUTE, 3, 40);
        metas.push((store_new(&mut a, &one).await, store_new(&mut b, &one).await));
        clock.advance_ms(MINUTE);
    }
    // It is T0 + 7 minutes. Of five minutes ago and younger are those of minutes 2 to 6.
    let until = async |stream: &Stream, left: usize| {
        for _ in 0..100 {
            // Memory forgets just after the catalog.
            let (memory, catalog) = both(stream).await;
            if memory == catalog && catalog.len() == left {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?} are left, not {left}", all_of(stream).await.len());
    };
    until(&live, 5).await;
    assert_eq!(all_of(&live).await, metas[2..].iter().map(|m| m.0.clone()).collect::<Vec<_>>());
    assert_eq!(live.fragment(metas[0].0.number).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(all_of(&archive).await.len(), 7);

    // Shortened, it goes at once: no wait for the interval.
    store.set_retention(&name("archive"), Some(0)).await.unwrap();
    until(&archive, 5).await;
    store.set_retention(&name("archive"), None).await.unwrap();
    store.set_retention(&name("live"), Some(2)).await.unwrap();
    assert_eq!((archive.info().retention_hours, live.info().retention_hours), (None, Some(2)));
    assert_eq!(store.set_retention(&name("none"), None).await.unwrap_err().kind(), Kind::NotFound);
    clock.advance_ms(100 * 60 * MINUTE);
    until(&live, 0).await;
    assert_eq!(all_of(&archive).await.len(), 5);
    // The segments say so too, once a fragment is stored.
    store_new(&mut b, &sent(640, T0 + 9000 * MINUTE, 3, 40)).await;
    drop((a, b));
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    without_catalog(dir.path());
    let store = Store::open(config, clock.clock()).await.unwrap();
    assert_eq!(store.stream(&name("archive")).unwrap().info().retention_hours, None);
    store.stop().await.unwrap();
}
