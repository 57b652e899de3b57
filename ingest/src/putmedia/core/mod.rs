//! The core of PutMedia: bytes of a session in, fragments and remarks out. Pure: no clock, no socket, no task.
//!
//! What belongs here: what a session's Matroska means. Which bytes are a fragment, when it begins and ends, which tags are its
//! own, what is refused with which error id, what is accepted and marked. What does not: the format (`media::mkv::session`),
//! acknowledgements and the store (`session`), HTTP (`web`).
//!
//! Feed it with [`Core::handle_input`], then take outputs with [`Core::poll`] until there is none:
//!
//! ```text
//!  Header ─► Begin ─► Frame* ─► End     the next Begin, or EndOfFragment
//!                 └► Empty              nothing to store; there was no frame
//!                 └► Failed             the session is over, the open fragment is to be dropped
//!  Warned may come anywhere.
//! ```
//!
//! An input piece below 16 KiB is copied as it is read, so that it never keeps the buffer that it came in; of larger ones slices are
//! kept, and only frames that straddle two of them are copied. What is held is the open fragment, at most
//! [`Limits::max_fragment_bytes`], and the tags before it.

mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod open;
mod options;
mod tags;
#[cfg(test)]
mod tests;

pub use fault::{ErrorId, Fault, Mark, Reason};
pub use options::{Limits, Options, Policy, Timecode};

use bytes::Bytes;
use media::mkv::session::{Event, Session, header_tags};
use media::{Chunks, Frame, Header, Start, UnixMicros, UnixMillis, mkv};
use open::Open;
use std::collections::VecDeque;
use std::sync::Arc;
use tags::Pending;

/// The end of the year 9999: later times cannot be printed.
const LATEST_MS: i128 = 253_402_300_799_999;

/// What a session says.
#[derive(Clone, Debug)]
pub enum Output {
    /// The fragments from here on are to be read under this header.
    Header(Arc<Header>),
    /// A fragment begins: its cluster's Timestamp is known. Comes before its frames.
    Begin {
        /// Its header, and its start on the producer's clock.
        start: Start,
        /// The cluster's Timestamp as it was sent, in the producer's units. Acknowledgements name the fragment by it.
        timecode: u64,
        /// 0, or for a cluster that is split, which part of it this is. Later parts have the same `timecode`; the producer knows
        /// one fragment only, so it is told of it once: BUFFERING with part 0, RECEIVED and PERSISTED when `more` is false.
        part: u32,
    },
    /// A frame of the open fragment, on the producer's clock. Its data is a slice of the cluster that `End` will give.
    Frame(Frame),
    /// The open fragment is complete.
    End {
        /// The Tags elements before the cluster, as they came.
        lead: Bytes,
        /// The cluster, byte for byte as it came. (Where it was split, its parts have new heads and relative times.)
        cluster: Chunks,
        /// Names and values of the fragment's tags: those of the lead, and those in a new header.
        tags: Vec<(String, String)>,
        /// From its start to the end of its last frame in ms, as far as that can be told.
        duration_ms: Option<u32>,
        /// Another part of the same cluster follows.
        more: bool,
    },
    /// The open fragment is complete and holds no frame. There is nothing to store; nothing is lost if it is acknowledged.
    Empty,
    /// The producer says that its fragment is complete, or that it pauses. `End` came before it.
    EndOfFragment,
    /// The session is over: the open fragment is incomplete and to be dropped. Nothing follows.
    Failed(Fault),
    /// Something was accepted that another server would refuse.
    Warned(Mark),
}

/// One session.
#[derive(Debug)]
pub struct Core {
    session: Session,
    options: Options,
    header: Option<Arc<Header>>,
    open: Option<Open>,
    /// Tags for the next fragment.
    pending: Pending,
    /// The last time of each track in the fragments before.
    last: Vec<(u8, UnixMicros)>,
    /// How long a frame of the fragment before lasted, in µs.
    frame_us: Option<i64>,
    out: VecDeque<Output>,
    broke_off: bool,
    over: bool,
}

