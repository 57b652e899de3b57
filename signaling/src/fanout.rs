//! One packetisation of a stream for all its viewers.
//!
//! What belongs here: turning live frames into pictures cut into RTP payloads, once, and keeping those since the last
//! key frame for whoever comes next. What does not: anything of a single viewer (see `rtp`).

use crate::demux::PeerKey;
use crate::room::{Held, Room};
use bytes::Bytes;
use media::h264::{self, Avcc};
use media::rtp::{h264::Payload, sound::Sound};
use media::{Header, HeaderId, UnixMicros};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Followed, LiveFrame, Stream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Payload bytes of a packet: with 12 of header, 16 of authentication tag and 48 of IPv6 and UDP it stays under 1280,
/// which every path carries.
const PAYLOAD_BYTES: usize = 1180;
/// A longer packet of sound does not fit into a datagram that every path carries: it is left out.
const MOST_SOUND_BYTES: usize = 1275;
/// Pictures since the last key frame are kept up to this many bytes; a longer run makes new viewers wait for a key.
const MOST_CACHED_BYTES: usize = 16 << 20;
/// And up to this many pictures: catching up on more takes a viewer longer than waiting.
const MOST_CACHED: usize = 900;
/// A jump of producer time by more than this does not become a jump of media time.
const MOST_STEP_MICROS: i64 = 10_000_000;
/// What a jump becomes instead.
const JUMP_STEP_90K: u64 = 3_000;
/// Without a new picture for so long, a stream is not live.
pub(crate) const LIVE_FOR: Duration = Duration::from_secs(10);
/// Why a stream with reordered pictures is refused.
pub(crate) const B_FRAMES: &str = "The camera sends B-frames, which WebRTC cannot show. HLS can; or turn B-frames off in \
                                   the camera's encoder settings.";
/// A feed without viewers ends after this.
const LINGER: Duration = Duration::from_secs(15);

/// Sound whose time is off by more than this from where the sound before it ended does not follow that, in microseconds. Less is the
/// clock of a producer that counts in milliseconds; a browser would hear each of them as a gap.
const MOST_SLIP_MICROS: i64 = 60_000;

/// What of a stream WebRTC can play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracks {
    /// profile_idc and constraint flags of the pictures.
    pub(crate) video: Option<[u8; 2]>,
    /// What the sound is.
    pub(crate) sound: Option<Sound>,
}

/// A picture, cut into RTP payloads, or a packet of sound, which is always a key. Shared by all viewers.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Its payloads, never empty; the last one of a picture has the marker.
    pub(crate) payloads: Vec<Payload>,
    /// Bytes of all payloads.
    pub(crate) bytes: usize,
    /// Whether decoding can start here.
    pub(crate) key: bool,
    /// Producer time.
    pub(crate) time: UnixMicros,
    /// Media time since the feed began, in units of its RTP clock; only grows, also where producer time does not.
    pub(crate) media_time: u64,
    /// What its stream has.
    pub(crate) tracks: Tracks,
    /// What it takes of the room of all pictures.
    pub(crate) held: Option<Held>,
}

impl Picture {
    /// Bytes that it takes in memory.
    pub(crate) fn footprint(&self) -> u64 {
        (size_of::<Picture>() + self.payloads.len() * size_of::<Payload>() + self.bytes) as u64
    }

    /// Takes room for it; waits where there is none.
    pub(crate) async fn hold(mut self, room: &Arc<Room>) -> Picture {
        self.held = Some(room.take(self.footprint()).await);
        self
    }
}

/// Media time out of producer time.
#[derive(Default)]
struct MediaClock {
    /// Producer time and media time that belong together.
    anchor: Option<(UnixMicros, u64)>,
    last: Option<(UnixMicros, u64)>,
}

