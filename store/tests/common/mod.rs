//! Synthetic media for the tests of the store.
#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

pub mod damage;
pub mod garage;
pub mod sent;

use bytes::Bytes;
use media::{
    Cause, Event, FragmentMeta, FragmentNumber, Frame, Header, Start, StreamName, Track, TrackKind, UnixMicros,
    UnixMillis,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Clock, Config, Durable, Encryption, Error, MasterKey, Offer, Store, Writer};

/// 2026-11-23T06:00:00Z.
pub const T0: i64 = 1_795_413_600_000;

/// A clock that a test sets.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn new() -> TestClock {
        TestClock(Arc::new(AtomicI64::new(T0)))
    }
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
    pub fn clock(&self) -> Clock {
        let now = self.0.clone();
        Arc::new(move || UnixMillis(now.load(Ordering::SeqCst)))
    }
}

pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        UnixMillis(since.as_millis() as i64)
    })
}

/// Settings with a fast commit.
pub fn config(data: &Path) -> Config {
    Config { data: data.to_owned(), commit_interval_ms: 5, ..Config::default() }
}

/// The same, with recordings encrypted under this master key.
pub fn encrypted(data: &Path, master: u8) -> Config {
    let key = MasterKey::parse(&format!("{master:02x}").repeat(32));
    Config { encryption: Encryption { key, previous: None, new_recordings: true }, ..config(data) }
}

pub async fn open(data: &Path) -> Store {
    Store::open(config(data), system_clock()).await.unwrap()
}

pub fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

/// A header with one H.264 track of this width.
pub fn header(width: u32) -> Arc<Header> {
    media::mkv::write_header(&[Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.to_owned(),
        codec_private: Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1f, 0]),
        size: Some((width, 720)),
        audio: None,
    }])
    .shared()
}

/// Pseudo-random numbers whose seed is printed, so that a failure can be repeated.
pub fn random() -> impl FnMut() -> u64 {
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

/// The payload of a frame: bytes that tell frames apart.
pub fn payload(seed: u64, len: usize) -> Bytes {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.push(x as u8);
    }
    bytes.into()
}

/// The events of one fragment: `frames` frames of `frame_bytes`, 100 ms apart, from `start` on.
pub fn fragment(header: &Arc<Header>, start: i64, frames: u64, frame_bytes: usize, cause: Option<Cause>) -> Vec<Event> {
    let mut events = vec![Event::Begin(Start { header: header.clone(), producer_start: UnixMillis(start), cause })];
    events.extend((0..frames).map(|i| {
        let time = UnixMicros((start + i as i64 * 100) * 1000);
        Event::Frame(Frame { track: 1, time, key: i == 0, data: payload(start as u64 ^ i << 48, frame_bytes) })
    }));
    events.push(Event::End);
    events
}

/// Writes events; gives what the last one was answered with.
pub async fn write_all(writer: &mut Writer, events: Vec<Event>) -> Result<Offer, Error> {
    let mut last = Offer::Taken;
    for event in events {
        last = writer.write(event).await?;
    }
    Ok(last)
}

/// Writes a fragment up to its end; gives its number and promise.
pub async fn seal(writer: &mut Writer, events: Vec<Event>) -> (FragmentNumber, Durable) {
    match write_all(writer, events).await.unwrap() {
        Offer::Sealed(number, durable) => (number, durable),
        _ => panic!("the fragment was not sealed"),
    }
}

/// Writes a fragment and waits until it is durable.
pub async fn record(writer: &mut Writer, events: Vec<Event>) -> FragmentMeta {
    seal(writer, events).await.1.wait().await.unwrap()
}
