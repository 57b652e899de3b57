//! Group commit: gathers sealed fragments of all streams, appends and syncs them at once, writes their rows in one
//! transaction, and only then says that they are durable (invariants 1 and 2).
//!
//! Two threads. `commit` gathers, appends and syncs; `record` ([`crate::recorder`]) writes the rows and tells. Where more waits, the
//! next group is written, but not synced, while the one before is recorded.

use crate::budget::Charge;
use crate::catalog::segments;
use crate::doubt::{Doubt, Unrecorded};
use crate::notifications::Notify;
use crate::recorder::{self, Recorder, Recording, Synced, Unsettled};
use crate::segments::reader::Place;
use crate::segments::record::{FILE_HEADER_LEN, StreamBody};
use crate::segments::writer::{Cipher, Item, LogWriter};
use crate::state::StreamState;
use crate::{Error, Kind, Range};
use media::{Fragment, FragmentMeta};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A full group is not made smaller than this, in bytes, unless it is configured so.
pub(crate) const LEAST_GROUP: u64 = 8 << 20;
/// A group that is not durable after so long is told by `/readyz`.
const LATE: Duration = Duration::from_secs(10);
/// One that failed is told for so long: where nothing comes after it, nobody knows whether the next one would.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Longest until an idle commit thread sees that it is to close a segment.
const LOOK: Duration = Duration::from_secs(1);

/// A complete fragment on its way to the disk.
pub(crate) struct Sealed {
    pub(crate) stream: Arc<StreamState>,
    pub(crate) fragment: Arc<Fragment>,
    /// How it is encrypted, if its meta says that it is.
    pub(crate) cipher: Option<Cipher>,
    pub(crate) charge: Charge,
    pub(crate) durable: oneshot::Sender<Result<FragmentMeta, Error>>,
    /// What is to be told of it once it is durable.
    pub(crate) notify: Option<Arc<Notify>>,
    pub(crate) at: Instant,
}

/// What the commit thread is given.
pub(crate) enum Work {
    Fragment(Sealed),
    /// A stream was deleted; its id. Told when that stands in the log, and dropped where its group was not recorded.
    Deleted(u64, oneshot::Sender<()>),
    DeletedRange(RangeDeletion),
}

/// A range of producer time that a caller deletes.
pub(crate) struct RangeDeletion {
    pub(crate) stream: Arc<StreamState>,
    /// Under which it is to be noted in the catalog.
    pub(crate) id: i64,
    pub(crate) range: Range,
    /// Told when it is durable and memory has forgotten the fragments; their rows then still have to go.
    pub(crate) done: oneshot::Sender<Result<(), Error>>,
}

/// The way into the commit thread. Its length is bounded by the byte budget: each fragment in it holds its charge.
pub(crate) struct Queue {
    sender: Mutex<Option<Sender<Work>>>,
    /// The segment that is to take no more records, if it is the one being written; 0: none.
    pub(crate) closing: Arc<AtomicU64>,
    /// Whether the catalog answers.
    pub(crate) doubt: Arc<Doubt>,
    /// How commits go.
    pub(crate) health: Arc<Mutex<Health>>,
}

/// How commits go.
#[derive(Default)]
pub(crate) struct Health {
    /// Since when a group is being written to the disk.
    since: Option<Instant>,
    /// Why a group was not recorded, if that was not for want of room, and when; none once another one was.
    failed: Option<(Instant, String)>,
}

impl Queue {
    pub(crate) fn new() -> (Arc<Queue>, Receiver<Work>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(Some(sender));
        let queue = Queue { sender, closing: Arc::default(), doubt: Arc::default(), health: Arc::default() };
        (Arc::new(queue), receiver)
    }

    /// Why what comes in is not made durable now, if that is the disk's doing.
    pub(crate) fn problem(&self) -> Option<String> {
        let health = self.health.lock().unwrap_or_else(|e| e.into_inner());
        let late = health.since.map(|since| since.elapsed()).filter(|age| *age > LATE);
        let late = late.map(|age| format!("the disk has not taken a group for {} s", age.as_secs()));
        let failed = health.failed.as_ref().filter(|(at, _)| at.elapsed() < REMEMBERED);
        late.or_else(|| failed.map(|(_, why)| format!("the last group was not recorded: {why}")))
    }

    /// Hands work over; gives it back when the store is stopping.
    pub(crate) fn push(&self, work: Work) -> Result<(), Work> {
        match &*self.sender.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(sender) => sender.send(work).map_err(|e| e.0),
            None => Err(work),
        }
    }

    /// Takes no more work. What is queued is still committed, if the catalog answers.
    pub(crate) fn close(&self) {
        self.doubt.stop();
        self.sender.lock().unwrap_or_else(|e| e.into_inner()).take();
    }
}

/// The commit thread's own things.
pub(crate) struct Committer {
    pub(crate) work: Receiver<Work>,
    pub(crate) log: LogWriter,
    pub(crate) recorder: Recorder,
    pub(crate) interval: Duration,
    pub(crate) group_bytes: u64,
    /// See [`Queue::closing`].
    pub(crate) closing: Arc<AtomicU64>,
    /// See [`Queue::health`].
    pub(crate) health: Arc<Mutex<Health>>,
}

