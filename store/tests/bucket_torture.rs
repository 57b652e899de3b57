//! A store whose segments lie in a real S3 server, killed at any instant and at each fail point, its server killed, both at once, and with
//! requests that fail, stall, or succeed without an answer: nothing that was acknowledged is lost, doubled or torn.
//!
//! `VIDICON_GARAGE` names the server. `VIDICON_BUCKET_ROUNDS` says how many lives; where it is not set there are as many as come to an
//! end in 40 s. `VIDICON_TORTURE_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub, dead_code)]
#![cfg(debug_assertions)]

#[path = "torture/child.rs"]
mod child;
mod common;
#[path = "torture/fragments.rs"]
mod fragments;
#[path = "torture/told.rs"]
mod told;

use child::{Bucket, FAIL_POINT, Orders, VARIABLE, fast_clock};
use common::garage::{Garage, REGION};
use fragments::{open_patiently, patiently, settings};
use media::FragmentNumber;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::check::{CheckOptions, check, rebuild};
use store::{BUCKET_FAIL_POINTS, Config, StorageConfig, Store};
use told::Told;

/// How long there are new lives where nobody says how many.
const LONG: Duration = Duration::from_secs(40);
/// Lives of one folder.
const LIVES: usize = 20;
/// How many fragments that were acknowledged a producer sends again after a kill.
const AGAIN: i64 = 5;
/// Hours; 600 ms by the clock of a child.
const RETENTION: u32 = 24;
/// Fail points that folders have too.
const SHARED: [&str; 7] = [
    "catalog.committing",
    "catalog.committed",
    "commit.told",
    "recovery.adopted",
    "segment.unlinked",
    "stream.deleted",
    "stream.noted",
];

/// What happens in a life, so long after the store opened.
#[derive(Clone, Debug)]
enum End {
    /// The store is killed.
    Kill(Duration),
    /// The store is killed before it opened, perhaps.
    Early(Duration),
    /// The server is killed, is back after a while, and after another while the store is killed.
    Server(Duration, Duration, Duration),
    /// Both are killed.
    Both(Duration),
    /// The store starts without a server.
    Without,
    /// Requests go wrong; then it is killed.
    Faulty(u64, Duration),
    /// It dies at that pass of a fail point; requests go wrong if the number is not 0.
    Die(&'static str, u32, u64),
    /// It stops in order, after so many ms.
    Stop(u64),
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn ms(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most * 1000))
    }
    /// How the life of this number ends. Each kind and each fail point has its turn.
    fn end(&mut self, life: usize) -> End {
        let points: Vec<&'static str> = BUCKET_FAIL_POINTS.iter().chain(&SHARED).copied().collect();
        match life % 10 {
            0 => End::Kill(self.ms(700)),
            1 | 6 => End::Server(self.ms(300), self.ms(600), self.ms(700)),
            2 => End::Faulty(self.below(u64::MAX) | 1, self.ms(1500)),
            3 => End::Both(self.ms(500)),
            4 | 7 | 9 => {
                let point =
                    points[(life / 10 * 3 + [4, 7, 9].iter().position(|n| life % 10 == *n).unwrap()) % points.len()];
                // The spool is passed where the bucket is slow.
                let seed = if point.starts_with("spool.") { self.below(u64::MAX) | 1 } else { 0 };
                // Those are not passed often.
                let seldom = ["recovery.", "segment.", "spool."].iter().any(|of| point.starts_with(of));
                let most = if seldom { 1 } else { 3 };
                End::Die(point, 1 + self.below(most) as u32, seed)
            }
            5 => [End::Early(self.ms(60)), End::Without][self.below(2) as usize].clone(),
            _ => End::Stop(1 + self.below(300)),
        }
    }
}

/// A running child, and what it said.
struct Life {
    child: Child,
    opened: Receiver<()>,
    ended: Receiver<()>,
    reader: std::thread::JoinHandle<Vec<String>>,
}

