//! Sessions over a real store in a temporary folder.
#![allow(clippy::unwrap_used)]

use super::{Ack, Acks, Config, Request, Session, Timecode, ack::Of};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use media::{FragmentNumber, StreamName, Track, TrackKind, UnixMillis};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Position, Range, Store};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const T0: u64 = 1_795_404_896_353;
/// One cluster each second.
const EVERY_MS: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(10);

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

async fn open(folder: &Path) -> Store {
    let config = store::Config { data: folder.to_owned(), commit_interval_ms: 20, ..store::Config::default() };
    Store::open(config, Arc::new(now)).await.unwrap()
}

async fn stream_of(store: &Store, retention_hours: Option<u32>) -> store::Stream {
    store.create_stream(&"gate".parse::<StreamName>().unwrap(), retention_hours).await.unwrap()
}

/// What a camera with the C SDK sends: elements of unknown size, 8-byte sizes.
fn header() -> Vec<u8> {
    let track = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.to_owned(),
        codec_private: Bytes::from_static(&[1, 0x42, 0xc0, 0x0b, 0xff, 0xe0, 0]),
        size: Some((320, 180)),
        audio: None,
    };
    media::mkv::write_header(&[track]).bytes.to_vec()
}

fn element(id: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, payload].concat()
}

fn cluster_start(timecode: u64) -> Vec<u8> {
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat()
}

fn block(at_ms: i16, key: bool, data: &[u8]) -> Vec<u8> {
    let at = at_ms.to_be_bytes();
    element(&[0xa3], &[&[0x81, at[0], at[1], if key { 0x80 } else { 0 }][..], data].concat())
}

/// A second of ten frames of this many bytes each.
fn cluster(timecode: u64, frame_bytes: usize) -> Vec<u8> {
    let frames = (0..10).flat_map(|n| {
        let mut data = vec![n as u8; frame_bytes];
        data[..8].copy_from_slice(&timecode.to_le_bytes());
        block(n * 100, n == 0, &data)
    });
    cluster_start(timecode).into_iter().chain(frames).collect()
}

/// The tag by which the C SDK ends a fragment.
fn end_of_fragment() -> Vec<u8> {
    let name = element(&[0x45, 0xa3], b"AWS_KINESISVIDEO_END_OF_FRAGMENT");
    let tag = element(&[0x67, 0xc8], &[name, element(&[0x44, 0x87], b"")].concat());
    element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &tag))
}

type Piece = Result<Bytes, &'static str>;

