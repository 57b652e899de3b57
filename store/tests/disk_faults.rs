//! A disk that is full, a disk that stalls, and a clock that jumps.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod common;
mod disk;

use common::sent::*;
use common::*;
use disk::TROUBLE;
use media::{FragmentMeta, UnixMillis};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use store::check::{CheckOptions, check};
use store::{Config, Cursor, Kind, ListQuery, Offer, Position, Range, Store, TimeBy};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
const MIB: u64 = 1 << 20;

/// Exactly these fragments are there, whole, before and after a restart, and the check is clean.
async fn hold(data: &Path, text: &str, expected: &[FragmentMeta]) {
    for _ in 0..2 {
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{report}");
        let store = open(data).await;
        let stream = store.stream(&name(text)).unwrap();
        assert_eq!(stream.fragments(ALL, Position::Start, 1000).await.unwrap(), expected);
        for meta in expected {
            stream.fragment(meta.number).await.unwrap();
        }
        store.stop().await.unwrap();
    }
}

/// One after the other, because there is one disk to trouble.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_in_trouble_says_so_tears_nothing_and_takes_up_its_work_again() {
    full().await;
    stalled().await;
}

/// Whatever room there still is: what does not fit is refused as documented, and once there is room it goes on by itself.
async fn full() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (data, mut good) = (root.join("data"), Vec::new());
    disk::watch(&root);
    let store = Store::open(Config { segment_bytes: 40_000, ..config(&data) }, system_clock()).await.unwrap();
    let mut writer = store.create_stream(&name("gate"), None).await.unwrap().writer();
    let mut at = T0;
    let mut next = || {
        at += 1000;
        fragment(&header(1280), at, 3, 1500, None)
    };
    good.push(record(&mut writer, next()).await);
    let mut refused = 0;
    for room in [0, 1, 64, 100, 3000, 5000, 7000, 9000, 12_000, 15_000, 20_000, 40_000] {
        TROUBLE.room.store(room, SeqCst);
        let mut failed = 0;
        while failed < 3 {
            match seal(&mut writer, next()).await.1.wait().await {
                Ok(meta) => good.push(meta),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::LimitExceeded, "room {room}: {error}");
                    assert!(error.to_string().contains("disk is full"), "room {room}: {error}");
                    failed += 1;
                }
            }
        }
        TROUBLE.room.store(-1, SeqCst);
        refused += failed;
        let after = record(&mut writer, next()).await;
        assert!(after.cause.is_some(), "the gap has a cause");
        good.push(after);
    }
    println!("{} recorded, {refused} refused", good.len());
    store.stop().await.unwrap();
    disk::recorded();
    hold(&data, "gate", &good).await;
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Syncs that take seconds: cameras lose whole groups of pictures, which are counted, a producer waits, and memory stays within the
/// budget and what is said of the tail and the live rings beside it.
async fn stalled() {
    const STREAMS: usize = 40;
    const SLOW: usize = 2;
    const RING: u64 = 8 * MIB;
    let budget = 8 * MIB;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let data = root.join("data");
    disk::watch(&root);
    let config = Config { budget_bytes: budget, stream_budget_bytes: MIB, tail_bytes: MIB, ..config(&data) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let mut streams = Vec::new();
    for i in 0..STREAMS {
        streams.push(store.create_stream(&name(&format!("camera-{i}")), None).await.unwrap());
    }
    // Readers that never read.
    let slow: Vec<_> = streams[..SLOW].iter().map(|stream| stream.follow()).collect();
    let mut writers: Vec<_> = streams.iter().map(|stream| stream.writer()).collect();
    for (i, writer) in writers.iter_mut().enumerate() {
        record(writer, fragment(&header(640), T0 + i as i64, 3, 1000, None)).await;
    }
    let before = resident();
    TROUBLE.sync_ms.store(2500, SeqCst);
    let waits = streams[0].clone();
    let producer = tokio::spawn(async move {
        let mut writer = waits.verbatim_writer();
        let mut promises = Vec::new();
        // More than its stream may hold: it goes on as commits give room.
        for i in 0..6 {
            match send(&mut writer, &sent(640, T0 + 60_000 + i * 1000, 3, 100_000)).await.unwrap() {
                Offer::Sealed(_, durable) => promises.push(durable),
                _ => panic!("it is new"),
            }
        }
        for durable in promises {
            durable.wait().await.unwrap();
        }
    });
    let (mut taken, mut dropped, mut most, mut grown, mut gap) = (0u64, 0u64, 0u64, 0u64, [false; STREAMS]);
    for step in 1..=30 {
        for (i, writer) in writers.iter_mut().enumerate() {
            let mut offered = Offer::Taken;
            for event in fragment(&header(640), T0 + step * 1000 + i as i64, 3, 40_000, None) {
                offered = writer.offer(event).unwrap();
            }
            match offered {
                Offer::Sealed(..) => taken += 1,
                _ => dropped += 1,
            }
            gap[i] = !matches!(offered, Offer::Sealed(..));
        }
        most = most.max(streams.iter().map(|s| s.stats().queued_bytes).sum());
        grown = grown.max(resident().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let counted: u64 = streams.iter().map(|s| s.stats().dropped_gops).sum();
    println!("{taken} taken, {dropped} dropped; {most} bytes held of {budget}, {grown} more in memory");
    assert!(dropped > 100 && counted >= dropped, "{dropped} dropped, {counted} counted");
    assert!(most <= budget, "{most} bytes are held");
    // Beside the budget: the tail, rings that somebody does not read, and what an allocator and SQLite keep.
    let beside = MIB + SLOW as u64 * RING + 32 * MIB;
    assert!(grown <= budget + beside, "{grown} bytes more in memory");
    TROUBLE.sync_ms.store(0, SeqCst);
    producer.await.unwrap();
    // It goes on by itself, and what follows a gap has a cause.
    assert!(gap.contains(&true));
    for (i, writer) in writers.iter_mut().enumerate() {
        let meta = record(writer, fragment(&header(640), T0 + 600_000 + i as i64, 3, 1000, None)).await;
        assert!(!gap[i] || meta.cause == Some(media::Cause::Overload), "camera-{i}: {:?}", meta.cause);
    }
    drop((slow, writers));
    store.stop().await.unwrap();
    disk::recorded();
    let report = check(&data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// By a day ahead, back again, to 1970 and back, with a retention of two days: nothing is lost, numbers grow, and listings by either
/// clock hold each fragment once.
#[tokio::test]
async fn a_clock_that_jumps_costs_no_fragment() {
    const DAY: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = Store::open(config(dir.path()), clock.clock()).await.unwrap();
    let camera = store.create_stream(&name("camera"), Some(48)).await.unwrap();
    let producer = store.create_stream(&name("producer"), Some(48)).await.unwrap();
    let (mut writer, mut verbatim) = (camera.writer(), producer.verbatim_writer());
    let (mut all, mut at) = ([Vec::new(), Vec::new()], T0);
    for jump in [0, DAY, -DAY, -T0, T0, DAY, 0] {
        clock.advance_ms(jump);
        for _ in 0..4 {
            clock.advance_ms(1000);
            at += 1000;
            all[0].push(record(&mut writer, fragment(&header(640), at, 3, 200, None)).await);
            all[1].push(store_new(&mut verbatim, &sent(640, at, 3, 200)).await);
        }
        // A sent again one is known whatever the clock says.
        send_again(&mut verbatim, &sent(640, at, 3, 200)).await.1.wait().await.unwrap();
        // Which makes the store sweep.
        store.set_retention(&name("camera"), Some(48)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for (stream, all) in [camera, producer].iter().zip(&all) {
        assert!(all.is_sorted_by(|a, b| a.number < b.number && a.number.to_string() < b.number.to_string()));
        assert_eq!(stream.fragments(ALL, Position::Start, 1000).await.unwrap(), *all);
        for by in [TimeBy::Producer, TimeBy::Server] {
            let (mut seen, mut after) = (BTreeSet::new(), None);
            loop {
                let page = stream.list(ListQuery { by, range: None, after, limit: 5 }).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(Cursor::after(by, last));
                for meta in page {
                    assert!(seen.insert(meta.number), "{by:?}: {} twice", meta.number);
                }
            }
            assert_eq!(seen, all.iter().map(|m| m.number).collect(), "{by:?}");
        }
    }
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}
