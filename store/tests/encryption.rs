//! Encryption at rest: nothing of media lies in clear, all of it is read back, and a key that is destroyed ends that.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::damage::{ALL, flip_fragment, place};
use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::archive::Archive;
use store::check::{CheckOptions, check, rebuild_in_place};
use store::encryption::{destroy, rotate, status};
use store::export::{Export, Step};
use store::object_store::memory::InMemory;
use store::object_store::{ObjectStore, ObjectStoreExt};
use store::records::{Alert, Detection};
use store::{Config, Encryption, Kind, MasterKey, Position, StorageConfig, Store};

/// What a snapshot begins with here, longer than any picture is by chance.
const JPEG: &[u8] = b"\xff\xd8 a face at the gate";

fn master(byte: u8) -> Option<MasterKey> {
    MasterKey::parse(&format!("{byte:02x}").repeat(32))
}

/// Nothing is kept in memory, so that what is read comes from segments.
fn unbuffered(config: Config) -> Config {
    Config { tail_bytes: 0, ..config }
}

async fn open_with(config: Config) -> Store {
    Store::open(unbuffered(config), system_clock()).await.unwrap()
}

/// Every file of a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("reserve") {
            // Zeros, and many of them.
            continue;
        }
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    let first = what[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        from += at;
        if bytes[from..].starts_with(what) {
            return true;
        }
        from += 1;
    }
    false
}

/// What was recorded: a camera's fragments, a producer's, and an alert.
struct Recorded {
    camera: Vec<FragmentMeta>,
    pushed: Vec<(FragmentMeta, Sent)>,
}

/// Of the sizes: below a piece of the cipher, above one, and above what goes past the page cache.
const FRAME_BYTES: [usize; 3] = [200, 30_000, 150_000];

async fn record_some(store: &Store, from: i64) -> Recorded {
    let stream = |text: &'static str| async move {
        match store.stream(&name(text)) {
            Ok(stream) => stream,
            Err(_) => store.create_stream(&name(text), None).await.unwrap(),
        }
    };
    let (gate, yard) = (stream("gate").await, stream("yard").await);
    let (mut camera, mut pushed) = (Vec::new(), Vec::new());
    for (i, frame_bytes) in FRAME_BYTES.into_iter().enumerate() {
        let start = T0 + from + i as i64 * 1000;
        camera.push(record(&mut gate.writer(), fragment(&header(1280), start, 3, frame_bytes, None)).await);
        let sent = sent(1280 + i as u32, start, 3, frame_bytes);
        pushed.push((store_new(&mut yard.verbatim_writer(), &sent).await, sent));
    }
    let detection = Detection {
        fragment: camera[0].number,
        offset_ms: 0,
        time: camera[0].producer_start,
        class: "person".to_owned(),
        score: 0.5,
        bounds: [0.1, 0.2, 0.3, 0.4],
    };
    let raised_at = detection.time;
    let alert = Alert { id: format!("01{from}"), rule: name("rule"), stream: name("gate"), detection, raised_at };
    store.raise_alert(alert, JPEG.to_vec(), &[]).await.unwrap();
    Recorded { camera, pushed }
}

impl Recorded {
    /// What must not lie anywhere: of each frame, the tags, the headers and the snapshot.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets = vec![JPEG.to_vec(), header(1280).bytes.to_vec(), header(1281).bytes.to_vec()];
        for meta in &self.camera {
            secrets.extend((0..3).map(|i| payload(meta.producer_start.0 as u64 ^ i << 48, 40).to_vec()));
        }
        for (_, sent) in &self.pushed {
            secrets.push(sent.verbatim.lead.to_vec());
            // The middle and the end too: every piece of the cipher.
            secrets.extend(sent.frames.iter().map(|frame| frame.data[frame.data.len() - 40..].to_vec()));
            secrets.push(sent.frames[1].data[100..140].to_vec());
        }
        secrets
    }

    async fn is_read_from(&self, store: &Store) {
        let (gate, yard) = (store.stream(&name("gate")).unwrap(), store.stream(&name("yard")).unwrap());
        for meta in &self.camera {
            let read = gate.fragment(meta.number).await.unwrap();
            assert_eq!((&read.meta, read.header.id), (meta, meta.header));
            assert_eq!(read.header.bytes, header(1280).bytes);
            for (i, frame) in read.frames().unwrap().iter().enumerate() {
                let written = payload(meta.producer_start.0 as u64 ^ (i as u64) << 48, frame.data.len());
                assert_eq!(frame.data, written);
            }
        }
        for (meta, sent) in &self.pushed {
            let read = yard.fragment(meta.number).await.unwrap();
            assert_eq!([&read.lead[..], &read.cluster.to_bytes()].concat(), sent.bytes());
            assert_eq!(read.header.bytes, sent.start.header.bytes);
        }
        let alert = store.alerts(None, None, 9).await.unwrap().pop().unwrap();
        assert_eq!(store.snapshot(&alert.id).await.unwrap(), JPEG);
    }
}

