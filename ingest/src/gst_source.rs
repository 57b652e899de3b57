//! Sources that are GStreamer pipelines: whatever a pipeline can read, and RTSP cameras that retina does not get on with.
//!
//! One thread per source builds the pipeline, watches its bus and takes it down, because state changes may block. Sample
//! callbacks run on GStreamer's streaming threads and hand items over a bounded channel; when the recorder is gone, their
//! next hand-over fails and ends the stream. Buffers are mapped, not copied.

use crate::failure::tame;
use crate::source::{AUDIO, Item, Unit, VIDEO};
use crate::{Failure, address::Server};
use bytes::Bytes;
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks};
use media::{Track, TrackKind, UnixMicros};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::records::{Camera, Transport};
use tokio::sync::{mpsc, oneshot};

/// Presentation times are handed on at this rate, on both tracks.
pub(crate) const RATE_HZ: u32 = 90_000;
/// Items between the streaming threads and the recorder; a full channel makes the pipeline wait.
const CHANNEL_ITEMS: usize = 64;
/// Video waits so long for the audio's parameters when the pipeline has an audio sink.
const AUDIO_WAIT: Duration = Duration::from_secs(2);
/// How often the bus thread looks whether it is still wanted.
const BUS_TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// How long a pipeline that does not start is given to say why.
const ERROR_WAIT: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How long a closing session waits for its pipeline to stop.
const STOP_WAIT: Duration = Duration::from_millis(800);

const VIDEO_CAPS: &str = "video/x-h264,stream-format=avc,alignment=au";
const AUDIO_CAPS: &str = "audio/mpeg,mpegversion=4,stream-format=raw";

/// The pipeline behind `rtsp+gst://`. Location and credentials are set as properties, never written into this text.
const RTSP_PIPELINE: &str = "rtspsrc name=source latency=200 \
    source. ! application/x-rtp,media=video,encoding-name=H264 ! rtph264depay ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video sync=false async=false \
    source. ! application/x-rtp,media=audio,encoding-name=MPEG4-GENERIC ! rtpmp4gdepay ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw ! appsink name=audio sync=false async=false";

type Sender = mpsc::Sender<Result<Item, Failure>>;

/// A running pipeline.
pub(crate) struct Session {
    items: mpsc::Receiver<Result<Item, Failure>>,
    stopped: oneshot::Receiver<()>,
    /// What failures name as their place.
    shown: String,
}

/// Starts a pipeline given as text.
pub(crate) fn open_pipeline(name: &str, pipeline: String) -> Result<Session, Failure> {
    start(name, "pipeline".to_owned(), move || build(&pipeline))
}

/// Starts the pipeline that reads an RTSP server, at the first of its checked addresses.
pub(crate) async fn open_rtsp(server: &Server, camera: &Camera) -> Result<Session, Failure> {
    let address = *server.resolve().await?.first().expect("resolve returns at least one address");
    let location = server.url_at(address)?.to_string();
    let camera = camera.clone();
    start(camera.stream.clone().as_str(), server.shown(), move || {
        let pipeline = build(RTSP_PIPELINE)?;
        let source = pipeline.by_name("source").ok_or_else(|| Failure::new("pipeline", "rtspsrc is missing"))?;
        source.set_property("location", &location);
        source.set_property_from_str("protocols", if camera.transport == Transport::Udp { "udp" } else { "tcp" });
        if let Some(username) = &camera.username {
            source.set_property("user-id", username);
            source.set_property("user-pw", camera.password.as_ref().map(|p| p.0.as_str()).unwrap_or_default());
        }
        Ok(pipeline)
    })
}

fn start(
    name: &str,
    shown: String,
    build: impl FnOnce() -> Result<gst::Bin, Failure> + Send + 'static,
) -> Result<Session, Failure> {
    let (sender, items) = mpsc::channel(CHANNEL_ITEMS);
    let (done, stopped) = oneshot::channel();
    let span = tracing::Span::current();
    let thread = std::thread::Builder::new().name(format!("gst-{}", name.chars().take(11).collect::<String>()));
    let spawned = thread.spawn(move || {
        let _entered = span.enter();
        if let Err(failure) = run(build, &sender) {
            // The receiver is gone when the session was closed; then nobody asks why.
            let _ = sender.blocking_send(Err(failure));
        }
        let _ = done.send(());
    });
    spawned.map_err(|e| Failure::new("pipeline", format!("no thread for the pipeline: {e}")))?;
    Ok(Session { items, stopped, shown })
}

