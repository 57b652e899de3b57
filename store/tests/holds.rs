//! Legal holds: what is held stays, whatever else would take it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::time::Duration;
use store::check::{CheckOptions, check};
use store::holds::Hold;
use store::quota::StreamQuota;
use store::{Config, Kind, Position, Range, Store, Stream};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
const HOUR: i64 = 3_600_000;

fn hold(called: &str, from: i64, to: i64) -> Hold {
    Hold {
        name: called.to_owned(),
        from: UnixMillis(T0 + from),
        to: UnixMillis(T0 + to),
        reason: "case 7 / 2026".to_owned(),
        placed_by: "root".to_owned(),
        placed_at: UnixMillis(T0),
    }
}

async fn all_of(stream: &Stream) -> Vec<FragmentMeta> {
    stream.fragments(ALL, Position::Start, 1000).await.unwrap()
}

/// What is left, once memory and catalog agree.
async fn left(stream: &Stream, expected: &[FragmentMeta]) {
    for _ in 0..200 {
        if all_of(stream).await == expected && stream.latest(1000).await.unwrap() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!(
        "{} are left, and {} in memory, not {}",
        all_of(stream).await.len(),
        stream.latest(1000).await.unwrap().len(),
        expected.len()
    );
}

#[tokio::test]
async fn what_is_held_outlives_retention_quotas_deletions_and_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let config = Config { sweep_interval_s: 1, segment_bytes: 8000, min_free_bytes: 0, ..config(dir.path()) };
    let store = Store::open(config.clone(), clock.clock()).await.unwrap();
    let gate = store.create_stream(&name("gate"), Some(1)).await.unwrap();
    let mut writer = gate.verbatim_writer();
    let mut metas = Vec::new();
    for i in 0..20 {
        // From i s to i + 0.2 s.
        metas.push(store_new(&mut writer, &sent(640, T0 + i * 1000, 2, 500)).await);
    }
    gate.place_hold(hold("case", 5000, 7100)).await.unwrap();
    gate.place_hold(hold("far away", 900_000, 1_000_000)).await.unwrap();
    let held = metas[5..8].to_vec();

    // Wrong ones.
    let refused = async |hold: Hold, kind: Kind, says: &str| {
        let error = gate.place_hold(hold).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(says), "{error}");
    };
    refused(hold("case", 1, 2), Kind::AlreadyExists, "\"case\"").await;
    refused(hold("", 1, 2), Kind::Invalid, "name").await;
    refused(hold("a/b", 1, 2), Kind::Invalid, "name").await;
    refused(hold("x", 2, 2), Kind::Invalid, "to").await;
    refused(Hold { reason: String::new(), ..hold("x", 1, 2) }, Kind::Invalid, "reason").await;
    assert_eq!(gate.lift_hold("none").await.unwrap_err().kind(), Kind::NotFound);

    // Deletions say which hold is in the way, and take nothing.
    for (from, to) in [(0, 20_000), (6000, 6001), (7050, 7150), (4000, 5001)] {
        let range = Range { from: UnixMillis(T0 + from), to: UnixMillis(T0 + to) };
        let error = gate.delete_range(range).await.unwrap_err();
        assert!(error.kind() == Kind::Conflict && error.to_string().contains("\"case\""), "{error}");
    }
    // The range ends before the hold, a fragment reaches into both: the one that begins at 7 s lasts to 7.2 s.
    let range = Range { from: UnixMillis(T0 + 7150), to: UnixMillis(T0 + 7160) };
    assert_eq!(gate.delete_range(range).await.unwrap_err().kind(), Kind::Conflict);
    assert!(store.delete_stream(&name("gate")).await.unwrap_err().to_string().contains("legal hold"));
    assert_eq!(all_of(&gate).await, metas);
    let range = Range { from: UnixMillis(T0 + 8000), to: UnixMillis(T0 + 9001) };
    assert_eq!(gate.delete_range(range).await.unwrap().fragments, 2);

    // A quota takes what it may, then refuses.
    let quota = StreamQuota { quota_bytes: Some(2000), ..StreamQuota::default() };
    store.set_quota(&name("gate"), quota).await.unwrap();
    left(&gate, &held).await;
    let error = send(&mut writer, &sent(640, T0 + 30_000, 2, 500)).await.err().unwrap();
    assert!(error.kind() == Kind::QuotaReached && gate.usage().refusing, "{error}");
    store.set_quota(&name("gate"), StreamQuota::default()).await.unwrap();

    // Retention.
    clock.advance_ms(3 * HOUR);
    store.set_retention(&name("gate"), Some(1)).await.unwrap();
    left(&gate, &held).await;
    // More comes and goes behind what is held.
    let later = store_new(&mut writer, &sent(640, T0 + 3 * HOUR, 2, 500)).await;
    left(&gate, &[held.clone(), vec![later]].concat()).await;
    clock.advance_ms(3 * HOUR);
    store.set_retention(&name("gate"), Some(1)).await.unwrap();
    left(&gate, &held).await;
    let names = |stream: &Stream| stream.holds().into_iter().map(|hold| hold.name).collect::<Vec<_>>();
    assert_eq!(names(&gate), ["case", "far away"]);

    // A start, and a rebuild.
    drop(writer);
    store.stop().await.unwrap();
    assert!(check(dir.path(), CheckOptions::default()).unwrap().is_clean());
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    let store = Store::open(config, clock.clock()).await.unwrap();
    let gate = store.stream(&name("gate")).unwrap();
    assert_eq!(gate.holds(), [hold("case", 5000, 7100), hold("far away", 900_000, 1_000_000)]);
    left(&gate, &held).await;

    // Lifted, it goes as everything else.
    gate.lift_hold("case").await.unwrap();
    left(&gate, &[]).await;
    gate.lift_hold("far away").await.unwrap();
    store.delete_stream(&name("gate")).await.unwrap();
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_deletion_takes_nothing_that_is_held_and_on_its_way_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let slowly = store::Config { commit_interval_ms: 400, ..config(dir.path()) };
    let store = Store::open(slowly, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    let range = |from: i64, to: i64| store::Range { from: UnixMillis(T0 + from), to: UnixMillis(T0 + to) };
    stream.place_hold(hold("case", 900, 5000)).await.unwrap();
    // From 0 to 1000: it reaches into what is held, and the catalog does not know of it yet.
    let edge = seal(&mut writer, fragment(&header(1280), T0, 10, 300, None)).await.1;
    let error = stream.delete_range(range(0, 100)).await.unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.to_string().contains("on its way"), "{error}");
    let kept = edge.wait().await.unwrap();
    // One on its way that nothing holds goes.
    let gone = seal(&mut writer, fragment(&header(1280), T0 + 9000, 10, 300, None)).await.1;
    assert_eq!(stream.delete_range(range(9000, 9100)).await.unwrap().fragments, 1);
    gone.wait().await.unwrap();
    let error = stream.delete_range(range(0, 100)).await.unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.to_string().contains("case"), "{error}");
    assert_eq!(stream.fragments(range(0, 99_999), store::Position::Start, 9).await.unwrap(), [kept]);
    store.stop().await.unwrap();
}
