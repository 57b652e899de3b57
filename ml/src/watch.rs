//! Following streams: a task and a decoding thread for each stream that a rule names.
//!
//! A watch never slows a recording: it reads through a follower, which skips frames when nobody takes them, and what the
//! decoder or the model has no time for is dropped here and counted. Nothing in this file holds more than a few pictures.

use crate::{
    decode::{self, Decoder, Picture},
    engine::{Engine, Job, Seen},
    preprocess::Letterbox,
    rules::{self, Sampler},
    see::Eyes,
};
use media::{HeaderId, StreamName};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use store::{Followed, LiveFrame, Notice, Store, records::Rule};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Frames between the follower and the decoder. When they are waiting, the follower waits, and skips if that takes long.
const FRAMES: usize = 32;
/// Answers of the model that may be under way for a stream: one that runs, one that waits and the newer one that takes its
/// place, one that is being judged.
const ANSWERS: usize = 4;
/// Notices may be lost and watches may die: look again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The rules of a stream, as they change.
pub(crate) type Rules = watch::Receiver<Arc<Vec<Rule>>>;

struct Running {
    rules: watch::Sender<Arc<Vec<Rule>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Keeps one watch per stream that a rule names.
pub(crate) struct WatchesTask {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl WatchesTask {
    pub(crate) async fn run(self) {
        tracing::info!("watching started");
        let mut notices = self.store.notices();
        let mut running = HashMap::new();
        loop {
            if let Err(error) = self.reconcile(&mut running).await {
                tracing::warn!(%error, "rules cannot be read; trying again");
            }
            let again = tokio::time::sleep(LOOK_AGAIN);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = self.stop.cancelled() => {
                        tracing::info!("watching ended");
                        return;
                    }
                    () = &mut again => break,
                    notice = notices.recv() => match notice {
                        Ok(Notice::Rules | Notice::Streams) | Err(RecvError::Lagged(_)) => break,
                        Ok(_) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            }
        }
    }

    /// Makes the running watches those that the rules name.
    async fn reconcile(&self, running: &mut HashMap<StreamName, Running>) -> Result<(), store::Error> {
        let mut wanted: BTreeMap<StreamName, Vec<Rule>> = BTreeMap::new();
        for rule in self.store.rules().await? {
            wanted.entry(rule.stream.clone()).or_default().push(rule);
        }
        // A rule may stand in the config before its stream exists.
        wanted.retain(|stream, _| self.store.stream(stream).is_ok());
        let ended: Vec<StreamName> = running
            .iter()
            .filter(|(s, r)| r.task.is_finished() || !wanted.contains_key(*s))
            .map(|(s, _)| s.clone())
            .collect();
        for stream in ended {
            let Some(watch) = running.remove(&stream) else { continue };
            watch.stop.cancel();
            if let Err(error) = watch.task.await {
                tracing::error!(%stream, %error, "a watch panicked; it is started again");
                metrics::counter!("vidicon_watch_restarts_total", "stream" => stream.to_string()).increment(1);
            }
        }
        for (stream, rules) in wanted {
            let rules = Arc::new(rules);
            match running.get(&stream) {
                Some(watch) => {
                    watch.rules.send_if_modified(|old| (*old != rules).then(|| *old = rules).is_some());
                }
                None => {
                    let watch = self.start(&stream, rules);
                    running.insert(stream, watch);
                }
            }
        }
        Ok(())
    }

    fn start(&self, stream: &StreamName, rules: Arc<Vec<Rule>>) -> Running {
        let (sender, receiver) = watch::channel(rules);
        let stop = self.stop.child_token();
        let watch =
            Watch { store: self.store.clone(), engine: self.engine.clone(), stream: stream.clone(), rules: receiver };
        let (span, stopped) = (tracing::info_span!("watch", %stream), stop.clone());
        let task = self.tasks.spawn(
            async move {
                // Dropping the watch closes the channels that its thread lives by.
                stopped.run_until_cancelled(watch.run()).await;
                tracing::info!("watch ended");
            }
            .instrument(span),
        );
        Running { rules: sender, stop, task }
    }
}

struct Watch {
    store: Store,
    engine: Engine,
    stream: StreamName,
    rules: Rules,
}

/// What goes to the decoding thread.
enum Feed {
    /// A video frame, and whether the frames between key frames come as well.
    Frame(Arc<LiveFrame>, bool),
    /// Frames are missing here; what follows starts at a key frame.
    Gap,
}

impl Watch {
    /// Watches until the stream is gone, starting anew with growing pauses when something breaks.
    async fn run(self) {
        tracing::info!("watch started");
        let mut pause = Duration::from_secs(1);
        loop {
            let started = Instant::now();
            match self.once().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "watching broke off; starting anew"),
            }
            metrics::counter!("vidicon_watch_restarts_total", "stream" => self.stream.to_string()).increment(1);
            if started.elapsed() > Duration::from_secs(60) {
                pause = Duration::from_secs(1);
            }
            // A little apart, so that many streams do not start anew in step.
            let apart = Duration::from_millis(u64::from(uuid::Uuid::now_v7().as_u128() as u8));
            tokio::time::sleep(pause + apart).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    /// `Ok` when the stream was deleted or the store stops.
    async fn once(&self) -> Result<(), String> {
        let Ok(stream) = self.store.stream(&self.stream) else { return Ok(()) };
        let (frames, to_decode) = mpsc::channel(FRAMES);
        let (answers, seen) = mpsc::channel(ANSWERS);
        let eyes = Eyes::open(self.store.clone(), self.stream.clone(), self.rules.clone()).await;
        let thread = DecodeThread {
            letterbox: self.engine.layout().letterbox(),
            engine: self.engine.clone(),
            stream: self.stream.clone(),
            rules: self.rules.clone(),
            answers,
            sampler: Sampler::default(),
            decoder: Chosen::None,
            in_sequence: false,
        };
        let span = tracing::Span::current();
        std::thread::Builder::new()
            .name(format!("decode {}", self.stream))
            .spawn(move || span.in_scope(|| thread.run(to_decode)))
            .map_err(|e| format!("no thread to decode on: {e}"))?;
        tokio::select! {
            followed = self.follow(stream.follow(), frames) => followed,
            // Ends when the decoding thread is gone and nothing is under way.
            () = eyes.run(seen) => Err("the decoding thread ended".to_owned()),
        }
    }

