//! From a source's items to fragments in the store: clock, access-unit check, fragmenter, writer. No task, no socket.

use crate::source::{Item, Unit, VIDEO};
use crate::{
    Failure, access_unit,
    clock::{self, Clock},
};
use media::fragmenter::{Fragmenter, Limits};
use media::{Cause, Event, Frame, HeaderId, StreamName};
use metrics::counter;

/// Limits of a fragment: Matroska block times fit 32 s; 48 MiB is a minute of a very good camera.
const LIMITS: Limits = Limits { max_duration_ms: 30_000, max_bytes: 48 << 20 };

/// Records one session of a source.
pub(crate) struct Recorder {
    stream: StreamName,
    clock: Clock,
    fragmenter: Fragmenter,
    writer: store::Writer,
    header: Option<HeaderId>,
    /// Scratch, so that a frame costs no allocation.
    events: Vec<Event>,
}

impl Recorder {
    /// A recorder for a session whose first fragment carries `cause`. `lead_us` is [`Clock::lead_us`] of the session before.
    pub(crate) fn new(stream: &store::Stream, rates_hz: &[u32], lead_us: i64, cause: Cause) -> Self {
        let mut fragmenter = Fragmenter::new(LIMITS);
        fragmenter.discontinuity(cause);
        Recorder {
            stream: stream.info().name,
            clock: Clock::continuing(rates_hz, lead_us),
            fragmenter,
            writer: stream.writer(),
            header: None,
            events: Vec::with_capacity(4),
        }
    }

    /// Takes an item; whether it was a picture. An error means that nothing more can be recorded in this session.
    pub(crate) fn take(&mut self, item: Item) -> Result<bool, Failure> {
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
    pub(crate) fn finish(mut self) -> i64 {
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
