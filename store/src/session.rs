//! What both kinds of writer share: the open fragment of a session, from its beginning to its way to the disk.
//!
//! What belongs here: numbers, followers, figures, the budget's charge, lengths in time. What does not: what a cluster is made of.

use crate::budget::Charge;
use crate::catalog::fragments::MAX_DURATION_MS;
use crate::commit::Sealed;
use crate::follow::{LiveFragment, LiveFrame};
use crate::state::{Sealing, StreamState};
use crate::stats::is_video;
use crate::{Durable, Error, Kind, Offer};
use bytes::Bytes;
use media::{Cause, Chunks, Fragment, FragmentMeta, FragmentNumber, Frame, Start, UnixMicros, UnixMillis};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// How long the last frame of a fragment is shown when nothing tells: a frame at 25 per second.
const DEFAULT_FRAME_US: i64 = 40_000;

/// A session of a producer on a stream. Dropping it drops the open fragment.
pub(crate) struct Session {
    pub(crate) stream: Arc<StreamState>,
    open: Option<Open>,
    /// The cause of a fragment that was dropped after its beginning; the next one carries it.
    pub(crate) pending_cause: Option<Cause>,
    /// Frame interval of the last fragment, for one that has a single frame.
    frame_us: i64,
}

/// The fragment that a session writes.
pub(crate) struct Open {
    pub(crate) live: Arc<LiveFragment>,
    pub(crate) cause: Option<Cause>,
    charge: Charge,
    extent: Extent,
    frames: u32,
    /// Bytes of the payloads of its frames.
    frame_bytes: u64,
    /// Bytes of its content that the budget was told of beside its frames' payloads, these included.
    counted: u64,
}

/// A complete fragment's bytes.
pub(crate) struct Content {
    pub(crate) lead: Bytes,
    pub(crate) cluster: Chunks,
    pub(crate) crc32c: u32,
}

impl Content {
    pub(crate) fn new(lead: Bytes, cluster: Chunks) -> Content {
        let crc32c = cluster.parts().iter().fold(crc32c::crc32c(&lead), |crc, part| crc32c::crc32c_append(crc, part));
        Content { lead, cluster, crc32c }
    }
    /// Length of both.
    pub(crate) fn len(&self) -> u64 {
        (self.lead.len() + self.cluster.len()) as u64
    }
}

impl Session {
    pub(crate) fn new(stream: Arc<StreamState>) -> Session {
        Session { stream, open: None, pending_cause: None, frame_us: DEFAULT_FRAME_US }
    }

    /// The open fragment.
    pub(crate) fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// The number of the open fragment.
    pub(crate) fn number(&self) -> Option<FragmentNumber> {
        self.open.as_ref().map(|o| o.live.number)
    }

    /// Begins a fragment. None is open: [`Self::abandon`] saw to that.
    pub(crate) fn begin(&mut self, start: Start, charge: Charge) -> Result<FragmentNumber, Error> {
        debug_assert!(self.open.is_none());
        let now = UnixMillis(self.stream.now().0.max(0));
        let number = self.stream.begin(&start.header, now)?;
        let live = Arc::new(LiveFragment {
            number,
            header: start.header,
            producer_start: start.producer_start,
            server_start: now,
        });
        self.stream.hub.begin(&live);
        self.stream.begun.send_if_modified(|begun| {
            let newer = begun.as_ref().is_none_or(|before| before.number < number);
            if newer {
                *begun = Some(live.clone());
            }
            newer
        });
        let cause = start.cause.or(self.pending_cause.take());
        self.open =
            Some(Open { live, cause, charge, extent: Extent::default(), frames: 0, frame_bytes: 0, counted: 0 });
        Ok(number)
    }

    /// The next frame of the open fragment: to followers and figures. Without one it is dropped.
    pub(crate) fn frame(&mut self, frame: Frame, charge: Charge) {
        let Some(open) = &mut self.open else { return };
        open.charge.add(charge);
        let video = is_video(&open.live.header, &frame);
        open.extent.add(&frame, video);
        open.frame_bytes += frame.data.len() as u64;
        self.stream.frame(open.live.number, &frame, video);
        let index = open.frames;
        open.frames += 1;
        self.stream.hub.push(LiveFrame { fragment: open.live.clone(), index, frame });
    }

    /// Adds to the charge of the open fragment, of whose content so many bytes are counted now.
    pub(crate) fn charge(&mut self, charge: Charge, counted: u64) {
        if let Some(open) = &mut self.open {
            open.charge.add(charge);
            open.counted = counted;
        }
    }

