//! Damage of every kind: what is served beside it, what the check says, what a repair and a rebuild bring back.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::damage::*;
use common::*;
use media::{Cause, UnixMillis};
use std::fs;
use std::path::Path;
use store::check::{CheckOptions, Report, check, check_online, quarantine_online, rebuild_in_place, repair};
use store::{Kind, Store};

const DEEP: CheckOptions = CheckOptions { payloads: true, bytes_per_s: None };
const HEADS: CheckOptions = CheckOptions { payloads: false, bytes_per_s: None };

fn mended(data: &Path, dry_run: bool) -> (Report, Vec<String>) {
    let mut said = Vec::new();
    let report = repair(data, DEEP, dry_run, UnixMillis(T0), &mut |line| said.push(line.to_owned())).unwrap();
    assert_eq!(report.actions, said);
    (report, said)
}

fn sql(data: &Path, statements: &str) {
    rusqlite::Connection::open(data.join("catalog.sqlite")).unwrap().execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_damaged_fragment_is_set_aside_at_the_first_read_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), 5).await;
    let lost = &written.of("a")[2];
    written.flip(lost, 72 + 40);

    let store = open(dir.path()).await;
    let stream = store.stream(&name("a")).unwrap();
    assert_eq!(stream.fragment(lost.number).await.unwrap_err().kind(), Kind::Corrupt);
    let gone = stream.fragment(lost.number).await.unwrap_err();
    assert!(gone.kind() == Kind::NotFound && gone.to_string().contains("left out: "), "{gone}");
    let rest: Vec<_> = written.of("a").into_iter().filter(|m| m.number != lost.number).collect();
    assert_eq!(stream.fragments(ALL, store::Position::Start, 9).await.unwrap(), rest);
    assert_eq!(stream.latest(9).await.unwrap(), rest);
    assert_eq!(stream.next_after(rest[0].number, 9).await.unwrap(), rest[1..]);
    let spans = stream.coverage(ALL, 9).await.unwrap();
    let seen: Vec<_> = spans.iter().map(|s| (s.start.0 - T0, s.fragments, s.cause)).collect();
    assert_eq!(seen, [(0, 2, Some(Cause::Start)), (3000, 2, Some(Cause::Damaged))]);
    // The producer may send it again.
    store.stop().await.unwrap();

    let report = check(dir.path(), DEEP).unwrap();
    assert!(report.is_clean() && report.quarantined == 1, "{report}");
    assert!(
        report.remarks.iter().any(|r| r.contains("in quarantine") && r.contains(&lost.number.to_string())),
        "{report}"
    );

    // Put right from a backup, it comes back.
    written.flip(lost, 72 + 40);
    let (_, said) = mended(dir.path(), false);
    assert!(said.len() == 1 && said[0].contains("back into the index"), "{said:?}");
    assert_eq!(written.served(dir.path()).await, 10);
    assert!(check(dir.path(), DEEP).unwrap().is_clean());
}

#[tokio::test]
async fn a_damaged_head_costs_nothing_and_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), 5).await;
    let hurt = &written.of("a")[2];
    // One byte, which the checksum tells; then so many that only the catalog knows what stood there.
    for bytes in [1, 20] {
        let (file, at) = written.place(hurt);
        let mut all = fs::read(&file).unwrap();
        let whole = all.clone();
        all[at + 8..at + 8 + bytes].iter_mut().for_each(|b| *b ^= 0x55);
        fs::write(&file, &all).unwrap();
        assert_eq!(written.served(dir.path()).await, 10, "rows point at it");
        for report in [check(dir.path(), DEEP).unwrap(), check(dir.path(), HEADS).unwrap()] {
            let five: Vec<_> = report.problems.iter().filter(|(i, _)| *i == 5).collect();
            assert_eq!((report.problems.len(), five.len()), (1, 1), "{report}");
            assert!(five[0].1.contains("whole"), "{report}");
        }
        let (_, said) = mended(dir.path(), true);
        assert!(said.len() == 1 && said[0].starts_with("would write the damaged head"), "{said:?}");
        assert_eq!(fs::read(&file).unwrap(), all, "a dry run changes nothing");
        mended(dir.path(), false);
        assert_eq!(fs::read(&file).unwrap(), whole);
        assert!(check(dir.path(), DEEP).unwrap().is_clean());
    }
}

