//! A range of a stream as one file, in pieces: what the catalog lists, read ahead of whoever takes it, through the pure
//! [`media::export`].

use crate::{Error, Kind, Position, Range, Stream};
use media::export::{Format, Muxer, alike};
use media::{Chunks, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, UnixMillis};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Fragments whose figures are read at once.
const PAGE: usize = 500;
/// Fragments that are read at once, and the bytes that they may have together; one is read whatever it has.
const AHEAD: usize = 16;
const AHEAD_BYTES: u64 = 32 << 20;
/// What may lie between two fragments that continue one another, in ms.
const TOLERANCE_MS: i64 = 500;

/// Where fragments come from: a stream of an open store, or of a folder that is only read. All that it gives is durable.
pub trait Source: Clone + Send + Sync + 'static {
    /// The headers of all fragments that overlap a range.
    fn headers_in(&self, range: Range) -> impl Future<Output = Result<Vec<HeaderId>, Error>> + Send;
    /// See [`Stream::fragments`].
    fn page(
        &self,
        range: Range,
        at: Position,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<FragmentMeta>, Error>> + Send;
    /// See [`Stream::header`].
    fn header(&self, header: HeaderId) -> impl Future<Output = Result<Arc<Header>, Error>> + Send;
    /// See [`Stream::fragment`]; `header` is its own.
    fn fragment(
        &self,
        number: FragmentNumber,
        header: Arc<Header>,
    ) -> impl Future<Output = Result<Arc<Fragment>, Error>> + Send;
}

impl Source for Stream {
    async fn headers_in(&self, range: Range) -> Result<Vec<HeaderId>, Error> {
        Stream::headers_in(self, range).await
    }
    async fn page(&self, range: Range, at: Position, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        self.fragments(range, at, limit).await
    }
    async fn header(&self, header: HeaderId) -> Result<Arc<Header>, Error> {
        Stream::header(self, header).await
    }
    async fn fragment(&self, number: FragmentNumber, _: Arc<Header>) -> Result<Arc<Fragment>, Error> {
        Stream::fragment(self, number).await
    }
}

/// A fragment on its way.
struct Coming {
    meta: FragmentMeta,
    read: JoinHandle<Result<Arc<Fragment>, Error>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.read.abort();
    }
}

/// The fragments of a range in the order of producer time, several read at once.
pub struct Fragments<S> {
    source: S,
    range: Range,
    headers: HashMap<HeaderId, Arc<Header>>,
    listed: VecDeque<FragmentMeta>,
    /// Where the next page begins; `None` when there is none.
    at: Option<Position>,
    coming: VecDeque<Coming>,
}

impl<S: Source> Fragments<S> {
    /// From the first fragment that overlaps the range.
    pub fn new(source: S, range: Range) -> Fragments<S> {
        let (listed, coming) = Default::default();
        Fragments { source, range, headers: HashMap::new(), listed, at: Some(Position::Start), coming }
    }

    /// The next one: what the catalog says of it, and its bytes, or why they cannot be had. Cancel safe but for what was read.
    pub async fn next(&mut self) -> Result<Option<(FragmentMeta, Result<Arc<Fragment>, Error>)>, Error> {
        self.read_ahead().await?;
        let Some(mut next) = self.coming.pop_front() else { return Ok(None) };
        let read = (&mut next.read).await;
        let read = read.unwrap_or_else(|e| Err(Error::new(Kind::Internal, "reading a fragment failed").with_source(e)));
        Ok(Some((next.meta.clone(), read)))
    }