impl MediaClock {
    fn at(&mut self, time: UnixMicros) -> u64 {
        let (Some(anchor), Some(last)) = (self.anchor, self.last) else {
            self.anchor = Some((time, 0));
            self.last = Some((time, 0));
            return 0;
        };
        let step = time.0.saturating_sub(last.0.0);
        let media = if (1..=MOST_STEP_MICROS).contains(&step) {
            // From the anchor, so that rounding does not add up.
            (anchor.1 + ((time.0 - anchor.0.0) as u64 * 9 / 100)).max(last.1 + 1)
        } else {
            self.anchor = Some((time, last.1 + JUMP_STEP_90K));
            last.1 + JUMP_STEP_90K
        };
        self.last = Some((time, media));
        media
    }
}

/// Media time of sound out of producer time: packets follow each other without a gap, as long as their times nearly do.
#[derive(Default)]
struct SoundClock {
    /// Producer time and media time at which the last packet ends.
    end: Option<(i64, u64)>,
}

impl SoundClock {
    /// Of a packet that plays for so many units of a clock of so many a second.
    fn at(&mut self, time: UnixMicros, duration: u32, clock_hz: u32) -> u64 {
        let micros = |units: u64| (units * 1_000_000 / u64::from(clock_hz)) as i64;
        let (start, media) = match self.end {
            None => (time.0, 0),
            Some((end, media)) => match time.0.saturating_sub(end) {
                slip if slip.abs() <= MOST_SLIP_MICROS => (end, media),
                gap if (0..=MOST_STEP_MICROS).contains(&gap) => {
                    (time.0, media + gap as u64 * u64::from(clock_hz) / 1_000_000)
                }
                // A jump is heard as nothing: what comes plays on.
                _ => (time.0, media),
            },
        };
        self.end = Some((start.saturating_add(micros(duration.into())), media + u64::from(duration)));
        media
    }
}

/// What a header says that packetising needs.
struct Codec {
    header: HeaderId,
    tracks: Tracks,
    video: Option<Video>,
    /// The track of the sound.
    sound: Option<(u8, Sound)>,
}

struct Video {
    track: u8,
    length_size: u8,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

impl Codec {
    /// Reads a header. The error is a sentence for the viewer.
    fn of(header: &Header) -> Result<Codec, String> {
        let sound = header.tracks.iter().find_map(|track| Some((track.number, Sound::of(track)?)));
        let codec =
            Codec { header: header.id, tracks: Tracks { video: None, sound: sound.map(|s| s.1) }, video: None, sound };
        let Some(track) = header.video() else {
            return match sound {
                Some(_) => Ok(codec),
                None => Err("The stream has no video, and no sound that WebRTC can play (Opus, G.711).".to_owned()),
            };
        };
        if !track.is_h264() {
            let id: String = track.codec_id.chars().take(40).collect();
            return Err(format!(
                "The video is {id}. WebRTC viewers are sent H.264 only; HLS plays it where the browser can."
            ));
        }
        let broken = || "The stream's H.264 configuration cannot be read.".to_owned();
        let avcc = Avcc::parse(&track.codec_private).map_err(|_| broken())?;
        let (sps, pps) = (avcc.sps().to_vec(), avcc.pps().to_vec());
        let first = sps.first().ok_or_else(broken)?;
        let profile = [*first.get(1).ok_or_else(broken)?, *first.get(2).ok_or_else(broken)?];
        let video = Video { track: track.number, length_size: avcc.length_size(), sps, pps };
        Ok(Codec { tracks: Tracks { video: Some(profile), ..codec.tracks }, video: Some(video), ..codec })
    }
}

/// Makes pictures of frames. Pure.
#[derive(Default)]
pub(crate) struct Packetizer {
    codec: Option<Codec>,
    clock: MediaClock,
    sound_clock: SoundClock,
}

impl Packetizer {
    /// Cuts a frame. `None` if it is not of the video track or holds nothing. The error says why the stream cannot be
    /// shown by WebRTC.
    pub(crate) fn frame(&mut self, live: &LiveFrame) -> Result<Option<Picture>, String> {
        let header = &live.fragment.header;
        let codec = match &mut self.codec {
            Some(codec) if codec.header == header.id => codec,
            codec => codec.insert(Codec::of(header)?),
        };
        let (frame, tracks) = (&live.frame, codec.tracks);
        let Some(codec) = codec.video.as_ref().filter(|video| video.track == frame.track) else { return Ok(None) };
        let mut has_parameters = false;
        for nal in h264::nal_units(&frame.data, codec.length_size) {
            // A frame that is cut short is the producer's; what came before the cut is still shown.
            let Ok(nal) = nal else { break };
            has_parameters |= nal.first().is_some_and(|first| h264::nal_type(*first) == 7);
            if h264::is_b_slice(&nal) {
                return Err(B_FRAMES.to_owned());
            }
        }
        let parameters = (frame.key && !has_parameters).then_some((&codec.sps[..], &codec.pps[..]));
        let mut payloads = Vec::new();
        media::rtp::h264::packetize(&frame.data, codec.length_size, parameters, PAYLOAD_BYTES, &mut payloads);
        if payloads.is_empty() {
            return Ok(None);
        }
        let bytes = payloads.iter().map(|p: &Payload| p.head().len() + p.body.len()).sum();
        let media_time = self.clock.at(frame.time);
        let (key, time) = (frame.key, frame.time);
        Ok(Some(Picture { payloads, bytes, key, time, media_time, tracks, held: None }))
    }

