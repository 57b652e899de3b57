//! Figures of a stream: bitrate, frame rate, distance of key frames, whether pictures are reordered.

use crate::StreamStats;
use media::aac::AudioSpecificConfig;
use media::h264::{self, Avcc};
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
    /// Of the video track, where it is H.264.
    nal_length_size: Option<u8>,
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
            let avcc = header.video().filter(|t| t.is_h264()).and_then(|t| Avcc::parse(&t.codec_private).ok());
            self.nal_length_size = avcc.map(|avcc| avcc.length_size());
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
        } else if !self.has_b_frames {
            // In decode order a picture is shown before one that came earlier: reordering, whatever the codec. Some cameras send
            // times of decoding; there the slices tell.
            self.has_b_frames = self.last_video.is_some_and(|last| frame.time < last) || self.has_b_slice(frame);
        }
        self.last_video = Some(frame.time);
    }

    fn has_b_slice(&self, frame: &Frame) -> bool {
        let units = self.nal_length_size.map(|size| h264::nal_units(&frame.data, size));
        units.into_iter().flatten().map_while(Result::ok).any(|nal| h264::is_b_slice(&nal))
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
    let codec = match track.is_h264() {
        true => Avcc::parse(&track.codec_private).ok().map(|avcc| h264::codec_string(&avcc)),
        false => {
            AudioSpecificConfig::parse(&track.codec_private).ok().filter(|_| track.is_aac()).map(|c| c.codec_string())
        }
    };
    let codec = codec.unwrap_or_else(|| track.codec_id.clone());
    match (track.kind, track.size) {
        (TrackKind::Video, Some((width, height))) => format!("{codec} {width}x{height}"),
        _ => codec,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn frame(ms: i64, key: bool, nal: &'static [u8]) -> Frame {
        let data = [&(nal.len() as u32).to_be_bytes(), nal].concat();
        Frame { track: 1, time: UnixMicros(ms * 1000), key, data: data.into() }
    }

    fn header() -> Header {
        media::mkv::write_header(&[Track {
            number: 1,
            kind: TrackKind::Video,
            codec_id: Track::H264.to_owned(),
            codec_private: Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1f, 0]),
            size: Some((640, 480)),
            audio: None,
        }])
    }

    #[test]
    fn rates_are_over_whole_seconds() {
        let mut stats = Stats::default();
        for ms in (0..5000).step_by(40) {
            stats.frame(&frame(ms, ms % 1000 == 0, &[0x41; 996]), true, UnixMillis(ms));
        }
        let seen = stats.snapshot(UnixMillis(5000), 7);
        assert_eq!(
            (seen.bitrate_bps, seen.fps, seen.key_interval_ms, seen.queued_bytes),
            (200_000, 25.0, Some(1000), 7)
        );
        assert_eq!(stats.snapshot(UnixMillis(60_000), 0).bitrate_bps, 0, "nothing came lately");
    }

    #[test]
    fn b_frames_are_seen_by_their_times_and_by_their_slices() {
        const P: &[u8] = &[0x41, 0b1011_0000];
        // first_mb_in_slice 0 (1), slice_type 1 = B (010).
        const B: &[u8] = &[0x01, 0b1010_0000];
        let seen = |frames: &[Frame]| {
            let mut stats = Stats::default();
            stats.header(&header());
            frames.iter().for_each(|f| stats.frame(f, true, UnixMillis(0)));
            stats.snapshot(UnixMillis(0), 0).has_b_frames
        };
        assert!(!seen(&[frame(0, true, P), frame(40, false, P), frame(80, false, P)]));
        assert!(
            seen(&[frame(0, true, P), frame(80, false, P), frame(40, false, P)]),
            "shown before one that came earlier"
        );
        assert!(seen(&[frame(0, true, P), frame(40, false, B)]), "a camera whose times are those of decoding");
    }
}
