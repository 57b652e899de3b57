//! The state of one stream in memory: its numbers ([`numbers`]), the order of its open fragments, its figures.

mod numbers;

use crate::ahead::Ahead;
use crate::budget::Budget;
use crate::catalog::{Catalog, streams};
use crate::commit::{Queue, RangeDeletion, Sealed, Work};
use crate::crypt::key::{self, StreamKey};
use crate::crypt::keys::Keys;
use crate::deletion::Deletions;
use crate::follow::{Hub, LiveFragment, Rings};
use crate::holds::{Holds, overlap};
use crate::memory::{Key, Memory, Recorded, Sent};
use crate::notifications::Notify;
use crate::order::Order;
use crate::quota::{Account, Usage};
use crate::segments::reader::Reader;
use crate::segments::record::{StreamBody, record_len_of};
use crate::segments::writer::Cipher;
use crate::session::Content;
use crate::stats::Stats;
use crate::tail::Tail;
use crate::{Clock, Config, Durable, Error, Kind, Range, StreamInfo};
use bytes::Bytes;
use media::{Cause, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;
use tokio::sync::watch;

/// Headers of a stream that stay in memory.
const HEADERS: usize = 16;

/// What all streams of a store share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) catalog: Catalog,
    pub(crate) keys: Arc<Keys>,
    pub(crate) reader: Reader,
    /// Of a bucket.
    pub(crate) ahead: Option<Arc<Ahead>>,
    pub(crate) tail: Tail,
    pub(crate) rings: Arc<Rings>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) stopping: AtomicBool,
    pub(crate) deletions: Deletions,
    pub(crate) usage: Usage,
    /// The segment that was written anew and is about to take its place: its rows point there already. 0: none.
    pub(crate) moving: AtomicU64,
    /// Since when the catalog's journal may hold bytes of rows that were deleted, ms; 0: it does not.
    pub(crate) journal_since: AtomicU64,
}

