//! Killed at any instant and at every fail point, and with steps that fail before that, a store loses nothing that it acknowledged,
//! holds nothing twice, and is never torn (invariants 1, 2, 3, 5, 6, 7).
//!
//! `VIDICON_TORTURE_ROUNDS` says how many lives (120 where it is not set), `VIDICON_TORTURE_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]
#![cfg(debug_assertions)]

#[path = "torture/child.rs"]
mod child;
mod common;
#[path = "torture/fragments.rs"]
mod fragments;
#[path = "torture/told.rs"]
mod told;

use child::{FAIL_POINT, FASTER, Orders, VARIABLE, fast_clock};
use common::{T0, name, record};
use fragments::{STEP, events_at, open_patiently, patiently, settings};
use media::{FragmentNumber, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::check::{CheckOptions, check, rebuild};
use store::{Clock, Config, FAIL_POINTS, Range, Store};
use told::Told;

const ROUNDS: usize = 120;
/// Lives of one folder.
const LIVES: usize = 30;
/// Fail points of the first start of a folder.
const FIRST: usize = 4;
/// How many fragments that were acknowledged a producer sends again after a kill.
const AGAIN: i64 = 5;
/// Hours.
const RETENTION: u32 = 24;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// How a life ends.
#[derive(Clone, Debug)]
enum End {
    /// Killed so long after it opened.
    Kill(Duration),
    /// Killed so long after it began.
    Early(Duration),
    /// At this pass of a fail point.
    Die(&'static str, u32),
    /// A step fails at that pass, on a full disk or otherwise; then killed.
    Fail(&'static str, u32, &'static str, Duration),
    /// In order, after so many ms.
    Stop(u64),
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most))
    }
}

/// Whether recordings are encrypted in a folder of a lane.
fn encrypts(lane: usize, folder: usize) -> bool {
    (lane + folder).is_multiple_of(2)
}

/// The ends of the lives of a lane, in which each fail point has its turn, in a folder that comes to it.
fn plan(random: &mut Random, lane: usize, rounds: usize, retention: bool) -> Vec<End> {
    let fails = ["segment.create", "segment.write", "segment.torn", "segment.sync", "catalog.commit"];
    let mut ends = Vec::new();
    let mut points: VecDeque<&str> =
        FAIL_POINTS[FIRST..].iter().copied().filter(|p| retention || !needs_retention(p)).collect();
    // A short run comes to all of them all the same: one lane begins where the other has half of them behind it.
    points.rotate_left(lane * points.len() / 2);
    while ends.len() < rounds {
        if ends.len() % LIVES == 0 {
            ends.extend(FAIL_POINTS[..FIRST].iter().map(|point| End::Die(point, 1)));
        }
        let encrypted = encrypts(lane, ends.len() / LIVES);
        let turn = points.iter().position(|p| encrypted || !needs_keys(p)).unwrap();
        let die = reach(points[turn], random);
        // What a start is to mend must be in the same folder.
        if ends.len() % LIVES + die.len() > LIVES {
            ends.push(End::Kill(random.micros(80_000)));
            continue;
        }
        points.remove(turn).map(|point| points.push_back(point)).unwrap();
        ends.extend(die);
        if ends.len() % LIVES == 0 {
            continue;
        }
        ends.push(match random.below(10) {
            0 => End::Early(random.micros(40_000)),
            1 | 2 => End::Stop(1 + random.below(60)),
            3..=5 => {
                let point = fails[random.below(fails.len() as u64) as usize];
                let how = if random.below(2) == 0 { "full" } else { "fail" };
                End::Fail(point, 1 + random.below(6) as u32, how, random.micros(60_000))
            }
            _ => End::Kill(random.micros(80_000)),
        });
    }
    ends.truncate(rounds);
    ends
}

/// Lives of which the last ends at this point.
fn reach(point: &'static str, random: &mut Random) -> Vec<End> {
    match point {
        // A start finds something, because a group was torn.
        _ if point.starts_with("recovery.") => {
            vec![End::Die("segment.torn", 1 + random.below(9) as u32), End::Die(point, 1)]
        }
        // Once in a life, or seldom more.
        _ if ["store.", "rewrite."].iter().any(|of| point.starts_with(of)) || point == "segment.direct" => {
            vec![End::Die(point, 1)]
        }
        _ => vec![End::Die(point, 1 + random.below(4) as u32)],
    }
}

fn needs_keys(point: &str) -> bool {
    point.starts_with("key.")
}