impl Life {
    fn start(orders: &Orders, end: &End) -> Life {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, serde_json::to_string(orders).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match end {
            End::Die(point, pass, _) => command.env(FAIL_POINT, format!("{point},{pass},die")),
            _ => command.env_remove(FAIL_POINT),
        };
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let ((open, opened), (end, ended)) = (channel(), channel::<()>());
        let reader = std::thread::spawn(move || {
            let _end = end;
            let lines = stdout.split(b'\n').map_while(|line| String::from_utf8(line.ok()?).ok());
            lines
                .inspect(|line| {
                    if line == "open" {
                        let _ = open.send(());
                    }
                })
                .collect()
        });
        Life { child, opened, ended, reader }
    }

    fn opens(&self) {
        let _ = self.opened.recv_timeout(Duration::from_secs(10));
    }

    /// SIGKILL; nothing of it runs after that. Gives its lines, and how it ended.
    fn kill(mut self, what: &str) -> (Vec<String>, ExitStatus) {
        let _ = self.child.kill();
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{what}: the child panicked: {said}");
        (self.reader.join().unwrap(), output.status)
    }
}

fn live(garage: &mut Garage, orders: &Orders, end: &End, what: &str) -> (Vec<String>, ExitStatus) {
    if let End::Without = end {
        garage.kill();
    }
    let life = Life::start(orders, end);
    match end {
        End::Early(after) => std::thread::sleep(*after),
        End::Kill(after) | End::Faulty(_, after) => {
            life.opens();
            std::thread::sleep(*after);
        }
        End::Server(after, down, on) => {
            life.opens();
            std::thread::sleep(*after);
            garage.kill();
            std::thread::sleep(*down);
            garage.again();
            std::thread::sleep(*on);
        }
        End::Both(after) => {
            life.opens();
            std::thread::sleep(*after);
            garage.kill();
        }
        // It ends by itself, and what hangs does not wait for ever.
        End::Die(..) | End::Stop(_) | End::Without => drop(life.ended.recv_timeout(Duration::from_secs(30))),
    }
    let told = life.kill(what);
    if let End::Both(_) | End::Without = end {
        garage.again();
    }
    told
}

/// What a lane did.
#[derive(Default, Debug)]
struct Did {
    lives: usize,
    ended: BTreeMap<String, u64>,
    acked: u64,
    deletions: usize,
    /// Catalogs that were lost with their process.
    rebuilt: usize,
    /// Lives at whose end segments were in the spool.
    spooled: usize,
}

fn storage(garage: &Garage, prefix: &str, spool: bool) -> StorageConfig {
    StorageConfig {
        url: Some(format!("s3://media/{prefix}")),
        endpoint: Some(garage.endpoint()),
        region: Some(REGION.to_owned()),
        allow_http: true,
        credentials_file: Some(garage.credentials_file()),
        commit_interval_ms: 10,
        timeout_s: 5,
        spool_bytes: if spool { 64 << 20 } else { 0 },
        spool_after_ms: 100,
        ..StorageConfig::default()
    }
}

/// Whether retention may have taken a fragment by now.
fn expired(store: &Store, retention: u32) -> impl Fn(FragmentNumber) -> bool {
    let store = store.clone();
    let kept_ms = i64::from(retention.saturating_sub(1)) * 3_600_000;
    move |number| retention > 0 && (number.server_ms() as i64) < store.now().0 - kept_ms
}

/// From where a producer goes on: with some that were acknowledged.
fn gap(told: &Told, producer: usize) -> i64 {
    let gap: i64 = (0..).find(|i| !told.producers[producer].contains_key(i)).unwrap();
    (gap - AGAIN).max(0)
}

/// On a thread of its own, for it waits for the bucket.
fn apart<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| threads.spawn(look).join().unwrap())
}