impl Committer {
    /// Starts the threads. `keep` lives as long as they do.
    pub(crate) fn start<K: Send + Sync + 'static>(self, keep: Arc<K>) -> Result<JoinHandle<()>, Error> {
        let recording = Recording::start(self.recorder.clone())?;
        let run = move || {
            Committing { recording, pending: None, committer: self }.run();
            drop(keep);
        };
        recorder::spawn("commit", run)
    }
}

/// The id of a segment, and where it ends.
type End = (u64, u64);

/// The commit thread at work.
struct Committing {
    committer: Committer,
    recording: Recording,
    /// Of the group that is being recorded: the segment's end before it.
    pending: Option<u64>,
}

impl Committing {
    fn run(mut self) {
        let Committer { interval, group_bytes, .. } = self.committer;
        let mut full = group_bytes.min(LEAST_GROUP);
        loop {
            let next = self.committer.work.try_recv().or_else(|_| {
                self.settle();
                self.committer.work.recv_timeout(LOOK)
            });
            match next {
                Ok(first) => {
                    let group = gather(&self.committer.work, first, interval, full);
                    let was_full = group.iter().map(size).sum::<u64>() >= full;
                    let began = Instant::now();
                    self.commit(group);
                    if was_full {
                        // More waits, most likely, and can be written while this group is recorded.
                        full = full_next(full, began.elapsed(), interval, group_bytes);
                    } else {
                        self.settle();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.close_if_asked();
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.committer.health.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// So that a segment can be written anew of which something was deleted, also where nothing is recorded any more.
    fn close_if_asked(&mut self) {
        let id = self.committer.closing.swap(0, Ordering::Relaxed);
        if id == 0 {
            return;
        }
        self.settle();
        let Committer { log, recorder, .. } = &mut self.committer;
        if log.position().is_none_or(|(open, _)| open != id) {
            return;
        }
        log.retire();
        let states = log.unrecorded().clone();
        match recorder.catalog.write_blocking(move |c| segments::put(c, &states)) {
            Ok(()) => drop(log.take_unrecorded()),
            // The next commit says it.
            Err(error) => tracing::warn!(segment = id, %error, "that a segment is closed could not be recorded"),
        }
    }

    /// Writes and syncs a group, and lets it be recorded: [`Self::settle`] waits for that.
    fn commit(&mut self, group: Vec<Work>) {
        let kept = kept(group);
        if kept.is_empty() {
            return;
        }
        let began = Instant::now();
        self.health().since = Some(began);
        let (before, places) = match with_items(&kept, |items| self.append(items, began)) {
            (before, Ok(places)) => (before, places),
            (_, Err(error)) => {
                self.health().since = None;
                return self.fail_all(kept, &error);
            }
        };
        let log = &mut self.committer.log;
        self.pending = Some(match (before, log.position()) {
            (Some((id, end)), Some((now, _))) if id == now => end,
            // The group was the first of its segment.
            _ => FILE_HEADER_LEN as u64,
        });
        self.recording.begin(Synced { group: kept, places, segments: log.take_unrecorded(), began });
    }

    /// Appends a group and syncs it, behind one that may still be being recorded; gives the log's end before it too. It is written
    /// meanwhile, and synced once that one counts: if the catalog refuses that one, both are taken back.
    fn append(&mut self, items: &[Item<'_>], began: Instant) -> (Option<End>, Result<Vec<Place>, Error>) {
        let ahead = self.pending.and_then(|_| self.committer.log.write_ahead(items));
        let stands = self.settle();
        self.health().since = Some(began);
        let Committer { log, recorder, .. } = &mut self.committer;
        let (before, now) = (log.position(), (recorder.clock)());
        let places = match ahead.filter(|_| stands) {
            Some(ahead) => log.complete(ahead, items, now),
            None => log.append(items, now),
        };
        (before, places)
    }

    /// Waits until the group that is being recorded is. `false` where it was not: it failed, and nothing stands behind its beginning.
    fn settle(&mut self) -> bool {
        let Some(before) = self.pending.take() else { return true };
        let settled = self.recording.wait();
        self.health().since = None;
        let Err(Unsettled { group, segments, why }) = settled else {
            self.health().failed = None;
            return true;
        };
        let log = &mut self.committer.log;
        log.put_back(segments);
        let error = match why {
            // The bytes go again, which a full disk needs.
            Unrecorded::Refused(error) => {
                log.take_back(before);
                error
            }
            // The bytes stay; the next start adopts them.
            Unrecorded::Unknown(error) => {
                log.retire_unknown(before);
                error
            }
        };
        self.fail_all(group, &error);
        false
    }

    /// The group is not recorded.
    fn fail_all(&self, group: Vec<Work>, error: &Error) {
        self.health().failed = (error.kind() != Kind::LimitExceeded).then(|| (Instant::now(), error.to_string()));
        for work in group {
            match work {
                Work::Fragment(sealed) => sealed.fail(error),
                // Whoever waits sees that it is dropped.
                Work::Deleted(..) => {}
                Work::DeletedRange(deletion) => {
                    let _ = deletion.done.send(Err(error.echo()));
                }
            }
        }
    }
}

/// What of a group is to be recorded: a fragment of a stream that was deleted meanwhile has no place to go.
pub(crate) fn kept(group: Vec<Work>) -> Vec<Work> {
    let mut kept = Vec::with_capacity(group.len());
    for work in group {
        match work {
            Work::Fragment(sealed) if sealed.stream.is_closed() => {
                sealed.fail(&Error::new(Kind::NotFound, "the stream was deleted"))
            }
            Work::DeletedRange(deletion) if deletion.stream.is_closed() => {
                let _ = deletion.done.send(Err(Error::new(Kind::NotFound, "the stream was deleted")));
            }
            work => kept.push(work),
        }
    }
    kept
}

/// Describes a group to what appends it.
pub(crate) fn with_items<T>(group: &[Work], append: impl FnOnce(&[Item<'_>]) -> T) -> T {
    let bodies: Vec<Option<(StreamBody, u64)>> = group
        .iter()
        .map(|work| match work {
            Work::Fragment(sealed) => Some(sealed.stream.describe()),
            Work::Deleted(..) | Work::DeletedRange(_) => None,
        })
        .collect();
    let items: Vec<Item<'_>> = group
        .iter()
        .zip(&bodies)
        .map(|(work, body)| match (work, body) {
            (Work::Fragment(sealed), Some((body, counter_limit))) => Item::Fragment {
                stream: sealed.stream.id(),
                body,
                counter_limit: *counter_limit,
                fragment: &sealed.fragment,
                cipher: sealed.cipher.as_ref(),
            },
            (Work::Deleted(stream, _), _) => Item::Deleted { stream: *stream },
            (Work::DeletedRange(deletion), _) => {
                Item::DeletedRange { stream: deletion.stream.id(), range: deletion.range }
            }
            (Work::Fragment(_), None) => unreachable!("a fragment has a body, made just above"),
        })
        .collect();
    append(&items)
}

/// Waits until the interval since the first fragment was sealed is over, or enough bytes wait. While one group commits,
/// the next fills in the queue.
pub(crate) fn gather(work: &Receiver<Work>, first: Work, interval: Duration, group_bytes: u64) -> Vec<Work> {
    let deadline = match &first {
        Work::Fragment(sealed) => sealed.at + interval,
        Work::Deleted(..) | Work::DeletedRange(_) => Instant::now() + interval,
    };
    let mut bytes = size(&first);
    let mut group = vec![first];
    while bytes < group_bytes {
        match work.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(next) => {
                bytes += size(&next);
                group.push(next);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    group
}

impl Sealed {
    /// Tells whoever waits that the fragment is not durable.
    pub(crate) fn fail(self, error: &Error) {
        let (stream, number) = (self.stream.name(), self.fragment.meta.number);
        tracing::warn!(%stream, %number, %error, "a fragment was not recorded");
        metrics::counter!("vidicon_lost_fragments_total", "stream" => stream.to_string()).increment(1);
        self.stream.lost(number, error);
        let error = error.echo().context(format_args!("stream {stream} fragment {number}"));
        let _ = self.durable.send(Err(error));
    }
}

/// After a group of `full` bytes that took so long, how many bytes are the next full one. Each costs a sync and a transaction, so
/// large ones are cheaper; but none is to take much longer than the interval, for those in it wait for its last byte.
fn full_next(full: u64, took: Duration, interval: Duration, most: u64) -> u64 {
    let least = LEAST_GROUP.min(most);
    match took {
        took if took < interval / 2 => (full * 2).min(most),
        took if took > interval => (full / 2).max(least),
        _ => full,
    }
}

fn size(work: &Work) -> u64 {
    match work {
        Work::Fragment(sealed) => u64::from(sealed.fragment.meta.bytes),
        Work::Deleted(..) | Work::DeletedRange(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_as_far_as_the_disk_takes_them_within_the_interval() {
        const MIB: u64 = 1 << 20;
        let interval = Duration::from_millis(200);
        // Of a disk with so many bytes a second and a fixed cost of 10 ms.
        let settled = |bytes_per_s: u64, most: u64| {
            (0..20).fold(LEAST_GROUP.min(most), |full, _| {
                let took = Duration::from_millis(10) + Duration::from_secs_f64(full as f64 / bytes_per_s as f64);
                full_next(full, took, interval, most)
            })
        };
        assert_eq!(settled(2_000_000_000, 128 * MIB), 128 * MIB);
        assert_eq!(settled(500_000_000, 128 * MIB), 64 * MIB, "half the interval would have been over");
        assert_eq!(settled(20_000_000, 128 * MIB), LEAST_GROUP, "none is smaller");
        assert_eq!(settled(2_000_000_000, MIB), MIB, "nor larger than is configured");
        // A disk that becomes slow.
        assert_eq!(full_next(128 * MIB, Duration::from_secs(3), interval, 128 * MIB), 64 * MIB);
    }
}