impl Shared {
    /// Rows were deleted for good, whose bytes the catalog's journal still has.
    pub(crate) fn deleted(&self, now: UnixMillis) {
        let _ = self.journal_since.compare_exchange(0, now.0.max(1) as u64, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// What became of a complete fragment.
pub(crate) enum Sealing {
    /// It goes to the disk.
    Queued,
    /// It was sent before, under this number, and is dropped.
    Before(FragmentNumber, Durable),
}

/// One stream.
pub(crate) struct StreamState {
    /// As it was when the stream was opened; the retention in force is in `retention_hours`.
    info: StreamInfo,
    retention_hours: RwLock<Option<u32>>,
    pub(crate) shared: Arc<Shared>,
    /// What is recorded is encrypted with this, if anything.
    key: Option<Arc<StreamKey>>,
    pub(crate) budget: Budget,
    pub(crate) hub: Arc<Hub>,
    /// The newest durable fragment.
    pub(crate) newest: watch::Sender<Option<FragmentNumber>>,
    /// The fragment with the largest number that has begun.
    pub(crate) begun: watch::Sender<Option<Arc<LiveFragment>>>,
    /// What it keeps and may keep.
    pub(crate) account: Account,
    /// Up to this counter retention and quotas left nothing but what is held.
    pub(crate) swept: AtomicU64,
    holds: Mutex<Holds>,
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
    /// Fragments on their way to the commit queue.
    order: Order<Sealed>,
    headers: VecDeque<Arc<Header>>,
    memory: Memory,
    stats: Stats,
}

impl StreamState {
    /// A stream whose counters up to `counter_limit - BLOCK` may have been given out before.
    pub(crate) fn new(
        info: StreamInfo,
        counter_limit: u64,
        recorded: Recorded,
        shared: Arc<Shared>,
        budget: Budget,
        account: Account,
        holds: Holds,
    ) -> Arc<StreamState> {
        let memory = Memory::new(recorded);
        let newest = memory.newest().map(|m| m.number);
        let next_cause = if newest.is_some() { Cause::ServerStopped } else { Cause::Start };
        let inner = Inner {
            next_counter: counter_limit - streams::BLOCK + 1,
            counter_limit,
            reserving: false,
            next_cause: Some(next_cause),
            order: Order::new(),
            headers: VecDeque::new(),
            memory,
            stats: Stats::default(),
        };
        Arc::new(StreamState {
            retention_hours: RwLock::new(info.retention_hours),
            key: shared.keys.to_encrypt(info.id),
            info,
            hub: Arc::new(Hub::new(shared.rings.clone())),
            shared,
            budget,
            newest: watch::Sender::new(newest),
            begun: watch::Sender::new(None),
            account,
            swept: AtomicU64::new(0),
            holds: Mutex::new(holds),
            closed: AtomicBool::new(false),
            inner: Mutex::new(inner),
            notify: Mutex::default(),
        })
    }

    pub(crate) fn info(&self) -> StreamInfo {
        StreamInfo { retention_hours: self.retention_hours(), ..self.info.clone() }
    }
    pub(crate) fn retention_hours(&self) -> Option<u32> {
        *self.retention_hours.read().unwrap_or_else(|e| e.into_inner())
    }
    pub(crate) fn set_retention_hours(&self, hours: Option<u32>) {
        *self.retention_hours.write().unwrap_or_else(|e| e.into_inner()) = hours;
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
        let waiting = self.lock().order.take_waiting();
        let error = Error::new(Kind::NotFound, "the stream was deleted");
        waiting.for_each(|sealed| sealed.fail(&error));
        self.shared.tail.forget(self.id(), |_| true);
        self.hub.close();
        // The metrics facade cannot take a gauge back: it rests at 0, where no alarm rings, until the exporter drops what is idle.
        for gauge in [
            "vidicon_fragment_age_seconds",
            "vidicon_queue_bytes",
            "vidicon_stream_stored_bytes",
            "vidicon_stream_quota_bytes",
        ] {
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

    /// `QuotaReached` where a quota is reached that refuses what comes; counted.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.account.admit(self.name(), &self.shared.usage)
    }

    /// What the next fragment is encrypted with, if it is to be.
    pub(crate) fn cipher(&self) -> Result<Option<Cipher>, Error> {
        let Some(key) = self.key.clone() else { return Ok(None) };
        Ok(Some(Cipher { key, salt: key::salt()? }))
    }

    /// What stands in [`FragmentMeta::crc32c`] of a fragment whose bytes have this checksum.
    pub(crate) fn checksum(&self, start: UnixMillis, header: HeaderId, content: &Content) -> u32 {
        let Some(key) = &self.key else { return content.crc32c };
        key.mark(start, header, content.lead.len() as u32, content.len() as u32, content.crc32c)
    }

    /// A header as segments and the catalog hold it.
    pub(crate) fn stored_header(&self, header: &Header) -> Bytes {
        match &self.key {
            Some(key) => key.encrypt_header(self.id(), header.id, &header.bytes),
            None => header.bytes.clone(),
        }
    }

    /// What a segment says of the stream: its description, and the limit of counters.
    pub(crate) fn describe(&self) -> (StreamBody, u64) {
        let StreamInfo { name, retention_hours, created_at, .. } = self.info();
        (StreamBody { name, retention_hours, created_at }, self.lock().counter_limit)
    }

    /// A frame of an open fragment.
    pub(crate) fn frame(&self, number: FragmentNumber, frame: &media::Frame, video: bool) {
        let now = self.now();
        let mut inner = self.lock();
        inner.order.frame(number.counter(), Instant::now());
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
        let open = inner.order.is_open(number.counter());
        if open {
            self.notices().insert(number.counter(), notify);
        }
        open
    }

    fn notices(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.notify.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A fragment is complete. It goes to the disk once no fragment with a smaller number is open; with `once`, only if it was not
    /// sent before.
    pub(crate) fn seal(&self, mut sealed: Sealed, once: bool) -> Result<Sealing, Error> {
        let number = sealed.fragment.meta.number;
        let mut inner = self.lock();
        sealed.notify = self.notices().remove(&number.counter());
        if !inner.order.close(number.counter()) {
            drop(inner);
            let error =
                Error::new(Kind::Conflict, format!("fragment {number} took too long and was given up for newer ones"));
            let echo = error.echo();
            sealed.fail(&error);
            return Err(echo);
        }
        if once && let Sent::Before(number, durable) = inner.memory.sent_before(&Key::of(&sealed.fragment.meta)) {
            inner.next_cause = inner.next_cause.or(sealed.fragment.meta.cause);
            self.flush(inner);
            return Ok(Sealing::Before(number, durable));
        }
        inner.memory.sealed(&sealed.fragment.meta);
        inner.order.wait(number.counter(), sealed, Instant::now());
        self.flush(inner);
        Ok(Sealing::Queued)
    }

    /// Whether a fragment was sent before, as far as memory tells.
    pub(crate) fn sent_before(&self, key: &Key) -> Sent {
        self.lock().memory.sent_before(key)
    }

    /// A fragment was dropped before its end.
    pub(crate) fn abandon(&self, number: FragmentNumber) {
        let mut inner = self.lock();
        inner.order.close(number.counter());
        self.notices().remove(&number.counter());
        self.flush(inner);
    }

    /// Gives up open fragments that stalled while complete ones wait behind them, or for which those have waited too long.
    pub(crate) fn give_up_stalled(&self) {
        let mut inner = self.lock();
        let given_up = inner.order.give_up(Instant::now());
        if given_up > 0 {
            tracing::warn!(stream = %self.name(), fragments = given_up, "what is open too long was given up for newer fragments");
        }
        self.flush(inner);
    }

    /// Hands a deletion to the commit thread, behind all fragments that were handed over before. `Conflict` where one that is not durable yet
    /// would go with it, and a legal hold keeps it: the catalog does not know of those.
    pub(crate) fn push_deletion(&self, deletion: RangeDeletion) -> Result<(), Error> {
        let held: Vec<_> = self.holds().held.iter().map(|hold| hold.range()).collect();
        // Under the lock, so that no fragment comes in between.
        let inner = self.lock();
        let range = deletion.range;
        let is_held = |of: Range| overlap(of, range) && held.iter().any(|held| overlap(of, *held));
        if inner.memory.in_flight().any(is_held) {
            let message = format!(
                "stream {}: a fragment on its way to the disk reaches into the range and into a legal hold",
                self.name()
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        let pushed = self.shared.queue.push(Work::DeletedRange(deletion));
        drop(inner);
        pushed.map_err(|_| Error::new(Kind::Unavailable, "the store is stopping"))
    }

    fn flush(&self, mut inner: MutexGuard<'_, Inner>) {
        let mut refused = Vec::new();
        // Handed over under the lock, so that the queue has the order of the numbers.
        while let Some(sealed) = inner.order.next() {
            if let Err(Work::Fragment(sealed)) = self.shared.queue.push(Work::Fragment(sealed)) {
                refused.push(sealed);
            }
        }
        drop(inner);
        for sealed in refused {
            sealed.fail(&Error::new(Kind::Unavailable, "the store is stopping"));
        }
    }

    /// A fragment became durable.
    pub(crate) fn persisted(&self, fragment: Arc<Fragment>, now: UnixMillis) {
        let number = fragment.meta.number;
        metrics::counter!("vidicon_stream_bytes_total", "stream" => self.name().to_string())
            .increment(u64::from(fragment.meta.bytes));
        self.account.added(record_len_of(&fragment.meta), &self.shared.usage);
        let meta = fragment.meta.clone();
        // First, so that whoever learns of it finds it.
        self.shared.tail.push(self.id(), fragment, Instant::now());
        let mut inner = self.lock();
        inner.stats.last_commit_at = Some(now);
        let waiters = inner.memory.settle(number);
        inner.memory.persisted(meta.clone());
        drop(inner);
        self.newest.send_modify(|newest| *newest = (*newest).max(Some(number)));
        // Nobody needs to wait any more.
        waiters.into_iter().for_each(|waiter| drop(waiter.send(Ok(meta.clone()))));
    }

    /// A complete fragment could not be recorded: the next one does not continue what is there.
    pub(crate) fn lost(&self, number: FragmentNumber, error: &Error) {
        if error.kind() == Kind::LimitExceeded {
            // The disk is full, whatever the last look at it said.
            self.shared.usage.look();
        }
        let mut inner = self.lock();
        inner.next_cause.get_or_insert(Cause::Overload);
        let waiters = inner.memory.settle(number);
        drop(inner);
        waiters.into_iter().for_each(|waiter| drop(waiter.send(Err(error.echo()))));
    }

    /// A group of pictures was dropped because the budget was full.
    pub(crate) fn dropped_gop(&self) {
        metrics::counter!("vidicon_dropped_gops_total", "stream" => self.name().to_string()).increment(1);
        self.budget.dropped();
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
        let recorded = || inner.memory.newest().map(|m| m.server_start.plus(i64::from(m.duration_ms)));
        inner.stats.last_commit_at.or_else(recorded)
    }

    /// The newest `limit` durable fragments if memory knows them all.
    pub(crate) fn latest(&self, limit: usize) -> Option<Vec<FragmentMeta>> {
        self.lock().memory.latest(limit)
    }

    /// The newest durable fragment, if memory knows one.
    pub(crate) fn newest_meta(&self) -> Option<FragmentMeta> {
        self.lock().memory.newest().cloned()
    }

    /// The durable fragments after this one, at most `limit`, if memory knows them all.
    pub(crate) fn after(&self, number: FragmentNumber, limit: usize) -> Option<Vec<FragmentMeta>> {
        self.lock().memory.after(number, limit)
    }

    /// Its legal holds. Changed on the catalog's writing thread alone.
    pub(crate) fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Forgets fragments up to this counter, which retention took, but what is held.
    pub(crate) fn forget_upto(&self, counter: u64) {
        let holds = self.holds();
        let is_held = |m: &FragmentMeta| holds.held.iter().any(|hold| hold.range().overlaps(m));
        self.forget(|m| m.number.counter() <= counter && !is_held(m));
    }

    /// Forgets one fragment, which is damaged.
    pub(crate) fn forget_one(&self, number: FragmentNumber) {
        self.lock().memory.forget(|m| m.number == number);
    }

    /// Forgets fragments that overlap a range, which was deleted.
    pub(crate) fn forget_range(&self, range: Range) {
        self.forget(|m| range.overlaps(m));
    }

    fn forget(&self, gone: impl Fn(&FragmentMeta) -> bool) {
        self.lock().memory.forget(&gone);
        self.shared.tail.forget(self.id(), gone);
    }

    /// A fragment of the tail.
    pub(crate) fn in_tail(&self, number: FragmentNumber) -> Option<Arc<Fragment>> {
        self.shared.tail.get(self.id(), number, Instant::now())
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
}

/// The streams of a store by name.
pub(crate) type Streams = RwLock<BTreeMap<StreamName, Arc<StreamState>>>;
