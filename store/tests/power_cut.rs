//! The power is cut after any write or sync of segments and catalog: what was acknowledged is there, nothing twice, nothing torn
//! (invariants 1, 2, 3, 6, 7), also where the power is cut again while a start mends.
//!
//! `VIDICON_POWER_CUTS` says how many cuts are tried (400 where it is not set), `VIDICON_TORTURE_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod common;
mod disk;
#[path = "torture/fragments.rs"]
mod fragments;
#[path = "power_cut/replay.rs"]
mod replay;
#[path = "torture/told.rs"]
mod told;

use common::sent::*;
use common::*;
use disk::{Op, mark};
use fragments::*;
use media::FragmentNumber;
use replay::{Cut, Disk, lay_out};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::check::{CheckOptions, check};
use store::{Offer, Store};
use told::Told;

const CUTS: usize = 400;
/// Hours.
const RETENTION: u32 = 24;
const STEPS: i64 = 60;
/// From one step to the next, by the store's clock.
const STEP_MS: i64 = 40 * 60_000;
/// Fragments that a producer sends again at the start of a life.
const AGAIN: i64 = 5;
const VARIANTS: [Cut; 4] = [Cut::Nothing, Cut::Ordered, Cut::Anything, Cut::All];

fn seeded(seed: u64) -> impl FnMut() -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    }
}

/// Two lives of a store: cameras, producers, streams that come and go, deletions, retention; stopped in order, so that the catalog's
/// journal is moved into its file as well. What is acknowledged is noted in the words that [`Told`] reads.
async fn script(data: &Path) {
    let clock = TestClock::new();
    let mut next = [0i64; PRODUCERS];
    let (mut delete_from, mut retention) = (0, RETENTION);
    for life in 0..2 {
        let store = open_patiently(settings(data, RETENTION, true), clock.clock()).await.unwrap();
        let mut streams = Vec::new();
        for text in ["camera-0", "producer-0", "producer-1"] {
            streams.push(match store.stream(&name(text)) {
                Ok(stream) => stream,
                Err(_) => store.create_stream(&name(text), None).await.unwrap(),
            });
        }
        let mut camera = streams[0].writer();
        let mut producers = [streams[1].verbatim_writer(), streams[2].verbatim_writer()];
        if life > 0 {
            next = next.map(|i| i - AGAIN);
        }
        for step in life * STEPS..(life + 1) * STEPS {
            mark(format!("step {step} {}", clock.clock()().0 + STEP_MS));
            clock.advance_ms(STEP_MS);
            let start = T0 + step * STEP;
            let (_, first) = seal(&mut camera, events_at(0, start)).await;
            let mut waiting = Vec::new();
            for _ in 0..2 {
                for (s, producer) in producers.iter_mut().enumerate() {
                    let offer = send(producer, &nth(s, next[s])).await.unwrap();
                    let (Offer::Sealed(_, durable) | Offer::Duplicate(_, durable)) = offer else { panic!("neither") };
                    waiting.push((s, next[s], durable));
                    next[s] += 1;
                }
            }
            let meta = first.wait().await.unwrap();
            mark(format!("cam camera-0 {} {:08x} {start} .", meta.number, meta.crc32c));
            for (s, i, durable) in waiting {
                mark(format!("ack {s} {i} {} .", durable.wait().await.unwrap().number));
            }
            if step % 5 == 4 {
                passing(&store, step).await;
            }
            if next[1] > delete_from + 10 + BEHIND {
                mark(format!("deleting {delete_from} ."));
                streams[2].delete_range(deleted_range(delete_from)).await.unwrap();
                mark(format!("deleted {delete_from} ."));
                delete_from += 10;
            }
            if step % 6 == 5 {
                // Which makes the store sweep.
                retention = if retention == RETENTION { RETENTION - 1 } else { RETENTION };
                store.set_retention(&name("camera-0"), Some(retention)).await.unwrap();
            }
        }
        store.stop().await.unwrap();
    }
}

