//! One stream: its writer, its readers, its figures.

use crate::ahead::Reading;
use crate::catalog::fragments::Located;
use crate::catalog::{fragments, listing, streams};
use crate::quota::{StreamQuota, StreamUsage};
use crate::state::StreamState;
use crate::{Error, Follower, Kind, LiveFragment, VerbatimWriter, Writer, coverage, deletion, quarantine};
use media::{Chunks, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often a reader looks, every 10 ms, whether a segment that was written anew has taken its place.
const MOST_WAITS: u32 = 300;
/// Most fragments that one listing gives.
const MAX_LIST: usize = 1000;

/// What the catalog says of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The catalog's id; never reused.
    pub id: u64,
    /// Its name.
    pub name: StreamName,
    /// Hours to keep fragments for; `None` keeps them for ever. 0 means that there is no archive: fragments are there for five
    /// minutes, for those that watch live.
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
pub struct Stream {
    pub(crate) state: Arc<StreamState>,
    /// Where its segments lie in a bucket: what it reads is read ahead.
    reading: Option<Arc<Reading>>,
}

impl Range {
    /// Whether a fragment reaches into it.
    pub fn overlaps(&self, meta: &FragmentMeta) -> bool {
        meta.producer_start < self.to && meta.producer_end() > self.from
    }
}

/// A clock that fragments are listed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeBy {
    /// [`FragmentMeta::producer_start`].
    Producer,
    /// [`FragmentMeta::server_start`].
    Server,
}

/// What [`Stream::list`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The clock to list by.
    pub by: TimeBy,
    /// First and last instant, both inclusive, at which a fragment may start; all, where absent.
    pub range: Option<(UnixMillis, UnixMillis)>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// Most fragments to give, at most 1000.
    pub limit: usize,
}

/// Where a page of a listing ended. Belongs to the clock that it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Start of the last fragment by that clock.
    pub at: UnixMillis,
    /// Its number.
    pub number: FragmentNumber,
}

impl Cursor {
    /// The cursor after this fragment.
    pub fn after(by: TimeBy, meta: &FragmentMeta) -> Cursor {
        let at = match by {
            TimeBy::Producer => meta.producer_start,
            TimeBy::Server => meta.server_start,
        };
        Cursor { at, number: meta.number }
    }
}

/// Where a reader of fragments begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first one after this number, whether that is still there or not.
    After(FragmentNumber),
    /// At the one that was arriving at this instant of the server's clock, or else the next later one by that clock.
    ContainingServer(UnixMillis),
    /// At the one that contains this instant of the producer's clock, or else the next later one by that clock.
    ContainingProducer(UnixMillis),
    /// At the one with the smallest number.
    Earliest,
    /// At the one with the largest number.
    Newest,
}

