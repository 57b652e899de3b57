//! Reading ahead in a bucket: whoever reads a stream fragment by fragment finds the next ones on their way, and those that lie near each
//! other in an object come with one request.
//!
//! A *run* is a reading of one stream in the order of its numbers, or nearly so. The second fragment of one makes it read ahead, further with
//! each that follows. It ends with its reader; where each request is a reader of its own (HLS), a while after the last one.
//!
//! What is held is bounded for each run and for all together. It is only bytes: each fragment's row is looked up when it is asked for, so
//! what was deleted, moved or put anew meanwhile is never served from here, and its checksum is compared as ever.

use crate::catalog::Catalog;
use crate::catalog::fragments::{self, Located};
use crate::segments::Edition;
use crate::segments::objects::bucket::Objects;
use crate::segments::record::unpadded_len_of;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A fragment whose counter is within so many of the last one goes on with its run.
const NEAR: u64 = 32;
/// Fragments that a run holds at first and at most, those that are on their way among them.
const WINDOW: (usize, usize) = (4, 64);
/// Records so near each other in an object come with one request, up to so many bytes of it.
const GAP: u64 = 256 << 10;
const MOST_OF_ONE: u64 = 4 << 20;
/// The part of all that one run may hold.
const SHARE: u64 = 4;
/// Runs at a time; the one that rested longest makes room.
const MOST_RUNS: usize = 256;
/// A run that rests so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// See the module. One for a store whose segments lie in a bucket.
pub(crate) struct Ahead {
    objects: Arc<Objects>,
    limit: u64,
    /// Bytes that are held or on their way.
    held: Arc<AtomicU64>,
    next: AtomicU64,
    runs: Mutex<Vec<Run>>,
}

struct Run {
    id: u64,
    stream: u64,
    /// Who reads; `None` between two requests that are a reader each.
    reader: Option<u64>,
    /// The counter that was asked for last, and the one up to which what follows it is on its way.
    last: u64,
    listed: u64,
    /// Fragments that were asked for after the first.
    followed: u32,
    slots: VecDeque<Slot>,
    filling: Option<JoinHandle<()>>,
    used: Instant,
}

/// A fragment that is on its way, or here.
struct Slot {
    row: Located,
    get: Arc<Get>,
    /// Its record in what is got.
    range: Range<usize>,
}

/// One request. It is given up when nobody waits for it any more.
struct Get {
    bytes: u64,
    held: Arc<AtomicU64>,
    task: JoinHandle<()>,
    done: watch::Receiver<Option<Option<Bytes>>>,
}

impl Drop for Get {
    fn drop(&mut self) {
        self.task.abort();
        self.held.fetch_sub(self.bytes, Relaxed);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.filling.iter().for_each(JoinHandle::abort);
    }
}

/// One reader of a stream. Runs that it reads end with it.
pub(crate) struct Reading {
    ahead: Arc<Ahead>,
    id: u64,
    reads: AtomicU32,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ahead.left(self.id, self.reads.load(Relaxed) > 1);
    }
}

impl Ahead {
    /// Holds at most `limit` bytes.
    pub(crate) fn new(objects: Arc<Objects>, limit: u64) -> Arc<Ahead> {
        Arc::new(Ahead { objects, limit, held: Arc::default(), next: AtomicU64::new(1), runs: Mutex::default() })
    }

    /// A new reader.
    pub(crate) fn reader(self: &Arc<Self>) -> Arc<Reading> {
        Arc::new(Reading { ahead: self.clone(), id: self.next.fetch_add(1, Relaxed), reads: AtomicU32::new(0) })
    }

    /// Bytes that it holds or that are on their way.
    pub(crate) fn bytes(&self) -> u64 {
        self.held.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        // Consistent between statements, and only speed.
        self.runs.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Ends what rests.
    pub(crate) fn tidy(&self, now: Instant) {
        let mut runs = self.lock();
        let ended: Vec<Run> = runs.extract_if(.., |run| now.saturating_duration_since(run.used) >= IDLE).collect();
        drop(runs);
        drop(ended);
    }

    fn left(&self, reader: u64, ends: bool) {
        let mut runs = self.lock();
        let mut ended = Vec::new();
        if ends {
            ended.extend(runs.extract_if(.., |run| run.reader == Some(reader)));
        }
        runs.iter_mut().filter(|run| run.reader == Some(reader)).for_each(|run| run.reader = None);
        drop(runs);
        drop(ended);
    }

    /// Takes what a run adds as far as there is room.
    fn add(&self, id: u64, rows: Vec<Located>) {
        let mut runs = self.lock();
        let Some(run) = runs.iter_mut().find(|run| run.id == id) else { return };
        let window = run.window();
        let mut own = run.bytes();
        let (mut all, mut some) = (self.bytes(), Vec::<Located>::new());
        for row in rows {
            let joins = some.first().zip(some.last()).filter(|(first, last)| joins(first, last, &row));
            // With what lies between them.
            let bytes = joins.map_or(record(&row), |(_, last)| row.place.offset + record(&row) - end(last));
            let joins = joins.is_some();
            if run.slots.len() + some.len() >= window || own + bytes > self.limit / SHARE || all + bytes > self.limit {
                break;
            }
            (own, all) = (own + bytes, all + bytes);
            run.listed = run.listed.max(row.meta.number.counter());
            if !joins {
                run.slots.extend(self.get(std::mem::take(&mut some)));
            }
            some.push(row);
        }
        run.slots.extend(self.get(some));
    }

    /// Begins one request for all of these.
    fn get(&self, rows: Vec<Located>) -> Vec<Slot> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
        let (start, end) = (first.place.offset, end(last));
        let edition = Edition { id: first.place.segment, generation: first.generation };
        let (tell, done) = watch::channel(None);
        let objects = self.objects.clone();
        self.held.fetch_add(end - start, Relaxed);
        metrics::counter!("vidicon_read_ahead_requests_total").increment(1);
        let task = self.objects.handle().spawn(async move {
            // Whoever needs it reads it again, and is told why it cannot be read.
            let read = objects.range(edition, start..end).await.ok();
            let _ = tell.send(Some(read));
        });
        let get = Arc::new(Get { bytes: end - start, held: self.held.clone(), task, done });
        let slot = |row: Located| {
            let at = (row.place.offset - start) as usize;
            Slot { range: at..at + record(&row) as usize, get: get.clone(), row }
        };
        rows.into_iter().map(slot).collect()
    }
}