impl Session {
    /// The next item; a failure ends the session. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Item, Failure> {
        let item = self.items.recv().await.unwrap_or_else(|| Err(Failure::new("lost", "it stopped")));
        item.map_err(|failure| Failure::new(failure.code, format!("{}: {}", self.shown, failure.message)))
    }

    /// Lets go of the pipeline and waits a moment for it to stop.
    pub(crate) async fn close(self) {
        drop(self.items);
        let _ = tokio::time::timeout(STOP_WAIT, self.stopped).await;
    }
}

fn build(text: &str) -> Result<gst::Bin, Failure> {
    gst::init().map_err(|e| Failure::new("pipeline", format!("GStreamer does not start: {e}")))?;
    let element = gst::parse::launch(text).map_err(|e| {
        Failure::new("pipeline", format!("GStreamer does not accept the pipeline: {}", tame(e.message())))
    })?;
    element.downcast::<gst::Bin>().map_err(|_| {
        Failure::new("pipeline", "the pipeline is a single element; it needs a source and `appsink name=video`")
    })
}

/// Runs a pipeline until it fails or nobody wants it any more.
fn run(build: impl FnOnce() -> Result<gst::Bin, Failure>, sender: &Sender) -> Result<(), Failure> {
    let pipeline = build()?;
    let video = sink(&pipeline, "video")?
        .ok_or_else(|| Failure::new("pipeline", "the pipeline has no element `appsink name=video`"))?;
    let audio = sink(&pipeline, "audio")?;
    let tracks = Arc::new(Mutex::new(Tracks {
        video: None,
        audio: None,
        audio_until: audio.as_ref().map(|_| Instant::now() + AUDIO_WAIT),
        announced: false,
    }));
    connect(&video, VIDEO, VIDEO_CAPS, sender, &tracks);
    if let Some(audio) = &audio {
        connect(audio, AUDIO, AUDIO_CAPS, sender, &tracks);
    }
    let bus = pipeline.bus().ok_or_else(|| Failure::new("pipeline", "the pipeline has no bus"))?;
    tracing::debug!("pipeline starts");
    let outcome = match pipeline.set_state(gst::State::Playing) {
        Ok(_) => watch(&bus, sender),
        // The bus knows more than the return value.
        Err(e) => watch_once(&bus, ERROR_WAIT)
            .unwrap_or_else(|| Err(Failure::new("pipeline", format!("the pipeline does not start: {e}")))),
    };
    // Streaming threads that wait for room are let go either by the recorder, which goes on taking, or by its end.
    if pipeline.set_state(gst::State::Null).is_err() {
        tracing::warn!("the pipeline did not stop cleanly");
    }
    tracing::debug!("pipeline ended");
    outcome
}

fn sink(pipeline: &gst::Bin, name: &str) -> Result<Option<AppSink>, Failure> {
    let Some(element) = pipeline.by_name(name) else { return Ok(None) };
    element
        .downcast::<AppSink>()
        .map(Some)
        .map_err(|_| Failure::new("pipeline", format!("the element named {name} is no appsink")))
}

fn watch(bus: &gst::Bus, sender: &Sender) -> Result<(), Failure> {
    while !sender.is_closed() {
        if let Some(outcome) = watch_once(bus, BUS_TICK) {
            return outcome;
        }
    }
    Ok(())
}

fn watch_once(bus: &gst::Bus, wait: gst::ClockTime) -> Option<Result<(), Failure>> {
    let message = bus.timed_pop_filtered(wait, &[gst::MessageType::Error, gst::MessageType::Eos])?;
    let gst::MessageView::Error(error) = message.view() else {
        return Some(Err(Failure::new("lost", "GStreamer came to the end of the stream")));
    };
    let (error, element) = (error.error(), error.src().map(|s| s.name().to_string()).unwrap_or_default());
    let code = match () {
        _ if error.matches(gst::ResourceError::NotAuthorized) => "unauthorized",
        _ if error.matches(gst::ResourceError::NotFound) => "not_found",
        _ => "pipeline",
    };
    Some(Err(Failure::new(code, format!("GStreamer element {element}: {}", tame(error.message())))))
}

