//! What happens when a durable step fails.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use crate::check::{CheckOptions, check};
use crate::{Kind, ListQuery, Position, Range, Store, TimeBy};
use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use object_store::memory::InMemory;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

struct Run {
    store: Store,
    writer: crate::Writer,
    at: i64,
}

impl Run {
    async fn new(data: &Path) -> Run {
        let store = open(data).await;
        let stream = store.create_stream(&name("gate"), None).await.unwrap();
        Run { writer: stream.writer(), store, at: T0 }
    }
    async fn write(&mut self) -> Result<FragmentMeta, crate::Error> {
        self.write_of(300).await
    }
    /// A fragment of three frames of so many bytes.
    async fn write_of(&mut self, frame_bytes: usize) -> Result<FragmentMeta, crate::Error> {
        self.at += 1000;
        let (_, durable) = seal(&mut self.writer, fragment(&header(1280), self.at, 3, frame_bytes, None)).await;
        durable.wait().await
    }
    fn fail(&self, point: &'static str, times: u32, kind: ErrorKind) {
        self.store.inner.faults.arm(point, times, kind);
    }
    /// Ends the run: exactly these fragments are there, before and after a restart, and the check is clean.
    async fn end(self, data: &Path, expected: &[FragmentMeta]) {
        let listed = self.store.stream(&name("gate")).unwrap().fragments(ALL, Position::Start, 100).await.unwrap();
        assert_eq!(listed, expected);
        self.store.stop().await.unwrap();
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{report}");
        let store = open(data).await;
        let stream = store.stream(&name("gate")).unwrap();
        assert_eq!(stream.fragments(ALL, Position::Start, 100).await.unwrap(), expected);
        for meta in expected {
            stream.fragment(meta.number).await.unwrap();
        }
        store.stop().await.unwrap();
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

fn files(data: &Path) -> usize {
    std::fs::read_dir(data.join("segments")).unwrap().count()
}

#[tokio::test]
async fn a_full_disk_fails_what_waits_and_recovers_by_itself() {
    for point in ["segment.write", "segment.create"] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::new(dir.path()).await;
        let mut good = Vec::new();
        if point == "segment.write" {
            good.push(run.write().await.unwrap());
        }
        run.fail(point, 2, ErrorKind::StorageFull);
        for _ in 0..2 {
            let error = run.write().await.unwrap_err();
            assert_eq!(error.kind(), Kind::LimitExceeded, "{error}");
            assert!(error.to_string().contains("disk is full") && error.to_string().contains("stream gate"), "{error}");
        }
        let next = run.write().await.unwrap();
        assert!(next.cause.is_some(), "the gap has a cause");
        good.push(next);
        good.push(run.write().await.unwrap());
        assert_eq!(files(dir.path()), 1);
        run.end(dir.path(), &good).await;
    }
}

#[tokio::test]
async fn a_failed_sync_gives_the_segment_up_and_the_group_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path()).await;
    let mut good = vec![run.write().await.unwrap()];
    run.fail("segment.sync", 1, ErrorKind::Other);
    good.push(run.write().await.unwrap());
    assert_eq!(files(dir.path()), 2);
    good.push(run.write().await.unwrap());
    assert_eq!(files(dir.path()), 2);
    run.end(dir.path(), &good).await;
}

#[tokio::test]
async fn a_sync_that_fails_twice_fails_the_group_and_the_next_goes_to_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path()).await;
    let mut good = vec![run.write().await.unwrap()];
    run.fail("segment.sync", 2, ErrorKind::Other);
    assert_eq!(run.write().await.unwrap_err().kind(), Kind::Unavailable);
    good.push(run.write().await.unwrap());
    assert_eq!(files(dir.path()), 3);
    run.end(dir.path(), &good).await;
}

/// Enough for a group of it to be written past the page cache.
const LARGE: usize = 200_000;

