//! How far a session has come: what was said of its open fragment, and which fragments are on their way to the disk.
//!
//! Everything that is acknowledged goes through here, so that the order holds: BUFFERING, RECEIVED and PERSISTED of a
//! fragment one after another, PERSISTED in the order of fragments, nothing after ERROR.

use super::Topics;
use super::ack::{Ack, Of, Sender};
use super::core::{ErrorId, Fault, Mark};
use super::meters::Meters;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use media::{FragmentNumber, StreamName};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use store::notifications::Notify;
use store::{Kind, Offer};
use tokio::time::Instant;

/// Why a session is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The producer ended the body.
    Complete,
    /// The connection broke, or the body was not HTTP.
    Cut(String),
    /// Nothing came for so long that the connection is given up.
    Silent,
    /// The server stops.
    Stopping,
    /// The producer is told an error.
    Refused(Refusal),
}

impl Over {
    /// As the metrics spell it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Over::Complete => "complete",
            Over::Cut(_) => "cut",
            Over::Silent => "silent",
            Over::Stopping => "stopping",
            Over::Refused(_) => "refused",
        }
    }

    /// Of the cluster with this time code and place in the body, which has no number yet.
    pub(super) fn at(mut self, timecode: u64, offset: u64) -> Self {
        if let Over::Refused(refusal) = &mut self {
            (refusal.timecode, refusal.offset) = (Some(timecode), Some(offset));
        }
        self
    }
}

/// What ERROR tells.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) id: ErrorId,
    timecode: Option<u64>,
    number: Option<FragmentNumber>,
    /// Where in the body the cluster at fault begins, in bytes, if the reason does not say where it went wrong.
    offset: Option<u64>,
    pub(super) reason: String,
    /// It is of a fragment that could not be made durable: nothing that follows may be counted on.
    pub(super) is_of_commit: bool,
}

/// What became of a fragment that was on its way to the disk.
struct Committed {
    of: Of,
    offset: u64,
    /// Whether its producer is told: not of the parts of a split cluster but the last, and of none without retention.
    is_told: bool,
    received: Instant,
    result: Result<(), store::Error>,
}

/// The acknowledging side of a session.
pub(super) struct Progress {
    stream: String,
    /// Dropped last: the answer ends with it.
    acks: Sender,
    /// Where the producer wants no acknowledgements, and after ERROR.
    is_silent: bool,
    said: Instant,
    meters: Meters,
    open: Option<Open>,
    waiting: FuturesOrdered<BoxFuture<'static, Committed>>,
}

/// A fragment that is complete.
pub(super) struct Sealed {
    /// Another part of the same cluster follows.
    pub(super) more: bool,
    pub(super) is_kept: bool,
    /// When its last bytes came.
    pub(super) heard: Instant,
    /// What is to be told of it, should it be there already.
    pub(super) again: Option<(Arc<dyn Topics>, Arc<Notify>)>,
}

/// The fragment that is being received.
struct Open {
    of: Of,
    /// Where in the body it begins, in bytes.
    offset: u64,
    began: Instant,
    /// Whether this is a later part of a cluster.
    is_split: bool,
}

impl Progress {
    pub(super) fn new(stream: &StreamName, acks: Sender, is_silent: bool, now: Instant) -> Progress {
        Progress {
            stream: stream.to_string(),
            acks,
            is_silent,
            said: now,
            meters: Meters::begin(stream),
            open: None,
            waiting: FuturesOrdered::new(),
        }
    }

    /// When something was said last.
    pub(super) fn said(&self) -> Instant {
        self.said
    }

    fn say(&mut self, ack: Ack) {
        self.said = Instant::now();
        if !self.is_silent && self.acks.push(ack) {
            self.meters.unread_acks.increment(1);
        }
    }

    /// Bytes came.
    pub(super) fn heard(&self, bytes: usize) {
        self.meters.bytes.increment(bytes as u64);
    }

    /// Nothing came for a while.
    pub(super) fn idle(&mut self) {
        self.say(Ack::Idle);
    }

    /// A fragment has a number and begins here in the body; its first bytes came at `heard`. Of the parts of a split cluster the
    /// producer knows the first.
    pub(super) fn begun(&mut self, of: Of, offset: u64, part: u32, heard: Instant) {
        let before = self.open.take().filter(|_| part > 0);
        if let Some(whole) = before {
            self.open = Some(Open { offset, is_split: true, ..whole });
            return;
        }
        self.open = Some(Open { of, offset, began: heard, is_split: false });
        self.say(Ack::Buffering(of));
        self.meters.buffering(heard.elapsed());
    }

    /// A frame was taken.
    pub(super) fn frame(&self) {
        self.meters.frames.increment(1);
    }