#[tokio::test]
async fn a_rebuild_goes_on_behind_damage_and_keeps_what_segments_do_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), 5).await;
    let store = open(dir.path()).await;
    store.set_setting("colour", "blue").await.unwrap();
    store.create_stream(&name("empty"), Some(7)).await.unwrap();
    let secret = store.secret();
    let body = serde_json::json!({"a": 1});
    store.put_document("keys", "k", store::documents::Expect::Absent, body).await.unwrap();
    store.stop().await.unwrap();

    // One head with a wrong byte, one that is gone, and one payload.
    written.flip(&written.of("a")[1], 20);
    let (file, at) = written.place(&written.of("a")[3]);
    let mut all = fs::read(&file).unwrap();
    all[at..at + 40].fill(0xff);
    fs::write(&file, all).unwrap();
    written.flip(&written.of("b")[2], 72 + 9);

    let done = rebuild_in_place(dir.path(), true).unwrap();
    assert_eq!((done.rebuilt.streams, done.rebuilt.fragments), (3, 9), "{done:?}");
    assert_eq!(done.rebuilt.problems.len(), 3, "{done:?}");
    assert!(done.kept_aside.as_ref().is_some_and(|file| file.exists()), "{done:?}");
    let store = open(dir.path()).await;
    assert_eq!(store.setting("colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(store.secret(), secret);
    assert_eq!(store.stream(&name("empty")).unwrap().info().retention_hours, Some(7));
    assert_eq!(store.document("keys", "k").await.unwrap().unwrap().body["a"], 1);
    store.stop().await.unwrap();
    assert_eq!(written.served(dir.path()).await, 9);

    // With a catalog that is no catalog any more, the head that only it knew ends the segment.
    fs::write(dir.path().join("catalog.sqlite"), vec![7; 9000]).unwrap();
    let refused = Store::open(config(dir.path()), system_clock()).await.err().unwrap().to_string();
    assert!(refused.contains("check --rebuild"), "{refused}");
    assert!(check(dir.path(), DEEP).unwrap_err().to_string().contains("check --rebuild"));
    let done = rebuild_in_place(dir.path(), true).unwrap();
    assert!(done.rebuilt.problems[0].contains("cannot be read"), "{done:?}");
    assert_eq!(done.rebuilt.fragments, 5, "{done:?}");
    assert_eq!(written.served(dir.path()).await, 5);
}

#[tokio::test]
async fn a_catalog_that_lost_rows_counts_ends_and_headers_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), 5).await;
    let (a, b) = (written.of("a"), written.of("b"));
    sql(
        dir.path(),
        &format!(
            "DELETE FROM fragments WHERE counter = {};
             UPDATE fragments SET place = place + 8 WHERE stream = 2 AND counter = {};
             UPDATE segments SET ends = 700;
             DELETE FROM headers WHERE stream = 1;
             UPDATE headers SET bytes = x'00' WHERE stream = 2;
             UPDATE streams SET counter_limit = 1;
             INSERT INTO fragments SELECT 1, 900, producer_start + 90000, server_start, random, duration_ms, bytes, frames, crc32c, header,
                 cause, 77, place, form FROM fragments WHERE stream = 1 LIMIT 1;",
            a[2].number.counter(),
            b[3].number.counter()
        ),
    );
    let before = check(dir.path(), DEEP).unwrap();
    for (invariant, what) in
        [(1, "its segment is not known"), (1, "no record starts"), (3, "above the limit"), (6, "ends at"), (6, "rows")]
    {
        assert!(before.problems.iter().any(|(i, w)| *i == invariant && w.contains(what)), "{what}: {before}");
    }
    let (dry, _) = mended(dir.path(), true);
    assert!(dry.acted >= 7, "{dry:?}");
    let json = dry.to_json();
    assert_eq!((json["clean"].as_bool(), json["acted"].as_u64()), (Some(false), Some(dry.acted)));
    let (_, said) = mended(dir.path(), false);
    assert_eq!(said.len() as u64, dry.acted, "what it said it would do: {said:?}");
    let after = check(dir.path(), DEEP).unwrap();
    assert!(after.is_clean(), "{after}\n{said:?}");
    assert_eq!(after.quarantined, 1, "the row that pointed nowhere");
    assert_eq!(written.served(dir.path()).await, 10);
}