/// What [`Stream::delete_range`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Fragments.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Stream {
    pub(crate) fn new(state: Arc<StreamState>) -> Stream {
        let reading = state.shared.ahead.as_ref().map(|ahead| ahead.reader());
        Stream { state, reading }
    }
    /// What the catalog says of it.
    pub fn info(&self) -> StreamInfo {
        self.state.info()
    }
    /// Its figures now.
    pub fn stats(&self) -> StreamStats {
        self.state.stats()
    }
    /// What it keeps and may keep.
    pub fn usage(&self) -> StreamUsage {
        self.state.account.figures(self.state.name(), &self.state.shared.usage)
    }
    /// What it was told that it may keep.
    pub fn quota(&self) -> StreamQuota {
        self.state.account.quota()
    }
    /// `QuotaReached` where a quota is reached that refuses new fragments.
    pub fn check_quota(&self) -> Result<(), Error> {
        self.state.account.would_admit(self.state.name(), &self.state.shared.usage)
    }
    /// The most bytes of media that is not durable yet: no fragment can be larger.
    pub fn budget_bytes(&self) -> u64 {
        self.state.budget.limit()
    }
    /// A writer for one session of a producer. Several may be open; each appends whole fragments.
    pub fn writer(&self) -> Writer {
        Writer::new(self.state.clone())
    }
    /// A writer for one session of a producer whose clusters are stored as they come. Several may be open.
    pub fn verbatim_writer(&self) -> VerbatimWriter {
        VerbatimWriter::new(self.state.clone())
    }
    /// The fragment with the largest number that has begun in this process, complete or not: it may still be dropped. Changes
    /// as soon as one begins, so a reader that waits for a fragment can prepare for it. Ends with the process only; a reader
    /// learns from [`Self::wait_newer`] that the stream is gone.
    pub fn begun(&self) -> watch::Receiver<Option<Arc<LiveFragment>>> {
        self.state.begun.subscribe()
    }
    /// Follows frames live, starting with the key frame of the open fragment.
    pub fn follow(&self) -> Follower {
        self.state.hub.follow()
    }
    /// Durable fragments that overlap a range of producer time, oldest first, at most `limit` (≤ 1000).
    /// Where a re-sent fragment has the same producer start, only the one with the larger number is listed (invariant 7).
    pub async fn fragments(&self, range: Range, at: Position, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        let id = self.id()?;
        let limit = limit.min(MAX_LIST);
        self.state.shared.catalog.read(move |c| fragments::list(c, id, range, at, limit)).await
    }
    /// The headers of durable fragments that overlap a range of producer time. Looks at all of those: not for every request.
    pub async fn headers_in(&self, range: Range) -> Result<Vec<HeaderId>, Error> {
        let id = self.id()?;
        self.state.shared.catalog.read(move |c| fragments::headers_in(c, id, range)).await
    }
    /// Durable fragments by the time at which they start, in pages: ascending by time and then number. By producer time, of those
    /// with the same start only the one with the largest number is listed (invariant 7). What a page costs does not grow with
    /// the stream.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<FragmentMeta>, Error> {
        let id = self.id()?;
        let query = ListQuery { limit: query.limit.min(MAX_LIST), ..query };
        self.state.shared.catalog.read(move |c| listing::page(c, id, &query)).await
    }
    /// The durable fragment that a reader begins at, if there is one yet; it goes on with [`Self::next_after`].
    pub async fn first(&self, start: Start) -> Result<Option<FragmentMeta>, Error> {
        let id = self.id()?;
        match start {
            Start::After(number) => return Ok(self.next_after(number, 1).await?.pop()),
            Start::Newest => {
                if let Some(newest) = self.state.newest_meta() {
                    return Ok(Some(newest));
                }
            }
            _ => {}
        }
        self.state.shared.catalog.read(move |c| listing::first(c, id, start)).await
    }
    /// The durable fragments after this number, in the order of numbers, at most `limit` (≤ 1000): what a reader that follows a
    /// stream reads next, re-sent ones included. From memory as far back as that goes.
    pub async fn next_after(&self, number: FragmentNumber, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        let id = self.id()?;
        let limit = limit.min(MAX_LIST);
        match self.state.after(number, limit) {
            Some(next) => Ok(next),
            None => self.state.shared.catalog.read(move |c| listing::after(c, id, number, limit)).await,
        }
    }
    /// Deletes every durable fragment that overlaps a range of producer time, and those that are complete and on their way to the
    /// disk; with them go the detections and alerts of their time, but for alerts with a delivery that is still to be made. `Conflict` where a legal hold keeps some of it. Gives what
    /// it deleted when all are gone. Readers of such a fragment are told `NotFound`. Their bytes go with their
    /// segments. Goes on if the caller is cancelled; if the process is killed in between, the next start finishes it.
    pub async fn delete_range(&self, range: Range) -> Result<Deleted, Error> {
        self.id()?;
        deletion::delete_range(self.state.clone(), range).await
    }
    /// The newest `limit` durable fragments, oldest first. Served from memory, as far back as that goes (256 fragments).
    pub async fn latest(&self, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        let id = self.id()?;
        let limit = limit.min(MAX_LIST);
        match self.state.latest(limit) {
            Some(latest) => Ok(latest),
            None => self.state.shared.catalog.read(move |c| fragments::newest(c, id, limit)).await,
        }
    }
    /// Waits until a durable fragment newer than `number` exists (any, for `None`). Cancel safe. `NotFound` when the stream is
    /// deleted, `Unavailable` when the store stops.
    pub async fn wait_newer(&self, number: Option<FragmentNumber>) -> Result<(), Error> {
        let mut newest = self.state.newest.subscribe();
        loop {
            self.state.check_open()?;
            if *newest.borrow_and_update() > number {
                return Ok(());
            }
            newest.changed().await.map_err(|_| Error::new(Kind::Unavailable, "the store is stopped"))?;
        }
    }
    /// What is known of one fragment.
    pub async fn fragment_meta(&self, number: FragmentNumber) -> Result<FragmentMeta, Error> {
        let id = self.id()?;
        if let Some(fragment) = self.state.in_tail(number) {
            return Ok(fragment.meta.clone());
        }
        self.state
            .shared
            .catalog
            .read(move |c| fragments::get(c, id, number))
            .await
            .map(|(meta, _)| meta)
            .map_err(|e| self.named(e))
    }
    /// One durable fragment with its bytes, from the tail or from a segment; its CRC is checked when it comes from disk. One that is
    /// damaged is `Corrupt` once, and from then on `NotFound`, and in no listing: it is in quarantine.
    pub async fn fragment(&self, number: FragmentNumber) -> Result<Arc<Fragment>, Error> {
        let id = self.id()?;
        if let Some(fragment) = self.state.in_tail(number) {
            return Ok(fragment);
        }
        let shared = &self.state.shared;
        let row = || async move {
            shared.catalog.read(move |c| fragments::located(c, id, number)).await.map_err(|e| self.named(e))
        };
        let (meta, mut place) = row().await?;
        let header = self.header(meta.header).await?;
        let mut ahead = match &self.reading {
            Some(reading) => {
                let row = Located { meta: meta.clone(), place: place.0, generation: place.1 };
                reading.take(&shared.catalog, id, &row).await
            }
            None => None,
        };
        let mut waited = 0;
        let mut cluster = loop {
            let moving = shared.moving.load(Ordering::SeqCst) == place.0.segment;
            let error = match shared.reader.payload(self.state.name().as_str(), id, &meta, place, ahead.take()).await {
                Ok(cluster) => break cluster,
                Err(error) => error,
            };
            // Its segment may have been written anew since the row was read, or was about to take its place.
            let (_, now) = row().await?;
            if now == place && !moving && error.kind() == Kind::Corrupt {
                break quarantine::confirm(&self.state, &meta, place, error).await?;
            }
            if now == place && (!moving || waited == MOST_WAITS) {
                return Err(error);
            }
            if now == place {
                waited += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            place = now;
        };
        let lead = cluster.split_to((meta.lead_bytes as usize).min(cluster.len()));
        Ok(Arc::new(Fragment { meta, header, lead, cluster: Chunks::from(cluster) }))
    }
    /// A header of this stream.
    pub async fn header(&self, header: HeaderId) -> Result<Arc<Header>, Error> {
        let id = self.id()?;
        if let Some(known) = self.state.known_header(header) {
            return Ok(known);
        }
        let stored = self.state.shared.catalog.read(move |c| streams::header(c, id, header)).await?;
        let stored = stored.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("stream {} has no header {header}", self.state.name()))
        })?;
        let bytes = self.state.shared.keys.header(id, header, stored.into()).map_err(|e| self.named(e))?;
        let parsed = media::mkv::parse_header(&bytes).map_err(|e| {
            Error::new(
                Kind::Corrupt,
                format!("stream {}: header {header} in the catalog is damaged", self.state.name()),
            )
            .with_source(e)
        })?;
        let parsed = Arc::new(parsed);
        self.state.keep_header(&parsed);
        Ok(parsed)
    }
    /// What is recorded in a range of producer time, as contiguous spans, oldest first, at most `limit` spans.
    pub async fn coverage(&self, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
        self.coverage_by(TimeBy::Producer, range, limit).await
    }
    /// The same by either clock. By the server's, a fragment lasts from when its first byte came for as long as it plays.
    pub async fn coverage_by(&self, by: TimeBy, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
        let id = self.id()?;
        self.state.shared.catalog.read(move |c| coverage::spans(c, id, by, range, limit)).await
    }

    fn id(&self) -> Result<u64, Error> {
        if self.state.is_closed() {
            return Err(Error::new(Kind::NotFound, format!("stream {} was deleted", self.state.name())));
        }
        Ok(self.state.id())
    }

    fn named(&self, error: Error) -> Error {
        error.context(format_args!("stream {}", self.state.name()))
    }
}

