//! Remuxed media segments, kept while several viewers ask for the same ones.

use media::{Chunks, FragmentNumber};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Bytes kept at most.
const MOST_BYTES: usize = 32 << 20;

/// A stream's id and a fragment's number.
type Key = (u64, FragmentNumber);

#[derive(Default)]
struct Kept {
    segments: HashMap<Key, Chunks>,
    /// Keys in the order in which they were made: viewers of the live edge ask for the newest.
    order: VecDeque<Key>,
    bytes: usize,
}

/// A small cache, oldest out first.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Kept>);

impl Cache {
    pub(crate) fn get(&self, key: Key) -> Option<Chunks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).segments.get(&key).cloned()
    }
    pub(crate) fn put(&self, key: Key, segment: &Chunks) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if segment.len() > MOST_BYTES / 4 || kept.segments.contains_key(&key) {
            return;
        }
        kept.bytes += segment.len();
        kept.segments.insert(key, segment.clone());
        kept.order.push_back(key);
        while kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.order.pop_front() else { break };
            let gone = kept.segments.remove(&oldest).map_or(0, |s| s.len());
            kept.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_oldest_make_room_and_giants_stay_out() {
        let cache = Cache::default();
        let mib = Bytes::from(vec![0; 1 << 20]);
        let key = |n| (1, FragmentNumber::new(n, 0, 0));
        for n in 0..40 {
            cache.put(key(n), &Chunks::from(mib.clone()));
            cache.put(key(n), &Chunks::from(mib.clone()));
        }
        assert!(cache.get(key(7)).is_none() && cache.get(key(8)).is_some() && cache.get(key(39)).is_some());
        cache.put(key(50), &(0..9).map(|_| mib.clone()).collect());
        assert!(cache.get(key(50)).is_none());
        assert_eq!(cache.0.lock().unwrap().bytes, 32 << 20);
    }
}
