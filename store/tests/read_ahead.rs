//! Reading ahead in a bucket: fewer requests than fragments, several at a time, bounded, and never what is gone.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use media::{FragmentMeta, UnixMillis};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::export::Fragments;
use store::faulty::{Fault, Faults, Faulty, Op};
use store::object_store::memory::InMemory;
use store::{Config, Kind, Position, Range, StorageConfig, Store, Stream};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
/// Fragments of each stream in one object.
const EACH: i64 = 5;
const OBJECTS: i64 = 8;

struct Bench {
    store: Store,
    faults: Faults,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Three streams, side by side, of fragments of some 3 KB.
    async fn new(budget_bytes: u64) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let storage =
            StorageConfig { url: Some("s3://test/site".into()), commit_interval_ms: 200, ..Default::default() };
        let config = Config { tail_bytes: 0, budget_bytes, storage, ..config(dir.path()) };
        let faults = Faults::default();
        let bucket = Arc::new(Faulty::new(Arc::new(InMemory::new()), faults.clone()));
        let store = Store::open_on(config, system_clock(), bucket).await.unwrap();
        let mut writers = Vec::new();
        for s in ["a", "b", "c"] {
            writers.push(store.create_stream(&name(s), None).await.unwrap().writer());
        }
        for object in 0..OBJECTS {
            let mut durables = Vec::new();
            for i in object * EACH..(object + 1) * EACH {
                for writer in &mut writers {
                    durables.push(seal(writer, fragment(&header(1280), T0 + i * 1000, 3, 1000, None)).await.1);
                }
            }
            for durable in durables {
                durable.wait().await.unwrap();
            }
        }
        drop(writers);
        Bench { store, faults, _dir: dir }
    }
    fn stream(&self) -> Stream {
        self.store.stream(&name("b")).unwrap()
    }
    async fn metas(&self) -> Vec<FragmentMeta> {
        self.stream().fragments(ALL, Position::Start, 1000).await.unwrap()
    }
    fn gets(&self) -> u64 {
        self.faults.count(Op::Get)
    }
    async fn nothing_is_held(&self) {
        for _ in 0..100 {
            if self.store.read_ahead_bytes() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} bytes are held", self.store.read_ahead_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_few_requests_and_what_it_left_is_let_go() {
    let bench = Bench::new(64 << 20).await;
    let metas = bench.metas().await;
    assert_eq!(metas.len() as i64, EACH * OBJECTS);
    // Each request takes its time.
    bench.faults.random(1, 0, Duration::from_millis(60));
    let (before, began, stream) = (bench.gets(), Instant::now(), bench.stream());
    for meta in &metas {
        assert_eq!(stream.fragment(meta.number).await.unwrap().meta, *meta);
        // A reader that plays what it reads.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (gets, took) = (bench.gets() - before, began.elapsed());
    assert!(gets < metas.len() as u64 / 2, "{gets} requests for {} fragments", metas.len());
    assert!(gets >= OBJECTS as u64, "{gets}");
    assert!(took < Duration::from_millis(60) * gets as u32, "one after the other: {took:?}");
    drop(stream);
    bench.nothing_is_held().await;

    // Half of it, and the reader goes: what is on its way is given up.
    bench.faults.script(Op::Get, vec![Fault::Late(Duration::from_millis(20)); 3]);
    bench.faults.script(Op::Get, vec![Fault::Late(Duration::from_secs(60)); 20]);
    let stream = bench.stream();
    for meta in &metas[..2] {
        stream.fragment(meta.number).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(bench.store.read_ahead_bytes() > 0);
    drop(stream);
    bench.nothing_is_held().await;
    bench.store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_a_reader_each_are_one_reading() {
    let bench = Bench::new(64 << 20).await;
    let metas = bench.metas().await;
    let before = bench.gets();
    for meta in &metas {
        bench.stream().fragment(meta.number).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(bench.gets() - before < metas.len() as u64 / 2, "{}", bench.gets() - before);
    // An export reads several at once, in order of producer time.
    let before = bench.gets();
    let mut fragments = Fragments::new(bench.stream(), ALL);
    let mut read = 0;
    while let Some((meta, fragment)) = fragments.next().await.unwrap() {
        assert_eq!(fragment.unwrap().meta, meta);
        tokio::time::sleep(Duration::from_millis(5)).await;
        read += 1;
    }
    assert_eq!(read, metas.len());
    assert!(bench.gets() - before <= metas.len() as u64, "nothing is read twice: {}", bench.gets() - before);
    bench.store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_bounded_and_what_was_deleted_is_not_served() {
    // An eighth of it is for reading ahead, and a quarter of that for one reader: three fragments.
    let bench = Bench::new(320 << 10).await;
    let metas = bench.metas().await;
    let most = (320 << 10) / 8;
    let stream = bench.stream();
    for meta in &metas[..10] {
        stream.fragment(meta.number).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(bench.store.read_ahead_bytes() <= most / 4, "{}", bench.store.read_ahead_bytes());
    }
    // The next one is here; it is deleted before it is asked for.
    let next = &metas[10];
    let range = Range { from: next.producer_start, to: next.producer_start.plus(1) };
    assert_eq!(bench.store.stream(&name("b")).unwrap().delete_range(range).await.unwrap().fragments, 1);
    assert_eq!(stream.fragment(next.number).await.unwrap_err().kind(), Kind::NotFound);
    stream.fragment(metas[11].number).await.unwrap();
    // A request that fails is made again by who needs it.
    bench.faults.script(Op::Get, vec![Fault::Fail, Fault::Well, Fault::Fail, Fault::Well]);
    for meta in &metas[12..20] {
        let read = match stream.fragment(meta.number).await {
            Err(error) if error.kind() == Kind::Unavailable => stream.fragment(meta.number).await,
            read => read,
        };
        assert_eq!(read.unwrap().meta, *meta);
    }
    bench.store.stop().await.unwrap();
}
