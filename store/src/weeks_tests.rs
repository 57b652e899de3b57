//! Weeks of recording on a clock that a test sets, against a simple model: what is there is what should be, the disk follows the quota,
//! no segment leaks, and what writing anew costs.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use crate::check::{CheckOptions, check};
use crate::holds::Hold;
use crate::quota::StreamQuota;
use crate::segments::record::record_len_of;
use crate::{Config, Offer, Position, Range, Store, Stream, VerbatimWriter};
use common::sent::*;
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

const HOUR: i64 = 3_600_000;
/// Bytes of a frame, of which each fragment has one.
const FRAME: usize = 4000;
const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

/// What is recorded, and how.
struct Scene<'a> {
    what: &'a str,
    /// Hours that each stream keeps.
    retention: &'a [u32],
    weeks: i64,
    quota_bytes: u64,
    /// Of the first stream.
    stream_quota: Option<u64>,
    /// Ranges are deleted and held at random.
    random: Option<u64>,
}

/// One stream and what the model knows of it.
struct Modelled {
    stream: Stream,
    writer: VerbatimWriter,
    hours: u32,
    /// What may be there, in order.
    left: Vec<FragmentMeta>,
    held: Vec<Hold>,
    /// Holds that were lifted.
    lifted: Vec<Hold>,
}