impl Core {
    /// At the start of a session.
    pub fn new(options: Options) -> Core {
        let options = Options { limits: options.limits.within_the_store(), ..options };
        Core {
            session: Session::new(options.limits.of_session()),
            options,
            header: None,
            open: None,
            pending: Pending::default(),
            last: Vec::new(),
            frame_us: None,
            out: VecDeque::new(),
            broke_off: false,
            over: false,
        }
    }

    /// The next bytes of the body. Take all outputs before the next.
    pub fn handle_input(&mut self, bytes: Bytes) {
        if !self.over {
            self.session.push(bytes);
        }
    }

    /// The body is over. `clean`: it came to its proper end, which completes a cluster that does not state its length; otherwise
    /// the open fragment is incomplete.
    pub fn handle_end(&mut self, clean: bool) {
        if clean {
            self.session.end();
        } else {
            self.broke_off = true;
        }
    }

    /// What there is to say; `None` until more input comes.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.out.pop_front() {
                return Some(output);
            }
            if self.over {
                return None;
            }
            let result = match self.session.poll() {
                Ok(Some(event)) => self.event(event),
                Ok(None) if self.broke_off => Err((ErrorId::StreamReadError, Reason::BrokeOff)),
                Ok(None) => return None,
                Err(error) => {
                    let (id, reason) = self.refusal(error.reason);
                    self.fail(id, error.at as u64, reason);
                    continue;
                }
            };
            if let Err((id, reason)) = result {
                self.fail(id, self.session.offset(), reason);
            }
        }
    }

    /// How many bytes are held of the open fragment, frames or not yet frames.
    pub fn open_bytes(&self) -> usize {
        self.session.held_bytes()
    }

    /// The offset in the body at which the open cluster begins, or its part.
    pub fn cluster_at(&self) -> u64 {
        self.session.offset().saturating_sub(self.session.cluster_bytes() as u64)
    }

    /// The error id of what the format's reader refuses.
    fn refusal(&self, reason: mkv::Reason) -> Refusal {
        match reason {
            mkv::Reason::TooLarge => (
                ErrorId::MaxFragmentSizeReached,
                Reason::TooManyBytes { limit: self.options.limits.max_fragment_bytes },
            ),
            mkv::Reason::BLOCK_TRACK => (ErrorId::TrackNumberMismatch, Reason::Mkv(reason)),
            // The producer SDKs in C begin like this where they could not connect for a while. To "invalid" they drop frames up to
            // the next key frame; to this, of a time that is none of theirs (see `fail`), they send all again that is not durable.
            mkv::Reason::NoBeginning(_) => (ErrorId::StreamReadError, Reason::Mkv(reason)),
            reason => (ErrorId::InvalidMkvData, Reason::Mkv(reason)),
        }
    }

    fn fail(&mut self, id: ErrorId, offset: u64, reason: Reason) {
        // Where the beginning is missing, the error is of all that there is: without a time code, or with one of theirs, the C
        // SDKs would go on after the last fragment that was received, durable or not.
        let of_all = matches!(reason, Reason::Mkv(mkv::Reason::NoBeginning(_)));
        let timecode = self.open.take().map(|open| open.timecode).or(of_all.then_some(0));
        self.out.push_back(Output::Failed(Fault { id, timecode, offset, reason }));
        self.over = true;
        // What it holds is of no use any more.
        self.session = Session::new(self.options.limits.of_session());
        self.pending = Pending::default();
    }

    fn event(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Header(header) => self.header(header),
            Event::Tags(element) => {
                let found = mkv::parse_tags(&element);
                let found = found.map_err(|error| self.refusal(error.reason))?;
                let limits = &self.options.limits;
                let end = self.pending.element(element, found, limits, self.options.policy, &mut self.out)?;
                self.out.extend(end.then_some(Output::EndOfFragment));
                Ok(())
            }
            Event::TagsSkipped(bytes) => self.mark_or(
                Mark::TagsDropped(bytes),
                ErrorId::FragmentMetadataLimitReached,
                Reason::TagBytes { bytes, limit: self.options.limits.max_lead_bytes },
            ),
            Event::Begin(timestamp) => self.begin(timestamp),
            Event::Frame { frame, first_of_block } => self.frame(frame, first_of_block),
            Event::End(cluster) => self.end(cluster),
        }
    }

    /// Marks what the strict policy refuses.
    fn mark_or(&mut self, mark: Mark, id: ErrorId, reason: Reason) -> Result<(), Refusal> {
        match self.options.policy {
            Policy::Strict => Err((id, reason)),
            Policy::Lenient => {
                self.out.push_back(Output::Warned(mark));
                Ok(())
            }
        }
    }

    fn header(&mut self, header: Arc<Header>) -> Result<(), Refusal> {
        if self.header.is_some() {
            self.mark_or(Mark::HeaderRestarted, ErrorId::InvalidMkvData, Reason::SecondHeader)?;
        }
        let (tracks, limit) = (header.tracks.len(), self.options.limits.max_tracks);
        if tracks > limit {
            let reason = Reason::TooManyTracks { tracks, limit };
            self.mark_or(Mark::ManyTracks(tracks), ErrorId::MoreThanAllowedTracksFound, reason)?;
        }
        self.pending.header(header_tags(&header), &self.options.limits, self.options.policy, &mut self.out)?;
        self.header = Some(header.clone());
        self.out.push_back(Output::Header(header));
        Ok(())
    }

    /// A cluster's Timestamp on the producer's clock.
    fn producer_time(&self, timestamp: u64) -> Result<UnixMillis, Refusal> {
        let scale_ns = self.header.as_ref().map_or(1_000_000, |header| header.timestamp_scale_ns);
        let ms = i128::from(timestamp).saturating_mul(i128::from(scale_ns)) / 1_000_000;
        let ms = ms.saturating_add(i128::from(self.start_ms()));
        let valid = Some(ms).filter(|ms| (0..=LATEST_MS).contains(ms)).and_then(|ms| i64::try_from(ms).ok());
        valid.map(UnixMillis).ok_or((ErrorId::InvalidProducerTimestamp, Reason::Time))
    }

    fn start_ms(&self) -> i64 {
        match self.options.timecode {
            Timecode::Absolute => 0,
            Timecode::Relative(start) => start.0,
        }
    }

    fn begin(&mut self, timestamp: u64) -> Result<(), Refusal> {
        let start = self.producer_time(timestamp);
        let Some(header) = self.header.clone() else { return Ok(()) };
        let (lead, tags) = self.pending.take();
        let video = header.video().map(|track| track.number);
        self.open = Some(Open::new(timestamp, start.clone().unwrap_or_default(), video, lead, tags));
        // Only now, so that the fault names the cluster.
        let start = Start { header, producer_start: start?, cause: None };
        self.out.push_back(Output::Begin { start, timecode: timestamp, part: 0 });
        Ok(())
    }

    fn frame(&mut self, frame: Frame, first_of_block: bool) -> Result<(), Refusal> {
        let shift_us = self.start_ms().saturating_mul(1000);
        let frame = Frame { time: frame.time.plus(shift_us), ..frame };
        let track = frame.track;
        let declared = self.header.as_ref().is_some_and(|header| header.track(track).is_some());
        let Some(open) = &mut self.open else { return Ok(()) };
        if !declared && open.undeclared(track) {
            let (mark, reason) = (Mark::UndeclaredTrack(track), Reason::UndeclaredTrack(track));
            self.mark_or(mark, ErrorId::TrackNumberMismatch, reason)?;
        }
        self.order(&frame)?;
        self.length(&frame, first_of_block)?;
        let bytes = self.session.cluster_bytes();
        let Some(open) = &mut self.open else { return Ok(()) };
        open.add(&frame, bytes);
        self.out.push_back(Output::Frame(frame));
        Ok(())
    }

    /// Whether a fragment begins after the end of the one before it, on the track of its first frame.
    fn order(&mut self, frame: &Frame) -> Result<(), Refusal> {
        if self.open.as_ref().is_some_and(|open| open.frames() > 0 || open.part > 0) {
            return Ok(());
        }
        let Some((_, last)) = self.last.iter().find(|(track, _)| *track == frame.track) else { return Ok(()) };
        if frame.time > *last {
            return Ok(());
        }
        let (track, behind_ms) = (frame.track, last.0.saturating_sub(frame.time.0) / 1000);
        let reason = Reason::NotLater { track, behind_ms };
        self.mark_or(Mark::NotLater { track, behind_ms }, ErrorId::FragmentTimecodeLesserThanPrevious, reason)
    }

    /// Splits a cluster that would get too long, where that is possible.
    fn length(&mut self, frame: &Frame, first_of_block: bool) -> Result<(), Refusal> {
        let (limit_ms, limit_bytes) = (self.options.limits.max_fragment_ms, self.options.limits.max_fragment_bytes);
        let bytes = self.session.cluster_bytes();
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.can_split_at(frame) && first_of_block {
            let wanted = self.options.policy == Policy::Lenient && open.outgrows(frame, bytes, limit_ms, limit_bytes);
            if wanted && let Some((cluster, timestamp)) = self.session.split() {
                self.split(cluster, timestamp)?;
            }
        }
        let Some(open) = &self.open else { return Ok(()) };
        let ms = open.elapsed_ms(frame);
        if ms > i64::from(limit_ms) {
            return Err((ErrorId::MaxFragmentDurationReached, Reason::TooLong { ms, limit: limit_ms }));
        }
        Ok(())
    }

    fn split(&mut self, cluster: Chunks, timestamp: u64) -> Result<(), Refusal> {
        let producer_start = self.producer_time(timestamp)?;
        let (Some(open), Some(header)) = (&mut self.open, self.header.clone()) else { return Ok(()) };
        if open.part == 0 {
            self.out.push_back(Output::Warned(Mark::Split));
        }
        let (limit, frame_us) = (self.options.limits.max_fragment_ms, self.frame_us);
        let duration_ms = open.duration_ms(&header, frame_us, limit);
        let (lead, tags) = open.next_part(producer_start, self.session.cluster_bytes());
        self.out.push_back(Output::End { lead, cluster, tags, duration_ms, more: true });
        let (timecode, part) = (open.timecode, open.part);
        let start = Start { header, producer_start, cause: None };
        self.out.push_back(Output::Begin { start, timecode, part });
        Ok(())
    }

    fn end(&mut self, cluster: Chunks) -> Result<(), Refusal> {
        let (Some(open), Some(header)) = (&self.open, &self.header) else { return Ok(()) };
        let missing: Vec<u8> =
            header.tracks.iter().map(|track| track.number).filter(|track| !open.has_seen(*track)).collect();
        let duration_ms = open.duration_ms(header, self.frame_us, self.options.limits.max_fragment_ms);
        for track in missing {
            self.mark_or(Mark::NoFrames(track), ErrorId::FramesMissingForTrack, Reason::NoFrames(track))?;
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.frames() == 0 {
            self.out.push_back(Output::Empty);
            return Ok(());
        }
        self.frame_us = open.frame_us().or(self.frame_us);
        for (track, time) in open.seen {
            match self.last.iter_mut().find(|(known, _)| *known == track) {
                Some((_, last)) => *last = time,
                None => self.last.push((track, time)),
            }
        }
        let (lead, tags) = (open.lead, open.tags);
        self.out.push_back(Output::End { lead, cluster, tags, duration_ms, more: false });
        Ok(())
    }
}

/// What a producer is told, and why.
type Refusal = (ErrorId, Reason);
