//! What reading a past hour of one camera among a hundred costs in a bucket:
//! `cargo test -p vidicon-store --release --test read_ahead_figures -- --ignored --nocapture`. The bucket is `tests/s3.py`; `VIDICON_FRAGMENTS`
//! says how many fragments each camera has, where an hour takes too long.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::*;
use media::UnixMillis;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::export::Fragments;
use store::faulty::{Faults, Faulty, Op};
use store::object_store::path::Path as At;
use store::object_store::{ObjectStore, ObjectStoreExt};
use store::{Config, Position, Range, StorageConfig, Store};

const CAMERAS: usize = 100;
/// Of four seconds each.
const HOUR: i64 = 900;
const BYTES: usize = 10_000;

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Served, StorageConfig) {
    std::fs::create_dir_all(folder.join("buckets/media")).unwrap();
    std::fs::write(folder.join("keys"), "A secret\n").unwrap();
    std::fs::write(folder.join("credentials"), "[default]\naws_access_key_id = A\naws_secret_access_key = secret\n")
        .unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/s3.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(port.to_string()).arg(folder.join("buckets")).arg(folder.join("keys"));
    let served = Served(command.spawn().unwrap());
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let config = StorageConfig {
        url: Some("s3://media/site".into()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        allow_http: true,
        credentials_file: Some(folder.join("credentials")),
        commit_interval_ms: 2000,
        ..Default::default()
    };
    (served, config)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures; takes minutes"]
async fn an_hour_of_one_camera_among_a_hundred() {
    let fragments = std::env::var("VIDICON_FRAGMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(HOUR);
    let dir = tempfile::tempdir().unwrap();
    let (_served, storage) = serve(dir.path());
    let faults = Faults::default();
    let bucket = Arc::new(Faulty::around(&storage, faults.clone()).unwrap());
    let config = Config { tail_bytes: 0, storage, ..config(&dir.path().join("data")) };
    let store = Store::open_on(config, system_clock(), bucket.clone()).await.unwrap();
    let mut writers = Vec::new();
    for camera in 0..CAMERAS {
        writers.push(store.create_stream(&name(&format!("cam{camera}")), None).await.unwrap().writer());
    }
    let mut last = Vec::new();
    for i in 0..fragments {
        for writer in &mut writers {
            last.push(seal(writer, fragment(&header(1280), T0 + i * 4000, 4, BYTES / 4, None)).await.1);
        }
        // A few groups at a time.
        if i % 16 == 15 || i + 1 == fragments {
            for durable in last.drain(..) {
                durable.wait().await.unwrap();
            }
        }
    }
    let stream = store.stream(&name("cam42")).unwrap();
    let objects = bucket.list_with_delimiter(Some(&At::from("segments"))).await.unwrap().objects;
    let size = objects.iter().map(|object| object.size).max().unwrap();
    println!("{} objects of up to {:.1} MB", objects.len(), size as f64 / 1e6);

    let range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
    for (what, delay) in [("loopback", Duration::ZERO), ("up to 40 ms later", Duration::from_millis(40))] {
        faults.random(7, 0, delay);
        let (before, began) = (faults.count(Op::Get), Instant::now());
        let (mut fragments, mut bytes, mut read) = (Fragments::new(stream.clone(), range), 0, 0);
        while let Some((meta, fragment)) = fragments.next().await.unwrap() {
            bytes += fragment.unwrap().cluster.to_bytes().len();
            (read, _) = (read + 1, meta);
        }
        let (gets, took) = (faults.count(Op::Get) - before, began.elapsed().as_secs_f64());
        println!("{what}: an export of {read} fragments: {gets} requests, {:.1} MB/s", bytes as f64 / 1e6 / took);
        let (before, began, mut bytes) = (faults.count(Op::Get), Instant::now(), 0);
        let reader = store.stream(&name("cam42")).unwrap();
        let mut at = Position::Start;
        loop {
            let page = reader.fragments(range, at, 500).await.unwrap();
            let Some(end) = page.last() else { break };
            at = Position::After(end.number);
            for meta in page {
                bytes += reader.fragment(meta.number).await.unwrap().cluster.to_bytes().len();
            }
        }
        let (gets, took) = (faults.count(Op::Get) - before, began.elapsed().as_secs_f64());
        println!("{what}: one fragment after the other: {gets} requests, {:.1} MB/s", bytes as f64 / 1e6 / took);
        let (began, mut bytes) = (Instant::now(), 0);
        for object in objects.iter().take(12) {
            bytes += bucket.get_range(&object.location, 0..object.size).await.unwrap().len();
        }
        println!(
            "{what}: whole objects, one after the other: {:.1} MB/s",
            bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
        );
        let (began, mut bytes) = (Instant::now(), 0);
        for object in objects.iter().take(40) {
            let range = 1000..1000 + (BYTES as u64);
            bytes += bucket.get_range(&object.location, range).await.unwrap().len();
        }
        println!(
            "{what}: a request a fragment, one after the other: {:.1} MB/s",
            bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
        );
    }
    store.stop().await.unwrap();
}
