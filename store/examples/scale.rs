//! What the bench measures of the store alone: catalogs and archives as large as it likes, and ingest beside `fio`.
//!
//! `cargo run --release -p vidicon-store --example scale -- COMMAND …` prints one JSON object.
//! - `rows FOLDER STREAMS SECONDS SEGMENT_BYTES`: a catalog with a synthetic fragment of 312 KB a second of each stream, in the order in which
//!   they would have come, and sparse segments of the size that those fragments have, where SEGMENT_BYTES is not 0.
//! - `seek FOLDER LOOKUPS`: look-ups by time at random places, of streams in turn, and pages of ten seconds.
//! - `bare FOLDER LOOKUPS CACHE_KIB MMAP_BYTES`: what stands beside that: rows by their key and by time through SQLite alone, and pages of the
//!   file at random places.
//! - `record FOLDER`: prints `open`, and records until it is killed.
//! - `open FOLDER`: how long opening takes.
//! - `hour FOLDER CAMERAS FRAGMENTS BYTES`: records so many fragments of each camera side by side, as fast as it goes.
//! - `read FOLDER STREAM [TIMES]`: reads all of a stream, in order, so many times (1).
//! - `ingest FOLDER STREAMS SECONDS BYTES RATE`: fragments of BYTES on so many streams, RATE bytes a second in all, or as fast as it goes (0);
//!   behind what `rows` made, if it did.
//!
//! `VIDICON_BENCH_STORAGE` says where segments lie, if not in FOLDER: `[storage]` as JSON.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use media::{Frame, Header, Start, Track, TrackKind, UnixMillis, mkv};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rusqlite::{Connection, params};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use store::export::Fragments;
use store::{Config, EncryptionConfig, Offer, Position, Range, Start as Begin, Store, Verbatim};

const T0: i64 = 1_795_413_600_000;
const FRAGMENT: u64 = 312_080;

fn config(data: &str) -> Config {
    let storage = std::env::var("VIDICON_BENCH_STORAGE").map(|text| serde_json::from_str(&text).unwrap());
    // With VIDICON_ENCRYPTION_KEY set, encrypted.
    let encryption = EncryptionConfig::default().load(|name| std::env::var(name).ok()).unwrap();
    let storage = storage.unwrap_or_default();
    Config { data: data.into(), default_retention_hours: 0, storage, encryption, ..Config::default() }
}

fn clock() -> store::Clock {
    Arc::new(|| UnixMillis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64))
}

async fn open(data: &str) -> Store {
    Store::open(config(data), clock()).await.unwrap()
}

fn header() -> Arc<Header> {
    let video = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.into(),
        codec_private: Bytes::new(),
        size: Some((1280, 720)),
        audio: None,
    };
    mkv::write_header(&[video]).shared()
}

