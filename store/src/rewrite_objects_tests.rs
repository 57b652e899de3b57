//! Erasure in a bucket: what is gone is in no object, whatever happens in between, and what stays can be read all the time.
#![allow(clippy::unwrap_used)]

use crate::check::{At, CheckOptions, check, rebuild};
use crate::faulty::{Fault, Faults, Faulty, Op};
use crate::rewrite_tests::common::sent::*;
use crate::rewrite_tests::common::*;
use crate::rewrite_tests::*;
use crate::segments::Edition;
use crate::{Config, Kind, Range, StorageConfig, Store};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Fragments of each stream in an object.
const EACH: i64 = 4;

fn in_bucket(root: &Path) -> Config {
    let storage = StorageConfig { url: Some("s3://test/site".into()), commit_interval_ms: 300, ..Default::default() };
    let data = root.join("data");
    Config { storage, tail_bytes: 0, commit_bytes: EACH as u64 * 2 * 3000, ..settings(&data) }
}

fn bucket(root: &Path) -> Arc<dyn ObjectStore> {
    std::fs::create_dir_all(root.join("bucket")).unwrap();
    Arc::new(LocalFileSystem::new_with_prefix(root.join("bucket")).unwrap())
}

async fn open_in(root: &Path, clock: &TestClock, faults: &Faults) -> Store {
    let bucket = Arc::new(Faulty::new(bucket(root), faults.clone()));
    Store::open_on(in_bucket(root), clock.clock(), bucket).await.unwrap()
}

/// Two streams, four fragments of each in an object.
async fn archive(root: &Path, faults: &Faults) -> (Archive, Vec<Sent>) {
    let clock = TestClock::new();
    let store = open_in(root, &clock, faults).await;
    let gate = store.create_stream(&name("gate"), None).await.unwrap();
    let other = store.create_stream(&name("the-secret-name"), None).await.unwrap();
    let (mut a, mut b) = (gate.verbatim_writer(), other.verbatim_writer());
    let (mut sent, mut others) = (Vec::new(), Vec::new());
    for group in 0..6 {
        let mut durables = Vec::new();
        for i in group * EACH..(group + 1) * EACH {
            for (stream, writer) in [(0, &mut a), (7, &mut b)] {
                let of = one(stream, i);
                let crate::Offer::Sealed(_, durable) = send(writer, &of).await.unwrap() else { panic!("not stored") };
                durables.push((stream, durable, of));
            }
        }
        for (stream, durable, of) in durables {
            let meta = durable.wait().await.unwrap();
            if stream == 0 { sent.push((meta, of)) } else { others.push(of) }
        }
        clock.advance_ms(1000);
    }
    assert!(objects(root).len() <= 9, "groups of several fragments: {:?}", objects(root));
    (Archive { store, clock, gate, sent }, others)
}

/// The objects that there are.
fn objects(root: &Path) -> Vec<Edition> {
    let entries = std::fs::read_dir(root.join("bucket/segments")).unwrap();
    let mut there: Vec<_> =
        entries.map(|entry| Edition::of_name(entry.unwrap().file_name().to_str().unwrap()).unwrap()).collect();
    there.sort();
    there
}

/// What the catalog says is there.
async fn known(store: &Store) -> Vec<Edition> {
    let all = store.catalog().read(|c| crate::catalog::segments::all(c)).await.unwrap();
    // Those without an end were left out by a start.
    all.iter().filter(|segment| segment.state.end > 0).map(|segment| segment.edition()).collect()
}

/// What blocks, on a thread that may.
async fn apart<T: Send + 'static>(root: &Path, work: impl FnOnce(At) -> T + Send + 'static) -> T {
    let at = At::on(&root.join("data"), bucket(root));
    tokio::task::spawn_blocking(move || work(at)).await.unwrap()
}