/// A producer's side of a running session.
struct Producer {
    body: Option<mpsc::Sender<Piece>>,
    acks: Acks,
    session: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Producer {
    fn start(stream: &store::Stream, config: &Config, acks: bool) -> Producer {
        let stop = CancellationToken::new();
        let request = Request { timecode: Timecode::Absolute, acks };
        let (session, acks) = Session::new(stream.clone(), config, request, stop.clone());
        let (body, pieces) = mpsc::channel::<Piece>(1);
        let pieces = stream::unfold(pieces, |mut p| async move { p.recv().await.map(|piece| (piece, p)) });
        let session = tokio::spawn(session.run(pieces.boxed()));
        Producer { body: Some(body), acks, session, stop }
    }
    async fn send(&self, bytes: Vec<u8>) {
        // A session that is over does not read.
        let _ = self.body.as_ref().unwrap().send(Ok(bytes.into())).await;
    }
    async fn ack(&mut self) -> Option<Ack> {
        timeout(PATIENCE, self.acks.next()).await.expect("an acknowledgement, or the end")
    }
    /// The next acknowledgement but IDLE.
    async fn word(&mut self) -> (&'static str, Option<u64>) {
        loop {
            match self.ack().await {
                Some(Ack::Idle) => {}
                Some(Ack::Buffering(of)) => return ("BUFFERING", Some(of.timecode)),
                Some(Ack::Received(of)) => return ("RECEIVED", Some(of.timecode)),
                Some(Ack::Persisted(of)) => return ("PERSISTED", Some(of.timecode)),
                Some(Ack::Error { code, timecode, .. }) => return (code, timecode),
                None => return ("end", None),
            }
        }
    }
    /// All that is left.
    async fn rest(&mut self) -> Vec<Ack> {
        let mut all = Vec::new();
        while let Some(ack) = self.ack().await {
            all.push(ack);
        }
        all
    }
    /// Ends the body as a producer does, and takes the rest.
    async fn finish(mut self) -> Vec<Ack> {
        self.body = None;
        let rest = self.rest().await;
        timeout(PATIENCE, self.session).await.unwrap().unwrap();
        rest
    }
}

/// Fragments of the stream by number, with the bytes of their clusters.
async fn stored(stream: &store::Stream) -> Vec<(FragmentNumber, UnixMillis, Bytes)> {
    let range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
    let mut all = Vec::new();
    for meta in stream.fragments(range, Position::Start, 1000).await.unwrap() {
        let fragment = stream.fragment(meta.number).await.unwrap();
        all.push((meta.number, meta.producer_start, fragment.cluster.to_bytes()));
    }
    all
}

fn of_kind(acks: &[Ack], kind: &str) -> Vec<Of> {
    let of = |ack: &Ack| match ack {
        Ack::Buffering(of) | Ack::Received(of) | Ack::Persisted(of) => Some(*of),
        _ => None,
    };
    acks.iter().filter(|ack| ack.event_type() == kind).filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_are_acknowledged_in_order_and_stored_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let mut producer = Producer::start(&stream, &Config::default(), true);
    producer.send(header()).await;
    // As soon as the time code is there, before any frame.
    producer.send(cluster_start(T0)).await;
    assert_eq!(producer.word().await, ("BUFFERING", Some(T0)));
    let whole = cluster(T0, 100);
    producer.send(whole[cluster_start(T0).len()..].to_vec()).await;
    // The next cluster ends it.
    producer.send(cluster_start(T0 + EVERY_MS)).await;
    assert_eq!(producer.word().await, ("RECEIVED", Some(T0)));
    let mut next = [producer.word().await, producer.word().await];
    next.sort_unstable();
    assert_eq!(next, [("BUFFERING", Some(T0 + EVERY_MS)), ("PERSISTED", Some(T0))]);
    let second = cluster(T0 + EVERY_MS, 100);
    producer.send(second[cluster_start(T0).len()..].to_vec()).await;
    // So does the tag, without waiting for more.
    producer.send(end_of_fragment()).await;
    assert_eq!(producer.word().await, ("RECEIVED", Some(T0 + EVERY_MS)));
    assert_eq!(producer.word().await, ("PERSISTED", Some(T0 + EVERY_MS)));
    // And the end of the body.
    let third = cluster(T0 + 2 * EVERY_MS, 100);
    producer.send(third.clone()).await;
    let rest = producer.finish().await;
    let said: Vec<_> = rest.iter().map(Ack::event_type).collect();
    assert_eq!(said, ["BUFFERING", "RECEIVED", "PERSISTED"]);
    let stored = stored(&stream).await;
    assert_eq!(stored.iter().map(|s| &s.2[..]).collect::<Vec<_>>(), [whole, second, third]);
    assert_eq!(stored[0].1, UnixMillis(T0 as i64));
    assert_eq!(stored[2].0, of_kind(&rest, "PERSISTED")[0].number);
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let clusters: Vec<_> = (0..5).map(|n| cluster(T0 + n * EVERY_MS, 500)).collect();
    let first: Vec<u8> = [header(), clusters[..3].concat()].concat();
    // Cut at each kind of place: in the header, in a head, in a frame, between two clusters.
    let length = clusters[0].len();
    let mut acknowledged = BTreeMap::new();
    for cut in
        [20, header().len() + 3, header().len() + length / 2, header().len() + length, first.len() - 1, first.len()]
    {
        let mut producer = Producer::start(&stream, &Config::default(), true);
        for piece in first[..cut].chunks(777) {
            producer.send(piece.to_vec()).await;
        }
        let _ = producer.body.as_ref().unwrap().send(Err("reset by peer")).await;
        let rest = producer.rest().await;
        assert_eq!(rest.last().unwrap().event_type(), "ERROR", "told, as far as anybody listens");
        for of in of_kind(&rest, "PERSISTED") {
            acknowledged.insert(of.timecode, of.number);
        }
        let stored = stored(&stream).await;
        let whole = (cut - header().len().min(cut)) / length;
        // The last has no end of its own.
        let complete =
            if cut > header().len() { whole - usize::from(whole * length + header().len() == cut) } else { 0 };
        assert!(stored.len() >= complete, "cut at {cut}: {} of {complete}", stored.len());
        assert!(stored.iter().all(|(_, _, bytes)| clusters.iter().any(|c| c == bytes)), "none is incomplete");
    }
    assert_eq!(acknowledged.keys().copied().collect::<Vec<_>>(), [T0, T0 + EVERY_MS]);
    // The producer sends again what it has not seen persisted, and before it what it has.
    let producer = Producer::start(&stream, &Config::default(), true);
    producer.send([header(), clusters.concat()].concat()).await;
    let rest = producer.finish().await;
    let persisted = of_kind(&rest, "PERSISTED");
    assert_eq!(persisted.len(), 5);
    for of in &persisted[..2] {
        assert_eq!(acknowledged[&of.timecode], of.number, "what was there keeps its number");
    }
    let stored = stored(&stream).await;
    assert_eq!(stored.iter().map(|s| &s.2[..]).collect::<Vec<_>>(), clusters, "each once");
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_ends_the_session_after_what_may_be_counted_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let mut producer = Producer::start(&stream, &Config::default(), true);
    let good = [header(), cluster(T0, 50), end_of_fragment(), cluster_start(T0 + EVERY_MS)].concat();
    producer.send(good.clone()).await;
    producer.send(vec![0; 64]).await;
    // It goes on sending until it has read what is wrong, and the answer ends only then.
    let mut said = Vec::new();
    let error = loop {
        match producer.ack().await.unwrap() {
            error @ Ack::Error { .. } => break error,
            ack => said.push(ack.event_type()),
        }
    };
    assert_eq!(said, ["BUFFERING", "RECEIVED", "BUFFERING", "PERSISTED"]);
    let Ack::Error { id, timecode, number, reason, .. } = error else { unreachable!() };
    assert_eq!((id, timecode), (4006, Some(T0 + EVERY_MS)));
    assert!(number.is_some());
    let place = format!("stream gate, byte {}", good.len());
    assert!(reason.starts_with(&place), "{reason} does not begin with {place}");
    for _ in 0..100 {
        producer.send(cluster(T0 + 2 * EVERY_MS, 50)).await;
    }
    assert!(timeout(Duration::from_millis(100), producer.acks.next()).await.is_err(), "still reading");
    assert_eq!(producer.finish().await, []);
    assert_eq!(stored(&stream).await.len(), 1);
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_answered_and_then_ends_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let config = Config { silence_timeout_s: 3, idle_ack_s: 1, ..Config::default() };
    let mut producer = Producer::start(&stream, &config, true);
    let began = Instant::now();
    producer.send([header(), cluster(T0, 50)].concat()).await;
    let said: Vec<_> = producer.rest().await.iter().map(Ack::event_type).collect();
    assert_eq!(said, ["BUFFERING", "IDLE", "IDLE"], "the open fragment may be half of what was to come");
    assert!((3.0..4.5).contains(&began.elapsed().as_secs_f64()));
    assert!(stored(&stream).await.is_empty());
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_is_told_to_whoever_sends_and_whoever_waits() {
    for sends in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let stream = stream_of(&store, None).await;
        let mut producer = Producer::start(&stream, &Config { idle_ack_s: 1, ..Config::default() }, true);
        producer.send([header(), cluster(T0, 50)].concat()).await;
        assert_eq!(producer.word().await, ("BUFFERING", Some(T0)));
        store.delete_stream(&"gate".parse().unwrap()).await.unwrap();
        if sends {
            producer.send(cluster(T0 + EVERY_MS, 50)).await;
        }
        assert_eq!(producer.word().await, ("STREAM_NOT_ACTIVE", Some(T0)));
        assert_eq!(producer.finish().await, []);
        store.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retention_nothing_is_said_to_be_kept_and_without_acks_nothing_is_said() {
    for (retention, acks, expected) in [(Some(0), true, &["BUFFERING", "RECEIVED"][..]), (None, false, &[])] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let stream = stream_of(&store, retention).await;
        let mut producer = Producer::start(&stream, &Config::default(), acks);
        producer.send([header(), cluster(T0, 50)].concat()).await;
        if !acks {
            let early = timeout(Duration::from_millis(200), producer.acks.next()).await;
            assert!(early.is_err(), "the answer lasts as long as the body");
        }
        let said: Vec<_> = producer.finish().await.iter().map(Ack::event_type).collect();
        assert_eq!(said, expected);
        assert_eq!(stored(&stream).await.len(), 1);
        store.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_up_what_is_open_and_says_what_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let mut producer = Producer::start(&stream, &Config::default(), true);
    producer.send([header(), cluster(T0, 50), cluster(T0 + EVERY_MS, 50)].concat()).await;
    assert_eq!(producer.word().await, ("BUFFERING", Some(T0)));
    assert_eq!(producer.word().await, ("RECEIVED", Some(T0)));
    let began = Instant::now();
    producer.stop.cancel();
    let said: Vec<_> = producer.rest().await.iter().map(Ack::event_type).collect();
    assert!(said == ["BUFFERING", "PERSISTED"] || said == ["PERSISTED"], "{said:?}");
    assert!(began.elapsed() < Duration::from_millis(800));
    assert_eq!(stored(&stream).await.len(), 1);
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lasts_too_long_ends_between_two_fragments() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let mut producer = Producer::start(&stream, &Config { max_session_s: 1, ..Config::default() }, true);
    producer.send([header(), cluster(T0, 50)].concat()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    producer.send(cluster(T0 + EVERY_MS, 50)).await;
    let mut words = Vec::new();
    for _ in 0..4 {
        words.push(producer.word().await);
    }
    let (first, next) = (Some(T0), Some(T0 + EVERY_MS));
    let limit = ("MAX_CONNECTION_DURATION_REACHED", next);
    assert_eq!(words, [("BUFFERING", first), ("RECEIVED", first), ("PERSISTED", first), limit]);
    producer.finish().await;
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_stream_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    // As producers change their credentials: the second is open and silent until the first has ended.
    let first = Producer::start(&stream, &Config::default(), true);
    first.send([header(), cluster(T0, 50)].concat()).await;
    let second = Producer::start(&stream, &Config::default(), true);
    second.send(header()).await;
    first.send(cluster(T0 + EVERY_MS, 50)).await;
    let first = first.finish().await;
    second.send(cluster(T0 + 2 * EVERY_MS, 50)).await;
    let second = second.finish().await;
    assert_eq!((of_kind(&first, "PERSISTED").len(), of_kind(&second, "PERSISTED").len()), (2, 1));
    // And as others do, at the same time.
    let both = [Producer::start(&stream, &Config::default(), true), Producer::start(&stream, &Config::default(), true)];
    for n in 3..8 {
        for (odd, producer) in both.iter().enumerate() {
            let start = if n == 3 { header() } else { Vec::new() };
            producer.send([start, cluster(T0 + (2 * n + odd as u64) * EVERY_MS, 50)].concat()).await;
        }
    }
    let mut numbers = Vec::new();
    let [one, other] = both;
    let (one, other) = tokio::join!(one.finish(), other.finish());
    for rest in [one, other] {
        let persisted = of_kind(&rest, "PERSISTED");
        assert_eq!(persisted.len(), 5);
        assert!(persisted.is_sorted_by_key(|of| of.number));
        numbers.extend(persisted.iter().map(|of| of.number));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    assert_eq!(stored(&stream).await.len(), 13);
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_the_budget_waits_for_commits() {
    let folder = tempfile::tempdir().unwrap();
    let config = store::Config {
        data: folder.path().to_owned(),
        commit_interval_ms: 20,
        stream_budget_bytes: 1 << 20,
        budget_bytes: 2 << 20,
        tail_bytes: 1 << 20,
        ..store::Config::default()
    };
    let store = Store::open(config, Arc::new(now)).await.unwrap();
    let stream = stream_of(&store, None).await;
    let producer = Producer::start(&stream, &Config::default(), true);
    producer.send(header()).await;
    for n in 0..40 {
        producer.send(cluster(T0 + n * EVERY_MS, 25_000)).await;
    }
    let rest = producer.finish().await;
    assert_eq!(of_kind(&rest, "PERSISTED").len(), 40, "{:?}", rest.last());
    // One that can never fit is refused by its size, and the next session goes on.
    let mut producer = Producer::start(&stream, &Config::default(), true);
    producer.send([header(), cluster(T0 + 50 * EVERY_MS, 200_000)].concat()).await;
    let began = Instant::now();
    assert_eq!(producer.word().await.0, "BUFFERING");
    let Some(Ack::Error { id, code, timecode, reason, .. }) = producer.ack().await else { panic!("it is refused") };
    assert_eq!((id, code, timecode), (4001, "MAX_FRAGMENT_SIZE_REACHED", Some(T0 + 50 * EVERY_MS)));
    // Seven eighths of the budget: frames cost something beside their bytes.
    assert!(reason.contains("more than 917504 bytes") && reason.starts_with("stream gate, byte "), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(2), "as soon as it is too large");
    producer.finish().await;
    // With key frames in it, it is split before one.
    let mut large = cluster_start(T0 + 60 * EVERY_MS);
    for n in 0..10 {
        large.extend(block(n * 100, n % 2 == 0, &vec![n as u8; 200_000]));
    }
    let producer = Producer::start(&stream, &Config::default(), true);
    producer.send([header(), large].concat()).await;
    let rest = producer.finish().await;
    assert_eq!(of_kind(&rest, "PERSISTED").len(), 1, "{rest:?}");
    // So is a frame that never ends, before it does.
    let mut producer = Producer::start(&stream, &Config::default(), true);
    let endless = block(0, true, &vec![1; 3 << 20]);
    producer.send([header(), cluster_start(T0 + 51 * EVERY_MS), endless[..3 << 19].to_vec()].concat()).await;
    assert_eq!([producer.word().await.0, producer.word().await.0], ["BUFFERING", "MAX_FRAGMENT_SIZE_REACHED"]);
    producer.finish().await;
    // And one of so many frames that what they cost beside their bytes is too much.
    let mut producer = Producer::start(&stream, &Config::default(), true);
    let tiny: Vec<u8> = (0..5000).flat_map(|n| block(n, n == 0, b"x")).collect();
    producer.send([header(), cluster_start(T0 + 51 * EVERY_MS), tiny].concat()).await;
    assert_eq!([producer.word().await.0, producer.word().await.0], ["BUFFERING", "MAX_FRAGMENT_SIZE_REACHED"]);
    producer.finish().await;
    assert_eq!(stream.stats().queued_bytes, 0);
    let producer = Producer::start(&stream, &Config::default(), true);
    producer.send([header(), cluster(T0 + 52 * EVERY_MS, 1000)].concat()).await;
    assert_eq!(of_kind(&producer.finish().await, "PERSISTED").len(), 1);
    store.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_producer_in_small_pieces() {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let shared: std::path::PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, Into::into);
    let Ok(bytes) = std::fs::read(shared.join("kvs/fixtures/kvssink-h264-session.mkv")) else {
        #[allow(clippy::print_stdout)]
        return println!("skipped: ../shared is not here");
    };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let stream = stream_of(&store, None).await;
    let mut producer = Producer::start(&stream, &Config::default(), true);
    let mut acks = Vec::new();
    for piece in bytes.chunks(1441) {
        producer.send(piece.to_vec()).await;
        while let Some(Some(ack)) = futures_util::FutureExt::now_or_never(producer.acks.next()) {
            acks.push(ack);
        }
    }
    acks.extend(producer.finish().await);
    let persisted = of_kind(&acks, "PERSISTED");
    assert!(!persisted.is_empty());
    for kind in ["BUFFERING", "RECEIVED"] {
        assert_eq!(of_kind(&acks, kind), persisted, "{kind}");
    }
    let stored = stored(&stream).await;
    assert_eq!(
        stored.iter().map(|s| s.0).collect::<Vec<_>>(),
        persisted.iter().map(|of| of.number).collect::<Vec<_>>()
    );
    let mut from = 0;
    for (number, _, cluster) in stored {
        let at = bytes[from..].windows(cluster.len()).position(|w| w == cluster);
        from += at.unwrap_or_else(|| panic!("{number} is not what was sent")) + cluster.len();
    }
    store.stop().await.unwrap();
}