#[tokio::test]
async fn a_failed_direct_write_is_like_a_failed_sync_and_a_full_disk_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path()).await;
    let mut good = vec![run.write().await.unwrap(), run.write_of(LARGE).await.unwrap()];
    run.fail("segment.direct", 1, ErrorKind::StorageFull);
    match run.write_of(LARGE).await {
        Ok(_) => return println!("skipped: this file system takes no direct writes"),
        Err(error) => assert_eq!(error.kind(), Kind::LimitExceeded),
    }
    good.push(run.write_of(LARGE).await.unwrap());
    assert_eq!(files(dir.path()), 1);
    run.fail("segment.direct", 1, ErrorKind::Other);
    good.push(run.write_of(LARGE).await.unwrap());
    assert_eq!(files(dir.path()), 2, "the group went to a new segment");
    run.fail("segment.direct", 2, ErrorKind::Other);
    assert_eq!(run.write_of(LARGE).await.unwrap_err().kind(), Kind::Unavailable);
    good.push(run.write().await.unwrap());
    run.fail("segment.direct", 1, ErrorKind::InvalidInput);
    good.push(run.write_of(LARGE).await.unwrap());
    good.push(run.write_of(LARGE).await.unwrap());
    assert_eq!(files(dir.path()), 4);
    run.end(dir.path(), &good).await;
}

#[tokio::test]
async fn a_full_disk_under_the_catalog_takes_the_bytes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::new(dir.path()).await;
    let mut good = vec![run.write().await.unwrap()];
    run.fail("catalog.commit", 1, ErrorKind::StorageFull);
    assert_eq!(run.write().await.unwrap_err().kind(), Kind::LimitExceeded);
    good.push(run.write().await.unwrap());
    assert_eq!(files(dir.path()), 1);
    run.end(dir.path(), &good).await;
}

#[tokio::test]
async fn a_commit_that_the_catalog_does_not_answer_is_run_again_until_it_does() {
    // Not taken, and taken but not said to be.
    for point in ["catalog.commit", "catalog.committed"] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::new(dir.path()).await;
        let mut good = vec![run.write().await.unwrap()];
        run.fail(point, 3, ErrorKind::Other);
        good.push(run.write().await.unwrap());
        good.push(run.write().await.unwrap());
        assert_eq!((files(dir.path()), run.store.storage_problem()), (1, None), "{point}");
        run.end(dir.path(), &good).await;
    }
}

#[tokio::test]
async fn what_is_sent_again_while_its_commit_is_in_doubt_is_there_once_in_every_listing() {
    for (point, stops, in_bucket) in [
        ("catalog.commit", false, false),
        ("catalog.committed", false, false),
        ("catalog.commit", true, false),
        ("catalog.committed", true, false),
        ("catalog.commit", false, true),
        ("catalog.commit", true, true),
        ("catalog.committed", true, true),
    ] {
        let what = format!("{point}, stops {stops}, in a bucket {in_bucket}");
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        let open = async || match in_bucket {
            true => Store::open_on(config(dir.path()), system_clock(), bucket.clone()).await.unwrap(),
            false => open(dir.path()).await,
        };
        let mut store = open().await;
        let mut stream = store.create_stream(&name("gate"), None).await.unwrap();
        let mut writer = stream.verbatim_writer();
        let [before, one, after] = [0, 1000, 2000].map(|at| sent(640, T0 + at, 3, 100));
        store_new(&mut writer, &before).await;
        store.inner.faults.arm(point, u32::MAX, ErrorKind::Other);
        let crate::Offer::Sealed(number, durable) = send(&mut writer, &one).await.unwrap() else { panic!("it is new") };
        while store.storage_problem().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Its producer hears nothing, connects again, and sends it again.
        let mut writer = stream.verbatim_writer();
        let (again, copy) = send_again(&mut writer, &one).await;
        assert_eq!(again, number, "{what}");
        if stops {
            store.stop().await.unwrap();
            for told in [durable, copy] {
                assert_eq!(told.wait().await.unwrap_err().kind(), Kind::Unavailable, "{what}");
            }
            drop((stream, writer));
            store = open().await;
            stream = store.stream(&name("gate")).unwrap();
            writer = stream.verbatim_writer();
            // The start has adopted it.
            let (again, durable) = send_again(&mut writer, &one).await;
            assert_eq!((again, durable.wait().await.unwrap().number), (number, number), "{what}");
        } else {
            store.inner.faults.arm(point, 0, ErrorKind::Other);
            assert_eq!(
                [durable.wait().await.unwrap().number, copy.wait().await.unwrap().number],
                [number; 2],
                "{what}"
            );
            assert_eq!(store.storage_problem(), None);
        }
        store_new(&mut writer, &after).await;
        for restarted in [false, true] {
            if restarted {
                store.stop().await.unwrap();
                if !in_bucket {
                    let report = check(dir.path(), CheckOptions::default()).unwrap();
                    assert!(report.is_clean(), "{what}: {report}");
                }
                store = open().await;
                stream = store.stream(&name("gate")).unwrap();
            }
            listed_once(&stream, &[T0, T0 + 1000, T0 + 2000], &what).await;
        }
        store.stop().await.unwrap();
    }
}