/// Bytes of a record without its padding.
fn record(row: &Located) -> u64 {
    unpadded_len_of(&row.meta)
}

/// Where a record ends.
fn end(row: &Located) -> u64 {
    row.place.offset + record(row)
}

/// Whether a record comes with those from `first` to `last`.
fn joins(first: &Located, last: &Located, next: &Located) -> bool {
    let behind = end(last);
    (next.place.segment, next.generation) == (last.place.segment, last.generation)
        && next.place.offset >= behind
        && next.place.offset - behind <= GAP
        && end(next) - first.place.offset <= MOST_OF_ONE
}

impl Run {
    fn goes_on(&self, stream: u64, counter: u64) -> bool {
        self.stream == stream
            && (self.last.abs_diff(counter) <= NEAR || self.slots.iter().any(|s| s.counter() == counter))
    }

    /// What its requests hold.
    fn bytes(&self) -> u64 {
        let before = std::iter::once(None).chain(self.slots.iter().map(Some));
        let gets = self
            .slots
            .iter()
            .zip(before)
            .filter(|(slot, before)| before.is_none_or(|b| !Arc::ptr_eq(&slot.get, &b.get)));
        gets.map(|(slot, _)| slot.get.bytes).sum()
    }

    fn window(&self) -> usize {
        (WINDOW.0 << self.followed.min(8)).min(WINDOW.1)
    }

    /// The slot of this fragment; those far behind it go.
    fn pick(&mut self, counter: u64) -> (Option<Slot>, Vec<Slot>) {
        let at = self.slots.iter().position(|slot| slot.counter() == counter);
        let found = at.and_then(|at| self.slots.remove(at));
        let passed = self.slots.iter().take_while(|slot| slot.counter() + NEAR < counter).count();
        (found, self.slots.drain(..passed).collect())
    }
}

impl Slot {
    fn counter(&self) -> u64 {
        self.row.meta.number.counter()
    }

    /// Its record, if it could be read.
    async fn read(self) -> Option<Bytes> {
        let mut done = self.get.done.clone();
        let read = done.wait_for(Option::is_some).await.ok()?.clone().flatten()?;
        // The object may be shorter than its row says.
        (self.range.end <= read.len()).then(|| read.slice(self.range))
    }
}

impl Reading {
    /// The record of a fragment that is about to be read, if it was read ahead; and sees to what follows it.
    pub(crate) async fn take(&self, catalog: &Catalog, stream: u64, row: &Located) -> Option<Bytes> {
        self.reads.fetch_add(1, Relaxed);
        let counter = row.meta.number.counter();
        let (slot, gone) = {
            let mut runs = self.ahead.lock();
            let own = runs.iter().position(|run| run.reader == Some(self.id) && run.goes_on(stream, counter));
            let left = || runs.iter().position(|run| run.reader.is_none() && run.goes_on(stream, counter));
            let Some(at) = own.or_else(left) else {
                let oldest = runs.iter().enumerate().min_by_key(|(_, run)| run.used).map(|(at, _)| at);
                let gone = oldest.filter(|_| runs.len() >= MOST_RUNS).map(|at| runs.swap_remove(at));
                runs.push(self.begin(stream, counter));
                drop(runs);
                drop(gone);
                return None;
            };
            let run = &mut runs[at];
            (run.reader, run.used) = (Some(self.id), Instant::now());
            run.last = run.last.max(counter);
            run.followed += 1;
            let picked = run.pick(counter);
            let is_filling = run.filling.as_ref().is_some_and(|task| !task.is_finished());
            if run.slots.len() * 2 < run.window() && !is_filling {
                run.filling = Some(self.fill(catalog, run));
            }
            picked
        };
        // Requests are given up without the lock.
        drop(gone);
        slot.filter(|slot| slot.row == *row)?.read().await
    }

    fn begin(&self, stream: u64, counter: u64) -> Run {
        Run {
            id: self.ahead.next.fetch_add(1, Relaxed),
            stream,
            reader: Some(self.id),
            last: counter,
            listed: 0,
            followed: 0,
            slots: VecDeque::new(),
            filling: None,
            used: Instant::now(),
        }
    }

    fn fill(&self, catalog: &Catalog, run: &Run) -> JoinHandle<()> {
        let (ahead, catalog, id) = (self.ahead.clone(), catalog.clone(), run.id);
        let (stream, after) = (run.stream, run.listed.max(run.last));
        tokio::spawn(async move {
            if let Ok(rows) = catalog.read(move |c| fragments::places_after(c, stream, after, WINDOW.1)).await {
                ahead.add(id, rows);
            }
        })
    }
}
