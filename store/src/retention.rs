//! The sweeper: takes expired rows, rows that a quota has no room for, and rows of deleted streams away in batches, then the
//! segments that no row refers to.
//!
//! Only segments that the catalog lists are ever unlinked. A file that it does not know stays, whatever its name.
//!
//! A stream's own quota takes the oldest of that stream. The store's quota, and a disk with too little room, take the oldest of all
//! streams together: so many of the oldest segments as are too much say up to which time, and each stream gives what it has from
//! before it, as if its retention ended there. So all streams keep the same time, whatever their bit rates, and segments die whole.

use crate::catalog::expiry::{self, Due, Taken, Upto};
use crate::catalog::{Catalog, alerts, detections, fragments, notifications, ranges, segments};
use crate::reserve::Reserve;
use crate::rewrite::Rewriter;
use crate::segments::shelf::Shelf;
use crate::state::{Shared, StreamState, Streams};
use crate::{Error, Kind, Range, faults};
use media::UnixMillis;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest that a notification is kept, in hours.
const NOTIFICATION_HOURS: u32 = 7 * 24;
/// How long a stream without an archive keeps its fragments, for those that watch live: as long as the cloud does.
const LIVE_MS: i64 = 5 * 60_000;

/// Segments that are removed with one sync of their folder.
const UNLINKED_AT_ONCE: usize = 64;

/// What the sweeper works on.
pub(crate) struct Sweeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) shelf: Shelf,
    /// Segments there are, for the gauge.
    pub(crate) segments: Arc<AtomicU64>,
    /// Room for the catalog on a disk that is full.
    pub(crate) reserve: Reserve,
    pub(crate) rewriter: Arc<Rewriter>,
}

impl Sweeper {
    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    fn streams(&self) -> Vec<Arc<StreamState>> {
        self.streams.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }

    /// A change of the catalog, which a full disk must not hold up: it is what makes room.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        match self.catalog().write(work.clone()).await {
            Err(error) if error.kind() == Kind::LimitExceeded && self.reserve.give_up() => {
                self.catalog().write(work).await
            }
            done => done,
        }
    }

    /// One sweep, as of `now`.
    pub(crate) async fn sweep(&self, now: UnixMillis) -> Result<(), Error> {
        for stream in self.streams() {
            self.expire_notifications(&stream, now).await?;
            let Some(hours) = stream.retention_hours() else { continue };
            let kept_ms = if hours == 0 { LIVE_MS } else { i64::from(hours) * 3_600_000 };
            let cutoff = now.plus(-kept_ms);
            self.expire(&stream, cutoff, now).await?;
            self.expire_seen(&stream, cutoff).await?;
        }
        let shared = self.shared.clone();
        let sweep_deleted =
            move |c: &mut Connection| expiry::sweep_deleted(c, &shared.deletions.unfinished_streams(), now);
        while self.write(sweep_deleted.clone()).await? {
            self.shared.deleted(now);
        }
        if !self.shared.deletions.unfinished_streams().is_empty() {
            // A note of a few bytes in the log is what all that room waits for.
            self.reserve.give_up_if_full();
        }
        self.finish_ranges(now).await?;
        self.relieve(now).await?;
        self.unlink_dead().await?;
        if let Err(error) = self.reserve.keep() {
            tracing::debug!(%error, "no room is kept for the catalog");
        }
        Ok(())
    }

    /// Makes room where a quota is reached.
    pub(crate) async fn relieve(&self, now: UnixMillis) -> Result<(), Error> {
        for stream in self.streams() {
            self.relieve_stream(&stream, now).await?;
        }
        let usage = &self.shared.usage;
        usage.look();
        if usage.over(0) == 0 {
            usage.set_stuck(false);
            return Ok(());
        }
        // It may be over by what is dead already.
        let mut freed = self.unlink_dead().await?;
        let mut cutoff = UnixMillis(i64::MIN);
        while let over @ 1.. = usage.over(freed) {
            // Nothing has to go that counts while something is there that does not.
            if let Some(reclaimed @ 1..) = self.reclaim(now).await? {
                freed += reclaimed;
                continue;
            }
            let after = cutoff;
            let next = self.catalog().read(move |c| segments::cutoff(c, after, over)).await?;
            let Some(next) = next else { break };
            cutoff = next;
            for stream in self.streams() {
                let evicted = self.evict(&stream, cutoff, now).await?;
                self.count_evicted(&stream, evicted).await?;
            }
            freed += self.unlink_dead().await?;
        }
        usage.set_stuck(usage.over(freed) > 0);
        Ok(())
    }

    /// Writes a segment anew most of which is dead. `None` where there is none, or no room to do it, or it is being done.
    async fn reclaim(&self, now: UnixMillis) -> Result<Option<u64>, Error> {
        if self.rewriter.one.try_lock().is_err() {
            return Ok(None);
        }
        let Some(id) = self.rewriter.mostly_dead().await?.first().copied() else { return Ok(None) };
        match self.rewriter.rewrite(id, false, now).await {
            Ok(freed) => Ok(Some(freed)),
            Err(error) => {
                tracing::debug!(segment = id, %error, "a segment could not be written anew");
                Ok(None)
            }
        }
    }

    /// The oldest of one stream, for its own quota.
    async fn relieve_stream(&self, stream: &Arc<StreamState>, now: UnixMillis) -> Result<(), Error> {
        let mut all = Taken::default();
        let mut after = stream.swept.load(Ordering::SeqCst);
        while let over @ 1.. = stream.account.over(&self.shared.usage) {
            let Some(taken) = self.take(stream, (after, u64::MAX >> 1), Upto::Freed(over), now).await? else { break };
            all.fragments += taken.fragments;
            all.bytes += taken.bytes;
            after = taken.last;
        }
        stream.account.set_stuck(stream.account.over(&self.shared.usage) > 0, stream.name());
        self.count_evicted(stream, all).await
    }

    /// What one stream has from before `cutoff`, down to what is guaranteed to it.
    async fn evict(&self, stream: &Arc<StreamState>, cutoff: UnixMillis, now: UnixMillis) -> Result<Taken, Error> {
        let mut all = Taken::default();
        let id = stream.id();
        let mut after = stream.swept.load(Ordering::SeqCst);
        loop {
            let upto = match self.catalog().read(move |c| expiry::due(c, id, after, cutoff, now)).await? {
                Due::Upto(upto) => upto,
                Due::Unclear(last) => {
                    after = last;
                    continue;
                }
                Due::None => return Ok(all),
            };
            while after < upto {
                let most = Upto::AtMost(stream.account.unguaranteed());
                let Some(taken) = self.take(stream, (after, upto), most, now).await? else { break };
                all.fragments += taken.fragments;
                all.bytes += taken.bytes;
                after = taken.last;
                if taken.enough {
                    return Ok(all);
                }
            }
            after = upto;
        }
    }

    async fn count_evicted(&self, stream: &StreamState, taken: Taken) -> Result<(), Error> {
        if taken.fragments == 0 {
            return Ok(());
        }
        let Taken { fragments, bytes, .. } = taken;
        let name = stream.name().to_string();
        metrics::counter!("vidicon_evicted_fragments_total", "stream" => name.clone()).increment(fragments);
        metrics::counter!("vidicon_evicted_bytes_total", "stream" => name).increment(bytes);
        tracing::info!(stream = %stream.name(), fragments, bytes, "the oldest fragments are evicted for a quota");
        // What was seen in them goes with them.
        let id = stream.id();
        match self.catalog().read(move |c| fragments::oldest_start(c, id)).await? {
            Some(oldest) => self.expire_seen(stream, oldest).await,
            None => Ok(()),
        }
    }

    /// Takes a batch of rows of a stream, and tells memory.
    async fn take(
        &self,
        stream: &Arc<StreamState>,
        between: (u64, u64),
        far: Upto,
        now: UnixMillis,
    ) -> Result<Option<Taken>, Error> {
        let of = stream.clone();
        self.write(move |c| {
            let taken = expiry::take(c, of.id(), between, far, now)?;
            if let Some(taken) = taken {
                of.account.gone(taken.bytes);
                of.forget_upto(taken.last);
                // Unless a hold was lifted meanwhile: then it begins again.
                if between.0 <= of.swept.load(Ordering::SeqCst) {
                    of.swept.fetch_max(taken.last, Ordering::SeqCst);
                }
            }
            Ok(taken)
        })
        .await
    }

    /// Detections and alerts of pictures from before `cutoff`.
    async fn expire_seen(&self, stream: &StreamState, cutoff: UnixMillis) -> Result<(), Error> {
        let id = stream.id();
        // What was seen in what is held stays with it.
        let ranges = stream.holds().outside(Range { from: UnixMillis(i64::MIN), to: cutoff });
        for range in ranges {
            while self.write(move |c| detections::delete_in(c, id, range)).await? {}
            while self.write(move |c| alerts::delete_in(c, id, range)).await? {}
        }
        Ok(())
    }

    /// Notifications are kept for a week, or less where the stream's media is.
    async fn expire_notifications(&self, stream: &StreamState, now: UnixMillis) -> Result<(), Error> {
        // Not at once where nothing is archived: a fragment that is sent again finds the one that it had.
        let hours = stream.retention_hours().unwrap_or(NOTIFICATION_HOURS).clamp(1, NOTIFICATION_HOURS);
        let (id, cutoff) = (stream.id(), now.plus(-i64::from(hours) * 3_600_000));
        while self.write(move |c| notifications::expire(c, id, cutoff)).await? {}
        Ok(())
    }

    /// Takes the expired fragments of one stream. A look reads one batch, more only where the clock had stepped ahead.
    async fn expire(&self, stream: &Arc<StreamState>, cutoff: UnixMillis, now: UnixMillis) -> Result<(), Error> {
        let id = stream.id();
        let mut after = stream.swept.load(Ordering::SeqCst);
        let mut expired = 0;
        loop {
            match self.catalog().read(move |c| expiry::due(c, id, after, cutoff, now)).await? {
                Due::Upto(upto) => {
                    while after < upto {
                        let Some(taken) = self.take(stream, (after, upto), Upto::All, now).await? else { break };
                        after = taken.last;
                        expired += taken.fragments;
                    }
                    after = upto;
                }
                Due::Unclear(last) => after = last,
                Due::None => break,
            }
        }
        if expired > 0 {
            tracing::info!(stream = %stream.name(), fragments = expired, "expired fragments are removed");
        }
        Ok(())
    }

    /// Deletions of ranges that an error cut short.
    async fn finish_ranges(&self, now: UnixMillis) -> Result<(), Error> {
        for id in self.catalog().read(|c| ranges::pending(c)).await? {
            if self.shared.deletions.is_running(id) {
                continue;
            }
            loop {
                let swept = self.write(move |c| ranges::sweep(c, id, now)).await?;
                self.shared.deleted(now);
                if let Some((stream, bytes)) = swept.freed
                    && let Some(state) = self.streams().iter().find(|s| s.id() == stream)
                {
                    state.account.gone(bytes);
                }
                if !swept.more {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives the bytes of what went.
    async fn unlink_dead(&self) -> Result<u64, Error> {
        let mut freed = 0;
        let dead = self.catalog().read(|c| segments::dead(c)).await?;
        let _places = self.rewriter.places.lock().await;
        // In parts, so that a long list holds nothing up: first the segments, then their rows. A stop in between leaves rows without
        // a segment, which the next sweep takes.
        for part in dead.chunks(UNLINKED_AT_ONCE) {
            faults::step("segment.unlink");
            let gone = self.shelf.remove(&part.iter().map(|segment| segment.edition()).collect::<Vec<_>>()).await;
            faults::step("segment.unlinked");
            for segment in part.iter().filter(|segment| gone.contains(&segment.edition())) {
                let edition = segment.edition();
                self.write(move |c| segments::remove(c, edition)).await?;
                faults::step("segment.forget");
                tracing::info!(
                    segment = edition.id,
                    bytes = segment.state.end,
                    "segment removed: none of its fragments is kept"
                );
                freed += segment.state.end;
            }
        }
        let begun = self.shared.usage.begin_count();
        let totals = self.catalog().read(|c| segments::totals(c)).await?;
        self.shared.usage.counted(begun, (totals.bytes, totals.live_bytes));
        self.segments.store(totals.count, Ordering::Relaxed);
        Ok(freed)
    }
}
