//! The process that is killed: cameras, producers that send again, streams that come and go, deletions of ranges, retention.

use crate::common::sent::*;
use crate::common::*;
use crate::fragments::*;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::faulty::{Fault, Faults, Faulty, Op};
use store::{Clock, Config, Error, Kind, Offer, StorageConfig, Store, Stream};
use tokio::sync::{Semaphore, watch};

/// Where the child finds its [`Orders`].
pub const VARIABLE: &str = "VIDICON_TORTURE_CHILD";
/// The store's own variable for the fail point of a process.
pub const FAIL_POINT: &str = "VIDICON_FAIL_POINT";
/// Fragments that a camera or producer has under way at once. Groups are small and each is synced: with more, what else is recorded or
/// deleted would wait behind them for as long as the disk is slow.
const UNDER_WAY: usize = 8;
const CAMERAS: usize = 2;
/// The clock of the child runs this much faster than time: a retention of a day is 600 ms.
pub const FASTER: i64 = 144_000;

/// What the child is to do.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    pub data: PathBuf,
    /// Lives of this folder before this one.
    pub round: i64,
    /// When the clock stood at [`T0`], in µs since the Unix epoch.
    pub began_us: i64,
    /// From where each producer sends.
    pub first: [i64; PRODUCERS],
    /// From where ranges are deleted.
    pub delete_from: i64,
    /// Hours of retention of all streams; 0 for none.
    pub retention: u32,
    /// Whether recordings are encrypted.
    pub encrypt: bool,
    /// When to stop in order, in ms; 0 for never.
    pub stop_ms: u64,
    /// Pauses are so many times longer.
    pub slower: u32,
    /// Where segments lie, if not in the folder.
    pub bucket: Option<Bucket>,
}

/// A bucket, and how it misbehaves.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bucket {
    pub storage: StorageConfig,
    /// What goes wrong is drawn from this; 0: nothing does.
    pub seed: u64,
}

impl Bucket {
    /// Opens a store there. What goes wrong does so from then on.
    async fn open(&self, config: Config, clock: Clock) -> Result<Store, Error> {
        let config = Config { storage: self.storage.clone(), ..config };
        if self.seed == 0 {
            return open_patiently(config, clock).await;
        }
        let faults = Faults::default();
        let bucket = Faulty::around(&self.storage, faults.clone())?;
        let store = Store::open_on(config, clock, Arc::new(bucket)).await?;
        // One of the first stalls for longer than a group waits for the spool.
        let stall =
            (0..10).map(|i| if i == self.seed % 10 { Fault::Late(Duration::from_secs(1)) } else { Fault::Well });
        faults.script(Op::Put, stall);
        faults.random(self.seed, 200, Duration::from_millis(20));
        Ok(store)
    }
}

static STOPPING: AtomicBool = AtomicBool::new(false);

pub fn fast_clock(began_us: i64) -> Clock {
    Arc::new(move || {
        let us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        UnixMillis(T0 + (us - began_us) * FASTER / 1000)
    })
}

/// One write each, so that lines are never mixed; a line that the kill cut short lacks its full stop.
fn say(line: std::fmt::Arguments<'_>) {
    println!("\n{line} .");
}

/// Only where a step is made to fail, or the store stops, may it refuse anything.
async fn tolerate(what: &str, error: &Error) {
    let expected = STOPPING.load(Ordering::SeqCst) || std::env::var_os(FAIL_POINT).is_some();
    assert!(expected, "{what}: {error}");
    tokio::time::sleep(Duration::from_millis(2)).await;
}

