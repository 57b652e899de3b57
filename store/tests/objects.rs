//! Segments in a store of objects that works, fails, stalls, answers late or not at all, and is gone for a while.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::*;
use media::{FragmentMeta, UnixMillis};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::faulty::{Fault, Faults, Faulty, Op};
use store::object_store::local::LocalFileSystem;
use store::object_store::memory::InMemory;
use store::object_store::path::Path as At;
use store::object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use store::{Config, Durable, Kind, Offer, Position, Range, StorageConfig, Store};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

fn fast(data: &Path) -> Config {
    let storage = StorageConfig {
        url: Some("s3://test/site".into()),
        commit_interval_ms: 5,
        spool_after_ms: 100,
        ..Default::default()
    };
    // Nothing is kept in memory, so that what is read comes from the bucket.
    Config { tail_bytes: 0, storage, ..config(data) }
}

struct Bench {
    dir: tempfile::TempDir,
    bucket: Arc<dyn ObjectStore>,
    faults: Faults,
    spool_bytes: u64,
}

impl Bench {
    fn new() -> Bench {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
        Bench { dir, bucket, faults: Faults::default(), spool_bytes: 0 }
    }
    async fn open(&self) -> Result<Store, store::Error> {
        let mut config = fast(self.dir.path());
        config.storage.spool_bytes = self.spool_bytes;
        let bucket = Arc::new(Faulty::new(self.bucket.clone(), self.faults.clone()));
        Store::open_on(config, system_clock(), bucket).await
    }
    async fn objects(&self) -> usize {
        self.bucket.list_with_delimiter(Some(&At::from("segments"))).await.unwrap().objects.len()
    }
    /// These fragments are there, each once, with their bytes; also after a restart.
    async fn holds(&self, store: Store, expected: &[FragmentMeta]) -> Store {
        assert_holds(&store, expected).await;
        store.stop().await.unwrap();
        let store = self.open().await.unwrap();
        assert_holds(&store, expected).await;
        store
    }
}

async fn assert_holds(store: &Store, expected: &[FragmentMeta]) {
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(stream.fragments(ALL, Position::Start, 1000).await.unwrap(), expected);
    for meta in expected {
        let fragment = stream.fragment(meta.number).await.unwrap();
        assert_eq!(fragment.meta, *meta);
    }
}

/// Seals `count` fragments without waiting for them.
async fn seal_some(store: &Store, from: i64, count: i64) -> Vec<Durable> {
    let stream = match store.stream(&name("gate")) {
        Ok(stream) => stream,
        Err(_) => store.create_stream(&name("gate"), None).await.unwrap(),
    };
    let mut writer = stream.writer();
    let mut sealed = Vec::new();
    for i in from..from + count {
        sealed.push(seal(&mut writer, fragment(&header(1280), T0 + i * 1000, 3, 3000, None)).await.1);
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
    sealed
}

async fn all(sealed: Vec<Durable>) -> Vec<FragmentMeta> {
    let mut metas = Vec::new();
    for durable in sealed {
        metas.push(durable.wait().await.unwrap());
    }
    metas
}

#[tokio::test]
async fn what_is_acknowledged_lies_in_the_bucket_and_is_read_from_there() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let mut metas = all(seal_some(&store, 0, 10).await).await;
    let objects = bench.objects().await;
    assert!((1..=10).contains(&objects), "{objects}");
    assert!(!bench.dir.path().join("spool").exists());
    let store = bench.holds(store, &metas).await;
    metas.extend(all(seal_some(&store, 10, 3).await).await);
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn groups_that_arrive_out_of_order_are_acknowledged_in_order() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let late = (0..20).map(|i| Fault::Late(Duration::from_millis(if i % 2 == 0 { 60 } else { 1 })));
    bench.faults.script(Op::Put, late);
    let sealed = seal_some(&store, 0, 20).await;
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    for durable in sealed {
        let done = done.clone();
        tokio::spawn(async move { done.send(durable.wait().await.unwrap()) });
    }
    drop(done);
    let stream = store.stream(&name("gate")).unwrap();
    let mut metas: Vec<FragmentMeta> = Vec::new();
    while let Some(meta) = order.recv().await {
        // Tasks are woken in any order, but whatever is acknowledged, all before it are listed.
        let listed = stream.fragments(ALL, Position::Start, 1000).await.unwrap();
        let before = listed.iter().filter(|m| m.number <= meta.number).count() as u64;
        assert_eq!(before, meta.number.counter() - listed[0].number.counter() + 1);
        metas.push(meta);
    }
    metas.sort_by_key(|m| m.number);
    assert_eq!(metas.len(), 20);
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_group_waits_for_the_one_before_it() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    bench.faults.script(Op::Put, [Fault::Late(Duration::from_millis(400)), Fault::Well]);
    let sealed = seal_some(&store, 0, 1).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let second = seal_some(&store, 1, 1).await;
    let begun = Instant::now();
    let second = all(second).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "the second one was there long before the first");
    let mut metas = all(sealed).await;
    metas.extend(second);
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_loses_nothing_and_doubles_nothing() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    bench.faults.script(Op::Put, [Fault::Unanswered, Fault::Fail, Fault::Unanswered, Fault::Deny, Fault::Unanswered]);
    bench.faults.script(Op::Get, [Fault::Fail]);
    let metas = all(seal_some(&store, 0, 6).await).await;
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_that_ignores_conditions_is_found_out_and_used_all_the_same() {
    let bench = Bench::new();
    bench.faults.ignore_conditions();
    let store = bench.open().await.unwrap();
    bench.faults.script(Op::Put, [Fault::Unanswered, Fault::Fail]);
    let metas = all(seal_some(&store, 0, 4).await).await;
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_foreign_object_is_never_overwritten_and_ends_the_recording_in_plain_words() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let metas = all(seal_some(&store, 0, 2).await).await;
    let last = bench.bucket.list_with_delimiter(Some(&At::from("segments"))).await.unwrap().objects;
    let last = last.iter().map(|o| o.location.filename().unwrap()[..16].to_owned()).max().unwrap();
    let next = u64::from_str_radix(&last, 16).unwrap() + 1;
    let at = At::from(format!("segments/{next:016x}.seg"));
    bench.bucket.put(&at, PutPayload::from_static(b"of someone else")).await.unwrap();
    for i in 2..4 {
        let durable = seal_some(&store, i, 1).await.remove(0);
        let error = durable.wait().await.unwrap_err();
        assert!(error.kind() == Kind::Conflict && error.to_string().contains("another one writes"), "{error}");
    }
    assert!(store.storage_problem().unwrap().contains(&format!("{next:016x}")));
    assert_holds(&store, &metas).await;
    assert_eq!(bench.bucket.get(&at).await.unwrap().bytes().await.unwrap(), "of someone else");
    store.stop().await.unwrap();
}