/// Runs lives over folders and prefixes of its own, one after the other, until `go_on` says no.
async fn lane(lane: usize, seed: u64, retention: u32, go_on: impl Fn(usize) -> bool) -> Did {
    let Some(mut garage) = Garage::start() else { return Did::default() };
    let mut random = Random(seed ^ (lane as u64 + 1) << 32 | 1);
    let mut did = Did::default();
    for folder in 0.. {
        if !go_on(did.lives) {
            break;
        }
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let began_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        let clock = fast_clock(began_us);
        let mut told = Told::default();
        let (mut proven, mut by_segments) = (0, false);
        // Every second folder.
        let encrypt = (lane + folder).is_multiple_of(2);
        let mut last = storage(&garage, &format!("{lane}/{folder}"), false);
        let mut next_round = 0;
        for _ in 0..LIVES {
            if !go_on(did.lives) {
                break;
            }
            let round = next_round;
            // Also in another order each time, as 20 is a multiple of 10.
            let end = random.end(did.lives + folder);
            let at = format!("seed {seed} lane {lane} folder {folder} life {round} {end:?}");
            let spool = random.below(2) == 0 || matches!(end, End::Die(point, ..) if point.starts_with("spool."));
            let storage = storage(&garage, &format!("{lane}/{folder}"), spool);
            let orders = Orders {
                data: data.clone(),
                round,
                began_us,
                first: [gap(&told, 0), gap(&told, 1)],
                delete_from: told.deleting.last().copied().unwrap_or(0),
                retention,
                encrypt,
                stop_ms: if let End::Stop(ms) = end { ms } else { 0 },
                slower: 8,
                bucket: Some(Bucket {
                    storage: storage.clone(),
                    seed: if let End::Faulty(seed, _) | End::Die(_, _, seed) = end { seed } else { 0 },
                }),
            };
            let (before, began) = (told.acked, Instant::now());
            let mut orders = orders;
            if let End::Die("recovery.adopted", ..) = end {
                // It needs an object that the catalog does not know, and that no start has mended.
                let (lines, _) = live(&mut garage, &orders, &End::Die("object.kept", 2, 0), &at);
                told.read(&lines, round);
                orders.round += 1;
                orders.first = [gap(&told, 0), gap(&told, 1)];
            }
            let (lines, status) = live(&mut garage, &orders, &end, &at);
            told.read(&lines, orders.round);
            next_round = orders.round + 1;
            did.lives += 1;
            let ended = match (&end, status.signal()) {
                (End::Die(point, ..), Some(libc::SIGABRT)) => (*point).to_owned(),
                (End::Die(point, ..), Some(libc::SIGKILL)) => format!("{point} was not passed"),
                (End::Stop(_) | End::Without, None) if status.success() => format!("{end:?}"),
                (_, Some(libc::SIGKILL)) => format!("{end:?}"),
                _ => panic!("{at}: it ended with {status}: {lines:?}"),
            };
            *did.ended.entry(ended.split('(').next().unwrap().to_owned()).or_default() += 1;
            let spooled = std::fs::read_dir(data.join("spool")).map_or(0, Iterator::count);
            did.spooled += usize::from(spooled > 0);
            let (acked, lived) = (told.acked - before, began.elapsed());
            if !data.join("storage.json").exists() {
                continue;
            }
            // Before any start has mended it: whatever the catalog says is there.
            let options = CheckOptions { payloads: true, ..Default::default() };
            let report = apart(|| patiently(|| check(&data, options))).unwrap_or_else(|e| panic!("{at}: {e}"));
            assert!(report.is_clean(), "{at}:\n{report}");
            let checked = began.elapsed();
            let config = Config { storage: storage.clone(), ..settings(&data, retention, encrypt) };
            let store = open_patiently(config, clock.clone()).await.unwrap_or_else(|e| panic!("{at}: {e}"));
            told.prove(&store, &expired(&store, retention), proven, false).await;
            proven = next_round;
            store.stop().await.unwrap();
            last = storage;
            let proof = began.elapsed();
            println!("{at}: {acked} acknowledged, {spooled} spooled; {lived:.1?} and {checked:.1?} and {proof:.1?}");
        }
        if folder % 2 == 1 && data.join("format").exists() {
            // The catalog is lost with the last process.
            for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
                let _ = std::fs::remove_file(data.join(file));
            }
            let config = Config { storage: last.clone(), ..settings(&data, retention, encrypt) };
            let store = open_patiently(config, clock.clone()).await.unwrap();
            told.prove(&store, &expired(&store, retention), 0, true).await;
            store.stop().await.unwrap();
            by_segments = true;
            did.rebuilt += 1;
        }
        end_of(&Config { storage: last, ..settings(&data, retention, encrypt) }, &told, began_us, by_segments).await;
        did.acked += told.acked;
        did.deletions += told.deleted.len() + told.dropped.len();
    }
    did
}

