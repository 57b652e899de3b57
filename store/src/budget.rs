//! The byte budget of media that is not durable yet: taken at the door, given back when a fragment is committed or dropped.
//!
//! It bounds the commit queue too: every queued fragment holds its charge.

use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

/// What is known of the byte budget, of the process or of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetFigures {
    /// Its size.
    pub limit_bytes: u64,
    /// Bytes in memory that are not durable yet.
    pub used_bytes: u64,
    /// Of them, bytes of complete fragments, which come back with their commit.
    pub committing_bytes: u64,
    /// The most that it held since it was made.
    pub high_bytes: u64,
    /// Producers that wait for room now.
    pub waiting: u64,
    /// Groups of pictures that were dropped for want of room.
    pub dropped_gops: u64,
}

/// What one frame costs beside its payload: its block head, its slices, its place in the live ring.
pub(crate) const FRAME_OVERHEAD: u64 = 256;
/// What one fragment costs beside its frames.
pub(crate) const FRAGMENT_OVERHEAD: u64 = 4096;

/// A pool of bytes.
#[derive(Debug)]
struct Pool {
    limit: u64,
    used: AtomicU64,
    /// Of `used`, what is on its way to the disk and so will come back by itself.
    sealed: AtomicU64,
    /// The most that `used` was.
    high: AtomicU64,
    /// Those that wait for room.
    waiting: AtomicU64,
    dropped: AtomicU64,
}

impl Pool {
    fn new(limit: u64) -> Pool {
        Pool {
            limit,
            used: AtomicU64::new(0),
            sealed: AtomicU64::new(0),
            high: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
    fn figures(&self) -> BudgetFigures {
        BudgetFigures {
            limit_bytes: self.limit,
            used_bytes: self.used.load(SeqCst),
            committing_bytes: self.sealed.load(SeqCst),
            high_bytes: self.high.load(SeqCst),
            waiting: self.waiting.load(SeqCst),
            dropped_gops: self.dropped.load(SeqCst),
        }
    }
    /// Takes bytes; gives what is used then.
    fn take(&self, bytes: u64) -> Option<u64> {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(SeqCst, SeqCst, add).ok().map(|before| before + bytes)
    }
    /// So many bytes are used.
    fn note(&self, used: u64) {
        // Mostly there is nothing to write.
        if used > self.high.load(SeqCst) {
            self.high.fetch_max(used, SeqCst);
        }
    }
    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, SeqCst);
    }
}

/// The budget of one stream within that of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    process: Arc<Process>,
    stream: Arc<Pool>,
}

/// The budget of the process.
#[derive(Debug)]
pub(crate) struct Process {
    pool: Pool,
    freed: Notify,
}

/// What a wait for room found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The bytes are taken.
    Taken,
    /// None of what is held is on its way to the disk: waiting would be for ever.
    Never,
}

impl Process {
    /// A budget of so many bytes.
    pub(crate) fn new(limit: u64) -> Arc<Process> {
        Arc::new(Process { pool: Pool::new(limit), freed: Notify::new() })
    }
    /// The budget of a stream out of it.
    pub(crate) fn stream(self: &Arc<Self>, limit: u64) -> Budget {
        Budget { process: self.clone(), stream: Arc::new(Pool::new(limit)) }
    }
    /// Wakes whoever waits for room, to look again.
    pub(crate) fn wake(&self) {
        self.freed.notify_waiters();
    }
    /// The figures of all streams together.
    pub(crate) fn figures(&self) -> BudgetFigures {
        self.pool.figures()
    }
}

impl Budget {
    /// The most bytes that the stream may hold.
    pub(crate) fn limit(&self) -> u64 {
        self.stream.limit.min(self.process.pool.limit)
    }

    /// Bytes that the stream holds now.
    pub(crate) fn used(&self) -> u64 {
        self.stream.used.load(SeqCst)
    }

    /// Wakes whoever waits for room, to look again.
    pub(crate) fn wake(&self) {
        self.process.wake();
    }

    /// The figures of the stream.
    pub(crate) fn figures(&self) -> BudgetFigures {
        self.stream.figures()
    }

    /// A group of pictures was dropped because there was no room.
    pub(crate) fn dropped(&self) {
        self.pools().iter().for_each(|pool| _ = pool.dropped.fetch_add(1, SeqCst));
    }

    fn pools(&self) -> [&Pool; 2] {
        [&self.stream, &self.process.pool]
    }