fn needs_retention(point: &str) -> bool {
    point.starts_with("expiry.") || ["segment.unlink", "segment.unlinked", "segment.forget"].contains(&point)
}

/// One life: its lines, and how it ended.
fn live(orders: &Orders, end: &End) -> (Vec<String>, ExitStatus) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, serde_json::to_string(orders).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match end {
        End::Die(point, pass) => drop(command.env(FAIL_POINT, format!("{point},{pass},die"))),
        End::Fail(point, pass, how, _) => drop(command.env(FAIL_POINT, format!("{point},{pass},{how}"))),
        _ => drop(command.env_remove(FAIL_POINT)),
    }
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (opened, is_open) = channel();
    let (closed, is_closed) = channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in stdout.split(b'\n') {
            let Some(line) = line.ok().and_then(|line| String::from_utf8(line).ok()) else { break };
            if line == "open" {
                let _ = opened.send(());
            }
            lines.push(line);
        }
        drop(closed);
        lines
    });
    // A bound for what hangs, on whatever machine.
    let most = Duration::from_secs(30);
    match end {
        End::Early(after) => std::thread::sleep(*after),
        End::Kill(after) | End::Fail(_, _, _, after) => {
            let _ = is_open.recv_timeout(most);
            std::thread::sleep(*after);
        }
        // It ends by itself, where it comes to that point.
        End::Die(..) => drop(is_closed.recv_timeout(most)),
        // It ends by itself, however busy the machine is.
        End::Stop(_) => drop(is_closed.recv_timeout(most)),
    }
    // SIGKILL: nothing of the child runs after it.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{end:?}: the child panicked: {said}");
    (reader.join().unwrap(), output.status)
}

/// What a lane did.
#[derive(Default, Debug)]
struct Did {
    lives: usize,
    died: BTreeMap<&'static str, u64>,
    missed: Vec<End>,
    failed: u64,
    stopped: u64,
    acked: u64,
    deletions: usize,
    rebuilt: usize,
}

/// From where a producer goes on: with some that were acknowledged.
fn resume(told: &Told, producer: usize) -> i64 {
    let gap = (0..).find(|i| !told.producers[producer].contains_key(i)).unwrap();
    (gap - AGAIN).max(0)
}

/// Runs lives over folders of its own, one after the other.
async fn lane(lane: usize, seed: u64, retention: u32, ends: Vec<End>) -> Did {
    let mut did = Did::default();
    for (folder, ends) in ends.chunks(LIVES).enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let began_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        let clock = fast_clock(began_us);
        let mut told = Told::default();
        let mut proven = 0;
        // Every second folder.
        let encrypt = encrypts(lane, folder);
        for (round, end) in ends.iter().enumerate() {
            let at = format!("seed {seed} lane {lane} folder {folder} life {round} {end:?}");
            if matches!(end, End::Die(point, _) if point.starts_with("rewrite.")) {
                leave_due(&at, &data, round, settings(&data, retention, encrypt), clock.clone(), &mut told).await;
            }
            let stop_ms = match end {
                End::Stop(ms) => *ms,
                End::Die("store.stopping", _) => 30,
                _ => 0,
            };
            let orders = Orders {
                data: data.clone(),
                round: round as i64,
                began_us,
                first: [resume(&told, 0), resume(&told, 1)],
                // With the one that may not have been done.
                delete_from: told.deleting.last().copied().unwrap_or(0),
                retention,
                encrypt,
                stop_ms,
                slower: 1,
                bucket: None,
            };
            let (lines, status) = live(&orders, end);
            told.read(&lines, round as i64);
            did.lives += 1;
            match (end, status.signal()) {
                (End::Die(point, _), Some(SIGABRT)) => *did.died.entry(point).or_default() += 1,
                (End::Die(..), Some(SIGKILL)) => did.missed.push(end.clone()),
                (End::Stop(_), None) if status.success() => did.stopped += 1,
                (End::Fail(..), _) => did.failed += 1,
                (End::Kill(_) | End::Early(_), Some(SIGKILL)) => {}
                _ => panic!("{at}: it ended with {status}: {lines:?}"),
            }
            if !data.join("catalog.sqlite").exists() {
                continue;
            }
            if matches!(end, End::Die("stream.deleted" | "stream.noted" | "key.zeroed" | "key.destroyed", _))
                || round % 4 == 3
            {
                without_catalog(&at, &data, &told, began_us, retention, encrypt).await;
                did.rebuilt += 1;
            }
            // Where the next life is to end while it makes or mends, nobody looks before it.
            let next = ends.get(round + 1);
            if matches!(next, Some(End::Die(point, _)) if FAIL_POINTS[..FIRST].contains(point)) {
                continue;
            }
            // Before any start has mended it: whatever the catalog says is there.
            if data.join("format").exists() {
                let report = patiently(|| check(&data, CheckOptions { payloads: true, ..Default::default() }))
                    .unwrap_or_else(|e| panic!("{at}: {e}"));
                assert!(report.is_clean(), "{at}:\n{report}");
            }
            let next_mends = matches!(next, Some(End::Die(point, _)) if point.starts_with("recovery."));
            if next_mends || matches!(end, End::Die("segment.torn", _)) {
                continue;
            }
            let store = open_patiently(settings(&data, retention, encrypt), clock.clone()).await;
            let store = store.unwrap_or_else(|e| panic!("{at}: {e}"));
            println!("{at}: {} acknowledged", told.acked);
            told.prove(&store, &expired(&store, retention), proven, false).await;
            proven = round as i64 + 1;
            store.stop().await.unwrap();
            let report = patiently(|| check(&data, CheckOptions { payloads: false, ..Default::default() })).unwrap();
            assert!(report.is_clean(), "{at}, mended:\n{report}");
        }
        end_of(&data, &told, began_us, retention, encrypt).await;
        did.acked += told.acked;
        did.deletions += told.deleted.len() + told.dropped.len();
    }
    did
}

