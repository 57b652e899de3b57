//! From a source's items, a camera's or a publisher's, to fragments in the store: clock, access-unit check, fragmenter, writer. No task, no socket.

use crate::source::{Item, Unit, VIDEO};
use crate::{
    Failure, access_unit,
    clock::{self, Clock},
};
use media::fragmenter::{Fragmenter, Limits};
use media::{Cause, Event, Frame, HeaderId, StreamName, UnixMicros};
use metrics::counter;

/// Limits of a fragment: Matroska block times fit 32 s; 48 MiB is a minute of a very good camera.
const LIMITS: Limits = Limits { max_duration_ms: 30_000, max_bytes: 48 << 20 };

/// Records one session of a source.
pub struct Recorder {
    stream: StreamName,
    clock: Clock,
    fragmenter: Fragmenter,
    writer: store::Writer,
    header: Option<HeaderId>,
    /// The time of the last sound since the last jump.
    last_sound: Option<UnixMicros>,
    /// Scratch, so that a frame costs no allocation.
    events: Vec<Event>,
}

impl Recorder {
    /// A recorder for a session whose first fragment carries `cause`. `lead_us` is [`Clock::lead_us`] of the session before.
    pub fn new(stream: &store::Stream, rates_hz: &[u32], lead_us: i64, cause: Cause) -> Self {
        let mut fragmenter = Fragmenter::new(LIMITS);
        fragmenter.discontinuity(cause);
        Recorder {
            stream: stream.info().name,
            clock: Clock::continuing(rates_hz, lead_us),
            fragmenter,
            writer: stream.writer(),
            header: None,
            last_sound: None,
            events: Vec::with_capacity(4),
        }
    }

    /// Takes an item; whether it was a picture. An error means that nothing more can be recorded in this session.
    pub fn take(&mut self, item: Item) -> Result<bool, Failure> {
        match item {
            Item::Frame(unit) => return self.unit(unit),
            Item::Report { track, rtp, ntp, arrival } => self.clock.sender_report(track, rtp, ntp, arrival),
            Item::Tracks(tracks) => {
                let header = media::mkv::write_header(&tracks);
                if self.header != Some(header.id) {
                    tracing::info!(format = %media::describe(&header), "format");
                    self.header = Some(header.id);
                    self.fragmenter.header(header.shared());
                }
            }
            Item::Lost(packets) => self.lost(packets),
        }
        Ok(false)
    }

    fn unit(&mut self, unit: Unit) -> Result<bool, Failure> {
        let is_video = unit.track == VIDEO;
        if is_video && unit.lost > 0 {
            self.lost(unit.lost);
        } else if unit.lost > 0 {
            // A hole in the sound is no reason to cut the pictures.
            self.count_lost(unit.lost);
        }
        let key = if is_video {
            match access_unit::look(&unit.data) {
                Ok(contents) if contents.has_picture() => contents.is_key(),
                Ok(_) => return Ok(false),
                Err(malformed) => {
                    tracing::debug!(%malformed, "unusable picture");
                    self.lost(1);
                    return Ok(false);
                }
            }
        } else {
            true
        };
        let stamp = self.clock.frame(unit.track, unit.rtp, unit.arrival);
        if stamp.jumped {
            tracing::warn!(time = %stamp.time.to_millis().to_rfc3339(), "the camera's clock jumped");
            self.fragmenter.discontinuity(Cause::TimeJump);
            self.last_sound = None;
        }
        if !is_video {
            // The sound's clock may be put back beside the pictures' alone. What comes twice then is left out: readers need times
            // of a track to go on, and nobody hears 20 ms.
            if self.last_sound.is_some_and(|last| stamp.time.to_millis() <= last.to_millis()) {
                self.count_lost(1);
                return Ok(false);
            }
            self.last_sound = Some(stamp.time);
        }
        let frame = Frame { track: unit.track as u8 + 1, time: stamp.time, key, data: unit.data };
        self.fragmenter.push(frame, &mut self.events);
        self.offer()?;
        Ok(is_video)
    }

    /// What times are derived from now.
    pub(crate) fn clock_source(&self) -> clock::Source {
        self.clock.source()
    }

    /// Completes the open fragment; returns what [`Recorder::new`] of the next session wants as `lead_us`.
    pub fn finish(mut self) -> i64 {
        self.fragmenter.finish(&mut self.events);
        if let Err(failure) = self.offer() {
            tracing::warn!(reason = %failure.message, "the last fragment of the session was not recorded");
        }
        tracing::debug!(dropped_frames = self.fragmenter.dropped_frames(), "session recorded");
        self.clock.lead_us()
    }