    /// Takes bytes if there is room.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Charge> {
        let of_stream = self.stream.take(bytes)?;
        let Some(of_all) = self.process.pool.take(bytes) else {
            self.stream.give(bytes);
            return None;
        };
        self.stream.note(of_stream);
        self.process.pool.note(of_all);
        Some(Charge { budget: self.clone(), bytes, sealed: false })
    }

    /// Waits for room, as long as something is on its way to the disk. Cancel safe.
    pub(crate) async fn take(&self, bytes: u64) -> Option<Charge> {
        if let Some(charge) = self.try_take(bytes) {
            return Some(charge);
        }
        let _waiting = Waiting::new(self);
        loop {
            let freed = self.process.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(charge) = self.try_take(bytes) {
                return Some(charge);
            }
            if self.room_will_come(bytes) == Room::Never {
                return None;
            }
            freed.await;
        }
    }

    fn room_will_come(&self, bytes: u64) -> Room {
        let fits_after_commit = |pool: &Pool| {
            pool.used.load(SeqCst).saturating_sub(pool.sealed.load(SeqCst)).saturating_add(bytes) <= pool.limit
        };
        match fits_after_commit(&self.stream) && fits_after_commit(&self.process.pool) {
            true => Room::Taken,
            false => Room::Never,
        }
    }
}

/// One that waits for room, counted until it is dropped.
struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.pools().iter().for_each(|pool| _ = pool.waiting.fetch_add(1, SeqCst));
        Waiting(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pools().iter().for_each(|pool| _ = pool.waiting.fetch_sub(1, SeqCst));
    }
}

/// Bytes that were taken. They go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: u64,
    sealed: bool,
}

impl Charge {
    /// How many.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Joins another charge of the same stream to this one.
    pub(crate) fn add(&mut self, mut other: Charge) {
        debug_assert!(Arc::ptr_eq(&self.budget.stream, &other.budget.stream) && !self.sealed && !other.sealed);
        self.bytes += std::mem::take(&mut other.bytes);
    }
    /// The bytes are on their way to the disk.
    pub(crate) fn seal(&mut self) {
        if !std::mem::replace(&mut self.sealed, true) {
            self.budget.stream.sealed.fetch_add(self.bytes, SeqCst);
            self.budget.process.pool.sealed.fetch_add(self.bytes, SeqCst);
            // Whoever was about to give up can wait again.
            self.budget.process.wake();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        for pool in self.budget.pools() {
            // First `sealed`, so that it never exceeds `used`.
            if self.sealed {
                pool.sealed.fetch_sub(self.bytes, SeqCst);
            }
            pool.give(self.bytes);
        }
        self.budget.process.wake();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_stream_and_the_process_are_both_bounds() {
        let process = Process::new(100);
        let (a, b) = (process.stream(60), process.stream(60));
        let held = a.try_take(60).unwrap();
        assert!(a.try_take(1).is_none());
        assert!(b.try_take(41).is_none());
        let other = b.try_take(40).unwrap();
        assert_eq!((a.used(), b.used()), (60, 40));
        drop(held);
        drop(other);
        assert_eq!((a.used(), b.used()), (0, 0));
        drop(a.try_take(60).unwrap());
    }

    #[tokio::test]
    async fn waits_for_what_is_on_its_way_and_for_nothing_else() {
        let process = Process::new(100);
        let budget = process.stream(100);
        let mut held = budget.try_take(90).unwrap();
        assert!(budget.take(20).await.is_none(), "nothing is on its way");
        held.seal();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(20).await.is_some() }
        });
        tokio::task::yield_now().await;
        let seen = |budget: &Budget| (budget.figures().waiting, budget.figures().committing_bytes);
        assert_eq!((seen(&budget), process.figures().waiting), ((1, 90), 1));
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!(budget.used(), 0);
        assert_eq!((seen(&budget), process.figures().waiting), ((0, 0), 0));
        // One that gives up waiting is not counted any more.
        let mut held = budget.try_take(90).unwrap();
        held.seal();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), budget.take(20)).await.is_err());
        assert_eq!(budget.figures().waiting, 0);
    }

    #[tokio::test]
    async fn the_most_that_was_held_and_what_was_dropped_are_told() {
        let process = Process::new(100);
        let (a, b) = (process.stream(60), process.stream(70));
        let held = a.try_take(50).unwrap();
        assert!(b.try_take(60).is_none(), "of its own there would be room");
        b.dropped();
        drop(held);
        drop(b.try_take(20).unwrap());
        let high = |limit_bytes, high_bytes, dropped_gops| BudgetFigures {
            limit_bytes,
            high_bytes,
            dropped_gops,
            ..BudgetFigures::default()
        };
        assert_eq!(a.figures(), high(60, 50, 0));
        assert_eq!(b.figures(), high(70, 20, 1), "what was refused does not count");
        assert_eq!(process.figures(), high(100, 50, 1));
    }
}
