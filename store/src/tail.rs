//! The tail: the newest durable fragments of all streams, in memory.
//!
//! What belongs here: which fragments those are, within one bound for all streams together. What does not: figures of fragments
//! ([`crate::memory`]), and frames of fragments that are still open ([`crate::follow`]).
//!
//! It serves those that watch: they ask for a fragment as soon as it is durable, or a few later. So of a stream that nobody has read for
//! a while the newest is here at most, and those go first; then the oldest. Whoever reads what is gone reads its segment, and then counts
//! as one that watches. Less is also faster: memory that is used again soon is still in the processor's caches.

use crate::budget::{FRAGMENT_OVERHEAD, FRAME_OVERHEAD};
use media::{Fragment, FragmentMeta, FragmentNumber};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Somebody watches a stream if a fragment of it was asked for so recently.
const WATCHED: Duration = Duration::from_secs(60);
/// The most bytes of one stream that somebody watches.
const STREAM_BYTES: u64 = 8 << 20;

/// See the module.
pub(crate) struct Tail {
    limit: u64,
    held: Mutex<Held>,
}

/// A stream's id, and a number in it.
type Key = (u64, FragmentNumber);
/// Below all that are given.
const FIRST: FragmentNumber = FragmentNumber::new(0, 0, 0);

/// Whether somebody watched its stream, and where it stands among all as they became durable.
type Place = (bool, u64);

#[derive(Default)]
struct Held {
    fragments: BTreeMap<Key, (Place, Arc<Fragment>)>,
    order: BTreeMap<Place, Key>,
    streams: HashMap<u64, Of>,
    next: u64,
    /// What `fragments` cost.
    bytes: u64,
}

/// What is known of a stream.
#[derive(Default)]
struct Of {
    /// What its fragments cost.
    bytes: u64,
    /// When one was last asked for.
    read_at: Option<Instant>,
}

/// What a fragment costs in memory: its bytes, and as much beside them as the byte budget counts.
fn cost(meta: &FragmentMeta) -> u64 {
    u64::from(meta.bytes) + FRAGMENT_OVERHEAD + u64::from(meta.frames) * FRAME_OVERHEAD
}

impl Tail {
    /// A tail of at most so many bytes.
    pub(crate) fn new(limit: u64) -> Tail {
        Tail { limit, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Consistent between statements, but for an error in this file; and it is only speed.
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The most that it may hold.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// A fragment of a stream became durable. One that is larger than the whole tail is not kept.
    pub(crate) fn push(&self, stream: u64, fragment: Arc<Fragment>, now: Instant) {
        let cost = cost(&fragment.meta);
        if cost > self.limit {
            return;
        }
        let mut gone = Vec::new();
        let mut held = self.lock();
        let key = (stream, fragment.meta.number);
        let is_watched = held.is_watched(stream, now);
        let place = (is_watched, held.next);
        held.next += 1;
        held.bytes += cost;
        held.streams.entry(stream).or_default().bytes += cost;
        held.order.insert(place, key);
        held.fragments.insert(key, (place, fragment));
        while let Some(first) = held.first_of(stream).filter(|first| *first != key)
            && (!is_watched || held.streams.get(&stream).is_some_and(|of| of.bytes > STREAM_BYTES))
        {
            gone.extend(held.remove(&first));
        }
        while held.bytes > self.limit
            && let Some(first) = held.first_to_go(now)
        {
            gone.extend(held.remove(&first));
        }
        drop(held);
        // Many small pieces, without the lock.
        drop(gone);
    }

    /// A fragment, if it is here. Whoever asks watches the stream.
    pub(crate) fn get(&self, stream: u64, number: FragmentNumber, now: Instant) -> Option<Arc<Fragment>> {
        let mut held = self.lock();
        held.streams.entry(stream).or_default().read_at = Some(now);
        held.fragments.get(&(stream, number)).map(|(_, fragment)| fragment.clone())
    }

    /// Forgets fragments of a stream, which were deleted.
    pub(crate) fn forget(&self, stream: u64, gone: impl Fn(&FragmentMeta) -> bool) {
        let mut held = self.lock();
        let of = held.fragments.range((stream, FIRST)..).take_while(|((of, _), _)| *of == stream);
        let keys: Vec<Key> = of.filter(|(_, (_, fragment))| gone(&fragment.meta)).map(|(key, _)| *key).collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| held.remove(key)).collect();
        if held.first_of(stream).is_none() {
            held.streams.remove(&stream);
        }
        drop(held);
        drop(gone);
    }
}

impl Held {
    fn is_watched(&self, stream: u64, now: Instant) -> bool {
        let read_at = self.streams.get(&stream).and_then(|of| of.read_at);
        read_at.is_some_and(|at| now.saturating_duration_since(at) < WATCHED)
    }

    /// The oldest of a stream.
    fn first_of(&self, stream: u64) -> Option<Key> {
        let first = self.fragments.range((stream, FIRST)..).next();
        first.map(|(key, _)| *key).filter(|(of, _)| *of == stream)
    }

