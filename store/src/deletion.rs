//! Deleting a range of producer time from a stream; and which deletions, also of streams ([`crate::stream_deletion`]), are under way.

use crate::catalog::ranges;
use crate::commit::RangeDeletion;
use crate::state::StreamState;
use crate::{Deleted, Error, Kind, Range, faults, holds};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The deletions whose caller is at work at the moment.
pub(crate) struct Deletions {
    next_id: AtomicI64,
    running: Mutex<BTreeSet<i64>>,
    /// Streams that are deleted, and nothing of which may go yet.
    streams: Mutex<BTreeSet<u64>>,
}

impl Deletions {
    /// Ids from this one on are free. `streams` are those whose deletion a stop cut short.
    pub(crate) fn new(next_id: i64, streams: BTreeSet<u64>) -> Deletions {
        Deletions { next_id: AtomicI64::new(next_id), running: Mutex::default(), streams: Mutex::new(streams) }
    }

    /// A stream is deleted; nothing of it may go before the log notes that.
    pub(crate) fn begin_stream(&self, id: u64) {
        self.streams.lock().unwrap_or_else(|e| e.into_inner()).insert(id);
    }

    /// What is left of it may go.
    pub(crate) fn end_stream(&self, id: u64) {
        self.streams.lock().unwrap_or_else(|e| e.into_inner()).remove(&id);
    }

    /// The streams that are deleted and nothing of which may go yet.
    pub(crate) fn unfinished_streams(&self) -> BTreeSet<u64> {
        self.streams.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Whether the sweeper is to leave this one to its caller.
    pub(crate) fn is_running(&self, id: i64) -> bool {
        self.running.lock().unwrap_or_else(|e| e.into_inner()).contains(&id)
    }

    fn begin(&self) -> i64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.running.lock().unwrap_or_else(|e| e.into_inner()).insert(id);
        id
    }

    fn end(&self, id: i64) {
        self.running.lock().unwrap_or_else(|e| e.into_inner()).remove(&id);
    }
}

/// Deletes what overlaps the range. The commit thread writes the record, in the order of the fragments, and takes them out of
/// memory; the rows then go from here.
pub(crate) async fn delete_range(stream: Arc<StreamState>, range: Range) -> Result<Deleted, Error> {
    stream.check_open()?;
    // A fragment around an empty range is not in it.
    if range.from >= range.to {
        return Ok(Deleted::default());
    }
    let work = async move {
        let deletions = &stream.shared.deletions;
        let id = deletions.begin();
        let of = stream.clone();
        let let_in = stream.shared.catalog.write(move |c| holds::begin_deletion(c, &of, id, range)).await;
        let deleted = match let_in {
            Ok(()) => run(&stream, id, range).await,
            Err(error) => Err(error),
        };
        holds::end_deletion(&stream, id);
        // From here on the sweeper finishes what an error left.
        deletions.end(id);
        if let Ok(Deleted { fragments, bytes }) = &deleted {
            tracing::info!(stream = %stream.name(), from = range.from.0, to = range.to.0, fragments, bytes, "a time range is deleted");
        }
        deleted
    };
    // To its end even if the caller is cancelled.
    let task = tokio::spawn(work);
    task.await.unwrap_or_else(|e| Err(Error::new(Kind::Internal, "the deletion of a time range failed").with_source(e)))
}

async fn run(stream: &Arc<StreamState>, id: i64, range: Range) -> Result<Deleted, Error> {
    let (done, answer) = oneshot::channel();
    let stopped = || Error::new(Kind::Unavailable, "the store is stopping");
    stream.push_deletion(RangeDeletion { stream: stream.clone(), id, range, done })?;
    answer.await.map_err(|_| stopped())??;
    faults::step("range.noted");
    let mut all = Deleted::default();
    loop {
        let (now, of) = (stream.now(), stream.clone());
        let sweep = move |c: &mut rusqlite::Connection| {
            let swept = ranges::sweep(c, id, now)?;
            of.account.gone(swept.freed.map_or(0, |(_, bytes)| bytes));
            Ok(swept)
        };
        let swept = stream.shared.catalog.write(sweep).await?;
        stream.shared.deleted(now);
        all.fragments += swept.deleted.fragments;
        all.bytes += swept.deleted.bytes;
        if !swept.more {
            return Ok(all);
        }
    }
}