/// Resolves when the fragment it was given out for is durable: bytes synced and catalog row committed (invariant 2).
pub struct Durable {
    answer: oneshot::Receiver<Result<FragmentMeta, Error>>,
}

impl Durable {
    pub(crate) fn new(answer: oneshot::Receiver<Result<FragmentMeta, Error>>) -> Durable {
        Durable { answer }
    }
    /// Of a fragment that is durable already.
    pub(crate) fn already(meta: FragmentMeta) -> Durable {
        let (done, answer) = oneshot::channel();
        // The receiver is here, so it cannot fail.
        let _ = done.send(Ok(meta));
        Durable { answer }
    }
    /// Waits for the commit. An error means that the fragment must not be counted on: `LimitExceeded` (disk full) and `NotFound`
    /// (stream deleted) say that it is not there and will not be; after `Unavailable` the catalog's answer was lost, and a
    /// later start may still find it.
    pub async fn wait(self) -> Result<FragmentMeta, Error> {
        self.answer.await.unwrap_or_else(|_| Err(Error::new(Kind::Unavailable, "the store stopped before the commit")))
    }
}

/// What became of an offered event.
pub enum Offer {
    /// Taken.
    Taken,
    /// The fragment is complete and on its way to the disk.
    Sealed(FragmentNumber, Durable),
    /// The stream holds the same fragment already, under this number, or it is on its way to the disk: it was sent again after its
    /// producer lost the connection (invariant 7). Nothing is stored twice. The promise is that of the first.
    Duplicate(FragmentNumber, Durable),
    /// The budget is full: the event, and all up to the next `Begin`, are dropped and counted.
    Dropped,
}
