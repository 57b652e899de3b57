//! Cutting a live stream of frames into fragments.
//!
//! A fragment begins at a key frame of the *lead track* (the first video track; without video the first audio track,
//! whose every frame is a key frame) and runs to the next. Frames of other tracks go into whatever fragment is open.
//! What cannot be in a decodable fragment is dropped and counted: frames before the first key frame, and after a
//! discontinuity or an oversized fragment up to the next one.
//!
//! Pure: the caller passes frames in decode order as they come, and takes the events.

use crate::{Cause, Event, Frame, Header, Start, TrackKind, UnixMicros};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What a fragment may grow to before it is cut without a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from its first frame to its last, in ms. At most 32 000 counts: a cluster holds no more.
    pub max_duration_ms: u32,
    /// Most bytes of frame data, with [`FRAME_OVERHEAD`] for each frame.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_duration_ms: 30_000, max_bytes: 48 << 20 }
    }
}

/// Bytes that a frame counts beyond its data: the head of a block, rounded up.
pub const FRAME_OVERHEAD: usize = 16;

/// Block times are 16-bit offsets in ms from the start of the cluster; some room is left for frames out of order.
const LONGEST_MS: u32 = 32_000;
/// Without video, fragments are about this long.
const SOUND_FRAGMENT_US: i64 = 2_000_000;
/// A key frame this soon after the last joins its fragment: streams of key frames alone make five fragments a second.
const SHORTEST_US: i64 = 200_000;
/// Times that move further than this between frames have jumped.
const JUMP_US: i64 = 5_000_000;
/// How far before its fragment's first frame a picture may be shown (leading pictures of an open group).
const LEADING_US: i64 = 1_000_000;

/// Cuts frames into fragments; see the module.
#[derive(Debug)]
pub struct Fragmenter {
    limits: Limits,
    header: Option<Arc<Header>>,
    /// The track that decides where fragments begin, and whether only its key frames can.
    lead: Option<(u8, TrackKind)>,
    open: Option<Open>,
    /// The open fragment ends before the next frame: its header or its source changed.
    end_pending: bool,
    /// Cause of the next fragment.
    cause: Option<Cause>,
    /// Latest time of the lead track so far.
    latest: Option<UnixMicros>,
    dropped: u64,
}

#[derive(Debug)]
struct Open {
    start: UnixMicros,
    bytes: usize,
}

/// What becomes of a frame of the lead track.
enum Verdict {
    /// Begin a fragment with it.
    Begin,
    /// Append it to the open fragment.
    Append,
    /// Drop it: it cannot be decoded.
    Drop,
}

impl Fragmenter {
    /// A fragmenter that has seen nothing. The first fragment has no cause unless [`Self::discontinuity`] gives one.
    pub fn new(limits: Limits) -> Self {
        Fragmenter {
            limits: Limits { max_duration_ms: limits.max_duration_ms.min(LONGEST_MS), ..limits },
            header: None,
            lead: None,
            open: None,
            end_pending: false,
            cause: None,
            latest: None,
            dropped: 0,
        }
    }

    /// Sets the header for the frames that follow. To be called before the first frame and at every change; the same
    /// header again changes nothing. An open fragment ends, and the next begins at a key frame, without a cause.
    pub fn header(&mut self, header: Arc<Header>) {
        if self.header.as_ref().is_some_and(|known| known.id == header.id) {
            return;
        }
        let lead = header.video().or(header.audio()).or(header.tracks.first());
        self.lead = lead.map(|track| (track.number, track.kind));
        self.header = Some(header);
        self.end_pending = self.open.is_some();
    }

    /// The frames that follow do not continue those before, for this reason. An open fragment ends, and the next
    /// begins at a key frame and bears the cause; of several causes in a row, the first.
    pub fn discontinuity(&mut self, cause: Cause) {
        self.end_pending = self.open.is_some();
        self.cause.get_or_insert(cause);
        self.latest = None;
    }

    /// Takes the next frame and appends what it leads to.
    pub fn push(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.end_pending {
            self.end(out);
        }
        let (Some(header), Some((lead, kind))) = (&self.header, self.lead) else {
            self.dropped += 1;
            return;
        };
        if frame.track != lead {
            if header.track(frame.track).is_some() && self.fits_beside(&frame) {
                self.append(frame, out);
            } else {
                self.dropped += 1;
            }
            return;
        }
        let verdict = match kind {
            TrackKind::Video => self.judge_video(&frame, out),
            TrackKind::Audio | TrackKind::Data => self.judge_sound(&frame, out),
        };
        self.latest = Some(self.latest.map_or(frame.time, |latest| latest.max(frame.time)));
        match verdict {
            Verdict::Begin => self.begin(frame, out),
            Verdict::Append => self.append(frame, out),
            Verdict::Drop => self.dropped += 1,
        }
    }