async fn end(archive: Archive, root: &Path) {
    archive.store.stop().await.unwrap();
    let report = apart(root, |at| check(at, CheckOptions::default()).unwrap()).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_expired_is_in_no_object_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (root, faults) = (dir.path(), Faults::default());
    let (archive, others) = archive(root, &faults).await;
    let (store, gate) = (&archive.store, &archive.gate);
    for of in archive.sent.iter().map(|(_, sent)| sent).chain(&others) {
        assert_eq!(found(root, &mark(of)).len(), 1);
    }
    // One range is kept by law, and lies in objects of which the rest goes.
    let held = crate::holds::Hold {
        name: "case".into(),
        from: archive.sent[17].0.producer_start,
        to: archive.sent[18].0.producer_start,
        reason: "court".into(),
        placed_by: "me".into(),
        placed_at: store.now(),
    };
    gate.place_hold(held).await.unwrap();
    let (from, to) = (archive.sent[5].0.producer_start, archive.sent[11].0.producer_start);
    gate.delete_range(Range { from, to }).await.unwrap();
    store.delete_stream(&name("the-secret-name")).await.unwrap();
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    archive.clock.advance_ms(HOUR / 2);
    archive.erase().await;
    let gone: Vec<_> = archive.sent[5..11].iter().map(|(_, sent)| sent).chain(&others).collect();
    for of in &gone {
        assert_eq!(found(root, &mark(of)), Vec::<PathBuf>::new());
    }
    assert_eq!(found(root, b"the-secret-name"), Vec::<PathBuf>::new(), "in the catalog and its journal neither");
    let kept: Vec<_> = archive.sent[..5].iter().chain(&archive.sent[11..]).cloned().collect();
    for (meta, sent) in &kept {
        is_there(gate, meta, sent).await;
        assert_eq!(found(root, &mark(sent)).len(), 1);
    }
    assert_eq!(objects(root), known(store).await);
    assert!(objects(root).iter().any(|edition| edition.generation == 1));

    // What is removed is removed once more when what may have been under way has arrived.
    let again = root.join("bucket/segments").join(Edition::first(objects(root)[0].id).name());
    assert!(!again.exists());
    std::fs::write(&again, mark(gone[0])).unwrap();
    archive.clock.advance_ms(HOUR);
    store.inner.sweeper.rewriter.rewrite_due(store.now()).await.unwrap();
    assert!(!again.exists());

    // What expires, and what a hold keeps.
    store.set_retention(&name("gate"), Some(2)).await.unwrap();
    archive.clock.advance_ms(HOUR);
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    archive.clock.advance_ms(12 * HOUR);
    archive.erase().await;
    assert_eq!(listed(gate).await, [archive.sent[17].0.clone()]);
    is_there(gate, &archive.sent[17].0, &archive.sent[17].1).await;
    for (i, (_, of)) in archive.sent.iter().enumerate() {
        assert_eq!(found(root, &mark(of)).len(), usize::from(i == 17), "fragment {i}");
    }
    assert_eq!(objects(root), known(store).await);

    // From the objects alone.
    let meta = archive.sent[17].0.clone();
    end(archive, root).await;
    let (data, fresh) = (root.join("data"), root.join("fresh.sqlite"));
    let to = fresh.clone();
    let rebuilt = apart(root, move |at| rebuild(at, &to).unwrap()).await;
    assert!(rebuilt.problems.is_empty() && rebuilt.fragments == 1, "{rebuilt:?}");
    std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let store = open_in(root, &TestClock::new(), &faults).await;
    assert_eq!(listed(&store.stream(&name("gate")).unwrap()).await, [meta]);
    assert_eq!(store.streams().len(), 1, "the deleted one does not come back");
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_any_two_steps_loses_nothing_and_erases_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (root, kept_at) = (dir.path().join("root"), dir.path().to_owned());
    let (archive, others) = archive(&root, &Faults::default()).await;
    archive.store.delete_stream(&name("the-secret-name")).await.unwrap();
    archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
    archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
    archive.clock.advance_ms(HOUR / 2);
    let kills = Arc::new(Mutex::new(Vec::new()));
    let (of, from) = (kills.clone(), root.clone());
    archive.store.inner.faults.watch(move |point| {
        let mut kills = of.lock().unwrap();
        if point.starts_with("rewrite.") && kills.len() < 14 {
            let to = kept_at.join(format!("{}-{point}", kills.len()));
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
    for (point, root) in kills {
        let report = apart(&root, |at| check(at, CheckOptions::default()).unwrap()).await;
        assert!(report.is_clean(), "{point}: {report}");
        let faults = Faults::default();
        let store = open_in(&root, &archive.clock, &faults).await;
        assert!(faults.listed() <= 1, "{point}: a start lists {} objects", faults.listed());
        let gate = store.stream(&name("gate")).unwrap();
        for (meta, sent) in &archive.sent {
            is_there(&gate, meta, sent).await;
        }
        let again = Archive { store, clock: archive.clock.clone(), gate, sent: Vec::new() };
        again.erase().await;
        for of in others.iter().step_by(5) {
            assert_eq!(found(&root, &mark(of)), Vec::<PathBuf>::new(), "{point}");
        }
        assert_eq!(objects(&root), known(&again.store).await, "{point}");
        end(again, &root).await;
    }
    end(archive, &root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_done_again_and_nothing_is_left_of_it() {
    let points = ["rewrite.write", "rewrite.sync", "rewrite.note", "rewrite.commit", "rewrite.rename", "rewrite.dir"];
    let buckets = [
        vec![Fault::Fail; 9],
        vec![Fault::Unanswered, Fault::Deny, Fault::Unanswered],
        vec![Fault::Unanswered, Fault::Fail, Fault::Fail],
    ];
    for (point, puts) in points.map(|point| (point, vec![])).into_iter().chain(buckets.map(|puts| ("", puts))) {
        let dir = tempfile::tempdir().unwrap();
        let (root, faults) = (dir.path(), Faults::default());
        let (archive, others) = archive(root, &faults).await;
        archive.store.delete_stream(&name("the-secret-name")).await.unwrap();
        archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
        archive.store.inner.sweeper.sweep(archive.store.now()).await.unwrap();
        archive.clock.advance_ms(HOUR / 2);
        match point {
            "" => faults.script(Op::Put, puts.clone()),
            point => archive.store.inner.faults.arm(point, 1, std::io::ErrorKind::StorageFull),
        }
        let done = archive.store.inner.sweeper.rewriter.rewrite_due(archive.store.now()).await;
        let is_ok = ["rewrite.rename", "rewrite.dir"].contains(&point) || puts.contains(&Fault::Deny);
        assert_eq!(done.is_ok(), is_ok, "{point} {puts:?}: {done:?}");
        faults.heal();
        for (meta, sent) in &archive.sent {
            is_there(&archive.gate, meta, sent).await;
        }
        archive.erase().await;
        archive.store.inner.sweeper.rewriter.rewrite_due(archive.store.now()).await.unwrap();
        assert_eq!(objects(root), known(&archive.store).await, "{point} {puts:?}");
        for of in others.iter().step_by(5) {
            assert_eq!(found(root, &mark(of)), Vec::<PathBuf>::new(), "{point} {puts:?}");
        }
        end(archive, root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_copy_of_the_catalog_finds_what_was_put_anew_since() {
    let dir = tempfile::tempdir().unwrap();
    let (root, faults) = (dir.path(), Faults::default());
    let (archive, others) = archive(root, &faults).await;
    let data = root.join("data");
    let Archive { store, clock, sent, .. } = archive;
    store.stop().await.unwrap();
    std::fs::copy(data.join("catalog.sqlite"), root.join("earlier.sqlite")).unwrap();
    let store = open_in(root, &clock, &faults).await;
    let gate = store.stream(&name("gate")).unwrap();
    let later = store_new(&mut gate.verbatim_writer(), &one(0, 500)).await;
    store.delete_stream(&name("the-secret-name")).await.unwrap();
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    clock.advance_ms(HOUR / 2);
    let archive = Archive { store, clock: clock.clone(), gate, sent };
    archive.erase().await;
    let (sent, gate) = (archive.sent.clone(), listed(&archive.gate).await);
    end(archive, root).await;
    std::fs::rename(root.join("earlier.sqlite"), data.join("catalog.sqlite")).unwrap();
    let store = open_in(root, &clock, &faults).await;
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(listed(&stream).await, gate);
    for (meta, sent) in &sent {
        is_there(&stream, meta, sent).await;
    }
    is_there(&stream, &later, &one(0, 500)).await;
    assert_eq!(
        store.stream(&name("the-secret-name")).err().unwrap().kind(),
        Kind::NotFound,
        "its deletion is in the log"
    );
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    store.inner.sweeper.rewriter.rewrite_due(store.now()).await.unwrap();
    assert_eq!(found(&root.join("bucket"), &mark(&others[3])), Vec::<PathBuf>::new());
    let archive = Archive { store, clock, gate: stream, sent };
    end(archive, root).await;
}

/// Segments of the past that a synthetic catalog knows, and of which nothing is looked at.
const PAST: u64 = 3000;

#[tokio::test]
async fn a_start_lists_what_is_behind_the_catalogs_last_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (root, faults, clock) = (dir.path(), Faults::default(), TestClock::new());
    let open = || open_in(root, &clock, &faults);
    let store = open().await;
    let gate = store.create_stream(&name("gate"), None).await.unwrap();
    let first = store_new(&mut gate.verbatim_writer(), &one(0, 1)).await;
    store.stop().await.unwrap();
    let bytes = std::fs::metadata(root.join("bucket/segments").join(objects(root)[0].name())).unwrap().len();
    let c = rusqlite::Connection::open(root.join("data/catalog.sqlite")).unwrap();
    c.execute_batch("BEGIN").unwrap();
    for id in 100..100 + PAST {
        std::fs::write(root.join("bucket/segments").join(Edition::first(id).name()), "not looked at").unwrap();
        let sql = "INSERT INTO segments (id, created_at, ends, closed, deletions, rows, generation) VALUES (?1, 0, 100, 1, 0, 1, 0)";
        c.execute(sql, [id]).unwrap();
    }
    c.execute_batch("COMMIT").unwrap();
    drop(c);
    // What came to be there after the catalog's last word, as a kill leaves it.
    std::fs::write(root.join("bucket/segments").join(Edition::first(100 + PAST + 2).name()), "no segment").unwrap();
    let (listed, gets) = (faults.listed(), faults.count(Op::Get));
    let store = open().await;
    let (listed, gets) = (faults.listed() - listed, faults.count(Op::Get) - gets);
    assert!(listed <= 2 && gets < 10, "{listed} objects are listed, {gets} are read");
    store.stream(&name("gate")).unwrap().fragment(first.number).await.unwrap();
    assert_eq!(store.usage().bytes, PAST * 100 + bytes, "nothing was summed up");
    store.stop().await.unwrap();
}