    /// What is worth least.
    fn first_to_go(&self, now: Instant) -> Option<Key> {
        let once_watched = self.order.range((true, 0)..).next().filter(|(_, key)| !self.is_watched(key.0, now));
        once_watched.or_else(|| self.order.first_key_value()).map(|(_, key)| *key)
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Fragment>> {
        let (place, fragment) = self.fragments.remove(key)?;
        self.order.remove(&place);
        let cost = cost(&fragment.meta);
        self.bytes -= cost;
        if let Some(of) = self.streams.get_mut(&key.0) {
            of.bytes -= cost;
        }
        Some(fragment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use media::{HeaderId, UnixMillis};

    fn fragment(counter: u64, bytes: u32) -> Arc<Fragment> {
        let header = media::mkv::write_header(&[]).shared();
        let meta = FragmentMeta {
            number: FragmentNumber::new(counter, 0, 0),
            producer_start: UnixMillis(0),
            server_start: UnixMillis(0),
            duration_ms: 1,
            bytes,
            lead_bytes: 0,
            frames: 1,
            crc32c: 0,
            header: HeaderId(1),
            cause: None,
            encrypted: false,
        };
        Arc::new(Fragment { meta, header, lead: Bytes::new(), cluster: media::Chunks::new() })
    }

    /// Without reading them.
    fn here(tail: &Tail) -> Vec<(u64, u64)> {
        tail.lock().fragments.keys().map(|(stream, number)| (*stream, number.counter())).collect()
    }

    #[test]
    fn the_oldest_of_all_streams_go_first() {
        let (each, now) = (cost(&fragment(0, 1000).meta), Instant::now());
        let tail = Tail::new(3 * each + 10);
        for (stream, counter) in [(1, 1), (2, 9), (3, 1), (3, 2)] {
            tail.push(stream, fragment(counter, 1000), now);
        }
        assert_eq!((here(&tail), tail.bytes()), (vec![(1, 1), (2, 9), (3, 2)], 3 * each), "one of each");
        tail.push(4, fragment(3, 2000), now);
        assert_eq!(here(&tail), [(3, 2), (4, 3)], "two had to go for a larger one");
        tail.push(1, fragment(4, 3 * each as u32), now);
        assert_eq!(here(&tail), [(3, 2), (4, 3)], "one that does not fit");
        let none = Tail::new(0);
        none.push(1, fragment(1, 0), now);
        assert_eq!((here(&none), none.bytes()), (vec![], 0));
    }

    #[test]
    fn what_is_watched_stays_longer() {
        let (each, now) = (cost(&fragment(0, 1000).meta), Instant::now());
        let tail = Tail::new(3 * each);
        let number = |counter| FragmentNumber::new(counter, 0, 0);
        assert!(tail.get(1, number(1), now).is_none());
        let push = |stream, counters: std::ops::RangeInclusive<u64>, now| {
            counters.for_each(|counter| tail.push(stream, fragment(counter, 1000), now));
        };
        push(1, 1..=2, now);
        push(2, 1..=5, now);
        push(3, 1..=1, now);
        push(2, 6..=7, now);
        assert_eq!(here(&tail), [(1, 1), (1, 2), (2, 7)]);
        push(1, 3..=4, now);
        assert_eq!(here(&tail), [(1, 2), (1, 3), (1, 4)]);
        push(2, 8..=8, now);
        assert_eq!(here(&tail), [(1, 2), (1, 3), (1, 4)], "there is no room for one that nobody watches");
        assert!(tail.get(2, number(8), now).is_none());
        push(2, 9..=9, now);
        assert_eq!(here(&tail), [(1, 3), (1, 4), (2, 9)], "now somebody does");
        // The one that watched has gone.
        let later = now + WATCHED;
        assert!(tail.get(2, number(9), later).is_some());
        push(3, 2..=2, later);
        push(2, 10..=10, later);
        assert_eq!(here(&tail), [(2, 9), (2, 10), (3, 2)]);
        push(1, 5..=5, later);
        assert_eq!(here(&tail), [(1, 5), (2, 9), (2, 10)], "its older ones and those of another that nobody watches");

        let large = Tail::new(3 * STREAM_BYTES);
        assert!(large.get(1, number(1), now).is_none());
        for counter in 1..9 {
            large.push(1, fragment(counter, 3 << 20), now);
        }
        assert_eq!(here(&large), [(1, 7), (1, 8)], "a stream has its bound");
    }

    #[test]
    fn what_is_deleted_of_one_stream_is_forgotten() {
        let (tail, now) = (Tail::new(1 << 20), Instant::now());
        for stream in [2, 3] {
            assert!(tail.get(stream, FIRST, now).is_none());
        }
        for (stream, counter) in [(1, 1), (2, 1), (2, 2), (2, 3), (3, 2)] {
            tail.push(stream, fragment(counter, 1000), now);
        }
        assert!(tail.get(3, FragmentNumber::new(2, 0, 0), now).is_some());
        tail.forget(2, |meta| meta.number.counter() <= 2);
        assert_eq!(here(&tail), [(1, 1), (2, 3), (3, 2)]);
        tail.forget(3, |_| true);
        tail.forget(9, |_| true);
        assert_eq!((here(&tail), tail.bytes()), (vec![(1, 1), (2, 3)], 2 * cost(&fragment(0, 1000).meta)));
        tail.forget(1, |_| true);
        tail.forget(2, |_| true);
        assert_eq!(tail.bytes(), 0);
        let held = tail.lock();
        assert!(held.order.is_empty() && held.streams.is_empty());
    }
}