    /// Hands the video frames that the rules need to the decoding thread.
    async fn follow(&self, mut follower: store::Follower, frames: mpsc::Sender<Feed>) -> Result<(), String> {
        while let Some(followed) = follower.next().await {
            let feed = match followed {
                Followed::Frame(live) => {
                    let all = rules::needs_all_frames(&self.rules.borrow());
                    let is_video = live.fragment.header.video().is_some_and(|t| t.number == live.frame.track);
                    if !is_video || !(all || live.frame.key) {
                        continue;
                    }
                    Feed::Frame(live, all)
                }
                Followed::Skipped(count) => {
                    skipped(&self.stream, count);
                    Feed::Gap
                }
            };
            frames.send(feed).await.map_err(|_| "the decoding thread ended".to_owned())?;
        }
        Ok(())
    }
}

fn skipped(stream: &StreamName, count: u64) {
    metrics::counter!("vidicon_detect_skipped_total", "stream" => stream.to_string()).increment(count);
}

/// The decoder for the header at hand.
enum Chosen {
    None,
    Ready(HeaderId, Decoder),
    /// There is none for this header; said once.
    Refused(HeaderId),
}

/// Decodes one stream, scales the pictures that are due and offers them to the model. Ends with its channel.
struct DecodeThread {
    letterbox: Letterbox,
    engine: Engine,
    stream: StreamName,
    rules: Rules,
    answers: mpsc::Sender<Seen>,
    sampler: Sampler,
    decoder: Chosen,
    /// Whether all frames since the last key frame were decoded.
    in_sequence: bool,
}

impl DecodeThread {
    fn run(mut self, mut frames: mpsc::Receiver<Feed>) {
        let mut pictures = Vec::new();
        while let Some(feed) = frames.blocking_recv() {
            match feed {
                Feed::Gap => {
                    self.in_sequence = false;
                    if let Chosen::Ready(_, decoder) = &mut self.decoder {
                        decoder.drain(&mut pictures);
                    }
                }
                Feed::Frame(live, all) => self.frame(&live, all, &mut pictures),
            }
            for picture in pictures.drain(..) {
                self.offer(picture);
            }
        }
    }

    fn frame(&mut self, live: &LiveFrame, all: bool, pictures: &mut Vec<Picture>) {
        if live.frame.key {
            self.choose(live, pictures);
            self.in_sequence = true;
        }
        let Chosen::Ready(_, decoder) = &mut self.decoder else { return };
        if !self.in_sequence {
            return;
        }
        if let Err(error) = decoder.push(live, pictures) {
            tracing::warn!(%error, fragment = %live.fragment.number, index = live.index, "decoding goes on at the next key frame");
            skipped(&self.stream, 1);
            (self.decoder, self.in_sequence) = (Chosen::None, false);
        } else if !all {
            // The picture at hand would otherwise wait for the next key frames to come out.
            decoder.drain(pictures);
            self.in_sequence = false;
        }
    }

    /// Makes a decoder where the header changed.
    fn choose(&mut self, live: &LiveFrame, pictures: &mut Vec<Picture>) {
        let header = &live.fragment.header;
        match &mut self.decoder {
            Chosen::Ready(id, _) | Chosen::Refused(id) if *id == header.id => return,
            Chosen::Ready(_, old) => old.drain(pictures),
            _ => {}
        }
        self.decoder = match Decoder::new(header) {
            Ok(decoder) => Chosen::Ready(header.id, decoder),
            Err(error) => {
                match error {
                    decode::Error::Codec(_) => tracing::warn!(%error, "this stream is not watched"),
                    _ => tracing::error!(%error, "this stream is not watched"),
                }
                Chosen::Refused(header.id)
            }
        };
    }

    /// Puts a picture in line for the model if it is due; what finds no room is dropped and counted.
    fn offer(&mut self, picture: Picture) {
        let rules = self.rules.borrow().clone();
        if !self.sampler.wants(&rules, picture.shot.time, picture.shot.key) {
            return;
        }
        let dropped = match self.answers.clone().try_reserve_owned() {
            Ok(answer) => match picture.with_image(|image| self.letterbox.fill(image)) {
                Some(input) => {
                    let job = Job { picture, input, min_score: rules::min_score(&rules), answer };
                    self.engine.submit(&self.stream, job)
                }
                None => {
                    tracing::warn!("a decoded picture could not be read");
                    true
                }
            },
            Err(_) => true,
        };
        if dropped {
            skipped(&self.stream, 1);
        }
    }
}
