//! Producers that send again what was not acknowledged, and deletions of ranges, through kills at any instant: each fragment is
//! there once and bit for bit, none acknowledged is missing, nothing deleted comes back, and the segments alone tell the same.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use store::check::{CheckOptions, check, rebuild};
use store::{Config, Offer, Range, Store, Stream};

const CHILD: &str = "VIDICON_STORE_VERBATIM_CRASH_CHILD";
const ROUNDS: u64 = 16;
/// Time from one fragment of a producer to the next, in ms.
const STEP: i64 = 250;
/// How many fragments that were acknowledged a producer sends again after a kill.
const AGAIN: i64 = 5;
/// Deletions stay this many fragments behind what was acknowledged.
const BEHIND: i64 = 20;

fn child_config(data: &Path) -> Config {
    Config {
        segment_bytes: 100_000,
        commit_interval_ms: 4,
        tail_bytes: 50_000,
        default_retention_hours: 0,
        ..config(data)
    }
}

/// The fragment `i` of a stream. Two headers take turns.
fn nth(stream: usize, i: i64) -> Sent {
    sent(640 + stream as u32 * 2 + (i / 7 % 2) as u32, T0 + i * STEP, 3, 300 + (i * 131 % 2003) as usize)
}

/// The child: two producers, which send from the given fragment on; of the second stream, ranges are deleted meanwhile. It prints
/// each fragment that was acknowledged, and deletions as they begin and when they are done. Runs until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, in a process of its own"]
async fn child() {
    let args = std::env::var(CHILD).expect("started by the test below");
    let args: Vec<&str> = args.splitn(4, ' ').collect();
    let [a, b, deleted, data] = args[..] else { panic!("{args:?}") };
    let store = Store::open(child_config(Path::new(data)), system_clock()).await.unwrap();
    println!("\nopen");
    let (acked, progress) = tokio::sync::watch::channel(b.parse::<i64>().unwrap());
    let mut tasks = Vec::new();
    for (s, first) in [a, b].into_iter().enumerate() {
        let (name, first) = (name(&format!("producer-{s}")), first.parse::<i64>().unwrap());
        let stream = match store.stream(&name) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name, None).await.unwrap(),
        };
        if s == 1 {
            let deleted = deleted.parse().unwrap();
            tasks.push(tokio::spawn(delete(stream.clone(), deleted, progress.clone())));
        }
        let acked = acked.clone();
        tasks.push(tokio::spawn(async move {
            let mut writer = stream.verbatim_writer();
            for i in first.. {
                let offer = send(&mut writer, &nth(s, i)).await.unwrap();
                let (Offer::Sealed(_, durable) | Offer::Duplicate(_, durable)) = offer else { panic!("neither") };
                let acked = acked.clone();
                tokio::spawn(async move {
                    let meta = durable.wait().await.unwrap();
                    // One write each, so that lines are never mixed.
                    println!("\nack {s} {i} {}", meta.number);
                    if s == 1 {
                        acked.send_modify(|newest| *newest = i.max(*newest));
                    }
                });
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Deletes three of each ten fragments, well behind what was acknowledged, so that none of them is sent again.
async fn delete(stream: Stream, mut next: i64, mut progress: tokio::sync::watch::Receiver<i64>) {
    loop {
        progress.wait_for(|newest| *newest > next + 10 + BEHIND).await.unwrap();
        println!("\ndeleting {next} .");
        stream.delete_range(deleted_range(next)).await.unwrap();
        println!("\ndeleted {next} .");
        next += 10;
    }
}

/// The range of fragments `first` to `first + 2`, of which each lasts 300 ms; it begins where the one before has ended.
fn deleted_range(first: i64) -> Range {
    Range { from: UnixMillis(T0 + first * STEP + 50), to: UnixMillis(T0 + (first + 2) * STEP + 1) }
}

#[derive(Default)]
struct Told {
    /// Number of each acknowledged fragment, by stream and place in it.
    acked: [BTreeMap<i64, FragmentNumber>; 2],
    deleted: Vec<i64>,
    /// The newest deletion that began.
    began: Option<i64>,
}

impl Told {
    fn read(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            // A line that the kill cut short lacks words or digits: then it counts for nothing.
            match words[..] {
                ["ack", stream, i, number] if number.len() == 47 => {
                    let stream: usize = stream.parse().unwrap();
                    let (i, number) = (i.parse().unwrap(), number.parse().unwrap());
                    let before = *self.acked[stream].entry(i).or_insert(number);
                    assert_eq!(before, number, "what is sent again has the number that it had");
                }
                ["deleting", i, "."] => self.began = Some(i.parse().unwrap()),
                ["deleted", i, "."] => self.deleted.push(i.parse().unwrap()),
                _ => {}
            }
        }
    }
    /// From where the producer of a stream goes on: with some that were acknowledged.
    fn resume(&self, stream: usize) -> i64 {
        // Acknowledgements of a session come in order, but what it sends again is promised by earlier ones.
        let gap = (0..).find(|i| !self.acked[stream].contains_key(i)).unwrap();
        (gap - AGAIN).max(0)
    }
    /// Where deletions go on: with the one that may not have been done.
    fn next_deletion(&self) -> i64 {
        self.began.unwrap_or(0)
    }
}

async fn all_of(stream: &Stream) -> Vec<FragmentMeta> {
    let mut all: Vec<FragmentMeta> = Vec::new();
    loop {
        let after = all.last().map_or(FragmentNumber::new(0, 0, 0), |m| m.number);
        let page = stream.next_after(after, 1000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// What a stream must hold: each fragment once, in order, up to the last; gives those fragments.
async fn prove(store: &Store, s: usize, told: &Told, bytes_from: i64) -> Vec<FragmentMeta> {
    let Ok(stream) = store.stream(&name(&format!("producer-{s}"))) else {
        assert!(told.acked[s].is_empty());
        return Vec::new();
    };
    let all = all_of(&stream).await;
    let place = |m: &FragmentMeta| (m.producer_start.0 - T0) / STEP;
    let places: Vec<i64> = all.iter().map(place).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "stream {s}: each once, in the order in which it was sent: {places:?}");
    let last = places.last().copied().unwrap_or(-1);
    let gone = |i: i64| s == 1 && told.deleted.iter().any(|first| (*first..first + 3).contains(&i));
    // Of the deletion that was under way all are there or none.
    let under_way = told.began.filter(|first| s == 1 && !told.deleted.contains(first));
    if let Some(first) = under_way {
        let left = places.iter().filter(|i| (first..first + 3).contains(i)).count();
        assert!(left == 0 || left == 3, "{left} are left of the deletion of {first}");
    }
    for i in 0..=last {
        let is_there = places.binary_search(&i).is_ok();
        if under_way.is_some_and(|first| (first..first + 3).contains(&i)) {
            continue;
        }
        assert_eq!(is_there, !gone(i), "stream {s} fragment {i} of {last}");
    }
    for (i, number) in &told.acked[s] {
        match places.binary_search(i) {
            Ok(at) => assert_eq!(all[at].number, *number, "stream {s} fragment {i}"),
            Err(_) => assert!(*i <= last, "stream {s} fragment {i} was acknowledged and is gone"),
        }
    }
    for meta in all.iter().filter(|m| place(m) >= bytes_from) {
        let (fragment, sent) = (stream.fragment(meta.number).await.unwrap(), nth(s, place(meta)));
        assert_eq!(fragment.to_mkv().to_bytes(), [&sent.start.header.bytes[..], &sent.bytes()].concat());
        assert_eq!(fragment.lead, sent.verbatim.lead);
    }
    all
}

#[tokio::test]
async fn what_is_sent_again_after_a_kill_is_there_once_and_what_was_deleted_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut random = kill::random();
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let from = [told.resume(0), told.resume(1)];
        let args = format!("{} {} {} {}", from[0], from[1], told.next_deletion(), data.display());
        told.read(&kill::run_and_kill(CHILD, &args, round % 6 == 5, &mut random));
        if !data.join("catalog.sqlite").exists() {
            continue;
        }
        // Before any start has mended it: whatever the catalog says is there.
        let report = check(&data, CheckOptions { payloads: true, ..Default::default() }).unwrap();
        assert!(report.is_clean(), "round {round}:\n{report}");
        let store = Store::open(child_config(&data), system_clock()).await.unwrap();
        for (s, from) in from.into_iter().enumerate() {
            prove(&store, s, &told, from).await;
        }
        store.stop().await.unwrap();
        let report = check(&data, CheckOptions { payloads: false, ..Default::default() }).unwrap();
        assert!(report.is_clean(), "round {round}, mended:\n{report}");
    }
    println!("{} and {} acknowledged, {} deletions", told.acked[0].len(), told.acked[1].len(), told.deleted.len());
    assert!(
        told.acked.iter().all(|acked| acked.len() > 50) && told.deleted.len() > 2,
        "the children did not come to work"
    );

    let store = Store::open(child_config(&data), system_clock()).await.unwrap();
    let all = [prove(&store, 0, &told, 0).await, prove(&store, 1, &told, 0).await];
    store.stop().await.unwrap();
    let fresh = data.join("fresh.sqlite");
    let rebuilt = rebuild(&data, &fresh).unwrap();
    assert!(rebuilt.problems.is_empty(), "{rebuilt:?}");
    std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let store = Store::open(child_config(&data), system_clock()).await.unwrap();
    for (s, all) in all.iter().enumerate() {
        assert_eq!(prove(&store, s, &told, 0).await, *all, "from the segments alone");
    }
    store.stop().await.unwrap();
    let report = check(&data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "rebuilt:\n{report}");
}
