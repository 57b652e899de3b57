//! Damage in a bucket: what is served beside it, what the check says, what a repair and a rebuild bring back.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::damage::*;
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::check::{At, CheckOptions, Report, check, check_online, quarantine_online, rebuild_in_place, repair};
use store::object_store::local::LocalFileSystem;
use store::{Config, Kind, Position, StorageConfig, Store};

const DEEP: CheckOptions = CheckOptions { payloads: true, bytes_per_s: None };
const HEADS: CheckOptions = CheckOptions { payloads: false, bytes_per_s: None };

/// A data folder and a bucket that is a folder, with some fragments of two streams in a few objects.
struct Site {
    root: tempfile::TempDir,
    metas: Vec<(&'static str, FragmentMeta)>,
}

impl Site {
    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }
    fn bucket(&self) -> PathBuf {
        self.root.path().join("bucket")
    }
    fn objects(&self) -> Arc<LocalFileSystem> {
        Arc::new(LocalFileSystem::new_with_prefix(self.bucket()).unwrap())
    }
    async fn open(&self) -> Store {
        let storage =
            StorageConfig { url: Some("s3://test/site".into()), commit_interval_ms: 150, ..Default::default() };
        let config = Config { tail_bytes: 0, sweep_interval_s: 100_000, storage, ..config(&self.data()) };
        Store::open_on(config, system_clock(), self.objects()).await.unwrap()
    }

    async fn new(count: i64) -> Site {
        let mut site = Site { root: tempfile::tempdir().unwrap(), metas: Vec::new() };
        fs::create_dir(site.bucket()).unwrap();
        let store = site.open().await;
        let mut writers = Vec::new();
        for s in ["a", "b"] {
            writers.push((s, store.create_stream(&name(s), None).await.unwrap().writer()));
        }
        let mut durables = Vec::new();
        for i in 0..count {
            for (n, (s, writer)) in writers.iter_mut().enumerate() {
                // No two have the same bytes.
                let start = T0 + i * 1000 + n as i64 * 5;
                let events = fragment(&header(1280), start, 10, 50 + i as usize * 7, None);
                durables.push((*s, seal(writer, events).await.1));
            }
        }
        for (s, durable) in durables {
            site.metas.push((s, durable.wait().await.unwrap()));
        }
        drop(writers);
        store.stop().await.unwrap();
        site
    }

    fn of(&self, stream: &str) -> Vec<FragmentMeta> {
        self.metas.iter().filter(|(s, _)| *s == stream).map(|(_, meta)| meta.clone()).collect()
    }

    /// Reads all that is listed; it must be what was written. How many fragments that were.
    async fn served(&self) -> usize {
        let store = self.open().await;
        let mut count = 0;
        for stream in store.streams() {
            for meta in stream.fragments(ALL, Position::Start, 1000).await.unwrap() {
                let Ok(read) = stream.fragment(meta.number).await else { continue };
                assert!(self.metas.iter().any(|(s, m)| *s == stream.info().name.as_str() && *m == meta));
                let seed = meta.producer_start.0 as u64;
                for (i, frame) in read.frames().unwrap().iter().enumerate() {
                    assert_eq!(frame.data, payload(seed ^ (i as u64) << 48, frame.data.len()), "other bytes");
                }
                count += 1;
            }
        }
        store.stop().await.unwrap();
        count
    }

