//! The order in which a stream's fragments go to the disk: that of their numbers (invariant 2).
//!
//! Numbers are given when fragments begin. One that is complete waits while one with a smaller number is open; whoever reads a stream by
//! numbers therefore never misses one that comes late. How long it can wait is bounded, so that a producer which hangs, or sends very
//! slowly, does not hold up another one on the same stream. Pure: whoever calls says what time it is.

use crate::catalog::fragments::MAX_DURATION_MS;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An open fragment that gets no frame for so long is given up if complete ones wait behind it.
const STALLED: Duration = Duration::from_secs(5);
/// Complete ones wait so long at most, even behind one that does get frames. It is the longest that a fragment lasts: one that comes
/// as fast as it plays is complete by then.
const LONGEST_WAIT: Duration = Duration::from_millis(MAX_DURATION_MS as u64);

/// The fragments of a stream that have begun and do not go to the disk yet, by counter.
pub(crate) struct Order<T> {
    /// With the time of their last frame.
    open: BTreeMap<u64, Instant>,
    /// The complete ones, with the time since when they wait.
    waiting: BTreeMap<u64, (Instant, T)>,
}

impl<T> Order<T> {
    pub(crate) fn new() -> Order<T> {
        Order { open: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// A fragment begins.
    pub(crate) fn begin(&mut self, counter: u64, now: Instant) {
        self.open.insert(counter, now);
    }

    /// It gets a frame.
    pub(crate) fn frame(&mut self, counter: u64, now: Instant) {
        if let Some(last) = self.open.get_mut(&counter) {
            *last = now;
        }
    }

    /// Whether it is open, and not given up.
    pub(crate) fn is_open(&self, counter: u64) -> bool {
        self.open.contains_key(&counter)
    }

    /// It is open no more, complete or dropped; whether it was.
    pub(crate) fn close(&mut self, counter: u64) -> bool {
        self.open.remove(&counter).is_some()
    }

    /// One that was open is to go to the disk.
    pub(crate) fn wait(&mut self, counter: u64, what: T, now: Instant) {
        self.waiting.insert(counter, (now, what));
    }

    /// Takes the next one that need not wait any more.
    pub(crate) fn next(&mut self) -> Option<T> {
        let first = self.waiting.first_entry()?;
        let is_free = self.open.first_key_value().is_none_or(|(open, _)| first.key() < open);
        is_free.then(|| first.remove().1)
    }

    /// Takes those that wait, all of them.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting).into_values().map(|(_, what)| what)
    }

    /// Gives up open fragments that complete ones have waited for too long; how many.
    pub(crate) fn give_up(&mut self, now: Instant) -> usize {
        let Some(first) = self.waiting.keys().next().copied() else { return 0 };
        let is_late = |since: Instant| now.saturating_duration_since(since) >= LONGEST_WAIT;
        let late = self.waiting.iter().rev().find(|(_, (since, _))| is_late(*since)).map(|(counter, _)| *counter);
        let before = self.open.len();
        self.open.retain(|counter, last| {
            let stalls = *counter < first && now.saturating_duration_since(*last) >= STALLED;
            !stalls && late.is_none_or(|late| *counter > late)
        });
        before - self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(order: &mut Order<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| order.next()).collect()
    }

    #[test]
    fn complete_fragments_wait_for_those_with_smaller_numbers() {
        let (mut order, now) = (Order::new(), Instant::now());
        (1..=4).for_each(|counter| order.begin(counter, now));
        assert!(order.close(3));
        order.wait(3, "three", now);
        assert!(order.close(1));
        order.wait(1, "one", now);
        assert_eq!(ready(&mut order), ["one"]);
        assert!(order.close(2), "dropped");
        assert_eq!(ready(&mut order), ["three"]);
        assert!(order.is_open(4) && !order.is_open(2) && !order.close(2));
        assert!(order.close(4));
        order.wait(4, "four", now);
        assert_eq!(order.take_waiting().collect::<Vec<_>>(), ["four"]);
        assert_eq!(ready(&mut order), [""; 0]);
    }

    #[test]
    fn one_without_frames_is_given_up_where_others_wait() {
        let (mut order, now) = (Order::new(), Instant::now());
        let later = |ms| now + Duration::from_millis(ms);
        (1..=3).for_each(|counter| order.begin(counter, now));
        assert_eq!(order.give_up(later(100_000)), 0, "nothing waits");
        assert!(order.close(2));
        order.wait(2, "two", later(1000));
        order.frame(1, later(1000));
        assert_eq!(order.give_up(later(5999)), 0);
        assert_eq!((order.give_up(later(6000)), order.is_open(1), order.is_open(3)), (1, false, true));
        assert_eq!(ready(&mut order), ["two"]);
    }

    #[test]
    fn one_with_a_frame_now_and_then_is_given_up_too_in_the_end() {
        let (mut order, now) = (Order::new(), Instant::now());
        let later = |s| now + Duration::from_secs(s);
        (1..=4).for_each(|counter| order.begin(counter, now));
        for (counter, what) in [(3, "three"), (2, "two")] {
            assert!(order.close(counter));
            order.wait(counter, what, later(if counter == 3 { 2 } else { 9 }));
        }
        for s in (0..62).step_by(4) {
            [1, 4].into_iter().for_each(|counter| order.frame(counter, later(s)));
            assert_eq!(order.give_up(later(s)), 0, "after {s} s");
        }
        assert_eq!((order.give_up(later(62)), order.is_open(1), order.is_open(4)), (1, false, true));
        assert_eq!(ready(&mut order), ["two", "three"]);
    }
}