    /// The fragment is complete and on its way to the disk, or there already.
    pub(super) fn sealed(&mut self, offer: Offer, sealed: Sealed) -> Result<(), Over> {
        let Sealed { more, is_kept, heard, again } = sealed;
        let (number, durable, again) = match offer {
            // Told with the commit that makes it durable.
            Offer::Sealed(number, durable) => (number, durable, None),
            Offer::Duplicate(number, durable) => {
                self.meters.duplicates.increment(1);
                (number, durable, again)
            }
            Offer::Taken | Offer::Dropped => {
                return Err(Over::Refused(self.refusal(ErrorId::InternalError, "the fragment was dropped")));
            }
        };
        let Some(open) = self.open.take() else { return Ok(()) };
        self.meters.fragments.increment(1);
        let (mut of, offset) = (open.of, open.offset);
        if more {
            self.open = Some(open);
        } else {
            // A fragment that was there already keeps its number.
            of.number = if open.is_split { of.number } else { number };
            self.said_whole(of, open.began, heard);
        }
        self.wait_for((of, offset), !more && is_kept, heard, async move {
            durable.wait().await?;
            match again {
                Some((topics, notify)) => topics.again(number, notify).await,
                None => Ok(()),
            }
        });
        Ok(())
    }

    /// The fragment is complete and holds nothing. Its producer waits for the same words.
    pub(super) fn empty(&mut self, is_kept: bool, heard: Instant) {
        let Some(open) = self.open.take() else { return };
        self.said_whole(open.of, open.began, heard);
        self.wait_for((open.of, open.offset), is_kept, heard, std::future::ready(Ok(())));
    }

    fn said_whole(&mut self, of: Of, began: Instant, heard: Instant) {
        self.say(Ack::Received(of));
        self.meters.received(heard.elapsed(), heard.saturating_duration_since(began));
    }

    fn wait_for(
        &mut self,
        (of, offset): (Of, u64),
        is_told: bool,
        received: Instant,
        durable: impl Future<Output = Result<(), store::Error>> + Send + 'static,
    ) {
        self.waiting.push_back(Box::pin(async move {
            let result = durable.await;
            Committed { of, offset, is_told, received, result }
        }));
    }

    /// Input that the service would refuse was stored.
    pub(super) fn warned(&self, mark: &Mark) {
        tracing::debug!(?mark, "accepted");
        self.meters.mark(mark.name());
    }

    /// Whether fragments are on their way to the disk.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until the oldest of the fragments that are on their way is durable, and says so. Pending for ever while there
    /// is none. Cancel safe.
    pub(super) async fn committed(&mut self) -> Result<(), Over> {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        let Some(Committed { of, offset, is_told, received, result }) = self.waiting.next().await else {
            return Ok(());
        };
        let Err(error) = result else {
            if is_told {
                self.say(Ack::Persisted(of));
                self.meters.persisted(received.elapsed());
            }
            return Ok(());
        };
        // What follows may well become durable; to say so would say that this one is.
        self.waiting.clear();
        let id = match error.kind() {
            Kind::NotFound => ErrorId::StreamNotActive,
            _ => ErrorId::ArchivalError,
        };
        let (timecode, number, offset) = (Some(of.timecode), Some(of.number), Some(offset));
        Err(Over::Refused(Refusal { timecode, number, offset, is_of_commit: true, ..self.refusal(id, error) }))
    }

    /// The store did not take what the producer sent.
    pub(super) fn not_taken(&self, error: &store::Error) -> Over {
        Over::Refused(self.refusal(
            match error.kind() {
                Kind::NotFound => ErrorId::StreamNotActive,
                Kind::TooLarge => ErrorId::MaxFragmentSizeReached,
                Kind::QuotaReached => ErrorId::ArchivalError,
                Kind::Invalid => ErrorId::InvalidMkvData,
                // The producer sends the fragment again.
                _ => ErrorId::InternalError,
            },
            error,
        ))
    }

    /// What the producer sent is not what it should be.
    pub(super) fn fault(&self, fault: Fault) -> Refusal {
        let refusal = self.refusal(fault.id, &fault);
        Refusal { timecode: fault.timecode.or(refusal.timecode), offset: None, ..refusal }
    }

    /// An error of the open fragment.
    pub(super) fn refusal(&self, id: ErrorId, reason: impl Display) -> Refusal {
        let of = self.open.as_ref().map(|open| open.of);
        Refusal {
            id,
            timecode: of.map(|of| of.timecode),
            number: of.map(|of| of.number),
            offset: self.open.as_ref().map(|open| open.offset),
            reason: reason.to_string(),
            is_of_commit: false,
        }
    }

    /// Says ERROR, and nothing more.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let Refusal { id, timecode, number, offset, reason, .. } = refusal;
        // Most errors of the store name the stream already.
        let stream = format!("stream {}", self.stream);
        let reason = reason.strip_prefix(&stream).map_or(&*reason, |rest| rest.trim_start_matches([' ', ',', ':']));
        let reason = match offset {
            Some(offset) => format!("{stream}, byte {offset}: {reason}"),
            None => format!("{stream}, {reason}"),
        };
        self.say(Ack::Error { timecode, number, id: id.id(), code: id.code(), reason });
        self.meters.error(id.code());
        self.is_silent = true;
    }

    /// The session is over.
    pub(super) fn end(self, outcome: &'static str) {
        self.meters.end(outcome);
    }
}
