//! The writer of clusters that are stored as their producer sent them: PutMedia.

use crate::budget::{FRAGMENT_OVERHEAD, FRAME_OVERHEAD};
use crate::catalog::fragments;
use crate::memory::{Key, Sent};
use crate::segments::record::{MAX_LEAD, MAX_PAYLOAD};
use crate::session::{Content, Open, Session};
use crate::state::StreamState;
use crate::{Durable, Error, Kind, Offer};
use bytes::Bytes;
use media::{Chunks, FragmentNumber, Frame, Start};
use std::sync::Arc;

/// Longest lead of a fragment, in bytes.
pub const MAX_LEAD_BYTES: usize = MAX_LEAD;

/// A complete cluster as its producer sent it, and what goes with it.
#[derive(Clone, Debug, Default)]
pub struct Verbatim {
    /// The producer's elements between the header and the cluster (its Tags), byte for byte; at most [`MAX_LEAD_BYTES`].
    pub lead: Bytes,
    /// The cluster element, byte for byte.
    pub cluster: Chunks,
    /// Its length, in ms, if the producer's session knows it; else it is taken from its frames.
    pub duration_ms: Option<u32>,
}

/// Writes the fragments of one session of a producer as they came. Not shared: a session has one writer. Dropping it drops the
/// open fragment.
///
/// Again and again: [`begin`](Self::begin), [`frame`](Self::frame) for each frame (live viewers see it then), and
/// [`end`](Self::end) with the cluster. Payloads of frames are slices of bytes that are also in the cluster: the byte budget
/// counts them once. Of a fragment whose bytes come long before its frames, [`hold`](Self::hold) tells it.
pub struct VerbatimWriter {
    session: Session,
    /// Whether the numbers of this session have begun.
    numbered: bool,
}

impl VerbatimWriter {
    pub(crate) fn new(stream: Arc<StreamState>) -> VerbatimWriter {
        VerbatimWriter { session: Session::new(stream), numbered: false }
    }

    /// Begins a fragment and gives it its number, waiting for room in the byte budget. An open one is dropped. The first of a
    /// session takes the next number of the form k·1000 + 1. Cancel safe: then nothing has begun. `LimitExceeded` when there
    /// is no room and none is coming, `TooLarge` where its header alone is more than the budget, `QuotaReached` where a quota refuses
    /// it, `NotFound` when the stream was deleted.
    pub async fn begin(&mut self, start: Start) -> Result<FragmentNumber, Error> {
        self.session.abandon();
        self.session.stream.check_open()?;
        self.session.stream.admit()?;
        let cost = FRAGMENT_OVERHEAD + start.header.bytes.len() as u64;
        let charge = self.session.stream.budget.take(cost).await.ok_or_else(|| self.full(cost))?;
        self.session.stream.numbers(!self.numbered).await?;
        self.numbered = true;
        self.session.stream.check_open()?;
        self.session.begin(start, charge)
    }

    /// The next frame of the open fragment, on the producer's clock: to followers, figures and the budget. Waits for room. Cancel
    /// safe: then it was not taken. On an error the fragment is dropped. Without an open fragment `Invalid`.
    pub async fn frame(&mut self, frame: Frame) -> Result<(), Error> {
        let open = self.opened("a frame")?;
        let cost = FRAME_OVERHEAD + (open.counted_with(&frame) - open.counted());
        let Some(charge) = self.session.stream.budget.take(cost).await else {
            let full = self.full(cost);
            self.session.abandon();
            return Err(full);
        };
        self.session.stream.check_open().inspect_err(|_| self.session.abandon())?;
        self.session.frame(frame, charge);
        Ok(())
    }

    /// So many bytes of the open fragment have come by now, frames or not yet frames: the budget counts them from here on. Waits for
    /// room. Cancel safe; errors as for [`frame`](Self::frame).
    pub async fn hold(&mut self, bytes: u64) -> Result<(), Error> {
        let counted = self.opened("its bytes")?.counted();
        if bytes <= counted {
            return Ok(());
        }
        let Some(charge) = self.session.stream.budget.take(bytes - counted).await else {
            let full = self.full(bytes - counted);
            self.session.abandon();
            return Err(full);
        };
        self.session.charge(charge, bytes);
        Ok(())
    }

