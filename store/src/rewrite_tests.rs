//! Erasure: what is gone is gone from every file, whatever happens in between, and what stays can be read all the time.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
pub(crate) mod common;

use crate::check::{CheckOptions, check, rebuild};
use crate::{Config, Position, Range, Store, Stream};
use common::sent::*;
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
pub(crate) const HOUR: i64 = 3_600_000;

pub(crate) fn settings(data: &Path) -> Config {
    // Nothing by itself: the tests say when.
    Config { sweep_interval_s: 100_000, segment_bytes: 40_000, min_free_bytes: 0, ..config(data) }
}

/// Fragment `i` of a stream: its payload is nowhere else.
pub(crate) fn one(stream: i64, i: i64) -> Sent {
    sent(640, T0 + i * 1000 + stream, 2, 1500)
}

pub(crate) struct Archive {
    pub(crate) store: Store,
    pub(crate) clock: TestClock,
    pub(crate) gate: Stream,
    /// What was sent to the stream gate, with its number.
    pub(crate) sent: Vec<(FragmentMeta, Sent)>,
}

/// Two streams, their fragments mixed.
async fn archive(data: &Path) -> (Archive, Vec<Sent>) {
    let clock = TestClock::new();
    let store = Store::open(settings(data), clock.clock()).await.unwrap();
    let gate = store.create_stream(&name("gate"), None).await.unwrap();
    let other = store.create_stream(&name("the-secret-name"), None).await.unwrap();
    let (mut a, mut b) = (gate.verbatim_writer(), other.verbatim_writer());
    let (mut sent, mut others) = (Vec::new(), Vec::new());
    for i in 0..40 {
        let (mine, its) = (one(0, i), one(7, i));
        sent.push((store_new(&mut a, &mine).await, mine));
        store_new(&mut b, &its).await;
        others.push(its);
        clock.advance_ms(1000);
    }
    (Archive { store, clock, gate, sent }, others)
}

