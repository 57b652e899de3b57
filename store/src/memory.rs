//! What memory knows of the sealed and the newest durable fragments of one stream.
//!
//! What belongs here: the figures of the newest fragments, who waits for a commit, and whether a fragment was sent before. What does
//! not: their bytes ([`crate::tail`]), open fragments and numbers ([`crate::state`]), and locks.

use crate::{Durable, Error, Kind, Range};
use media::{FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use std::collections::{HashMap, HashSet, VecDeque};
use tokio::sync::oneshot;

/// Newest fragments whose figures stay in memory, per stream.
pub(crate) const RECENT: usize = 256;
/// Those that sent the same fragment again and wait for one commit of it; more are told to try again.
const MOST_WAITERS: usize = 64;

/// What makes two fragments of a stream the same one, sent twice (invariant 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) producer_start: UnixMillis,
    pub(crate) header: HeaderId,
    pub(crate) lead_bytes: u32,
    pub(crate) bytes: u32,
    pub(crate) crc32c: u32,
}

impl Key {
    pub(crate) fn of(meta: &FragmentMeta) -> Key {
        let FragmentMeta { producer_start, header, lead_bytes, bytes, crc32c, .. } = *meta;
        Key { producer_start, header, lead_bytes, bytes, crc32c }
    }
}

/// Whether a fragment was sent before, as far as memory tells.
pub(crate) enum Sent {
    /// It was, under this number.
    Before(FragmentNumber, Durable),
    /// It was not.
    New,
    /// It is not in memory, and too old for that to say anything: the catalog knows.
    Unknown,
}

/// What the catalog knows of a stream's fragments when it is opened.
#[derive(Default)]
pub(crate) struct Recorded {
    /// The newest [`RECENT`] by number, oldest first.
    pub(crate) recent: Vec<FragmentMeta>,
    /// The latest producer time of all.
    pub(crate) newest_start: Option<UnixMillis>,
}

/// Those that sent a fragment again and wait for the commit of the first.
pub(crate) type Waiters = Vec<oneshot::Sender<Result<FragmentMeta, Error>>>;

struct InFlight {
    key: Key,
    /// Of producer time.
    range: Range,
    waiters: Waiters,
}

struct Recent {
    meta: FragmentMeta,
    /// A later one has the same producer time: listings show that one.
    replaced: bool,
}

/// See the module.
pub(crate) struct Memory {
    /// Complete fragments that are not durable yet.
    in_flight: HashMap<FragmentNumber, InFlight>,
    /// The first of them that is such a one.
    by_key: HashMap<Key, FragmentNumber>,
    /// The newest durable fragments by number, none left out.
    recent: VecDeque<Recent>,
    /// Whether `recent` holds all that the catalog holds.
    recent_is_all: bool,
    /// The latest producer time of any fragment that is durable or was.
    newest_start: Option<UnixMillis>,
}

impl Memory {
    pub(crate) fn new(recorded: Recorded) -> Memory {
        let mut memory = Memory {
            in_flight: HashMap::new(),
            by_key: HashMap::new(),
            recent_is_all: recorded.recent.len() < RECENT,
            recent: recorded.recent.into_iter().map(|meta| Recent { meta, replaced: false }).collect(),
            newest_start: recorded.newest_start,
        };
        memory.mark_replaced();
        memory
    }

    /// A fragment is complete and on its way to the disk.
    pub(crate) fn sealed(&mut self, meta: &FragmentMeta) {
        let key = Key::of(meta);
        let range = Range { from: meta.producer_start, to: meta.producer_end() };
        self.in_flight.insert(meta.number, InFlight { key, range, waiters: Vec::new() });
        self.by_key.entry(key).or_insert(meta.number);
    }