/// All that was ever acknowledged, by the catalog (`by_segments`: which was made anew already) and by segments alone; the spool is empty, and no object is there that the catalog
/// does not know.
async fn end_of(config: &Config, told: &Told, began_us: i64, by_segments: bool) {
    let (data, retention) = (config.data.as_path(), config.default_retention_hours);
    let open = || open_patiently(config.clone(), fast_clock(began_us));
    // What came after the last start was begun is removed by the next.
    open().await.unwrap().stop().await.unwrap();
    let store = open().await.unwrap();
    told.prove(&store, &expired(&store, retention), 0, by_segments).await;
    let until = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(data.join("spool")).is_ok_and(|mut files| files.next().is_some()) {
        assert!(Instant::now() < until, "the spool is not emptied");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.stop().await.unwrap();
    let look = |what: &str| {
        let report = apart(|| patiently(|| check(data, CheckOptions::default()))).unwrap();
        assert!(report.is_clean(), "{what}:\n{report}");
        report
    };
    let unknown: Vec<_> = look("at the end").remarks.into_iter().filter(|r| r.contains("is not known")).collect();
    assert!(unknown.is_empty(), "leaked: {unknown:?}");
    let fresh = data.join("fresh.sqlite");
    let rebuilt = apart(|| patiently(|| rebuild(data, &fresh))).unwrap();
    assert!(rebuilt.problems.is_empty(), "{rebuilt:?}");
    std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
    let store = open().await.unwrap();
    told.prove(&store, &expired(&store, retention), 0, true).await;
    store.stop().await.unwrap();
    look("rebuilt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, in a process of its own"]
async fn process() {
    child::run().await;
}

#[test]
fn whatever_ends_a_store_or_its_s3_server_nothing_acknowledged_is_lost_doubled_or_torn() {
    if Garage::start().is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = variable("VIDICON_BUCKET_ROUNDS").map(|n| n as usize);
    let seed = variable("VIDICON_TORTURE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("VIDICON_TORTURE_SEED={seed}");
    let started = Instant::now();
    let lanes = [RETENTION, 0].into_iter().enumerate().map(|(i, retention)| {
        std::thread::spawn(move || {
            let go_on = move |lives: usize| rounds.map_or(started.elapsed() < LONG, |most| lives < most.div_ceil(2));
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(lane(i, seed, retention, go_on))
        })
    });
    let dids: Vec<Did> = lanes.collect::<Vec<_>>().into_iter().map(|lane| lane.join().unwrap()).collect();
    println!("in {:.1} s: {dids:#?}", started.elapsed().as_secs_f64());
    let lives: usize = dids.iter().map(|d| d.lives).sum();
    assert!(dids.iter().map(|d| d.acked).sum::<u64>() > 10 * lives as u64, "the children did not come to work");
    // With so many, each fail point had its turn, some twice.
    if lives >= 100 {
        let ended = |point: &str| dids.iter().any(|d| d.ended.contains_key(point));
        let never: Vec<_> = BUCKET_FAIL_POINTS.iter().chain(&SHARED).filter(|point| !ended(point)).collect();
        assert!(never.is_empty(), "no process died at {never:?}");
        assert!(dids.iter().any(|d| d.spooled > 0), "nothing was ever spooled");
    }
}
