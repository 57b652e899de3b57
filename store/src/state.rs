//! The state of one stream in memory: its numbers, the order of its open fragments, its tail, its figures.

use crate::budget::Budget;
use crate::catalog::{Catalog, streams};
use crate::commit::{Queue, Sealed, Work};
use crate::follow::Hub;
use crate::notifications::Notify;
use crate::segments::reader::Reader;
use crate::segments::record::StreamBody;
use crate::stats::Stats;
use crate::{Clock, Config, Error, Kind, StreamInfo};
use media::{Cause, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Newest fragments whose figures stay in memory, per stream.
pub(crate) const RECENT: usize = 256;
/// Headers of a stream that stay in memory.
const HEADERS: usize = 16;
/// An open fragment that gets no frame for so long is given up if complete ones wait behind it.
const STALLED: Duration = Duration::from_secs(5);

/// What all streams of a store share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) catalog: Catalog,
    pub(crate) reader: Reader,
    pub(crate) queue: Arc<Queue>,
    pub(crate) stopping: AtomicBool,
}

/// One stream.
pub(crate) struct StreamState {
    info: StreamInfo,
    pub(crate) shared: Arc<Shared>,
    pub(crate) budget: Budget,
    pub(crate) hub: Arc<Hub>,
    /// The newest durable fragment.
    pub(crate) newest: watch::Sender<Option<FragmentNumber>>,
    closed: AtomicBool,
    inner: Mutex<Inner>,
    /// What is to be told of open fragments, by counter, once they are durable.
    notify: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

struct Inner {
    next_counter: u64,
    counter_limit: u64,
    reserving: bool,
    /// What the next fragment carries if its writer gives no cause.
    next_cause: Option<Cause>,
    /// Open fragments by counter, with the time of their last frame.
    open: BTreeMap<u64, Instant>,
    /// Complete fragments that wait for an open one with a smaller number, so that commits are in order of numbers (invariant 2).
    waiting: BTreeMap<u64, Sealed>,
    headers: VecDeque<Arc<Header>>,
    tail: VecDeque<Arc<Fragment>>,
    tail_bytes: u64,
    recent: VecDeque<FragmentMeta>,
    /// Whether `recent` holds all that the catalog holds.
    recent_is_all: bool,
    stats: Stats,
}

impl StreamState {
    /// A stream whose counters up to `counter_limit - BLOCK` may have been given out before. `recent` are its newest fragments.
    pub(crate) fn new(
        info: StreamInfo,
        counter_limit: u64,
        recent: Vec<FragmentMeta>,
        shared: Arc<Shared>,
        budget: Budget,
    ) -> Arc<StreamState> {
        let newest = recent.iter().map(|m| m.number).max();
        let next_cause = if newest.is_some() { Cause::ServerStopped } else { Cause::Start };
        let inner = Inner {
            next_counter: counter_limit - streams::BLOCK + 1,
            counter_limit,
            reserving: false,
            next_cause: Some(next_cause),
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
            headers: VecDeque::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            recent_is_all: recent.len() < RECENT,
            recent: recent.into(),
            stats: Stats::default(),
        };
        Arc::new(StreamState {
            info,
            shared,
            budget,
            hub: Arc::default(),
            newest: watch::Sender::new(newest),
            closed: AtomicBool::new(false),
            inner: Mutex::new(inner),
            notify: Mutex::default(),
        })
    }

