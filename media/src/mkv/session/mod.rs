//! Matroska as it arrives: bytes in pieces of any size go in, headers, tags, and frame by frame the clusters come out.
//!
//! What belongs here: where elements begin and end, and keeping the bytes of each cluster as they came. Whatever is valid EBML is
//! accepted: sizes of any width, unknown sizes of Segment and Cluster, Void, CRC-32, SeekHead, Cues, elements of no meaning here,
//! Tags before and after clusters, lacing, block groups, a new header at any time. How pieces are cut makes no difference.
//!
//! What does not: whether a cluster is wanted (too long, too late, of an unknown track), which `ingest` decides.
//!
//! ```text
//!  between clusters:  EBML ─► header (up to the first Cluster or Tags) ─► Cluster │ Tags │ anything else, skipped
//!  in a cluster:      Timestamp ─► SimpleBlock │ BlockGroup │ anything else, kept
//! ```
//!
//! Memory: the header, Tags or cluster that is being read, each bounded by [`Limits`]; what is between them is dropped at once.

mod collected;
mod cut;
mod intake;
mod tags;
#[cfg(test)]
mod tests;

pub use tags::header_tags;

use super::{
    ebml::Element,
    error::{Error, Reason},
    header::{default_durations, parse_header},
    id,
    read::Reader,
};
use crate::{Chunks, Frame, Header};
use bytes::Bytes;
use collected::Collected;
use cut::{BlockAt, relative_time};
use intake::{Head, Intake, Sink};
use std::collections::VecDeque;
use std::sync::Arc;

/// What may be held of one element, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Everything up to the end of Tracks. Longer: [`Reason::TooLong`].
    pub header_bytes: usize,
    /// A Tags element. Longer ones are skipped: [`Event::TagsSkipped`].
    pub tags_bytes: usize,
    /// A cluster, its head included; below 4 GiB. Longer: [`Reason::TooLarge`], unless it is [split](Session::split) before.
    pub cluster_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { header_bytes: 1 << 20, tags_bytes: 64 << 10, cluster_bytes: 256 << 20 }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A header. The clusters from here on are to be read under it.
    Header(Arc<Header>),
    /// A Tags element between clusters, as it came. It belongs to the next cluster.
    Tags(Bytes),
    /// A Tags element of so many bytes, which is more than is held.
    TagsSkipped(u64),
    /// The Timestamp of a cluster that has begun, in ticks of the header's scale.
    Begin(u64),
    /// A frame of the open cluster.
    Frame {
        /// With its time as the cluster has it. Its data is a slice of the cluster.
        frame: Frame,
        /// Whether the cluster can be [split](Session::split) before it.
        first_of_block: bool,
    },
    /// The open cluster is complete. These are its bytes as they came, or those after the last split.
    End(Chunks),
}

/// The most bytes of a cluster up to its Timestamp. Muxers write it first; until it comes, nobody can say whose bytes these are.
const MAX_EARLY_BYTES: usize = 1 << 20;

/// Reads one session. Feed it with [`Self::push`], then take events until there is none.
#[derive(Debug)]
pub struct Session {
    intake: Intake,
    sink: Sink,
    limits: Limits,
    state: State,
    body: Option<Body>,
    header: Option<Arc<Header>>,
    /// DefaultDuration by track of that header, if it was needed.
    durations: Option<Vec<(u8, u64)>>,
    frames: VecDeque<(Frame, bool)>,
    ended: bool,
}

#[derive(Debug)]
enum State {
    Between,
    /// In a header that starts at this offset.
    Header {
        at: u64,
        segment: bool,
        tracks: bool,
    },
    Cluster(Open),
    Failed(Error),
}

/// The body of an element that is being consumed.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// Kept if there is a sink, and otherwise of no interest.
    Skip {
        left: u64,
    },
    /// Of these, all bytes are needed at once.
    Timestamp(usize),
    Block(Head, usize),
    Tags(usize),
}

/// A cluster that is being read.
#[derive(Debug)]
struct Open {
    at: u64,
    head_len: usize,
    /// Where it ends, if it says so.
    end: Option<u64>,
    /// Its Timestamp, once it came.
    base: Option<u64>,
    /// Blocks that came before it.
    early: Vec<(Head, Bytes)>,
    /// The last block.
    block: Option<BlockAt>,
    /// The Timestamp that its blocks count from since it was split.
    rebased: Option<u64>,
}