/// The start of a segment file (docs/storage.md).
fn file_header(store: &[u8], id: u64) -> [u8; 64] {
    let mut out = [0; 64];
    out[..8].copy_from_slice(b"VDCNSEG\n");
    out[8..12].copy_from_slice(&2u32.to_le_bytes());
    out[16..32].copy_from_slice(store);
    out[32..40].copy_from_slice(&id.to_le_bytes());
    out[40..48].copy_from_slice(&T0.to_le_bytes());
    let crc = crc32c::crc32c(&out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn segment(data: &str, id: u64) -> std::path::PathBuf {
    Path::new(data).join("segments").join(format!("{id:016x}.seg"))
}

fn catalog(data: &str) -> (Connection, Vec<u8>) {
    let c = Connection::open(Path::new(data).join("catalog.sqlite")).unwrap();
    c.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY").unwrap();
    let store = c.query_row("SELECT value FROM store WHERE key = 'uuid'", [], |r| r.get(0)).unwrap();
    (c, store)
}

async fn rows(data: &str, streams: u64, seconds: u64, segment_bytes: u64) -> serde_json::Value {
    let store = open(data).await;
    for s in 0..streams {
        store.create_stream(&format!("cam{s}").parse().unwrap(), None).await.unwrap();
    }
    store.stop().await.unwrap();
    let (c, uuid) = catalog(data);
    let first: u64 = c.query_row("SELECT coalesce(max(id), 0) + 1 FROM segments", [], |r| r.get(0)).unwrap();
    let per_segment = if segment_bytes > 0 { segment_bytes / FRAGMENT } else { 800 };
    let header = header();
    for s in 1..=streams {
        c.execute(
            "INSERT INTO headers (stream, id, bytes) VALUES (?1, ?2, ?3)",
            params![s, header.id.0 as i64, header.bytes.to_vec()],
        )
        .unwrap();
    }
    let began = Instant::now();
    let mut i = 0;
    while i < streams * seconds {
        c.execute_batch("BEGIN").unwrap();
        let mut insert = c
            .prepare_cached(
                "INSERT INTO fragments (stream, counter, producer_start, server_start, random, duration_ms, bytes, frames, crc32c, header,
                     cause, segment, place, form) VALUES (?1, ?2, ?3, ?4, ?5, 1000, ?6, 30, ?7, ?8, NULL, ?9, ?10, 0)",
            )
            .unwrap();
        for i in i..(i + 200_000).min(streams * seconds) {
            let (stream, counter) = (i % streams + 1, i / streams + 1);
            let at = T0 + counter as i64 * 1000;
            let (crc, random) = (i.wrapping_mul(2_654_435_761) as u32, i.wrapping_mul(40_503_777) as u32 >> 4);
            let (segment, place) = (first + i / per_segment, 64 + i % per_segment * FRAGMENT);
            let bytes = FRAGMENT - 80;
            insert
                .execute(params![
                    stream,
                    counter,
                    at,
                    at + 37,
                    random,
                    bytes,
                    crc as i32,
                    header.id.0 as i64,
                    segment,
                    place
                ])
                .unwrap();
        }
        drop(insert);
        c.execute_batch("COMMIT").unwrap();
        i += 200_000;
    }
    let total = streams * seconds;
    let segments = total.div_ceil(per_segment);
    c.execute_batch("BEGIN").unwrap();
    for id in first..first + segments {
        let rows = per_segment.min(total - (id - first) * per_segment);
        let end = 64 + rows * FRAGMENT;
        let sql = "INSERT INTO segments (id, created_at, ends, closed, deletions, rows, live_bytes) VALUES (?1, ?2, ?3, 1, 0, ?4, ?5)";
        c.execute(sql, params![id, T0, end, rows, rows * FRAGMENT]).unwrap();
        if segment_bytes > 0 {
            let file = File::create(segment(data, id)).unwrap();
            file.write_all_at(&file_header(&uuid, id), 0).unwrap();
            file.set_len(end).unwrap();
        }
    }
    c.execute("UPDATE streams SET counter_limit = ?1, bytes = ?2", [seconds.div_ceil(1000) * 1000, seconds * FRAGMENT])
        .unwrap();
    c.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let bytes: u64 = c
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |r| r.get(0))
        .unwrap();
    serde_json::json!({"rows": total, "segments": segments, "catalog_bytes": bytes, "bytes_per_fragment": bytes as f64 / total as f64,
        "seconds": began.elapsed().as_secs_f64()})
}

