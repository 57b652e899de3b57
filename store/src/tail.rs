//! The tail: the newest durable fragments of all streams, in memory.
//!
//! What belongs here: which fragments those are, within one bound for all streams together; the oldest go first. What does not: figures
//! of fragments ([`crate::memory`]), and frames of fragments that are still open ([`crate::follow`]).
//!
//! It serves those that watch: they ask for a fragment as soon as it is durable. Whoever comes later reads the segment, which the
//! kernel still has in memory for a while, so there is nothing to gain from keeping more for streams that nobody looks at.

use crate::budget::{FRAGMENT_OVERHEAD, FRAME_OVERHEAD};
use media::{Fragment, FragmentMeta, FragmentNumber};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// See the module.
pub(crate) struct Tail {
    limit: u64,
    held: Mutex<Held>,
}

/// A stream's id, and a number in it.
type Key = (u64, FragmentNumber);

#[derive(Default)]
struct Held {
    /// With its place in `order`.
    fragments: BTreeMap<Key, (u64, Arc<Fragment>)>,
    /// As they became durable.
    order: BTreeMap<u64, Key>,
    next: u64,
    /// What `fragments` cost.
    bytes: u64,
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

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// A fragment of a stream became durable. One that is larger than the whole tail is not kept.
    pub(crate) fn push(&self, stream: u64, fragment: Arc<Fragment>) {
        let cost = cost(&fragment.meta);
        if cost > self.limit {
            return;
        }
        let mut gone = Vec::new();
        let mut held = self.lock();
        while held.bytes + cost > self.limit {
            let Some((_, oldest)) = held.order.first_key_value() else { break };
            let oldest = *oldest;
            gone.extend(held.remove(&oldest));
        }
        let (place, key) = (held.next, (stream, fragment.meta.number));
        held.next += 1;
        held.bytes += cost;
        held.order.insert(place, key);
        if let Some((before, _)) = held.fragments.insert(key, (place, fragment)) {
            // Numbers are never reused, so this is the same one.
            held.order.remove(&before);
            held.bytes -= cost;
        }
        drop(held);
        // Many small pieces, without the lock.
        drop(gone);
    }

    /// A fragment, if it is here.
    pub(crate) fn get(&self, stream: u64, number: FragmentNumber) -> Option<Arc<Fragment>> {
        self.lock().fragments.get(&(stream, number)).map(|(_, fragment)| fragment.clone())
    }

    /// Forgets fragments of a stream, which were deleted.
    pub(crate) fn forget(&self, stream: u64, gone: impl Fn(&FragmentMeta) -> bool) {
        let mut held = self.lock();
        let first = FragmentNumber::new(0, 0, 0);
        let of = held.fragments.range((stream, first)..).take_while(|((of, _), _)| *of == stream);
        let keys: Vec<Key> = of.filter(|(_, (_, fragment))| gone(&fragment.meta)).map(|(key, _)| *key).collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| held.remove(key)).collect();
        drop(held);
        drop(gone);
    }
}

impl Held {
    fn remove(&mut self, key: &Key) -> Option<Arc<Fragment>> {
        let (place, fragment) = self.fragments.remove(key)?;
        self.order.remove(&place);
        self.bytes -= cost(&fragment.meta);
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
        };
        Arc::new(Fragment { meta, header, lead: Bytes::new(), cluster: media::Chunks::new() })
    }

    fn here(tail: &Tail) -> Vec<(u64, u64)> {
        let all = (1..4).flat_map(|stream| (0..20).map(move |counter| (stream, counter)));
        all.filter(|(stream, counter)| tail.get(*stream, FragmentNumber::new(*counter, 0, 0)).is_some()).collect()
    }

    #[test]
    fn the_oldest_of_all_streams_go_first() {
        let each = cost(&fragment(0, 1000).meta);
        let tail = Tail::new(3 * each + 10);
        for (stream, counter) in [(1, 1), (2, 9), (1, 2), (3, 1)] {
            tail.push(stream, fragment(counter, 1000));
        }
        assert_eq!((here(&tail), tail.bytes()), (vec![(1, 2), (2, 9), (3, 1)], 3 * each));
        tail.push(1, fragment(3, 2000));
        assert_eq!(here(&tail), [(1, 3), (3, 1)], "two had to go for a larger one");
        tail.push(1, fragment(4, 3 * each as u32));
        assert_eq!(here(&tail), [(1, 3), (3, 1)], "one that does not fit");
        let none = Tail::new(0);
        none.push(1, fragment(1, 0));
        assert_eq!((here(&none), none.bytes()), (vec![], 0));
    }

    #[test]
    fn what_is_deleted_of_one_stream_is_forgotten() {
        let tail = Tail::new(1 << 20);
        for (stream, counter) in [(1, 1), (2, 1), (2, 2), (2, 3), (3, 2)] {
            tail.push(stream, fragment(counter, 1000));
        }
        tail.forget(2, |meta| meta.number.counter() <= 2);
        assert_eq!(here(&tail), [(1, 1), (2, 3), (3, 2)]);
        tail.forget(3, |_| true);
        tail.forget(9, |_| true);
        assert_eq!((here(&tail), tail.bytes()), (vec![(1, 1), (2, 3)], 2 * cost(&fragment(0, 1000).meta)));
        tail.forget(1, |_| true);
        tail.forget(2, |_| true);
        assert_eq!((tail.bytes(), tail.lock().order.len()), (0, 0));
    }
}