fn is_clean(data: &Path) {
    let report = check(data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn nothing_lies_in_clear_and_all_is_read_back() {
    for encrypt in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        let of = |data: &Path| if encrypt { encrypted(data, 1) } else { config(data) };
        let store = open_with(of(data)).await;
        let recorded = record_some(&store, 0).await;
        assert!(recorded.camera.iter().all(|meta| meta.encrypted == encrypt));
        recorded.is_read_from(&store).await;
        // Beside the server, with all that its journal has.
        let beside = files(data);
        store.stop().await.unwrap();
        for (when, files) in [("beside it", beside), ("stopped", files(data))] {
            for (i, secret) in recorded.secrets().iter().enumerate() {
                let found: Vec<_> =
                    files.iter().filter(|(_, bytes)| holds(bytes, secret)).map(|(path, _)| path).collect();
                assert_eq!(found.is_empty(), encrypt, "{when}: secret {i} lies in {found:?}");
            }
        }
        is_clean(data);
        // Without a key: the catalog from the segments alone.
        let rebuilt = rebuild_in_place(data, true).unwrap().rebuilt;
        assert_eq!((rebuilt.fragments, rebuilt.problems.len()), (6, 0), "{rebuilt:?}");
        std::fs::remove_file(data.join("catalog.sqlite")).unwrap();
        let store = open_with(of(data)).await;
        let gate = store.stream(&name("gate")).unwrap();
        assert_eq!(gate.fragments(ALL, Position::Start, 9).await.unwrap(), recorded.camera);
        let read = gate.fragment(recorded.camera[2].number).await.unwrap();
        assert_eq!(read.frames().unwrap()[0].data, payload(recorded.camera[2].producer_start.0 as u64, 150_000));
        store.stop().await.unwrap();
        is_clean(data);
    }
}

#[tokio::test]
async fn a_bucket_and_its_spool_hold_nothing_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let storage = StorageConfig { url: Some("s3://test/site".into()), commit_interval_ms: 5, ..Default::default() };
    let config = unbuffered(Config { storage, ..encrypted(dir.path(), 1) });
    let bucket = Arc::new(InMemory::new());
    let store = Store::open_on(config.clone(), system_clock(), bucket.clone()).await.unwrap();
    let recorded = record_some(&store, 0).await;
    recorded.is_read_from(&store).await;
    store.stop().await.unwrap();
    let mut objects = files(dir.path());
    for object in bucket.list_with_delimiter(Some(&"segments".into())).await.unwrap().objects {
        let bytes = bucket.get(&object.location).await.unwrap().bytes().await.unwrap();
        objects.insert(object.location.to_string().into(), bytes.to_vec());
    }
    assert!(objects.len() > 6, "a few objects");
    for secret in recorded.secrets() {
        assert!(!objects.values().any(|bytes| holds(bytes, &secret)));
    }
    let store = Store::open_on(config, system_clock(), bucket).await.unwrap();
    recorded.is_read_from(&store).await;
    store.stop().await.unwrap();
}

