//! A stream is written into a real store; a rule watches it; detections and alerts name the right pictures.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use media::{Cause, Event, Start, UnixMillis};
use ml::postprocess::overlap;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::{
    Notice, Position, Range, Store, Stream,
    records::{Rate, Rule},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const CLIP: &str = "street-cars_640x352_h264_24fps_gop48.mp4";

#[derive(Deserialize)]
struct References {
    frames: BTreeMap<String, Reference>,
}

#[derive(Deserialize)]
struct Reference {
    pts: f64,
    detections: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    label: String,
    #[serde(rename = "box")]
    corners: [f32; 4],
}

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

struct Watched {
    _data: tempfile::TempDir,
    store: Store,
    stream: Stream,
    stop: CancellationToken,
    tasks: TaskTracker,
    start: UnixMillis,
    written: u64,
}

fn rule(name: &str, rate: Rate, cooldown_ms: u64) -> Rule {
    Rule {
        name: name.parse().unwrap(),
        stream: "street".parse().unwrap(),
        classes: vec!["car".into()],
        min_score: 0.5,
        zone: vec![[0.0, 0.2], [1.0, 0.2], [1.0, 1.0], [0.0, 1.0]],
        cooldown_ms,
        rate,
        targets: Vec::new(),
        from_config: false,
    }
}

/// Records the first `frames` frames of the clip `speed` times as fast as they were filmed, with `rule` watching.
async fn watch(rule: Rule, frames: usize, speed: f64) -> Option<Watched> {
    let (models, _) = (common::shared("models")?, common::runtime()?);
    let data = tempfile::tempdir().unwrap();
    let config = store::Config { data: data.path().into(), ..Default::default() };
    let store = Store::open(config, Arc::new(now)).await.unwrap();
    let stream = store.create_stream(&"street".parse().unwrap(), None).await.unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    // The runtime is loaded already; the path does not matter any more.
    let config = ml::Config { onnxruntime: None, model: Some(models.join("yolox_nano.onnx")), threads: 1 };
    let watches = ml::Watches::start(config, store.clone(), stop.clone(), &tasks).await.unwrap();
    assert_eq!(watches.classes()[2], "car");
    store.put_rule(rule).await.unwrap();

    let start = UnixMillis(now().0 - 60_000);
    let clip = models.join("../media").join(CLIP);
    let (header, all) = tokio::task::spawn_blocking(move || common::h264(&clip, start.to_micros())).await.unwrap();
    // Long enough for the watch to be there when the first frame is.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut writer = stream.writer();
    let began = tokio::time::Instant::now();
    let mut written = 0;
    for (at, frame) in all.into_iter().take(frames).enumerate() {
        let due = began + Duration::from_micros(((frame.time.0 - start.0 * 1000) as f64 / speed) as u64);
        tokio::time::sleep_until(due).await;
        if frame.key {
            if at > 0 {
                writer.write(Event::End).await.unwrap();
            }
            let cause = (at == 0).then_some(Cause::Start);
            let begin = Start { header: header.clone(), producer_start: frame.time.to_millis(), cause };
            writer.write(Event::Begin(begin)).await.unwrap();
            written += 1;
        }
        writer.write(Event::Frame(frame)).await.unwrap();
    }
    if let store::Offer::Sealed(_, durable) = writer.write(Event::End).await.unwrap() {
        durable.wait().await.unwrap();
    }
    Some(Watched { _data: data, store, stream, stop, tasks, start, written })
}

impl Watched {
    fn range(&self) -> Range {
        Range { from: self.start, to: self.start.plus(600_000) }
    }

    /// Waits until nothing was detected for a while.
    async fn settle(&self) {
        let mut notices = self.store.notices();
        loop {
            let quiet = tokio::time::timeout(Duration::from_secs(2), async {
                while !matches!(notices.recv().await, Ok(Notice::Detections(..))) {}
            });
            if quiet.await.is_err() {
                return;
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.expect("ends in time");
        self.store.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detections_and_alerts_name_the_fragment_and_the_instant_they_were_seen_at() {
    let Some(watched) = watch(rule("cars", Rate::PerSecond(2.0), 5_000), 480, 3.0).await else { return };
    watched.settle().await;
    let fragments = watched.stream.fragments(watched.range(), Position::Start, 1000).await.unwrap();
    assert_eq!(fragments.len() as u64, watched.written, "the recording is whole");
    let name = watched.stream.info().name;
    let detections = watched.store.detections(&name, watched.range(), 100_000).await.unwrap();
    let pictures: BTreeSet<UnixMillis> = detections.iter().map(|d| d.time).collect();
    println!("{} detections in {} pictures", detections.len(), pictures.len());
    assert!((20..=42).contains(&pictures.len()), "about two a second of 20 s, not {}", pictures.len());

    // What was seen is what the reference saw in the very frame that fragment and offset name.
    let models = common::shared("models").unwrap();
    let references = std::fs::read(models.join("refs/yolox_nano__street-cars.json")).unwrap();
    let references: References = serde_json::from_slice(&references).unwrap();
    let (mut strong, mut agreed) = (0, 0);
    for d in detections.iter().filter(|d| d.score >= 0.5) {
        let fragment = fragments.iter().find(|f| f.number == d.fragment).expect("a recorded fragment");
        assert_eq!(fragment.producer_start.plus(i64::from(d.offset_ms)), d.time);
        let at = (d.time.0 - watched.start.0) as f64 / 1000.0;
        let frame = references.frames.values().find(|f| (f.pts - at).abs() <= 0.002).expect("a frame of the clip");
        let [l, t, r, b] = d.bounds;
        let ours = [l * 640.0, t * 352.0, r * 640.0, b * 352.0];
        let theirs = frame.detections.iter().filter(|o| o.label == d.class).map(|o| overlap(&ours, &o.corners));
        let best = theirs.fold(0.0, f32::max);
        strong += 1;
        agreed += usize::from(best >= 0.8);
    }
    println!("{agreed} of {strong} strong detections are the reference's");
    assert!(strong > 30 && agreed as f64 >= 0.97 * strong as f64);

    let alerts = watched.store.alerts_in(&name, watched.range(), 100).await.unwrap();
    let times: Vec<i64> = alerts.iter().map(|a| a.detection.time.0).collect();
    assert!((3..=5).contains(&alerts.len()), "cooldown of 5 s over 20 s: {times:?}");
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 5_000), "{times:?}");
    for alert in &alerts {
        assert!(detections.contains(&alert.detection), "an alert's detection is stored");
        assert!(alert.detection.class == "car" && alert.detection.score >= 0.5);
        let jpeg = watched.store.snapshot(&alert.id).await.unwrap();
        let picture = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((picture.width(), picture.height()), (640, 352));
        assert_eq!(uuid::Uuid::parse_str(&alert.id).unwrap().get_version_num(), 7);
    }
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_frames_are_looked_at_as_they_come() {
    let Some(watched) = watch(rule("keys", Rate::KeyFrames, 0), 400, 8.0).await else { return };
    watched.settle().await;
    let name = watched.stream.info().name;
    let detections = watched.store.detections(&name, watched.range(), 100_000).await.unwrap();
    let fragments: BTreeSet<_> = detections.iter().map(|d| d.fragment).collect();
    assert!(detections.iter().all(|d| d.offset_ms == 0));
    // Each has cars; the first may have been over before the watch followed.
    assert!(fragments.len() as u64 + 1 >= watched.written, "{} of {} key frames", fragments.len(), watched.written);
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detector_that_falls_behind_skips_pictures_and_never_a_fragment() {
    let Some(watched) = watch(rule("all", Rate::PerSecond(1000.0), 60_000), 800, 1000.0).await else { return };
    watched.settle().await;
    let fragments = watched.stream.fragments(watched.range(), Position::Start, 1000).await.unwrap();
    assert_eq!(fragments.len() as u64, watched.written);
    assert_eq!(fragments.iter().map(|f| u64::from(f.frames)).sum::<u64>(), 800);
    let name = watched.stream.info().name;
    let detections = watched.store.detections(&name, watched.range(), 100_000).await.unwrap();
    let pictures: BTreeSet<UnixMillis> = detections.iter().map(|d| d.time).collect();
    println!("{} of 800 pictures were looked at", pictures.len());
    assert!(!pictures.is_empty() && pictures.len() < 700);
    watched.end().await;
}