#[tokio::test]
async fn what_was_deleted_or_expired_is_never_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let written = Written::new(dir.path(), 6).await;
    let store = open(dir.path()).await;
    let a = store.stream(&name("a")).unwrap();
    let range = store::Range { from: UnixMillis(T0 + 2000), to: UnixMillis(T0 + 2100) };
    assert_eq!(a.delete_range(range).await.unwrap().fragments, 1);
    store.delete_stream(&name("b")).await.unwrap();
    store.stop().await.unwrap();
    // As retention takes them: the oldest.
    sql(
        dir.path(),
        "DELETE FROM fragments WHERE counter = (SELECT min(counter) FROM fragments WHERE stream = 1) AND stream = 1;
         UPDATE segments SET rows = rows - 1;",
    );
    let (_, said) = mended(dir.path(), false);
    assert!(said.iter().all(|line| line.starts_with("set the count")), "{said:?}");
    assert_eq!(written.served(dir.path()).await, 4);
}

#[tokio::test]
async fn the_check_runs_beside_a_store_that_records_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_owned();
    let store =
        Store::open(store::Config { segment_bytes: 4000, sweep_interval_s: 1, ..config(&data) }, system_clock())
            .await
            .unwrap();
    let stream = store.create_stream(&name("a"), None).await.unwrap();
    let mut writer = stream.writer();
    assert!(check(&data, HEADS).unwrap_err().to_string().contains("in use"));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = stop.clone();
    let of = data.clone();
    let checks = std::thread::spawn(move || {
        let mut checks = 0;
        while !until.load(std::sync::atomic::Ordering::SeqCst) {
            let slowly = CheckOptions { payloads: true, bytes_per_s: Some(2_000_000) };
            let report = check_online(&of, slowly).unwrap();
            assert!(report.is_clean(), "{report}");
            checks += 1;
        }
        checks
    });
    let began = std::time::Instant::now();
    let mut at = T0;
    while began.elapsed().as_millis() < 1500 {
        for _ in 0..5 {
            record(&mut writer, fragment(&header(1280), at, 3, 300, None)).await;
            at += 1000;
        }
        let range = store::Range { from: UnixMillis(T0), to: UnixMillis(at - 20_000) };
        stream.delete_range(range).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(checks.join().unwrap() > 2);

    // Damage that it finds is set aside in the running store.
    let meta = record(&mut writer, fragment(&header(1280), at, 3, 300, None)).await;
    store.stop().await.unwrap();
    let store = open(&data).await;
    flip_fragment(&data, &meta, 72 + 5);
    let mut said = Vec::new();
    let report = quarantine_online(&data, DEEP, false, UnixMillis(T0), &mut |line| said.push(line.to_owned())).unwrap();
    assert!(!report.is_clean() && said.len() == 1, "{report} {said:?}");
    let stream = store.stream(&name("a")).unwrap();
    assert_eq!(stream.fragment(meta.number).await.unwrap_err().kind(), Kind::NotFound);
    assert!(!stream.fragments(ALL, store::Position::Start, 1000).await.unwrap().contains(&meta));
    let report = check_online(&data, DEEP).unwrap();
    assert!(report.is_clean() && report.quarantined == 1, "{report}");
    store.stop().await.unwrap();
}