    /// The packets of sound in a frame: none if it is of another track, or [`Packetizer::frame`] has not seen it, or it is no sound.
    pub(crate) fn sound(&mut self, live: &LiveFrame) -> Vec<Picture> {
        let Some(codec) = self.codec.as_ref().filter(|codec| codec.header == live.fragment.header.id) else {
            return Vec::new();
        };
        let Some((_, sound)) = codec.sound.filter(|(track, _)| *track == live.frame.track) else { return Vec::new() };
        let mut rest = live.frame.data.clone();
        let mut packets = Vec::new();
        let mut time = live.frame.time;
        while !rest.is_empty() {
            // An Opus packet is one packet; of G.711, each sample is a byte that stands alone.
            let length = if sound == Sound::Opus { rest.len() } else { rest.len().min(PAYLOAD_BYTES) };
            let body = rest.split_to(length);
            let Some(duration) = sound.duration(&body).filter(|_| length <= MOST_SOUND_BYTES) else { break };
            let media_time = self.sound_clock.at(time, duration, sound.clock_hz());
            let payloads = vec![Payload::whole(body)];
            packets.push(Picture {
                payloads,
                bytes: length,
                key: true,
                time,
                media_time,
                tracks: codec.tracks,
                held: None,
            });
            time = UnixMicros(time.0.saturating_add(i64::from(duration) * 1_000_000 / i64::from(sound.clock_hz())));
        }
        packets
    }
}

/// The pictures since the last key frame.
#[derive(Default)]
pub(crate) struct Cache {
    pictures: Vec<Arc<Picture>>,
    bytes: usize,
}

impl Cache {
    /// Adds the newest picture.
    pub(crate) fn push(&mut self, picture: &Arc<Picture>) {
        let full = self.bytes + picture.bytes > MOST_CACHED_BYTES || self.pictures.len() == MOST_CACHED;
        if picture.key || full {
            self.clear();
        }
        // After a run that was too long, nothing is kept until the next key frame.
        if picture.key || !self.pictures.is_empty() {
            self.bytes += picture.bytes;
            self.pictures.push(picture.clone());
        }
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of them: who comes now waits for the next key frame.
    pub(crate) fn clear(&mut self) {
        self.pictures.clear();
        self.bytes = 0;
    }

    /// What a new viewer starts with: empty, or beginning with a key frame.
    pub(crate) fn pictures(&self) -> &[Arc<Picture>] {
        &self.pictures
    }
}

/// What is known of a feed by those who wait for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    /// No key frame yet.
    Waiting,
    /// Pictures or sound come: what the stream has, and when the newest came.
    Live(Tracks, Instant),
    /// It cannot be shown by WebRTC, and why.
    Unplayable(String),
    /// The stream is gone.
    Ended,
}

/// What a feed's task reports.
pub(crate) enum FeedEvent {
    /// A new picture.
    Picture(Arc<Picture>),
    /// A new packet of sound.
    Sound(Arc<Picture>),
    /// The task was too slow for the stream and missed so many frames.
    Skipped(u64),
    /// The stream cannot be shown by WebRTC, and why. The task has ended.
    Unplayable(String),
    /// The stream is gone. The task has ended.
    Ended,
}

/// A stream that has or had viewers, as the task of all peers keeps it.
pub(crate) struct Feed {
    /// The stream's name, for metrics and logs.
    pub(crate) name: Arc<str>,
    /// What a new viewer starts with.
    pub(crate) cache: Cache,
    /// Its viewers.
    pub(crate) viewers: Vec<PeerKey>,
    /// Told to those who wait in an offer.
    pub(crate) condition: watch::Sender<Condition>,
    /// When it last had a viewer or was asked for.
    pub(crate) wanted: Instant,
    /// Ends the task that follows the stream.
    pub(crate) stop: CancellationToken,
}

impl Feed {
    /// A feed that waits for its first picture.
    pub(crate) fn new(name: &str, stop: CancellationToken, now: Instant) -> Self {
        let condition = watch::Sender::new(Condition::Waiting);
        metrics::counter!("vidicon_webrtc_skipped_frames_total", "stream" => name.to_owned()).increment(0);
        Feed { name: name.into(), cache: Cache::default(), viewers: Vec::new(), condition, wanted: now, stop }
    }

