//! A group that is written while the one before is recorded, and what happens to it where either fails.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use crate::check::{CheckOptions, check};
use crate::{Config, Error, Kind, Position, Range, Store};
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
/// Whether one group comes to be written while another is recorded is the scheduler's choice: so many tries.
const TRIES: usize = 200;

type Outcomes = Vec<Result<FragmentMeta, Error>>;

/// The points that were passed, in order.
#[derive(Clone, Default)]
struct Passed(Arc<Mutex<Vec<&'static str>>>);

impl Passed {
    fn count(&self, point: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|passed| **passed == point).count()
    }
}

/// Records two fragments, a group each, with a failure of `kind` at this pass of a point, and ends with a clean check before and after
/// another start: what was said to be durable is there, and nothing else. Gives what became of the two, and the points that were passed.
async fn two(data: &Path, point: &'static str, pass: usize, kind: ErrorKind) -> (Outcomes, Passed) {
    // Each group is full with one fragment.
    let settings = Config { commit_bytes: 1, ..config(data) };
    let store = Store::open(settings, TestClock::new().clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let passed = Passed::default();
    let (faults, seen) = (Arc::downgrade(&store.inner.faults), passed.clone());
    store.inner.faults.watch(move |at| {
        let mut all = seen.0.lock().unwrap();
        all.push(at);
        let faults = faults.upgrade().filter(|_| at == point && all.iter().filter(|p| **p == point).count() == pass);
        if let Some(faults) = faults {
            faults.arm(point, 1, kind);
        }
    });
    let (mut writer, mut waiting) = (stream.writer(), Vec::new());
    for i in 1..=2 {
        waiting.push(seal(&mut writer, fragment(&header(1280), T0 + i * 1000, 3, 100_000, None)).await.1);
    }
    let mut outcomes = Vec::new();
    for durable in waiting {
        outcomes.push(tokio::time::timeout(Duration::from_secs(20), durable.wait()).await.unwrap());
    }
    let good: Vec<FragmentMeta> = outcomes.iter().flatten().cloned().collect();
    assert_eq!(stream_of(&store).fragments(ALL, Position::Start, 9).await.unwrap(), good);
    store.stop().await.unwrap();
    assert!(check(data, CheckOptions { payloads: true, ..CheckOptions::default() }).unwrap().is_clean());
    let store = open(data).await;
    assert_eq!(stream_of(&store).fragments(ALL, Position::Start, 9).await.unwrap(), good);
    for meta in &good {
        stream_of(&store).fragment(meta.number).await.unwrap();
    }
    store.stop().await.unwrap();
    (outcomes, passed)
}

fn stream_of(store: &Store) -> crate::Stream {
    store.stream(&name("gate")).unwrap()
}

/// Tries until the second group was written while the first was recorded, which `overlapped` sees.
async fn tried(
    point: &'static str,
    pass: usize,
    kind: ErrorKind,
    overlapped: impl Fn(&Passed) -> bool,
    judge: impl Fn(&Outcomes),
) {
    for _ in 0..TRIES {
        let dir = tempfile::tempdir().unwrap();
        let (outcomes, passed) = two(dir.path(), point, pass, kind).await;
        judge(&outcomes);
        if overlapped(&passed) {
            return;
        }
    }
    panic!("in {TRIES} tries no group was written while another was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_the_catalog_refuses_is_taken_back_with_what_was_written_behind_it() {
    let written_again = |passed: &Passed| passed.count("segment.write") == 3;
    tried("catalog.commit", 1, ErrorKind::StorageFull, written_again, |outcomes| {
        assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), Kind::LimitExceeded);
        assert!(outcomes[1].is_ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_behind_one_in_doubt_waits_for_it() {
    let written_once = |passed: &Passed| {
        let all = passed.0.lock().unwrap();
        let again = all.iter().rposition(|p| *p == "catalog.commit").unwrap();
        all.iter().filter(|p| **p == "segment.sync").count() == 2 && all[..again].contains(&"segment.write")
    };
    tried("catalog.committed", 1, ErrorKind::Other, written_once, |outcomes| {
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_ahead_is_written_after() {
    let written_again = |passed: &Passed| passed.count("segment.write") == 3;
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        // Where it is not written ahead, it fails for good.
        tried("segment.write", 2, kind, written_again, |outcomes| assert!(outcomes[0].is_ok())).await;
        let dir = tempfile::tempdir().unwrap();
        let (outcomes, passed) = two(dir.path(), "segment.write", 2, kind).await;
        assert_eq!(outcomes[1].is_ok(), written_again(&passed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_ahead_and_cannot_be_synced_goes_to_a_new_segment() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (outcomes, _) = two(dir.path(), "segment.sync", 2, ErrorKind::Other).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("segments")).unwrap().count(), 2);
    }
}