    async fn read_ahead(&mut self) -> Result<(), Error> {
        let mut bytes: u64 = self.coming.iter().map(|c| u64::from(c.meta.bytes)).sum();
        while self.coming.len() < AHEAD {
            if self.listed.is_empty() {
                let Some(at) = self.at else { return Ok(()) };
                let page = self.source.page(self.range, at, PAGE).await?;
                self.at = page.last().filter(|_| page.len() == PAGE).map(|last| Position::After(last.number));
                self.listed.extend(page);
            }
            let Some(meta) = self.listed.front() else { return Ok(()) };
            if !self.coming.is_empty() && bytes + u64::from(meta.bytes) > AHEAD_BYTES {
                return Ok(());
            }
            bytes += u64::from(meta.bytes);
            let (number, id) = (meta.number, meta.header);
            let header = match self.headers.get(&id) {
                Some(header) => header.clone(),
                None => {
                    let header = self.source.header(id).await?;
                    self.headers.insert(id, header.clone());
                    header
                }
            };
            let source = self.source.clone();
            let read = tokio::spawn(async move { source.fragment(number, header).await });
            self.coming.extend(self.listed.pop_front().map(|meta| Coming { meta, read }));
        }
        Ok(())
    }
}

/// What an export goes on with.
#[derive(Debug)]
pub enum Step {
    /// The next bytes of the file.
    Bytes(Chunks),
    /// Nothing was recorded, or nothing of it can be read: producer time, and why. The file's timeline goes on over it.
    Gap {
        /// Its start.
        from: UnixMillis,
        /// Its end.
        to: UnixMillis,
        /// Why.
        why: String,
    },
}

/// An export under way. Holds at most 32 MiB, or one fragment.
pub struct Export<S> {
    fragments: Fragments<S>,
    muxer: Muxer,
    /// The end of what was written last.
    end: Option<UnixMillis>,
    held: Option<Chunks>,
    /// Fragments in the file so far.
    pub written: u64,
}

impl<S: Source> Export<S> {
    /// Prepares one: whole fragments, from the first that overlaps the range to the last. `NotFound` where there is none, `Invalid` where the
    /// format cannot hold its tracks, `Conflict` where tracks change within it.
    pub async fn new(source: S, range: Range, format: Format) -> Result<Export<S>, Error> {
        let mut fragments = Fragments::new(source, range);
        let mut first: Option<Arc<Header>> = None;
        for id in fragments.source.headers_in(range).await? {
            let header = fragments.source.header(id).await?;
            if first.as_ref().is_some_and(|first| !alike(first, &header)) {
                return Err(Error::new(
                    Kind::Conflict,
                    "the tracks change within the range (another codec, size or configuration): export the parts before and after that by themselves",
                ));
            }
            fragments.headers.insert(id, header.clone());
            first.get_or_insert(header);
        }
        let header = first.ok_or_else(|| Error::new(Kind::NotFound, "nothing is recorded in that range"))?;
        let muxer = Muxer::new(format, &header).map_err(invalid)?;
        Ok(Export { fragments, muxer, end: None, held: None, written: 0 })
    }

    /// What comes next; `None` when the file is whole.
    pub async fn next(&mut self) -> Result<Option<Step>, Error> {
        if let Some(held) = self.held.take() {
            return Ok(Some(Step::Bytes(held)));
        }
        let Some((meta, read)) = self.fragments.next().await? else { return Ok(None) };
        let (start, end) = (meta.producer_start, meta.producer_end());
        let bytes = match read {
            Ok(fragment) => self.muxer.fragment(&fragment).map_err(|e| e.to_string()),
            // Damaged, or deleted since it was listed: the rest can be had.
            Err(e) if matches!(e.kind(), Kind::Corrupt | Kind::NotFound) => Err(e.to_string()),
            Err(e) => return Err(e),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Some(Step::Gap { from: start, to: end, why })),
        };
        let before = self.end.replace(self.end.map_or(end, |before| before.max(end)));
        self.written += 1;
        match before.filter(|before| start.0 > before.0 + TOLERANCE_MS) {
            None => Ok(Some(Step::Bytes(bytes))),
            Some(from) => {
                self.held = Some(bytes);
                let cause = meta.cause.and_then(|cause| Some(serde_json::to_value(cause).ok()?.as_str()?.to_owned()));
                let why = cause.unwrap_or_else(|| "nothing was recorded".to_owned());
                Ok(Some(Step::Gap { from, to: start, why }))
            }
        }
    }
}

fn invalid(error: media::export::Error) -> Error {
    Error::new(Kind::Invalid, error.to_string())
}