impl Session {
    /// At the start of a session.
    pub fn new(limits: Limits) -> Session {
        Session {
            intake: Intake::default(),
            sink: None,
            limits,
            state: State::Between,
            body: None,
            header: None,
            durations: None,
            frames: VecDeque::new(),
            ended: false,
        }
    }

    /// The next piece of input. Short pieces (below 16 KiB) are copied as they are read, of longer ones slices are kept.
    pub fn push(&mut self, piece: Bytes) {
        self.intake.push(piece);
    }

    /// There is no more input. A cluster of unknown size ends with it; within an element, it is an error.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> u64 {
        self.intake.offset()
    }

    /// How many bytes the open cluster has so far, or since it was split. 0 between clusters.
    pub fn cluster_bytes(&self) -> usize {
        match &self.state {
            State::Cluster(_) => self.collected(),
            _ => 0,
        }
    }

    /// How many bytes of the open cluster are held: those, and what has come of the element that comes next.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Cluster(_) => self.collected() + self.intake.begun(),
            _ => 0,
        }
    }

    /// The header in force.
    pub fn header(&self) -> Option<&Arc<Header>> {
        self.header.as_ref()
    }

    /// What comes next; `None` if more input is needed, or after [`Self::end`] nothing is left. An error is the end of the session,
    /// and is given again. Its offset is that in the session.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some((frame, first_of_block)) = self.frames.pop_front() {
                return Ok(Some(Event::Frame { frame, first_of_block }));
            }
            let step = match &self.state {
                State::Failed(error) => return Err(error.clone()),
                _ if self.body.is_some() => self.in_body(),
                State::Between => self.between(),
                State::Header { .. } => self.in_header(),
                State::Cluster(_) => self.in_cluster(),
            };
            match step {
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Ok(Step::On) => {}
                Ok(Step::Wait) if !self.ended => return Ok(None),
                Ok(Step::Wait) => return self.at_end().inspect_err(|error| self.state = State::Failed(error.clone())),
                Err(error) => {
                    self.state = State::Failed(error.clone());
                    self.sink = None;
                    self.frames.clear();
                }
            }
        }
    }

    fn between(&mut self) -> Result<Step, Error> {
        let Some(head) = self.next_head()? else { return Ok(Step::Wait) };
        let error = |reason| Err(Error::new(head.at as usize, reason));
        match (head.id, head.size) {
            (id::EBML, _) => {
                self.begin_collecting();
                self.state = State::Header { at: head.at, segment: false, tracks: false };
            }
            (later @ (id::CLUSTER | id::TAGS | id::TIMESTAMP | id::SIMPLE_BLOCK | id::BLOCK_GROUP), _)
                if self.header.is_none() =>
            {
                return error(Reason::NoBeginning(later));
            }
            (other, _) if self.header.is_none() => return error(Reason::Unexpected(other, "an EBML header")),
            (id::CLUSTER, size) => {
                self.begin_collecting();
                self.intake.accept(head, &mut self.sink);
                let start = self.intake.offset();
                self.state = State::Cluster(Open {
                    at: head.at,
                    head_len: head.len,
                    end: size.map(|size| start.saturating_add(size)),
                    base: None,
                    early: Vec::new(),
                    block: None,
                    rebased: None,
                });
            }
            (id::SEGMENT, _) => return error(Reason::Unexpected(id::SEGMENT, "a Cluster or an EBML header")),
            (other, None) => return error(Reason::UnknownSize(other)),
            (id::TAGS, Some(size)) => {
                if let Some(len) = fits(size, self.limits.tags_bytes.saturating_sub(head.len)) {
                    self.begin_collecting();
                    self.intake.accept(head, &mut self.sink);
                    self.body = Some(Body::Tags(len));
                } else {
                    self.intake.accept(head, &mut self.sink);
                    self.body = Some(Body::Skip { left: size });
                    return Ok(Step::Event(Event::TagsSkipped(size)));
                }
            }
            (_, Some(size)) => {
                self.intake.accept(head, &mut self.sink);
                self.body = Some(Body::Skip { left: size });
            }
        }
        Ok(Step::On)
    }

    fn in_header(&mut self) -> Result<Step, Error> {
        let Some(head) = self.next_head()? else { return Ok(Step::Wait) };
        let State::Header { at, segment, tracks } = &mut self.state else { return Ok(Step::On) };
        let header_at = *at;
        match head.id {
            id::SEGMENT if !*segment => {
                *segment = true;
                self.intake.accept(head, &mut self.sink);
                return Ok(Step::On);
            }
            id::CLUSTER | id::SEGMENT => return self.header_ends().map(Step::Event),
            id::EBML if *segment || head.at != header_at => return self.header_ends().map(Step::Event),
            id::TAGS if *tracks => return self.header_ends().map(Step::Event),
            id::TRACKS => *tracks = true,
            _ => {}
        }
        let tracks = *tracks;
        let error = |reason| Err(Error::new(head.at as usize, reason));
        let Some(size) = head.size else { return error(Reason::UnknownSize(head.id)) };
        let room = self.limits.header_bytes.saturating_sub(self.collected() + head.len);
        if fits(size, room).is_none() {
            // After Tracks, what is too long to be kept is no part of the header.
            return if tracks && head.id != id::TRACKS && head.id != id::INFO {
                self.header_ends().map(Step::Event)
            } else {
                error(Reason::TooLong("a header", self.limits.header_bytes))
            };
        }
        self.intake.accept(head, &mut self.sink);
        self.body = Some(Body::Skip { left: size });
        Ok(Step::On)
    }

    fn header_ends(&mut self) -> Result<Event, Error> {
        // A copy, so that it does not keep a large piece.
        let bytes = Bytes::copy_from_slice(&self.finish_collecting().to_bytes());
        let State::Header { at, .. } = self.state else { return Err(Error::new(0, Reason::Missing("header"))) };
        let header = parse_header(&bytes).map_err(|e| Error::new(at as usize + e.at, e.reason))?;
        self.state = State::Between;
        self.durations = None;
        // A session that sends the same header again and again needs it once.
        let header = match &self.header {
            Some(known) if known.bytes == header.bytes => known.clone(),
            _ => header.shared(),
        };
        self.header = Some(header.clone());
        Ok(Event::Header(header))
    }

    fn in_cluster(&mut self) -> Result<Step, Error> {
        let offset = self.intake.offset();
        let State::Cluster(open) = &self.state else { return Ok(Step::On) };
        let (end, is_early) = (open.end, open.base.is_none());
        if end == Some(offset) {
            return self.cluster_ends().map(Step::Event);
        }
        let Some(head) = self.next_head()? else { return Ok(Step::Wait) };
        if end.is_none() && id::ends_cluster(head.id) {
            return self.cluster_ends().map(Step::Event);
        }
        let error = |reason| Err(Error::new(head.at as usize, reason));
        let Some(size) = head.size else { return error(Reason::UnknownSize(head.id)) };
        let past = head.at.saturating_add(head.len as u64).saturating_add(size);
        if end.is_some_and(|end| past > end) {
            return error(Reason::Truncated);
        }
        let collected = self.collected() + head.len;
        let room = self.limits.cluster_bytes.saturating_sub(collected);
        let Some(len) = fits(size, room) else { return error(Reason::TooLarge) };
        if is_early && collected + len > MAX_EARLY_BYTES {
            return error(Reason::TooLong("a cluster before its Timestamp", MAX_EARLY_BYTES));
        }
        let State::Cluster(open) = &mut self.state else { return Ok(Step::On) };
        self.body = Some(match head.id {
            id::TIMESTAMP if open.base.is_none() => {
                if len > 8 {
                    return error(Reason::Value("Timestamp"));
                }
                Body::Timestamp(len)
            }
            id::SIMPLE_BLOCK | id::BLOCK_GROUP => Body::Block(head, len),
            _ => Body::Skip { left: size },
        });
        self.intake.accept(head, &mut self.sink);
        Ok(Step::On)
    }

    fn in_body(&mut self) -> Result<Step, Error> {
        match &mut self.body {
            Some(Body::Skip { left }) => {
                if !self.intake.skip(left, &mut self.sink) {
                    return Ok(Step::Wait);
                }
                self.body = None;
                Ok(Step::On)
            }
            Some(Body::Tags(len)) => {
                if self.intake.take(*len, &mut self.sink).is_none() {
                    return Ok(Step::Wait);
                }
                self.body = None;
                // As above.
                let element = Bytes::copy_from_slice(&self.finish_collecting().to_bytes());
                Ok(Step::Event(Event::Tags(element)))
            }
            Some(Body::Timestamp(len)) => {
                let Some(body) = self.intake.take(*len, &mut self.sink) else { return Ok(Step::Wait) };
                self.body = None;
                let base = body.iter().fold(0, |value, b| value << 8 | u64::from(*b));
                self.timestamp(base)?;
                Ok(Step::Event(Event::Begin(base)))
            }
            Some(Body::Block(head, len)) => {
                let (head, len) = (*head, *len);
                let Some(body) = self.intake.take(len, &mut self.sink) else { return Ok(Step::Wait) };
                self.body = None;
                self.block(head, body)?;
                Ok(Step::On)
            }
            None => Ok(Step::On),
        }
    }

    /// The Timestamp came: blocks before it can be read now.
    fn timestamp(&mut self, base: u64) -> Result<(), Error> {
        let State::Cluster(open) = &mut self.state else { return Ok(()) };
        open.base = Some(base);
        for (head, body) in std::mem::take(&mut open.early) {
            self.read_block(head, &body, base, false)?;
        }
        Ok(())
    }

    fn block(&mut self, head: Head, body: Bytes) -> Result<(), Error> {
        let collected = self.collected();
        let State::Cluster(open) = &mut self.state else { return Ok(()) };
        let Some(base) = open.base else {
            open.early.push((head, body));
            return Ok(());
        };
        open.block = relative_time(head.id, &body).map(|(time, relative)| BlockAt {
            element: collected - body.len() - head.len,
            time: collected - body.len() + time,
            relative,
        });
        self.rebase()?;
        self.read_block(head, &body, base, true)
    }

    fn read_block(&mut self, head: Head, body: &Bytes, base: u64, first: bool) -> Result<(), Error> {
        let Some(header) = &self.header else { return Ok(()) };
        let durations = self.durations.take();
        let mut reader = Reader { header, cluster: body, base: Some(base), durations, frames: Vec::new() };
        let element = Element { id: head.id, at: 0, body: 0..body.len(), sized: true };
        let result = if head.id == id::SIMPLE_BLOCK {
            reader.block(&element, None, None).map_err(|e| Error::new(head.at as usize, e.reason))
        } else {
            reader.group(&element).map_err(|e| Error::new(head.at as usize + head.len + e.at, e.reason))
        };
        self.durations = reader.durations;
        let frames = reader.frames.into_iter().enumerate();
        self.frames.extend(frames.map(|(index, frame)| (frame, first && index == 0)));
        result
    }

    fn cluster_ends(&mut self) -> Result<Event, Error> {
        self.intake.flush(&mut self.sink);
        let State::Cluster(open) = std::mem::replace(&mut self.state, State::Between) else {
            return Err(Error::new(0, Reason::Missing("Cluster")));
        };
        if open.base.is_none() {
            return Err(Error::new(open.at as usize, Reason::Missing("Timestamp")));
        }
        let collected = self.sink.take().unwrap_or_default();
        Ok(Event::End(if open.rebased.is_some() { collected.into_cluster() } else { collected.finish() }))
    }

    fn at_end(&mut self) -> Result<Option<Event>, Error> {
        let whole = self.body.is_none() && self.intake.is_empty();
        match &self.state {
            State::Between if whole => Ok(None),
            State::Header { tracks: true, .. } if whole => self.header_ends().map(Some),
            State::Cluster(Open { end: None, .. }) if whole => self.cluster_ends().map(Some),
            _ => Err(Error::new(self.intake.offset() as usize, Reason::Truncated)),
        }
    }

    fn next_head(&mut self) -> Result<Option<Head>, Error> {
        let at = self.intake.offset() as usize;
        self.intake.head(&mut self.sink).map_err(|reason| Error::new(at, reason))
    }

    fn begin_collecting(&mut self) {
        self.intake.flush(&mut None);
        self.sink = Some(Collected::default());
    }

    fn finish_collecting(&mut self) -> Chunks {
        self.intake.flush(&mut self.sink);
        self.sink.take().unwrap_or_default().finish()
    }

    /// Bytes of the element that is being kept.
    fn collected(&self) -> usize {
        self.sink.as_ref().map_or(0, |sink| sink.len() + self.intake.unflushed())
    }
}

enum Step {
    Event(Event),
    On,
    /// More input is needed.
    Wait,
}

/// A size as a length, if there is room for it.
fn fits(size: u64, room: usize) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| *size <= room)
}

/// How long a frame of a track lasts in ns, if the header states it (DefaultDuration).
pub fn default_duration_ns(header: &Header, track: u8) -> Option<u64> {
    default_durations(header).into_iter().find(|(number, _)| *number == track).map(|(_, ns)| ns)
}