#[tokio::test]
async fn another_master_key_or_none_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let store = open_with(encrypted(data, 1)).await;
    let recorded = record_some(&store, 0).await;
    store.stop().await.unwrap();
    let before = files(data);
    for wrong in [encrypted(data, 2), config(data)] {
        let error = Store::open(wrong, system_clock()).await.err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains("master key"), "{error}");
        assert!(!error.to_string().contains('\n'));
        assert_eq!(files(data), before);
    }
    // Rotated, the old one is the wrong one; media is not touched.
    assert_eq!(rotate(data, master(1).as_ref(), &master(2).unwrap()).unwrap(), 2);
    assert_eq!(rotate(data, None, &master(2).unwrap()).unwrap(), 0, "it was done");
    let error = rotate(data, master(1).as_ref(), &master(3).unwrap()).unwrap_err();
    assert!(error.is_configuration(), "{error}");
    let after = files(data);
    let changed: Vec<_> = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).collect();
    assert_eq!(changed.len(), 2, "the keys of two streams");
    assert!(Store::open(encrypted(data, 1), system_clock()).await.is_err());
    let store = open_with(encrypted(data, 2)).await;
    recorded.is_read_from(&store).await;
    store.stop().await.unwrap();
    // In the server's own way: the new one beside the previous one.
    let both = Encryption { key: master(3), previous: master(2), new_recordings: true };
    let store = open_with(Config { encryption: both, ..config(data) }).await;
    recorded.is_read_from(&store).await;
    store.stop().await.unwrap();
    let status = status(data).unwrap();
    assert_eq!(status.wrapped_by, BTreeMap::from([(master(3).unwrap().id(), 2)]));
    assert_eq!((status.with_key.len(), status.without_key.len(), status.orphans.len()), (2, 0, 0));
}

/// What an attacker has who copied all but the keys before: the stream's bytes are in it, and nothing reads them.
#[tokio::test]
async fn a_destroyed_key_ends_a_stream_for_every_copy_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = open_with(encrypted(&data, 1)).await;
    let recorded = record_some(&store, 0).await;
    let secrets = recorded.secrets();
    let segments = files(&data.join("segments"));
    assert_eq!(std::fs::read_dir(data.join("keys")).unwrap().count(), 2);
    let before = files(&data);
    store.delete_stream(&name("yard")).await.unwrap();
    assert_eq!(std::fs::read_dir(data.join("keys")).unwrap().count(), 1, "as soon as it is answered");
    assert_eq!(store.stream(&name("yard")).err().unwrap().kind(), Kind::NotFound);
    store.stop().await.unwrap();
    // Its bytes are in the segments still, and in the copy.
    for (path, bytes) in segments {
        assert!(std::fs::read(&path).unwrap().starts_with(&bytes));
    }
    // The earlier copy of catalog and segments, beside the keys that are there now.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.starts_with(data.join("keys"))) {
        std::fs::write(path, bytes).unwrap();
    }
    let error = Store::open(unbuffered(encrypted(&data, 1)), system_clock()).await.err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("the key of stream yard"), "{error}");
    let archive = Archive::open(&data, &encrypted(&data, 1).encryption).unwrap();
    let export = Export::new(archive.stream(&name("yard")).await.unwrap(), ALL, media::export::Format::Mkv).await;
    let mut written = Vec::new();
    if let Ok(mut export) = export {
        while let Ok(Some(step)) = export.next().await {
            if let Step::Bytes(chunks) = step {
                written.extend(chunks.to_bytes());
            }
        }
    }
    assert!(!secrets.iter().any(|secret| holds(&written, secret)), "{} bytes were exported", written.len());
    let report = check(&data, CheckOptions::default()).unwrap();
    assert_eq!(report.problems.len(), 1, "{report}");
    assert!(report.problems[0].1.contains("stream yard") && report.problems[0].1.contains("its key"), "{report}");
    // Given up, the rest goes on.
    assert_eq!(destroy(&data, &name("nobody")).unwrap_err().kind(), Kind::NotFound);
    destroy(&data, &name("yard")).unwrap();
    let store = open_with(encrypted(&data, 1)).await;
    assert!(store.stream(&name("yard")).is_err());
    let gate = store.stream(&name("gate")).unwrap();
    assert_eq!(gate.fragment(recorded.camera[0].number).await.unwrap().meta, recorded.camera[0]);
    store.stop().await.unwrap();
    is_clean(&data);
    // With a hold nothing destroys it.
    let store = open_with(encrypted(&data, 1)).await;
    let from = recorded.camera[0].producer_start;
    let hold = store::holds::Hold {
        name: "case".to_owned(),
        from,
        to: UnixMillis(from.0 + 1),
        reason: "a case".to_owned(),
        placed_by: "counsel".to_owned(),
        placed_at: from,
    };
    store.stream(&name("gate")).unwrap().place_hold(hold).await.unwrap();
    assert_eq!(store.delete_stream(&name("gate")).await.unwrap_err().kind(), Kind::Conflict);
    store.stop().await.unwrap();
    assert_eq!(destroy(&data, &name("gate")).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(std::fs::read_dir(data.join("keys")).unwrap().count(), 1);
}