pub async fn run() {
    // It ends with the test that started it, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let orders: Orders = serde_json::from_str(&std::env::var(VARIABLE).expect("started by a test")).unwrap();
    let (config, clock) = (settings(&orders.data, orders.retention, orders.encrypt), fast_clock(orders.began_us));
    let opened = match &orders.bucket {
        Some(bucket) => bucket.open(config, clock).await,
        None => open_patiently(config, clock).await,
    };
    let store = match opened {
        Ok(store) => store,
        // Its server was killed.
        Err(error) if orders.bucket.is_some() && error.to_string().contains("cannot be reached") => return,
        Err(error) => {
            tolerate("open", &error).await;
            return;
        }
    };
    println!("\nopen");
    for s in 0..CAMERAS {
        tokio::spawn(camera(store.clone(), s, orders.round, orders.slower));
    }
    for (s, first) in orders.first.into_iter().enumerate() {
        let (acked, progress) = watch::channel(first - 1);
        tokio::spawn(producer(store.clone(), s, first, acked, orders.slower));
        if s == 1 {
            tokio::spawn(delete(store.clone(), orders.delete_from, progress));
        }
    }
    tokio::spawn(passing(store.clone(), orders.round));
    if orders.retention > 0 {
        tokio::spawn(retain(store.clone(), orders.retention));
    }
    match orders.stop_ms {
        0 => std::future::pending().await,
        ms => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
    STOPPING.store(true, Ordering::SeqCst);
    store.stop().await.unwrap();
    println!("\nstopped .");
    // Without waiting for tasks that would go on for ever.
    std::process::exit(0);
}

async fn stream(store: &Store, text: &str) -> Stream {
    loop {
        let name = name(text);
        match store.stream(&name) {
            Ok(stream) => return stream,
            Err(_) => match store.create_stream(&name, None).await {
                Ok(stream) => return stream,
                // Another task did.
                Err(error) if error.kind() == Kind::AlreadyExists => {}
                Err(error) => tolerate("create", &error).await,
            },
        }
    }
}

async fn camera(store: Store, s: usize, round: i64, slower: u32) {
    let stream = stream(&store, &format!("camera-{s}")).await;
    let mut writer = stream.writer();
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    for i in 0.. {
        let permit = under_way.clone().acquire_owned().await.expect("it is never closed");
        let start = T0 + round * 100_000_000 + i * STEP;
        match write_all(&mut writer, events_at(s, start)).await {
            Ok(Offer::Sealed(number, durable)) => {
                tokio::spawn(async move {
                    let _permit = permit;
                    match durable.wait().await {
                        Ok(meta) => {
                            assert_eq!(meta.number, number);
                            say(format_args!("cam camera-{s} {number} {:08x} {start}", meta.crc32c));
                        }
                        Err(error) => tolerate("camera", &error).await,
                    }
                });
            }
            Ok(_) => panic!("the fragment was not sealed"),
            Err(error) => tolerate("camera", &error).await,
        }
        tokio::time::sleep(Duration::from_millis(1) * slower).await;
    }
}

/// Sends from `next` on. After an error it goes back to the first that was not acknowledged, in a new session.
async fn producer(store: Store, s: usize, mut next: i64, acked: watch::Sender<i64>, slower: u32) {
    let stream = stream(&store, &format!("producer-{s}")).await;
    loop {
        let mut writer = stream.verbatim_writer();
        let mut waiting = VecDeque::new();
        let failed = 'session: {
            for of_session in 0.. {
                // Sessions are short, so that blocks of numbers run out.
                while waiting.len() < UNDER_WAY && of_session < 40 {
                    match send(&mut writer, &nth(s, next)).await {
                        Ok(Offer::Sealed(_, durable) | Offer::Duplicate(_, durable)) => {
                            waiting.push_back((next, durable))
                        }
                        Ok(_) => panic!("neither stored nor there"),
                        Err(error) => break 'session Some(error),
                    }
                    next += 1;
                    tokio::time::sleep(Duration::from_micros(300) * slower).await;
                }
                let Some((i, durable)) = waiting.pop_front() else { break };
                match durable.wait().await {
                    Ok(meta) => {
                        say(format_args!("ack {s} {i} {}", meta.number));
                        acked.send_replace(i);
                    }
                    Err(error) => {
                        next = i;
                        break 'session Some(error);
                    }
                }
            }
            None
        };
        if let Some(error) = failed {
            // What comes behind the one that failed may be there: it is sent again all the same.
            next = waiting.front().map_or(next, |(i, _)| next.min(*i));
            tolerate("producer", &error).await;
        }
    }
}

/// Deletes three of each ten fragments, well behind what was acknowledged.
async fn delete(store: Store, mut next: i64, mut progress: watch::Receiver<i64>) {
    let stream = stream(&store, "producer-1").await;
    while progress.wait_for(|newest| *newest > next + 10 + BEHIND).await.is_ok() {
        say(format_args!("deleting {next}"));
        match stream.delete_range(deleted_range(next)).await {
            Ok(_) => {
                say(format_args!("deleted {next}"));
                next += 10;
            }
            Err(error) => tolerate("delete", &error).await,
        }
    }
}

/// Streams that are made, recorded to, and deleted.
async fn passing(store: Store, round: i64) {
    for i in 0.. {
        let text = format!("passing-{round}-{i}");
        let stream = match store.create_stream(&name(&text), None).await {
            Ok(stream) => stream,
            Err(error) => {
                tolerate("create", &error).await;
                continue;
            }
        };
        say(format_args!("made {text}"));
        let mut writer = stream.writer();
        for at in 0..3 {
            let start = T0 + at * STEP;
            let Ok(Offer::Sealed(number, durable)) = write_all(&mut writer, events_at(0, start)).await else {
                continue;
            };
            match durable.wait().await {
                Ok(meta) => say(format_args!("cam {text} {number} {:08x} {start}", meta.crc32c)),
                Err(error) => tolerate("passing", &error).await,
            }
        }
        say(format_args!("dropping {text}"));
        match store.delete_stream(&name(&text)).await {
            Ok(()) => say(format_args!("dropped {text}")),
            Err(error) => tolerate("drop", &error).await,
        }
    }
}

/// Sets retentions, which makes the store sweep.
async fn retain(store: Store, hours: u32) {
    for i in 0.. {
        tokio::time::sleep(Duration::from_millis(8)).await;
        let name = name(&format!("camera-{}", i % CAMERAS));
        if let Ok(stream) = store.stream(&name) {
            let hours = hours - (i / CAMERAS % 2) as u32;
            match store.set_retention(&stream.info().name, Some(hours)).await {
                Ok(()) => {}
                Err(error) => tolerate("retention", &error).await,
            }
        }
    }
}