/// What is known of the tracks; shared by the two sinks' callbacks.
struct Tracks {
    video: Option<Track>,
    audio: Option<Track>,
    /// Until when video waits for the audio's parameters.
    audio_until: Option<Instant>,
    announced: bool,
}

impl Tracks {
    /// Takes a track as its caps say it is now. Returns what to announce, and whether frames may flow.
    fn learn(&mut self, index: usize, changed: Option<Track>) -> (Option<Vec<Track>>, bool) {
        let news = changed.is_some();
        if let Some(track) = changed {
            *(if index == VIDEO { &mut self.video } else { &mut self.audio }) = Some(track);
        }
        let Some(video) = &self.video else { return (None, false) };
        if self.audio.is_none() && self.audio_until.is_some_and(|until| Instant::now() < until) {
            return (None, false);
        }
        if self.announced && !news {
            return (None, true);
        }
        self.announced = true;
        (Some([Some(video.clone()), self.audio.clone()].into_iter().flatten().collect()), true)
    }
}

fn connect(sink: &AppSink, index: usize, caps: &str, sender: &Sender, tracks: &Arc<Mutex<Tracks>>) {
    sink.set_caps(Some(&caps.parse().expect("the caps are constant and well formed")));
    sink.set_max_buffers(16);
    let (sender, tracks) = (sender.clone(), tracks.clone());
    let mut seen: Option<gst::Caps> = None;
    let on_sample = move |sink: &AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let arrival = now();
        let changed = match sample.caps() {
            Some(caps) if seen.as_ref().is_none_or(|s| s.as_ref() != caps) => {
                seen = Some(caps.to_owned());
                track(index, caps)
            }
            _ => None,
        };
        let (announce, flows) = tracks.lock().unwrap_or_else(PoisonError::into_inner).learn(index, changed);
        if let Some(tracks) = announce {
            hand_over(&sender, Item::Tracks(tracks))?;
        }
        if let (true, Some(unit)) = (flows, unit(index, &sample, arrival)) {
            hand_over(&sender, Item::Frame(unit))?;
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(on_sample).build());
}

fn hand_over(sender: &Sender, item: Item) -> Result<(), gst::FlowError> {
    sender.blocking_send(Ok(item)).map_err(|_| gst::FlowError::Eos)
}

/// The track that caps describe; `None` while they lack the codec's parameters.
fn track(index: usize, caps: &gst::CapsRef) -> Option<Track> {
    let fields = caps.structure(0)?;
    let codec_data = fields.get::<gst::Buffer>("codec_data").ok()?;
    let codec_private = Bytes::copy_from_slice(&codec_data.map_readable().ok()?);
    let number = |name: &str| fields.get::<i32>(name).ok().and_then(|n| u32::try_from(n).ok());
    Some(if index == VIDEO {
        // Everything downstream reads 4-byte lengths; the parser writes no others.
        if codec_private.get(4).is_none_or(|byte| byte & 3 != 3) {
            return None;
        }
        Track {
            number: 1,
            kind: TrackKind::Video,
            codec_id: Track::H264.to_owned(),
            codec_private,
            size: number("width").zip(number("height")),
            audio: None,
        }
    } else {
        let audio = number("rate").zip(number("channels").and_then(|n| u8::try_from(n).ok()));
        Track { number: 2, kind: TrackKind::Audio, codec_id: Track::AAC.to_owned(), codec_private, size: None, audio }
    })
}

fn unit(index: usize, sample: &gst::Sample, arrival: UnixMicros) -> Option<Unit> {
    let buffer = sample.buffer_owned()?;
    let flags = buffer.flags();
    if flags.contains(gst::BufferFlags::CORRUPTED) {
        return None;
    }
    let pts = buffer.pts().and_then(|pts| match sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>()) {
        Some(segment) => segment.to_running_time(pts),
        None => Some(pts),
    });
    // 90 kHz ticks that wrap like RTP's; a source without times is timed by arrival.
    let ticks = match pts {
        Some(pts) => u128::from(pts.nseconds()) * 9 / 100_000,
        None => arrival.0.max(0) as u128 * 9 / 100,
    };
    let lost = u32::from(
        index == VIDEO && flags.contains(gst::BufferFlags::DISCONT) && flags.contains(gst::BufferFlags::DELTA_UNIT),
    );
    let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
    Some(Unit { track: index, rtp: ticks as u32, arrival, lost, data })
}

fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
