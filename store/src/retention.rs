//! The sweeper: takes expired rows and rows of deleted streams away in batches, then the segments that no row refers to.
//!
//! Only segments that the catalog lists are ever unlinked. A file that it does not know stays, whatever its name.

use crate::catalog::expiry::{self, Due};
use crate::catalog::{Catalog, alerts, detections, notifications, ranges, segments};
use crate::segments::shelf::Shelf;
use crate::state::{Shared, StreamState, Streams};
use crate::{Error, Range};
use media::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest that a notification is kept, in hours.
const NOTIFICATION_HOURS: u32 = 7 * 24;
/// How long a stream without an archive keeps its fragments, for those that watch live: as long as the cloud does.
const LIVE_MS: i64 = 5 * 60_000;

/// What the sweeper works on.
pub(crate) struct Sweeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) shelf: Shelf,
    /// Segments there are, for the gauge.
    pub(crate) segments: Arc<AtomicU64>,
}

impl Sweeper {
    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// One sweep, as of `now`.
    pub(crate) async fn sweep(&self, now: UnixMillis) -> Result<(), Error> {
        let streams: Vec<_> = self.streams.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect();
        for stream in streams {
            self.expire_notifications(&stream, now).await?;
            let Some(hours) = stream.retention_hours() else { continue };
            let kept_ms = if hours == 0 { LIVE_MS } else { i64::from(hours) * 3_600_000 };
            let (id, cutoff) = (stream.id(), now.plus(-kept_ms));
            self.expire(&stream, cutoff, now).await?;
            let before = Range { from: UnixMillis(i64::MIN), to: cutoff };
            while self.catalog().write(move |c| detections::delete_in(c, id, before)).await? {}
            while self.catalog().write(move |c| alerts::delete_in(c, id, before)).await? {}
        }
        while self.catalog().write(expiry::sweep_deleted).await? {}
        self.finish_ranges().await?;
        self.unlink_dead().await
    }

    /// Notifications are kept for a week, or less where the stream's media is.
    async fn expire_notifications(&self, stream: &StreamState, now: UnixMillis) -> Result<(), Error> {
        // Not at once where nothing is archived: a fragment that is sent again finds the one that it had.
        let hours = stream.retention_hours().unwrap_or(NOTIFICATION_HOURS).clamp(1, NOTIFICATION_HOURS);
        let (id, cutoff) = (stream.id(), now.plus(-i64::from(hours) * 3_600_000));
        while self.catalog().write(move |c| notifications::expire(c, id, cutoff)).await? {}
        Ok(())
    }

    /// Takes the expired fragments of one stream. A look reads one batch, more only where the clock had stepped ahead.
    async fn expire(&self, stream: &StreamState, cutoff: UnixMillis, now: UnixMillis) -> Result<(), Error> {
        let id = stream.id();
        let (mut after, mut expired) = (0, false);
        loop {
            match self.catalog().read(move |c| expiry::due(c, id, after, cutoff, now)).await? {
                Due::Upto(upto) => {
                    while let Some(last) = self.catalog().write(move |c| expiry::expire(c, id, upto)).await? {
                        stream.forget_upto(last);
                        expired = true;
                        if last >= upto {
                            break;
                        }
                    }
                    after = upto;
                }
                Due::Unclear(last) => after = last,
                Due::None => break,
            }
        }
        if expired {
            tracing::info!(stream = %stream.name(), upto = after, "expired fragments are removed");
        }
        Ok(())
    }

    /// Deletions of ranges that an error cut short.
    async fn finish_ranges(&self) -> Result<(), Error> {
        for id in self.catalog().read(|c| ranges::pending(c)).await? {
            if !self.shared.deletions.is_running(id) {
                while self.catalog().write(move |c| ranges::sweep(c, id)).await?.1 {}
            }
        }
        Ok(())
    }

    async fn unlink_dead(&self) -> Result<(), Error> {
        let dead = self.catalog().read(|c| segments::dead(c)).await?;
        for segment in dead {
            // First the segment, then its row: a stop in between leaves a row without a segment, which the next sweep takes.
            if self.shelf.remove(&[segment.id]).await.is_empty() {
                continue;
            }
            self.catalog().write(move |c| segments::remove(c, segment.id)).await?;
            tracing::info!(
                segment = segment.id,
                bytes = segment.state.end,
                "segment removed: none of its fragments is kept"
            );
        }
        let count = self.catalog().read(|c| segments::count(c)).await?;
        self.segments.store(count, Ordering::Relaxed);
        Ok(())
    }
}