    /// The source has ended: the open fragment ends. Frames may follow, from a key frame on.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        self.end(out);
    }

    /// Frames given to [`Self::push`] that are in no fragment.
    pub fn dropped_frames(&self) -> u64 {
        self.dropped
    }

    fn judge_video(&mut self, frame: &Frame, out: &mut Vec<Event>) -> Verdict {
        let forward = self.latest.map(|latest| frame.time.0.saturating_sub(latest.0));
        if frame.key {
            // In decode order, a key frame is shown after every frame before it.
            let jumped = forward.is_some_and(|us| us <= 0 || us > JUMP_US);
            if jumped {
                self.jump(out);
            } else if let Some(open) = &self.open
                && frame.time.0.saturating_sub(open.start.0) < SHORTEST_US
                && self.within_limits(open, frame)
            {
                return Verdict::Append;
            }
            return self.begin_within_limits(frame, out);
        }
        let Some(open) = &self.open else { return Verdict::Drop };
        let behind_start = open.start.0.saturating_sub(frame.time.0) > LEADING_US;
        if behind_start || forward.is_some_and(|us| us.saturating_abs() > JUMP_US) {
            self.jump(out);
            return Verdict::Drop;
        }
        if !self.within_limits(open, frame) {
            self.too_long(out);
            return Verdict::Drop;
        }
        Verdict::Append
    }

    /// Each frame of a track without pictures can begin a fragment.
    fn judge_sound(&mut self, frame: &Frame, out: &mut Vec<Event>) -> Verdict {
        let forward = self.latest.map_or(0, |latest| frame.time.0.saturating_sub(latest.0));
        if !(0..=JUMP_US).contains(&forward) {
            self.jump(out);
        }
        match &self.open {
            Some(open)
                if frame.time.0.saturating_sub(open.start.0) < SOUND_FRAGMENT_US && self.within_limits(open, frame) =>
            {
                Verdict::Append
            }
            _ => self.begin_within_limits(frame, out),
        }
    }

    fn begin_within_limits(&mut self, frame: &Frame, out: &mut Vec<Event>) -> Verdict {
        if frame.data.len() + FRAME_OVERHEAD <= self.limits.max_bytes {
            return Verdict::Begin;
        }
        self.too_long(out);
        Verdict::Drop
    }

    /// The source's clock jumped. What comes after is measured from there.
    fn jump(&mut self, out: &mut Vec<Event>) {
        self.end(out);
        self.cause.get_or_insert(Cause::TimeJump);
        self.latest = None;
    }

    fn too_long(&mut self, out: &mut Vec<Event>) {
        self.end(out);
        self.cause.get_or_insert(Cause::FragmentTooLong);
    }

    fn within_limits(&self, open: &Open, frame: &Frame) -> bool {
        let longest = i64::from(self.limits.max_duration_ms) * 1000;
        frame.time.0.saturating_sub(open.start.0) <= longest
            && open.bytes.saturating_add(frame.data.len() + FRAME_OVERHEAD) <= self.limits.max_bytes
    }

    /// Whether a frame of another track can go into the open fragment. A track whose clock is off loses its own frames,
    /// not the pictures.
    fn fits_beside(&self, frame: &Frame) -> bool {
        let near = |time: UnixMicros| frame.time.0.saturating_sub(time.0).saturating_abs() <= JUMP_US;
        self.open
            .as_ref()
            .is_some_and(|open| self.within_limits(open, frame) && (near(open.start) || self.latest.is_some_and(near)))
    }

    fn begin(&mut self, frame: Frame, out: &mut Vec<Event>) {
        self.end(out);
        let Some(header) = self.header.clone() else { return };
        let producer_start = frame.time.to_millis();
        out.push(Event::Begin(Start { header, producer_start, cause: self.cause.take() }));
        self.open = Some(Open { start: frame.time, bytes: 0 });
        self.append(frame, out);
    }

    fn append(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if let Some(open) = &mut self.open {
            open.bytes += frame.data.len() + FRAME_OVERHEAD;
            out.push(Event::Frame(frame));
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.end_pending = false;
        if self.open.take().is_some() {
            out.push(Event::End);
        }
    }
}