    pub(crate) fn info(&self) -> &StreamInfo {
        &self.info
    }
    pub(crate) fn id(&self) -> u64 {
        self.info.id
    }
    pub(crate) fn name(&self) -> &StreamName {
        &self.info.name
    }
    pub(crate) fn now(&self) -> UnixMillis {
        (self.shared.clock)()
    }
    /// Whether it was deleted, or the store stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// An error if nothing can be written any more.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.shared.stopping.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "the store is stopping"));
        }
        if self.is_closed() {
            return Err(Error::new(Kind::NotFound, format!("stream {} was deleted", self.name())));
        }
        Ok(())
    }

    /// The stream was deleted: nothing follows. Complete fragments that still wait are dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut self.lock().waiting);
        let error = Error::new(Kind::NotFound, "the stream was deleted");
        waiting.into_values().for_each(|sealed| sealed.fail(&error));
        self.hub.close();
        // The metrics facade cannot take a gauge back: it rests at 0, where no alarm rings, until the exporter drops what is idle.
        for gauge in ["vidicon_fragment_age_seconds", "vidicon_queue_bytes", "vidicon_tail_bytes"] {
            metrics::gauge!(gauge, "stream" => self.name().to_string()).set(0.0);
        }
        // Wakes those that wait for a newer fragment; they see that it is closed.
        self.newest.send_modify(|_| {});
        // Wakes those that wait for room; their next look finds it closed.
        self.budget.wake();
    }

    /// The store stops: followers and waiting readers end.
    pub(crate) fn stop(&self) {
        self.hub.close();
        self.newest.send_modify(|_| {});
    }

    /// What a segment says of the stream: its description, and the limit of counters.
    pub(crate) fn describe(&self) -> (StreamBody, u64) {
        let info = &self.info;
        let body =
            StreamBody { name: info.name.clone(), retention_hours: info.retention_hours, created_at: info.created_at };
        (body, self.lock().counter_limit)
    }

    /// A number for a fragment that begins now.
    pub(crate) fn begin(self: &Arc<Self>, header: &Arc<Header>, now: UnixMillis) -> Result<FragmentNumber, Error> {
        let random = getrandom::u32()
            .map_err(|e| Error::new(Kind::Unavailable, format!("the system gave no random bytes: {e}")))?;
        let mut inner = self.lock();
        inner.remember(header)?;
        if inner.next_counter + streams::BLOCK / 2 > inner.counter_limit && !inner.reserving {
            inner.reserving = self.reserve(inner.counter_limit + streams::BLOCK);
        }
        if inner.next_counter > inner.counter_limit {
            return Err(Error::new(
                Kind::Unavailable,
                format!("stream {}: no fragment numbers could be set aside", self.name()),
            ));
        }
        let counter = inner.next_counter;
        inner.next_counter += 1;
        inner.open.insert(counter, Instant::now());
        inner.stats.header(header);
        Ok(FragmentNumber::new(counter, now.0 as u64, random))
    }

    /// Sets counters up to `limit` aside in the background. Numbers above the old limit are given out only once that is durable.
    fn reserve(self: &Arc<Self>, limit: u64) -> bool {
        let stream = self.clone();
        self.shared.catalog.write_detached(move |c| {
            let reserved = streams::reserve(c, stream.id(), limit);
            let mut inner = stream.lock();
            inner.reserving = false;
            match reserved {
                Ok(()) => inner.counter_limit = inner.counter_limit.max(limit),
                Err(error) => {
                    tracing::warn!(stream = %stream.name(), %error, "fragment numbers could not be set aside")
                }
            }
        })
    }

    /// A frame of an open fragment.
    pub(crate) fn frame(&self, number: FragmentNumber, frame: &media::Frame, video: bool) {
        let now = self.now();
        let mut inner = self.lock();
        if let Some(last) = inner.open.get_mut(&number.counter()) {
            *last = Instant::now();
        }
        inner.stats.frame(frame, video, now);
    }

    /// The cause that the next fragment carries if its writer gives none; taken, so call it for a fragment that is complete.
    pub(crate) fn take_cause(&self, given: Option<Cause>) -> Option<Cause> {
        let pending = self.lock().next_cause.take();
        given.or(pending)
    }

    /// Something is to be told of an open fragment once it is durable; another one takes the place of an earlier. `false` if no such
    /// fragment is open.
    pub(crate) fn notify(&self, number: FragmentNumber, notify: Arc<Notify>) -> bool {
        // Under the lock, so that the fragment is not sealed or dropped in between.
        let inner = self.lock();
        let open = inner.open.contains_key(&number.counter());
        if open {
            self.notices().insert(number.counter(), notify);
        }
        open
    }

    fn notices(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.notify.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A fragment is complete. It goes to the disk once no fragment with a smaller number is open.
    pub(crate) fn seal(&self, mut sealed: Sealed) -> Result<(), Error> {
        let counter = sealed.fragment.meta.number.counter();
        let mut inner = self.lock();
        sealed.notify = self.notices().remove(&counter);
        if inner.open.remove(&counter).is_none() {
            let number = sealed.fragment.meta.number;
            drop(inner);
            let error =
                Error::new(Kind::Conflict, format!("fragment {number} stalled and was given up for a newer one"));
            let echo = error.echo();
            sealed.fail(&error);
            return Err(echo);
        }
        inner.waiting.insert(counter, sealed);
        self.flush(inner);
        Ok(())
    }

    /// A fragment was dropped before its end.
    pub(crate) fn abandon(&self, number: FragmentNumber) {
        let mut inner = self.lock();
        inner.open.remove(&number.counter());
        self.notices().remove(&number.counter());
        self.flush(inner);
    }

    /// Gives up open fragments that stalled while complete ones wait behind them.
    pub(crate) fn give_up_stalled(&self) {
        let mut inner = self.lock();
        let Some(first_waiting) = inner.waiting.keys().next().copied() else { return };
        let before = inner.open.len();
        inner.open.retain(|counter, last| *counter > first_waiting || last.elapsed() < STALLED);
        if inner.open.len() < before {
            tracing::warn!(stream = %self.name(), "an open fragment stalled and was given up for newer ones");
        }
        self.flush(inner);
    }

    fn flush(&self, mut inner: MutexGuard<'_, Inner>) {
        let bound = inner.open.keys().next().copied().unwrap_or(u64::MAX);
        let mut refused = Vec::new();
        // Handed over under the lock, so that the queue has the order of the numbers.
        while let Some(first) = inner.waiting.first_entry() {
            if *first.key() > bound {
                break;
            }
            if let Err(Work::Fragment(sealed)) = self.shared.queue.push(Work::Fragment(first.remove())) {
                refused.push(sealed);
            }
        }
        drop(inner);
        for sealed in refused {
            sealed.fail(&Error::new(Kind::Unavailable, "the store is stopping"));
        }
    }

    /// Bytes of the newest fragments that are kept in memory.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.lock().tail_bytes
    }

    /// A fragment became durable.
    pub(crate) fn persisted(&self, fragment: Arc<Fragment>, now: UnixMillis) {
        let number = fragment.meta.number;
        metrics::counter!("vidicon_stream_bytes_total", "stream" => self.name().to_string())
            .increment(u64::from(fragment.meta.bytes));
        let mut inner = self.lock();
        inner.stats.last_commit_at = Some(now);
        inner.push_recent(fragment.meta.clone());
        inner.tail_bytes += u64::from(fragment.meta.bytes);
        inner.tail.push_back(fragment);
        while inner.tail_bytes > self.shared.config.tail_bytes {
            let Some(old) = inner.tail.pop_front() else { break };
            inner.tail_bytes -= u64::from(old.meta.bytes);
        }
        drop(inner);
        self.newest.send_modify(|newest| *newest = (*newest).max(Some(number)));
    }

    /// A complete fragment could not be recorded: the next one does not continue what is there.
    pub(crate) fn lost(&self) {
        self.lock().next_cause.get_or_insert(Cause::Overload);
    }

    /// A group of pictures was dropped because the budget was full.
    pub(crate) fn dropped_gop(&self) {
        metrics::counter!("vidicon_dropped_gops_total", "stream" => self.name().to_string()).increment(1);
        self.lock().stats.dropped_gops += 1;
    }

    /// The figures now.
    pub(crate) fn stats(&self) -> crate::StreamStats {
        let now = self.now();
        self.lock().stats.snapshot(now, self.budget.used())
    }

    /// When the newest durable fragment was committed; before the first commit of this process, when it ended.
    pub(crate) fn newest_at(&self) -> Option<UnixMillis> {
        let inner = self.lock();
        let recorded = || inner.recent.back().map(|m| m.server_start.plus(i64::from(m.duration_ms)));
        inner.stats.last_commit_at.or_else(recorded)
    }

    /// The newest `limit` durable fragments if memory knows them all.
    pub(crate) fn latest(&self, limit: usize) -> Option<Vec<FragmentMeta>> {
        let inner = self.lock();
        let all_known = inner.recent_is_all || limit <= inner.recent.len();
        all_known.then(|| inner.recent.iter().skip(inner.recent.len().saturating_sub(limit)).cloned().collect())
    }

    /// Forgets fragments up to this counter, which retention took.
    pub(crate) fn forget_upto(&self, counter: u64) {
        let mut inner = self.lock();
        inner.recent.retain(|m| m.number.counter() > counter);
        inner.tail.retain(|f| f.meta.number.counter() > counter);
        inner.tail_bytes = inner.tail.iter().map(|f| u64::from(f.meta.bytes)).sum();
    }

    /// A fragment of the tail.
    pub(crate) fn in_tail(&self, number: FragmentNumber) -> Option<Arc<Fragment>> {
        self.lock().tail.iter().rev().find(|f| f.meta.number == number).cloned()
    }

    /// A header that memory knows.
    pub(crate) fn known_header(&self, id: HeaderId) -> Option<Arc<Header>> {
        self.lock().headers.iter().find(|h| h.id == id).cloned()
    }

    /// Keeps a header that was read from the catalog.
    pub(crate) fn keep_header(&self, header: &Arc<Header>) {
        // Only one of the same id is kept; the catalog holds one per id.
        let _ = self.lock().remember(header);
    }
}

impl Inner {
    fn remember(&mut self, header: &Arc<Header>) -> Result<(), Error> {
        match self.headers.iter().find(|h| h.id == header.id) {
            // 64 bits are few: never trust an id without its bytes.
            Some(known) if known.bytes != header.bytes => {
                return Err(Error::new(Kind::Invalid, format!("two different headers have the id {}", header.id)));
            }
            Some(_) => {}
            None => {
                if self.headers.len() == HEADERS {
                    self.headers.pop_front();
                }
                self.headers.push_back(header.clone());
            }
        }
        Ok(())
    }

    fn push_recent(&mut self, meta: FragmentMeta) {
        // A re-sent fragment replaces the one of the same producer time (invariant 7).
        self.recent.retain(|m| m.producer_start != meta.producer_start);
        self.recent.push_back(meta);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
            self.recent_is_all = false;
        }
    }
}

/// The streams of a store by name.
pub(crate) type Streams = std::sync::RwLock<BTreeMap<StreamName, Arc<StreamState>>>;