    /// What blocks, on a thread that may.
    async fn at<T: Send + 'static>(&self, work: impl FnOnce(At) -> T + Send + 'static) -> T {
        let at = At::on(&self.data(), self.objects());
        tokio::task::spawn_blocking(move || work(at)).await.unwrap()
    }
    async fn check(&self, options: CheckOptions) -> Report {
        self.at(move |at| check(at, options).unwrap()).await
    }
    async fn repair(&self, dry_run: bool) -> Vec<String> {
        let work = move |at: At| {
            let mut said = Vec::new();
            repair(at, DEEP, dry_run, UnixMillis(T0), &mut |line| said.push(line.to_owned())).unwrap();
            said
        };
        self.at(work).await
    }
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.bucket().join("segments")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn change(file: &Path, at: std::ops::Range<usize>) {
    let mut all = fs::read(file).unwrap();
    all[at].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(file, all).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_fragment_is_set_aside_at_the_first_read_and_the_rest_is_served() {
    let site = Site::new(5).await;
    let lost = &site.of("a")[2];
    flip_fragment(&site.bucket(), lost, 72 + 40);
    assert!(!site.check(DEEP).await.is_clean());
    let store = site.open().await;
    let stream = store.stream(&name("a")).unwrap();
    assert_eq!(stream.fragment(lost.number).await.unwrap_err().kind(), Kind::Corrupt);
    let gone = stream.fragment(lost.number).await.unwrap_err();
    assert!(gone.kind() == Kind::NotFound && gone.to_string().contains("left out: "), "{gone}");
    store.stop().await.unwrap();
    let report = site.check(DEEP).await;
    assert!(report.is_clean() && report.quarantined == 1, "{report}");
    assert_eq!(site.served().await, 9);
    // Put right from a backup, it comes back.
    flip_fragment(&site.bucket(), lost, 72 + 40);
    let said = site.repair(false).await;
    assert!(said.len() == 1 && said[0].contains("back into the index"), "{said:?}");
    assert_eq!(site.served().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_heads_and_starts_cost_nothing_and_are_put_anew() {
    let site = Site::new(5).await;
    let before = site.names();
    assert!(before.len() < 8, "several fragments in an object: {before:?}");
    // So many bytes that only the catalog knows what stood there, in two records of one object, and a byte of its start.
    let (file, at) = place(&site.bucket(), &site.of("a")[2]);
    let (other, at_other) = place(&site.bucket(), &site.of("b")[2]);
    assert_eq!(file, other, "in one object");
    let whole = fs::read(&file).unwrap();
    change(&file, at + 8..at + 28);
    change(&file, at_other + 8..at_other + 28);
    change(&file, 20..21);
    let damaged = fs::read(&file).unwrap();
    assert_eq!(site.served().await, 10, "rows point at them");
    for options in [DEEP, HEADS] {
        let report = site.check(options).await;
        assert_eq!(report.problems.len(), 3, "{report}");
        assert!(report.to_string().contains("its bytes are whole"), "{report}");
    }
    let dry = site.repair(true).await;
    assert!(dry.len() == 3 && dry.iter().all(|line| line.starts_with("would write the damaged")), "{dry:?}");
    assert_eq!((fs::read(&file).unwrap(), site.names()), (damaged, before.clone()), "a dry run changes nothing");
    assert_eq!(site.repair(false).await.len(), 3);
    assert!(!file.exists(), "what takes its place has another name");
    let new = PathBuf::from(file.to_str().unwrap().replace(".seg", ".1.seg"));
    let mended = fs::read(&new).unwrap();
    assert_eq!(mended[64..], whole[64..]);
    assert_eq!(mended[48], 1, "its generation");
    assert_eq!(site.names().len(), before.len());
    for report in [site.check(DEEP).await, site.check(HEADS).await] {
        assert!(report.is_clean(), "{report}");
    }
    assert_eq!(site.served().await, 10);
    // A rebuild finds the new one.
    let done = site.at(|at| rebuild_in_place(at, true).unwrap()).await;
    assert!(done.rebuilt.fragments == 10 && done.rebuilt.problems.is_empty(), "{done:?}");
    assert_eq!(site.served().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_goes_on_behind_damage_and_keeps_what_segments_do_not_hold() {
    let site = Site::new(5).await;
    let store = site.open().await;
    store.set_setting("colour", "blue").await.unwrap();
    let secret = store.secret();
    store.stop().await.unwrap();
    flip_fragment(&site.bucket(), &site.of("a")[1], 20);
    let (file, at) = place(&site.bucket(), &site.of("a")[3]);
    change(&file, at..at + 40);
    flip_fragment(&site.bucket(), &site.of("b")[2], 72 + 9);
    let done = site.at(|at| rebuild_in_place(at, true).unwrap()).await;
    assert_eq!((done.rebuilt.streams, done.rebuilt.fragments), (2, 9), "{done:?}");
    assert_eq!(done.rebuilt.problems.len(), 3, "{done:?}");
    let store = site.open().await;
    assert_eq!(store.setting("colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(store.secret(), secret);
    store.stop().await.unwrap();
    assert_eq!(site.served().await, 9);
    // A catalog that is gone is made anew by the start.
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(site.data().join(file));
    }
    let left = site.served().await;
    assert!((3..9).contains(&left), "up to the head that is gone: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_costs_what_was_in_it_and_no_more() {
    let site = Site::new(6).await;
    let (file, _) = place(&site.bucket(), &site.of("a")[3]);
    let lost = site.metas.iter().filter(|(_, meta)| place(&site.bucket(), meta).0 == file).count();
    fs::remove_file(&file).unwrap();
    let report = site.check(HEADS).await;
    assert_eq!(report.problems.len(), lost, "{report}");
    assert_eq!(site.repair(false).await.len(), lost);
    let report = site.check(DEEP).await;
    assert!(report.is_clean() && report.quarantined == lost as u64, "{report}");
    assert_eq!(site.served().await, 12 - lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_and_the_quarantine_run_beside_a_store_that_records_and_deletes() {
    let site = Site::new(2).await;
    let store = site.open().await;
    let stream = store.stream(&name("a")).unwrap();
    let mut writer = stream.writer();
    let refused = site.at(|at| check(at, HEADS).unwrap_err().to_string()).await;
    assert!(refused.contains("in use"), "{refused}");
    for round in 0..4 {
        let checking = site.at(|at| check_online(at, DEEP).unwrap());
        let working = async {
            let meta = record(&mut writer, fragment(&header(1280), T0 + 60_000 + round * 1000, 3, 300, None)).await;
            let range = store::Range { from: UnixMillis(T0 + 50_000), to: meta.producer_start };
            stream.delete_range(range).await.unwrap();
            meta
        };
        let (report, _) = tokio::join!(checking, working);
        assert!(report.is_clean(), "{report}");
    }
    let hurt = &site.of("b")[1];
    flip_fragment(&site.bucket(), hurt, 72 + 5);
    let quarantine = |at: At| {
        let mut said = Vec::new();
        let report = quarantine_online(at, DEEP, false, UnixMillis(T0), &mut |line| said.push(line.to_owned()));
        (report.unwrap(), said)
    };
    let (report, said) = site.at(quarantine).await;
    assert!(!report.is_clean() && said.len() == 1, "{report} {said:?}");
    let b = store.stream(&name("b")).unwrap();
    assert_eq!(b.fragment(hurt.number).await.unwrap_err().kind(), Kind::NotFound);
    let report = site.at(|at| check_online(at, DEEP).unwrap()).await;
    assert!(report.is_clean() && report.quarantined == 1, "{report}");
    store.stop().await.unwrap();
}

/// Each bit of a record that is flipped is told by a checksum, of the head or of the payload, and no other bytes are ever served.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_are_told() {
    let site = Site::new(2).await;
    let meta = site.of("b")[1].clone();
    let (file, at) = place(&site.bucket(), &meta);
    let whole = fs::read(&file).unwrap();
    let mut random = random();
    for _ in 0..40 {
        let bit = random() as usize % ((72 + meta.bytes as usize) * 8);
        let mut all = whole.clone();
        all[at + bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, all).unwrap();
        let report = site.check(DEEP).await;
        let one = report.problems.len() == 1 && report.problems[0].1.contains("offset");
        assert!(one, "bit {bit}: {report}");
        // The head's bytes are known from the row, too.
        let store = site.open().await;
        let read = store.stream(&name("b")).unwrap().fragment(meta.number).await;
        assert_eq!(read.is_ok(), bit / 8 < 72, "bit {bit}: {read:?}");
        store.stop().await.unwrap();
        fs::write(&file, &whole).unwrap();
        site.repair(false).await;
    }
    assert_eq!(site.served().await, 4);
}