/// A stream that is made, recorded to, and deleted two steps later at most.
async fn passing(store: &Store, step: i64) {
    let text = format!("passing-{step}");
    let stream = store.create_stream(&name(&text), None).await.unwrap();
    mark(format!("made {text} ."));
    let meta = record(&mut stream.writer(), events_at(0, T0)).await;
    mark(format!("cam {text} {} {:08x} {T0} .", meta.number, meta.crc32c));
    if step % 10 == 4 {
        mark(format!("dropping {text} ."));
        store.delete_stream(&name(&text)).await.unwrap();
        mark(format!("dropped {text} ."));
    }
}

/// What was told up to some change.
#[derive(Clone, Default)]
struct Until {
    told: Told,
    step: i64,
    now: i64,
}

impl Until {
    fn mark(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["step", step, now] => (self.step, self.now) = (step.parse().unwrap(), now.parse().unwrap()),
            _ => self.told.read(&[line.to_owned()], self.step),
        }
    }
}

/// Opens what a cut left, and looks whether all is there.
async fn prove(at: &str, data: &Path, until: &Until) {
    if data.join("format").exists() && data.join("catalog.sqlite").exists() {
        let report = patiently(|| check(data, CheckOptions::default())).unwrap_or_else(|e| panic!("{at}: {e}"));
        assert!(report.is_clean(), "{at}, before mending:\n{report}");
    }
    let clock = TestClock::new();
    clock.advance_ms((until.now - T0).max(0));
    let store =
        open_patiently(settings(data, RETENTION, true), clock.clock()).await.unwrap_or_else(|e| panic!("{at}: {e}"));
    let before = store.now().0 - i64::from(RETENTION - 1) * 3_600_000;
    let expired = move |number: FragmentNumber| (number.server_ms() as i64) < before;
    until.told.prove(&store, &expired, until.step - 2, false).await;
    store.stop().await.unwrap();
    let report = patiently(|| check(data, CheckOptions { payloads: false, ..Default::default() }))
        .unwrap_or_else(|e| panic!("{at}: {e}"));
    assert!(report.is_clean(), "{at}, mended:\n{report}");
    let unknown: Vec<_> = report.remarks.iter().filter(|r| r.contains("is not known to the catalog")).collect();
    assert!(unknown.is_empty(), "{at}: leaked: {unknown:?}");
}

fn memory() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    // Thousands of folders: not on a disk where there is another place.
    tempfile::tempdir_in(shm).or_else(|_| tempfile::tempdir()).unwrap()
}

/// A change after which the power is cut, and how.
type Chosen = BTreeMap<usize, Vec<Cut>>;

/// Which cuts to try: `wanted` of all, evenly over the changes.
fn choose(ops: &[Op], wanted: usize, random: &mut impl FnMut() -> u64) -> Chosen {
    let changes: Vec<usize> = (0..ops.len()).filter(|i| !matches!(ops[*i], Op::Mark(_))).collect();
    let all = changes.len() * VARIANTS.len();
    let mut chosen = Chosen::new();
    for n in 0..wanted {
        // Each change comes with each variant before any comes twice.
        let which = if wanted >= all { n % all } else { (n * all + random() as usize % all) / wanted % all };
        chosen.entry(changes[which / VARIANTS.len()]).or_default().push(VARIANTS[which % VARIANTS.len()]);
    }
    chosen
}

/// Replays the changes and tries the chosen cuts that fall to this worker.
fn replay(from: &Path, start: &Disk, until: &Until, ops: &[Op], chosen: &Chosen, seed: u64, worker: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut disk, mut until, mut tried) = (start.clone(), until.clone(), 0);
    for (i, op) in ops.iter().enumerate() {
        disk.apply(op);
        if let Op::Mark(line) = op {
            until.mark(line);
        }
        for (n, cut) in chosen.get(&i).into_iter().flatten().enumerate() {
            if (i + n) % 2 != worker {
                continue;
            }
            let at = format!("seed {seed}: change {i} of {}, {cut:?}", ops.len());
            let mut random = seeded(seed ^ ((i as u64) << 20) ^ n as u64);
            let left = disk.cut(*cut, &mut random);
            let dir = memory();
            lay_out(&left, from, dir.path());
            runtime.block_on(prove(&at, &dir.path().join("data"), &until));
            tried += 1;
        }
    }
    tried
}

