//! One stream: its writer, its readers, its figures.

use crate::{Error, Follower};
use media::{Event, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the catalog says of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The catalog's id; never reused.
    pub id: u64,
    /// Its name.
    pub name: StreamName,
    /// Hours to keep fragments for; `None` keeps them for ever.
    pub retention_hours: Option<u32>,
    /// When it was created.
    pub created_at: UnixMillis,
}

/// Figures of a stream since the process started, and of its newest fragments.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamStats {
    /// Bits per second over the last ten or so seconds.
    pub bitrate_bps: u64,
    /// Video frames per second over the same window.
    pub fps: f64,
    /// Producer time between the last two key frames, in ms.
    pub key_interval_ms: Option<u32>,
    /// When the newest durable fragment was committed, server time.
    pub last_commit_at: Option<UnixMillis>,
    /// Bytes of this stream held in memory and not yet durable.
    pub queued_bytes: u64,
    /// Groups of pictures dropped because the budget was full.
    pub dropped_gops: u64,
    /// Codec string and size of the newest header, such as `avc1.64001f 1280x720 · mp4a.40.2`.
    pub description: Option<String>,
    /// Whether pictures are reordered (B-frames seen), which WebRTC viewers cannot show.
    pub has_b_frames: bool,
}

/// A range of producer time: `from` inclusive, `to` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First instant.
    pub from: UnixMillis,
    /// Just after the last instant.
    pub to: UnixMillis,
}

/// Where a listing starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the first fragment that overlaps the range.
    Start,
    /// After this fragment (keyset paging).
    After(FragmentNumber),
}

/// A run of contiguous fragments, and what precedes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Producer time of its first frame.
    pub start: UnixMillis,
    /// Just after its last frame.
    pub end: UnixMillis,
    /// Fragments in it.
    pub fragments: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Why it does not continue what came before.
    pub cause: Option<media::Cause>,
}

/// A stream of an open store. Cheap to clone.
#[derive(Clone)]
pub struct Stream {}

impl Stream {
    /// What the catalog says of it.
    pub fn info(&self) -> StreamInfo {
        unimplemented!("skeleton")
    }
    /// Its figures now.
    pub fn stats(&self) -> StreamStats {
        unimplemented!("skeleton")
    }
    /// A writer for one session of a producer. Several may be open; each appends whole fragments.
    pub fn writer(&self) -> Writer {
        unimplemented!("skeleton")
    }
    /// Follows frames live, starting with the key frame of the open fragment.
    pub fn follow(&self) -> Follower {
        unimplemented!("skeleton")
    }
    /// Durable fragments that overlap a range of producer time, oldest first, at most `limit` (≤ 1000).
    /// Where a re-sent fragment has the same producer start, only the one with the larger number is listed (invariant 7).
    pub async fn fragments(&self, _range: Range, _at: Position, _limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        unimplemented!("skeleton")
    }
    /// The newest `limit` durable fragments, oldest first. Served from memory.
    pub async fn latest(&self, _limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        unimplemented!("skeleton")
    }
    /// Waits until a durable fragment newer than `number` exists (any, for `None`). Cancel safe.
    pub async fn wait_newer(&self, _number: Option<FragmentNumber>) -> Result<(), Error> {
        unimplemented!("skeleton")
    }
    /// What is known of one fragment.
    pub async fn fragment_meta(&self, _number: FragmentNumber) -> Result<FragmentMeta, Error> {
        unimplemented!("skeleton")
    }
    /// One durable fragment with its bytes, from the tail or from a segment; its CRC is checked when it comes from disk.
    pub async fn fragment(&self, _number: FragmentNumber) -> Result<Arc<Fragment>, Error> {
        unimplemented!("skeleton")
    }
    /// A header of this stream.
    pub async fn header(&self, _id: HeaderId) -> Result<Arc<Header>, Error> {
        unimplemented!("skeleton")
    }
    /// What is recorded in a range of producer time, as contiguous spans, oldest first, at most `limit` spans.
    pub async fn coverage(&self, _range: Range, _limit: usize) -> Result<Vec<Span>, Error> {
        unimplemented!("skeleton")
    }
}

/// Resolves when the fragment it was given out for is durable: bytes synced and catalog row committed (invariant 2).
pub struct Durable {}

impl Durable {
    /// Waits for the commit. An error means that the fragment is not durable and will not be.
    pub async fn wait(self) -> Result<FragmentMeta, Error> {
        unimplemented!("skeleton")
    }
}

/// What became of an offered event.
pub enum Offer {
    /// Taken.
    Taken,
    /// The fragment is complete and on its way to the disk.
    Sealed(FragmentNumber, Durable),
    /// The budget is full: the event, and all up to the next `Begin`, are dropped and counted.
    Dropped,
}

/// Writes the events of one session. Not shared: a session has one writer.
pub struct Writer {}

impl Writer {
    /// Takes an event, waiting for room in the byte budget (a producer that can be slowed down: PutMedia).
    pub async fn write(&mut self, _event: Event) -> Result<Offer, Error> {
        unimplemented!("skeleton")
    }
    /// Takes an event without ever waiting (a live source): a full budget drops whole groups of pictures and counts them;
    /// the first fragment after it carries `Cause::Overload`.
    pub fn offer(&mut self, _event: Event) -> Result<Offer, Error> {
        unimplemented!("skeleton")
    }
}