    /// The open fragment is complete: it goes to the disk ([`Offer::Sealed`]), unless the stream holds it already, sent before
    /// with the same producer time, header and bytes ([`Offer::Duplicate`] with the number that it has; this one's is not used
    /// again). On an error it is dropped: `Invalid` where it is too large or without a frame; `Conflict` where it stalled and was
    /// given up for newer ones; `TooLarge` where it does not fit the byte budget, `LimitExceeded` where other open ones leave it no
    /// room. One that is cancelled stays open; the next [`begin`](Self::begin) drops it. A length of more than a minute is noted as a minute.
    pub async fn end(&mut self, verbatim: Verbatim) -> Result<Offer, Error> {
        self.opened("an end")?;
        let Verbatim { lead, cluster, duration_ms } = verbatim;
        let content = Content::new(lead, cluster);
        if content.lead.len() > MAX_LEAD_BYTES || content.len() > u64::from(MAX_PAYLOAD) {
            let name = self.session.stream.name();
            let message =
                format!("stream {name}: {} bytes, {} of them before the cluster", content.len(), content.lead.len());
            self.session.abandon();
            return Err(Error::new(Kind::Invalid, message + ", are too many for a fragment"));
        }
        // Block heads and tags may not be counted yet.
        self.hold(content.len()).await?;
        match self.sent_before(&content).await {
            Ok(None) => {}
            Ok(Some((number, durable))) => {
                self.session.abandon();
                return Ok(Offer::Duplicate(number, durable));
            }
            Err(error) => {
                self.session.abandon();
                return Err(error);
            }
        }
        self.session.stream.check_open().inspect_err(|_| self.session.abandon())?;
        self.session.seal(content, duration_ms, true)
    }

    /// Drops the open fragment: it was never visible but to those who follow frames.
    pub fn abandon(&mut self) {
        self.session.abandon();
    }

    /// The number of the open fragment.
    pub fn open_number(&self) -> Option<FragmentNumber> {
        self.session.number()
    }

    /// Looks in memory, and in the catalog only for what is too old for memory.
    async fn sent_before(&mut self, content: &Content) -> Result<Option<(FragmentNumber, Durable)>, Error> {
        let live = &self.session.open().expect("the caller looked").live;
        let key = Key {
            producer_start: live.producer_start,
            header: live.header.id,
            lead_bytes: content.lead.len() as u32,
            bytes: content.len() as u32,
            crc32c: self.session.stream.checksum(live.producer_start, live.header.id, content),
        };
        let stream = &self.session.stream;
        match stream.sent_before(&key) {
            Sent::Before(number, durable) => Ok(Some((number, durable))),
            Sent::New => Ok(None),
            Sent::Unknown => {
                let id = stream.id();
                let found = stream.shared.catalog.read(move |c| fragments::find(c, id, &key)).await?;
                Ok(found.map(|meta| (meta.number, Durable::already(meta))))
            }
        }
    }

    /// The open fragment, for what there must be one.
    fn opened(&self, what: &str) -> Result<&Open, Error> {
        self.session.open().ok_or_else(|| {
            let name = self.session.stream.name();
            Error::new(Kind::Invalid, format!("stream {name}: {what} without a beginning"))
        })
    }

    /// There is no room for so many bytes more of the open fragment, and none is coming.
    fn full(&self, more: u64) -> Error {
        let (name, limit) = (self.session.stream.name(), self.session.stream.budget.limit());
        let whole = self.session.open().map_or(0, Open::charged).saturating_add(more);
        if whole > limit {
            let message = format!("stream {name}: the fragment takes more than the {limit} bytes of the byte budget");
            return Error::new(Kind::TooLarge, message);
        }
        let message =
            format!("stream {name}: other fragments that are still open take the byte budget of {limit} bytes");
        Error::new(Kind::LimitExceeded, message)
    }
}