    fn lost(&mut self, packets: u32) {
        self.count_lost(packets);
        self.fragmenter.discontinuity(Cause::PacketLoss);
    }

    fn count_lost(&self, packets: u32) {
        counter!("vidicon_camera_lost_packets_total", "stream" => self.stream.to_string())
            .increment(u64::from(packets));
    }

    fn offer(&mut self) -> Result<(), Failure> {
        for event in self.events.drain(..) {
            if let Event::Begin(start) = &event
                && let Some(cause) = start.cause
            {
                counter!("vidicon_camera_discontinuities_total", "stream" => self.stream.to_string(), "cause" => name(cause)).increment(1);
            }
            // A full budget is the writer's affair: it drops whole groups of pictures and counts them.
            self.writer
                .offer(event)
                .map_err(|e| Failure::new("store", format!("the recording cannot be written: {e}")))?;
        }
        Ok(())
    }
}

/// A cause as the APIs and metrics spell it.
fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "start",
        Cause::ServerStopped => "server_stopped",
        Cause::SourceLost => "source_lost",
        Cause::SourceStopped => "source_stopped",
        Cause::TimeJump => "time_jump",
        Cause::PacketLoss => "packet_loss",
        Cause::Overload => "overload",
        Cause::FragmentTooLong => "fragment_too_long",
        Cause::ProducerPause => "producer_pause",
        Cause::Damaged => "damaged",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::source::AUDIO;
    use bytes::Bytes;
    use media::{Track, TrackKind, UnixMillis};
    use std::{sync::Arc, time::Duration};
    use store::{Position, Range, Store};

    const T0_US: i64 = 1_795_404_896_353_000;

    fn tracks() -> Vec<Track> {
        let track = |number, kind, codec: &str, size, audio| Track {
            number,
            kind,
            codec_id: codec.to_owned(),
            codec_private: Bytes::from_static(&[1, 0x42, 0xc0, 0x0b, 0xff, 0xe0, 0]),
            size,
            audio,
        };
        vec![
            track(1, TrackKind::Video, Track::H264, Some((320, 180)), None),
            track(2, TrackKind::Audio, Track::AAC, None, Some((48_000, 1))),
        ]
    }

    #[tokio::test]
    async fn sound_whose_clock_is_put_back_goes_on_and_comes_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = store::Config { data: folder.path().to_owned(), commit_interval_ms: 20, ..Default::default() };
        let store = Store::open(config, Arc::new(|| UnixMillis(T0_US / 1000))).await.unwrap();
        let stream = store.create_stream(&"gate".parse().unwrap(), Some(1)).await.unwrap();
        let mut recorder = Recorder::new(&stream, &[90_000, 48_000], 0, Cause::Start);
        recorder.take(Item::Tracks(tracks())).unwrap();
        for n in 0..100u32 {
            let arrival = UnixMicros(T0_US + i64::from(n) * 20_000);
            let picture: &'static [u8] =
                if n % 25 == 0 { &[0, 0, 0, 2, 0x65, 0x88] } else { &[0, 0, 0, 2, 0x41, 0x9a] };
            let data = Bytes::from_static(picture);
            recorder.take(Item::Frame(Unit { track: VIDEO, rtp: n * 1800, arrival, lost: 0, data })).unwrap();
            // It runs 300 ms ahead, and then its time stamps begin anew.
            let (rtp, ahead) = if n < 60 { (n * 960, 300_000) } else { (n * 960 + 99_000_000, 0) };
            let arrival = UnixMicros(arrival.0 + ahead);
            let data = Bytes::from_static(b"sound");
            recorder.take(Item::Frame(Unit { track: AUDIO, rtp, arrival, lost: 0, data })).unwrap();
        }
        recorder.finish();
        let all = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
        let fragments = async {
            loop {
                let found = stream.fragments(all, Position::Start, 100).await.unwrap();
                if found.len() == 4 {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let fragments = tokio::time::timeout(Duration::from_secs(20), fragments).await.unwrap();
        let mut sound = Vec::new();
        for meta in &fragments {
            let frames = stream.fragment(meta.number).await.unwrap().frames().unwrap();
            sound.extend(frames.iter().filter(|f| f.track == 2).map(|f| f.time));
        }
        assert!(sound.windows(2).all(|w| w[0] < w[1]), "{sound:?}");
        assert!((80..100).contains(&sound.len()), "{}", sound.len());
        store.stop().await.unwrap();
    }
}