/// Leaves a closed segment of which something was deleted and something counts, whatever retention takes: the next start writes it anew.
async fn leave_due(at: &str, data: &Path, round: usize, config: Config, clock: Clock, told: &mut Told) {
    let text = format!("due-{round}");
    for again in 0..20 {
        let store = open_patiently(config.clone(), clock.clone()).await.unwrap_or_else(|e| panic!("{at}: {e}"));
        let stream = match store.stream(&name(&text)) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name(&text), Some(1_000_000)).await.unwrap(),
        };
        let mut writer = stream.writer();
        let mut lines = vec![format!("made {text} .")];
        let began = T0 + again * 64 * STEP;
        // The third is larger than a segment is to be, and the fourth opens another.
        for start in [0, 4, 9, 16].map(|i| began + i * STEP) {
            let meta = record(&mut writer, events_at(0, start)).await;
            if start != began + 4 * STEP {
                lines.push(format!("cam {text} {} {:08x} {start} .", meta.number, meta.crc32c));
            }
        }
        let (from, to) = (UnixMillis(began + 4 * STEP), UnixMillis(began + 4 * STEP + 1));
        assert_eq!(stream.delete_range(Range { from, to }).await.unwrap().fragments, 1, "{at}");
        drop(writer);
        store.stop().await.unwrap();
        told.read(&lines, round as i64);
        let catalog = rusqlite::Connection::open(data.join("catalog.sqlite")).unwrap();
        let sql = "SELECT count(*) FROM segments WHERE closed = 1 AND rows > 0 AND deleted_since IS NOT NULL";
        let due: u64 = catalog.query_row(sql, [], |r| r.get(0)).unwrap();
        catalog.close().unwrap();
        if due > 0 {
            // Half of the time in which deleted bytes have to be gone, on this clock.
            tokio::time::sleep(Duration::from_millis((config.erase_deleted_s * 500).div_ceil(FASTER as u64) + 1)).await;
            return;
        }
    }
    panic!("{at}: no segment is to be written anew");
}

/// The catalog is lost with the process: what the segments alone say, in a copy of the folder.
async fn without_catalog(at: &str, data: &Path, told: &Told, began_us: i64, retention: u32, encrypt: bool) {
    if !data.join("format").exists() {
        return;
    }
    let at = format!("{at}, without its catalog");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("data");
    copy_all(data, &copy, &|name| name.starts_with("catalog.sqlite"));
    let store = open_patiently(settings(&copy, retention, encrypt), fast_clock(began_us)).await;
    let store = store.unwrap_or_else(|e| panic!("{at}: {e}"));
    println!("{at}");
    told.prove(&store, &expired(&store, retention), 0, true).await;
    store.stop().await.unwrap();
    let report = patiently(|| check(&copy, CheckOptions::default())).unwrap();
    assert!(report.is_clean(), "{at}:\n{report}");
}

