//! RTSP by retina: connect, choose tracks, play, and turn what comes into items.
//!
//! Cost on the hot path: retina copies an access unit once, from its receive ring into a vector of its own; that vector
//! becomes the frame's `Bytes` as it is. Audio frames (some hundred bytes) are copied once more, because retina lends them
//! out only. All work here is per access unit; packets are retina's.

mod connect;
mod explain;

use crate::source::{AUDIO, Item, Unit, VIDEO};
use crate::{Failure, address::Server};
use bytes::Bytes;
use futures_util::StreamExt;
use media::{Track, TrackKind, UnixMicros};
use retina::client::{Demuxed, SessionGroup};
use retina::codec::{CodecItem, ParametersRef, VideoFrame};
use std::{sync::Arc, time::Duration};

pub(crate) use connect::open;

/// How long a closing session waits for the answer to its TEARDOWN.
const TEARDOWN_WAIT: Duration = Duration::from_millis(500);
/// A camera that sends so many unusable packets without one good picture between them is given up.
const MAX_BAD_PACKETS: u32 = 200;

/// A playing RTSP session.
pub(crate) struct Session {
    demuxed: Demuxed,
    server: Server,
    group: Arc<SessionGroup>,
    via: &'static str,
    video: Chosen,
    audio: Option<(Chosen, Track)>,
    remarks: Vec<String>,
    announced: bool,
    bad_packets: u32,
    /// An item that follows the one just given out.
    pending: Option<Item>,
}

/// A stream of the presentation that was set up.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    stream: usize,
    rate_hz: u32,
}

impl Session {
    /// How RTP travels.
    pub(crate) fn via(&self) -> &'static str {
        self.via
    }
    /// Clock rates, video first.
    pub(crate) fn rates_hz(&self) -> Vec<u32> {
        [Some(self.video), self.audio.as_ref().map(|(chosen, _)| *chosen)]
            .into_iter()
            .flatten()
            .map(|c| c.rate_hz)
            .collect()
    }
    /// What is not recorded, and why.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The next item; a failure ends the session. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Item, Failure> {
        if let Some(item) = self.pending.take() {
            return Ok(item);
        }
        loop {
            let item = match self.demuxed.next().await {
                None => return Err(Failure::new("lost", format!("{} closed the connection", self.server.shown()))),
                Some(Err(error)) => return self.forgive(&error).map(Item::Lost),
                Some(Ok(item)) => item,
            };
            match item {
                CodecItem::VideoFrame(frame) => {
                    if let Some(item) = self.video_frame(frame) {
                        return Ok(item);
                    }
                }
                CodecItem::AudioFrame(frame) => {
                    return Ok(Item::Frame(Unit {
                        track: AUDIO,
                        rtp: frame.timestamp().timestamp() as u32,
                        arrival: micros(frame.ctx()),
                        lost: u32::from(frame.loss()),
                        data: Bytes::copy_from_slice(frame.data()),
                    }));
                }
                CodecItem::Rtcp(compound) => {
                    let Some(track) = self.track_of(compound.stream_id()) else { continue };
                    let report = compound.pkts().next().and_then(|first| first.as_sender_report().ok().flatten());
                    if let Some(report) = report {
                        let arrival = micros(compound.ctx());
                        return Ok(Item::Report {
                            track,
                            rtp: report.rtp_timestamp(),
                            ntp: report.ntp_timestamp().0,
                            arrival,
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// Turns a picture into an item; before the first one with parameters, and at each change, the tracks come first.
    fn video_frame(&mut self, frame: VideoFrame) -> Option<Item> {
        self.bad_packets = 0;
        let changed = frame.has_new_parameters();
        let unit = Item::Frame(Unit {
            track: VIDEO,
            rtp: frame.timestamp().timestamp() as u32,
            arrival: micros(frame.start_ctx()),
            lost: u32::from(frame.loss()),
            data: Bytes::from(frame.into_data()),
        });
        if self.announced && !changed {
            return Some(unit);
        }
        // Without parameter sets in the SDP or in band so far, no decoder could do anything with the picture.
        let video = self.video_track()?;
        self.announced = true;
        self.pending = Some(unit);
        Some(Item::Tracks(
            [Some(video), self.audio.as_ref().map(|(_, track)| track.clone())].into_iter().flatten().collect(),
        ))
    }

    fn video_track(&self) -> Option<Track> {
        let ParametersRef::Video(parameters) = self.demuxed.streams()[self.video.stream].parameters()? else {
            return None;
        };
        Some(Track {
            number: 1,
            kind: TrackKind::Video,
            codec_id: Track::H264.to_owned(),
            codec_private: Bytes::copy_from_slice(parameters.extra_data()),
            size: Some(parameters.pixel_dimensions()),
            audio: None,
        })
    }

    fn track_of(&self, stream: usize) -> Option<usize> {
        match &self.audio {
            _ if stream == self.video.stream => Some(VIDEO),
            Some((audio, _)) if stream == audio.stream => Some(AUDIO),
            _ => None,
        }
    }

    /// A packet out of place costs a picture, not the session; anything else ends it.
    fn forgive(&mut self, error: &retina::Error) -> Result<u32, Failure> {
        if !explain::is_forgivable(error) {
            return Err(explain::playing(error, &self.server));
        }
        self.bad_packets += 1;
        if self.bad_packets > MAX_BAD_PACKETS {
            return Err(explain::playing(error, &self.server));
        }
        tracing::debug!(error = %error, "unusable packet");
        Ok(1)
    }

    /// Sends TEARDOWN and waits a moment for the answer.
    pub(crate) async fn close(self) {
        let group = self.group.clone();
        drop(self);
        // Best effort: the camera's session also ends with the connection, or by its own timeout.
        let _ = tokio::time::timeout(TEARDOWN_WAIT, group.await_teardown()).await;
    }
}

fn micros(ctx: &retina::PacketContext) -> UnixMicros {
    let time = std::time::SystemTime::from(ctx.received_wall());
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
