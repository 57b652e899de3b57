//! Killed at any instant, a store loses nothing that it acknowledged (invariants 1, 2, 3, 6).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::*;
use media::{FragmentNumber, HeaderId};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use store::check::{CheckOptions, check};
use store::{Config, Offer, Position, Range, Store};

const CHILD: &str = "VIDICON_STORE_CRASH_CHILD";
const STREAMS: usize = 4;
const ROUNDS: u64 = 24;

fn child_config(data: &Path) -> Config {
    Config { segment_bytes: 600_000, commit_interval_ms: 4, tail_bytes: 100_000, ..config(data) }
}

/// What each fragment of a stream holds, derived from its producer start alone.
fn events_at(stream: usize, start: i64) -> Vec<media::Event> {
    // Now and then one that is written past the page cache.
    let frame_bytes = if start / 250 % 16 == 0 { 120_000 } else { 500 } + (start % 7001) as usize;
    // Two headers take turns, so that segments describe both.
    fragment(&header(640 + stream as u32 + (start / 1000 % 2) as u32 * 100), start, 3, frame_bytes, None)
}

/// The child: ingests into several streams, and prints each fragment that was acknowledged. Runs until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, in a process of its own"]
async fn child() {
    let args = std::env::var(CHILD).expect("started by the test below");
    let (round, data) = args.split_once(' ').unwrap();
    let round: i64 = round.parse().unwrap();
    let store = Store::open(child_config(Path::new(data)), system_clock()).await.unwrap();
    println!("\nopen");
    let mut tasks = Vec::new();
    for s in 0..STREAMS {
        let name = name(&format!("camera-{s}"));
        let stream = match store.stream(&name) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name, None).await.unwrap(),
        };
        tasks.push(tokio::spawn(async move {
            let mut writer = stream.writer();
            for i in 0..1_000_000i64 {
                let start = T0 + round * 10_000_000 + i * 250 + s as i64;
                let events = events_at(s, start);
                let mut sealed = None;
                for event in events {
                    if let Offer::Sealed(number, durable) = writer.write(event).await.unwrap() {
                        sealed = Some((number, durable));
                    }
                }
                let (number, durable) = sealed.unwrap();
                tokio::spawn(async move {
                    let meta = durable.wait().await.unwrap();
                    assert_eq!(meta.number, number);
                    // One write each, so that lines are never mixed.
                    println!("\nack {s} {number} {:08x} {start}", meta.crc32c);
                });
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[derive(Clone, Debug)]
struct Ack {
    stream: usize,
    number: FragmentNumber,
    crc32c: u32,
    start: i64,
}

/// Runs the child, kills it after a random while, and gives what it acknowledged before.
fn run_and_kill(data: &Path, round: u64, random: &mut impl FnMut() -> u64) -> Vec<Ack> {
    // Some are killed while they open, most while they ingest.
    let lines = kill::run_and_kill(CHILD, &format!("{round} {}", data.display()), round % 6 == 5, random);
    let ack = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        // A line that the kill cut short lacks words or digits: then its fragment counts as not acknowledged.
        if let ["ack", stream, number, crc, start] = words[..]
            && let (Ok(number), 8, 13) = (number.parse(), crc.len(), start.len())
        {
            let crc32c = u32::from_str_radix(crc, 16).unwrap();
            return Some(Ack { stream: stream.parse().unwrap(), number, crc32c, start: start.parse().unwrap() });
        }
        None
    };
    lines.iter().filter_map(ack).collect()
}

#[tokio::test]
async fn a_killed_store_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut random = kill::random();
    let mut acked: Vec<Ack> = Vec::new();
    let mut largest: BTreeMap<usize, FragmentNumber> = BTreeMap::new();
    for round in 0..ROUNDS {
        let acks = run_and_kill(&data, round, &mut random);
        // Invariant 3: in the order in which they were acknowledged, and from process to process, numbers only grow.
        for s in 0..STREAMS {
            let before = largest.get(&s).copied();
            let numbers: Vec<_> = acks.iter().filter(|a| a.stream == s).map(|a| a.number).collect();
            let smallest = numbers.iter().min().copied();
            assert!(
                smallest.is_none_or(|n| Some(n) > before),
                "round {round} stream {s}: {smallest:?} after {before:?}"
            );
            let mut unique = numbers.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), numbers.len(), "round {round} stream {s}: a number twice");
            largest.extend(numbers.iter().max().map(|n| (s, *n)));
        }
        let new = acks.len();
        acked.extend(acks);
        if !data.join("catalog.sqlite").exists() {
            continue;
        }
        // Before any start has mended it: whatever the catalog says is there.
        let report = check(&data, CheckOptions { payloads: true, ..Default::default() }).unwrap();
        assert!(report.is_clean(), "round {round}:\n{report}");
        let store = Store::open(child_config(&data), system_clock()).await.unwrap();
        // All that this round acknowledged, and a sample of what earlier ones did.
        let old = (acked.len() - new) as u64;
        let sample = (0..if old > 0 { 50 } else { 0 }).map(|_| (random() % old) as usize);
        for at in sample.chain(acked.len() - new..acked.len()).collect::<Vec<_>>() {
            prove(&store, &acked[at]).await;
        }
        store.stop().await.unwrap();
        let report = check(&data, CheckOptions { payloads: false, ..Default::default() }).unwrap();
        assert!(report.is_clean(), "round {round}, mended:\n{report}");
    }
    println!("{} fragments acknowledged in {ROUNDS} lives", acked.len());
    assert!(acked.len() > 200, "the children did not come to work: {} acknowledged", acked.len());

    // At the end, all of them, and nothing twice.
    let store = Store::open(child_config(&data), system_clock()).await.unwrap();
    for ack in &acked {
        prove(&store, ack).await;
    }
    for stream in store.streams() {
        let range = Range { from: media::UnixMillis(0), to: media::UnixMillis(i64::MAX) };
        let mut all: Vec<media::FragmentMeta> = Vec::new();
        loop {
            let at = all.last().map_or(Position::Start, |m| Position::After(m.number));
            let page = stream.fragments(range, at, 1000).await.unwrap();
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        assert!(all.windows(2).all(|w| w[0].number < w[1].number && w[0].producer_start < w[1].producer_start));
        let ids: std::collections::BTreeSet<HeaderId> = all.iter().map(|m| m.header).collect();
        assert!(ids.len() <= 2);
    }
    store.stop().await.unwrap();
}

/// The acknowledged fragment is there, bit for bit.
async fn prove(store: &Store, ack: &Ack) {
    let stream = store.stream(&name(&format!("camera-{}", ack.stream))).unwrap();
    let fragment = stream.fragment(ack.number).await.unwrap_or_else(|e| panic!("{ack:?}: {e}"));
    assert_eq!(fragment.meta.crc32c, ack.crc32c, "{ack:?}");
    assert_eq!(crc32c::crc32c(&fragment.cluster.to_bytes()), ack.crc32c, "{ack:?}");
    assert_eq!(fragment.meta.producer_start.0, ack.start, "{ack:?}");
    let frames: Vec<_> = fragment.frames().unwrap().into_iter().map(media::Event::Frame).collect();
    let written = events_at(ack.stream, ack.start);
    let media::Event::Begin(start) = &written[0] else { unreachable!() };
    assert_eq!(fragment.header, start.header, "{ack:?}");
    assert_eq!(frames.len(), written.len() - 2);
    for (read, wrote) in frames.iter().zip(&written[1..]) {
        let (media::Event::Frame(read), media::Event::Frame(wrote)) = (read, wrote) else { unreachable!() };
        assert_eq!(read, wrote, "{ack:?}");
    }
}
