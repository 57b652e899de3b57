//! How long a sealed fragment takes to become durable, beside a bare append and sync of the same bytes.
//!
//! `cargo run --release -p vidicon-store --example commit_latency -- [SECONDS]` prints one JSON object. Fifty streams of
//! 1-second fragments of 250 KB (2 Mbit/s), spread over the second; the bare figure is one append and `fdatasync` each
//! commit interval, with the bytes that fifty streams bring in that time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use media::{Event, Frame, Start, Track, TrackKind, UnixMicros, UnixMillis, mkv};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use store::{Config, Offer, Store};

const STREAMS: usize = 50;
const FRAGMENT_BYTES: usize = 250_000;

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64)
}

#[tokio::main]
async fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(10.0, |s| s.parse().unwrap());
    let folder = tempfile::tempdir_in(std::env::var("VIDICON_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let config = Config { data: folder.path().join("data"), ..Config::default() };
    let interval_ms = config.commit_interval_ms;

    let mut bare = append_and_sync(folder.path(), interval_ms, seconds / 2.0);
    let store = Store::open(config, Arc::new(now)).await.unwrap();
    let mut ours = Vec::new();
    let sources: Vec<_> = (0..STREAMS).map(|i| tokio::spawn(source(store.clone(), i, seconds))).collect();
    for source in sources {
        ours.extend(source.await.unwrap());
    }
    store.stop().await.unwrap();
    bare.extend(append_and_sync(folder.path(), interval_ms, seconds / 2.0));
    println!(
        "{{\"streams\":{STREAMS},\"fragments\":{},\"commit_interval_ms\":{interval_ms},\"sealed_to_durable_p50_ms\":{:.2},\
         \"sealed_to_durable_p99_ms\":{:.2},\"append_and_sync_p50_ms\":{:.2},\"append_and_sync_p99_ms\":{:.2}}}",
        ours.len(),
        quantile(&mut ours, 0.5),
        quantile(&mut ours, 0.99),
        quantile(&mut bare, 0.5),
        quantile(&mut bare, 0.99),
    );
}

/// One stream: a fragment a second, and how long each took from its end to being durable, in ms.
async fn source(store: Store, index: usize, seconds: f64) -> Vec<f64> {
    let stream = store.create_stream(&format!("s{index}").parse().unwrap(), None).await.unwrap();
    let video = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.into(),
        codec_private: Bytes::new(),
        size: Some((1280, 720)),
        audio: None,
    };
    let header = mkv::write_header(&[video]).shared();
    let payload = Bytes::from(vec![7u8; FRAGMENT_BYTES]);
    let mut writer = stream.writer();
    let mut waits = Vec::new();
    tokio::time::sleep(Duration::from_millis(1000 * index as u64 / STREAMS as u64)).await;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        tick.tick().await;
        let start = now();
        writer.offer(Event::Begin(Start { header: header.clone(), producer_start: start, cause: None })).unwrap();
        let time = UnixMicros(start.0 * 1000);
        writer.offer(Event::Frame(Frame { track: 1, time, key: true, data: payload.clone() })).unwrap();
        let sealed = Instant::now();
        let Offer::Sealed(_, durable) = writer.offer(Event::End).unwrap() else { panic!("sealed") };
        waits.push(tokio::spawn(async move {
            durable.wait().await.unwrap();
            sealed.elapsed().as_secs_f64() * 1e3
        }));
    }
    let mut took = Vec::new();
    for wait in waits {
        took.push(wait.await.unwrap());
    }
    took
}

/// The floor: what the disk does with the same bytes at the same pace, in ms.
fn append_and_sync(folder: &std::path::Path, interval_ms: u64, seconds: f64) -> Vec<f64> {
    let bytes = vec![7u8; STREAMS * FRAGMENT_BYTES * interval_ms as usize / 1000];
    let mut file = std::fs::File::create(folder.join("bare")).unwrap();
    let rounds = (seconds * 1e3 / interval_ms as f64) as usize;
    let mut took = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        let elapsed = started.elapsed();
        took.push(elapsed.as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(interval_ms).saturating_sub(elapsed));
    }
    took
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}
