//! The fragment that is being received.

use bytes::Bytes;
use media::{Frame, Header, UnixMicros, UnixMillis, mkv};

/// What is known of it, without its bytes.
#[derive(Debug)]
pub(super) struct Open {
    /// The cluster's Timestamp as it was sent.
    pub(super) timecode: u64,
    /// Which part of a split cluster it is.
    pub(super) part: u32,
    pub(super) lead: Bytes,
    pub(super) tags: Vec<(String, String)>,
    /// Each track of which a frame came in any part, and the latest time of one.
    pub(super) seen: Vec<(u8, UnixMicros)>,
    start: UnixMillis,
    video: Option<u8>,
    /// Undeclared tracks that were remarked.
    undeclared: Vec<u8>,
    all: Extent,
    pictures: Extent,
    /// Time of the last frame at which it could be split, and the cluster's bytes then.
    key: Option<(UnixMicros, usize)>,
}

/// The times of a fragment's frames.
#[derive(Debug, Default)]
struct Extent {
    frames: u32,
    first: Option<UnixMicros>,
    last: Option<UnixMicros>,
    track: u8,
}

impl Open {
    /// `video` is the track whose key frames count, if there is one.
    pub(super) fn new(
        timecode: u64,
        start: UnixMillis,
        video: Option<u8>,
        lead: Bytes,
        tags: Vec<(String, String)>,
    ) -> Open {
        Open {
            timecode,
            part: 0,
            lead,
            tags,
            seen: Vec::new(),
            start,
            video,
            undeclared: Vec::new(),
            all: Extent::default(),
            pictures: Extent::default(),
            key: None,
        }
    }

    /// Frames of this part.
    pub(super) fn frames(&self) -> u32 {
        self.all.frames
    }

    pub(super) fn has_seen(&self, track: u8) -> bool {
        self.seen.iter().any(|(seen, _)| *seen == track)
    }

    /// Whether this is the first frame of an undeclared track.
    pub(super) fn undeclared(&mut self, track: u8) -> bool {
        let new = !self.undeclared.contains(&track);
        if new {
            self.undeclared.push(track);
        }
        new
    }

    /// ms from its start to a frame.
    pub(super) fn elapsed_ms(&self, frame: &Frame) -> i64 {
        frame.time.0.saturating_sub(self.start.to_micros().0) / 1000
    }

    /// Whether a fragment could begin with this frame.
    pub(super) fn can_split_at(&self, frame: &Frame) -> bool {
        self.frames() > 0 && frame.key && self.video.is_none_or(|video| video == frame.track)
    }

    /// Whether with as much again as since the last key frame, it would be beyond a limit: then this key frame is the last chance.
    /// `bytes` is what the cluster has now.
    pub(super) fn outgrows(&self, frame: &Frame, bytes: usize, limit_ms: u32, limit_bytes: usize) -> bool {
        let (time, before) = self.key.unwrap_or((self.start.to_micros(), 0));
        let more_ms = frame.time.0.saturating_sub(time.0) / 1000;
        let more_bytes = bytes.saturating_sub(before);
        self.elapsed_ms(frame).saturating_add(more_ms) > i64::from(limit_ms)
            || bytes.saturating_add(more_bytes) > limit_bytes
    }

    pub(super) fn add(&mut self, frame: &Frame, bytes: usize) {
        if frame.key && self.video.is_none_or(|video| video == frame.track) {
            self.key = Some((frame.time, bytes));
        }
        match self.seen.iter_mut().find(|(track, _)| *track == frame.track) {
            Some((_, last)) => *last = frame.time.max(*last),
            None => self.seen.push((frame.track, frame.time)),
        }
        self.all.add(frame);
        if Some(frame.track) == self.video {
            self.pictures.add(frame);
        }
    }

    /// Becomes the next part of the same cluster; gives the lead and the tags of the one before.
    pub(super) fn next_part(&mut self, start: UnixMillis, bytes: usize) -> (Bytes, Vec<(String, String)>) {
        self.part += 1;
        self.start = start;
        self.all = Extent::default();
        self.pictures = Extent::default();
        self.key = Some((start.to_micros(), bytes));
        (std::mem::take(&mut self.lead), std::mem::take(&mut self.tags))
    }

    /// How long one of its frames lasts on average in µs, if it has two.
    pub(super) fn frame_us(&self) -> Option<i64> {
        self.lead_extent().interval_us()
    }

    /// From its start to the end of its last picture (or sound, without pictures), in ms: 1 to `limit`. The last frame lasts as long
    /// as the others on average; if it is the only one, what its track states, else as those of the fragment before (`frame_us`).
    pub(super) fn duration_ms(&self, header: &Header, frame_us: Option<i64>, limit: u32) -> Option<u32> {
        let extent = self.lead_extent();
        let stated = || mkv::session::default_duration_ns(header, extent.track).map(|ns| (ns / 1000) as i64);
        let last_us = extent.interval_us().or_else(stated).or(frame_us)?;
        let end = extent.last?.plus(last_us);
        let us = end.0.saturating_sub(self.start.to_micros().0);
        u32::try_from(us.saturating_add(500) / 1000).ok().map(|ms| ms.clamp(1, limit.max(1)))
    }

    fn lead_extent(&self) -> &Extent {
        if self.pictures.frames > 0 { &self.pictures } else { &self.all }
    }
}

impl Extent {
    fn add(&mut self, frame: &Frame) {
        if self.frames == 0 {
            self.track = frame.track;
        }
        self.frames += 1;
        self.first = Some(self.first.map_or(frame.time, |first| first.min(frame.time)));
        self.last = self.last.max(Some(frame.time));
    }

    fn interval_us(&self) -> Option<i64> {
        let (first, last) = (self.first?, self.last?);
        (self.frames > 1).then(|| last.0.saturating_sub(first.0) / i64::from(self.frames - 1))
    }
}
