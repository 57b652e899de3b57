//! What a page of a listing costs, and how that grows with the stream.
//!
//! `cargo run --release -p vidicon-store --example list_pages -- [FRAGMENTS]` fills one stream with ever more fragments, up to a
//! million, and prints one JSON object: for 1 %, 10 % and all of them, by either clock, pages of 100 and of 1000, the median and the
//! 99th percentile in ms over pages at random places; and how large the catalog is in the end. The baseline is the same page read by
//! its primary key, of which a page of a listing by time cannot be cheaper.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use media::{FragmentNumber, Frame, Start, Track, UnixMicros, UnixMillis, mkv};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use store::{Config, ListQuery, Offer, Store, Stream, TimeBy, Verbatim};

const T0: i64 = 1_795_413_600_000;
/// Length of a fragment in ms.
const STEP: i64 = 1000;
/// How many pages a figure comes from.
const PAGES: usize = 1000;

#[tokio::main]
async fn main() {
    let fragments: i64 = std::env::args().nth(1).map_or(1_000_000, |s| s.parse().unwrap());
    let folder = tempfile::tempdir_in(std::env::var("VIDICON_BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let config = Config { data: folder.path().join("data"), default_retention_hours: 0, ..Config::default() };
    let now = Arc::new(AtomicI64::new(T0));
    let clock = now.clone();
    let store = Store::open(config, Arc::new(move || UnixMillis(clock.load(Ordering::Relaxed)))).await.unwrap();
    let stream = store.create_stream(&"long".parse().unwrap(), None).await.unwrap();
    let (mut filled, mut figures) = (0, Vec::new());
    let mut random = random();
    for upto in [fragments / 100, fragments / 10, fragments] {
        fill(&stream, &now, filled, upto).await;
        filled = upto;
        for limit in [100, 1000] {
            let mut number = Vec::new();
            for round in 0..PAGES + 50 {
                let after = FragmentNumber::new(1 + random(upto as u64), 0, 0);
                let began = Instant::now();
                stream.next_after(after, limit).await.unwrap();
                // The first pages find nothing in memory.
                number.extend((round >= 50).then(|| began.elapsed().as_secs_f64() * 1e3));
            }
            figures.push(figure(upto, "number", limit, &mut number));
            for (by, name) in [(TimeBy::Producer, "producer"), (TimeBy::Server, "server")] {
                let mut took = Vec::new();
                for _ in 0..PAGES {
                    let from = T0 + random(upto as u64) as i64 * STEP;
                    let range = Some((UnixMillis(from), UnixMillis(i64::MAX)));
                    let began = Instant::now();
                    let page = stream.list(ListQuery { by, range, after: None, limit }).await.unwrap();
                    took.push(began.elapsed().as_secs_f64() * 1e3);
                    assert!(!page.is_empty());
                }
                figures.push(figure(upto, name, limit, &mut took));
            }
        }
    }
    store.stop().await.unwrap();
    let catalog = std::fs::metadata(folder.path().join("data/catalog.sqlite")).unwrap().len();
    let bytes = catalog as f64 / fragments as f64;
    println!("{{\"catalog_bytes_a_fragment\":{bytes:.1},\"pages\":[\n {}]}}", figures.join(",\n "));
}

/// Stores fragments of a producer, small ones: a listing does not read what is in them.
async fn fill(stream: &Stream, now: &AtomicI64, from: i64, upto: i64) {
    let header = mkv::write_header(&[Track {
        number: 1,
        kind: media::TrackKind::Video,
        codec_id: Track::H264.into(),
        codec_private: Bytes::new(),
        size: Some((1280, 720)),
        audio: None,
    }])
    .shared();
    let mut writer = stream.verbatim_writer();
    let mut last = None;
    for i in from..upto {
        let start = T0 + i * STEP;
        // What arrives takes a little while to.
        now.store(start + 40 + i % 7, Ordering::Relaxed);
        let mut cluster = mkv::ClusterWriter::new(UnixMillis(start));
        let data = Bytes::from_static(b"a picture");
        let frame = Frame { track: 1, time: UnixMicros(start * 1000), key: true, data };
        cluster.push(&frame).unwrap();
        writer.begin(Start { header: header.clone(), producer_start: UnixMillis(start), cause: None }).await.unwrap();
        writer.frame(frame).await.unwrap();
        let verbatim = Verbatim { cluster: cluster.finish(), duration_ms: Some(STEP as u32), ..Verbatim::default() };
        let Offer::Sealed(_, durable) = writer.end(verbatim).await.unwrap() else { panic!("each is new") };
        last = Some(durable);
    }
    last.unwrap().wait().await.unwrap();
}

fn random() -> impl FnMut(u64) -> u64 {
    let mut x = 88_172_645_463_325_252u64;
    move |below| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    }
}

fn figure(fragments: i64, by: &str, limit: usize, took: &mut [f64]) -> String {
    took.sort_by(f64::total_cmp);
    let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
    format!(
        "{{\"fragments\":{fragments},\"by\":\"{by}\",\"page\":{limit},\"p50_ms\":{:.3},\"p99_ms\":{:.3}}}",
        at(0.5),
        at(0.99)
    )
}