#[tokio::test]
async fn in_an_outage_producers_wait_and_cameras_drop_and_it_catches_up_by_itself() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let mut metas = all(seal_some(&store, 0, 2).await).await;
    bench.faults.outage(true);
    let sealed = seal_some(&store, 2, 5).await;
    let mut sealed = sealed.into_iter();
    let mut first = Box::pin(sealed.next().unwrap().wait());
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut first).await.is_err(), "nothing says durable");
    bench.faults.heal();
    metas.push(first.await.unwrap());
    metas.extend(all(sealed.collect()).await);
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_budget_drops_groups_of_pictures_and_counts_them() {
    let bench = Bench::new();
    let mut config = fast(bench.dir.path());
    (config.budget_bytes, config.stream_budget_bytes) = (64 << 10, 64 << 10);
    let bucket = Arc::new(Faulty::new(bench.bucket.clone(), bench.faults.clone()));
    let store = Store::open_on(config, system_clock(), bucket).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    bench.faults.outage(true);
    let (mut sealed, mut dropped) = (Vec::new(), 0);
    for i in 0..30 {
        for event in fragment(&header(1280), T0 + i * 1000, 3, 3000, None) {
            match writer.offer(event).unwrap() {
                Offer::Sealed(_, durable) => sealed.push(durable),
                Offer::Dropped => dropped += 1,
                _ => {}
            }
        }
    }
    assert!(dropped > 0 && stream.stats().dropped_gops > 0 && !sealed.is_empty());
    bench.faults.heal();
    let metas = all(sealed).await;
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn the_spool_carries_an_outage_and_is_emptied_into_the_bucket() {
    let bench = Bench { spool_bytes: 10 << 20, ..Bench::new() };
    let store = bench.open().await.unwrap();
    let mut metas = all(seal_some(&store, 0, 2).await).await;
    bench.faults.outage(true);
    metas.extend(all(seal_some(&store, 2, 6).await).await);
    let spool = bench.dir.path().join("spool");
    assert!(std::fs::read_dir(&spool).unwrap().count() > 0);
    assert!(store.storage_problem().is_none(), "what comes in is made durable");
    // Read from the spool, as the bucket does not answer.
    let stream = store.stream(&name("gate")).unwrap();
    stream.fragment(metas.last().unwrap().number).await.unwrap();
    bench.faults.heal();
    let store = bench.holds(store, &metas).await;
    for _ in 0..400 {
        if std::fs::read_dir(&spool).unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "it is emptied");
    assert_holds(&store, &metas).await;
    store.stop().await.unwrap();
}

#[tokio::test]
async fn retention_removes_objects() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    all(seal_some(&store, 0, 5).await).await;
    assert!(bench.objects().await > 0);
    store.delete_stream(&name("gate")).await.unwrap();
    store.stop().await.unwrap();
    let store = bench.open().await.unwrap();
    for _ in 0..200 {
        // The note of the deletion stays with the newest.
        if bench.objects().await <= 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bench.objects().await <= 1, "{}", bench.objects().await);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn an_object_that_came_too_late_meets_no_id_of_a_new_one_and_is_removed() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let metas = all(seal_some(&store, 0, 1).await).await;
    store.stop().await.unwrap();
    let objects = bench.bucket.list_with_delimiter(Some(&At::from("segments"))).await.unwrap().objects;
    let bytes = bench.bucket.get(&objects[0].location).await.unwrap().bytes().await.unwrap();
    let last = u64::from_str_radix(&objects[0].location.filename().unwrap()[..16], 16).unwrap();
    let store = bench.open().await.unwrap();
    // As if the process before had sent it just before it was killed.
    let late = At::from(format!("segments/{:016x}.seg", last + 1));
    bench.bucket.put(&late, bytes.into()).await.unwrap();
    let mut metas = metas;
    metas.extend(all(seal_some(&store, 1, 3).await).await);
    let store = bench.holds(store, &metas).await;
    for _ in 0..200 {
        if bench.bucket.head(&late).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bench.bucket.head(&late).await.is_err(), "the sweep of the start after it removes it");
    assert_holds(&store, &metas).await;
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_needs_the_whole_list_and_the_right_bucket() {
    let bench = Bench::new();
    let store = bench.open().await.unwrap();
    let metas = all(seal_some(&store, 0, 3).await).await;
    store.stop().await.unwrap();
    let refused = |error: store::Error| (error.is_configuration(), error.to_string());
    for (faults, configuration, says) in [
        (vec![Fault::Fail], false, "cannot be reached"),
        (vec![Fault::Deny], true, "denied"),
        (vec![Fault::Well, Fault::Partial(0)], false, "cannot be reached"),
    ] {
        bench.faults.script(Op::List, faults);
        let (is_configuration, text) = refused(bench.open().await.err().unwrap());
        assert!(is_configuration == configuration && text.contains(says) && !text.contains('\n'), "{text}");
        bench.faults.heal();
    }
    // The same data folder with another bucket, and with none.
    let other = Store::open_on(fast(bench.dir.path()), system_clock(), Arc::new(InMemory::new())).await;
    let (is_configuration, text) = refused(other.err().unwrap());
    assert!(is_configuration && text.contains("elsewhere"), "{text}");
    let (is_configuration, text) = refused(Store::open(config(bench.dir.path()), system_clock()).await.err().unwrap());
    assert!(is_configuration && text.contains("s3://test/site"), "{text}");
    // Another data folder with this bucket.
    let dir = tempfile::tempdir().unwrap();
    let other = Store::open_on(fast(dir.path()), system_clock(), bench.bucket.clone()).await;
    let (is_configuration, text) = refused(other.err().unwrap());
    assert!(is_configuration && text.contains("another installation"), "{text}");
    let store = bench.open().await.unwrap();
    bench.holds(store, &metas).await.stop().await.unwrap();
}

#[tokio::test]
async fn segments_can_lie_in_another_folder_which_is_never_made() {
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |folder: &Path| {
        let url = Some(format!("file://{}", folder.display()));
        Config { storage: StorageConfig { url, ..Default::default() }, tail_bytes: 0, ..config(data.path()) }
    };
    let error = Store::open(at(&elsewhere.path().join("not-mounted")), system_clock()).await.err().unwrap();
    assert!(error.is_configuration(), "{error}");
    let store = Store::open(at(elsewhere.path()), system_clock()).await.unwrap();
    let metas = all(seal_some(&store, 0, 3).await).await;
    store.stop().await.unwrap();
    assert!(elsewhere.path().join("segments/0000000000000001.seg").exists());
    assert_eq!(std::fs::read_dir(data.path().join("segments")).unwrap().count(), 0);
    let store = Store::open(at(elsewhere.path()), system_clock()).await.unwrap();
    assert_holds(&store, &metas).await;
    store.stop().await.unwrap();
}

/// A child that records to a bucket that misbehaves, and prints what was acknowledged.
#[tokio::test]
#[ignore = "started by the test below, in a process of its own"]
async fn child() {
    let Ok(args) = std::env::var("VIDICON_OBJECTS_CHILD") else { return };
    let (dir, seed) = args.split_once('|').unwrap();
    let dir = Path::new(dir);
    let faults = Faults::default();
    let mut config = fast(&dir.join("data"));
    config.storage.spool_bytes = if seed.ends_with(['1', '3', '5', '7', '9']) { 10 << 20 } else { 0 };
    config.storage.spool_after_ms = 20;
    let local = LocalFileSystem::new_with_prefix(dir.join("bucket")).unwrap();
    let bucket = Arc::new(Faulty::new(Arc::new(local), faults.clone()));
    let store = Store::open_on(config, system_clock(), bucket).await.unwrap();
    // On a line of its own, behind what the test harness prints.
    println!("\nopen");
    faults.random(seed.parse().unwrap(), 200, Duration::from_millis(20));
    let stream = match store.stream(&name("gate")) {
        Ok(stream) => stream,
        Err(_) => store.create_stream(&name("gate"), None).await.unwrap(),
    };
    let mut writer = stream.writer();
    for i in 0.. {
        let at = store.now().0 + i;
        let (_, durable) = seal(&mut writer, fragment(&header(1280), at, 3, 500, None)).await;
        tokio::spawn(async move {
            let meta = durable.wait().await.unwrap();
            println!("durable {} {}", meta.number, meta.crc32c);
        });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs the ignored test `child` of this binary with `args` in the variable `variable`, kills it a random while after it printed
/// `open` (sometimes before), and gives the lines that it printed. A line that the kill cut short is one of them.
fn run_and_kill(variable: &str, args: &str, early: bool, random: &mut impl FnMut() -> u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(variable, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let seen = lines.clone();
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in stdout.split(b'\n') {
            let Ok(line) = line else { break };
            let Ok(line) = String::from_utf8(line) else { break };
            if line == "open" {
                let _ = opened.send(());
            }
            seen.lock().unwrap().push(line);
        }
    });
    if early {
        std::thread::sleep(Duration::from_millis(random() % 40));
    } else {
        let _ = is_open.recv_timeout(Duration::from_secs(20));
        std::thread::sleep(Duration::from_micros(random() % 350_000));
    }
    let ended = child.try_wait().unwrap();
    // SIGKILL: nothing of the child runs after it.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(ended.is_none(), "the child ended by itself: {}", String::from_utf8_lossy(&output.stderr));
    reader.join().unwrap();
    Arc::try_unwrap(lines).unwrap().into_inner().unwrap()
}

#[test]
fn killed_at_any_instant_nothing_acknowledged_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bucket")).unwrap();
    let mut random = random();
    let mut acknowledged = std::collections::BTreeMap::new();
    let rounds = std::env::var("VIDICON_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    // A slow machine acknowledges little before the kills: some more of them then.
    for round in 0..rounds * 8 {
        if round >= rounds && acknowledged.len() > 8 {
            break;
        }
        let args = format!("{}|{}", dir.path().display(), random() >> 1);
        for line in run_and_kill("VIDICON_OBJECTS_CHILD", &args, round % 4 == 3, &mut random) {
            let mut words = line.split(' ');
            if let (Some("durable"), Some(number), Some(crc), None) = (words.next(), words.next(), words.next(), words.next())
                // The last line may be cut short.
                && crc.len() >= 3
            {
                acknowledged.insert(number.to_owned(), crc.to_owned());
            }
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let local = LocalFileSystem::new_with_prefix(dir.path().join("bucket")).unwrap();
            let store = Store::open_on(fast(&dir.path().join("data")), system_clock(), Arc::new(local)).await.unwrap();
            let Ok(stream) = store.stream(&name("gate")) else { return store.stop().await.unwrap() };
            let (mut after, mut found) = (media::FragmentNumber::new(0, 0, 0), std::collections::BTreeMap::new());
            loop {
                let page = stream.next_after(after, 1000).await.unwrap();
                let Some(last) = page.last() else { break };
                after = last.number;
                for meta in page {
                    // Read with its checksum.
                    stream.fragment(meta.number).await.unwrap();
                    assert!(found.insert(meta.number.to_string(), meta.crc32c.to_string()).is_none());
                }
            }
            for (number, crc) in &acknowledged {
                let there = found.get(number).unwrap_or_else(|| panic!("round {round}: {number} is lost"));
                assert!(there.starts_with(crc.as_str()), "round {round}: {number} differs");
            }
            store.stop().await.unwrap();
        });
    }
    assert!(acknowledged.len() > 8, "{}", acknowledged.len());
}
