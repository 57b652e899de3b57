//! Figures of a stream: bitrate, frame rate, distance of key frames, whether pictures are reordered.

use crate::StreamStats;
use media::{Frame, Header, HeaderId, Track, TrackKind, UnixMicros, UnixMillis};
use std::collections::VecDeque;

/// Whole seconds that the rates are taken over.
const WINDOW_S: i64 = 10;

#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Second of the server's clock, bytes, video frames.
    seconds: VecDeque<(i64, u64, u32)>,
    last_key: Option<UnixMicros>,
    key_interval_ms: Option<u32>,
    last_video: Option<UnixMicros>,
    has_b_frames: bool,
    header: Option<HeaderId>,
    description: Option<String>,
    pub(crate) last_commit_at: Option<UnixMillis>,
    pub(crate) dropped_gops: u64,
}

impl Stats {
    /// A fragment begins under this header.
    pub(crate) fn header(&mut self, header: &Header) {
        if self.header != Some(header.id) {
            self.header = Some(header.id);
            self.description = Some(describe(header));
            self.has_b_frames = false;
            self.last_video = None;
        }
    }

    /// A frame arrived.
    pub(crate) fn frame(&mut self, frame: &Frame, video: bool, now: UnixMillis) {
        let second = now.0.div_euclid(1000);
        match self.seconds.back_mut() {
            // A clock that was set back counts towards the newest second.
            Some(last) if last.0 >= second => {
                last.1 += frame.data.len() as u64;
                last.2 += u32::from(video);
            }
            _ => self.seconds.push_back((second, frame.data.len() as u64, u32::from(video))),
        }
        while self.seconds.len() > WINDOW_S as usize + 1 {
            self.seconds.pop_front();
        }
        if !video {
            return;
        }
        if frame.key {
            let interval = self.last_key.map(|last| (frame.time.0 - last.0) / 1000);
            self.key_interval_ms = interval.and_then(|ms| u32::try_from(ms).ok()).or(self.key_interval_ms);
            self.last_key = Some(frame.time);
        } else if self.last_video.is_some_and(|last| frame.time < last) {
            // In decode order a picture is shown before one that came earlier: reordering, whatever the codec.
            self.has_b_frames = true;
        }
        self.last_video = Some(frame.time);
    }

    /// The figures now.
    pub(crate) fn snapshot(&self, now: UnixMillis, queued_bytes: u64) -> StreamStats {
        let this = now.0.div_euclid(1000);
        // Whole seconds only: the one that runs now would pull the rates down.
        let whole = self.seconds.iter().filter(|s| s.0 < this && s.0 >= this - WINDOW_S);
        let (mut first, mut bytes, mut frames) = (this, 0, 0u64);
        for (second, b, f) in whole {
            first = first.min(*second);
            bytes += b;
            frames += u64::from(*f);
        }
        let seconds = (this - first).max(1) as u64;
        StreamStats {
            bitrate_bps: bytes * 8 / seconds,
            fps: frames as f64 / seconds as f64,
            key_interval_ms: self.key_interval_ms,
            last_commit_at: self.last_commit_at,
            queued_bytes,
            dropped_gops: self.dropped_gops,
            description: self.description.clone(),
            has_b_frames: self.has_b_frames,
        }
    }
}

/// Whether a frame is video; without a video track each frame counts.
pub(crate) fn is_video(header: &Header, frame: &Frame) -> bool {
    match header.video() {
        Some(video) => video.number == frame.track,
        None => header.track(frame.track).is_some(),
    }
}

fn describe(header: &Header) -> String {
    let tracks: Vec<String> = header.tracks.iter().map(describe_track).collect();
    tracks.join(" · ")
}

fn describe_track(track: &Track) -> String {
    let codec = match track.codec_private.as_ref() {
        // avcC: version, profile, constraints, level (ISO/IEC 14496-15 5.3.3.1); named as in RFC 6381 3.3.
        [1, profile, constraints, level, ..] if track.is_h264() => {
            format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
        }
        // AudioSpecificConfig: the object type is in the first five bits (ISO/IEC 14496-3 1.6.2.1).
        [first, ..] if track.is_aac() && first >> 3 != 31 => format!("mp4a.40.{}", first >> 3),
        _ => track.codec_id.clone(),
    };
    match (track.kind, track.size) {
        (TrackKind::Video, Some((width, height))) => format!("{codec} {width}x{height}"),
        _ => codec,
    }
}