/// Copies a folder but for files of these names.
fn copy_all(from: &Path, to: &Path, but: &impl Fn(&str) -> bool) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            copy_all(&path, &to.join(name), but);
        } else if !but(name) {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Whether retention may have taken a fragment by now.
fn expired(store: &Store, retention: u32) -> impl Fn(FragmentNumber) -> bool {
    let store = store.clone();
    // Retentions are set to an hour less, too.
    let kept_ms = i64::from(retention.saturating_sub(1)) * 3_600_000;
    move |number| retention > 0 && (number.server_ms() as i64) < store.now().0 - kept_ms
}

/// All that was ever acknowledged, by the catalog and by segments alone; and no file is there that the catalog does not know.
async fn end_of(data: &Path, told: &Told, began_us: i64, retention: u32, encrypt: bool) {
    let open = || open_patiently(settings(data, retention, encrypt), fast_clock(began_us));
    let store = open().await.unwrap();
    told.prove(&store, &expired(&store, retention), 0, false).await;
    store.stop().await.unwrap();
    let report = patiently(|| check(data, CheckOptions::default())).unwrap();
    assert!(report.is_clean(), "at the end:\n{report}");
    let unknown: Vec<_> = report.remarks.iter().filter(|r| r.contains("is not known to the catalog")).collect();
    assert!(unknown.is_empty(), "leaked: {unknown:?}");
    let fresh = data.join("fresh.sqlite");
    let rebuilt = patiently(|| rebuild(data, &fresh)).unwrap();
    assert!(rebuilt.problems.is_empty(), "{rebuilt:?}");
    std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let store = open().await.unwrap();
    told.prove(&store, &expired(&store, retention), 0, true).await;
    store.stop().await.unwrap();
    let report = patiently(|| check(data, CheckOptions::default())).unwrap();
    assert!(report.is_clean(), "rebuilt:\n{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, in a process of its own"]
async fn process() {
    child::run().await;
}

#[test]
fn whatever_ends_a_store_nothing_acknowledged_is_lost_doubled_or_torn() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = variable("VIDICON_TORTURE_ROUNDS").map_or(ROUNDS, |n| n as usize);
    let seed = variable("VIDICON_TORTURE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("VIDICON_TORTURE_SEED={seed}");
    let started = Instant::now();
    let run = |i: usize, retention: u32, ends: Vec<End>| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(lane(i, seed, retention, ends))
        })
    };
    let lanes: Vec<_> = [RETENTION, 0]
        .into_iter()
        .enumerate()
        .map(|(i, retention)| {
            let mut random = Random(seed ^ (i as u64 + 1) << 32 | 1);
            run(i, retention, plan(&mut random, i, rounds.div_ceil(2), retention > 0))
        })
        .collect();
    let mut dids: Vec<Did> = lanes.into_iter().map(|lane| lane.join().unwrap()).collect();
    // A short run has no turn for each: those that are left, in folders where there is something to do.
    for again in 2..6 {
        let never = never(&dids);
        if never.is_empty() {
            break;
        }
        let of = |retention: u32| {
            let points = never.iter().filter(|point| needs_retention(point) == (retention > 0));
            let mut random = Random(seed ^ again as u64 | 1);
            points
                .flat_map(|point| [End::Kill(Duration::from_millis(250))].into_iter().chain(reach(point, &mut random)))
                .collect()
        };
        // Of an even lane the first folder is encrypted.
        let lanes = [RETENTION, 0].map(|retention| run(again * 2, retention, of(retention)));
        dids.extend(lanes.into_iter().map(|lane| lane.join().unwrap()));
    }
    println!("in {:.1} s: {dids:#?}", started.elapsed().as_secs_f64());
    let lives: usize = dids.iter().map(|d| d.lives).sum();
    assert!(dids.iter().map(|d| d.acked).sum::<u64>() > 10 * lives as u64, "the children did not come to work");
    assert!(dids[..2].iter().all(|d| d.stopped > 0 && d.failed > 0 && d.deletions > 0 && d.rebuilt > 0));
    let never = never(&dids);
    assert!(never.is_empty(), "no process died at {never:?}");
}

/// The fail points at which none ended.
fn never(dids: &[Did]) -> Vec<&'static str> {
    let died: BTreeSet<_> = dids.iter().flat_map(|d| d.died.keys().copied()).collect();
    // Not every file system takes direct writes.
    FAIL_POINTS.iter().copied().filter(|point| !died.contains(point) && *point != "segment.direct").collect()
}