    /// Drops the open fragment: it was never visible but to followers, who go on with the next.
    pub(crate) fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.pending_cause = open.cause.or(self.pending_cause);
            self.stream.hub.end(open.live.number);
            self.stream.abandon(open.live.number);
        }
    }

    /// The open fragment is complete and goes to the disk; with `once`, only if it was not sent before. `duration_ms` is its length
    /// if the caller knows better than its frames tell. On an error it is dropped.
    pub(crate) fn seal(&mut self, content: Content, duration_ms: Option<u32>, once: bool) -> Result<Offer, Error> {
        let Some(open) = &self.open else {
            return Err(Error::new(
                Kind::Invalid,
                format!("stream {}: an end without a beginning", self.stream.name()),
            ));
        };
        let number = open.live.number;
        let (measured_ms, frame_us) = open.extent.duration(open.live.producer_start, self.frame_us);
        let mut duration_ms = duration_ms.unwrap_or(measured_ms).max(1);
        if once {
            // Look-ups by time look back only so far. What a producer cut itself is kept all the same.
            duration_ms = duration_ms.min(MAX_DURATION_MS);
        }
        // Far below both stand the byte budget and the record's own bound.
        let bytes = u32::try_from(content.len()).ok();
        let why = match bytes {
            _ if open.frames == 0 => Some("it has no frame".to_owned()),
            _ if duration_ms > MAX_DURATION_MS => {
                Some(format!("it lasts {duration_ms} ms, more than {MAX_DURATION_MS}"))
            }
            None => Some("it has more than 4 GiB".to_owned()),
            Some(_) => None,
        };
        let (Some(bytes), None) = (bytes, &why) else {
            self.abandon();
            let message =
                format!("stream {} fragment {number} is dropped: {}", self.stream.name(), why.unwrap_or_default());
            return Err(Error::new(Kind::Invalid, message));
        };
        let cipher = match self.stream.cipher() {
            Ok(cipher) => cipher,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        self.frame_us = frame_us;
        let mut open = self.open.take().expect("looked at just above");
        self.stream.hub.end(number);
        let meta = FragmentMeta {
            number,
            producer_start: open.live.producer_start,
            server_start: open.live.server_start,
            duration_ms,
            bytes,
            lead_bytes: content.lead.len() as u32,
            frames: open.frames,
            crc32c: self.stream.checksum(open.live.producer_start, open.live.header.id, &content),
            header: open.live.header.id,
            cause: self.stream.take_cause(open.cause),
            encrypted: cipher.is_some(),
        };
        let Content { lead, cluster, .. } = content;
        let fragment = Arc::new(Fragment { meta, header: open.live.header.clone(), lead, cluster });
        open.charge.seal();
        let (durable, answer) = oneshot::channel();
        let (stream, charge) = (self.stream.clone(), open.charge);
        let sealed = Sealed { stream, fragment, cipher, charge, durable, notify: None, at: Instant::now() };
        Ok(match self.stream.seal(sealed, once)? {
            Sealing::Queued => Offer::Sealed(number, Durable::new(answer)),
            Sealing::Before(number, durable) => Offer::Duplicate(number, durable),
        })
    }
}

impl Open {
    /// Bytes that it takes of the budget: those counted, and what its frames cost beside them.
    pub(crate) fn charged(&self) -> u64 {
        self.charge.bytes()
    }
    /// Bytes of its content that the budget has counted: payloads of frames, and what was said to be held beside them.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.max(self.frame_bytes)
    }
    /// Those once another frame has come.
    pub(crate) fn counted_with(&self, frame: &Frame) -> u64 {
        self.counted.max(self.frame_bytes + frame.data.len() as u64)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// From when to when the frames of a fragment last.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// First and last presentation time and the number of video frames.
    video: Option<(UnixMicros, UnixMicros, u32)>,
    /// The last presentation time of any frame.
    last: Option<UnixMicros>,
}

impl Extent {
    pub(crate) fn add(&mut self, frame: &Frame, video: bool) {
        let t = frame.time;
        self.last = self.last.max(Some(t));
        if video {
            let (first, last, n) = self.video.unwrap_or((t, t, 0));
            self.video = Some((first.min(t), last.max(t), n + 1));
        }
    }

    /// Length in ms from `start` to the end of the last picture, at least 1; and the frame interval in µs. The last picture is
    /// taken to last as long as the others do on average. Without pictures, to the last frame's time.
    pub(crate) fn duration(&self, start: UnixMillis, frame_us: i64) -> (u32, i64) {
        let (end, frame_us) = match (self.video, self.last) {
            (Some((first, last, n)), _) if n > 1 => {
                let interval = last.0.saturating_sub(first.0) / i64::from(n - 1);
                (last.plus(interval), interval)
            }
            (Some((_, last, _)), _) | (None, Some(last)) => (last.plus(frame_us), frame_us),
            (None, None) => (start.to_micros(), frame_us),
        };
        let us = end.0.saturating_sub(start.to_micros().0);
        let ms = us.saturating_add(500) / 1000;
        (u32::try_from(ms.max(1)).unwrap_or(u32::MAX), frame_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of frames come from producers; clusters of any scale are taken.
    #[test]
    fn times_at_the_ends_of_the_range_have_a_length() {
        let mut extent = Extent::default();
        for time in [i64::MIN, i64::MAX] {
            let data = Bytes::new();
            extent.add(&Frame { track: 1, time: UnixMicros(time), key: true, data }, true);
        }
        assert_eq!(extent.duration(UnixMillis(0), 1), (u32::MAX, i64::MAX));
        assert_eq!(extent.duration(UnixMillis(i64::MAX), 1).0, 1);
    }
}