    /// Whether nobody has wanted it for long enough.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.viewers.is_empty() && now.saturating_duration_since(self.wanted) > LINGER
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Follows one stream and packetises it, for all its viewers.
pub(crate) struct FeedTask {
    /// The stream to follow.
    pub(crate) stream: Stream,
    /// The feed's number, beside every event.
    pub(crate) feed: u64,
    /// Where pictures go. When it is full the follower falls behind, and the store skips for it.
    pub(crate) events: mpsc::Sender<(u64, FeedEvent)>,
    /// What they take room of. Where there is none, likewise.
    pub(crate) room: Arc<Room>,
    /// Ends it.
    pub(crate) stop: CancellationToken,
}

impl FeedTask {
    /// Runs until the stream ends, cannot be shown, or nobody wants it any more.
    pub(crate) async fn run(self) {
        tracing::debug!("following for WebRTC viewers");
        let (events, feed) = (self.events.clone(), self.feed);
        let last = tokio::select! {
            last = self.follow() => last,
            () = self.stop.cancelled() => None,
        };
        if let Some(last) = last {
            // The receiver is gone only when everything stops.
            let _ = events.send((feed, last)).await;
        }
        tracing::debug!("no longer following for WebRTC viewers");
    }

    async fn follow(&self) -> Option<FeedEvent> {
        let mut follower = self.stream.follow();
        let mut packetizer = Packetizer::default();
        while let Some(followed) = follower.next().await {
            let event = match followed {
                Followed::Skipped(frames) => FeedEvent::Skipped(frames),
                Followed::Frame(live) => match packetizer.frame(&live) {
                    Ok(Some(picture)) => FeedEvent::Picture(Arc::new(picture.hold(&self.room).await)),
                    Ok(None) => {
                        for packet in packetizer.sound(&live) {
                            let event = FeedEvent::Sound(Arc::new(packet.hold(&self.room).await));
                            self.events.send((self.feed, event)).await.ok()?;
                        }
                        continue;
                    }
                    Err(why) => return Some(FeedEvent::Unplayable(why)),
                },
            };
            self.events.send((self.feed, event)).await.ok()?;
        }
        Some(FeedEvent::Ended)
    }
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