impl Modelled {
    fn is_held(&self, meta: &FragmentMeta) -> bool {
        self.held.iter().any(|hold| hold.range().overlaps(meta))
    }
    /// Now or once.
    fn was_held(&self, meta: &FragmentMeta) -> bool {
        self.is_held(meta) || self.lifted.iter().any(|hold| hold.range().overlaps(meta))
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[derive(Debug)]
struct Figures {
    /// Bytes written for each byte of a record that was recorded.
    amplification: f64,
    segments: u64,
}

/// Lengths of the segment files.
fn segments(data: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(data.join("segments")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

async fn simulate(scene: &Scene<'_>) -> Figures {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let (commit_interval_ms, commit_bytes) = match scene.random {
        // What is deleted waits for the interval.
        Some(_) => (1, Config::default().commit_bytes),
        // A group is what all streams record in a step, however busy the machine is: it is full with the last, and waits for it.
        None => (600_000, (scene.retention.len() * sent(640, T0, 1, FRAME).bytes().len()) as u64),
    };
    let config = Config {
        sweep_interval_s: 1_000_000,
        commit_interval_ms,
        commit_bytes,
        segment_bytes: 40_000,
        min_free_bytes: 0,
        quota_bytes: scene.quota_bytes,
        rewrite_bytes_per_s: u64::MAX,
        ..config(dir.path())
    };
    let store = Store::open(config, clock.clock()).await.unwrap();
    let mut streams = Vec::new();
    for (i, hours) in scene.retention.iter().enumerate() {
        let stream = store.create_stream(&name(&format!("camera-{i}")), Some(*hours)).await.unwrap();
        streams.push(Modelled {
            writer: stream.verbatim_writer(),
            stream,
            hours: *hours,
            left: Vec::new(),
            held: Vec::new(),
            lifted: Vec::new(),
        });
    }
    let quota = StreamQuota { quota_bytes: scene.stream_quota, ..StreamQuota::default() };
    store.set_quota(streams[0].stream.info().name.as_str().parse().as_ref().unwrap(), quota).await.unwrap();
    let mut random = Random((scene.random.unwrap_or(1) * 0x9e37_79b9) | 1);
    let (mut recorded, mut most_disk) = (0, 0);
    let steps = scene.weeks * 7 * 24;
    for step in 0..steps {
        clock.advance_ms(HOUR);
        let mut waits = Vec::new();
        for (i, of) in streams.iter_mut().enumerate() {
            let start = T0 + step * HOUR + i as i64;
            let Offer::Sealed(_, durable) = send(&mut of.writer, &sent(640, start, 1, FRAME)).await.unwrap() else {
                panic!()
            };
            waits.push(durable);
        }
        for (of, durable) in streams.iter_mut().zip(waits) {
            let meta = durable.wait().await.unwrap();
            recorded += record_len_of(&meta);
            of.left.push(meta);
        }
        if scene.random.is_some() && step % 16 == 7 {
            disturb(&mut streams, &mut random, step).await;
        }
        if step % 12 != 11 {
            continue;
        }
        let now = store.now();
        let sweeper = &store.inner.sweeper;
        sweeper.sweep(now).await.unwrap();
        sweeper.rewriter.rewrite_due(now).await.unwrap();
        sweeper.sweep(now).await.unwrap();
        let on_disk = segments(dir.path());
        most_disk = most_disk.max(on_disk.iter().sum());
        let known = |c: &mut rusqlite::Connection| {
            let sql = "SELECT count(*), coalesce(sum(ends), 0) FROM segments";
            c.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).map_err(crate::catalog::db)
        };
        let known: (u64, u64) = store.catalog().read(known).await.unwrap();
        assert_eq!(known, (on_disk.len() as u64, on_disk.iter().sum()), "no file that the catalog does not know");
        if scene.quota_bytes > 0 {
            assert!(known.1 <= scene.quota_bytes, "{} bytes", known.1);
        }
        for (i, of) in streams.iter_mut().enumerate() {
            let cutoff = now.0 - i64::from(of.hours) * HOUR;
            let kept: Vec<_> =
                of.left.iter().filter(|m| m.server_start.0 >= cutoff || of.is_held(m)).cloned().collect();
            let there = of.stream.fragments(ALL, Position::Start, 1000).await.unwrap();
            if scene.quota_bytes == 0 && (i > 0 || scene.stream_quota.is_none()) {
                assert_eq!(there, kept, "stream {i} at step {step}");
            } else {
                // Quotas took the oldest, and nothing that was held then.
                let is_there: BTreeSet<_> = there.iter().map(|m| m.number).collect();
                let never: Vec<_> = kept.iter().filter(|m| !of.was_held(m)).map(|m| m.number).collect();
                let taken = never.iter().take_while(|number| !is_there.contains(number)).count();
                assert!(never[taken..].iter().all(|number| is_there.contains(number)), "stream {i} at step {step}");
                assert!(kept.iter().filter(|m| of.is_held(m)).all(|m| is_there.contains(&m.number)));
                assert!(there.iter().all(|m| kept.contains(m)), "stream {i} at step {step}");
            }
            if let (0, Some(quota)) = (i, scene.stream_quota) {
                assert!(of.stream.usage().bytes <= quota || there.iter().all(|m| of.is_held(m)));
            }
            of.left = there;
        }
    }
    // Everything that is left can be read.
    for of in &streams {
        for meta in &of.left {
            assert_eq!(of.stream.fragment(meta.number).await.unwrap().meta, *meta);
        }
    }
    let made: u64 = store
        .catalog()
        .read(|c| {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'segments'";
            c.query_row(sql, [], |r| r.get(0)).map_err(crate::catalog::db)
        })
        .await
        .unwrap();
    let rewritten = store.inner.sweeper.rewriter.written.load(Ordering::Relaxed);
    let figures = Figures { amplification: (recorded + rewritten) as f64 / recorded as f64, segments: made };
    println!(
        "{}: {} weeks, {} streams, {} segments made, {} left, at most {most_disk} bytes on the disk, {recorded} bytes recorded, {rewritten} written anew: write amplification {:.3}",
        scene.what,
        scene.weeks,
        streams.len(),
        made,
        segments(dir.path()).len(),
        figures.amplification
    );
    drop(streams);
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{}: {report}", scene.what);
    figures
}

/// What counts as written once. A segment takes two groups, and of the twelve between two sweeps one may be beside a group that stays when
/// the other goes: that one is written again.
const ONCE: f64 = 1.0 + 1.0 / 12.0;

/// A range is deleted, a hold placed or lifted.
async fn disturb(streams: &mut [Modelled], random: &mut Random, step: i64) {
    let i = random.below(streams.len() as u64) as usize;
    let of = &mut streams[i];
    let from = T0 + (step - random.below(200) as i64) * HOUR;
    let range = Range { from: UnixMillis(from), to: UnixMillis(from + (random.below(9) as i64 + 1) * HOUR) };
    match random.below(3) {
        0 => {
            let taken: Vec<_> = of.left.iter().filter(|m| range.overlaps(m)).cloned().collect();
            let in_the_way = of.held.iter().any(|hold| {
                let held = hold.range();
                held.from < range.to && held.to > range.from || taken.iter().any(|m| held.overlaps(m))
            });
            match of.stream.delete_range(range).await {
                Ok(_) => {
                    assert!(!in_the_way);
                    of.left.retain(|m| !range.overlaps(m));
                }
                Err(error) => assert!(in_the_way, "{error}"),
            }
        }
        1 => {
            let Range { from, to } = range;
            let text = || format!("{step}");
            let hold = Hold { name: text(), from, to, reason: text(), placed_by: text(), placed_at: from };
            of.stream.place_hold(hold.clone()).await.unwrap();
            of.held.push(hold);
        }
        _ => {
            if let Some(hold) = of.held.pop() {
                of.stream.lift_hold(&hold.name).await.unwrap();
                of.lifted.push(hold);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_streams_with_one_retention_are_written_once() {
    let retention = [72; 8];
    let scene = Scene {
        what: "one retention",
        retention: &retention,
        weeks: 3,
        quota_bytes: 0,
        stream_quota: None,
        random: None,
    };
    let figures = simulate(&scene).await;
    assert!(figures.amplification <= ONCE && figures.segments > 100, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_streams_with_two_retentions_are_written_no_more_than_twice() {
    let retention = [100, 400, 100, 400, 100, 400, 100, 400];
    let scene = Scene {
        what: "two retentions",
        retention: &retention,
        weeks: 3,
        quota_bytes: 0,
        stream_quota: None,
        random: None,
    };
    assert!(simulate(&scene).await.amplification < 1.7);
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_under_a_quota_stay_below_it_and_are_written_once() {
    let retention = [10_000; 8];
    let scene = Scene {
        what: "a quota of the store",
        retention: &retention,
        weeks: 3,
        quota_bytes: 4_000_000,
        stream_quota: None,
        random: None,
    };
    assert!(simulate(&scene).await.amplification <= ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_deletions_holds_and_quotas_leave_what_the_model_says() {
    for seed in 1..=3 {
        let retention = [200, 48, 100, 300, 24];
        let quota_bytes = if seed == 3 { 2_600_000 } else { 0 };
        let stream_quota = (seed > 1).then_some(400_000);
        let what = format!("deletions and holds, seed {seed}");
        let scene =
            Scene { what: &what, retention: &retention, weeks: 2, quota_bytes, stream_quota, random: Some(seed) };
        simulate(&scene).await;
    }
}
