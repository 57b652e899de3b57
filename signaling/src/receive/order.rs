//! Packets in the order of their numbers: what came out of order is put in place, what is missing is asked for again and at last given up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets that wait for one before them.
const MOST_HELD: usize = 1024;
/// Numbers that are missing at a time.
const MOST_MISSING: usize = 1024;
/// A missing packet is given up after this: it was asked for often enough, and viewers wait.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(600);
/// When a missing packet is asked for, since it was missed: what only came out of order is there by the first.
const ASKED_AFTER: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(70),
    Duration::from_millis(150),
    Duration::from_millis(280),
    Duration::from_millis(430),
];
/// A number this far from the newest is of another beginning of the same sender.
const FAR: i16 = 2048;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<P> {
    /// The next packet.
    Packet(P),
    /// So many packets will not come.
    Lost(u32),
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is waiting for its turn.
    Taken,
    /// It was there already, or given up.
    Late,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    asked: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Order<P> {
    /// The number of the next packet, extended over rollovers; `None` before the first.
    next: Option<u64>,
    newest: u64,
    held: BTreeMap<u64, P>,
    missing: BTreeMap<u64, Missing>,
    /// Lost ones that `pop` has not told yet.
    lost: u32,
}

impl<P> Default for Order<P> {
    fn default() -> Self {
        Order { next: None, newest: 0, held: BTreeMap::new(), missing: BTreeMap::new(), lost: 0 }
    }
}

impl<P> Order<P> {
    /// Takes a packet.
    pub(crate) fn put(&mut self, sequence: u16, packet: P, now: Instant) -> Put {
        let Some(next) = self.next else {
            // Away from zero, so that one before it has a number too.
            let number = (1 << 32) + u64::from(sequence);
            self.next = Some(number);
            self.newest = number;
            self.held.insert(number, packet);
            return Put::Taken;
        };
        let away = sequence.wrapping_sub(self.newest as u16) as i16;
        if !(-FAR..=FAR).contains(&away) {
            // Another beginning: what is held is given up with what is missing.
            self.lost = self.lost.saturating_add(1).saturating_add(self.held.len() as u32);
            self.held.clear();
            self.missing.clear();
            let number = ((self.newest >> 16) + 2) << 16 | u64::from(sequence);
            self.next = Some(number);
            self.newest = number;
            self.held.insert(number, packet);
            return Put::Taken;
        }
        let number = self.newest.wrapping_add_signed(i64::from(away));
        if number < next || self.held.contains_key(&number) {
            return Put::Late;
        }
        for number in self.newest + 1..number {
            self.missing.insert(number, Missing { since: now, asked: 0 });
        }
        self.missing.remove(&number);
        self.newest = self.newest.max(number);
        self.held.insert(number, packet);
        Put::Taken
    }

    /// The next packet, or how many will not come before it.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Next<P>> {
        if self.lost > 0 {
            return Some(Next::Lost(std::mem::take(&mut self.lost)));
        }
        let next = self.next?;
        if let Some(packet) = self.held.remove(&next) {
            self.next = Some(next + 1);
            return Some(Next::Packet(packet));
        }
        let waits_long =
            self.missing.get(&next).is_some_and(|m| now.saturating_duration_since(m.since) >= GIVEN_UP_AFTER);
        if !waits_long && self.held.len() <= MOST_HELD && self.missing.len() <= MOST_MISSING {
            return None;
        }
        let first = self.held.keys().next().copied()?;
        self.missing = self.missing.split_off(&first);
        self.next = Some(first);
        Some(Next::Lost(u32::try_from(first - next).unwrap_or(u32::MAX)))
    }

    /// The numbers that are to be asked for now.
    pub(crate) fn poll_missing(&mut self, now: Instant, out: &mut Vec<u16>) {
        for (number, missing) in &mut self.missing {
            let waited = now.saturating_duration_since(missing.since);
            if ASKED_AFTER.get(missing.asked).is_some_and(|after| waited >= *after) {
                // Those that were due meanwhile are over with it.
                missing.asked = ASKED_AFTER.iter().filter(|after| waited >= **after).count();
                out.push(*number as u16);
            }
        }
    }

    /// The extended highest number so far (RFC 3550 §6.4.1), counted from the beginning of the first one's round.
    pub(crate) fn newest(&self) -> u32 {
        self.newest as u32
    }

    /// Packets held, for tests of how many they can be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.held.len() + self.missing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(order: &mut Order<u64>, now: Instant) -> Vec<Next<u64>> {
        std::iter::from_fn(|| order.pop(now)).collect()
    }

    #[test]
    fn what_is_missing_is_asked_for_and_then_given_up() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut order = Order::default();
        for n in [65_534u64, 65_535, 65_538] {
            assert_eq!(order.put(n as u16, n, at(0)), Put::Taken);
        }
        assert_eq!(drain(&mut order, at(0)), [Next::Packet(65_534), Next::Packet(65_535)]);
        let mut asked = Vec::new();
        order.poll_missing(at(5), &mut asked);
        assert!(asked.is_empty(), "it may only be out of order");
        order.poll_missing(at(10), &mut asked);
        order.poll_missing(at(11), &mut asked);
        assert_eq!(asked, [0, 1]);
        assert_eq!(order.put(1, 65_537, at(20)), Put::Taken);
        assert_eq!(order.put(1, 65_537, at(20)), Put::Late);
        assert_eq!(drain(&mut order, at(599)), []);
        assert_eq!(drain(&mut order, at(600)), [Next::Lost(1), Next::Packet(65_537), Next::Packet(65_538)]);
        assert_eq!(order.put(0, 65_536, at(601)), Put::Late);
        // Another beginning.
        order.put(30_000, 1, at(700));
        assert_eq!(drain(&mut order, at(700)), [Next::Lost(1), Next::Packet(1)]);
    }

    proptest! {
        #[test]
        fn whatever_comes_it_goes_on_in_order_and_is_bounded(
            steps in proptest::collection::vec((0u64..40, any::<bool>(), 0u64..50), 1..300), start in any::<u16>()) {
            let mut now = Instant::now();
            let (mut order, mut sent, mut last) = (Order::default(), u64::from(start), None);
            for (back, lose, wait) in steps {
                now += Duration::from_millis(wait);
                sent += 1;
                // Out of order, twice, or not at all.
                let number = sent.saturating_sub(if back < 5 { back } else { 0 });
                if !lose {
                    order.put(number as u16, number, now);
                }
                while let Some(next) = order.pop(now) {
                    if let Next::Packet(number) = next {
                        prop_assert!(last.is_none_or(|last| last < number));
                        last = Some(number);
                    }
                }
                prop_assert!(order.held() <= MOST_HELD + MOST_MISSING + FAR as usize);
            }
        }
    }
}
