//! Limits in bytes: of a stream, of the store, of the disk.
#![allow(clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::path::Path;
use std::time::Duration;
use store::check::{CheckOptions, check};
use store::quota::{AtQuota, StreamQuota};
use store::{Config, Kind, Offer, Position, Range, Store, Stream};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

/// Settings in which segments are small and the sweep runs when it is told, or once a second.
fn limited(data: &Path) -> Config {
    Config { sweep_interval_s: 1, segment_bytes: 64 << 10, min_free_bytes: 0, ..config(data) }
}

async fn all_of(stream: &Stream) -> Vec<FragmentMeta> {
    stream.fragments(ALL, Position::Start, 1000).await.unwrap()
}

fn segment_bytes(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("segments")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} does not come");
}

async fn end(store: Store, data: &Path) {
    store.stop().await.unwrap();
    let report = check(data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Fragment `i` of about `bytes`.
fn one(i: i64, bytes: usize) -> Sent {
    sent(640, T0 + i * 1000, 2, bytes / 2)
}

#[tokio::test]
async fn a_stream_at_its_quota_loses_its_own_oldest_or_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(limited(dir.path()), system_clock()).await.unwrap();
    let (gate, door) = (
        store.create_stream(&name("gate"), None).await.unwrap(),
        store.create_stream(&name("door"), None).await.unwrap(),
    );
    let quota = StreamQuota { quota_bytes: Some(100_000), ..StreamQuota::default() };
    store.set_quota(&name("gate"), quota).await.unwrap();
    let (mut a, mut b) = (gate.verbatim_writer(), door.verbatim_writer());
    let mut metas = Vec::new();
    for i in 0..40 {
        metas.push(store_new(&mut a, &one(i, 9000)).await);
        store_new(&mut b, &one(i, 9000)).await;
    }
    until("the quota", async || gate.usage().bytes <= 100_000).await;
    let kept = all_of(&gate).await;
    assert!((9..=11).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept, metas[40 - kept.len()..], "the newest are kept, in memory and in the catalog");
    assert_eq!(all_of(&door).await.len(), 40, "others lose nothing");
    assert_eq!(gate.fragment(metas[0].number).await.unwrap_err().kind(), Kind::NotFound);
    let in_records: u64 = kept.iter().map(|m| (u64::from(m.bytes) + 79) / 8 * 8).sum();
    assert_eq!(gate.usage().bytes, in_records);

    // Refused, it keeps what it has, and says why.
    let refuse = StreamQuota { at_quota: Some(AtQuota::Refuse), quota_bytes: Some(90_000), ..quota };
    store.set_quota(&name("gate"), refuse).await.unwrap();
    let error = send(&mut a, &one(40, 9000)).await.err().unwrap();
    assert_eq!(error.kind(), Kind::QuotaReached);
    assert!(error.to_string().contains("stream gate") && error.to_string().contains("90000"), "{error}");
    assert_eq!(gate.check_quota().unwrap_err().kind(), Kind::QuotaReached);
    let mut camera = gate.writer();
    let offers: Vec<_> =
        fragment(&header(640), T0 + 50_000, 3, 100, None).into_iter().map(|e| camera.offer(e)).collect();
    assert!(offers.iter().all(|offer| matches!(offer, Ok(Offer::Dropped))), "cameras go on and drop");
    let usage = gate.usage();
    assert!(usage.refusing && usage.refused == 2 && usage.quota_bytes == Some(90_000), "{usage:?}");
    assert_eq!(all_of(&gate).await, kept);
    let to = UnixMillis(kept[2].producer_start.0 + 1);
    gate.delete_range(Range { from: UnixMillis(0), to }).await.unwrap();
    let next = store_new(&mut a, &one(41, 9000)).await;
    assert!(!gate.usage().refusing);
    assert_eq!(all_of(&gate).await.last(), Some(&next));

    // It is the same after a start.
    let before = gate.usage();
    drop((a, b, camera));
    store.stop().await.unwrap();
    let store = Store::open(limited(dir.path()), system_clock()).await.unwrap();
    let gate = store.stream(&name("gate")).unwrap();
    assert_eq!((gate.usage().bytes, gate.quota()), (before.bytes, refuse));
    // Without a limit of its own it has the configured one: none.
    store.set_quota(&name("gate"), StreamQuota::default()).await.unwrap();
    assert_eq!(gate.usage().quota_bytes, None);
    end(store, dir.path()).await;
}

#[tokio::test]
async fn the_store_keeps_its_quota_the_oldest_of_all_go_and_what_is_guaranteed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let quota = 3 << 20;
    let config = Config { quota_bytes: quota, ..limited(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let mut streams = Vec::new();
    for stream in ["a", "b", "quiet"] {
        streams.push(store.create_stream(&name(stream), None).await.unwrap());
    }
    let guarantee = StreamQuota { guaranteed_bytes: 60_000, ..StreamQuota::default() };
    store.set_quota(&name("quiet"), guarantee).await.unwrap();
    let error = store.set_quota(&name("a"), StreamQuota { guaranteed_bytes: quota, ..guarantee }).await.unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("guaranteed_bytes"), "{error}");
    let mut writers: Vec<_> = streams.iter().map(Stream::verbatim_writer).collect();
    for i in 0..20 {
        store_new(&mut writers[2], &one(i, 6000)).await;
    }
    let mut most = 0;
    for i in 0..300 {
        store_new(&mut writers[0], &one(i, 20_000)).await;
        store_new(&mut writers[1], &one(i, 5_000)).await;
        most = most.max(segment_bytes(dir.path()));
        if i % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    until("the quota", async || segment_bytes(dir.path()) <= quota && store.usage().bytes <= quota).await;
    assert!(most < quota + quota / 4, "{most}");
    let usage = store.usage();
    assert!(usage.bytes <= quota && usage.bytes > quota / 2 && !usage.refusing, "{usage:?}");
    let (a, b, quiet) = (all_of(&streams[0]).await, all_of(&streams[1]).await, all_of(&streams[2]).await);
    assert!((9..=11).contains(&quiet.len()), "of the quiet one, what is guaranteed: {}", quiet.len());
    assert_eq!(streams[2].usage().bytes, quiet.iter().map(|m| (u64::from(m.bytes) + 79) / 8 * 8).sum::<u64>());
    // All others lose the same time, whatever their bit rates.
    assert!(a.len().abs_diff(b.len()) <= 4 && a.len() > 50, "{} {}", a.len(), b.len());
    drop(writers);
    end(store, dir.path()).await;
}

#[tokio::test]
async fn a_store_that_refuses_keeps_all_it_has_and_takes_more_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { quota_bytes: 300_000, at_quota: AtQuota::Refuse, ..limited(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let mut i = 0;
    let error = loop {
        match send(&mut writer, &one(i, 9000)).await {
            Ok(Offer::Sealed(_, durable)) => durable.wait().await.map(drop).unwrap(),
            Ok(_) => panic!("it is new"),
            Err(error) => break error,
        }
        i += 1;
        assert!(i < 40);
    };
    assert!(error.to_string().contains("quota of 300000"), "{error}");
    assert!(store.usage().refusing && stream.usage().refusing);
    assert_eq!(all_of(&stream).await.len(), i as usize);
    assert!(segment_bytes(dir.path()) < 300_000 + 10_000);
    // Of whole segments, so that there is room at once.
    stream.delete_range(Range { from: UnixMillis(0), to: UnixMillis(T0 + 20_000) }).await.unwrap();
    until("room", async || !store.usage().refusing).await;
    store_new(&mut writer, &one(99, 9000)).await;
    drop(writer);
    end(store, dir.path()).await;
}

/// A file system in memory of 24 MiB. `None` where this process may not mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success()).then_some(Mounted(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Others fill the disk to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path.join("others")).unwrap();
    for size in [1 << 16, 1 << 12, 512, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_is_relieved_and_nothing_is_torn() {
    let Some(disk) = Mounted::new() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let data = disk.0.path().join("data");
    let config = Config { min_free_bytes: 6 << 20, segment_bytes: 1 << 20, ..limited(&data) };
    let store = Store::open(config.clone(), system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    // More than the disk has: the oldest make room.
    let mut last = None;
    for i in 0..400 {
        last = Some(store_new(&mut writer, &one(i, 100_000)).await);
    }
    let free = || store.usage().free_bytes.unwrap();
    until("room", async || free() >= 6 << 20).await;
    let kept = all_of(&stream).await;
    assert!(kept.len() > 100 && kept.last() == last.as_ref(), "{}", kept.len());

    fill(disk.0.path());
    let mut recorded = 0;
    let mut refused = 0;
    for i in 400..600 {
        match send(&mut writer, &one(i, 100_000)).await {
            Ok(Offer::Sealed(_, durable)) => match durable.wait().await {
                Ok(_) => recorded += 1,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::LimitExceeded, "{error}");
                    refused += 1;
                }
            },
            Ok(_) => panic!("it is new"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::QuotaReached, "{error}");
                refused += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A few may have been lost before the first segment went; then it records again.
    assert!(recorded > 150, "{recorded} recorded, {refused} refused");
    let kept = all_of(&stream).await;
    for meta in &kept {
        match stream.fragment(meta.number).await {
            Ok(fragment) => assert_eq!(fragment.meta, *meta),
            Err(error) => assert_eq!(error.kind(), Kind::NotFound, "evicted meanwhile: {error}"),
        }
    }
    drop(writer);
    store.stop().await.unwrap();
    let report = check(&data, CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    // A start on it as well.
    fill(disk.0.path());
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.stream(&name("gate")).unwrap();
    until("room", async || store.usage().free_bytes.unwrap() >= 1 << 20).await;
    // What the others have is too much for all that could go; so it refuses until they take less.
    std::fs::remove_file(disk.0.path().join("others")).unwrap();
    until("room", async || !stream.usage().refusing).await;
    store_new(&mut stream.verbatim_writer(), &one(9999, 100_000)).await;
    end(store, &data).await;
}