fn p(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

async fn seek(data: &str, lookups: u64) -> serde_json::Value {
    let store = open(data).await;
    let streams = store.streams();
    let (mut one, mut pages) = (Vec::new(), Vec::new());
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    for i in 0..lookups {
        let stream = &streams[i as usize % streams.len()];
        let last = stream.latest(1).await.unwrap()[0].producer_start.0;
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = UnixMillis(T0 + 2000 + (x >> 11) as i64 % (last - T0 - 20_000).max(1));
        let start = if i % 2 == 0 { Begin::ContainingProducer(at) } else { Begin::ContainingServer(at) };
        let began = Instant::now();
        assert!(stream.first(start).await.unwrap().is_some());
        one.push(began.elapsed().as_secs_f64() * 1000.0);
        let began = Instant::now();
        let range = Range { from: at, to: at.plus(10_000) };
        assert!(stream.fragments(range, Position::Start, 1000).await.unwrap().len() >= 10);
        pages.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    store.stop().await.unwrap();
    serde_json::json!({"p50_ms": p(&mut one, 0.5), "p99_ms": p(&mut one, 0.99), "page_p99_ms": p(&mut pages, 0.99)})
}

fn bare(data: &str, lookups: u64, cache_kib: i64, mmap: i64) -> serde_json::Value {
    let path = Path::new(data).join("catalog.sqlite");
    let file = File::open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    let c = Connection::open(&path).unwrap();
    c.pragma_update(None, "cache_size", -cache_kib).unwrap();
    c.pragma_update_and_check(None, "mmap_size", mmap, |_| Ok(())).unwrap();
    let (streams, last): (i64, i64) = c
        .query_row("SELECT max(stream), max(counter) FROM fragments WHERE stream = 1", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    let streams = streams.max(c.query_row("SELECT count(*) FROM streams", [], |r| r.get(0)).unwrap());
    let columns = "SELECT counter, producer_start, server_start, random, duration_ms, bytes, frames, crc32c, header, cause, segment, place";
    let by_key = format!("{columns} FROM fragments WHERE stream = ?1 AND counter = ?2");
    let by_time = format!(
        "{columns} FROM fragments INDEXED BY fragments_by_time WHERE stream = ?1 AND producer_start <= ?2 ORDER BY producer_start DESC LIMIT 1"
    );
    let (mut by_key, mut by_time) = (c.prepare(&by_key).unwrap(), c.prepare(&by_time).unwrap());
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let (mut x, mut page) = (0x9e37_79b9_7f4a_7c15u64, [0; 4096]);
    for i in 0..lookups as i64 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (stream, counter) = (i % streams + 1, (x >> 11) as i64 % last + 1);
        let mut timed = |of: usize, work: &mut dyn FnMut()| {
            let began = Instant::now();
            work();
            times[of].push(began.elapsed().as_secs_f64() * 1000.0);
        };
        let row = |statement: &mut rusqlite::Statement<'_>, at: i64| {
            statement.query_row(params![stream, at], |r| r.get::<_, i64>(11)).unwrap();
        };
        // Each at a place of its own, so that none reads what the one before has brought in.
        timed(0, &mut || row(&mut by_key, counter));
        timed(1, &mut || row(&mut by_time, T0 + (counter * 7919 % last + 1) * 1000 + 500));
        timed(2, &mut || file.read_exact_at(&mut page, (x >> 7) % pages * 4096).unwrap());
    }
    let [key, time, read] = &mut times;
    serde_json::json!({"key_p50_ms": p(key, 0.5), "key_p99_ms": p(key, 0.99), "time_p50_ms": p(time, 0.5), "time_p99_ms": p(time, 0.99),
        "page_p50_ms": p(read, 0.5), "page_p99_ms": p(read, 0.99)})
}

/// Records one fragment of so many bytes; gives what its durability is waited for with.
async fn send(
    writer: &mut store::VerbatimWriter,
    header: &Arc<Header>,
    at: UnixMillis,
    data: &Bytes,
) -> Option<store::Durable> {
    let frame = Frame { track: 1, time: at.to_micros(), key: true, data: data.clone() };
    let mut cluster = mkv::ClusterWriter::new(at);
    cluster.push(&frame).unwrap();
    writer.begin(Start { header: header.clone(), producer_start: at, cause: None }).await.unwrap();
    writer.frame(frame).await.unwrap();
    let verbatim = Verbatim { cluster: cluster.finish(), duration_ms: Some(1000), ..Verbatim::default() };
    match writer.end(verbatim).await.unwrap() {
        Offer::Sealed(_, durable) => Some(durable),
        _ => None,
    }
}

async fn record(data: &str) -> serde_json::Value {
    let store = open(data).await;
    let name = "live".parse().unwrap();
    let stream = match store.stream(&name) {
        Ok(stream) => stream,
        Err(_) => store.create_stream(&name, None).await.unwrap(),
    };
    println!("open");
    let (mut writer, header, payload) = (stream.verbatim_writer(), header(), Bytes::from(vec![7; 200_000]));
    loop {
        send(&mut writer, &header, store.now(), &payload).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn hour(data: &str, cameras: u64, fragments: u64, bytes: usize) -> serde_json::Value {
    let store = open(data).await;
    let payload = Bytes::from((0..bytes).map(|i| (i * 31) as u8).collect::<Vec<_>>());
    let (mut writers, mut waiting, header) = (Vec::new(), std::collections::VecDeque::new(), header());
    for s in 0..cameras {
        let stream = store.create_stream(&format!("cam{s}").parse().unwrap(), None).await.unwrap();
        writers.push(stream.verbatim_writer());
    }
    let began = Instant::now();
    for i in 0..fragments {
        for writer in &mut writers {
            waiting.extend(send(writer, &header, UnixMillis(T0 + i as i64 * 1000), &payload).await);
            // The byte budget bounds what is under way; this only what is remembered of it.
            if waiting.len() > 10_000 {
                waiting.pop_front().unwrap().wait().await.unwrap();
            }
        }
    }
    for durable in waiting {
        durable.wait().await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    store.stop().await.unwrap();
    serde_json::json!({"seconds": seconds, "bytes": cameras * fragments * bytes as u64})
}

async fn read(data: &str, stream: &str, times: u64) -> serde_json::Value {
    let store = open(data).await;
    let all = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
    let (began, before, mut bytes, mut count) = (Instant::now(), cpu(), 0u64, 0u64);
    for _ in 0..times {
        let mut fragments = Fragments::new(store.stream(&stream.parse().unwrap()).unwrap(), all);
        while let Some((_, read)) = fragments.next().await.unwrap() {
            bytes += read.unwrap().cluster.len() as u64;
            count += 1;
        }
    }
    let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), cpu() - before);
    store.stop().await.unwrap();
    serde_json::json!({"fragments": count, "bytes": bytes, "mb_per_s": bytes as f64 / seconds / 1e6, "cpu_s": cpu_s})
}

/// Counts commits, each of which syncs its segment once.
#[derive(Default)]
struct Commits(Arc<AtomicU64>);

struct Nothing;

impl CounterFn for Nothing {
    fn increment(&self, _: u64) {}
    fn absolute(&self, _: u64) {}
}

impl Recorder for Commits {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "vidicon_commits_total" => Counter::from_arc(self.0.clone()),
            _ => Counter::from_arc(Arc::new(Nothing)),
        }
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Seconds of CPU that this process took so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap().split_whitespace();
    after_name.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Bytes that this process caused to be written to a disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().trim().parse().unwrap()
}

async fn ingest(data: &str, streams: u64, seconds: f64, bytes: usize, rate: u64) -> serde_json::Value {
    let commits = Arc::new(AtomicU64::new(0));
    metrics::set_global_recorder(Commits(commits.clone())).map_err(|_| "set twice").unwrap();
    let store = open(data).await;
    let payload = Bytes::from((0..bytes).map(|i| (i * 31) as u8).collect::<Vec<_>>());
    let mut tasks = Vec::new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let each = (rate > 0).then(|| Duration::from_secs_f64(bytes as f64 * streams as f64 / rate as f64));
    let (mut made, first) = (Vec::new(), store.now().0);
    for s in 0..streams {
        let name = format!("cam{s}").parse().unwrap();
        made.push(match store.stream(&name) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name, None).await.unwrap(),
        });
    }
    let (began, before, cpu_before) = (Instant::now(), written(), cpu());
    for (s, stream) in made.into_iter().enumerate() {
        let (payload, stop, header) = (payload.clone(), stop.clone(), header());
        tasks.push(tokio::spawn(async move {
            let (mut writer, mut waiting, mut sent) =
                (stream.verbatim_writer(), std::collections::VecDeque::new(), 0u64);
            let mut next = tokio::time::Instant::now()
                + each.map_or(Duration::ZERO, |each| each.mul_f64(s as f64 / streams as f64));
            while !stop.load(Ordering::Relaxed) {
                if let Some(each) = each {
                    tokio::time::sleep_until(next).await;
                    next += each;
                }
                waiting.extend(send(&mut writer, &header, UnixMillis(first + sent as i64 * 1000), &payload).await);
                sent += 1;
                if waiting.len() > 64 {
                    waiting.pop_front().unwrap().wait().await.unwrap();
                }
            }
            for durable in waiting {
                durable.wait().await.unwrap();
            }
            sent
        }));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut fragments = 0;
    for task in tasks {
        fragments += task.await.unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let (wrote, media, cpu_s) = (written() - before, fragments * bytes as u64, cpu() - cpu_before);
    store.stop().await.unwrap();
    let catalog: u64 = ["catalog.sqlite", "catalog.sqlite-wal"]
        .iter()
        .filter_map(|f| std::fs::metadata(Path::new(data).join(f)).ok())
        .map(|m| m.len())
        .sum();
    serde_json::json!({"mb_per_s": media as f64 / took / 1e6, "commits_per_s": commits.load(Ordering::Relaxed) as f64 / took, "commits": commits.load(Ordering::Relaxed),
        "media_bytes": media, "written_bytes": wrote, "amplification": wrote as f64 / media as f64, "catalog_bytes": catalog,
        "cpu_s": cpu_s})
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let n = |text: &str| text.parse::<u64>().unwrap();
    let said = match arguments[..] {
        ["rows", data, streams, seconds, segment] => rows(data, n(streams), n(seconds), n(segment)).await,
        ["seek", data, lookups] => seek(data, n(lookups)).await,
        ["bare", data, lookups, cache, mmap] => bare(data, n(lookups), n(cache) as i64, n(mmap) as i64),
        ["record", data] => record(data).await,
        ["open", data] => {
            let began = Instant::now();
            let store = open(data).await;
            let seconds = began.elapsed().as_secs_f64();
            store.stop().await.unwrap();
            serde_json::json!({"seconds": seconds})
        }
        ["hour", data, cameras, fragments, bytes] => hour(data, n(cameras), n(fragments), n(bytes) as usize).await,
        ["read", data, stream] => read(data, stream, 1).await,
        ["read", data, stream, times] => read(data, stream, n(times)).await,
        ["ingest", data, streams, seconds, bytes, rate] => {
            ingest(data, n(streams), seconds.parse().unwrap(), bytes.parse().unwrap(), n(rate)).await
        }
        _ => panic!("see the head of the file"),
    };
    println!("{said}");
}