#[tokio::test]
async fn damage_is_found_without_a_key_and_a_forged_record_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let store = open_with(encrypted(data, 1)).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut metas = Vec::new();
    for i in 0..4 {
        let events = fragment(&header(1280), T0 + i * 1000, 3, 40_000, None);
        metas.push(record(&mut stream.writer(), events).await);
    }
    store.stop().await.unwrap();
    flip_fragment(data, &metas[0], 72 + 32 + 70_000);
    let report = check(data, CheckOptions::default()).unwrap();
    let named = metas[0].number.to_string();
    assert!(report.problems.iter().any(|(i, what)| *i == 1 && what.contains(&named)), "{report}");
    assert_eq!(report.problems.len(), 1, "{report}");

    // The second fragment's bytes in the place of the third's, with all checksums made right, in the catalog too.
    let ((file, second), (_, third)) = (place(data, &metas[1]), place(data, &metas[2]));
    let mut bytes = std::fs::read(&file).unwrap();
    let stored = 72 + 32 + metas[1].bytes as usize + 16 * (metas[1].bytes as usize).div_ceil(65_536);
    assert_eq!(metas[1].bytes, metas[2].bytes);
    bytes.copy_within(second + 72..second + stored, third + 72);
    let mark = metas[1].crc32c.to_le_bytes();
    bytes[third + 64..third + 68].copy_from_slice(&mark);
    let crc = crc32c::crc32c(&bytes[third..third + 68]);
    bytes[third + 68..third + 72].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let catalog = rusqlite::Connection::open(data.join("catalog.sqlite")).unwrap();
    let row = (metas[1].crc32c, metas[2].number.counter());
    assert_eq!(catalog.execute("UPDATE fragments SET crc32c = ?1 WHERE counter = ?2", row).unwrap(), 1);
    catalog.close().unwrap();
    let report = check(data, CheckOptions::default()).unwrap();
    assert_eq!(report.problems.len(), 1, "checksums do not tell: {report}");
    let store = open_with(encrypted(data, 1)).await;
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(stream.fragment(metas[1].number).await.unwrap().meta, metas[1]);
    let error = stream.fragment(metas[2].number).await.unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("not what was encrypted"), "{error}");
    assert_eq!(stream.fragment(metas[0].number).await.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap().len(), 2, "the rest is served");
    store.stop().await.unwrap();
}

#[tokio::test]
async fn switched_on_and_off_all_stays_readable_and_what_is_sent_again_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let store = open_with(config(data)).await;
    let mut all = vec![record_some(&store, 0).await];
    store.stop().await.unwrap();
    let on = encrypted(data, 1);
    let off = Config { encryption: Encryption { new_recordings: false, ..on.encryption.clone() }, ..on.clone() };
    for (i, (config, encrypted)) in [(on.clone(), true), (off, false), (on.clone(), true)].into_iter().enumerate() {
        let store = open_with(config).await;
        let now = record_some(&store, (i as i64 + 1) * 100_000).await;
        assert!(now.camera.iter().chain(now.pushed.iter().map(|(meta, _)| meta)).all(|m| m.encrypted == encrypted));
        all.push(now);
        for recorded in &all {
            recorded.is_read_from(&store).await;
        }
        store.stop().await.unwrap();
        is_clean(data);
    }
    let store = open_with(on).await;
    let yard = store.stream(&name("yard")).unwrap();
    let (meta, sent) = &all[3].pushed[1];
    let (number, again) = send_again(&mut yard.verbatim_writer(), sent).await;
    assert_eq!((number, again.wait().await.unwrap()), (meta.number, meta.clone()));
    assert_eq!(yard.next_after(FragmentNumber::new(0, 0, 0), 100).await.unwrap().len(), 12);
    store.stop().await.unwrap();
    // The key is needed for as long as anything is encrypted with it.
    assert!(Store::open(config(data), system_clock()).await.err().unwrap().is_configuration());
}