    /// The producer times of complete fragments that are not durable yet.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = Range> {
        self.in_flight.values().map(|of| of.range)
    }

    /// A fragment is no longer in flight: who else waits for it.
    pub(crate) fn settle(&mut self, number: FragmentNumber) -> Waiters {
        let Some(InFlight { key, waiters, .. }) = self.in_flight.remove(&number) else { return Vec::new() };
        if self.by_key.get(&key) == Some(&number) {
            self.by_key.remove(&key);
        }
        waiters
    }

    /// A fragment is durable.
    pub(crate) fn persisted(&mut self, meta: FragmentMeta) {
        self.push_recent(meta);
    }

    fn push_recent(&mut self, meta: FragmentMeta) {
        // A re-sent fragment replaces the one of the same producer time (invariant 7). Of a later one than all there is none.
        if self.newest_start >= Some(meta.producer_start) {
            for earlier in self.recent.iter_mut().filter(|r| r.meta.producer_start == meta.producer_start) {
                earlier.replaced = true;
            }
        }
        self.newest_start = self.newest_start.max(Some(meta.producer_start));
        self.recent.push_back(Recent { meta, replaced: false });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
            self.recent_is_all = false;
        }
    }

    /// Whether a fragment was sent before.
    pub(crate) fn sent_before(&mut self, key: &Key) -> Sent {
        let in_flight = self.by_key.get(key).copied();
        if let Some((number, found)) = in_flight.and_then(|number| Some((number, self.in_flight.get_mut(&number)?))) {
            let (done, answer) = oneshot::channel();
            if found.waiters.len() < MOST_WAITERS {
                found.waiters.push(done);
            } else {
                let message = format!("fragment {number} was sent again too often before it is durable");
                // The receiver is here, so it cannot fail.
                let _ = done.send(Err(Error::new(Kind::LimitExceeded, message)));
            }
            return Sent::Before(number, Durable::new(answer));
        }
        // The common case: it goes on where the stream was.
        if self.newest_start.is_none_or(|newest| key.producer_start > newest) {
            return Sent::New;
        }
        if let Some(found) = self.recent.iter().rev().find(|r| Key::of(&r.meta) == *key) {
            return Sent::Before(found.meta.number, Durable::already(found.meta.clone()));
        }
        // Only a producer that goes back in time, as one does that sends again, can send what only the catalog knows.
        match self.recent_is_all {
            true => Sent::New,
            false => Sent::Unknown,
        }
    }

    /// The newest durable fragment.
    pub(crate) fn newest(&self) -> Option<&FragmentMeta> {
        self.recent.back().map(|r| &r.meta)
    }

    /// The newest `limit` durable fragments, one for each producer time, if memory knows them all.
    pub(crate) fn latest(&self, limit: usize) -> Option<Vec<FragmentMeta>> {
        let shown = || self.recent.iter().filter(|r| !r.replaced);
        let count = shown().count();
        let all_known = self.recent_is_all || limit <= count;
        all_known.then(|| shown().skip(count.saturating_sub(limit)).map(|r| r.meta.clone()).collect())
    }

    /// The durable fragments after this one, at most `limit`, if memory knows them all.
    pub(crate) fn after(&self, number: FragmentNumber, limit: usize) -> Option<Vec<FragmentMeta>> {
        let known = self.recent_is_all || self.recent.front().is_some_and(|r| r.meta.number <= number);
        let at = self.recent.partition_point(|r| r.meta.number <= number);
        known.then(|| self.recent.iter().skip(at).take(limit).map(|r| r.meta.clone()).collect())
    }

    /// Forgets durable fragments, which were deleted.
    pub(crate) fn forget(&mut self, gone: impl Fn(&FragmentMeta) -> bool) {
        self.recent.retain(|r| !gone(&r.meta));
        // One of two with the same producer time may have been shorter and stayed: then it is listed again.
        self.mark_replaced();
    }

    fn mark_replaced(&mut self) {
        let mut shown = HashSet::with_capacity(self.recent.len());
        for recent in self.recent.iter_mut().rev() {
            recent.replaced = !shown.insert(recent.meta.producer_start);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn meta(counter: u64, start: i64) -> FragmentMeta {
        FragmentMeta {
            number: FragmentNumber::new(counter, 0, 0),
            producer_start: UnixMillis(start),
            server_start: UnixMillis(0),
            duration_ms: 1,
            bytes: 10,
            lead_bytes: 0,
            frames: 1,
            crc32c: counter as u32,
            header: HeaderId(1),
            cause: None,
            encrypted: false,
        }
    }

    fn told(sent: Sent) -> &'static str {
        match sent {
            Sent::Before(..) => "before",
            Sent::New => "new",
            Sent::Unknown => "unknown",
        }
    }

    fn look(memory: &mut Memory, of: &FragmentMeta) -> &'static str {
        told(memory.sent_before(&Key::of(of)))
    }

    #[test]
    fn the_catalog_is_asked_only_for_what_is_old_and_not_in_memory() {
        let mut memory = Memory::new(Recorded::default());
        for i in 0..RECENT as u64 {
            memory.push_recent(meta(i + 1, i as i64 * 10));
        }
        assert_eq!(look(&mut memory, &meta(9999, 5)), "new", "memory holds all there is");
        memory.push_recent(meta(300, 3000));
        assert_eq!(look(&mut memory, &meta(9999, 3001)), "new", "later than all there ever was");
        assert_eq!(look(&mut memory, &meta(1, 0)), "unknown", "too old for memory");
        assert_eq!(look(&mut memory, &meta(9999, 3000)), "unknown", "another one of that time");
        assert_eq!(look(&mut memory, &meta(300, 3000)), "before");
        memory.forget(|_| true);
        assert_eq!(look(&mut memory, &meta(300, 3000)), "unknown", "deleted, as far as memory goes");
        let opened = Recorded {
            recent: (0..RECENT as u64).map(|i| meta(i + 1, 10)).collect(),
            newest_start: Some(UnixMillis(50)),
        };
        let mut memory = Memory::new(opened);
        assert_eq!((look(&mut memory, &meta(9999, 50)), look(&mut memory, &meta(9999, 51))), ("unknown", "new"));
    }

    #[tokio::test]
    async fn those_that_wait_for_one_commit_are_bounded_and_all_told() {
        let mut memory = Memory::new(Recorded::default());
        let first = meta(1, 0);
        memory.sealed(&first);
        let mut waiting = Vec::new();
        for _ in 0..MOST_WAITERS + 3 {
            let Sent::Before(number, durable) = memory.sent_before(&Key::of(&first)) else { panic!("it is in flight") };
            assert_eq!(number, first.number);
            waiting.push(durable);
        }
        for refused in waiting.split_off(MOST_WAITERS) {
            assert_eq!(refused.wait().await.unwrap_err().kind(), Kind::LimitExceeded);
        }
        let waiters = memory.settle(first.number);
        assert_eq!(waiters.len(), MOST_WAITERS);
        waiters.into_iter().for_each(|waiter| waiter.send(Ok(first.clone())).unwrap());
        for durable in waiting {
            assert_eq!(durable.wait().await.unwrap(), first);
        }
        assert_eq!(look(&mut memory, &first), "new", "its commit failed, for all that memory knows");
    }

    #[test]
    fn of_one_producer_time_the_latest_that_is_left_is_listed() {
        let mut memory = Memory::new(Recorded::default());
        for (counter, start) in [(1, 0), (2, 10), (3, 0), (4, 0)] {
            memory.push_recent(meta(counter, start));
        }
        let listed = |memory: &Memory, limit| {
            let latest = memory.latest(limit).unwrap();
            latest.iter().map(|m| m.number.counter()).collect::<Vec<_>>()
        };
        assert_eq!((listed(&memory, 9), listed(&memory, 1)), (vec![2, 4], vec![4]));
        memory.forget(|m| m.number.counter() == 4);
        assert_eq!(listed(&memory, 9), [2, 3]);
        let after = |n| memory.after(FragmentNumber::new(n, 0, 0), 9).unwrap().len();
        assert_eq!((after(0), after(1), after(3)), (3, 2, 0));
    }
}