fn replay_all(from: &Path, start: &Disk, until: &Until, ops: &[Op], chosen: &Chosen, seed: u64) -> usize {
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..2).map(|worker| scope.spawn(move || replay(from, start, until, ops, chosen, seed, worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

/// Runs something with every change below a folder recorded.
fn recording<F: Future<Output = T>, T>(root: &Path, work: impl FnOnce() -> F) -> (Disk, Vec<Op>, T) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (start, files) = Disk::of(root);
    disk::record(root, files);
    let done = runtime.block_on(work());
    (start, disk::recorded(), done)
}

#[test]
fn a_power_cut_at_any_write_or_sync_loses_nothing_that_was_acknowledged() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = variable("VIDICON_POWER_CUTS").map_or(CUTS, |n| n as usize);
    let seed = variable("VIDICON_TORTURE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64);
    println!("VIDICON_TORTURE_SEED={seed}");
    let mut random = seeded(seed);
    // On a disk where there is one, for what is written past the page cache.
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let data = root.join("data");
    let (start, ops, ()) = recording(&root, || script(&data));

    // Nothing goes past the recording: all of it together gives the folder that is there.
    let mut end = start.clone();
    ops.iter().for_each(|op| end.apply(op));
    let there = files_of(&root);
    let replayed: BTreeMap<_, _> =
        end.cut(Cut::All, &mut random).into_iter().filter_map(|(path, bytes)| Some((path, bytes?))).collect();
    assert_eq!(there.keys().collect::<Vec<_>>(), replayed.keys().collect::<Vec<_>>());
    for (path, bytes) in &there {
        assert!(replayed[path] == *bytes, "{} went past the recording", path.display());
    }
    let syncs = ops.iter().filter(|op| matches!(op, Op::Sync { .. } | Op::SyncDir { .. })).count();
    let marks = ops.iter().filter(|op| matches!(op, Op::Mark(_))).count();
    println!("{} writes and changes of names and lengths, {syncs} syncs", ops.len() - syncs - marks);
    assert!(syncs > 300 && there.len() > 3);

    let started = Instant::now();
    let chosen = choose(&ops, wanted * 4 / 5, &mut random);
    let tried = replay_all(&root, &start, &Until::default(), &ops, &chosen, seed);
    println!("{tried} power cuts in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(tried, wanted * 4 / 5);

    // Cut again while a start mends what a cut left.
    let started = Instant::now();
    let (mut tried, each) = (0, 20);
    for n in 0..wanted / 5 / each {
        let at = random() as usize % ops.len();
        let (mut disk, mut until) = (start.clone(), Until::default());
        for op in &ops[..at] {
            disk.apply(op);
            if let Op::Mark(line) = op {
                until.mark(line);
            }
        }
        let first = memory();
        let first_root = first.path().canonicalize().unwrap();
        lay_out(&disk.cut(VARIANTS[n % VARIANTS.len()], &mut random), &root, &first_root);
        let clock = TestClock::new();
        clock.advance_ms((until.now - T0).max(0));
        let data = first_root.join("data");
        let (again, mending, ()) = recording(&first_root, || async {
            open_patiently(settings(&data, RETENTION, true), clock.clock()).await.unwrap().stop().await.unwrap();
        });
        let chosen = choose(&mending, each, &mut random);
        tried += replay_all(&first_root, &again, &until, &mending, &chosen, seed);
    }
    println!("{tried} power cuts while a start mends, in {:.1} s", started.elapsed().as_secs_f64());
}

fn files_of(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (disk, files) = Disk::of(root);
    let mut unused = seeded(1);
    let left = disk.cut(Cut::All, &mut unused);
    files.into_keys().map(|path| (path.clone(), left[&path].clone().unwrap())).collect()
}