/// By producer time, by server time, by number, as the newest, and in the timeline: these and no others.
async fn listed_once(stream: &crate::Stream, starts: &[i64], what: &str) {
    let starts: Vec<_> = starts.iter().copied().map(UnixMillis).collect();
    let times = |metas: Vec<FragmentMeta>| metas.into_iter().map(|m| m.producer_start).collect::<Vec<_>>();
    assert_eq!(times(stream.fragments(ALL, Position::Start, 9).await.unwrap()), starts, "{what}");
    for by in [TimeBy::Producer, TimeBy::Server] {
        let query = ListQuery { by, range: None, after: None, limit: 9 };
        assert_eq!(times(stream.list(query).await.unwrap()), starts, "{what}: {by:?}");
        let spans = stream.coverage_by(by, ALL, 9).await.unwrap();
        assert_eq!(spans.iter().map(|span| span.fragments).sum::<u64>(), starts.len() as u64, "{what}: {by:?}");
    }
    let first = FragmentNumber::new(0, 0, 0);
    assert_eq!(times(stream.next_after(first, 9).await.unwrap()), starts, "{what}: by number");
    assert_eq!(times(stream.latest(9).await.unwrap()), starts, "{what}: the newest");
}

#[tokio::test]
async fn a_copy_that_waits_for_a_commit_which_fails_is_told_so_and_can_be_sent_again() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::Config { commit_interval_ms: 100, ..config(dir.path()) };
        let store = Store::open(config, system_clock()).await.unwrap();
        let stream = store.create_stream(&name("gate"), None).await.unwrap();
        let one = sent(640, T0, 3, 100);
        let (mut a, mut b) = (stream.verbatim_writer(), stream.verbatim_writer());
        store.inner.faults.arm("segment.write", 1, kind);
        let crate::Offer::Sealed(_, first) = send(&mut a, &one).await.unwrap() else { panic!("it is new") };
        let (_, copy) = send_again(&mut b, &one).await;
        let errors = [first.wait().await.unwrap_err(), copy.wait().await.unwrap_err()];
        assert_eq!(errors[0].kind(), errors[1].kind(), "{errors:?}");
        let again = store_new(&mut b, &one).await;
        assert!(again.cause.is_some(), "the gap has a cause");
        assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), [again]);
        store.stop().await.unwrap();
        assert!(check(dir.path(), CheckOptions::default()).unwrap().is_clean());
    }
}

#[tokio::test]
async fn a_deletion_of_a_range_that_failed_deletes_nothing_or_is_done_by_the_next_start() {
    for (point, kind, told, left) in [
        ("segment.write", ErrorKind::StorageFull, Kind::LimitExceeded, 3),
        ("catalog.commit", ErrorKind::StorageFull, Kind::LimitExceeded, 3),
        // What stands in the log counts, as fragments do whose commit is in doubt.
        ("catalog.commit", ErrorKind::Other, Kind::Unavailable, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::new(dir.path()).await;
        let mut metas = Vec::new();
        for _ in 0..3 {
            metas.push(run.write().await.unwrap());
        }
        let in_doubt = kind == ErrorKind::Other;
        run.fail(point, if in_doubt { u32::MAX } else { 1 }, kind);
        let stream = run.store.stream(&name("gate")).unwrap();
        let range = Range { from: metas[1].producer_start, to: metas[1].producer_start.plus(1) };
        let deleting = tokio::spawn({
            let stream = stream.clone();
            async move { stream.delete_range(range).await }
        });
        while in_doubt && run.store.storage_problem().is_none() || !in_doubt && !deleting.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), metas, "{point}: nothing is gone yet");
        run.store.stop().await.unwrap();
        assert_eq!(deleting.await.unwrap().unwrap_err().kind(), told, "{point}");
        let store = open(dir.path()).await;
        let stream = store.stream(&name("gate")).unwrap();
        assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap().len(), left, "{point}");
        assert_eq!(stream.delete_range(range).await.unwrap().fragments, left as u64 - 2, "{point}");
        store.stop().await.unwrap();
        let report = check(dir.path(), CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{point}: {report}");
    }
}
