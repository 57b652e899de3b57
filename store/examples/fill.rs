//! Fills a data folder with a stream of fragments, one a second, that ends now: what benches read.
//!
//! `cargo run --release -p vidicon-store --example fill -- FOLDER STREAM FRAGMENTS BYTES` prints one JSON object.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use media::{Chunks, Frame, Start, Track, TrackKind, UnixMillis, mkv};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime};
use store::{Config, Offer, Store, Verbatim};

/// Fragments that may wait for their commit.
const AHEAD: usize = 4000;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, name, fragments, bytes] = &arguments[..] else { panic!("FOLDER STREAM FRAGMENTS BYTES") };
    let (fragments, bytes): (i64, usize) = (fragments.parse().unwrap(), bytes.parse().unwrap());
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    // The server's clock goes along, so that both clocks list alike.
    let clock = Arc::new(AtomicI64::new(end - fragments * 1000));
    let now = clock.clone();
    // For ever: a million seconds are longer than the default retention.
    let config =
        Config { data: folder.into(), commit_interval_ms: 10, default_retention_hours: 0, ..Config::default() };
    let store = Store::open(config, Arc::new(move || UnixMillis(now.load(Ordering::Relaxed)))).await.unwrap();
    let stream = store.create_stream(&name.parse().unwrap(), None).await.unwrap();
    let video = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.into(),
        codec_private: Bytes::new(),
        size: Some((1280, 720)),
        audio: None,
    };
    let header = mkv::write_header(&[video]).shared();
    let payload = Bytes::from((0..bytes).map(|i| (i * 31) as u8).collect::<Vec<_>>());
    let (mut writer, mut waiting, began) = (stream.verbatim_writer(), VecDeque::new(), Instant::now());
    for _ in 0..fragments {
        let producer_start = UnixMillis(clock.fetch_add(1000, Ordering::Relaxed));
        let frame = Frame { track: 1, time: producer_start.to_micros(), key: true, data: payload.clone() };
        let mut cluster = mkv::ClusterWriter::new(producer_start);
        cluster.push(&frame).unwrap();
        writer.begin(Start { header: header.clone(), producer_start, cause: None }).await.unwrap();
        writer.frame(frame).await.unwrap();
        let cluster: Chunks = cluster.finish();
        let verbatim = Verbatim { cluster, duration_ms: Some(1000), ..Verbatim::default() };
        let Offer::Sealed(_, durable) = writer.end(verbatim).await.unwrap() else { panic!("sealed") };
        waiting.push_back(durable);
        if waiting.len() > AHEAD {
            waiting.pop_front().unwrap().wait().await.unwrap();
        }
    }
    for durable in waiting {
        durable.wait().await.unwrap();
    }
    store.stop().await.unwrap();
    println!("{{\"fragments\":{fragments},\"bytes\":{bytes},\"seconds\":{:.1}}}", began.elapsed().as_secs_f64());
}