impl Archive {
    /// A sweep, and what is due then is written anew; the open segment, too.
    pub(crate) async fn erase(&self) {
        let sweeper = &self.store.inner.sweeper;
        for _ in 0..100 {
            sweeper.sweep(self.store.now()).await.unwrap();
            sweeper.rewriter.rewrite_due(self.store.now()).await.unwrap();
            let left = |c: &mut rusqlite::Connection| {
                let sql = "SELECT count(*) FROM segments WHERE expired_since IS NOT NULL OR deleted_since IS NOT NULL";
                c.query_row(sql, [], |r| r.get::<_, u64>(0)).map_err(crate::catalog::db)
            };
            if self.store.catalog().read(left).await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("it is not erased");
    }
    async fn end(self, data: &Path) {
        self.store.stop().await.unwrap();
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Zeros, and many of them.
        if path.ends_with("reserve") {
            continue;
        }
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

/// In which files these bytes are.
pub(crate) fn found(data: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let holds =
        |path: &PathBuf| std::fs::read(path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes);
    files(data).into_iter().filter(holds).collect()
}

/// Bytes of a fragment that are nowhere else: of the payload of its last frame.
pub(crate) fn mark(sent: &Sent) -> Vec<u8> {
    let bytes = sent.bytes();
    bytes[bytes.len() - 64..].to_vec()
}

pub(crate) async fn is_there(stream: &Stream, meta: &FragmentMeta, sent: &Sent) {
    let fragment = stream.fragment(meta.number).await.unwrap();
    assert_eq!([fragment.lead.to_vec(), fragment.cluster.to_bytes().to_vec()].concat(), sent.bytes());
}

pub(crate) async fn listed(stream: &Stream) -> Vec<FragmentMeta> {
    stream.fragments(ALL, Position::Start, 1000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_expired_is_in_no_file_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let (archive, others) = archive(data).await;
    let (store, gate) = (&archive.store, &archive.gate);
    for of in archive.sent.iter().map(|(_, sent)| sent).chain(&others) {
        assert_eq!(found(data, &mark(of)).len(), 1);
    }
    // The middle of one stream, and all of the other.
    let (from, to) = (archive.sent[10].0.producer_start, archive.sent[20].0.producer_start);
    gate.delete_range(Range { from, to }).await.unwrap();
    store.delete_stream(&name("the-secret-name")).await.unwrap();
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    store.inner.sweeper.rewriter.rewrite_due(store.now()).await.unwrap();
    // Most of some segments is dead, which go at once; the others when half of the hour is over.
    let gone: Vec<_> = archive.sent[10..20].iter().map(|(_, sent)| sent).chain(&others).collect();
    assert!(gone.iter().any(|of| !found(data, &mark(of)).is_empty()));
    archive.clock.advance_ms(HOUR / 2);
    archive.erase().await;
    store.inner.sweeper.rewriter.rewrite_due(store.now()).await.unwrap();
    for of in gone {
        assert_eq!(found(data, &mark(of)), Vec::<PathBuf>::new());
    }
    assert_eq!(found(data, b"the-secret-name"), Vec::<PathBuf>::new(), "in the catalog and its journal neither");
    let kept: Vec<_> = archive.sent[..10].iter().chain(&archive.sent[20..]).cloned().collect();
    for (meta, sent) in &kept {
        is_there(gate, meta, sent).await;
        assert_eq!(found(data, &mark(sent)).len(), 1);
    }
    assert_eq!(listed(gate).await, kept.iter().map(|(meta, _)| meta.clone()).collect::<Vec<_>>());
    // What the segments say alone is the same.
    let fresh = data.join("fresh.sqlite");

    // What expires is gone in a day, also where it shares segments with what stays.
    let second = store.create_stream(&name("second"), Some(1)).await.unwrap();
    let mut writer = second.verbatim_writer();
    let mut short = Vec::new();
    let mut gate_writer = gate.verbatim_writer();
    let mut late = Vec::new();
    for i in 100..110 {
        let (its, mine) = (one(3, i), one(0, i));
        store_new(&mut writer, &its).await;
        late.push((store_new(&mut gate_writer, &mine).await, mine));
        short.push(its);
    }
    archive.clock.advance_ms(2 * HOUR);
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    archive.clock.advance_ms(12 * HOUR);
    // A segment that expired is not closed for it: the next fragments do.
    for i in 200..215 {
        late.push((store_new(&mut gate_writer, &one(0, i)).await, one(0, i)));
    }
    archive.erase().await;
    for of in &short {
        assert_eq!(found(data, &mark(of)), Vec::<PathBuf>::new());
    }
    for (meta, sent) in kept.iter().chain(&late) {
        is_there(gate, meta, sent).await;
    }
    let usage = store.usage();
    assert!(usage.bytes - usage.live_bytes < usage.bytes / 10, "{usage:?}");
    drop((writer, gate_writer));
    let expected = listed(gate).await;
    archive.end(data).await;
    let rebuilt = rebuild(data, &fresh).unwrap();
    assert!(rebuilt.problems.is_empty() && rebuilt.fragments == expected.len() as u64, "{rebuilt:?}");
    std::fs::remove_file(data.join("catalog.sqlite")).unwrap();
    std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let store = Store::open(settings(data), system_clock()).await.unwrap();
    assert_eq!(listed(&store.stream(&name("gate")).unwrap()).await, expected);
    assert_eq!(store.streams().len(), 2, "the deleted one does not come back");
    store.stop().await.unwrap();
    assert!(check(data, CheckOptions::default()).unwrap().is_clean());
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_any_two_steps_loses_nothing_and_erases_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (archive, others) = archive(&data).await;
    archive.store.delete_stream(&name("the-secret-name")).await.unwrap();
    archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
    archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
    archive.clock.advance_ms(HOUR / 2);
    let kills = Arc::new(Mutex::new(Vec::new()));
    let (of, root, from) = (kills.clone(), dir.path().to_owned(), data.clone());
    archive.store.inner.faults.watch(move |point| {
        let mut kills = of.lock().unwrap();
        if point.starts_with("rewrite.") && kills.len() < 24 {
            let to = root.join(format!("{}-{point}", kills.len()));
            copy(&from, &to);
            kills.push((point, to));
        }
    });
    // Read all the time.
    let reading = tokio::spawn({
        let (gate, sent) = (archive.gate.clone(), archive.sent.clone());
        async move {
            loop {
                for (meta, sent) in &sent {
                    // Not out of memory.
                    gate.state.shared.tail.forget(gate.state.id(), |_| true);
                    is_there(&gate, meta, sent).await;
                }
            }
        }
    });
    archive.erase().await;
    assert!(!reading.is_finished(), "{:?}", reading.await);
    reading.abort();
    let kills = std::mem::take(&mut *kills.lock().unwrap());
    let mut points: Vec<_> = kills.iter().map(|(point, _)| *point).collect();
    points.sort_unstable();
    points.dedup();
    let all = ["rewrite.commit", "rewrite.dir", "rewrite.note", "rewrite.rename", "rewrite.sync", "rewrite.write"];
    assert_eq!(points, all);
    for (point, data) in kills {
        let report = check(&data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{point}: {report}");
        let store = Store::open(settings(&data), archive.clock.clock()).await.unwrap();
        let gate = store.stream(&name("gate")).unwrap();
        for (meta, sent) in &archive.sent {
            is_there(&gate, meta, sent).await;
        }
        let again = Archive { store, clock: archive.clock.clone(), gate, sent: Vec::new() };
        again.erase().await;
        for of in others.iter().step_by(5) {
            assert_eq!(found(&data, &mark(of)), Vec::<PathBuf>::new(), "{point}");
        }
        assert!(!files(&data).iter().any(|path| path.extension().is_some_and(|e| e == "new")), "{point}");
        again.end(&data).await;
    }
    archive.end(&data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_done_again_and_nothing_is_left_of_it() {
    for point in ["rewrite.write", "rewrite.sync", "rewrite.note", "rewrite.commit", "rewrite.rename", "rewrite.dir"] {
        let dir = tempfile::tempdir().unwrap();
        let (archive, others) = archive(dir.path()).await;
        archive.store.delete_stream(&name("the-secret-name")).await.unwrap();
        archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
        archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
        archive.clock.advance_ms(HOUR / 2);
        archive.store.inner.faults.arm(point, 1, std::io::ErrorKind::StorageFull);
        let done = archive.store.inner.sweeper.rewriter.rewrite_due(archive.store.now()).await;
        assert_eq!(done.is_ok(), point == "rewrite.rename" || point == "rewrite.dir", "{point}: {done:?}");
        for (meta, sent) in &archive.sent {
            is_there(&archive.gate, meta, sent).await;
        }
        assert!(!files(dir.path()).iter().any(|path| path.to_string_lossy().ends_with(".seg.new")), "{point}");
        archive.erase().await;
        assert_eq!(found(dir.path(), &mark(&others[5])), Vec::<PathBuf>::new());
        archive.end(dir.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_copy_of_the_catalog_finds_what_was_moved_since() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let (archive, others) = archive(data).await;
    let Archive { store, clock, sent, .. } = archive;
    store.stop().await.unwrap();
    std::fs::copy(data.join("catalog.sqlite"), data.join("earlier.sqlite")).unwrap();
    let store = Store::open(settings(data), clock.clock()).await.unwrap();
    let gate = store.stream(&name("gate")).unwrap();
    let later = store_new(&mut gate.verbatim_writer(), &one(0, 500)).await;
    store.delete_stream(&name("the-secret-name")).await.unwrap();
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    clock.advance_ms(HOUR / 2);
    let archive = Archive { store, clock: clock.clone(), gate, sent };
    archive.erase().await;
    let (sent, gate) = (archive.sent.clone(), listed(&archive.gate).await);
    archive.end(data).await;
    std::fs::rename(data.join("earlier.sqlite"), data.join("catalog.sqlite")).unwrap();
    let store = Store::open(settings(data), clock.clock()).await.unwrap();
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(listed(&stream).await, gate);
    for (meta, sent) in &sent {
        is_there(&stream, meta, sent).await;
    }
    is_there(&stream, &later, &one(0, 500)).await;
    assert!(store.stream(&name("the-secret-name")).is_err(), "its deletion is in the log");
    assert_eq!(found(&data.join("segments"), &mark(&others[3])), Vec::<PathBuf>::new());
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    store.stop().await.unwrap();
    let report = check(data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}
