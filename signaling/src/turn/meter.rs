//! Counting what is relayed, and holding it against a limit.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

const SECOND_NS: u64 = 1_000_000_000;

/// Bits a second of one direction, with a second's worth at once. Those that hold the same one share it, without a lock: what is kept
/// is when the bytes so far would have passed at that rate.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes_per_s: u64,
    start: Instant,
    passed_ns: AtomicU64,
}

impl Meter {
    /// Of so many thousand bits a second; none for 0.
    pub(crate) fn new(kbps: u64, now: Instant) -> Option<Meter> {
        let bytes_per_s = kbps.saturating_mul(125);
        (kbps > 0).then_some(Meter { bytes_per_s, start: now, passed_ns: AtomicU64::new(0) })
    }

    /// Whether so many bytes may pass.
    pub(crate) fn takes(&self, bytes: usize, now: Instant) -> bool {
        let now_ns = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let cost_ns = (bytes as u64).saturating_mul(SECOND_NS) / self.bytes_per_s;
        let later = |passed: u64| Some(passed.max(now_ns) + cost_ns).filter(|after| *after <= now_ns + SECOND_NS);
        self.passed_ns.fetch_update(Relaxed, Relaxed, later).is_ok()
    }
}

/// What one direction of an allocation may have: of its own, and with all others of its credential.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    pub(crate) allocation: Option<Meter>,
    pub(crate) credential: Option<Arc<Meter>>,
}

impl Budget {
    /// Whether so many bytes may pass.
    pub(crate) fn takes(&self, bytes: usize, now: Instant) -> bool {
        self.allocation.as_ref().is_none_or(|meter| meter.takes(bytes, now))
            && self.credential.as_ref().is_none_or(|meter| meter.takes(bytes, now))
    }
}

struct Counters {
    packets: metrics::Counter,
    bytes: metrics::Counter,
}

fn counters(direction: &'static str) -> Counters {
    Counters {
        packets: metrics::counter!("vidicon_turn_packets_total", "direction" => direction),
        bytes: metrics::counter!("vidicon_turn_bytes_total", "direction" => direction),
    }
}

static TO_PEERS: LazyLock<Counters> = LazyLock::new(|| counters("to peers"));
static TO_CLIENTS: LazyLock<Counters> = LazyLock::new(|| counters("to clients"));

/// Counts packets that were sent, or were not.
pub(crate) fn relayed(direction: &'static str, packets: usize, bytes: usize, result: io::Result<()>) {
    match result {
        Ok(()) => {
            let counters = if direction == "to peers" { &*TO_PEERS } else { &*TO_CLIENTS };
            counters.packets.increment(packets as u64);
            counters.bytes.increment(bytes as u64);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => dropped("socket full", packets),
        Err(error) => {
            tracing::debug!(%error, direction, "packets were not sent");
            dropped("not sent", packets);
        }
    }
}

/// Counts packets that go no further.
pub(crate) fn dropped(reason: &'static str, packets: usize) {
    metrics::counter!("vidicon_turn_dropped_total", "reason" => reason).increment(packets as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn takes_a_second_at_once_and_then_its_rate() {
        let start = Instant::now();
        assert!(Meter::new(0, start).is_none());
        let meter = Meter::new(80, start).expect("a limit");
        let passed = (0..30).filter(|_| meter.takes(1000, start)).count();
        assert_eq!(passed, 10);
        let passed = (1..=1000).filter(|n| meter.takes(1000, start + Duration::from_millis(*n * 10))).count();
        assert!((95..=100).contains(&passed), "{passed}");
        assert!(!meter.takes(20_000, start + Duration::from_secs(99)), "more than a second's worth");
    }

    #[test]
    fn allocations_of_a_credential_share() {
        let start = Instant::now();
        let credential = Meter::new(80, start).map(Arc::new);
        let budget = |kbps| Budget { allocation: Meter::new(kbps, start), credential: credential.clone() };
        let (slow, quick) = (budget(40), budget(0));
        let passes = |budget: &Budget| (0..30).filter(|_| budget.takes(1000, start)).count();
        assert_eq!((passes(&slow), passes(&quick)), (5, 5));
        assert!(Budget::default().takes(usize::MAX, start));
    }
}
